"""Signing off and excluding regions in the viewer: keys, buttons, what is shown, and undo."""

import numpy as np
import pytest
from driver import CTRL, SHIFT
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_nucleus.session import actions
from napari_nucleus.session.regions import RegionKind
from napari_nucleus.session.table import NucleusState
from napari_nucleus.widgets import regions
from napari_nucleus.widgets.review_box import percent

DISCS = 7 * 9
CORNER = np.array([[10, 10], [10, 69], [69, 69], [69, 10]], float)
"""Around nine discs; corners counted from the centre of the first pixel, as napari does."""

IN_CORNER, ELSEWHERE = (40.5, 40.5), (100.5, 120.5)


@pytest.fixture
def segmented(app, discs):
    app.open(discs)
    app.dock.segment_tab.segment.click()
    app.settle()
    assert app.document.count == DISCS
    app.correct()
    return app


def draw(app, corners=CORNER):
    """Draw a region with napari's shapes layer."""
    app.dock.segment_tab.draw.click()
    app.viewer.layers.selection.active.add_polygons(corners)


def finish(app):
    app.until(lambda: not app.workspace.regions.busy)
    QApplication.processEvents()


def review(app):
    return app.dock.correct_tab.review


def untouched(app):
    return [row for row in app.document.rows() if row.state is NucleusState.AUTOMATIC]


def test_a_drawn_region_is_signed_off_shown_and_undone(segmented):
    app, box = segmented, review(segmented)
    assert box.progress.text() == "0 of 63 looked at · 0 % of the area signed off"
    draw(app)
    drawing = app.viewer.layers.selection.active
    box.drawn.click()
    finish(app)
    assert len(untouched(app)) == DISCS - 9
    assert app.said[-1] == "Region signed off, 9 nuclei accepted."
    assert drawing not in app.viewer.layers, "what was drawn is a region now"
    assert app.viewer.layers.selection.active is app.annotation.image, "clicks correct again"
    app.until(lambda: box.progress.text().startswith("9 of 63 looked at"))
    assert box.progress.text().endswith("10 % of the area signed off")
    assert (box.bar.value(), box.bar.maximum()) == (9, 63)
    layer = app.annotation.overlay.layer
    np.testing.assert_allclose(np.sort(layer.data[0], axis=0), np.sort(CORNER, axis=0))
    assert layer.visible
    assert not layer.editable
    assert app.viewer.layers.index(layer) == 1, "right on the image, below the nuclei"
    app.press(Qt.Key.Key_Z, CTRL)
    assert len(untouched(app)) == DISCS
    assert app.document.regions == ()
    assert not layer.visible
    app.until(lambda: box.progress.text().startswith("0 of 63 looked at"))
    app.press(Qt.Key.Key_Z, CTRL | SHIFT)
    assert layer.visible
    assert len(untouched(app)) == DISCS - 9


def test_the_key_signs_off_what_is_in_view(segmented):
    app = segmented
    camera = app.viewer.scene.camera
    camera.center, camera.zoom = (0, *(np.array(IN_CORNER) * 0.5)), camera.zoom * 4
    app.viewer.screenshot()  # napari learns what is visible when it draws
    app.press(Qt.Key.Key_R)
    finish(app)
    assert app.document.row(app.document.id_at(IN_CORNER)).state is NucleusState.ACCEPTED
    left = len(untouched(app))
    assert 0 < left < DISCS
    (region,) = app.document.regions
    assert region.kind is RegionKind.REVIEWED
    assert region.contains(np.array([IN_CORNER])).all()
    review(app).view.click()
    finish(app)
    assert len(app.document.regions) == 2
    assert len(untouched(app)) == left


def test_excluding_a_drawn_region_removes_its_nuclei_and_keeps_it_out_of_the_next_run(segmented):
    app, tab = segmented, segmented.dock.segment_tab
    app.click(IN_CORNER)
    app.press(Qt.Key.Key_Delete)
    app.click(IN_CORNER)
    mine = app.document.id_at(IN_CORNER)
    draw(app)
    tab.exclude.click()
    finish(app)
    assert app.document.count == DISCS - 8
    assert app.document.id_at(IN_CORNER) == mine, "what the user made stays"
    log = app.orders / "log"
    log.unlink()
    tab.whole.setChecked(True)
    tab.segment.click()
    app.settle()
    assert app.document.count == DISCS - 8
    assert "left as they are" in app.said[-1]
    app.press(Qt.Key.Key_Z, CTRL)
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.regions == ()
    assert app.document.count == DISCS


def test_tiles_in_excluded_regions_are_not_computed(app, discs):
    app.open(np.tile(discs, (3, 3, 1)))
    reports = []
    app.workspace.progressed.connect(lambda report: reports.append(report))
    draw(app, np.array([[-9, -9], [-9, 700], [255.5, 700], [255.5, -9]], float))
    app.dock.segment_tab.exclude.click()
    finish(app)
    app.dock.segment_tab.whole.setChecked(True)
    app.dock.segment_tab.segment.click()
    app.settle()
    log = (app.orders / "log").read_text().splitlines()
    tops = [float(line.split()[1]) for line in log if line.startswith("segment")]
    assert min(tops) == 256 - 16
    assert len(tops) == 4 * 10
    assert {r.total for r in reports if r is not None and r.total} == {len(tops)}
    assert min(row.centroid_yx[0] for row in app.document.rows()) > 256


def test_what_is_all_excluded_is_not_segmented_and_that_is_said(segmented):
    app = segmented
    draw(app, np.array([[-9, -9], [-9, 300], [300, 300], [300, -9]], float))
    app.dock.segment_tab.exclude.click()
    finish(app)
    assert app.document.count == 0
    app.dock.segment_tab.whole.setChecked(True)
    app.dock.segment_tab.segment.click()
    assert "excluded or signed off" in app.warned[-1]
    app.until(lambda: "100 %" in review(app).progress.text())


def test_excluding_can_leave_the_nuclei(segmented):
    app = segmented
    draw(app)
    app.dock.segment_tab.clear.setChecked(False)
    app.dock.segment_tab.exclude.click()
    finish(app)
    assert app.document.count == DISCS
    assert app.document.regions[0].kind is RegionKind.EXCLUDED


def test_without_a_drawing_the_button_lets_one_draw(segmented):
    app = segmented
    review(app).drawn.click()
    assert "Draw the region" in app.warned[-1]
    layer = app.viewer.layers.selection.active
    assert str(layer.mode) == "add_polygon"
    layer.add_polygons(CORNER)
    review(app).drawn.click()
    finish(app)
    assert len(app.document.regions) == 1


def test_a_drawing_of_nothing_is_refused_and_can_be_drawn_further(segmented):
    app = segmented
    draw(app, CORNER + 1000)
    layer = app.viewer.layers.selection.active
    review(app).drawn.click()
    assert "encloses nothing" in app.warned[-1]
    assert layer in app.viewer.layers
    assert app.document.regions == ()
    assert app.document.history.undo_name == "Segment image"


def test_clicks_go_through_a_region_as_if_it_were_not_there(segmented):
    app = segmented
    actions.sign_off(app.document, [CORNER + 0.5])
    app.click(IN_CORNER, CTRL)
    assert app.document.id_at(IN_CORNER) is None
    app.click(IN_CORNER)
    assert app.document.id_at(IN_CORNER) is not None
    assert len(app.document.regions) == 1


def test_the_region_under_the_pointer_is_lifted_by_a_key(segmented):
    app = segmented
    actions.sign_off(app.document, [CORNER + 0.5])
    actions.exclude(app.document, [CORNER + 80], remove_nuclei=False)
    app.hover((5, 190))
    app.press(Qt.Key.Key_R, SHIFT)
    assert app.said[-1] == "No region under the pointer."
    app.hover(IN_CORNER)
    app.press(Qt.Key.Key_R, SHIFT)
    assert app.said[-1] == "Lifted the signed-off region."
    assert [r.kind for r in app.document.regions] == [RegionKind.EXCLUDED]
    assert len(app.annotation.overlay.layer.data) == 1


def test_regions_are_listed_and_lifted_from_the_menu(segmented):
    app, box = segmented, review(segmented)
    assert not box.lift.isEnabled()
    actions.sign_off(app.document, [CORNER + 0.5], note="with B.", made="2026-03-01T10:00:00")
    actions.exclude(app.document, [CORNER + 80], remove_nuclei=False)
    app.until(box.lift.isEnabled)
    box.regions.aboutToShow.emit()
    entries = box.regions.actions()
    assert [e.text().split(",")[0] for e in entries] == ["Excluded 2", "Signed off 1"]
    assert "2026-03-01" in entries[1].text()
    assert entries[1].text().endswith("with B.")
    entries[1].trigger()
    assert [r.id for r in app.document.regions] == [2]


def test_a_deleted_overlay_comes_back(segmented):
    app = segmented
    actions.sign_off(app.document, [CORNER + 0.5])
    first = app.annotation.overlay.layer
    app.viewer.layers.remove(first)
    second = app.annotation.overlay.layer
    assert second in app.viewer.layers
    assert second is not first
    assert "was put back" in app.said[-1]


def test_outlines_keep_their_width_on_the_screen(segmented):
    app = segmented
    actions.sign_off(app.document, [CORNER + 0.5])
    layer = app.annotation.overlay.layer
    before = layer.edge_width[0]
    app.viewer.scene.camera.zoom *= 4
    app.until(lambda: layer.edge_width[0] < 0.5 * before)
    assert layer.edge_width[0] == pytest.approx(before / 4, rel=0.01)


def test_regions_are_there_again_with_the_image(segmented, discs):
    app = segmented
    actions.sign_off(app.document, [CORNER + 0.5])
    image = app.annotation.image
    other = app.open(255 - discs, name="other")
    assert app.document.regions == ()
    assert app.annotation.overlay.layer is None
    assert not [layer for layer in app.viewer.layers if "regions" in layer.name]
    app.dock.work_on(image)
    assert len(app.document.regions) == 1
    assert app.annotation.overlay.layer in app.viewer.layers
    app.viewer.layers.remove(other)


def test_a_large_region_comes_in_by_and_by_and_is_whole_when_the_image_is_left(app, monkeypatch):
    picture = np.full((1400, 1400, 3), 235, np.uint8)
    image = app.open(picture)
    from napari_nucleus.core.nuclei import Nuclei

    spots = [(y, x) for y in range(20, 1380, 40) for x in range(20, 1380, 40)]
    with app.document.run("Segment image") as run:
        run.add_tile(
            (0, 0, 1400, 1400), Nuclei.from_masks([np.ones((9, 9), bool)] * len(spots), spots)
        )
    monkeypatch.setattr(regions, "TURN_SECONDS", 0.0)
    app.correct()
    app.press(Qt.Key.Key_R)
    assert app.workspace.regions.busy
    app.workspace.regions.sign_off_view()
    assert "wait a moment" in app.warned[-1]
    app.open(picture // 2, name="other")
    assert not app.workspace.regions.busy
    app.dock.work_on(image)
    assert app.document.store.count_untouched() == 0
    app.document.undo()
    assert app.document.store.count_untouched() == len(spots)


def test_undo_in_the_middle_of_a_large_region_takes_all_of_it_back(app, monkeypatch):
    app.open(np.full((1400, 1400, 3), 235, np.uint8))
    app.correct()
    monkeypatch.setattr(regions, "TURN_SECONDS", 0.0)
    app.press(Qt.Key.Key_R)
    app.annotation.undo()
    finish(app)
    assert app.document.regions == ()
    assert app.document.history.undo_name is None
    assert not app.warned


def test_shares_never_say_all_or_nothing_where_it_is_not_so():
    assert [percent(x) for x in (0, 0.004, 0.01, 0.5, 0.29, 0.996, 1)] == [
        "0 %",
        "less than 1 %",
        "1 %",
        "50 %",
        "29 %",
        "99 %",
        "100 %",
    ]
