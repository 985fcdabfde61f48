"""A small tissue of which everything is known, and what is measured of it."""

from __future__ import annotations

import numpy as np
import shapely

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.tme import TmeSettings
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder
from napari_nucleus.core.tme_live import measure_cells
from napari_nucleus.core.tme_measurement import TmeMeasurement

SIZE, MPP = 300, 0.25
MERGED = TmeSettings(not_told_apart=(1, 5))


def some_tissue(n: int = 120, classes=(0, 1, 2, 3, 4, 5)) -> Cells:
    rng = np.random.default_rng(0)
    return Cells(rng.random((n, 2)) * SIZE, rng.uniform(90, 400, n), rng.choice(classes, n), MPP)


def measurement(
    name: str = "whole image",
    chosen: TmeSettings = TmeSettings(),
    border: bool = False,
    cells: Cells | None = None,
) -> TmeMeasurement:
    area = MeasuredArea.of(name, (SIZE, SIZE))
    drawn = TumourBorder.of(shapely.box(50, 50, 150, 150), area, MPP) if border else None
    return measure_cells(some_tissue() if cells is None else cells, area, chosen, drawn)
