"""A user who sees the true outlines and corrects nuclei one by one, an action at a time.

He decides by what lies before his eyes (`views.View`), never by trying in secret: what makes it
worse is undone, and the undo counts. Clicks are exact to the pixel; corners of boxes and strokes
are off by `strokes.JITTER`. An action is a click, a drag, or a press of Tab or Ctrl-Z; keys that
choose a gesture or a brush, and zooming, are not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.masks import largest_part
from napari_nucleus.training import strokes
from napari_nucleus.training.desk import Desk
from napari_nucleus.training.views import (
    View,
    deepest,
    holds_another,
    outside_core,
    takers_of,
)

__all__ = ["LIMIT", "TARGET", "Means", "SimulatedUser", "Tallies"]

Means = Literal["clicks", "boxes", "all"]
"""What he uses: clicks alone; boxes as well; or also strokes that cut, merge, paint and erase."""

TARGET = 0.8
"""IoU with which he is content."""

LIMIT = 10
"""Actions after which he gives a nucleus up."""

BRUSH_UM = 1.0
"""Radius of his brush."""

CLEARANCE = 1.0
"""Pixels by which he means a box to stay clear of the nucleus."""

WORSE = 0.01
"""Change of IoU that he sees; a loss of more is undone."""

HELPED = 0.03
"""Gain of IoU with which a tactic helped; one that brought less is not used again at once."""

WORTH = 0.1
"""Share of a nucleus in the hands of others from which that is put right first."""

LARGE_PART = 0.4
"""Share of a nucleus in the hands of another one from which it is cut off there, not erased."""

NEAR_AFTER = 1
"""Strokes on a nucleus after which he zooms in twofold and halves error and brush."""

STEADY = frozenset(("click", "carve", "paint", "erase", "reclaim"))
"""Tactics that may be used again after one of them helped."""

RISKY = frozenset(("free", "cut", "merge", "remove", "reclaim"))
"""Tactics that prepare for the next one and may cost IoU."""

PAUSE = 3.0
"""Seconds from one nucleus to the next."""


@dataclass
class Tallies:
    """What was done.

    Attributes
    ----------
    kinds
        Actions by what the hand did.
    tactics
        For each tactic, the IoU before and after each use.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    tactics: defaultdict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )


class SimulatedUser:
    """Corrects the nuclei of one image.

    Parameters
    ----------
    desk
        The app.
    true
        ``(H, W)`` int32 label map that he has before his eyes.
    means
        What he uses.
    click_first
        True if a nucleus that is not there is begun with a click, not with a box.
    mpp
        µm per pixel.
    rng
        His hand.

    Attributes
    ----------
    boxes
        Box of each true nucleus.
    spent, strokes
        Actions and strokes on each true nucleus.
    tallies
        What was done.
    """

    def __init__(
        self,
        desk: Desk,
        true: NDArray[np.int32],
        means: Means,
        click_first: bool,
        mpp: float,
        rng: np.random.Generator,
    ) -> None:
        self.desk, self.true, self.means, self.rng = desk, true, means, rng
        self.click_first = click_first
        self.radius = BRUSH_UM / mpp
        self.boxes: dict[int, Box] = {
            number: (s[0].start, s[1].start, s[0].stop, s[1].stop)
            for number, s in enumerate(ndimage.find_objects(true), start=1)
            if s is not None
        }
        self.spent = dict.fromkeys(self.boxes, 0)
        self.strokes: Counter[int] = Counter()
        self.tallies = Tallies()

    def look(self, number: int) -> View:
        """Look at a true nucleus."""
        return View.of(self.desk.document, self.true, number, self.boxes[number])

    def correct(self, number: int) -> None:
        """Work on a true nucleus until its IoU is `TARGET`, or he gives it up."""
        view = self.look(number)
        if view.iou >= TARGET:
            return
        self.desk.wait(PAUSE)
        failed: set[str] = set()
        while view.iou < TARGET and self.spent[number] < LIMIT:
            tactic = self._choose(view, failed)
            if tactic is None:
                return
            changed = self._act(tactic, view)
            after = self.look(number)
            if tactic == "click" and after.own is None and self._may("swap", number):
                self._act("swap", after)
                after = self.look(number)
            lost = changed and after.iou < view.iou - WORSE and tactic not in RISKY
            if lost and self._may("undo", number):
                self._act("undo", after)
                after = self.look(number)
            if after.iou > view.iou + HELPED and tactic in STEADY:
                failed -= STEADY
            elif not changed or tactic not in RISKY:
                failed.add(tactic)
            view = after

    def remove(self, nucleus: int) -> None:
        """Ctrl-click the middle of a nucleus of the document."""
        self.desk.wait(PAUSE)
        mask, box = self.desk.document.mask(nucleus)
        self.tallies.kinds["Ctrl-click"] += 1
        self.desk.click(deepest(mask) + np.array(box[:2]), taking=True)

    def false_nuclei(self) -> list[int]:
        """Return the nuclei of the document that stand for no true one."""
        owned = {self.look(number).own for number in self.boxes}
        return [i for i in self.desk.document.ids.tolist() if i not in owned]

    def stray_nuclei(self) -> list[int]:
        """Return the false nuclei of which nothing is of use: most lies on background."""
        found = []
        for nucleus in self.false_nuclei():
            mask, (y0, x0, y1, x1) = self.desk.document.mask(nucleus)
            if (self.true[y0:y1, x0:x1][mask] > 0).mean() < 0.5:
                found.append(nucleus)
        return found

    # ---- what to do

    def _choose(self, view: View, failed: set[str]) -> str | None:
        order = self._by_hand(view) if self.means == "all" else self._by_model(view)
        begins = self.click_first and view.own is None and not self.spent[view.number]
        if begins and order[:1] == ["box"] and view.missing.any():
            order = ["click", *order]
        return next((tactic for tactic in order if tactic not in failed), None)

    def _may(self, key: str, number: int) -> bool:
        return self.spent[number] < LIMIT and (key == "undo" or self.desk.tool.can_swap)

    def _by_model(self, view: View) -> list[str]:
        """Return what clicks and boxes may do, the most promising first."""
        order = _clicks(view)
        taken = int(view.taken.sum())
        if taken > max(int(view.missing.sum()), int(outside_core(view).sum())):
            order = ["free", *order]
        elif taken:
            order = [*order, "free"]
        if self.means == "boxes" and taken < LARGE_PART / 2 * view.area:
            order = ["box", *order]
        return order

    def _by_hand(self, view: View) -> list[str]:
        """Return what may be done with everything, the most promising first."""
        takers = takers_of(view)
        pieces = sum(t.part for t in takers if t.is_fragment)
        whole = view.own is not None or sum(t.is_fragment for t in takers) > 1
        foreign = next((t for t in takers if not t.is_fragment), None)
        first = []
        if whole and pieces >= WORTH * view.area:
            first.append("merge")
        if foreign is not None and foreign.part >= WORTH * view.area:
            if foreign.is_false:
                first.append("remove")
            else:
                first.append("cut" if foreign.part >= LARGE_PART * view.area else "reclaim")
        elif holds_another(view):
            first.append("cut")
        clicks = _clicks(view)
        return [*first, "box", *clicks[:1], *_best_strokes(view), *clicks[1:]]

    # ---- doing it

    def _act(self, tactic: str, view: View) -> bool:
        """Spend an action; return whether the document changed."""
        kind, do = {
            "click": ("click", self._click),
            "carve": ("Ctrl-click", self._carve),
            "free": ("Ctrl-click", self._free),
            "remove": ("Ctrl-click", self._remove),
            "box": ("box", self._box),
            "merge": ("merge stroke", self._merge),
            "cut": ("cut stroke", self._cut),
            "paint": ("brush stroke", self._paint),
            "erase": ("eraser stroke", self._erase),
            "reclaim": ("eraser stroke", self._reclaim),
            "swap": ("Tab", lambda _: self.desk.swap()),
            "undo": ("undo", lambda _: self.desk.undo()),
        }[tactic]
        self.tallies.kinds[kind] += 1
        self.spent[view.number] += 1
        changed = do(view)
        self.tallies.tactics[tactic].append((view.iou, self.look(view.number).iou))
        return changed

    def _click(self, view: View) -> bool:
        return self.desk.click(view.level0(deepest(largest_part(view.missing))))

    def _carve(self, view: View) -> bool:
        place = largest_part(outside_core(view))
        return self.desk.click(view.level0(deepest(place)), taking=True)

    def _free(self, view: View) -> bool:
        return self.desk.click(view.level0(deepest(largest_part(view.taken))), taking=True)

    def _remove(self, view: View) -> bool:
        taker = next(t for t in takers_of(view) if t.is_false)
        return self.desk.click(view.level0(deepest(view.labels == taker.id)), taking=True)

    def _box(self, view: View) -> bool:
        rows, cols = np.flatnonzero(view.truth.any(1)), np.flatnonzero(view.truth.any(0))
        corners = np.array([rows[0], cols[0], rows[-1] + 1, cols[-1] + 1], float)
        corners += np.tile(view.box[:2], 2) + CLEARANCE * np.array([-1, -1, 1, 1])
        corners += strokes.JITTER * self.rng.normal(size=4)
        return self.desk.box(corners.tolist())

    def _merge(self, view: View) -> bool:
        ids = [t.id for t in takers_of(view) if t.is_fragment]
        parts = [view.labels == i for i in ids] + [view.mask] * (view.own is not None)
        places = np.stack([deepest(part & view.truth) for part in parts])
        longest = int(np.ptp(places, axis=0).argmax())
        return self.desk.merge(view.level0(places[np.argsort(places[:, longest])]))

    def _cut(self, view: View) -> bool:
        foreign = [t for t in takers_of(view) if not t.is_fragment]
        large = foreign and foreign[0].part >= LARGE_PART * view.area
        blob = view.labels == foreign[0].id if large else view.mask
        path = strokes.cut_stroke(view.truth, blob)
        return path is not None and self.desk.cut(view.level0(self._drawn(view, path)))

    def _reclaim(self, view: View) -> bool:
        """Erase what another nucleus holds of this one."""
        taker = view.labels == next(t for t in takers_of(view) if not t.is_fragment).id
        path = strokes.paint_stroke(view.truth, view.taken & taker, self._radius(view))
        if path is None:
            return False
        covered, first = self._brushed(view, strokes.begun_in(path, view.truth & taker))
        return self.desk.erase(covered, view.box, self.desk.document.id_at(view.level0(first)))

    def _paint(self, view: View) -> bool:
        path = strokes.paint_stroke(view.truth, view.missing, self._radius(view))
        if path is None:
            return False
        if (view.mask & view.truth).any():
            path = strokes.begun_in(path, view.mask & view.truth)
        covered, _ = self._brushed(view, path)
        return self.desk.paint(covered, view.box, view.own)

    def _erase(self, view: View) -> bool:
        right = view.others & (view.true_labels > 0)
        path = strokes.erase_stroke(view.truth, view.surplus, right, self._radius(view))
        if path is None:
            return False
        covered, first = self._brushed(view, path)
        return self.desk.erase(covered, view.box, self.desk.document.id_at(view.level0(first)))

    def _brushed(
        self, view: View, path: NDArray[np.floating]
    ) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
        """Return what the brush covers along a path, and where the stroke began."""
        path = self._drawn(view, path)
        return strokes.brushed(path, self._radius(view), view.truth.shape), path[0]

    def _drawn(self, view: View, path: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a path as his hand draws it."""
        self.strokes[view.number] += 1
        return strokes.shaken(path, self.rng, strokes.JITTER / self._zoom(view))

    def _radius(self, view: View) -> float:
        return self.radius / self._zoom(view)

    def _zoom(self, view: View) -> int:
        return 2 if self.strokes[view.number] > NEAR_AFTER else 1


def _clicks(view: View) -> list[str]:
    """Return the clicks there are, first the one at the larger error."""
    missing, surplus = int(view.missing.sum()), int(outside_core(view).sum())
    order = ["click", "carve"] if missing >= surplus else ["carve", "click"]
    return [name for name in order if (missing if name == "click" else surplus)]


def _best_strokes(view: View) -> list[str]:
    """Return the strokes there are, first the one whose perfect result would be the better."""
    if view.own is None:
        return ["paint"]
    common = int((view.mask & view.truth).sum())
    painted = (common + int(view.missing.sum())) / int((view.mask | view.truth).sum())
    return ["paint", "erase"] if painted > common / view.area else ["erase", "paint"]
