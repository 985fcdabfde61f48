"""What is exported: a segmented image as one value that all writers share.

What is derived from the labels, such as polygons and measurements, is computed once, when the
first writer asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.morphology import Measurements, measure
from napari_nucleus.core.nuclei import Nuclei, check_labels
from napari_nucleus.core.polygons import polygons_of_labels

__all__ = [
    "Provenance",
    "SegmentationResult",
    "check_provenance",
    "result_of_labels",
    "result_of_nuclei",
]

Provenance = Mapping[str, str | float | int]
"""What made a result: model, weights digest, version, when. No paths, no names of files."""


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The nuclei of one image.

    Parameters
    ----------
    labels
        ``(H, W)`` int32, 0 is background.
    ids
        ``(n,)`` the labels that occur, ascending.
    class_ids
        ``(n,)`` class of each nucleus in ``scheme``; 0 for none.
    scores
        ``(n,)`` confidence in 0–1; nan where nothing gave one.
    mpp
        Micrometres per pixel, or None when unknown.
    scheme
        The classes.
    provenance
        What made the result; absolute paths are refused, because it goes into exported files.
    """

    labels: NDArray[np.int32]
    ids: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    mpp: float | None
    scheme: ClassScheme
    provenance: Provenance = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.ids)
        if not len(self.class_ids) == len(self.scores) == n:
            raise ValueError(f"{n} ids, {len(self.class_ids)} classes, {len(self.scores)} scores")
        present = np.unique(self.labels)
        if not np.array_equal(present[present > 0], self.ids):
            raise ValueError("ids are not those of the labels, in ascending order")
        check_mpp(self.mpp, "result")
        check_provenance(self.provenance)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def class_names(self) -> list[str]:
        """Name of each nucleus's class, ``"unclassified"`` without one."""
        return [self.scheme.name_of(int(c)) for c in self.class_ids]

    @cached_property
    def measurements(self) -> Measurements:
        """Shape of each nucleus, in pixels."""
        nuclei, _ = Nuclei.from_labels(self.labels)
        return measure(nuclei)

    @cached_property
    def polygons(self) -> NDArray[np.object_]:
        """Exact outline of each nucleus, in pixels; see `napari_nucleus.core.polygons`."""
        return polygons_of_labels(self.labels)[1]


def check_provenance(provenance: Provenance) -> None:
    """Raise `ValueError` where exported files would say where something lies on this machine."""
    for key, value in provenance.items():
        if isinstance(value, str) and _is_path(value):
            raise ValueError(f"provenance {key!r} is a path, which must not be exported")


def _is_path(value: str) -> bool:
    return (
        PurePosixPath(value).is_absolute()
        or PureWindowsPath(value).is_absolute()
        or value.startswith(("file:", "~/", "\\"))
    )


def result_of_nuclei(
    nuclei: Nuclei,
    shape: tuple[int, int],
    scheme: ClassScheme,
    mpp: float | None = None,
    provenance: Provenance | None = None,
) -> SegmentationResult:
    """Make a result of nuclei in image pixels; where they overlap the better score is on top.

    Nuclei are numbered from 1 in their order; those of which nothing is seen are left out.
    """
    labels = nuclei.to_labels(shape)
    ids = np.unique(labels)
    ids = ids[ids > 0].astype(np.int64)
    class_ids = np.zeros(len(nuclei), np.int32)
    if nuclei.class_prob.shape[1]:
        class_ids = scheme.ids_of_probabilities(nuclei.class_prob)
    return SegmentationResult(
        labels, ids, class_ids[ids - 1], nuclei.score[ids - 1], mpp, scheme, provenance or {}
    )


def result_of_labels(
    labels: NDArray[np.integer],
    scheme: ClassScheme,
    class_of_id: Mapping[int, int] | None = None,
    score_of_id: Mapping[int, float] | None = None,
    mpp: float | None = None,
    provenance: Provenance | None = None,
) -> SegmentationResult:
    """Make a result of a label map; nuclei without a class get 0, without a score nan.

    Raises
    ------
    LabelsError
        If ``labels`` is no label map.
    """
    labels = check_labels(labels).astype(np.int32)
    ids = np.unique(labels)
    ids = ids[ids > 0].astype(np.int64)
    classes, scores = class_of_id or {}, score_of_id or {}
    return SegmentationResult(
        labels,
        ids,
        _looked_up(classes, ids, 0).astype(np.int32),
        _looked_up(scores, ids, np.nan).astype(np.float32),
        mpp,
        scheme,
        provenance or {},
    )


def _looked_up(values: Mapping[int, float], ids: ArrayLike, default: float) -> NDArray:
    return np.array([values.get(int(i), default) for i in np.asarray(ids)], np.float64)
