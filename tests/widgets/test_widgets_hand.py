"""Nuclei changed by hand: gestures, brush and eraser, scribbles, several chosen together."""

from __future__ import annotations

import numpy as np
import pytest
from driver import CTRL, SHIFT
from qtpy.QtCore import Qt

from napari_nucleus.session import actions
from napari_nucleus.widgets.binding import SELECTED

LEFT_BAR, RIGHT_BAR, FREE = (70.5, 60.5), (70.5, 105.5), (120.5, 60.5)


def brush_layer(app):
    return next(layer for layer in app.viewer.layers if layer.name.endswith("brush"))


# ---- gestures


def test_a_stroke_cuts_and_does_not_move_the_view(bars):
    centre = bars.viewer.scene.camera.center
    bars.press(Qt.Key.Key_K)
    assert bars.dock.correct_tab.by_hand.gestures["cut"].isChecked()
    bars.drag((40.5, 65.5), (100.5, 65.5))
    assert bars.document.count == 3
    assert bars.viewer.scene.camera.center == centre
    assert not bars.dock.correct_tab.by_hand.gestures["cut"].isChecked()
    assert bars.document.id_at((70.5, 45.5)) != bars.document.id_at((70.5, 85.5))
    bars.press(Qt.Key.Key_Z, CTRL)
    assert bars.document.count == 2
    bars.drag((40.5, 65.5), (100.5, 65.5))
    assert bars.document.count == 2, "a drag moves the view again"
    assert bars.viewer.scene.camera.center != centre


def test_a_stroke_that_cuts_nothing_is_said_and_can_be_drawn_again(bars):
    bars.press(Qt.Key.Key_K)
    bars.drag((20.5, 20.5), (30.5, 150.5))
    assert "crosses no nucleus" in bars.warned[-1]
    bars.drag((40.5, 105.5), (100.5, 105.5))
    assert bars.document.count == 3


def test_two_are_merged_by_a_key_and_a_click(bars):
    bars.click((70.5, 60.5))
    bars.press(Qt.Key.Key_G)
    bars.click((70.5, 105.5))
    assert bars.document.count == 1
    assert bars.document.id_at((70.5, 92.5)) == 1, "the gap is closed"
    bars.press(Qt.Key.Key_Z, CTRL)
    assert bars.document.count == 2


def test_one_is_split_between_two_clicks(bars):
    bars.press(Qt.Key.Key_S)
    bars.click((70.5, 45.5))
    bars.click((70.5, 85.5))
    assert bars.document.count == 3
    bars.click((70.5, 50.5))
    assert bars.document.count == 3, "the gesture has ended"


def test_escape_ends_what_was_begun(bars):
    for key in (Qt.Key.Key_K, Qt.Key.Key_S, Qt.Key.Key_G):
        bars.press(key)
        bars.press(Qt.Key.Key_Escape)
        assert bars.annotation.by_hand.gestures.gesture is None
    bars.dock.correct_tab.by_hand.gestures["split"].click()
    assert bars.annotation.by_hand.gestures.gesture == "split"
    bars.dock.correct_tab.by_hand.gestures["split"].click()
    assert bars.annotation.by_hand.gestures.gesture is None


def test_holes_are_filled_and_outlines_smoothed_by_keys_and_buttons(bars):
    labels = np.zeros((160, 200), np.int32)
    labels[100:120, 40:60] = 9
    labels[108:112, 48:52] = 0
    actions.import_labels(bars.document, labels)
    bars.hover((102.5, 45.5))
    bars.press(Qt.Key.Key_H)
    assert bars.document.id_at((110.5, 50.5)) == bars.document.id_at((102.5, 45.5))
    bars.press(Qt.Key.Key_H)
    assert "has no holes" in bars.said[-1]
    bars.click((102.5, 45.5))
    before = bars.document.row(bars.annotation.tool.selected).area
    bars.dock.correct_tab.smooth.click()
    assert bars.document.row(bars.annotation.tool.selected).area < before


def test_a_stroke_merges_all_it_meets(bars):
    bars.press(Qt.Key.Key_G)
    bars.drag((70.5, 50.5), (70.5, 110.5))
    assert bars.document.count == 1
    assert bars.document.id_at((70.5, 92.5)) == 1


def test_a_scribble_asks_the_model(correcting):
    correcting.press(Qt.Key.Key_W)
    correcting.drag((58.5, 78.5), (62.5, 82.5))
    assert correcting.document.count == 1
    drawn = correcting.document.prompts(correcting.document.ids[0]).scribble_yx
    np.testing.assert_allclose(drawn[[0, -1]], [(58.5, 78.5), (62.5, 82.5)], atol=0.6)
    assert correcting.annotation.by_hand.gestures.gesture is None


# ---- brush and eraser


def test_a_stroke_of_the_brush_beside_nuclei_makes_one(bars):
    centre = bars.viewer.scene.camera.center
    before = bars.document.labels()
    bars.press(Qt.Key.Key_B)
    assert bars.dock.correct_tab.by_hand.brushes[False].isChecked()
    bars.drag(FREE, (120.5, 90.5))
    assert bars.document.count == 3
    mask, box = bars.document.mask(3)
    size = brush_layer(bars).brush_size
    assert size == 5, "2.5 µm at 0.5 µm per pixel"
    assert box[0] < 120 < box[2]
    assert 28 <= box[3] - box[1] <= 40
    assert mask[mask.shape[0] // 2].all()
    assert bars.viewer.scene.camera.center == centre
    assert not np.asarray(brush_layer(bars).data).any()
    bars.press(Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(bars.document.labels(), before)


def test_a_stroke_begun_in_a_nucleus_extends_that_one_and_spares_the_other(bars):
    bars.press(Qt.Key.Key_B)
    bars.drag(LEFT_BAR, (70.5, 110.5))
    assert bars.document.count == 2
    assert bars.document.id_at((70.5, 93.5)) == 1
    assert bars.document.row(2).area == 20 * 24
    assert "left to neighbours" in bars.said[-1]


def test_the_eraser_takes_from_the_nucleus_it_begins_in(bars):
    bars.press(Qt.Key.Key_E)
    assert bars.dock.correct_tab.by_hand.brushes[True].isChecked()
    bars.drag((78.5, 80.5), (78.5, 115.5))
    assert bars.document.row(2).area == 20 * 24
    assert bars.document.row(1).area < 20 * 50
    bars.drag((90.5, 110.5), (62.5, 110.5))
    assert bars.document.row(2).area < 20 * 24, "begun beside nuclei it takes from all"


def test_brush_and_eraser_are_exchanged_and_put_down(bars):
    image = bars.annotation.image
    for key, kind in ((Qt.Key.Key_B, "paint"), (Qt.Key.Key_E, "erase"), (Qt.Key.Key_B, "paint")):
        bars.press(key)
        assert bars.annotation.by_hand.brush.kind == kind
    bars.press(Qt.Key.Key_B)
    assert bars.annotation.by_hand.brush.kind is None
    assert bars.viewer.layers.selection.active is image
    bars.press(Qt.Key.Key_E)
    bars.press(Qt.Key.Key_Escape)
    assert bars.annotation.by_hand.brush.kind is None
    bars.click(LEFT_BAR)
    assert bars.annotation.tool.selected == 1, "clicks correct again"


def test_leaving_the_tab_puts_the_brush_down(bars):
    bars.press(Qt.Key.Key_B)
    bars.dock.tabs.setCurrentWidget(bars.dock.segment_tab)
    assert bars.annotation.by_hand.brush.kind is None
    assert not brush_layer(bars).visible


def test_the_brush_follows_the_view(bars):
    bars.press(Qt.Key.Key_B)
    bars.viewer.scene.camera.zoom *= 4
    bars.viewer.scene.camera.center = (0, 60.0, 30.0)
    bars.until(lambda: brush_layer(bars).data.shape[0] < 120)
    bars.drag((120.5, 60.5), (120.5, 66.5))
    assert bars.document.id_at((120.5, 63.5)) == 3


def test_a_brush_whose_layer_was_deleted_can_be_taken_again(bars):
    bars.press(Qt.Key.Key_B)
    bars.viewer.layers.remove(brush_layer(bars))
    assert bars.annotation.by_hand.brush.kind is None
    bars.press(Qt.Key.Key_B)
    bars.drag(FREE, (120.5, 90.5))
    assert bars.document.count == 3


def test_from_too_far_off_there_is_no_painting(app):
    app.open(np.broadcast_to(np.uint8(235), (4200, 4200, 3)))
    app.correct()
    app.press(Qt.Key.Key_B)
    assert app.annotation.by_hand.brush.kind is None
    assert "come nearer" in app.warned[-1]


@pytest.mark.parametrize("place", [{"rotate": 30.0}, {"translate": (40.0, -7.0)}], ids=str)
def test_the_brush_paints_where_it_is_on_a_layer_that_lies_elsewhere(app, place):
    app.open(np.full((160, 200, 3), 235, np.uint8), **place)
    app.correct()
    app.press(Qt.Key.Key_B)
    app.drag((80.5, 90.5), (80.5, 110.5))
    row = app.document.row(1)
    np.testing.assert_allclose(row.centroid_yx, (80.5, 100.5), atol=1.5)


# ---- several at once


def test_nuclei_in_a_box_are_removed_in_one_step(bars):
    bars.press(Qt.Key.Key_A)
    bars.drag((50.5, 30.5), (90.5, 130.5))
    assert bars.annotation.by_hand.group.ids == [1, 2]
    raster = np.asarray(bars.annotation.binding.layers[1].data)
    assert (raster[60, 40:90] == SELECTED).all()
    assert (raster[60, 96:120] == SELECTED).all()
    bars.press(Qt.Key.Key_Delete)
    assert bars.document.count == 0
    bars.press(Qt.Key.Key_Z, CTRL)
    assert bars.document.count == 2


def test_chosen_nuclei_get_a_class_together_and_are_let_go(bars):
    bars.drag((50.5, 30.5), (90.5, 130.5), CTRL | SHIFT)
    bars.press(Qt.Key.Key_2)
    assert bars.document.counts_by_class() == {2: 2}
    bars.push("connective")
    assert bars.document.counts_by_class() == {3: 2}
    bars.press(Qt.Key.Key_Escape)
    assert bars.annotation.by_hand.group.ids == []
    assert SELECTED not in np.asarray(bars.annotation.binding.layers[1].data)
    bars.hover(RIGHT_BAR)
    bars.press(Qt.Key.Key_1)
    assert bars.document.counts_by_class() == {1: 1, 3: 1}


def test_chosen_nuclei_are_accepted_together(bars):
    bars.drag((50.5, 30.5), (90.5, 130.5), CTRL | SHIFT)
    bars.press(Qt.Key.Key_Return)
    assert {bars.document.row(i).touched for i in (1, 2)} == {True}


def test_all_in_view_of_a_class_are_chosen(bars):
    labels = np.zeros((160, 200), np.int32)
    labels[100:110, 100:110] = 5
    actions.import_labels(bars.document, labels)
    actions.classify(bars.document, [1, 2], 4)
    bars.click(LEFT_BAR)
    bars.press(Qt.Key.Key_A, SHIFT)
    assert bars.annotation.by_hand.group.ids == [1, 2]
