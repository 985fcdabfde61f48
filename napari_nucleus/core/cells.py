"""Classified nuclei as points: what the measurements of the tumour microenvironment are made of.

A cell here is a centroid, an area and a class in the canonical order (`core.classes.PANNUKE`);
shapes do not matter. Classes of other schemes come in through `canonical_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.classes import PANNUKE, UNKNOWN_CLASS, ClassScheme
from napari_nucleus.core.label_runs import label_table
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.core.schemes import class_mapping, mapped_ids

__all__ = ["NEOPLASTIC_OR_EPITHELIAL", "Cells", "canonical_classes", "cells_of_labels"]

NEOPLASTIC_OR_EPITHELIAL = (1, 5)
"""The canonical classes that many data sets and models do not tell apart."""


@dataclass(frozen=True, eq=False)
class Cells:
    """n classified nuclei.

    Parameters
    ----------
    centroids_yx
        ``(n, 2)`` level-0 pixels, corner-origin.
    areas
        ``(n,)`` square pixels.
    class_ids
        ``(n,)`` canonical classes 1–5; 0 is unclassified and 255 unknown, which no measurement
        counts.
    mpp
        Micrometres per pixel.
    ids
        ``(n,)`` numbers of the nuclei, each its own; 1..n by default.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, or a value cannot be.
    """

    centroids_yx: NDArray[np.float64]
    areas: NDArray[np.float64]
    class_ids: NDArray[np.integer]
    mpp: float
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        points = np.asarray(self.centroids_yx, np.float64).reshape(-1, 2)
        n = len(points)
        ids = np.asarray(self.ids, np.int64)
        fields = {
            "centroids_yx": points,
            "areas": np.asarray(self.areas, np.float64),
            "class_ids": np.asarray(self.class_ids, np.int32),
            "ids": ids if len(ids) else np.arange(1, n + 1),
        }
        for name, values in fields.items():
            if len(values) != n:
                raise ValueError(f"{n} centroids and {len(values)} {name}")
            object.__setattr__(self, name, values)
        if not (np.isfinite(points).all() and np.isfinite(self.areas).all()):
            raise ValueError("a centroid or an area is not a number")
        if not (np.isfinite(self.mpp) and self.mpp > 0):
            raise ValueError(f"mpp must be positive and finite, got {self.mpp}")
        strange = ~np.isin(self.class_ids, (0, *PANNUKE.ids, UNKNOWN_CLASS))
        if strange.any():
            raise ValueError(f"class {self.class_ids[strange][0]} is not canonical (0–5, 255)")
        if len(np.unique(self.ids)) < n:
            raise ValueError("two cells have the same id")

    def __len__(self) -> int:
        return len(self.centroids_yx)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which cells have a class that is known, ``(n,)``."""
        return np.isin(self.class_ids, PANNUKE.ids)

    def select(self, which: ArrayLike) -> Cells:
        """Return the cells at these indices, or where this ``(n,)`` bool array is True."""
        index = np.asarray(which)
        return Cells(
            self.centroids_yx[index],
            self.areas[index],
            self.class_ids[index],
            self.mpp,
            self.ids[index],
        )

    def within(self, geometry: shapely.Geometry) -> Cells:
        """Return the cells whose centroid lies in a geometry ``(x, y)``, level-0 pixels."""
        shapely.prepare(geometry)
        y, x = self.centroids_yx.T
        return self.select(shapely.contains_xy(geometry, x, y))


def cells_of_labels(
    labels: NDArray, class_of_id: Mapping[int, int], mpp: float, name: str = "labels"
) -> Cells:
    """Return the cells of an instance label map.

    Parameters
    ----------
    labels
        ``(H, W)`` instance ids, 0 is background; ids need not follow one another.
    class_of_id
        Canonical class of each id; ids that it does not name are unclassified.
    mpp
        Micrometres per pixel.
    name
        What to call the map in an error.

    Raises
    ------
    LabelShapeError
        If the map has channels or planes; it is a `ValueError` too.
    LabelsError
        If it is no label map for another reason.
    """
    table = label_table(check_labels(labels, name))
    classes = np.array([class_of_id.get(int(i), 0) for i in table.ids], np.int32)
    return Cells(table.centroids_yx, table.areas.astype(np.float64), classes, mpp, table.ids)


def canonical_classes(
    class_ids: NDArray[np.integer], scheme: ClassScheme
) -> tuple[NDArray[np.int32], tuple[int, ...]]:
    """Return classes of a scheme as canonical ones.

    Parameters
    ----------
    class_ids
        ``(n,)`` in ``scheme``; 0 and 255 stay.

    Returns
    -------
    class_ids
        ``(n,)`` canonical; 0 for classes without a counterpart.
    not_told_apart
        `NEOPLASTIC_OR_EPITHELIAL` for a scheme with epithelial nuclei and none that are neoplastic,
        as CoNSeP and MoNuSAC have; else empty.
    """
    mapping = {**class_mapping(scheme, PANNUKE), UNKNOWN_CLASS: UNKNOWN_CLASS}
    reached = set(mapping.values())
    together = 5 in reached and 1 not in reached
    canonical = mapped_ids(np.asarray(class_ids), mapping)
    return canonical, NEOPLASTIC_OR_EPITHELIAL if together else ()
