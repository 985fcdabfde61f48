"""What a measurement knows of each cell that counts; the sums are made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.tme import Tally, TmeSettings

__all__ = ["CellTable"]


@dataclass(frozen=True, eq=False, slots=True)
class CellTable:
    """What is known of each of the n cells that count, in the order of their ids.

    Parameters
    ----------
    ids, centroids_yx, areas
        As in `core.cells.Cells`.
    class_ids
        ``(n,)`` 1–5; neoplastic nuclei are epithelial where merged.
    entropies
        ``(n,)`` of the classes of the nearest neighbours, in bits.
    nearest_px
        ``(n, 6)`` distance to the nearest other cell of each class, by class id; infinite where
        there is none.
    edge_px
        ``(n,)`` distance to where the measured area ends.
    border_px
        ``(n,)`` signed distance from the tumour border, < 0 inside; None without a border.
    """

    ids: NDArray[np.int64]
    centroids_yx: NDArray[np.float64]
    areas: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    entropies: NDArray[np.float64]
    nearest_px: NDArray[np.float64]
    edge_px: NDArray[np.float64]
    border_px: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.ids)

    def tally(self, settings: TmeSettings) -> Tally:
        """Return what the features are made of; the settings are those of the table."""
        distances = self.nearest_px[self.class_ids == 2, settings.target_class]
        return Tally(
            np.bincount(self.class_ids, minlength=6),
            np.bincount(self.class_ids, self.areas, minlength=6).astype(np.float64),
            distances[np.isfinite(distances)],
            self.entropies,
        )
