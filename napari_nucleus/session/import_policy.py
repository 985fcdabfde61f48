"""What becomes of the nuclei of a document when others come in: one undo step, all or nothing.

Three policies:

- *add*: they take background only; one that would keep less than half of its pixels is left out
  (`placement`).
- *replace*: the nuclei that are there go, all or those of a region, and the others take their
  place.
- *merge*: what is the same nucleus is brought up to date (`import_merge`), the rest is added.

An id is kept where it never meant another nucleus: if it was never used here, or if the nucleus
that had it goes in this very step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.geometry import clip_box
from napari_nucleus.core.nuclei import counted
from napari_nucleus.session.agreement import SAME_IOU
from napari_nucleus.session.document import HIGHEST_KEPT_ID, Document
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.import_batch import Incoming, batches_of
from napari_nucleus.session.import_merge import ROWS_AT_ONCE, merge_in_steps
from napari_nucleus.session.outlines import ActionResult, plan_remove
from napari_nucleus.session.placement import Placed, place_nuclei
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusState

__all__ = ["ImportPolicy", "Steps", "import_incoming", "import_incoming_in_steps"]

Steps: TypeAlias = Generator[None, None, ActionResult]
"""An import that pauses, and ends with what it did."""


class ImportPolicy(StrEnum):
    """What becomes of nuclei that are there already."""

    ADD = "add"
    """All stay as they are."""
    REPLACE = "replace"
    """All go, or all of a region."""
    MERGE = "merge"
    """Those that come in as well are brought up to date, unless they are the user's work."""


def import_incoming(
    document: Document,
    incoming: Incoming,
    policy: ImportPolicy = ImportPolicy.ADD,
    *,
    within: shapely.Geometry | None = None,
    same_iou: float = SAME_IOU,
    name: str = "Import nuclei",
) -> ActionResult:
    """Let nuclei enter a document in one step, all or nothing.

    Parameters
    ----------
    incoming
        Made by `import_batch.incoming_of` for the document's shape and scheme.
    policy
        What becomes of nuclei that are there.
    within
        Geometry ``(x, y)`` in level-0 pixels, such as `Region.shape`: only nuclei whose centroids
        lie in it come in, and with `ImportPolicy.REPLACE` go. Everywhere by default.
    same_iou
        IoU from which two are the same nucleus, 0.5–1; for `ImportPolicy.MERGE`.
    name
        Name of the undo step.

    Raises
    ------
    ValueError
        If ``same_iou`` would let a nucleus be the same as two others.
    ProjectError
        If the document cannot be changed; it is then as it was.
    """
    steps = import_incoming_in_steps(
        document, incoming, policy, within=within, same_iou=same_iou, name=name
    )
    return finished(steps)


def import_incoming_in_steps(
    document: Document,
    incoming: Incoming,
    policy: ImportPolicy = ImportPolicy.ADD,
    *,
    within: shapely.Geometry | None = None,
    same_iou: float = SAME_IOU,
    name: str = "Import nuclei",
) -> Steps:
    """Do as `import_incoming`, pausing square by square; see `Document.commit_in_steps`."""
    if not SAME_IOU <= same_iou <= 1:
        raise ValueError(f"same_iou must be {SAME_IOU:g}–1, got {same_iou}")
    incoming = incoming if within is None else incoming.inside(within)
    store, tally = document.store, _Tally(incoming)
    before: Iterator[Edit] = iter(())
    if policy is ImportPolicy.REPLACE:
        going = yield from _ids_within(document, within)
        ids = _ids_to_give(store.next_id, len(incoming), incoming.ids, going)
        before = _removal(document, set(going.tolist()), tally)
    elif policy is ImportPolicy.MERGE:
        merge = yield from merge_in_steps(document, incoming, same_iou)
        tally.changed, tally.kept = merge.changed, merge.kept
        tally.pairs = len(merge.takers) + len(merge.without_room)
        tally.without_room, tally.incoming = merge.without_room, merge.incoming
        incoming = merge.incoming.select(merge.only_there)
        ids = _ids_to_give(store.next_id, len(incoming), incoming.ids)
        before = merge.edits()
    else:
        ids = _ids_to_give(store.next_id, len(incoming), incoming.ids)
    edits = chain(before, _entering(document, incoming, ids, tally))
    action_id = yield from document.commit_in_steps(name, edits)
    return tally.result(name, action_id)


def _ids_to_give(
    next_id: int,
    n: int,
    wished: NDArray[np.int64] | None,
    going: Collection[int] | NDArray[np.int64] = (),
) -> NDArray[np.int64]:
    """Return the ids ``(n,)`` that n nuclei get; see `Document.reserve_ids` for the rule.

    Nothing is reserved: the step that gives them does so, or none of it happens.

    Parameters
    ----------
    next_id
        The smallest id that was never used.
    wished
        Ids that they had elsewhere.
    going
        Ids of nuclei that go in the same step. If there are any, each wish is looked at on its own:
        the others are numbered anew.
    """
    new = next_id + np.arange(n, dtype=np.int64)
    if wished is None or len(np.unique(wished)) != n:
        return new
    fits = (wished >= next_id) & (wished <= HIGHEST_KEPT_ID)
    if not len(going):
        return wished if fits.all() else new
    fits |= np.isin(wished, np.asarray(going, np.int64))
    ids = wished.copy()
    # There are n numbers to choose from, of which those kept can take as many as they are.
    ids[~fits] = np.setdiff1d(new, wished[fits])[: int(np.count_nonzero(~fits))]
    return ids


def _ids_within(
    document: Document, within: shapely.Geometry | None
) -> Generator[None, None, NDArray[np.int64]]:
    """Return the ids of nuclei whose centroids lie in a geometry, ascending; all without one."""
    if within is None:
        return document.ids
    # An empty geometry has bounds of nan.
    x0, y0, x1, y1 = np.nan_to_num(shapely.bounds(within))
    box = clip_box((np.floor(y0), np.floor(x0), np.ceil(y1), np.ceil(x1)), document.shape)
    near, found = document.ids_in(box), list[int]()
    shapely.prepare(within)
    for begin in range(0, len(near), ROWS_AT_ONCE):
        rows = document.rows(near[begin : begin + ROWS_AT_ONCE])
        y, x = np.array([row.centroid_yx for row in rows]).T
        held = shapely.contains_xy(within, x, y).tolist()
        found += [row.id for row, is_in in zip(rows, held, strict=True) if is_in]
        yield
    return np.array(found, np.int64)


def _removal(document: Document, going: set[int], tally: _Tally) -> Iterator[Edit]:
    """Yield edits that remove nuclei, tile by tile."""
    for box in document.store.tile_boxes():
        here = [i for i in document.store.ids_in(box) if i in going]
        going.difference_update(here)
        for begin in range(0, len(here), ROWS_AT_ONCE):
            batch = here[begin : begin + ROWS_AT_ONCE]
            tally.removed += batch
            yield plan_remove(document, document.store.rows(batch)).edit


def _entering(
    document: Document, incoming: Incoming, ids: NDArray[np.int64], tally: _Tally
) -> Iterator[Edit]:
    """Yield edits that let nuclei take background, square by square; some are empty."""
    for index in batches_of(incoming.nuclei, TILE_SIZE):
        placed = place_nuclei(
            document.store,
            incoming.nuclei.select(index),
            ids[index].tolist(),
            incoming.class_ids[index],
            NucleusState.IMPORTED,
        )
        tally.placed.append(placed)
        yield placed.edit


@dataclass(eq=False)
class _Tally:
    """What an import has done up to now."""

    incoming: Incoming
    placed: list[Placed] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    changed: Sequence[int] = ()
    kept: Sequence[int] = ()
    without_room: Sequence[int] = ()
    pairs: int | None = None

    def result(self, name: str, action_id: int | None) -> ActionResult:
        """Return the result of the step."""
        entered = [i for placed in self.placed for i in placed.ids]
        return ActionResult(
            name,
            action_id,
            tuple(sorted([*entered, *self.changed])),
            tuple(sorted(set(self.removed) - set(entered))),
            self._trimmed_px,
            tuple(sorted(set().union(*(placed.trimmed_by for placed in self.placed)))),
            self._message(len(entered)),
        )

    @property
    def _trimmed_px(self) -> int:
        return self._sum(lambda p: p.trimmed_px) + self.incoming.trimmed_px

    def _sum(self, of: Callable[[Placed], int]) -> int:
        return sum(of(placed) for placed in self.placed)

    def _message(self, entered: int) -> str:
        parts = [f"{counted(entered)} imported"]
        if self.removed:
            parts[0] += f" in the place of {len(self.removed):,}"
        if self.pairs is not None:
            same = self.pairs - len(self.changed) - len(self.without_room)
            parts += [f"{len(self.changed):,} brought up to date", f"{same:,} the same as before"]
        left_out = self._sum(lambda p: p.left_out) + self.incoming.left_out
        outside = self._sum(lambda p: p.outside) + self.incoming.outside
        for count, text in (
            (len(self.kept), "kept as you made or accepted them"),
            (len(self.without_room), "kept because others hold their place"),
            (self._trimmed_px, "px left to nuclei that hold them"),
            (left_out, "left out because others hold their place"),
            (outside, "left out because they lie outside the image"),
        ):
            if count:
                parts.append(f"{count:,} {text}")
        return "; ".join([*parts, *self.incoming.notes]) + "."
