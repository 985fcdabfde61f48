"""Large images: levels read where somebody looks, and napari's layers over them."""

from __future__ import annotations

import numpy as np
import pytest
from driver import CTRL
from qtpy.QtCore import Qt

from napari_nucleus.core.outlines import INTERIOR
from napari_nucleus.widgets.level_array import LevelArray

SIDE = 4200
NEAR, FAR = (60.5, 80.5), (4060.5, 4080.5)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[2:5, 1:7],
        np.s_[::3, 1::2],
        np.s_[::-1, 5],
        np.s_[-1, 0],
        np.s_[3],
        np.s_[..., 2],
        np.s_[4:4, :],
        np.s_[[1, 5, 2], 3:6],
        np.s_[np.int64(2), np.int64(3)],
    ],
    ids=str,
)
@pytest.mark.parametrize("samples", [(), (3,)], ids=["plain", "rgb"])
def test_a_level_is_sliced_like_an_array(key, samples):
    whole = np.arange(9 * 8 * np.prod(samples, dtype=int)).reshape(9, 8, *samples)
    level = LevelArray(whole.shape, whole.dtype, lambda b: whole[b[0] : b[2], b[1] : b[3]])
    np.testing.assert_array_equal(level[key], whole[key])
    np.testing.assert_array_equal(np.asarray(level), whole)
    assert (level.ndim, level.size, level.nbytes) == (whole.ndim, whole.size, whole.nbytes)
    assert len(level) == 9


def test_a_level_is_read_where_it_is_sliced():
    boxes = []

    def read(box):
        boxes.append(box)
        return np.zeros((box[2] - box[0], box[3] - box[1]), np.uint8)

    level = LevelArray((10**6, 10**6), np.uint8, read)
    assert level[500:600, 40_000:40_100].shape == (100, 100)
    assert boxes == [(500, 40_000, 600, 40_100)]
    with pytest.raises(IndexError, match="1000000"):
        level[10**6, 0]


@pytest.fixture
def large(app):
    """The app on an image too large to be held whole, looking at its upper left corner."""
    picture = np.full((SIDE, SIDE, 3), 235, np.uint8)
    for centre in (NEAR, FAR):
        y, x = (int(c) for c in centre)
        yy, xx = np.mgrid[y - 4 : y + 5, x - 4 : x + 5]
        picture[y - 4 : y + 5, x - 4 : x + 5][(yy - y) ** 2 + (xx - x) ** 2 <= 16] = (90, 60, 120)
    app.open(picture)
    app.correct()
    look_at(app, NEAR)
    return app


def look_at(app, point_yx):
    app.viewer.scene.camera.center = (0, *(np.array(point_yx) * 0.5))
    app.viewer.scene.camera.zoom = 6.0
    app.qtbot.wait(50)


def shown(app):
    """Return what the canvas shows of the nuclei around the middle of the view."""
    return app.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def test_a_large_image_is_shown_through_levels_and_corrected(large):
    outlines = large.annotation.binding.layers[1]
    assert outlines.multiscale
    assert len(outlines.data) == 4
    bare = shown(large)
    large.click(NEAR)
    large.hover((20, 20))
    large.press(Qt.Key.Key_Escape)
    large.qtbot.wait(50)
    drawn = shown(large)
    assert (np.abs(drawn - bare).sum(2) > 100).sum() > 50
    assert large.document.count == 1
    large.press(Qt.Key.Key_Z, CTRL)
    large.qtbot.wait(50)
    assert large.document.count == 0
    assert (np.abs(shown(large) - bare).sum(2) > 100).sum() < 20
    assert not np.asarray(outlines.data[3]).any()


def test_what_changes_out_of_sight_is_there_when_one_goes_there(large):
    from napari_nucleus.session.outlines import Outline

    box = (FAR[0] - 4.5, FAR[1] - 4.5, FAR[0] + 4.5, FAR[1] + 4.5)
    box = tuple(int(v) for v in box)
    from napari_nucleus.session import actions

    actions.add(large.document, Outline(np.ones((9, 9), bool), box), 2)
    outlines = large.annotation.binding.layers[1]
    look_at(large, FAR)
    values = np.unique(outlines.data[0][box[0] : box[2], box[1] : box[3]])
    assert values.tolist() == [2, 2 + INTERIOR]
    large.hover(FAR)
    large.press(Qt.Key.Key_5)
    values = np.unique(outlines.data[0][box[0] : box[2], box[1] : box[3]])
    assert set(values.tolist()) >= {5 + INTERIOR}


def test_filling_colours_the_inside_by_class(correcting):
    correcting.click(NEAR)
    correcting.hover(NEAR)
    correcting.press(Qt.Key.Key_2)
    outlines = correcting.annotation.binding.layers[1]
    inside = 2 + INTERIOR
    assert outlines.colormap.map(np.array([inside], np.uint8))[0, 3] == 0
    correcting.press(Qt.Key.Key_F)
    color = outlines.colormap.map(np.array([inside], np.uint8))[0]
    wanted = correcting.document.scheme.color_of(2)
    assert 0.2 < color[3] < 0.8
    np.testing.assert_allclose(color[:3] * 255, wanted, atol=2)


def test_a_picture_too_large_to_be_held_is_read_where_one_looks(app, tmp_path):
    import tifffile

    from napari_nucleus.widgets.project_images import load_image

    picture = np.full((8400, 300, 3), 235, np.uint8)
    yy, xx = np.indices((8400, 300))
    for y in (60, 8300):
        picture[(yy - y) ** 2 + (xx - 80) ** 2 <= 16] = (90, 60, 120)
    file = tmp_path / "long.tif"
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(picture, tile=(256, 256), photometric="rgb", subifds=1)
        tiff.write(picture[::4, ::4], tile=(256, 256), photometric="rgb", subfiletype=1)
    loaded = load_image(file, 0.5)
    shapes = [level.shape for level in loaded.source.levels]
    assert shapes == [(8400, 300), (2100, 75), (1050, 37), (525, 18)]
    image = app.workspace.opening.show(loaded, "long")
    assert image.multiscale
    app.correct()
    look_at(app, (8300, 80))
    app.click((8300.5, 80.5))
    assert app.document.count == 1
    assert app.document.row(1).area == 49
