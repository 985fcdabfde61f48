"""Points that a host finds all over an image, and the nuclei that it makes of points."""

import numpy as np
import pytest
from hosting_fakes import DARK, INFO
from scipy import ndimage

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.errors import CancelledError, ModelError
from napari_nucleus.hosting.host import Host
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import Calibration

T = 60.0
CALIBRATION = Calibration(1.0, 0.5)
SHAPE = (300, 280)
BOX = click_tile((48.5, 64.5), SHAPE, INFO, CALIBRATION)


@pytest.fixture
def source(blobs):
    return ArraySource(blobs, 0.5)


@pytest.fixture
def pointer(start) -> Host:
    return start("pointer")


def truth(source) -> Nuclei:
    labels, _ = ndimage.label(source.array.max(axis=-1) < DARK)
    return Nuclei.from_labels(labels)[0]


def points_at(yx, score=1.0) -> Points:
    yx = np.asarray(yx, float).reshape(-1, 2)
    return Points(yx, np.full(len(yx), score), np.zeros((len(yx), 0)))


def sorted_rows(rows) -> list[tuple]:
    return sorted(tuple(row) for row in np.asarray(rows).tolist())


def steps_of(folder) -> list[str]:
    return [line.split()[0] for line in (folder / "log").read_text().splitlines()]


def test_every_nucleus_is_one_point_also_where_tiles_meet(pointer, source):
    tiles = []
    job = pointer.detect_all(TileOrder(source, CALIBRATION), lambda *got: tiles.append(got))
    count = job.future.result(T)
    found = Points.joined([points for _, points in tiles])
    assert count == len(found)
    assert sorted_rows(found.yx) == sorted_rows(truth(source).centroids_yx)
    for spec, points in tiles:
        assert points.inside(spec.outer).all()


def test_points_of_a_region_begin_where_they_are_wanted_and_tell_progress(pointer, source):
    region, tiles, reports = (0, 0, 150, 280), [], []
    order = TileOrder(
        source,
        CALIBRATION,
        region,
        start_yx=(140, 270),
        on_progress=reports.append,
        wanted=lambda core: core[1] > 0,
    )
    job = pointer.detect_all(order, lambda *got: tiles.append(got))
    count = job.future.result(T)
    cores = [spec.core for spec, _ in tiles]
    assert cores[0] == (128, 256, 150, 280)
    assert all(core[1] > 0 and core[2] <= 150 for core in cores)
    assert count == sum(len(points) for _, points in tiles)
    assert [r.done for r in reports] == list(range(len(tiles) + 1))
    assert reports[0].text == "Detecting nuclei"


def test_a_search_for_points_is_cancelled_within_a_tile(pointer, source, tmp_path, until):
    (tmp_path / "detect").write_text("wait")
    tiles = []
    job = pointer.detect_all(TileOrder(source, CALIBRATION), lambda *got: tiles.append(got))
    until((tmp_path / "waiting").exists)
    job.cancel()
    (tmp_path / "detect").unlink()
    with pytest.raises(CancelledError):
        job.future.result(T)
    assert tiles == []


def test_models_that_do_not_point_say_so(start, source):
    job = start().detect_all(TileOrder(source, CALIBRATION), lambda *_: None)
    with pytest.raises(ModelError, match="fake does not find nuclei as points"):
        job.future.result(T)


def test_points_of_a_tile_become_the_nuclei_they_lie_in(pointer, source):
    yx = [(48.5, 64.5), (200.0, 200.0), (56.0, 56.0), (32.2, 80.9)]
    masks = pointer.masks_of(source, BOX, CALIBRATION, points_at(yx, 0.5)).result(T)
    assert masks.nucleus.tolist() == [0, -1, -1, 1]
    assert sorted_rows(masks.nuclei.boxes) == [(28, 76, 37, 85), (44, 60, 53, 69)]
    assert masks.nuclei.score.tolist() == pytest.approx([0.45, 0.45])
    assert masks.nuclei.logits[0] is not None


def test_points_are_outlined_on_the_tile_that_clicks_encoded(pointer, source, tmp_path):
    from napari_nucleus.core.prompts import Prompts

    click = Prompts().with_point((48.5, 64.5), True)
    pointer.refine(source, BOX, CALIBRATION, [click]).result(T)
    told = []
    for _ in range(2):
        pointer.masks_of(
            source, BOX, CALIBRATION, points_at([(32, 48)]), on_encoding=told.append
        ).result(T)
    assert steps_of(tmp_path).count("embed") == 1
    assert told == []


def test_the_newest_points_take_the_place_of_those_that_wait(pointer, source, tmp_path, until):
    (tmp_path / "refine").write_text("wait")
    some = points_at([(48, 64)])
    first = pointer.masks_of(source, BOX, CALIBRATION, some, key="points")
    until((tmp_path / "waiting").exists)
    second = pointer.masks_of(source, BOX, CALIBRATION, some, key="points")
    third = pointer.masks_of(source, BOX, CALIBRATION, some, key="points")
    (tmp_path / "refine").unlink()
    assert len(first.result(T)) == len(third.result(T)) == 1
    assert second.cancelled()


def test_points_all_over_an_image_become_its_nuclei(pointer, source):
    true = truth(source)
    got, tiles = [], []
    order = TileOrder(source, CALIBRATION, on_tile=lambda spec, nuclei: tiles.append(nuclei))
    job = pointer.masks_of_all(
        order, points_at(true.centroids_yx), lambda spec, which, masks: got.append((which, masks))
    )
    assert job.future.result(T) == len(true)
    assert sorted(np.concatenate([which for which, _ in got])) == list(range(len(true)))
    for which, masks in got:
        boxes = masks.nuclei.boxes[masks.nucleus]
        assert boxes.tolist() == true.boxes[which].tolist()
    assert sorted_rows(Nuclei.concatenate(tiles).boxes) == sorted_rows(true.boxes)


def test_only_tiles_with_points_are_read(pointer, source, tmp_path):
    job = pointer.masks_of_all(TileOrder(source, CALIBRATION), points_at([(48, 64), (240, 240)]))
    assert job.future.result(T) == 2
    assert steps_of(tmp_path).count("embed") == 2


def test_points_beside_the_image_or_not_wanted_are_left_out(pointer, source):
    got = []
    order = TileOrder(source, CALIBRATION, wanted=lambda core: core[0] < 100)
    points = points_at([(-5, 20), (48, 64), (240, 240), (48, 500)])
    job = pointer.masks_of_all(order, points, lambda _, which, __: got.append(which.tolist()))
    assert job.future.result(T) == 1
    assert got == [[1]]


def test_no_points_are_no_work(pointer, source):
    assert pointer.masks_of_all(TileOrder(source, CALIBRATION), points_at([])).future.result(T) == 0
    assert len(pointer.masks_of(source, BOX, CALIBRATION, points_at([])).result(T)) == 0


def test_two_points_of_one_nucleus_on_two_tiles_make_one(pointer, source):
    # The middle of a disc lies on the border of the cores of 64.
    points = points_at([(64.5, 62.5), (64.5, 66.5)])
    got = []
    job = pointer.masks_of_all(
        TileOrder(source, CALIBRATION), points, lambda _, which, masks: got.append((which, masks))
    )
    assert job.future.result(T) == 1
    numbers = np.concatenate([masks.nucleus for _, masks in got])
    assert sorted(numbers) == [-1, 0]
