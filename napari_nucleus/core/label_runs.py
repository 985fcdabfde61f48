"""The runs of a label map: stretches of one label along a row, and what can be summed over them.

Whatever is asked of the nuclei of a large map can be summed over its runs, so that the cost is one
pass over the pixels; `numpy.unique` over the map sorts every pixel and takes minutes at
20,000 x 20,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelTable", "label_runs", "label_table"]

STRIP_ROWS = 512
STRIP_PIXELS = 2**26


def label_runs(
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return row, first column, column after the last and label of each run of one label.

    Parameters
    ----------
    labels
        ``(H, W)`` integers; background, 0, has no runs. It is sliced strip by strip.
    """
    height, width = labels.shape
    step = min(max(STRIP_PIXELS // max(width, 1), 1), STRIP_ROWS)
    found: list[tuple[NDArray[np.int64], ...]] = []
    for top in range(0, max(height, 1), step):
        strip = np.ascontiguousarray(labels[top : top + step])
        edge = np.ones(strip.shape, np.bool_)
        np.not_equal(strip[:, 1:], strip[:, :-1], out=edge[:, 1:])
        starts = np.flatnonzero(edge)
        lengths = np.diff(starts, append=strip.size)
        ids = strip.reshape(-1)[starts]
        used = ids != 0
        rows, cols = np.divmod(starts[used], width)
        found.append((rows + top, cols, cols + lengths[used], ids[used].astype(np.int64)))
    rows, starts, stops, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, starts, stops, ids


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """The n labels of a map.

    Parameters
    ----------
    ids
        ``(n,)`` int64, ascending.
    boxes
        ``(n, 4)`` int32 tight boxes ``(y0, x0, y1, x1)``.
    areas
        ``(n,)`` int64 pixels.
    centroids_yx
        ``(n, 2)`` centres of mass, corner-origin.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.int32]
    areas: NDArray[np.int64]
    centroids_yx: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, index: NDArray[np.integer]) -> LabelTable:
        """Return the labels at these positions."""
        return LabelTable(
            self.ids[index], self.boxes[index], self.areas[index], self.centroids_yx[index]
        )


def label_table(labels: NDArray[np.integer]) -> LabelTable:
    """Return where each label of a map ``(H, W)`` lies and how large it is; 0 is background."""
    rows, starts, stops, of_run = label_runs(labels)
    order = np.argsort(of_run, kind="stable")
    rows, starts, stops, of_run = rows[order], starts[order], stops[order], of_run[order]
    first = np.flatnonzero(np.diff(of_run, prepend=0))
    ids = of_run[first]
    if not len(ids):
        return LabelTable(ids, np.zeros((0, 4), np.int32), ids, np.zeros((0, 2)))
    lengths = stops - starts
    boxes = np.stack(
        [
            np.minimum.reduceat(rows, first),
            np.minimum.reduceat(starts, first),
            np.maximum.reduceat(rows, first) + 1,
            np.maximum.reduceat(stops, first),
        ],
        axis=1,
    ).astype(np.int32)
    areas = np.add.reduceat(lengths, first)
    y = np.add.reduceat(lengths * (rows + 0.5), first)
    x = np.add.reduceat(lengths * (starts + stops) / 2, first)
    return LabelTable(ids, boxes, areas, np.column_stack([y, x]) / areas[:, None])
