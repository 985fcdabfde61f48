"""What is read from an annotation file, whatever its format: nuclei in level-0 pixels.

Made by `of_polygons`, `of_masks` or `of_labels`, which hold what all readers have to check: ids
that differ, outlines that can be drawn, classes that make a scheme. What had to be mended or left
out is told in `AnnotationFile.notes`; what cannot be meant is an `AnnotationError` that names the
file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.class_names import scheme_of_names
from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import grouped_by_cell
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.label_runs import LabelTable, label_table
from napari_nucleus.core.nuclei import Nuclei, check_labels, counted
from napari_nucleus.core.polygons import crossings_of_polygons, masks_of_polygons
from napari_nucleus.errors import AnnotationError, ImageError
from napari_nucleus.io.label_planes import LabelPlane
from napari_nucleus.io.results import (
    Provenance,
    SegmentationResult,
    check_provenance,
    result_of_labels,
)

__all__ = [
    "AnnotationFile",
    "Stated",
    "of_labels",
    "of_masks",
    "of_polygons",
    "outline_masks",
    "painted_shape",
    "sized_as_nuclei",
]

LARGEST_NUCLEUS = 4096
"""Pixels of the longer side of an outline that can be one nucleus; larger ones are regions."""

LARGEST_COORDINATE = 2**24
"""Pixels; no slide is wider, and floats of 32 bit count no further in halves."""

LARGEST_ID = 2**31 - 1

MASK_BLOCK = 1024
"""Pixels of the side of a square whose labels are read together."""

MOST_CROSSINGS = 2**20
"""Rows that the sides of an outline cross; a round nucleus of `LARGEST_NUCLEUS` has 8,192."""

MOST_PIXELS = 2**32
"""Pixels of all boxes of a file together; more cannot be nuclei."""


@dataclass(frozen=True, eq=False)
class AnnotationFile:
    """The nuclei of an annotation file.

    Parameters
    ----------
    name
        Of the file, without its folder.
    nuclei
        n nuclei in level-0 pixels; ``class_prob`` is one-hot in the order of ``scheme`` or has
        the file's probabilities. They may overlap.
    ids
        ``(n,)`` int64, positive and different.
    class_ids
        ``(n,)`` int32 in ``scheme``; 0 without a class.
    scores
        ``(n,)`` float32 in 0–1; nan where the file states none.
    scheme
        The classes of the file.
    ids_stated
        True if the ids are the file's own, False if they were given on reading.
    shape
        Height and width of the image in pixels, None where the file does not say.
    mpp
        Micrometres per pixel, None where the file does not say.
    provenance
        What made the nuclei, where the file says so; no paths.
    notes
        Sentences about what was mended or left out.
    """

    name: str
    nuclei: Nuclei
    ids: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    scheme: ClassScheme
    ids_stated: bool = True
    shape: tuple[int, int] | None = None
    mpp: float | None = None
    provenance: Provenance = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.nuclei)

    def to_result(
        self, shape: tuple[int, int] | None = None, mpp: float | None = None
    ) -> SegmentationResult:
        """Paint the nuclei into a label map, the better score on top.

        Parameters
        ----------
        shape
            Of the image; by default what the file says, else what holds all nuclei.
        mpp
            By default what the file says.

        Raises
        ------
        AnnotationError
            If nothing says how large the image is and it would be too large to be held.
        """
        shape = painted_shape(self, shape)
        labels = self.nuclei.to_labels(shape, self.ids)
        numbers = self.ids.tolist()
        return result_of_labels(
            labels,
            self.scheme,
            dict(zip(numbers, self.class_ids.tolist(), strict=True)),
            dict(zip(numbers, self.scores.tolist(), strict=True)),
            self.mpp if mpp is None else mpp,
            self.provenance,
        )


def painted_shape(
    annotations: AnnotationFile, shape: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return the size of the image that nuclei lie on: as stated, or what holds all of them.

    Raises
    ------
    AnnotationError
        If it would be larger than a label map that can be held.
    """
    found = shape or annotations.shape
    if found is None:
        low = annotations.nuclei.boxes[:, 2:].max(axis=0, initial=1)
        found = (max(int(low[0]), 1), max(int(low[1]), 1))
    if found[0] * found[1] > MOST_PIXELS:
        raise AnnotationError(
            f"{annotations.name}: an image of {found[1]:,} x {found[0]:,} pixels is too large for "
            "one label map; convert it into a project or an outline format."
        )
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class Stated:
    """What a file states of its n outlines besides their shape.

    Parameters
    ----------
    ids
        Id of each; None as a whole or for one where the file states none. Ids that are not usable
        or come twice make all ids new, which is noted.
    classes
        Class name of each, see `core.class_names.scheme_of_names`; empty for a file without.
    colors
        Colours of classes by name, ``(r, g, b)`` in 0–255.
    scores
        ``(n,)``, nan for none; those outside 0–1 are cut and noted. None for a file without.
    scheme
        The scheme that the file itself describes, if it does.
    shape, mpp, provenance, notes
        As in `AnnotationFile`.
    source
        What the rows of a document will say made the nuclei.
    """

    ids: Sequence[int | None] | NDArray[np.integer] | None = None
    classes: Sequence[str | None] = ()
    colors: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    scores: ArrayLike | None = None
    scheme: ClassScheme | None = None
    shape: tuple[int, int] | None = None
    mpp: float | None = None
    provenance: Provenance = field(default_factory=dict)
    notes: Sequence[str] = ()
    source: str = "import"


def of_polygons(
    name: str, polygons: Sequence[shapely.Geometry] | NDArray[np.object_], stated: Stated
) -> AnnotationFile:
    """Make annotations of outlines.

    Parameters
    ----------
    name
        Of the file, for errors.
    polygons
        n shapely polygons or multipolygons ``(x, y)``, corner-origin level-0 pixels. Outlines that
        cross themselves are taken by the even-odd rule, parts that overlap as one; what has no
        area, or is larger than a nucleus or too crooked for one, is left out and noted.
    stated
        What the file says of them.

    Raises
    ------
    AnnotationError
        If a coordinate cannot be meant, or there are too many classes.
    """
    notes = list(stated.notes)
    kept, boxes, masks = outline_masks(name, polygons, notes)
    return _annotations(name, masks, boxes[:, :2], kept, len(polygons), stated, notes)


def outline_masks(
    name: str, polygons: Sequence[shapely.Geometry] | NDArray[np.object_], notes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.bool_], ...]]:
    """Return the masks of outlines, as `of_polygons` makes them.

    Parameters
    ----------
    name, polygons
        As in `of_polygons`.
    notes
        Gets sentences about what was mended or left out.

    Returns
    -------
    kept
        ``(k,)`` the positions of those that were not left out.
    boxes
        ``(k, 4)`` where their masks lie.
    masks
        k bool arrays of the size of the boxes.
    """
    shapes = np.asarray(polygons, dtype=object).reshape(-1)
    bounds = shapely.bounds(shapes) if len(shapes) else np.zeros((0, 4))
    empty = np.isnan(bounds).any(axis=1)
    sized = sized_as_nuclei(name, np.where(empty.reshape(-1, 1), 0, bounds), notes)
    tangled = crossings_of_polygons(shapes) > MOST_CROSSINGS
    if (tangled & sized).any():
        count = int((tangled & sized).sum())
        notes.append(f"{name}: {count:,} outlines too crooked to be nuclei; left out.")
    sized &= ~tangled
    # Crossing outlines are rasterised as they are, in time: to make thousands of crossings valid
    # polygons takes minutes.
    crossing = sized.copy()
    crossing[sized] = ~shapely.is_valid(shapes[sized])
    if crossing.any():
        count = counted(int(crossing.sum()))
        notes.append(f"{name}: {count} had outlines that cross themselves; mended.")
    flat = empty | ((shapely.area(shapes) <= 0) & ~crossing)
    if (flat & sized).any():
        count = int((flat & sized).sum())
        notes.append(f"{name}: {count:,} outlines without an area; left out.")
    kept = np.flatnonzero(sized & ~flat)
    return kept, *_masks(shapes[kept])


def of_masks(
    name: str, masks: Sequence[NDArray[np.bool_] | None], offsets_yx: ArrayLike, stated: Stated
) -> AnnotationFile:
    """Make annotations of masks, each a bool array placed at ``offsets_yx`` ``(n, 2)``.

    The rest as in `of_polygons`; masks without a pixel are left out and noted. None stands for
    what the reader itself left out, and noted.
    """
    offsets = np.asarray(offsets_yx, np.int64).reshape(-1, 2)
    kept = np.array([i for i, mask in enumerate(masks) if mask is not None], np.int64)
    some = [mask for mask in masks if mask is not None]
    return _annotations(name, some, offsets[kept], kept, len(masks), stated, list(stated.notes))


def sized_as_nuclei(name: str, boxes: NDArray, notes: list[str]) -> NDArray[np.bool_]:
    """Return which of n boxes can be those of nuclei; asked before masks of their size are made.

    Parameters
    ----------
    name
        Of the file, for errors.
    boxes
        ``(n, 4)`` the two lowest coordinates and the two highest, in pixels.
    notes
        Gets a sentence about those that are too large.

    Raises
    ------
    AnnotationError
        If a coordinate is no pixel of an image, or all together would not fit into the memory.
    """
    far = ~(np.abs(boxes) <= LARGEST_COORDINATE).all(axis=1)
    if far.any():
        value = boxes[far][0][np.abs(boxes[far][0]).argmax()]
        raise AnnotationError(
            f"{name}: coordinate {value:g} of outline {np.flatnonzero(far)[0] + 1} is no pixel of "
            f"an image (at most {LARGEST_COORDINATE:,})."
        )
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    sized = sides.max(axis=1, initial=0) <= LARGEST_NUCLEUS
    if not sized.all():
        notes.append(
            f"{name}: {int((~sized).sum()):,} outlines larger than {LARGEST_NUCLEUS:,} pixels, so "
            "regions and no nuclei; left out."
        )
    pixels = np.prod(sides[sized] + 1, axis=1).sum()
    if pixels > MOST_PIXELS:
        raise AnnotationError(
            f"{name}: its {len(boxes):,} outlines span {pixels:.3g} pixels, too many for nuclei."
        )
    return sized


def of_labels(
    name: str,
    labels: NDArray | LabelPlane,
    stated: Stated,
    class_of_id: Mapping[int, str] | None = None,
    score_of_id: Mapping[int, float] | None = None,
) -> AnnotationFile:
    """Make annotations of a label map ``(H, W)``; see `core.nuclei.check_labels` for what is taken.

    Parameters
    ----------
    name
        Of the file, for errors.
    labels
        An array, or a plane that is read piece by piece. Labels that span more than a nucleus can
        are left out and noted.
    stated
        What the file says; ids, classes, scores and shape are filled in here.
    class_of_id, score_of_id
        Class name and score by id; those that are missing have none.

    Raises
    ------
    LabelsError
        If the array is no label map.
    AnnotationError
        If its labels lie too scattered to be nuclei.
    """
    if isinstance(labels, LabelPlane) and labels.dtype != bool:
        whole = _CheckedPlane(labels, name)
    else:
        whole = check_labels(np.asarray(labels[:]), name)
    table = label_table(cast(NDArray[np.integer], whole))
    notes = list(stated.notes)
    table = table.select(np.flatnonzero(sized_as_nuclei(name, table.boxes, notes)))
    numbers = table.ids.tolist()
    names, marks = class_of_id or {}, score_of_id or {}
    filled = replace(
        stated,
        ids=table.ids,
        classes=[names.get(i) for i in numbers],
        scores=[marks.get(i, np.nan) for i in numbers],
        shape=(int(whole.shape[0]), int(whole.shape[1])),
        notes=notes,
    )
    return of_masks(name, _masks_of_labels(whole, table), table.boxes[:, :2], filled)


@dataclass(frozen=True, eq=False, slots=True)
class _CheckedPlane:
    """A plane of which every piece that is read is checked to hold labels."""

    plane: LabelPlane
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.plane.shape

    def __getitem__(self, key: slice | tuple[slice, slice]) -> NDArray[np.integer]:
        return check_labels(self.plane[key], self.name)


def _masks_of_labels(
    whole: NDArray[np.integer] | _CheckedPlane, table: LabelTable
) -> list[NDArray[np.bool_]]:
    """Return the mask of each label in its box, reading those that lie together at once."""
    masks: dict[int, NDArray[np.bool_]] = {}
    for rows in grouped_by_cell(table.boxes, MASK_BLOCK):
        boxes = table.boxes[rows]
        (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        piece = whole[top:bottom, left:right]
        for row, (y0, x0, y1, x1) in zip(rows.tolist(), boxes.tolist(), strict=True):
            inside = piece[y0 - top : y1 - top, x0 - left : x1 - left]
            masks[row] = np.asarray(inside == table.ids[row])
    return [masks[row] for row in range(len(table))]


def _masks(
    shapes: NDArray[np.object_],
) -> tuple[NDArray[np.int64], tuple[NDArray[np.bool_], ...]]:
    if not len(shapes):
        return np.zeros((0, 4), np.int64), ()
    return masks_of_polygons(shapes)


def _annotations(
    name: str,
    masks: Sequence[NDArray[np.bool_]],
    offsets: NDArray[np.int64],
    kept: NDArray[np.int64],
    n: int,
    stated: Stated,
    notes: list[str],
) -> AnnotationFile:
    """Put together what was checked; ``kept`` are the positions, of n, that the masks have."""
    some = np.array([bool(mask.any()) for mask in masks], bool)
    if not some.all():
        count = int((~some).sum())
        notes.append(f"{name}: {counted(count)} without a single pixel; left out.")
    rows = kept[some]
    classes = stated.classes
    names = [classes[i] for i in rows.tolist()] if len(classes) else [None] * len(rows)
    scheme, class_ids = scheme_of_names(names, stated.colors, name, stated.scheme)
    scores = np.full(n, np.nan) if stated.scores is None else np.asarray(stated.scores, np.float64)
    scores = scores[rows].astype(np.float32)
    if ((scores < 0) | (scores > 1)).any():
        notes.append(f"{name}: scores outside of 0 to 1 were cut to that range.")
        scores = scores.clip(0, 1)
    nuclei = Nuclei.from_masks(
        [mask for mask, has in zip(masks, some.tolist(), strict=True) if has],
        offsets[some],
        np.nan_to_num(scores, nan=1.0),
        scheme.one_hot(class_ids),
        source=stated.source,
    )
    ids, ids_stated = _ids(stated.ids, rows, name, notes)
    return AnnotationFile(
        name,
        nuclei,
        ids,
        class_ids,
        scores,
        scheme,
        ids_stated,
        stated.shape,
        _known_mpp(stated.mpp, name, notes),
        _without_paths(stated.provenance),
        tuple(notes),
    )


def _ids(
    ids: Sequence[int | None] | NDArray[np.integer] | None,
    rows: NDArray[np.int64],
    name: str,
    notes: list[str],
) -> tuple[NDArray[np.int64], bool]:
    new = np.arange(1, len(rows) + 1, dtype=np.int64)
    if ids is None:
        return new, False
    stated = [ids[i] for i in rows.tolist()]
    whole = [int(i) for i in stated if i is not None and 1 <= int(i) <= LARGEST_ID]
    if len(whole) == len(rows) and len(set(whole)) == len(rows):
        return np.array(whole, np.int64), True
    if any(i is not None for i in stated):
        notes.append(
            f"{name}: ids are missing, come twice or are no numbers from 1; numbered anew."
        )
    return new, False


def _known_mpp(mpp: float | None, name: str, notes: list[str]) -> float | None:
    try:
        return check_mpp(mpp, name)
    except ImageError as error:
        notes.append(f"{error} It is taken for unknown.")
        return None


def _without_paths(provenance: Provenance) -> Provenance:
    """Return what can be written again."""
    kept = {}
    for key, value in provenance.items():
        with suppress(ValueError):
            check_provenance({key: value})
            kept[key] = value
    return kept
