"""What is measured, where, and the values of it; made and kept up on threads of their own.

Knows neither Qt nor the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL, Cells
from napari_nucleus.core.narrative import Narrative, narrate
from napari_nucleus.core.spatial import densities_per_mm2
from napari_nucleus.core.tme import Features, TmeSettings, features_of_tally
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder, geometry_of
from napari_nucleus.core.tme_cells import CellTable
from napari_nucleus.core.tme_live import LiveTme
from napari_nucleus.core.tme_measurement import TmeMeasurement, measurement_of
from napari_nucleus.core.tme_phenotypes import interpret
from napari_nucleus.session.regions import Polygons

__all__ = ["Lives", "Where"]

UNKNOWN_MPP = 1.0
"""Stands for the pixel size as long as that is unknown: every length is in pixels then."""


@dataclass(frozen=True, eq=False)
class Where:
    """What is to be measured.

    Parameters
    ----------
    name
        Of the area.
    shape
        Height and width of the image.
    within
        Level-0 polygons ``(n, 2)`` of ``(y, x)``; empty for all of the image.
    excluded
        What is left out, likewise.
    regions
        Names and polygons of regions to be compared.
    border
        Polygons of the drawn tumour; empty for none.
    """

    name: str
    shape: tuple[int, int]
    within: Polygons = ()
    excluded: Polygons = ()
    regions: tuple[tuple[str, Polygons], ...] = ()
    border: Polygons = ()

    def is_like(self, other: Where) -> bool:
        """Return True if another one says the same."""
        return self._plain() == other._plain()

    def _plain(self) -> tuple[object, ...]:
        def plain(polygons: Polygons) -> tuple[bytes, ...]:
            return tuple(np.ascontiguousarray(points, np.float64).tobytes() for points in polygons)

        regions = tuple((name, plain(polygons)) for name, polygons in self.regions)
        parts = (self.within, self.excluded, self.border)
        return self.name, self.shape, regions, *map(plain, parts)

    def areas(self) -> list[MeasuredArea]:
        """Return the whole of it, then each region."""
        out = geometry_of(self.excluded) if self.excluded else None

        def area(name: str, within: Polygons) -> MeasuredArea:
            inside = geometry_of(within) if within else None
            return MeasuredArea.of(name, self.shape, inside, out)

        return [area(self.name, self.within), *(area(n, polygons) for n, polygons in self.regions)]


@dataclass(frozen=True, eq=False)
class Lives:
    """The cells of an area and of its regions, and what is known of them.

    Parameters
    ----------
    areas
        The whole, then each region.
    tables
        Of each of them, as they are now.
    settings
        How they are measured.
    mpp
        µm per pixel; None while it is unknown.
    border
        Bands along the drawn tumour, if there is one.
    note
        What could not be measured as asked, as a sentence.
    guessed
        Nuclei of the area whose class is a guess between neoplastic and epithelial.
    needs_all
        True if it must be made anew: what the models told apart has changed.
    """

    areas: tuple[MeasuredArea, ...]
    tables: tuple[CellTable, ...]
    settings: TmeSettings
    mpp: float | None
    border: TumourBorder | None = None
    note: str = ""
    guessed: int = 0
    needs_all: bool = False
    _lives: tuple[LiveTme, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        cells: Cells,
        where: Where,
        mpp: float | None,
        guessed_yx: NDArray[np.float64],
        together: tuple[int, ...],
    ) -> Lives:
        """Measure an area.

        Parameters
        ----------
        cells
            All there are.
        where
            What is measured.
        mpp
            µm per pixel; None while it is unknown, and then cells are in pixels.
        guessed_yx
            ``(n, 2)`` centroids of nuclei whose class is a guess between neoplastic and epithelial.
        together
            Canonical classes that the document's scheme does not tell apart.
        """
        areas = tuple(where.areas())
        guessed = int(areas[0].holds(guessed_yx).sum())
        settings = _settings(mpp, guessed, together)
        border, note = None, ""
        if where.border and mpp is None:
            note = "Along the border nothing is measured while the pixel size is unknown."
        elif where.border and mpp is not None:
            try:
                border = TumourBorder.of(geometry_of(where.border), areas[0], mpp)
            except ValueError:
                note = f"The drawn border goes around nothing of the {where.name}."
        if shapely.is_empty(areas[0].geometry):
            note = f"All of the {where.name} is excluded or lies outside the image."
        lives = tuple(
            LiveTme(cells, area, settings, border if i == 0 else None)
            for i, area in enumerate(areas)
        )
        tables = tuple(live.table() for live in lives)
        return cls(areas, tables, settings, mpp, border, note, guessed, False, lives)

    def updated(
        self,
        changed: Cells,
        removed: Sequence[int],
        guessed_yx: NDArray[np.float64],
        together: tuple[int, ...],
    ) -> Lives:
        """Return it with cells that are new or otherwise than before, and without those removed.

        It must not be used any more itself.
        """
        guessed = int(self.areas[0].holds(guessed_yx).sum())
        if _settings(self.mpp, guessed, together) != self.settings:
            return replace(self, needs_all=True)
        for live in self._lives:
            live.update(changed, removed)
        tables = tuple(live.table() for live in self._lives)
        return replace(self, tables=tables, guessed=guessed)

    @property
    def values(self) -> TmeMeasurement:
        """The values of the whole, without what takes long: distances, curves, bands."""
        area, table, settings = self.areas[0], self.tables[0], self.settings
        mpp = self.mpp or UNKNOWN_MPP
        tally = table.tally(settings)
        features = features_of_tally(tally, mpp, settings)
        phenotypes = interpret(features, mpp, settings)
        found = TmeMeasurement(
            area=area,
            mpp=mpp,
            settings=settings,
            features=features,
            phenotypes=phenotypes,
            narrative=narrate(features, phenotypes, settings),
            densities_per_mm2=densities_per_mm2(tally.counts, area.square_millimetres(mpp)),
            distances=[],
            curves=[],
            infiltration=None,
            cells=table,
        )
        return found if self.mpp is not None else _in_pixels(found)

    def measurements(self) -> list[TmeMeasurement]:
        """Return everything of the whole and of each region."""
        mpp = self.mpp or UNKNOWN_MPP
        found = [
            measurement_of(table, area, mpp, self.settings, self.border if i == 0 else None)
            for i, (area, table) in enumerate(zip(self.areas, self.tables, strict=True))
        ]
        return found if self.mpp is not None else [_in_pixels(m) for m in found]


def _settings(mpp: float | None, guessed: int, together: tuple[int, ...]) -> TmeSettings:
    """Return how an area is measured: what nobody told apart there is one class."""
    merged = NEOPLASTIC_OR_EPITHELIAL if guessed or together else ()
    return TmeSettings(merged, thresholds_px="native" if mpp is None else "equivalent")


def _in_pixels(found: TmeMeasurement) -> TmeMeasurement:
    """Return a measurement without anything that a pixel size is needed for."""
    features: Features = {
        key: value for key, value in found.features.items() if not key.endswith(("_um", "_um2"))
    }
    sentences = tuple(
        replace(
            sentence,
            text=sentence.text.replace(", – µm²)", ")").replace(", – µm)", ")"),
            evidence=tuple(key for key in sentence.evidence if key in features),
        )
        for sentence in narrate(
            dict.fromkeys(found.features) | features, found.phenotypes, found.settings
        ).sentences
    )
    return replace(
        found,
        features=features,
        narrative=Narrative(sentences),
        densities_per_mm2=dict.fromkeys(found.densities_per_mm2),
        distances=[],
        curves=[],
    )
