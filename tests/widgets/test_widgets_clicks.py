"""Correcting with the mouse on the canvas."""

import numpy as np
import pytest
from driver import ALT, CTRL, SHIFT
from qtpy.QtCore import QPoint, Qt

from napari_nucleus.core.outlines import INTERIOR

MISSED, OTHER, BEYOND, BACKGROUND = (60.5, 80.5), (100.5, 120.5), (40.5, 140.5), (70.5, 90.5)


def disc(shape, centre) -> np.ndarray:
    yy, xx = np.indices(shape)
    return (yy - centre[0] + 0.5) ** 2 + (xx - centre[1] + 0.5) ** 2 <= 16


def test_a_click_on_a_missed_nucleus_adds_it(correcting):
    correcting.click(MISSED)
    labels = correcting.document.labels()
    assert correcting.document.count == 1
    np.testing.assert_array_equal(labels > 0, disc(labels.shape, MISSED))
    outlined = correcting.outlined()
    assert outlined.any()
    assert not (outlined & (labels == 0)).any()
    assert not outlined[60, 80], "the middle of a nucleus is not outline"


def test_a_click_on_background_where_nothing_is_adds_nothing_and_says_so(correcting):
    correcting.click(BACKGROUND)
    assert correcting.document.count == 0
    assert "no nucleus here" in correcting.warned[-1]


def test_a_click_in_a_nucleus_selects_it(correcting):
    correcting.click(MISSED)
    correcting.click(OTHER)
    correcting.click(MISSED)
    assert correcting.document.count == 2
    assert correcting.annotation.tool.selected == correcting.document.id_at(MISSED)


def test_ctrl_click_in_the_core_removes_it(correcting):
    correcting.click(MISSED)
    correcting.click(OTHER)
    correcting.click(MISSED, CTRL)
    assert correcting.document.count == 1
    assert correcting.document.id_at(MISSED) is None
    assert not correcting.outlined()[50:70, 70:90].any()


def test_ctrl_click_near_the_rim_carves_and_leaves_the_neighbours(correcting):
    correcting.click(MISSED)
    correcting.click(OTHER)
    before = correcting.document.labels()
    rim = (60.5, 83.5)
    correcting.click(rim, CTRL)
    after = correcting.document.labels()
    assert correcting.document.count == 2
    assert after[60, 83] == 0
    assert after[60, 79] == before[60, 79]
    np.testing.assert_array_equal(before[90:], after[90:])


def test_two_fast_clicks_are_two_clicks_and_do_not_zoom(correcting):
    zoom, centre = correcting.viewer.scene.camera.zoom, correcting.viewer.scene.camera.center
    correcting.click(MISSED, wait=False)
    correcting.second_press(OTHER)
    assert correcting.document.count == 2
    correcting.double_click(BEYOND)
    assert correcting.document.count == 3
    assert correcting.viewer.scene.camera.zoom == zoom
    assert correcting.viewer.scene.camera.center == centre


def test_clicks_faster_than_the_model_lose_none(correcting):
    places = [(20.5 + 20 * i, 20.5 + 20 * j) for i in range(3) for j in range(3)]
    for place in places:
        correcting.click(place, wait=False)
    correcting.settle()
    assert correcting.document.count == 9
    assert all(correcting.document.id_at(p) for p in places)


def test_undo_restores_exactly_and_redo_brings_it_back(correcting):
    correcting.click(MISSED)
    correcting.click(OTHER)
    with_both, outlined = correcting.document.labels(), correcting.outlined()
    correcting.click(MISSED, CTRL)
    correcting.press(Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(correcting.document.labels(), with_both)
    np.testing.assert_array_equal(correcting.outlined(), outlined)
    correcting.press(Qt.Key.Key_Z, CTRL)
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert correcting.document.count == 0
    assert not correcting.outlined().any()
    correcting.press(Qt.Key.Key_Z, CTRL | SHIFT)
    correcting.press(Qt.Key.Key_Z, CTRL | SHIFT)
    np.testing.assert_array_equal(correcting.document.labels(), with_both)


def test_undo_by_key_works_whichever_layer_is_active(correcting):
    correcting.click(MISSED)
    correcting.viewer.add_labels(np.zeros((160, 200), np.int32), name="someone else's")
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert correcting.document.count == 0


def test_a_drag_pans_and_is_no_click(correcting):
    centre = correcting.viewer.scene.camera.center
    correcting.drag(MISSED, (80.5, 110.5))
    assert correcting.document.count == 0
    assert correcting.viewer.scene.camera.center != centre


def test_a_hand_that_shakes_still_clicks(correcting):
    place = correcting.pixel(MISSED)
    correcting.drag_pixels(place, place + QPoint(3, 2))
    assert correcting.document.count == 1


def test_alt_drag_is_left_to_the_zoom_box_of_napari(correcting):
    correcting.drag((50.5, 70.5), (70.5, 90.5), ALT)
    assert correcting.document.count == 0


def test_alt_click_is_not_ours(correcting):
    correcting.click(MISSED, ALT)
    assert correcting.document.count == 0


def test_shift_drag_draws_a_box_around_a_nucleus_and_does_not_pan(correcting):
    centre = correcting.viewer.scene.camera.center
    correcting.drag((54.5, 74.5), (66.5, 86.5), SHIFT)
    assert correcting.document.count == 1
    assert correcting.document.id_at(MISSED) is not None
    assert correcting.viewer.scene.camera.center == centre
    assert correcting.viewer.scene.camera.mouse_pan


def test_t_swaps_what_a_click_does(correcting):
    correcting.click(MISSED)
    correcting.press(Qt.Key.Key_T)
    correcting.click(MISSED)
    assert correcting.document.count == 0
    correcting.press(Qt.Key.Key_T)
    correcting.click(MISSED)
    assert correcting.document.count == 1


def test_delete_removes_the_selected_nucleus_or_else_the_one_under_the_pointer(correcting):
    correcting.click(MISSED)
    correcting.click(OTHER)
    correcting.click(MISSED)
    correcting.hover(OTHER)
    correcting.press(Qt.Key.Key_Delete)
    assert correcting.document.id_at(MISSED) is None
    correcting.press(Qt.Key.Key_Delete)
    assert correcting.document.count == 0


def test_a_digit_gives_the_nucleus_under_the_pointer_its_class(correcting):
    correcting.click(MISSED)
    correcting.click(OTHER)
    correcting.hover(MISSED)
    correcting.press(Qt.Key.Key_2)
    document = correcting.document
    assert document.row(document.id_at(MISSED)).class_id == 2
    assert document.row(document.id_at(OTHER)).class_id == 0
    assert correcting.outlined()[50:70, 70:90].any()


def test_the_class_digit_changes_the_colour_of_the_outline(correcting):
    correcting.click(MISSED)
    correcting.hover(BACKGROUND)
    correcting.press(Qt.Key.Key_Escape)
    outline = correcting.annotation.binding.layers[1]
    inside = 3 + INTERIOR
    before = set(np.unique(outline.data[50:70, 70:90]))
    correcting.hover(MISSED)
    correcting.press(Qt.Key.Key_3)
    correcting.press(Qt.Key.Key_Escape)
    assert set(np.unique(outline.data[50:70, 70:90])) == {0, 3, inside} != before


def test_hovering_with_ctrl_shows_whether_a_click_removes_or_carves(correcting):
    from napari_nucleus.widgets.binding import CARVING, REMOVING

    correcting.click(MISSED)
    outline = correcting.annotation.binding.layers[1]
    correcting.hover(MISSED, CTRL)
    assert REMOVING in outline.data
    correcting.hover((60.5, 83.5), CTRL)
    assert CARVING in outline.data
    assert REMOVING not in outline.data
    correcting.hover(BACKGROUND)
    assert CARVING not in outline.data


@pytest.mark.parametrize("kind", ["image", "points", "labels"])
def test_another_active_layer_does_not_matter(correcting, kind):
    viewer = correcting.viewer
    if kind == "image":
        layer = viewer.add_image(np.zeros((160, 200)), opacity=0.1, scale=(0.5, 0.5))
    elif kind == "points":
        layer = viewer.add_points(np.zeros((1, 2)))
    else:
        layer = viewer.add_labels(np.zeros((160, 200), np.int32))
    viewer.layers.selection.active = layer
    correcting.click(MISSED)
    assert correcting.document.count == 1


def test_while_another_layer_is_drawn_on_clicks_are_not_ours(correcting):
    shapes = correcting.viewer.add_shapes(name="region")
    shapes.mode = "add_rectangle"
    correcting.drag((40.5, 60.5), (70.5, 90.5))
    assert correcting.document.count == 0
    assert len(shapes.data) == 1


def test_in_the_segment_tab_clicks_do_nothing(app, discs):
    app.open(discs)
    app.click(MISSED)
    assert app.document.count == 0


def test_leaving_the_correct_tab_leaves_no_trace(app, discs):
    app.open(discs)
    viewer, image = app.viewer, app.annotation.image

    def traces():
        return [
            list(viewer.mouse_drag_callbacks),
            list(viewer.mouse_move_callbacks),
            list(viewer.mouse_double_click_callbacks),
            dict(viewer.keymap),
            dict(image.keymap),
        ]

    before = traces()
    app.correct()
    assert traces() != before
    app.click(MISSED)
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    assert traces() == before


# ---- review


def test_the_doubtful_are_walked_through_by_keys(correcting):
    correcting.dock.segment_tab.segment.click()
    correcting.settle()
    n = correcting.document.count
    camera = correcting.viewer.scene.camera
    before = camera.zoom
    correcting.press(Qt.Key.Key_N)
    first = correcting.annotation.tool.selected
    centre = np.array(correcting.document.row(first).centroid_yx)
    assert np.allclose(np.array(camera.center)[-2:], (centre - 0.5) * 0.5, atol=0.5)
    assert camera.zoom >= before
    assert f"{n} to look at" in correcting.said[-1]
    correcting.press(Qt.Key.Key_Return)
    second = correcting.annotation.tool.selected
    assert correcting.document.row(first).state == "accepted"
    assert second != first
    assert f"{n - 1} to look at" in correcting.said[-1]
    correcting.press(Qt.Key.Key_N)
    third = correcting.annotation.tool.selected
    correcting.press(Qt.Key.Key_N, SHIFT)
    assert correcting.annotation.tool.selected == second
    assert third not in (first, second)
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert correcting.document.row(first).state == "automatic"


def test_the_queue_ends_in_words(bars):
    bars.dock.correct_tab.review.next.click()
    bars.dock.correct_tab.review.accept.click()
    bars.dock.correct_tab.review.accept.click()
    assert bars.said[-1] == "All is looked at."
