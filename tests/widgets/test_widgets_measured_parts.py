"""Parts of the Measure tab that need no viewer: where is measured, and the picture of a map."""

from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.entropy_map import EntropyMap
from napari_nucleus.core.tme import TmeSettings, features
from napari_nucleus.widgets.map_picture import SMALL, map_picture
from napari_nucleus.widgets.measured_area import Lives, Where

NOBODY = np.zeros((0, 2))


def square(y0, x0, y1, x1):
    return (np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float),)


def cells(n=200, mpp=0.5, seed=0):
    rng = np.random.default_rng(seed)
    return Cells(rng.uniform(0, 400, (n, 2)), rng.uniform(50, 300, n), rng.integers(1, 6, n), mpp)


def test_a_change_gives_what_measuring_anew_gives():
    all_cells = cells()
    where = Where("image", (400, 400), regions=(("a", square(0, 0, 200, 400)),))
    lives = Lives.of(all_cells, where, 0.5, NOBODY, ())
    classes = all_cells.class_ids.copy()
    classes[:3] = 2
    changed = Cells(all_cells.centroids_yx, all_cells.areas, classes, 0.5, all_cells.ids)
    lives = lives.updated(changed.select([0, 1, 2]), [10, 11], NOBODY, ())
    left = changed.select(~np.isin(changed.ids, [10, 11]))
    anew = Lives.of(left, where, 0.5, NOBODY, ())
    for one, other in zip(lives.measurements(), anew.measurements(), strict=True):
        assert one.features == pytest.approx(other.features)
        assert one.name == other.name
    assert lives.values.features == features(left)
    assert lives.values.narrative == lives.measurements()[0].narrative


def test_excluded_parts_hold_no_cells_and_no_area():
    where = Where("image", (400, 400), excluded=square(0, 0, 200, 400))
    lives = Lives.of(cells(), where, 0.5, NOBODY, ())
    below = int((cells().centroids_yx[:, 0] > 200).sum())
    assert lives.values.features["total_cells"] == below
    assert lives.areas[0].pixels == 80_000
    nothing = Lives.of(
        cells(), Where("view", (400, 400), square(500, 500, 600, 600)), 0.5, NOBODY, ()
    )
    assert "outside the image" in nothing.note
    assert nothing.values.features["total_cells"] == 0


def test_guessed_classes_inside_the_area_alone_make_one_class_of_two():
    where = Where("region", (400, 400), square(0, 0, 200, 400))
    outside, inside = np.array([[300.0, 50.0]]), np.array([[100.0, 50.0], [300.0, 50.0]])
    assert Lives.of(cells(), where, 0.5, outside, ()).settings == TmeSettings()
    lives = Lives.of(cells(), where, 0.5, inside, ())
    assert lives.settings.merged
    assert lives.guessed == 1
    nothing = cells().select(np.zeros(0, int))
    assert lives.updated(nothing, [], outside, ()).needs_all
    assert not lives.updated(nothing, [], inside, ()).needs_all
    assert Lives.of(cells(), where, 0.5, outside, (1, 5)).settings.merged


def test_without_a_pixel_size_nothing_is_said_in_micrometres():
    lives = Lives.of(
        cells(mpp=1.0), Where("image", (400, 400), border=square(0, 0, 9, 9)), None, NOBODY, ()
    )
    for found in (lives.values, lives.measurements()[0]):
        assert not any(key.endswith(("_um", "_um2")) for key in found.features)
        assert "µm" not in found.narrative.text
        assert "–" not in found.narrative.text
        assert all(key in found.features for s in found.narrative.sentences for key in s.evidence)
        assert set(found.densities_per_mm2.values()) == {None}
    assert "pixel size is unknown" in lives.note
    assert lives.border is None


def test_two_wheres_are_alike_if_they_say_the_same():
    def where(**options):
        return Where("image", (400, 400), **options)

    first = where(within=square(0, 0, 9, 9), regions=(("a", square(1, 1, 5, 5)),))
    assert first.is_like(where(within=square(0, 0, 9, 9), regions=(("a", square(1, 1, 5, 5)),)))
    assert not first.is_like(where(within=square(0, 0, 9, 9), regions=(("b", square(1, 1, 5, 5)),)))
    assert not first.is_like(where(within=square(0, 0, 9, 8), regions=(("a", square(1, 1, 5, 5)),)))
    assert not where(border=square(0, 0, 9, 9)).is_like(where(excluded=square(0, 0, 9, 9)))


def test_the_picture_of_a_small_map_ends_where_the_image_ends():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    known = np.ones((3, 4), bool)
    known[0, 0] = False
    picture = map_picture(EntropyMap(values, known, (0.0, 0.0), 20.0), (50, 75))
    assert picture.values.shape == (10, 15)
    assert picture.step_px == 5.0
    assert np.isnan(picture.values[:4, :4]).all()
    assert np.isfinite(picture.values[4:, :]).all()
    # Between two points the values go over into each other, and stay as they are at the points.
    assert picture.values[5:7, 5:7].mean() == pytest.approx(5.0, abs=0.1)


def test_a_large_map_is_shown_as_it_is():
    side = int(SMALL**0.5) + 1
    values = np.ones((side, side), np.float32)
    picture = map_picture(EntropyMap(values, values > 0, (0.0, 0.0), 4.0), (4 * side, 4 * side))
    assert picture.values.shape == values.shape


def test_where_nothing_is_known_there_is_no_picture():
    nothing = EntropyMap(np.zeros((3, 3), np.float32), np.zeros((3, 3), bool), (0.0, 0.0), 4.0)
    assert map_picture(nothing, (12, 12)).values.size == 0
