"""Points and their masks on a 256 x 256 tile, and what each nucleus costs.

One drawn field of small lymphocytes, of which all but a number are dissolved into the background:
the tiles differ in nothing else. The line is fitted to the points that were found.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from benchmarks.timing import row, wall_times
from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration
from napari_nucleus.sample_data.generator import Field, FieldSpec, generate_field

MPP = 0.25
SIDE = 256
USUAL = 40
COUNTS = (5, 10, 20, 40, 80, 160)
RUNS = 3
RIM = 3
"""Pixels around a nucleus that go with it."""
BLUR = 8.0
"""Deviation, in pixels, of what is looked at of the background to fill its place."""


def main() -> None:
    """Print rows for a usual tile, for tiles of more and more nuclei, and the cost of one."""
    model = zoo.load_model("nunext-nano", "cpu")
    spec = FieldSpec((SIDE, SIDE), MPP, ("lymphoid",), size=0.6, density=2.0, ghosts=0.0)
    field = generate_field(spec, np.random.default_rng(0))
    calibration = Calibration(MPP / model.info.working_mpp, MPP)
    steps = {
        "points": lambda tile: model.detect(tile, calibration),
        "points and masks": lambda tile: model.find(tile, calibration)[0],
    }
    for what, work in steps.items():
        seconds, found = timed(work, thinned(field, USUAL))
        row(f"a tile of {USUAL} nuclei, {what}", seconds, "s", note=f"{found} found")
    for what, work in steps.items():
        measured = []
        for count in COUNTS:
            seconds, found = timed(work, thinned(field, count))
            measured.append((found, seconds))
            row(f"  {count} nuclei, {what}", seconds, "s", note=f"{found} found")
        tell_line(what, *np.array(measured).T)


def thinned(field: Field, count: int) -> Tile:
    """Return a field with ``count`` of its nuclei, spread evenly; others become background."""
    ids = np.unique(field.labels)[1:]
    kept = ids[np.linspace(0, len(ids) - 1, count).round().astype(int)]
    away = ndimage.binary_dilation((field.labels > 0) & ~np.isin(field.labels, kept), None, RIM)
    away &= ~ndimage.binary_dilation(np.isin(field.labels, kept), None, 1)
    ground = (~ndimage.binary_dilation(field.labels > 0, None, RIM)).astype(np.float32)
    blurred = ndimage.gaussian_filter(field.rgb * ground[..., None], (BLUR, BLUR, 0))
    smooth = blurred / np.maximum(ndimage.gaussian_filter(ground, BLUR), 1e-3)[..., None]
    rgb = np.where(away[..., None], smooth.clip(0, 255), field.rgb).astype(np.uint8)
    return Tile(rgb, Frame(mpp=MPP))


def timed(work: Callable[[Tile], object], tile: Tile) -> tuple[float, int]:
    """Return the median seconds of some work on a tile, and how many points it gave."""
    found = work(tile)
    seconds = statistics.median(wall_times(lambda: work(tile), RUNS))
    return seconds, len(found)  # type: ignore[arg-type]


def tell_line(what: str, found: np.ndarray, seconds: np.ndarray) -> None:
    """Print the straight line through seconds against nuclei, and how well it fits."""
    slope, start = np.polyfit(found, seconds, 1)
    unexplained = seconds - (start + slope * found)
    fit = 1 - unexplained.var() / seconds.var()
    row(f"{what}, each nucleus", slope * 1000, "ms", note=f"R² {fit:.3f}")
    row(f"{what}, the tile itself", start * 1000, "ms")


if __name__ == "__main__":
    main()
