"""The click tool: pointer in, request or edit out; a state machine without Qt, model or clock.

The rule, for a click at a point (DESIGN's click rule):

- Background: decode "new nucleus" and, within `REACH_UM` of a nucleus, "extend that one"; show the
  better-scored plausible one, `swap` shows the other as the same undo step. For `TOUCH_SECONDS`
  the nucleus touched last is the one to extend, and wins.
- Inside a nucleus: select it; accept it if it is doubtful.
- Taking away in the core of a nucleus (depth at least half of the largest) removes it, nearer the
  rim carves there; it never makes the nucleus grow. On background it does nothing: that pixel is
  background already.
- A box around an existing nucleus (IoU of the boxes above a half, or the nucleus fills most of it)
  gives it the outline that the model finds in the box alone, else it is a new one.

Requests and answers:

- Requests for different places live side by side, and each is answered, in any order.
- A click on what a pending request is about (the same nucleus; or background within `REACH_UM` of
  its click) makes a new request with all points, which supersedes the pending one. The answer
  superseded is dropped, so both clicks together are one undo step.
- When an answer comes, a candidate whose nucleus is gone, has other pixels than when it was asked,
  or is meanwhile the target of a newer request, is dropped; so is a new nucleus whose click lies
  in another nucleus by now. When none remains, nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box, box_union, clip_box, pad_box
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.candidates import (
    boxed_nucleus,
    is_current,
    new_nucleus,
    plan_candidate,
    refined_nucleus,
)
from napari_nucleus.session.choice import Option, best_option
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.masks import in_core
from napari_nucleus.session.outcomes import (
    Candidate,
    Decode,
    Done,
    HoverIntent,
    Kind,
    Nothing,
    Outcome,
    Request,
    Selected,
)
from napari_nucleus.session.outlines import ActionResult, Plan
from napari_nucleus.session.provenance import MadeBy

__all__ = ["ASSUMED_MPP", "REACH_UM", "TOUCH_SECONDS", "ClickTool"]

REACH_UM = 3.0
"""How far from a nucleus a click on background may mean to extend it; the radius within which a
detection counts as the same nucleus in HoVer-Net's evaluation."""

TOUCH_SECONDS = 2.0
"""How long the nucleus touched last is favoured."""

ASSUMED_MPP = 0.25
"""µm per pixel while the document does not know."""

SAME_BOX_IOU = 0.5
"""IoU with a nucleus's box above which a drawn box is around that nucleus."""

HELD_SHARE = 0.4
"""Share of a drawn box that one nucleus fills, and share of that nucleus within the box, from which
the box is around it though their boxes differ: half of an ellipse that just fits."""

SMALLEST_BOX = 3.0
"""Side in pixels below which a box is a slip of the hand."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A request on its way, and the nucleus that was favoured when it was made."""

    request: Request
    favourite: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """The step last made from two options, which Tab swaps."""

    action_id: int
    options: tuple[Option, ...]
    index: int
    made_by: MadeBy | None


class ClickTool:
    """Turns clicks into requests and edits.

    Parameters
    ----------
    document
        What is corrected.
    clock
        Seconds that never run backwards.
    is_doubtful
        Says of an id whether it waits for the user's judgement; a click then accepts it.
    """

    def __init__(
        self,
        document: Document,
        clock: Callable[[], float] = time.monotonic,
        is_doubtful: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._document = document
        self._clock = clock
        self._is_doubtful = is_doubtful
        self._flipped = False
        self._selected: int | None = None
        self._hovered: int | None = None
        self._touched: tuple[int, float] | None = None
        self._pending: dict[int, _Pending] = {}
        self._last_number = 0
        self._shown: _Shown | None = None

    # ---- state that is shown

    @property
    def flipped(self) -> bool:
        """True while a plain click takes away and a Ctrl-click adds."""
        return self._flipped

    @property
    def selected(self) -> int | None:
        """The selected nucleus, or None."""
        return self._selected if self._exists(self._selected) else None

    @property
    def pending(self) -> tuple[Request, ...]:
        """Requests that wait for an answer, oldest first."""
        return tuple(p.request for p in self._pending.values())

    @property
    def can_swap(self) -> bool:
        """True if `swap` has another answer to show."""
        shown = self._shown
        return shown is not None and shown.action_id == self._document.history.last_action_id

    def hover(self, point_yx: ArrayLike, taking: bool = False) -> HoverIntent:
        """Return what a click here would do.

        Parameters
        ----------
        point_yx
            The pointer, level-0 pixels.
        taking
            True while the key for taking away is held.
        """
        under = self._hovered = self._document.id_at(point_yx)
        if not self._document.contains_point(point_yx):
            return HoverIntent("nothing")
        if taking != self._flipped:
            if under is None:
                return HoverIntent("nothing")
            return HoverIntent("remove" if self._in_core(under, point_yx) else "carve", under)
        if under is not None:
            return HoverIntent("select", under)
        beside = _one_of(self._near(point_yx), self._favourite(self._clock()))
        return HoverIntent("add") if beside is None else HoverIntent("extend", beside)

    # ---- what the user does

    def click(
        self, point_yx: ArrayLike, negative: bool = False, at: float | None = None
    ) -> Outcome:
        """Take a click.

        Parameters
        ----------
        point_yx
            Where, level-0 pixels.
        negative
            True if the key for taking away was held.
        at
            When, in the clock's seconds; now by default.

        Raises
        ------
        NucleusError
            If the store cannot keep an edit that follows at once; nothing has changed then.
        """
        point = np.asarray(point_yx, float)
        if not self._document.contains_point(point):
            return Nothing("The click is outside the image.")
        at = self._clock() if at is None else at
        under = self._document.id_at(point)
        if negative != self._flipped:
            if under is None:
                return Nothing("There is no nucleus here to take away.")
            return self._take_away(point, under, at)
        if under is None:
            return self._add(point, at)
        self._selected = under
        self._touched = under, at
        if self._is_doubtful(under):
            result = actions.accept(self._document, [under])
            if result.action_id is not None:
                return Done(result)
        return Selected(under)

    def box(self, box_yxyx: Sequence[float]) -> Outcome:
        """Take a drawn box ``(y0, x0, y1, x1)``, corners in any order, level-0 pixels."""
        ya, xa, yb, xb = (float(v) for v in box_yxyx)
        height, width = self._document.shape
        y0, x0 = max(min(ya, yb), 0.0), max(min(xa, xb), 0.0)
        y1, x1 = min(max(ya, yb), float(height)), min(max(xa, xb), float(width))
        # Written so that NaN is refused as well.
        if not (y1 - y0 >= SMALLEST_BOX and x1 - x0 >= SMALLEST_BOX):
            return Nothing("The box is too small or outside the image.")
        box = (y0, x0, y1, x1)
        pixels = int(y0), int(x0), int(np.ceil(y1)), int(np.ceil(x1))
        target = self._framed_by(box, pixels)
        if target is None:
            return self._ask("box", (new_nucleus(Prompts(box=box)),), pixels)
        earlier = self._pending_about(target)
        given = replace(self._given(target, earlier), box=box)
        candidate = boxed_nucleus(self._document, target, given)
        return self._ask("box", (candidate,), pixels, earlier)

    def scribble(self, points_yx: ArrayLike) -> Outcome:
        """Take a stroke ``(m, 2)`` drawn along a nucleus, level-0 pixels.

        Begun in a nucleus it says more about that one, begun beside it means a new one.
        """
        points = np.asarray(points_yx, float).reshape(-1, 2)
        inside = [p for p in points if self._document.contains_point(p)]
        if len(inside) < 2:
            return Nothing("The scribble lies outside the image, or is a mere point.")
        line = np.array(inside)
        (y0, x0), (y1, x1) = np.floor(line.min(0)).astype(int), np.floor(line.max(0)).astype(int)
        box = (int(y0), int(x0), int(y1) + 1, int(x1) + 1)
        target = self._document.id_at(line[0])
        if target is None:
            return self._ask("box", (new_nucleus(Prompts(scribble_yx=line)),), box)
        earlier = self._pending_about(target)
        given = replace(self._given(target, earlier), scribble_yx=line)
        candidate = refined_nucleus(self._document, target, given)
        box = box_union(box, self._document.row(target).box)
        return self._ask("box", (candidate,), box, earlier)

    def toggle_sign(self) -> bool:
        """Exchange adding and taking away (T); return True if a plain click now takes away."""
        self._flipped = not self._flipped
        return self._flipped

    def swap(self) -> Outcome:
        """Show the other answer to the last click (Tab), as the same undo step."""
        shown = self._shown
        if shown is None or not self.can_swap:
            return Nothing("There is no other answer to the last click.")
        index = (shown.index + 1) % len(shown.options)
        option = shown.options[index]
        plans: list[Plan] = []

        def make() -> tuple[str, Edit]:
            # Planned anew: a run may have taken the id, or pixels, that the first plan wanted.
            plan = plan_candidate(
                self._document, "add", option.candidate, option.prediction, shown.made_by
            )
            plans.append(plan)
            return plan.name, plan.edit

        try:
            self._document.amend(shown.action_id, make)
        except EditRefusedError as error:
            return Nothing(str(error))
        self._shown = replace(shown, index=index)
        self._touched = plans[0].ids[0], self._clock()
        return Done(plans[0].result(shown.action_id))

    def select(self, nucleus_id: int) -> None:
        """Select a nucleus, as a click in it does, without accepting it."""
        self._selected = nucleus_id

    def delete(self) -> Outcome:
        """Remove the selected nucleus, or else the one under the pointer."""
        target = self.selected
        if target is None and self._exists(self._hovered):
            target = self._hovered
        if target is None:
            return Nothing("No nucleus is selected or under the pointer.")
        return Done(actions.remove(self._document, [target]))

    def escape(self) -> None:
        """Drop what is pending; when nothing is, the selection."""
        if self._pending:
            self._pending.clear()
        else:
            self._selected = None

    # ---- what the model answers

    def answer(
        self,
        request: Request,
        predictions: Sequence[MaskPrediction],
        made_by: MadeBy | None = None,
    ) -> ActionResult | None:
        """Take the model's answer and change the document.

        Parameters
        ----------
        request
            The request it answers.
        predictions
            One for each candidate, in level-0 pixels.
        made_by
            The model, noted with what it changes; its classes are those of the predictions.

        Returns
        -------
        ActionResult or None
            None if the answer is stale: superseded, escaped, or its nuclei have changed since.

        Raises
        ------
        EditRefusedError
            If the model sees no nucleus or neighbours leave no room for it.
        """
        pending = self._pending.get(request.number)
        if pending is None:
            return None
        later = [p.request for n, p in self._pending.items() if n > request.number]
        del self._pending[request.number]
        options: list[Option] = []
        refused: EditRefusedError | None = None
        for candidate, prediction in zip(request.candidates, predictions, strict=True):
            if self._is_stale(request, candidate, later):
                continue
            try:
                plan = plan_candidate(self._document, request.kind, candidate, prediction, made_by)
            except EditRefusedError as error:
                refused = error
            else:
                options.append(Option(candidate, prediction, plan))
        if not options:
            if refused is not None:
                raise refused
            return None
        best = 0
        if len(options) > 1:
            point = request.candidates[0].given.points_yx[-1]
            best = best_option(options, point, self._mpp(), pending.favourite)
        result = actions.commit(self._document, options[best].plan)
        if result.action_id is not None and len(options) > 1:
            self._shown = _Shown(result.action_id, tuple(options), best, made_by)
        if result.ids:
            self._touched = result.ids[0], self._clock()
        return result

    def failed(self, request: Request) -> None:
        """Take note that a request will not be answered."""
        self._pending.pop(request.number, None)

    def _is_stale(self, request: Request, candidate: Candidate, later: Sequence[Request]) -> bool:
        if request.kind == "add":
            clicked = candidate.given.points_yx[candidate.given.positive][-1]
            if self._document.id_at(clicked) not in (None, candidate.target):
                return True
        if candidate.target is None:
            return False
        if any(_is_about(newer, candidate.target) for newer in later):
            return True
        return not is_current(self._document, candidate)

    # ---- clicks

    def _take_away(self, point: NDArray[np.float64], under: int, at: float) -> Outcome:
        if self._in_core(under, point):
            return Done(actions.remove(self._document, [under]))
        earlier = self._pending_about(under)
        given = self._given(under, earlier)
        if earlier and _ends_with(given, point, False):
            return Nothing("This click is being worked on.")
        candidate = refined_nucleus(self._document, under, given.with_point(point, False))
        # A click that added is not to be lost to one that only takes away.
        kind = earlier[-1].kind if earlier else "carve"
        return self._ask(kind, (candidate,), self._document.row(under).box, earlier, at)

    def _add(self, point: NDArray[np.float64], at: float) -> Outcome:
        near, favourite = self._near(point), self._favourite(at)
        beside = _one_of(near, favourite)
        earlier = [] if beside is None else self._pending_about(beside)
        if beside is not None and earlier:
            # The user is at work on this nucleus: no new one may displace what was asked.
            given = self._given(beside, earlier)
            if _ends_with(given, point, True):
                return Nothing("This click is being worked on.")
            candidate = refined_nucleus(self._document, beside, given.with_point(point, True))
            return self._ask("add", (candidate,), self._around(point, beside), earlier, at)
        earlier = self._pending_beside(point)
        given = earlier[0].candidates[0].given if earlier else Prompts()
        if _ends_with(given, point, True):
            return Nothing("This click is being worked on.")
        given = given.with_point(point, True)
        candidates = [new_nucleus(given)]
        targets = [c.target for r in earlier for c in r.candidates if c.target is not None]
        beside = _one_of([*near, *filter(self._exists, targets)], favourite)
        if beside is not None:
            own = self._document.prompts(beside)
            for clicked in given.points_yx:
                own = own.with_point(clicked, True)
            candidates.append(refined_nucleus(self._document, beside, own))
        return self._ask("add", tuple(candidates), self._around(point, beside), earlier, at)

    def _ask(
        self,
        kind: Kind,
        candidates: tuple[Candidate, ...],
        box: Box,
        superseded: Sequence[Request] = (),
        at: float | None = None,
    ) -> Decode:
        for request in superseded:
            del self._pending[request.number]
        self._last_number += 1
        request = Request(
            self._last_number,
            kind,
            candidates,
            clip_box(box, self._document.shape),
            tuple(r.number for r in superseded),
        )
        favourite = self._favourite(self._clock() if at is None else at)
        self._pending[request.number] = _Pending(request, favourite)
        return Decode(request)

    # ---- small questions

    def _given(self, target: int, earlier: Sequence[Request]) -> Prompts:
        """Return all that the user gave for a nucleus, in pending requests about it as well."""
        return earlier[-1].candidates[0].given if earlier else self._document.prompts(target)

    def _pending_about(self, target: int) -> list[Request]:
        """Return the pending request about this nucleus alone, if there is one."""
        return [r for r in self.pending if _is_about(r, target)]

    def _pending_beside(self, point: NDArray[np.float64]) -> list[Request]:
        """Return the newest pending request for a new nucleus that was clicked near ``point``."""
        for request in reversed(self.pending):
            if request.kind == "add" and request.candidates[0].target is None:
                gaps = request.candidates[0].given.points_yx - point
                if (np.hypot(gaps[:, 0], gaps[:, 1]) <= self._reach_px()).any():
                    return [request]
        return []

    def _framed_by(self, box: Sequence[float], pixels: Box) -> int | None:
        """Return the nucleus that a drawn box is clearly around, or None."""
        rows = [self._document.row(i) for i in self._document.ids_in(pixels)]
        best = max(rows, key=lambda row: _box_iou(row.box, box), default=None)
        if best is None or _box_iou(best.box, box) > SAME_BOX_IOU:
            return None if best is None else best.id
        labels = self._document.labels(pixels)
        held = {row.id: int(np.count_nonzero(labels == row.id)) for row in rows}
        most = max(rows, key=lambda row: held[row.id])
        needed = HELD_SHARE * max(labels.size, most.area)
        return most.id if held[most.id] >= needed else None

    def _mpp(self) -> float:
        return self._document.mpp or ASSUMED_MPP

    def _reach_px(self) -> float:
        return REACH_UM / self._mpp()

    def _near(self, point: ArrayLike) -> list[int]:
        return [i for i, _ in self._document.near(point, self._reach_px())]

    def _around(self, point: NDArray[np.float64], target: int | None) -> Box:
        r, c = (int(v) for v in point)
        box = pad_box((r, c, r + 1, c + 1), int(np.ceil(self._reach_px())))
        return box if target is None else box_union(box, self._document.row(target).box)

    def _exists(self, nucleus_id: int | None) -> bool:
        return nucleus_id is not None and nucleus_id in self._document

    def _favourite(self, at: float) -> int | None:
        """Return the nucleus touched a moment before ``at``, if it is still there."""
        if self._touched is None or at - self._touched[1] > TOUCH_SECONDS:
            return None
        return self._touched[0] if self._exists(self._touched[0]) else None

    def _in_core(self, nucleus_id: int, point_yx: ArrayLike) -> bool:
        mask, (y0, x0, _, _) = self._document.mask(nucleus_id)
        r, c = (int(v) for v in np.asarray(point_yx, float))
        return in_core(mask, (r - y0, c - x0))


def _one_of(near: Sequence[int], favourite: int | None) -> int | None:
    """Return the nucleus that a click beside these may extend: the favourite, or the first."""
    if favourite is not None and favourite in near:
        return favourite
    return near[0] if near else None


def _is_about(request: Request, target: int) -> bool:
    return len(request.candidates) == 1 and request.candidates[0].target == target


def _ends_with(given: Prompts, point: NDArray[np.float64], positive: bool) -> bool:
    """Return True if the last click given was on the same pixel with the same sign."""
    if not len(given.points_yx):
        return False
    same = np.array_equal(np.floor(given.points_yx[-1]), np.floor(point))
    return same and bool(given.positive[-1]) == positive


def _box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return height * width / (areas - height * width)
