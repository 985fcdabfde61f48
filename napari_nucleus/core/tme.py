"""Features of the tumour microenvironment (SegTME-UNI2, the feature list of its JSON output).

Pure functions of classified cells. Two things go beyond the paper's text: every length and area is
given in micrometres as well, and where neoplastic and benign epithelial nuclei were not told apart
the features are those of epithelial nuclei, both together, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL, Cells
from napari_nucleus.core.neighbourhood import neighbour_entropy, neighbours

__all__ = [
    "CLASS_NAMES",
    "EQUIVALENT_MPP",
    "Features",
    "Tally",
    "TmeSettings",
    "features",
    "features_of_tally",
    "merged_classes",
]

CLASS_NAMES = {1: "Neoplastic", 2: "Inflammatory", 3: "Connective", 4: "Dead", 5: "Epithelial"}
"""Canonical classes as the names of the features have them."""

EQUIVALENT_MPP = 0.25
"""Pixel size that thresholds in pixels are meant for."""

Features = dict[str, int | float | None]
"""Values by name; None where a denominator is zero or a class was not told apart."""


@dataclass(frozen=True, slots=True)
class TmeSettings:
    """How the microenvironment is measured.

    Parameters
    ----------
    not_told_apart
        ``(1, 5)`` where neoplastic and benign epithelial nuclei were not told apart: whatever is
        computed of neoplastic nuclei is then computed of both, and called epithelial. Else empty.
    thresholds_px
        Thresholds in pixels are meant for pixels of 0.25 µm (``"equivalent"``), or for the pixels
        at hand (``"native"``, as the paper computed them).
    neighbours
        Nearest other cells among which the entropy of classes is computed.
    engaged_px
        An inflammatory nucleus nearer than this to a neoplastic one is engaged; pixels by
        ``thresholds_px``.
    bystander_below
        Inflammatory nuclei are bystanders where a smaller fraction of them is engaged.
    """

    not_told_apart: tuple[int, ...] = ()
    thresholds_px: Literal["equivalent", "native"] = "equivalent"
    neighbours: int = 5
    engaged_px: float = 50.0
    bystander_below: float = 0.10

    def __post_init__(self) -> None:
        if tuple(sorted(self.not_told_apart)) not in ((), NEOPLASTIC_OR_EPITHELIAL):
            raise ValueError(
                f"classes that were not told apart are (1, 5) or none, not {self.not_told_apart}"
            )
        if self.thresholds_px not in ("equivalent", "native"):
            raise ValueError(f"thresholds_px is equivalent or native, not {self.thresholds_px!r}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, not {self.neighbours}")

    @property
    def merged(self) -> bool:
        """True where neoplastic and benign epithelial nuclei count as one class, epithelial."""
        return bool(self.not_told_apart)

    @property
    def target_class(self) -> int:
        """The class that takes the part of neoplastic nuclei: 1, or 5 where they are merged."""
        return 5 if self.merged else 1

    def threshold_scale(self, mpp: float) -> float:
        """Return pixels of thresholds per pixel of ``mpp``; lengths times this are compared."""
        return mpp / EQUIVALENT_MPP if self.thresholds_px == "equivalent" else 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Tally:
    """What the features are made of, however it was come by.

    Parameters
    ----------
    counts, area_sums
        ``(6,)`` by class id, with neoplastic nuclei among the epithelial where merged.
    distances
        ``(m,)`` pixels from each inflammatory nucleus to the nearest neoplastic (or epithelial);
        empty where there is no pair.
    entropies
        ``(n,)`` of each cell, in bits.
    """

    counts: NDArray[np.int64]
    area_sums: NDArray[np.float64]
    distances: NDArray[np.float64]
    entropies: NDArray[np.float64]


def merged_classes(class_ids: NDArray[np.integer], settings: TmeSettings) -> NDArray[np.int64]:
    """Return class ids ``(n,)`` in which neoplastic nuclei are epithelial, if they are merged."""
    ids = class_ids.astype(np.int64)
    if settings.merged:
        ids[ids == 1] = 5
    return ids


def features(cells: Cells, settings: TmeSettings = TmeSettings()) -> Features:
    """Return the features of a set of cells.

    Returns
    -------
    dict
        The 23 features of the paper, lengths in pixels and areas in square pixels, then the same
        ones in micrometres, named with ``_um`` and ``_um2``. Cells without a known class count
        nowhere. Where merged, ``count_Neoplastic`` and its like are None and the others that name
        neoplastic nuclei or the tumour are about epithelial ones.
    """
    cells = cells.select(cells.counted)
    classes = merged_classes(cells.class_ids, settings)
    points = cells.centroids_yx
    immune, target = points[classes == 2], points[classes == settings.target_class]
    distances = np.zeros(0)
    if len(immune) and len(target):
        distances = np.asarray(cKDTree(target).query(immune)[0])
    near = neighbours(points, cells.ids, settings.neighbours)
    tally = Tally(
        np.bincount(classes, minlength=6),
        np.bincount(classes, cells.areas, minlength=6).astype(np.float64),
        distances,
        neighbour_entropy(classes, near),
    )
    return features_of_tally(tally, cells.mpp, settings)


def features_of_tally(tally: Tally, mpp: float, settings: TmeSettings) -> Features:
    """Return the features as `features` does, of sums that are known already."""
    counts, distances = tally.counts, tally.distances
    total = int(counts[1:].sum())
    out: Features = {"total_cells": total}
    for class_id, name in CLASS_NAMES.items():
        known = not (settings.merged and class_id == 1)
        count = int(counts[class_id])
        out[f"count_{name}"] = count if known else None
        out[f"ratio_{name}"] = _ratio(count, total) if known else None
        out[f"mean_area_{name}"] = _ratio(tally.area_sums[class_id], count) if known else None
    target, immune, connective = (int(counts[i]) for i in (settings.target_class, 2, 3))
    reach = settings.engaged_px / settings.threshold_scale(mpp)
    engaged = int((distances < reach).sum())
    out["tumor_stroma_fraction"] = _ratio(target, target + connective)
    out["immune_infiltration_fraction"] = _ratio(immune, target + immune)
    out["min_dist_Inflammatory_to_Neoplastic"] = float(distances.min()) if len(distances) else None
    out["mean_dist_Inflammatory_to_Neoplastic"] = _ratio(distances.sum(), len(distances))
    out["count_engaged_immune"] = engaged
    out["fraction_engaged_immune"] = _ratio(engaged, len(distances))
    out["mean_spatial_entropy"] = _ratio(tally.entropies.sum(), total) or 0.0
    for name in CLASS_NAMES.values():
        out[f"mean_area_{name}_um2"] = _scaled(out[f"mean_area_{name}"], mpp**2)
    for kind in ("min", "mean"):
        key = f"{kind}_dist_Inflammatory_to_Neoplastic"
        out[f"{key}_um"] = _scaled(out[key], mpp)
    return out


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
