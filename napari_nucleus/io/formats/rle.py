"""COCO's run lengths of masks, from a crop and into a crop; the whole frame is never made.

Follows the mask API of COCO: pixels are counted column by column through the whole frame, the
first run is background (of length 0 if the first pixel is not), and the compressed form writes
each length, less the one two places before it, in groups of five bits with a sign (`strings_of`).
All nuclei of a block are worked on at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.label_runs import label_runs
from napari_nucleus.io.annotation_file import sized_as_nuclei

__all__ = [
    "LARGEST_FRAME",
    "RleError",
    "RunLengths",
    "crops_of",
    "run_lengths_of_labels",
    "run_lengths_of_strings",
    "strings_of",
]

LARGEST_FRAME = 2**32 - 1
"""Pixels of a frame; COCO's tools count them with 32 bits."""

MOST_GROUPS = 7
"""Groups of five bits of a number; seven hold every count of 32 bits, and its sign."""

BATCH_PIXELS = 2**26
"""Pixels of crops that are filled at a time."""


class RleError(ValueError):
    """Run lengths that cannot be; ``index`` says of which mask."""

    def __init__(self, index: int, what: str) -> None:
        super().__init__(what)
        self.index = index


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """Run lengths of n masks one after the other, and how many each of them has ``(n,)``."""

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def of_mask(self) -> NDArray[np.int64]:
        """The mask of each count."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def place(self) -> NDArray[np.int64]:
        """The place of each count among those of its mask."""
        return np.arange(len(self.counts)) - np.repeat(
            np.cumsum(self.sizes) - self.sizes, self.sizes
        )


def run_lengths_of_labels(
    labels: NDArray[np.integer], offset_yx: tuple[int, int], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], RunLengths]:
    """Return the run lengths of every nucleus of a part of an image, in the frame of the image.

    Parameters
    ----------
    labels
        ``(h, w)`` integers, 0 is background.
    offset_yx
        Pixel of the image at which the part begins.
    shape
        Height and width of the image.

    Returns
    -------
    ids
        ``(n,)`` label ids, ascending.
    run_lengths
        Of n masks.
    """
    columns, top, bottom, of_run = label_runs(np.ascontiguousarray(labels.T))
    if not len(of_run):
        return of_run, RunLengths(of_run, of_run)
    first = (columns + offset_yx[1]) * shape[0] + offset_yx[0]
    order = np.argsort(of_run, kind="stable")
    begin, end, of_run = (first + top)[order], (first + bottom)[order], of_run[order]
    is_first = np.append(True, of_run[1:] != of_run[:-1])
    # A run that reaches the bottom goes on at the top of the next column.
    goes_on = ~is_first
    goes_on[1:] &= begin[1:] == end[:-1]
    end = end[np.append(~goes_on[1:], True)]
    begin, of_run, is_first = begin[~goes_on], of_run[~goes_on], is_first[~goes_on]

    gap = begin - np.where(is_first, 0, np.append(0, end[:-1]))
    is_last = np.append(is_first[1:], True)
    rest = shape[0] * shape[1] - end
    counts = np.column_stack([gap, end - begin, rest]).ravel()
    written = np.column_stack(
        [np.ones(len(gap), bool), np.ones(len(gap), bool), is_last & (rest > 0)]
    )
    per_run = written.sum(axis=1)
    sizes = np.add.reduceat(per_run, np.flatnonzero(is_first))
    return of_run[is_first], RunLengths(counts[written.ravel()], sizes)


def strings_of(run_lengths: RunLengths) -> list[str]:
    """Return the compressed form of each mask, the bytes that ``pycocotools.mask.encode`` gives."""
    counts = run_lengths.counts
    if not len(counts):
        return [""] * len(run_lengths.sizes)
    number = counts.copy()
    later = np.flatnonzero(run_lengths.place > 2)
    number[later] -= counts[later - 2]
    magnitude = np.where(number < 0, ~number, number)
    limits = 2 ** (5 * np.arange(1, MOST_GROUPS + 1) - 1)
    groups = 1 + np.searchsorted(limits, magnitude, side="right")
    of_group = np.repeat(np.arange(len(number)), groups)
    within = np.arange(len(of_group)) - np.repeat(np.cumsum(groups) - groups, groups)
    more = within < groups[of_group] - 1
    letters = ((number[of_group] >> (5 * within)) & 31) + 32 * more + 48
    text = letters.astype(np.uint8).tobytes().decode("ascii")
    stops = np.append(0, np.cumsum(groups))[np.cumsum(run_lengths.sizes)].tolist()
    return [text[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]


def run_lengths_of_strings(texts: Sequence[str]) -> RunLengths:
    """Return the run lengths in compressed forms.

    Raises
    ------
    RleError
        If one has a letter that is none of the form, or ends amid a number.
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    try:
        letters = np.frombuffer("".join(texts).encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        letters = np.array([ord(c) for text in texts for c in text], np.int64) - 48
    of_text = np.repeat(np.arange(len(texts)), lengths)
    wrong = np.flatnonzero((letters < 0) | (letters > 63))
    if len(wrong):
        raise RleError(int(of_text[wrong[0]]), "has a letter that is none of COCO's")
    is_last = letters < 32
    ends = np.cumsum(lengths)[lengths > 0] - 1
    cut = np.flatnonzero(~is_last[ends])
    if len(cut):
        raise RleError(int(of_text[ends[cut[0]]]), "ends amid a number")
    begins = np.flatnonzero(np.append(True, is_last[:-1])[: len(letters)])
    groups = np.diff(begins, append=len(letters))
    long = np.flatnonzero(groups > MOST_GROUPS)
    if len(long):
        raise RleError(int(of_text[begins[long[0]]]), "has a number of more than 32 bits")
    if not len(letters):
        return RunLengths(letters, lengths)
    within = np.arange(len(letters)) - np.repeat(begins, groups)
    number = np.add.reduceat((letters & 31) << (5 * within), begins)
    negative = (letters[begins + groups - 1] & 16) > 0
    number -= np.where(negative, 1, 0) << (5 * groups)
    sizes = np.bincount(of_text[is_last], minlength=len(texts))
    return RunLengths(_summed(RunLengths(number, sizes)), sizes)


def _summed(differences: RunLengths) -> NDArray[np.int64]:
    """Return counts from differences to the count two places before."""
    counts, place, of_mask = differences.counts.copy(), differences.place, differences.of_mask
    for chain in (place % 2 == 1, (place % 2 == 0) & (place > 0)):
        which = np.flatnonzero(chain)
        if len(which):
            sums = np.cumsum(counts[which])
            begins = np.flatnonzero(np.diff(of_mask[which], prepend=-1))
            before = np.append(0, sums)[begins]
            counts[which] = sums - np.repeat(before, np.diff(begins, append=len(which)))
    return counts


def crops_of(
    run_lengths: RunLengths, heights: NDArray[np.int64], widths: NDArray[np.int64], name: str
) -> tuple[list[NDArray[np.bool_] | None], NDArray[np.int64], list[str]]:
    """Return the mask of each run lengths, cropped.

    Parameters
    ----------
    run_lengths
        Of n masks.
    heights, widths
        ``(n,)`` size of the frame of each.
    name
        Of the file, for errors.

    Returns
    -------
    masks
        n bool arrays, None for what is too large for a nucleus.
    offsets_yx
        ``(n, 2)`` the pixel at which each array begins.
    notes
        Sentences about what is left out.

    Raises
    ------
    RleError
        If run lengths do not fit their frame.
    AnnotationError
        If all together would not fit into the memory.
    """
    counts, of_mask, place = run_lengths.counts, run_lengths.of_mask, run_lengths.place
    frame = heights * widths
    wrong = np.flatnonzero((counts < 0) | (counts > frame[of_mask]))
    if len(wrong):
        number = int(counts[wrong[0]])
        raise RleError(int(of_mask[wrong[0]]), f"has a run of {number:,} pixels")
    sums = np.append(0, np.cumsum(counts))
    starts = np.cumsum(run_lengths.sizes) - run_lengths.sizes
    end = sums[1:] - sums[starts][of_mask]
    over = np.flatnonzero(end > frame[of_mask])
    if len(over):
        raise RleError(int(of_mask[over[0]]), "has more pixels than its image")

    drawn = np.flatnonzero((place % 2 == 1) & (counts > 0))
    of_run, end = of_mask[drawn], end[drawn]
    begin, height = end - counts[drawn], heights[of_run]
    left, right = begin // height, (end - 1) // height
    spans = right > left
    top, low = np.where(spans, 0, begin % height), np.where(spans, height, (end - 1) % height + 1)
    boxes = np.zeros((len(frame), 4), np.int64)
    if len(drawn):
        heads = np.flatnonzero(np.diff(of_run, prepend=-1))
        low_yx = np.minimum.reduceat(np.column_stack([top, left]), heads)
        high_yx = np.maximum.reduceat(np.column_stack([low, right + 1]), heads)
        boxes[of_run[heads]] = np.hstack([low_yx, high_yx])
    notes: list[str] = []
    sized = sized_as_nuclei(name, boxes, notes)
    fits = sized[of_run]
    masks = _painted(of_run[fits], begin[fits], end[fits], heights, boxes, sized)
    return masks, boxes[:, :2], notes


def _painted(
    of_run: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    heights: NDArray[np.int64],
    boxes: NDArray[np.int64],
    sized: NDArray[np.bool_],
) -> list[NDArray[np.bool_] | None]:
    """Paint runs of whole frames into crops, some crops at a time."""
    h, w = (boxes[:, 2:] - boxes[:, :2]).T
    pixels = np.where(sized, h * w, 0)
    masks: list[NDArray[np.bool_] | None] = [None] * len(boxes)
    batch = np.cumsum(pixels) // BATCH_PIXELS
    for number in np.unique(batch):
        which = np.flatnonzero(batch == number)
        runs = slice(*np.searchsorted(of_run, [which[0], which[-1] + 1]))
        mask, start, stop = of_run[runs], begin[runs], end[runs]
        first = start // heights[mask]
        columns = (stop - 1) // heights[mask] - first + 1
        piece = np.repeat(np.arange(len(mask)), columns)
        mask = mask[piece]
        column = (
            first[piece] + np.arange(len(piece)) - np.repeat(np.cumsum(columns) - columns, columns)
        )
        top = np.maximum(start[piece] - column * heights[mask], 0)
        low = np.minimum(stop[piece] - column * heights[mask], heights[mask])
        offset = np.zeros(len(boxes), np.int64)
        offset[which] = np.cumsum(pixels[which]) - pixels[which]
        # Runs of a crop lie column after column: one step up, one step down.
        base = offset[mask] + (column - boxes[mask, 1]) * h[mask] - boxes[mask, 0]
        steps = np.zeros(int(pixels[which].sum()) + 1, np.int8)
        steps[base + top] += 1
        steps[base + low] -= 1
        filled = np.cumsum(steps, dtype=np.int8).astype(bool)
        for i in which[sized[which]].tolist():
            crop = filled[offset[i] : offset[i] + pixels[i]]
            masks[i] = crop.reshape(int(w[i]), int(h[i])).T
    return masks
