"""What is kept up with changes is what would be measured anew."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tme_helpers import AREA, MPP, SIZE, cells_at, random_cells, some_cells

from napari_nucleus.core import tme_live
from napari_nucleus.core.cells import Cells
from napari_nucleus.core.tme import TmeSettings, features
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder
from napari_nucleus.core.tme_live import LiveTme, measure_cells

MERGED = TmeSettings(not_told_apart=(1, 5))
HOLE = shapely.box(150, 150, 250, 260)
PIERCED = MeasuredArea.of("pierced", (SIZE, SIZE), excluded=HOLE)
BORDER = TumourBorder.of(shapely.Point(120, 120).buffer(100), PIERCED, MPP)


@given(some_cells(most=20), st.sampled_from([TmeSettings(), MERGED]))
@settings(deadline=None)
def test_the_features_of_a_measurement_are_those_of_the_cells(cells, chosen):
    found = measure_cells(cells, AREA, chosen).features
    expected = features(cells, chosen)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (None if value is None else pytest.approx(value, abs=1e-12)), key


def joined(cells: Cells, changed: Cells, removed: list[int]) -> Cells:
    """All cells as they are after a change."""
    kept = cells.select(~np.isin(cells.ids, [*changed.ids, *removed]))
    changed = changed.select(~np.isin(changed.ids, removed))
    return Cells(
        np.concatenate([kept.centroids_yx, changed.centroids_yx]),
        np.concatenate([kept.areas, changed.areas]),
        np.concatenate([kept.class_ids, changed.class_ids]),
        cells.mpp,
        np.concatenate([kept.ids, changed.ids]),
    )


def one_change(cells: Cells, rng: np.random.Generator, grid: bool) -> tuple[Cells, list[int]]:
    """A few cells that are reclassified, moved, new or gone, at random."""
    n = rng.integers(1, 4)
    ids = rng.choice(np.append(cells.ids, rng.integers(1, 400, 3)), n, replace=False)
    ids = np.unique(ids)
    points = rng.integers(0, 14, (len(ids), 2)) * 30.0 if grid else rng.random((len(ids), 2)) * SIZE
    areas = rng.uniform(50, 500, len(ids))
    stay = rng.random() < 0.5
    for i, number in enumerate(ids):
        here = np.flatnonzero(cells.ids == number)
        if len(here) and stay:
            points[i] = cells.centroids_yx[here[0]]
    classes = rng.choice([0, 1, 2, 3, 4, 5, 255], len(ids))
    removed = rng.choice(cells.ids, rng.integers(0, 3)).tolist() if rng.random() < 0.4 else []
    removed = [i for i in removed if i not in ids]
    return Cells(points, areas, classes, cells.mpp, ids), [*removed, 9999]


@pytest.fixture
def patient(monkeypatch):
    """Nothing is measured anew only because there are few cells."""
    monkeypatch.setattr(tme_live, "FEWEST", 8)


@pytest.mark.usefixtures("patient")
@given(
    st.integers(0, 10_000),
    st.sampled_from([5, 12, 70, 160]),
    st.booleans(),
    st.sampled_from([TmeSettings(), MERGED, TmeSettings(neighbours=2)]),
)
@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_after_any_changes_the_result_is_as_if_measured_anew(seed, n, grid, chosen):
    rng = np.random.default_rng(seed)
    cells = random_cells(n, seed)
    if grid:  # many cells at the same distance, some at the same place
        cells = Cells(np.floor(cells.centroids_yx / 30) * 30, cells.areas, cells.class_ids, MPP)
    live = LiveTme(cells, PIERCED, chosen, BORDER)
    for _ in range(6):
        changed, removed = one_change(cells, rng, grid)
        live.update(changed, removed)
        cells = joined(cells, changed, removed)
        anew = LiveTme(cells, PIERCED, chosen, BORDER)
        table, expected = live.table(), anew.table()
        for name in ("ids", "centroids_yx", "areas", "class_ids", "edge_px", "border_px"):
            np.testing.assert_array_equal(getattr(table, name), getattr(expected, name), name)
        np.testing.assert_array_equal(table.entropies, expected.entropies)
        np.testing.assert_allclose(table.nearest_px, expected.nearest_px, rtol=1e-12)
    live_json, anew_json = live.result().to_json(), anew.result().to_json()
    assert live_json["raw_data"] == pytest.approx(anew_json["raw_data"])
    assert live_json["infiltration"] == anew_json["infiltration"]


def test_a_change_of_class_starts_nothing_anew(monkeypatch):
    cells = random_cells(200, classes=(1, 2, 3))
    live = LiveTme(cells, AREA)
    monkeypatch.setattr(LiveTme, "_start", None)
    live.update(Cells(cells.centroids_yx[:5], cells.areas[:5], np.full(5, 4), MPP, cells.ids[:5]))
    assert live.result().features["count_Dead"] == 5


def test_many_changes_at_once_are_measured_anew_with_the_same_result(monkeypatch):
    cells = random_cells(200)
    other = random_cells(120, seed=1)
    live, slow = LiveTme(cells, AREA), LiveTme(cells, AREA)
    live.update(other)
    monkeypatch.setattr(tme_live, "MOST_CHANGES", 0)
    slow.update(other)
    assert live.result().to_json() == slow.result().to_json()


def test_what_leaves_the_area_or_loses_its_class_stops_counting_and_may_come_back():
    cells = random_cells(100, classes=(1, 2))
    live = LiveTme(cells, AREA)
    before = live.result().features
    out = cells.select([3])
    live.update(Cells([(SIZE + 50, 10)], out.areas, out.class_ids, MPP, out.ids))
    assert live.result().features["total_cells"] == 99
    assert len(live) == 99
    live.update(Cells(out.centroids_yx, out.areas, [0], MPP, out.ids))
    assert live.result().features["total_cells"] == 99
    live.update(out)
    assert live.result().features == pytest.approx(before)


def test_everything_can_go_and_come():
    live = LiveTme(random_cells(90), AREA)
    live.update(removed=range(1, 91))
    empty = live.result()
    assert empty.features["total_cells"] == 0
    assert empty.curves == []
    live.update(cells_at([(5, 5), (9, 9)], [1, 2]))
    assert live.result().features["count_engaged_immune"] == 1


def test_cells_of_another_pixel_size_are_refused():
    live = LiveTme(random_cells(10), AREA)
    with pytest.raises(ValueError, match=r"0\.5"):
        live.update(random_cells(2, mpp=0.5))


@given(some_cells(most=8))
@settings(deadline=None)
def test_json_of_a_measurement_has_numbers_and_null_only(cells):
    for chosen in (TmeSettings(), MERGED):
        for area in (AREA, MeasuredArea("nothing", shapely.Polygon())):
            value = measure_cells(cells, area, chosen).to_json()
            again = json.loads(json.dumps(value, allow_nan=False))
            assert again == value
            assert again["neoplastic_told_apart"] is (chosen is not MERGED)
            assert ("told apart" in again["note"]) is (chosen is MERGED)
            if chosen is MERGED:
                assert "Neoplastic" not in again["densities_per_mm2"]
