"""Where somebody was looking when an image was left, so that it is there again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import orjson

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """A look at an image.

    Parameters
    ----------
    centre_yx
        The level-0 point in the middle of the canvas.
    zoom
        Screen pixels to one level-0 pixel; above 0.
    tab
        Name of the tab that was open.
    selected
        The nucleus that was selected, or None.
    """

    centre_yx: tuple[float, float]
    zoom: float
    tab: str = ""
    selected: int | None = None

    def to_text(self) -> str:
        """Return it as a line of JSON."""
        y, x = self.centre_yx
        nucleus = None if self.selected is None else int(self.selected)
        return orjson.dumps([float(y), float(x), float(self.zoom), self.tab, nucleus]).decode()

    @classmethod
    def of_text(cls, text: str | None) -> View | None:
        """Return what `to_text` wrote; None for anything else, for it is a convenience."""
        try:
            y, x, zoom, tab, nucleus = orjson.loads(text or "")
            place = float(y), float(x), float(zoom)
            selected = None if nucleus is None else int(nucleus)
        except (TypeError, ValueError):
            return None
        if not all(map(math.isfinite, place)) or place[2] <= 0:
            return None
        return cls(place[:2], place[2], str(tab), selected)
