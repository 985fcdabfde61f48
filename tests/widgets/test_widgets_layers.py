"""How the app follows layers: places, deletions, other people's labels, other images."""

import numpy as np
import pytest
from driver import CTRL
from qtpy.QtCore import Qt

MISSED, OTHER = (60.5, 80.5), (100.5, 120.5)


@pytest.mark.parametrize("which", [0, 1], ids=["nuclei", "outlines"])
def test_a_deleted_layer_of_ours_comes_back_with_all_it_showed(correcting, which):
    correcting.click(MISSED)
    layer = correcting.annotation.binding.layers[which]
    shown = np.array(layer.data)
    correcting.viewer.layers.remove(layer)
    back = correcting.annotation.binding.layers[which]
    assert back is not layer
    assert back in correcting.viewer.layers
    np.testing.assert_array_equal(back.data, shown)
    assert "put back" in correcting.said[-1]
    correcting.click(OTHER)
    assert correcting.document.count == 2
    assert np.asarray(back.data)[95:105, 115:125].any()


def test_renamed_layers_are_still_ours(correcting):
    for layer in correcting.annotation.binding.layers:
        layer.name = "renamed"
    correcting.click(MISSED)
    correcting.click(MISSED, CTRL)
    assert not correcting.outlined().any()


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (0.25, 0.25), "units": ("µm", "µm")},
        {"scale": (2.0, 2.0), "translate": (300.0, -120.0)},
        {"scale": (0.5, 0.5), "units": ("µm", "µm"), "rotate": 30.0},
    ],
    ids=["small pixels", "moved", "turned"],
)
def test_clicks_hit_what_they_point_at_wherever_the_layer_lies(app, discs, place):
    app.open(discs, mpp=None, **place)
    app.annotation.set_mpp(0.5)
    app.correct()
    app.click(MISSED)
    assert app.document.id_at(MISSED) is not None
    assert app.document.count == 1
    for layer in app.annotation.binding.layers:
        np.testing.assert_allclose(
            layer.data_to_world((60, 80)), app.annotation.image.data_to_world((60, 80))
        )


def test_a_multiscale_picture_is_corrected_at_its_full_resolution(app, discs):
    app.open([discs, discs[::2, ::2]], multiscale=True)
    app.correct()
    app.click(MISSED)
    assert app.document.shape == discs.shape[:2]
    assert app.document.id_at(MISSED) is not None


def test_a_grey_picture_can_be_corrected(app, discs):
    app.open(discs[..., 1], rgb=False)
    app.correct()
    app.click(MISSED)
    assert app.document.count == 1


def test_a_label_layer_from_elsewhere_is_adopted_in_one_step(correcting):
    labels = np.zeros((160, 200), np.uint16)
    labels[56:65, 76:85], labels[96:105, 116:125] = 7, 900
    theirs = correcting.viewer.add_labels(
        labels, name="theirs", scale=(0.5, 0.5), units=("µm", "µm")
    )
    correcting.dock.segment_tab.labels.value = theirs
    correcting.dock.segment_tab.adopt.click()
    correcting.until(
        lambda: correcting.warned or any("adopted" in text for text in correcting.said)
    )
    assert not correcting.warned
    np.testing.assert_array_equal(correcting.document.labels(), labels)
    correcting.click(MISSED, CTRL)
    assert correcting.document.ids.tolist() == [900]
    correcting.press(Qt.Key.Key_Z, CTRL)
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert correcting.document.count == 0
    assert theirs.data.max() == 900, "the layer that was adopted stays as it was"


@pytest.mark.parametrize(
    ("labels", "place", "word"),
    [
        (np.ones((160, 200), np.int32), {"scale": (1.0, 1.0)}, "other scale"),
        (np.full((160, 200), -1, np.int32), {"scale": (0.5, 0.5)}, "-1"),
        (np.ones((2, 160, 200), np.int32), {"scale": (1, 0.5, 0.5)}, "2-D"),
    ],
    ids=["other pixels", "negative", "a stack"],
)
def test_labels_that_do_not_fit_are_refused_by_name(correcting, labels, place, word):
    theirs = correcting.viewer.add_labels(labels, name="theirs", **place)
    correcting.click(MISSED)
    before = correcting.document.labels()
    correcting.workspace.adopt(theirs)
    correcting.until(lambda: bool(correcting.warned))
    assert "theirs" in correcting.warned[-1]
    assert word in correcting.warned[-1]
    np.testing.assert_array_equal(correcting.document.labels(), before)


@pytest.mark.parametrize(
    ("data", "arguments", "word"),
    [
        (np.zeros((5, 40, 40), np.uint8), {}, "3 dimensions"),
        (np.full((40, 40, 3), np.nan, np.float32), {"rgb": True}, "NaN"),
    ],
    ids=["a stack", "not numbers"],
)
def test_a_layer_that_cannot_be_worked_on_is_refused_by_name(app, data, arguments, word):
    image = app.viewer.add_image(data, name="odd one", contrast_limits=(0, 255), **arguments)
    app.dock.work_on(image)
    app.correct()
    if app.annotation is not None:  # pixels are looked at when they are needed
        app.click((20.5, 20.5))
    assert "odd one" in app.warned[-1]
    assert word in app.warned[-1]


def test_each_image_has_its_own_nuclei_and_finds_them_again(app, discs):
    first = app.open(discs, name="first")
    app.correct()
    app.click(MISSED)
    nuclei = app.document.labels()
    app.open(255 - discs[::-1], name="second")
    assert app.document.count == 0
    app.dock.work_on(first)
    np.testing.assert_array_equal(app.document.labels(), nuclei)
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.count == 0


def test_nuclei_of_an_image_that_was_closed_are_there_when_it_is_opened_again(app, discs):
    image = app.open(discs)
    app.correct()
    app.click(MISSED)
    app.viewer.layers.remove(image)
    assert "kept" in app.warned[-1]
    assert [layer.name for layer in app.viewer.layers] == []
    app.open(discs.copy(), name="the same again")
    assert app.document.count == 1
    app.click(OTHER)
    assert app.document.count == 2


def test_closing_the_dock_ends_the_model_and_gives_everything_back(app, discs):
    image = app.open(discs)
    viewer = app.viewer
    before = [list(viewer.mouse_drag_callbacks), dict(viewer.keymap)]
    app.correct()
    app.click(MISSED)
    host = app.workspace.models.clicks.host
    app.dock.close()
    assert list(viewer.layers) == [image]
    assert [list(viewer.mouse_drag_callbacks), dict(viewer.keymap)] == before
    app.until(lambda: host.state == "closed")


def test_no_image_can_be_chosen_and_one_again(correcting):
    correcting.click(MISSED)
    image, combo = correcting.annotation.image, correcting.dock.header.image
    correcting.viewer.add_image(np.zeros((30, 30, 3), np.uint8), name="another", rgb=True)
    combo.value = None
    assert correcting.workspace.annotation is None
    assert combo.value is None
    correcting.dock.work_on(image)
    assert correcting.document.count == 1
    correcting.click(OTHER)
    assert correcting.document.count == 2


def test_an_adoption_in_the_middle_of_which_the_image_is_left_keeps_what_came_in(app):
    image = app.open(np.full((2200, 2200, 3), 235, np.uint8))
    app.correct()
    labels = np.zeros((2200, 2200), np.int32)
    for i in range(16):
        y, x = divmod(i, 4)
        labels[y * 540 : y * 540 + 9, x * 540 : x * 540 + 9] = i + 1
    place = {"scale": (0.5, 0.5), "units": ("µm", "µm")}
    app.workspace.adopt(app.viewer.add_labels(labels, name="theirs", **place))
    app.until(lambda: app.document.count > 0)
    came_in = app.document.count
    assert came_in < 16
    app.workspace.set_image(None)
    app.qtbot.wait(100)
    app.dock.work_on(image)
    assert app.document.count == came_in
    assert app.document.undo() == "Adopt theirs"
    assert app.document.count == 0
