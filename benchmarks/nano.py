"""The bundled models on this machine: automatic segmentation, encoding, a click."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks.timing import median_ms, percentile, row, wall_times
from napari_nucleus.core.image import ArraySource, Tile
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration
from napari_nucleus.sample_data.fields import load_field
from napari_nucleus.sample_data.generator import generate_field, random_spec

MPP = 0.25


def main() -> None:
    """Print rows for one square millimetre, the first look at a tile, and a click."""
    for name in ("uperhover-nano", zoo.DEFAULT_MODEL):
        model = zoo.load_model(name, "cpu")
        for tissue in ("stroma", "adenocarcinoma", "tumour"):
            automatic(model, tissue)
    field = load_field("tumour")
    model = zoo.load_model(zoo.DEFAULT_MODEL, "cpu")
    click(model, field.rgb, calibrate_source(model, ArraySource(field.rgb, MPP, "field")))


def automatic(model: Any, tissue: str) -> None:
    """Time a field of one tissue; the target is for 4,000 nuclei per mm²."""
    rng = np.random.default_rng(0)
    rgb = generate_field(random_spec(rng, (1024, 1024), MPP, (tissue,)), rng).rgb
    source = ArraySource(rgb, MPP, tissue)
    calibration = calibrate_source(model, source)
    area_mm2 = source.shape[0] * source.shape[1] * (MPP / 1000) ** 2
    found: list[int] = []
    times = wall_times(lambda: found.append(len(segment_source(model, source, calibration))), 3)
    row(
        f"{model.info.name}, a square millimetre of {tissue}",
        statistics.median(times) / area_mm2,
        "s",
        60 if found[-1] / area_mm2 <= 4000 else None,
        f"{found[-1] / area_mm2:,.0f} nuclei per mm²",
    )


def click(model: Any, rgb: np.ndarray, calibration: Calibration) -> None:
    """Time embedding and refining in this process, without the app around them."""
    side = model.info.click_tile + 2 * model.info.halo
    tile = Tile(np.ascontiguousarray(rgb[:side, :side]))
    row("encoding a click tile", median_ms(lambda: model.embed(tile, calibration), 5), "ms")
    embedding = model.embed(tile, calibration)
    rng = np.random.default_rng(0)
    points = rng.uniform(40, side - 40, (40, 2))

    def one() -> None:
        point = points[rng.integers(len(points))]
        model.refine(embedding, Prompts(point[None], np.array([True])))

    one()
    times = [t * 1000 for t in wall_times(one, 60)]
    row("a click on a cached tile, decoder and mask, median", statistics.median(times), "ms")
    row("a click on a cached tile, decoder and mask, 95 %", percentile(times, 0.95), "ms")


if __name__ == "__main__":
    main()
