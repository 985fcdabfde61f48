"""What is exported: the nuclei of one image as a table, with pixels that are read where needed.

A result never holds the whole label map by itself: it reads the boxes it is asked for, from an
array or from a project file, so that what writers hold at a time is a block of the image. What is
derived from the pixels, such as polygons and measurements, is computed block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box, clip_box, grouped_by_cell
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.label_runs import LabelTable, label_table
from napari_nucleus.core.morphology import Measurements, measure
from napari_nucleus.core.nuclei import Nuclei, check_labels
from napari_nucleus.core.polygons import polygons_of_labels
from napari_nucleus.core.simplification import simplified_polygons
from napari_nucleus.session.table import NucleusRow

__all__ = [
    "Provenance",
    "Read",
    "ResultBlock",
    "SegmentationResult",
    "check_provenance",
    "result_of_labels",
    "result_of_nuclei",
    "result_of_rows",
]

Provenance = Mapping[str, str | float | int]
"""What made a result: model, weights digest, version, when. No paths, no names of files."""

BLOCK = 2048
"""Pixels of the side of a square whose nuclei are worked on together."""

Read = Callable[[Box], NDArray[np.int32]]
"""Returns the labels ``(h, w)`` of a box inside the image."""


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The nuclei of one image.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    table
        Ids, boxes, areas and centroids of the n nuclei, by ascending id; level-0 pixels.
    class_ids
        ``(n,)`` class of each nucleus in ``scheme``; 0 for none.
    scores
        ``(n,)`` confidence in 0–1; nan where nothing gave one.
    mpp
        Micrometres per pixel, or None when unknown.
    scheme
        The classes.
    reading
        Returns the labels of a box inside the image; it may hold other labels than those of the
        table, which do not count.
    provenance
        What made the result; absolute paths are refused, because it goes into exported files.
    """

    shape: tuple[int, int]
    table: LabelTable
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    mpp: float | None
    scheme: ClassScheme
    reading: Read
    provenance: Provenance = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.table)
        if not len(self.class_ids) == len(self.scores) == n:
            raise ValueError(f"{n} ids, {len(self.class_ids)} classes, {len(self.scores)} scores")
        if n and (self.ids[0] < 1 or (np.diff(self.ids) <= 0).any()):
            raise ValueError("ids are not positive, or not in ascending order")
        check_mpp(self.mpp, "result")
        check_provenance(self.provenance)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> NDArray[np.int64]:
        """``(n,)`` ids, ascending."""
        return self.table.ids

    @property
    def class_names(self) -> list[str]:
        """Name of each nucleus's class, ``"unclassified"`` without one."""
        return [self.scheme.name_of(int(c)) for c in self.class_ids]

    def read(self, box: Box) -> NDArray[np.int32]:
        """Return the labels of a box, cut to the image, with nothing but the nuclei of the table.

        What is returned may be a view; it must not be changed.
        """
        return _only(self.reading(clip_box(box, self.shape)), self.ids)

    @property
    def labels(self) -> NDArray[np.int32]:
        """The labels ``(H, W)`` of the whole image, read at once."""
        return self.read((0, 0, *self.shape))

    def select(self, which: ArrayLike) -> SegmentationResult:
        """Return a result of the nuclei at these indices, or where a ``(n,)`` bool array is True.

        Their order is that of the ids.
        """
        index = np.asarray(which)
        index = np.flatnonzero(index) if index.dtype == bool else np.unique(index.astype(np.int64))
        return replace(
            self,
            table=self.table.select(index),
            class_ids=self.class_ids[index],
            scores=self.scores[index],
        )

    def blocks(self, size: int = BLOCK) -> Iterator[ResultBlock]:
        """Yield the nuclei in groups that lie close together, row of squares by row of squares.

        Every nucleus is in one block, whole. In a block they are in the order of their ids; an
        image of one square gives one block.
        """
        for rows in grouped_by_cell(self.table.boxes, size):
            yield ResultBlock(self, rows)

    @cached_property
    def measurements(self) -> Measurements:
        """Shape of each nucleus, in pixels, in the order of the ids; computed block by block."""
        parts = [(block.rows, block.measurements) for block in self.blocks()]
        if not parts:
            return measure(Nuclei.empty())
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return Measurements.concatenate([shape for _, shape in parts]).select(order)


@dataclass(frozen=True, eq=False)
class ResultBlock:
    """Some nuclei of a result that lie close together.

    Parameters
    ----------
    result
        The result.
    rows
        ``(k,)`` their positions in the result's arrays, ascending.
    """

    result: SegmentationResult
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> NDArray[np.int64]:
        """``(k,)`` ids, ascending."""
        return self.result.ids[self.rows]

    @property
    def class_ids(self) -> NDArray[np.int32]:
        """``(k,)`` class ids."""
        return self.result.class_ids[self.rows]

    @property
    def scores(self) -> NDArray[np.float32]:
        """``(k,)`` scores, nan where there is none."""
        return self.result.scores[self.rows]

    @property
    def boxes(self) -> NDArray[np.int32]:
        """``(k, 4)`` boxes in level-0 pixels."""
        return self.result.table.boxes[self.rows]

    @property
    def box(self) -> Box:
        """The box around all of them."""
        low, high = self.boxes[:, :2].min(axis=0), self.boxes[:, 2:].max(axis=0)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """The labels ``(h, w)`` of `box`, with nothing but the nuclei of the block."""
        return _only(self.result.reading(self.box), self.ids)

    @cached_property
    def nuclei(self) -> Nuclei:
        """Their masks and boxes, in level-0 pixels; scores of 1 where there are none."""
        y0, x0, _, _ = self.box
        masks = tuple(
            self.labels[a - y0 : c - y0, b - x0 : d - x0] == i
            for i, (a, b, c, d) in zip(self.ids.tolist(), self.boxes.tolist(), strict=True)
        )
        none = np.zeros((len(self), 0), np.float32)
        return Nuclei(self.boxes, masks, np.nan_to_num(self.scores, nan=1.0), none)

    @cached_property
    def polygons(self) -> NDArray[np.object_]:
        """``(k,)`` exact outlines in level-0 pixels; see `napari_nucleus.core.polygons`."""
        return polygons_of_labels(self.labels, self.box[:2])[1]

    @cached_property
    def simplified_polygons(self) -> NDArray[np.object_]:
        """``(k,)`` outlines with fewer corners; see `napari_nucleus.core.simplification`.

        Nuclei of other blocks that touch these are simplified with them, so that both blocks give
        the same border.
        """
        y0, x0, y1, x1 = self.box
        boxes = self.result.table.boxes
        near = (boxes[:, 0] <= y1) & (boxes[:, 1] <= x1) & (boxes[:, 2] >= y0) & (boxes[:, 3] >= x0)
        all_rows = np.flatnonzero(near)
        around = ResultBlock(self.result, all_rows)
        _, polygons = simplified_polygons(around.labels, around.box[:2])
        return polygons[np.searchsorted(all_rows, self.rows)]

    @cached_property
    def measurements(self) -> Measurements:
        """Their shapes, in pixels."""
        return measure(self.nuclei)


def _only(labels: NDArray[np.int32], ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return labels ``(h, w)`` with those that are not among ``ids`` (ascending) as background."""
    if not len(ids):
        return np.zeros_like(labels)
    inside = labels > 0
    found = labels[inside]
    place = np.searchsorted(ids, found).clip(max=len(ids) - 1)
    known = ids[place] == found
    if known.all():
        return labels
    kept = np.zeros_like(labels)
    kept[inside] = np.where(known, found, 0)
    return kept


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
    class_ids = np.zeros(len(nuclei), np.int32)
    if nuclei.class_prob.shape[1]:
        class_ids = scheme.ids_of_probabilities(nuclei.class_prob)
    numbers = range(1, len(nuclei) + 1)
    return result_of_labels(
        nuclei.to_labels(shape),
        scheme,
        dict(zip(numbers, class_ids.tolist(), strict=True)),
        dict(zip(numbers, nuclei.score.tolist(), strict=True)),
        mpp,
        provenance,
    )


def result_of_rows(
    rows: Sequence[NucleusRow],
    shape: tuple[int, int],
    reading: Read,
    scheme: ClassScheme,
    mpp: float | None = None,
    provenance: Provenance | None = None,
) -> SegmentationResult:
    """Make a result of a document's rows; ``reading`` gives the labels of a box as it was then."""
    rows = sorted(rows, key=lambda row: row.id)
    table = LabelTable(
        np.array([row.id for row in rows], np.int64),
        np.array([row.box for row in rows], np.int32).reshape(-1, 4),
        np.array([row.area for row in rows], np.int64),
        np.array([row.centroid_yx for row in rows], np.float64).reshape(-1, 2),
    )
    return SegmentationResult(
        shape,
        table,
        np.array([row.class_id for row in rows], np.int32),
        np.array([row.score for row in rows], np.float32),
        mpp,
        scheme,
        reading,
        provenance or {},
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
    whole = check_labels(labels).astype(np.int32, copy=False)
    table = label_table(whole)
    classes, scores = class_of_id or {}, score_of_id or {}
    return SegmentationResult(
        (whole.shape[0], whole.shape[1]),
        table,
        _looked_up(classes, table.ids, 0).astype(np.int32),
        _looked_up(scores, table.ids, np.nan).astype(np.float32),
        mpp,
        scheme,
        lambda box: whole[box[0] : box[2], box[1] : box[3]],
        provenance or {},
    )


def _looked_up(values: Mapping[int, float], ids: ArrayLike, default: float) -> NDArray:
    return np.array([values.get(int(i), default) for i in np.asarray(ids)], np.float64)
