"""Adopting a label layer: its nuclei enter the document, piece by piece, as one undo step.

A layer that shows a file of nuclei brings classes and scores along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.core.schemes import class_mapping
from napari_nucleus.errors import CancelledError, LabelsError, NucleusError
from napari_nucleus.session.actions import batches_of
from napari_nucleus.session.label_map import nuclei_of_label_map
from napari_nucleus.session.run import Run
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.background import in_background
from napari_nucleus.widgets.file_layers import classes_of_features, scheme_of_layer
from napari_nucleus.widgets.layers import offset_onto

__all__ = ["Adoption"]


class Adoption:
    """The import of one label layer.

    Attributes
    ----------
    finished
        Emitted with a sentence when all is there.
    failed
        Emitted with a sentence when the layer cannot be adopted; nothing was added then.
    """

    finished = Signal(str)
    failed = Signal(str)

    def __init__(self, annotation: Annotation, labels: Labels) -> None:
        self._annotation, self._layer = annotation, labels
        self._run: Run | None = None
        self._left = False
        annotation.closing.connect(self._on_closing)
        self._pieces: Iterator[tuple[Nuclei, NDArray[np.int64]]] = iter(())

    def start(self) -> None:
        """Begin; returns at once."""
        layer, annotation = self._layer, self._annotation
        try:
            dy, dx = offset_onto(layer, annotation.image)
        except LabelsError as error:
            self.failed.emit(str(error))
            return
        data, name, scheme = np.asarray(layer.data), layer.name, annotation.document.scheme
        theirs, features = scheme_of_layer(layer.metadata), layer.features

        def read() -> tuple[Nuclei, NDArray[np.int64]]:
            classes: dict[int, int] = {}
            scores: dict[int, float] = {}
            if theirs is not None:
                classes, scores = classes_of_features(features, theirs)
                mapping = class_mapping(theirs, scheme)
                classes = {i: mapping[class_id] for i, class_id in classes.items()}
            nuclei, ids = nuclei_of_label_map(data, classes, scheme, name=name)
            if scores:
                stated = [scores.get(i, 1.0) for i in ids.tolist()]
                nuclei = replace(nuclei, score=np.array(stated, np.float32))
            return nuclei.shifted(dy, dx), ids

        in_background(read, self._begin, lambda error: self.failed.emit(str(error)))

    def _begin(self, read: tuple[Nuclei, NDArray[np.int64]]) -> None:
        if self._left:
            return
        nuclei, wished = read
        self._annotation.finish_change()
        document = self._annotation.document
        try:
            ids = document.reserve_ids(len(nuclei), wished)
            self._run = document.run(f"Adopt {self._layer.name}")
        except NucleusError as error:
            self.failed.emit(str(error))
            return
        self._pieces = iter([(nuclei.select(index), ids[index]) for index in batches_of(nuclei)])
        self._next()

    def _next(self) -> None:
        """Add one piece, then let the window breathe."""
        if self._left:
            return
        assert self._run is not None
        try:
            nuclei, ids = next(self._pieces)
            self._run.add(nuclei, ids.tolist())
        except StopIteration:
            self._run.close()
            text = f"{counted(self._run.added)} adopted from {self._layer.name}."
            if self._run.left_out:
                text += f" {self._run.left_out:,} were left out: others hold their place."
            self.finished.emit(text)
        except (CancelledError, NucleusError) as error:
            self._run.close()
            self.failed.emit(str(error))
        else:
            # A method alone would be held weakly, and the adoption with it.
            QTimer.singleShot(0, lambda: self._next())

    def _on_closing(self) -> None:
        """Keep what has come in when the image is left."""
        self._left = True
        if self._run is not None:
            self._run.close()
