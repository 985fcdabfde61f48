"""Small squares of a colour, beside the names of classes."""

from __future__ import annotations

from functools import lru_cache

from qtpy.QtGui import QColor, QIcon, QPixmap

__all__ = ["swatch", "swatch_pixmap"]

SIDE = 12
"""Pixels of a side."""


def swatch_pixmap(color: tuple[int, int, int]) -> QPixmap:
    """Return a small square of a colour (r, g, b)."""
    pixmap = QPixmap(SIDE, SIDE)
    pixmap.fill(QColor(*color))
    return pixmap


@lru_cache(maxsize=256)
def swatch(color: tuple[int, int, int]) -> QIcon:
    """Return a small square of a colour (r, g, b), which stays where it is selected or disabled."""
    pixmap = swatch_pixmap(color)
    icon = QIcon(pixmap)
    for mode in (QIcon.Mode.Selected, QIcon.Mode.Disabled):
        icon.addPixmap(pixmap, mode)
    return icon
