"""Pictures of measurements, for the dock and for reports.

Each function returns a new `matplotlib.figure.Figure` that belongs to no window; nothing global is
read or set, so that they can be drawn on any thread. matplotlib is imported when the first one is
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.entropy_map import EntropyMap
from napari_nucleus.core.spatial import NeighbourCurve
from napari_nucleus.core.tme_measurement import TmeMeasurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "composition_figure",
    "curves_figure",
    "entropy_figure",
    "infiltration_figure",
    "regions_figure",
]

WIDTH = 5.2
"""Inches; at 100 dots per inch as wide as a dock."""

GREY = "0.45"

DASHED = {"linestyle": (0, (3, 2)), "linewidth": 0.9}
LARGEST_ENTROPY = 1.6
"""Where the colours end, so that maps compare: bits of about three classes in equal parts."""

LONGEST_NAME = 30

FEWEST_IN_CURVE = 10
"""Curves from or to fewer nuclei are steps that say little; they are in the JSON only."""


def composition_figure(measurement: TmeMeasurement, scheme: ClassScheme = PANNUKE) -> Figure:
    """Draw how many nuclei there are of each class, their share and their density.

    Parameters
    ----------
    measurement
        What is drawn.
    scheme
        Colours of the canonical classes.
    """
    ids = measurement.class_ids
    figure, axes = _figure(0.34 * len(ids) + 0.8)
    total = measurement.features["total_cells"] or 0
    counts = [measurement.tally_of(i) for i in ids]
    places = np.arange(len(ids))
    axes.barh(places, counts, color=[_color(scheme, i) for i in ids], height=0.7)
    for place, class_id, count in zip(places, ids, counts, strict=True):
        density = measurement.densities_per_mm2[class_id]
        text = f"{count:,}" + (f" ({100 * count / total:.0f} %)" if total else "")
        text += "" if density is None else f", {density:,.0f}/mm²"
        axes.annotate(
            text, (count, place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(places, [measurement.class_title(i) for i in ids])
    axes.invert_yaxis()
    axes.set_xlim(0, max(max(counts), 1) * 1.55)
    axes.set_xlabel("nuclei")
    _headed(figure, f"{_short(measurement.name)}: classes of {total:,} nuclei")
    return figure


def curves_figure(
    measurement: TmeMeasurement,
    scheme: ClassScheme = PANNUKE,
    sources: Sequence[int] | None = None,
) -> Figure:
    """Draw the neighbour-distance curves, a panel to each class that distances are measured from.

    Dashed is what cells at random would give.

    Parameters
    ----------
    measurement, scheme
        As in `composition_figure`.
    sources
        Classes to measure from; by default all that there are.
    """
    curves = [
        curve
        for curve in measurement.curves
        if (sources is None or curve.source in sources)
        and min(map(measurement.tally_of, (curve.source, curve.target))) >= FEWEST_IN_CURVE
    ]
    wanted = [i for i in measurement.class_ids if any(c.source == i for c in curves)]
    columns = min(len(wanted), 3) or 1
    rows = -(-len(wanted) // columns) or 1
    figure, _ = _figure(2.2 * rows + 0.4, axes=False)
    grid = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    for axes in grid[len(wanted) :]:
        axes.set_axis_off()
    if not wanted:
        _nothing(grid[0], f"no class of {FEWEST_IN_CURVE} nuclei to measure between")
        return figure
    for axes, source in zip(grid, wanted, strict=False):
        for curve in curves:
            if curve.source == source:
                radii, color = curve.radii_um[: len(curve.share)], _color(scheme, curve.target)
                axes.plot(radii, curve.share, color=color, linewidth=1.5)
                axes.plot(radii, curve.random[: len(radii)], color=color, **DASHED)
        _titled(axes, f"from {measurement.class_title(source)}")
    for i, axes in enumerate(grid[: len(wanted)]):
        if i + columns >= len(wanted):
            axes.set_xlabel("distance in µm")
            axes.tick_params(labelbottom=True)
        if i % columns == 0:
            axes.set_ylabel("share with one within")
    grid[0].set_ylim(0, 1.03)
    grid[0].set_xlim(0, max(_saturation(curve) for curve in curves))
    targets = [i for i in measurement.class_ids if any(c.target == i for c in curves)]
    _legend(figure, measurement, scheme, targets, "to ", random=True)
    return figure


def _saturation(curve: NeighbourCurve) -> float:
    """Return the distance up to which a curve has something to show."""
    below = np.flatnonzero((curve.share < 0.99) | (curve.random[: len(curve.share)] < 0.95))
    last = int(below[-1]) + 1 if len(below) else 0
    return max(float(curve.radii_um[min(last, len(curve.radii_um) - 1)]), 20.0)


def infiltration_figure(measurement: TmeMeasurement, scheme: ClassScheme = PANNUKE) -> Figure:
    """Draw the density of each class in bands along the drawn border, each on a scale of its own.

    Bands of which the area has only a sliver are left out.

    Raises
    ------
    ValueError
        If there is no border.
    """
    bands = measurement.infiltration
    if bands is None:
        raise ValueError("no border was drawn")
    present = [i for i in measurement.class_ids if bands.counts[:, i].any()]
    figure, _ = _figure(0.95 * max(len(present), 1) + 0.7, axes=False)
    panels = figure.subplots(max(len(present), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, class_id in zip(panels, present, strict=False):
        densities = np.where(bands.sizeable, bands.densities_per_mm2[:, class_id], np.nan)
        color = _color(scheme, class_id)
        axes.stairs(densities, bands.edges_um, fill=True, color=(*color, 0.35))
        axes.stairs(densities, bands.edges_um, baseline=None, color=color, linewidth=1.4)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_ylim(0, max(float(np.nanmax(densities, initial=0)) * 1.15, 1))
        axes.yaxis.set_major_locator(_few_ticks())
        axes.yaxis.set_major_formatter("{x:,.0f}")
        _titled(axes, measurement.class_title(class_id))
    if not present:
        _nothing(panels[0], "no nuclei along the border")
        return figure
    shown = np.flatnonzero(bands.sizeable)
    panels[0].set_xlim(bands.edges_um[shown[0]], bands.edges_um[shown[-1] + 1])
    panels[-1].set_xlabel("← inside     distance from the border in µm     outside →")
    figure.supylabel("nuclei per mm²", fontsize=8)
    return figure


def entropy_figure(entropies: EntropyMap, mpp: float, name: str) -> Figure:
    """Draw an entropy map over its place in the image, in millimetres or micrometres."""
    height, width = entropies.values.shape
    if not entropies.known.any():
        figure, axes = _figure(2.0)
        _nothing(axes, "no nuclei to map")
        return figure
    unit, scale = ("mm", 1e-3) if max(height, width) * entropies.step_px * mpp > 2000 else ("µm", 1)
    scale *= mpp
    y0, x0 = (v * scale for v in entropies.origin_yx)
    step = entropies.step_px * scale
    figure, axes = _figure(min(max((WIDTH - 1.2) * height / width, 1.5), 7.0) + 0.7)
    shown = np.ma.masked_array(entropies.values, ~entropies.known)
    image = axes.imshow(
        shown,
        cmap="viridis",
        vmin=0,
        vmax=LARGEST_ENTROPY,
        extent=(x0, x0 + width * step, y0 + height * step, y0),
        interpolation="nearest",
    )
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, extend="max")
    bar.set_label("bit; 0 is one class only", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    axes.set_xlabel(unit)
    _headed(figure, f"{_short(name)}: entropy of classes among neighbours")
    return figure


def regions_figure(measurements: Sequence[TmeMeasurement], scheme: ClassScheme = PANNUKE) -> Figure:
    """Draw the classes of several regions beside each other, as shares of each region's nuclei."""
    figure, axes = _figure(0.36 * len(measurements) + 1.2)
    places = np.arange(len(measurements))
    if not measurements:
        _nothing(axes, "no regions")
        return figure
    ids = measurements[0].class_ids
    left = np.zeros(len(measurements))
    for class_id in ids:
        shares = [m.tally_of(class_id) / (m.features["total_cells"] or 1) for m in measurements]
        color = _color(scheme, class_id)
        axes.barh(places, shares, left=left, color=color, height=0.7, edgecolor="w", linewidth=0.5)
        left += shares
    for place, m in zip(places, measurements, strict=True):
        axes.annotate(
            f"{m.features['total_cells']:,}", (1, place), (4, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(places, [_short(m.name) for m in measurements])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks(np.arange(0, 1.01, 0.25), ["0", "25 %", "50 %", "75 %", "100 %"])
    _headed(figure, "Classes by region; at the end the number of nuclei")
    _legend(figure, measurements[0], scheme, ids)
    return figure


def _figure(height: float, axes: bool = True) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    return figure, _plain(figure.subplots()) if axes else None


def _plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    return axes


def _titled(axes: Axes, text: str) -> None:
    _plain(axes).set_title(text, fontsize=9, loc="left")


def _headed(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=9)


def _short(name: str) -> str:
    """Return a name of an area as there is room for it."""
    return name if len(name) <= LONGEST_NAME else f"{name[:17]}…{name[18 - LONGEST_NAME :]}"


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)


def _nothing(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def _color(scheme: ClassScheme, class_id: int) -> tuple[float, float, float]:
    red, green, blue = scheme.color_of(class_id)
    return red / 255, green / 255, blue / 255


def _legend(
    figure: Figure,
    measurement: TmeMeasurement,
    scheme: ClassScheme,
    class_ids: Sequence[int],
    before: str = "",
    random: bool = False,
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_color(scheme, i), lw=3, label=before + measurement.class_title(i))
        for i in class_ids
    ]
    if random:
        handles.append(Line2D([], [], color=GREY, label="if at random", **DASHED))
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False
        )
