"""Everything that is measured of one area, as one value: what tables, figures and files show."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.narrative import Narrative, narrate
from napari_nucleus.core.narrative_llm import NarrativeLLM, narrate_with
from napari_nucleus.core.spatial import (
    Infiltration,
    NeighbourCurve,
    PairDistance,
    densities_per_mm2,
    infiltration,
    neighbour_curves,
    pair_distances,
)
from napari_nucleus.core.tme import CLASS_NAMES, Features, TmeSettings, features_of_tally
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder
from napari_nucleus.core.tme_cells import CellTable
from napari_nucleus.core.tme_phenotypes import THRESHOLDS, Phenotypes, interpret
from napari_nucleus.core.tme_words import class_title, merging_note

__all__ = ["TmeMeasurement", "measurement_of"]


@dataclass(frozen=True, eq=False)
class TmeMeasurement:
    """The microenvironment of one area.

    Parameters
    ----------
    area
        Where it was measured.
    mpp
        Micrometres per pixel.
    settings
        How it was measured.
    features
        See `core.tme.features`.
    phenotypes, narrative
        What follows from the features.
    densities_per_mm2
        Nuclei per mm² by class id, of all together under 0; None without an area.
    distances, curves
        Between all pairs of classes, see `core.spatial`.
    infiltration
        Along the tumour border; None if none was drawn.
    cells
        Each cell that counts.
    """

    area: MeasuredArea
    mpp: float
    settings: TmeSettings
    features: Features
    phenotypes: Phenotypes
    narrative: Narrative
    densities_per_mm2: dict[int, float | None]
    distances: list[PairDistance]
    curves: list[NeighbourCurve]
    infiltration: Infiltration | None
    cells: CellTable

    @property
    def name(self) -> str:
        """What the area is called."""
        return self.area.name

    @property
    def area_mm2(self) -> float:
        """Size of the area, without what is excluded."""
        return self.area.square_millimetres(self.mpp)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The classes that were told apart: four if neoplastic and epithelial are one."""
        return shown_classes(self.settings)

    def tally_of(self, class_id: int) -> int:
        """Return the number of nuclei of a class of `class_ids`."""
        return int(self.features[f"count_{CLASS_NAMES[class_id]}"] or 0)

    def class_title(self, class_id: int) -> str:
        """Return what a class is called here."""
        return class_title(class_id, self.settings)

    def narrated_by(self, llm: NarrativeLLM) -> TmeMeasurement:
        """Return the same with a language model's text, or the reason why not."""
        narrative = narrate_with(llm, self.features, self.phenotypes, self.settings)
        return replace(self, narrative=narrative)

    def record(self) -> dict[str, int | float | str | None]:
        """Return the measurement as one line of a table: area, features, densities, phenotypes."""
        densities = {
            f"density_{self._key(i)}_per_mm2": self.densities_per_mm2[i]
            for i in (0, *self.class_ids)
        }
        labels = {axis.value: label for axis, label in self.phenotypes.labels.items()}
        facts = {"region": self.name, "mpp": self.mpp, "area_mm2": self.area_mm2}
        return {**facts, **self.features, **densities, **labels}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON: no NaN, no NumPy scalars."""
        settings, note = asdict(self.settings), merging_note(self.settings)
        narrative, bands = self.narrative, self.infiltration
        return {
            "name": self.name,
            "raw_data": dict(self.features),
            "interpretation": {axis.value: s for axis, s in self.phenotypes.labels.items()},
            "generated_tokens": list(self.phenotypes.tokens),
            "narrative": {
                "text": narrative.text,
                "source": narrative.source,
                "note": narrative.note,
                "sentences": [
                    {"topic": s.topic, "text": s.text, "evidence": list(s.evidence)}
                    for s in narrative.sentences
                ],
            },
            "neoplastic_told_apart": not self.settings.merged,
            "note": note,
            "mpp": self.mpp,
            "settings": {**settings, "not_told_apart": list(settings["not_told_apart"])},
            "thresholds": {axis.value: list(pair) for axis, pair in THRESHOLDS.items()},
            "area_mm2": self.area_mm2,
            "densities_per_mm2": {
                self._key(i): self.densities_per_mm2[i] for i in (0, *self.class_ids)
            },
            "nearest_distances_um": [
                {
                    "from": self._key(d.source),
                    "to": self._key(d.target),
                    "count": d.count,
                    "lower_quartile": d.lower_um,
                    "median": d.median_um,
                    "upper_quartile": d.upper_um,
                }
                for d in self.distances
            ],
            "neighbour_curves": [
                {
                    "from": self._key(c.source),
                    "to": self._key(c.target),
                    "radii_um": _plain(c.radii_um[: len(c.share)]),
                    "share": _plain(c.share),
                    "share_if_random": _plain(c.random[: len(c.share)]),
                }
                for c in self.curves
            ],
            "infiltration": bands and self._bands(bands),
        }

    def _bands(self, bands: Infiltration) -> dict[str, Any]:
        return {
            "edges_um": _plain(bands.edges_um),
            "areas_mm2": _plain(bands.areas_mm2),
            "counts": {self._key(i): bands.counts[:, i].tolist() for i in self.class_ids},
            "densities_per_mm2": {
                self._key(i): _plain(bands.densities_per_mm2[:, i]) for i in self.class_ids
            },
        }

    def _key(self, class_id: int) -> str:
        return CLASS_NAMES.get(class_id, "all")


def shown_classes(settings: TmeSettings) -> tuple[int, ...]:
    """Return the class ids that are told apart, in order."""
    return tuple(i for i in CLASS_NAMES if not (settings.merged and i == 1))


def measurement_of(
    table: CellTable,
    area: MeasuredArea,
    mpp: float,
    settings: TmeSettings,
    border: TumourBorder | None = None,
) -> TmeMeasurement:
    """Return what follows from the table of the cells of an area."""
    area_mm2 = area.square_millimetres(mpp)
    tally = table.tally(settings)
    features = features_of_tally(tally, mpp, settings)
    phenotypes = interpret(features, mpp, settings)
    classes = shown_classes(settings)
    return TmeMeasurement(
        area,
        mpp,
        settings,
        features,
        phenotypes,
        narrate(features, phenotypes, settings),
        densities_per_mm2(tally.counts, area_mm2),
        pair_distances(table, mpp, classes),
        neighbour_curves(table, mpp, area_mm2, classes),
        None if border is None else infiltration(table, border),
        table,
    )


def _plain(values: NDArray[np.floating]) -> list[float]:
    return [float(v) for v in values]
