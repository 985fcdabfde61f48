"""Figures show the measured values, under the right names and in the right colours."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import shapely
from matplotlib.colors import to_rgb
from tme_helpers import AREA, MPP, SIZE, cells_at, random_cells

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.entropy_map import entropy_map
from napari_nucleus.core.figures import (
    composition_figure,
    curves_figure,
    entropy_figure,
    infiltration_figure,
    regions_figure,
)
from napari_nucleus.core.tme import TmeSettings
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder
from napari_nucleus.core.tme_live import measure_cells

MERGED = TmeSettings(not_told_apart=(1, 5))
NOTHING = measure_cells(cells_at([], []), AREA)


@pytest.fixture(scope="module")
def measured():
    border = TumourBorder.of(shapely.box(100, 100, 300, 300), AREA, MPP)
    return measure_cells(random_cells(220), AREA, border=border)


def words(figure) -> str:
    """Everything that is written in a figure."""
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))


def drawn(figure) -> None:
    """Draw it; what cannot be drawn raises."""
    figure.canvas.draw()


def test_the_bars_are_the_counts_in_the_colours_of_the_scheme(measured):
    figure = composition_figure(measured)
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [measured.tally_of(i) for i in range(1, 6)]
    for bar, nucleus_class in zip(bars, PANNUKE.classes, strict=True):
        np.testing.assert_allclose(bar.get_facecolor()[:3], np.array(nucleus_class.color) / 255)
    assert f"{measured.densities_per_mm2[2]:,.0f}/mm²" in words(figure)
    drawn(figure)


def test_every_curve_has_a_line_and_its_random_one_beside_it(measured):
    figure = curves_figure(measured)
    assert len(figure.axes) == 6  # five classes in two rows of three
    lines = {
        (panel, to_rgb(line.get_color()), line.get_linestyle() == "-"): line.get_ydata()
        for panel, axes in enumerate(figure.axes)
        for line in axes.lines
    }
    assert len(lines) == 50
    for curve in measured.curves:
        color = tuple(np.array(PANNUKE.color_of(curve.target)) / 255)
        np.testing.assert_array_equal(lines[curve.source - 1, color, True], curve.share)
        expected = curve.random[: len(curve.share)]
        np.testing.assert_array_equal(lines[curve.source - 1, color, False], expected)
    drawn(figure)


def test_curves_of_a_few_nuclei_are_not_drawn():
    points = np.random.default_rng(0).random((49, 2)) * SIZE
    few = measure_cells(cells_at(points, [1] * 20 + [2] * 20 + [3] * 9), AREA)
    figure = curves_figure(few)
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]
    assert len(curves_figure(few, sources=[2]).axes) == 1
    assert "no class of 10 nuclei" in words(curves_figure(NOTHING))


def test_the_bands_along_the_border_are_the_densities(measured):
    figure = infiltration_figure(measured)
    bands = measured.infiltration
    for axes, class_id in zip(figure.axes, range(1, 6), strict=True):
        values, edges, _ = axes.patches[-1].get_data()
        np.testing.assert_array_equal(edges, bands.edges_um)
        shown = np.isfinite(values)
        np.testing.assert_array_equal(values[shown], bands.densities_per_mm2[shown, class_id])
        assert shown.sum() > len(values) / 2
    drawn(figure)
    with pytest.raises(ValueError, match="no border"):
        infiltration_figure(NOTHING)


def test_regions_lie_below_each_other_with_shares_that_add_up(measured):
    figure = regions_figure([measured, NOTHING])
    assert "220" not in words(figure)  # those without a class do not count
    assert str(measured.features["total_cells"]) in words(figure)
    widths = np.array([bar.get_width() for bar in figure.axes[0].patches]).reshape(5, 2)
    assert widths.sum(axis=0).tolist() == pytest.approx([1, 0])
    drawn(figure)
    drawn(regions_figure([]))


def test_long_names_of_regions_keep_both_ends():
    areas = [MeasuredArea.of(f"region with a rather long name {i}", (9, 9)) for i in (7, 8)]
    figure = regions_figure([measure_cells(cells_at([], []), area) for area in areas])
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names == ["region with a rat… long name 7", "region with a rat… long name 8"]
    assert len(names[0]) == 30


class TestEntropyMap:
    def test_one_class_has_none_and_mixed_classes_have_much(self):
        rng = np.random.default_rng(0)
        points = rng.random((600, 2)) * SIZE
        classes = np.where(points[:, 1] < SIZE / 2, 1, rng.integers(1, 6, 600))
        result = measure_cells(cells_at(points, classes), AREA)
        found = entropy_map(result.cells, AREA, MPP, step_um=5, sigma_um=8)
        assert found.values.shape == found.known.shape == (20, 20)
        assert found.known.all()
        assert found.values[:, :6].max() < 0.1
        assert found.values[:, 14:].min() > 1
        assert found.step_px == 20
        assert found.origin_yx == (0, 0)
        drawn(entropy_figure(found, MPP, "x"))

    def test_far_from_all_cells_and_outside_of_the_area_nothing_is_known(self):
        area = MeasuredArea.of("x", (SIZE, SIZE), excluded=shapely.box(0, 0, 200, 200))
        points = np.random.default_rng(0).random((50, 2)) * (100, 150) + (20, 220)
        result = measure_cells(cells_at(points, [1, 2] * 25), area)
        found = entropy_map(result.cells, area, MPP, step_um=5, sigma_um=8)
        assert found.known[2:5, 13:16].all()
        assert not found.known[15:].any()  # 75 µm and more below
        assert not found.known[:10, :10].any()
        assert np.isfinite(found.values).all()
        assert (found.values[~found.known] == 0).all()

    def test_a_drawn_region_has_a_map_of_its_own_place(self):
        area = MeasuredArea.of("x", (SIZE, SIZE), within=shapely.box(101, 53, 300, 203))
        found = entropy_map(measure_cells(random_cells(300), area).cells, area, MPP)
        assert found.origin_yx == (53, 101)
        assert found.values.shape == (8, 10)

    def test_without_cells_or_area_there_is_an_empty_one(self):
        assert not entropy_map(NOTHING.cells, AREA, MPP).known.any()
        empty = entropy_map(NOTHING.cells, MeasuredArea("x", shapely.Polygon()), MPP)
        assert empty.values.shape == (0, 0)
        assert "no nuclei" in words(entropy_figure(empty, MPP, "x"))


def test_no_figure_names_what_was_not_told_apart():
    border = TumourBorder.of(shapely.box(100, 100, 300, 300), AREA, MPP)
    merged = measure_cells(random_cells(220), AREA, MERGED, border)
    for figure in (
        composition_figure(merged),
        curves_figure(merged),
        infiltration_figure(merged),
        regions_figure([merged]),
    ):
        drawn(figure)
        assert "neoplastic" not in words(figure)
        assert "tumour" not in words(figure)
        assert "epithelial" in words(figure)


def test_nothing_measured_can_be_drawn():
    for figure in (composition_figure(NOTHING), curves_figure(NOTHING), regions_figure([NOTHING])):
        drawn(figure)
    border = TumourBorder.of(shapely.box(100, 100, 300, 300), AREA, MPP)
    drawn(infiltration_figure(measure_cells(cells_at([], []), AREA, border=border)))


def test_neither_the_figures_module_nor_a_figure_loads_pyplot():
    script = (
        "import sys\n"
        "import napari_nucleus.core.figures as f\n"
        "assert 'matplotlib' not in sys.modules\n"
        "f.regions_figure([])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
