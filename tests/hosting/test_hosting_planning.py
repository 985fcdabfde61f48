from dataclasses import replace

from hosting_fakes import INFO
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_nucleus.core.geometry import box_area, box_intersection, clip_box, pad_box
from napari_nucleus.hosting.planning import (
    SAMPLE_LIMIT,
    click_tile,
    plan_tiles,
    sample_size,
    tile_pixels,
)
from napari_nucleus.models.api import Calibration

FULL = Calibration(1.0, 0.5)
shapes = st.tuples(st.integers(1, 900), st.integers(1, 900))
scales = st.sampled_from([0.25, 0.5, 0.8, 1.0, 2.0])


@st.composite
def clicks(draw):
    shape = draw(shapes)
    y = draw(st.floats(0, shape[0], exclude_max=True))
    x = draw(st.floats(0, shape[1], exclude_max=True))
    return (y, x), shape, Calibration(draw(scales), 0.5)


def holds(outer, inner) -> bool:
    return box_intersection(outer, inner) == inner


def test_tiles_are_stated_in_working_pixels_and_used_in_those_of_the_image():
    assert tile_pixels(INFO.tile, INFO.halo, Calibration(0.5, 0.25)) == (128, 32)
    assert tile_pixels(INFO.tile, INFO.halo, Calibration(2.0, 1.0)) == (32, 8)


@given(clicks())
def test_a_click_has_a_halo_of_image_around_it(click):
    point, shape, calibration = click
    _, halo = tile_pixels(INFO.tile, INFO.halo, calibration)
    tile = click_tile(point, shape, INFO, calibration)
    y, x = int(point[0]), int(point[1])
    assert holds(tile, clip_box(pad_box((y, x, y + 1, x + 1), halo), shape))


@given(clicks())
def test_tiles_of_clicks_lie_inside_and_have_one_size(click):
    point, shape, calibration = click
    core, halo = tile_pixels(INFO.tile, INFO.halo, calibration)
    tile = click_tile(point, shape, INFO, calibration)
    assert clip_box(tile, shape) == tile
    size = core + 2 * halo
    assert (tile[2] - tile[0], tile[3] - tile[1]) == (min(size, shape[0]), min(size, shape[1]))


def test_neighbours_share_a_tile_and_an_image_has_few():
    tiles = {
        click_tile((y + 0.5, x + 0.5), (300, 300), INFO, FULL)
        for y in range(0, 300, 3)
        for x in range(0, 300, 3)
    }
    assert len(tiles) <= 25
    assert click_tile((100.2, 70.9), (300, 300), INFO, FULL) == click_tile(
        (101.0, 69.0), (300, 300), INFO, FULL
    )


@given(clicks(), st.floats(1, 300), st.floats(1, 300))
def test_a_box_always_lies_within_its_tile(click, height, width):
    (y, x), shape, calibration = click
    box = (y, x, min(y + height, shape[0]), min(x + width, shape[1]))
    tile = click_tile(box, shape, INFO, calibration)
    assert clip_box(tile, shape) == tile
    assert tile[0] <= box[0]
    assert tile[1] <= box[1]
    assert tile[2] >= box[2]
    assert tile[3] >= box[3]


def test_a_second_click_across_the_border_of_a_core_stays_in_its_tile():
    first = click_tile((70.0, 126.0), (300, 300), INFO, FULL)
    across = (70.0, 130.0)
    assert click_tile(across, (300, 300), INFO, FULL) != first
    assert click_tile(across, (300, 300), INFO, FULL, keep=first) == first
    far = (70.0, 160.0)
    assert click_tile(far, (300, 300), INFO, FULL, keep=first) == click_tile(
        far, (300, 300), INFO, FULL
    )


@given(shapes, scales, st.data())
def test_cores_cover_a_region_once_from_the_starting_point_outwards(shape, scale, data):
    region = None
    if data.draw(st.booleans()):
        y0, x0 = (data.draw(st.integers(0, n - 1)) for n in shape)
        region = (y0, x0, min(y0 + 150, shape[0]), min(x0 + 150, shape[1]))
    start = (shape[0] * 0.3, shape[1] * 0.7)
    info = replace(INFO, tile=256, halo=32)
    assume(scale <= 1)
    specs = plan_tiles(shape, info, Calibration(scale, 0.5), region, start)
    assert sum(box_area(s.core) for s in specs) == box_area(region or (0, 0, *shape))

    def distance(spec):
        y0, x0, y1, x1 = spec.core
        return ((y0 + y1) / 2 - start[0]) ** 2 + ((x0 + x1) / 2 - start[1]) ** 2

    distances = [distance(s) for s in specs]
    assert distances == sorted(distances)


def test_tiles_where_nothing_is_wanted_are_not_planned():
    def wanted(core):
        return core[1] >= 64

    specs = plan_tiles((128, 192), INFO, FULL, wanted=wanted)
    assert [spec.core[:2] for spec in specs] == [(0, 64), (64, 64), (0, 128), (64, 128)]
    assert plan_tiles((128, 192), INFO, FULL, wanted=lambda _: False) == []


def test_a_sample_is_one_tile_of_the_model_and_bounded():
    assert sample_size(INFO, 0.25) == 128
    assert sample_size(INFO, None) == 64
    assert sample_size(replace(INFO, tile=1024), 0.1) == SAMPLE_LIMIT
