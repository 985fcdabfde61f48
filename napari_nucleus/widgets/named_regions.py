"""Regions to be measured each for itself: drawn ones under their names, and signed-off ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from napari.layers import Shapes

from napari_nucleus.session.regions import Polygons, RegionKind
from napari_nucleus.widgets.layers import numbered_polygons, role_of

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["NamedRegion", "name_region", "named_regions"]

NAME = "name"
"""Column of a shapes layer's features."""

TEXT = {"string": "{name}", "size": 10, "color": "#ffe119", "anchor": "upper_left"}


@dataclass(frozen=True, eq=False)
class NamedRegion:
    """A region with a name.

    Parameters
    ----------
    name
        What it is called.
    polygons
        Where it is.
    shape
        Its number in the drawn layer; None for one that is signed off.
    """

    name: str
    polygons: Polygons
    shape: int | None = None


def named_regions(annotation: Annotation, drawing: Shapes | None) -> list[NamedRegion]:
    """Return the regions of an image.

    Drawn shapes of our own layer without a name get one, which is shown beside them.
    """
    found = []
    if drawing is not None:
        polygons = numbered_polygons(drawing, annotation.image)
        names = _names(drawing)
        if role_of(drawing) is not None and names != _kept(drawing):
            _set(drawing, names)
        found = [NamedRegion(names[i], (points,), i) for i, points in polygons.items()]
    found += [
        NamedRegion(f"Signed off {region.id}", region.polygons)
        for region in annotation.document.regions
        if region.kind is RegionKind.REVIEWED
    ]
    return found


def name_region(drawing: Shapes, shape: int, name: str) -> None:
    """Give a drawn shape another name; an empty one gives it its number again."""
    names = _kept(drawing)
    names[shape] = name.strip()
    _set(drawing, [n or f"Region {i + 1}" for i, n in enumerate(names)])


def _kept(drawing: Shapes) -> list[str]:
    column = drawing.features.get(NAME)
    values = [""] * len(drawing.data) if column is None else column.tolist()
    return [value if isinstance(value, str) else "" for value in values]


def _names(drawing: Shapes) -> list[str]:
    """Return the name of each shape, no two alike: a copy of a shape has its name as well."""
    names: list[str] = []
    for number, kept in enumerate(_kept(drawing), 1):
        name = kept if kept and kept not in names else f"Region {number}"
        while name in names:
            name += "′"
        names.append(name)
    return names


def _set(drawing: Shapes, names: list[str]) -> None:
    drawing.features = pd.DataFrame({NAME: names})
    drawing.text = TEXT
