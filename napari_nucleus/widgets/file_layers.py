"""Label layers that show a file of nuclei: classes and scores go along with them.

They stand in the layer's features, a row a nucleus, where napari's tool tips and tables show them;
the scheme is in its metadata. Knows arrays and tables, no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, painted_shape

__all__ = ["LayerData", "check_size", "classes_of_features", "layer_of", "scheme_of_layer"]

FILE_KEY = "napari_nucleus_file"
"""Key in ``layer.metadata`` under which such a layer keeps scheme and pixel size."""

INDEX, CLASS, SCORE = "index", "class", "score"
"""Columns of its features; napari looks labels up by the first."""

LARGEST_LAYER = 2**30
"""Pixels of a label map that is shown as a layer of its own: 4 GB in memory."""

LayerData = tuple[Any, dict[str, Any], str]
"""Data, attributes and type of a layer."""


def layer_of(annotations: AnnotationFile) -> LayerData:
    """Return the label layer of a file's nuclei; where they overlap the better score is on top.

    Raises
    ------
    AnnotationError
        If it would be too large to be held.
    """
    shape = painted_shape(annotations)
    check_size(annotations.name, shape)
    scheme, mpp = annotations.scheme, annotations.mpp
    order = np.argsort(annotations.ids)
    features = pd.DataFrame(
        {
            INDEX: annotations.ids[order],
            CLASS: [scheme.name_of(c) for c in annotations.class_ids[order].tolist()],
            SCORE: annotations.scores[order],
        }
    )
    attributes: dict[str, Any] = {
        "name": annotations.name.split(".")[0] or annotations.name,
        "features": features,
        "metadata": {FILE_KEY: {"scheme": text_of_scheme(scheme), "mpp": mpp}},
    }
    if mpp is not None:
        attributes |= {"scale": (mpp, mpp), "units": ("µm", "µm")}
    return annotations.nuclei.to_labels(shape, annotations.ids), attributes, "labels"


def check_size(name: str, shape: tuple[int, int]) -> None:
    """Raise `AnnotationError` where a label map is too large for a layer of its own."""
    if shape[0] * shape[1] > LARGEST_LAYER:
        raise AnnotationError(
            f"{name}: {shape[1]:,} x {shape[0]:,} pixels are too many for a layer; open the image "
            "and take the nuclei in by Import… of the Nuclei dock."
        )


def scheme_of_layer(metadata: Mapping[str, Any]) -> ClassScheme | None:
    """Return the scheme that a layer from a file keeps; None for any other layer."""
    known = metadata.get(FILE_KEY)
    text = known.get("scheme") if isinstance(known, dict) else None
    try:
        return scheme_of_text(text) if isinstance(text, str) else None
    except ValueError:
        return None


def classes_of_features(
    features: Any, scheme: ClassScheme
) -> tuple[dict[int, int], dict[int, float]]:
    """Return class id and score by label, as far as the features of a layer tell them.

    Parameters
    ----------
    features
        A table or a mapping of columns, which the user may have changed; or None.
    scheme
        What its class names are looked up in.
    """
    table = pd.DataFrame({} if features is None else features)
    if INDEX not in table:
        return {}, {}
    ids = _numbers(table[INDEX])
    classes: dict[int, int] = {}
    scores: dict[int, float] = {}
    if CLASS in table:
        ids_of = {c.name.casefold(): c.id for c in scheme.classes}
        found = [ids_of.get(str(name).casefold(), 0) for name in table[CLASS]]
        classes = {int(i): c for i, c in zip(ids, found, strict=True) if c and i == i}
    if SCORE in table:
        values = _numbers(table[SCORE])
        scores = {int(i): float(s) for i, s in zip(ids, values, strict=True) if i == i and s == s}
    return classes, scores


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
