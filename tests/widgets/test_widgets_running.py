"""Segmenting, faults of the model, pixel sizes, and getting the result out."""

import json

import numpy as np
import pytest
import tifffile
from driver import CTRL
from qtpy.QtCore import Qt

from napari_nucleus.core.image import ArraySource
from napari_nucleus.widgets import launch
from napari_nucleus.widgets.layers import visible_box

MISSED, OTHER = (60.5, 80.5), (100.5, 120.5)
DISCS = 7 * 9


def segment(app) -> None:
    app.dock.segment_tab.segment.click()
    app.settle()


def test_segmenting_finds_every_nucleus_as_one_step(app, discs):
    app.open(discs)
    segment(app)
    assert app.document.count == DISCS
    assert app.dock.tabs.currentWidget() is app.dock.correct_tab, "corrections can begin"
    assert app.document.history.undo_name == "Segment image"
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.count == 0


def test_segmenting_the_view_leaves_the_rest_alone(app, discs):
    app.open(discs)
    camera = app.viewer.scene.camera
    camera.center, camera.zoom = (0, *(np.array(MISSED) * 0.5)), camera.zoom * 3
    app.viewer.screenshot()  # napari learns what is visible when it draws
    assert visible_box(app.annotation.image)[2] < 150
    app.dock.segment_tab.view.setChecked(True)
    segment(app)
    assert 0 < app.document.count < DISCS
    assert app.document.id_at(MISSED) is not None
    assert app.document.id_at((140.5, 180.5)) is None


def test_segmenting_a_drawn_region_takes_nuclei_by_their_centre(app, discs):
    app.open(discs)
    app.dock.segment_tab.draw.click()
    shapes = app.viewer.layers.selection.active
    shapes.add_rectangles(np.array([[10, 10], [10, 69], [69, 69], [69, 10]]))
    segment(app)
    assert app.document.count == 9
    assert app.dock.segment_tab.drawn.isChecked()


def test_a_region_must_be_drawn_first(app, discs):
    app.open(discs)
    app.dock.segment_tab.drawn.setChecked(True)
    app.dock.segment_tab.segment.click()
    assert "Draw a region first" in app.warned[-1]


def test_a_cancelled_run_keeps_what_was_found_as_one_step(app, discs):
    app.open(np.tile(discs, (3, 3, 1)))
    (app.orders / "segment").write_text("wait")
    app.dock.segment_tab.segment.click()
    app.until(lambda: (app.orders / "waiting").exists())
    assert app.dock.footer.cancel.isVisible()
    app.dock.footer.cancel.click()
    (app.orders / "segment").unlink()
    app.settle()
    assert app.said[-1].startswith("Cancelled.")
    assert not app.dock.footer.cancel.isVisible()
    assert app.document.count < 9 * DISCS


def test_a_nucleus_that_the_user_removed_before_a_run_and_one_that_he_made_survive_it(app, discs):
    app.open(discs)
    app.correct()
    app.click(MISSED)
    app.hover(MISSED)
    app.press(Qt.Key.Key_2)
    mine = app.document.id_at(MISSED)
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    segment(app)
    assert app.document.count == DISCS
    assert app.document.id_at(MISSED) == mine
    assert app.document.row(mine).class_id == 2
    assert "gave way" in app.said[-1]


def test_a_crash_of_the_model_loses_no_click(correcting):
    correcting.click(OTHER)
    (correcting.orders / "refine").write_text("die once")
    correcting.click(MISSED)
    assert correcting.document.count == 2
    assert correcting.document.id_at(MISSED) is not None


def test_a_model_that_keeps_dying_is_reported_and_the_nuclei_stay(correcting):
    correcting.click(OTHER)
    before = correcting.document.labels()
    (correcting.orders / "refine").write_text("die")
    correcting.click(MISSED)
    assert correcting.warned
    np.testing.assert_array_equal(correcting.document.labels(), before)
    (correcting.orders / "refine").unlink()
    correcting.click(MISSED)
    assert correcting.document.count == 2


@pytest.mark.parametrize(("fault", "word"), [("model error", "too wonderful"), ("fault", "fault")])
def test_what_the_model_says_went_wrong_reaches_the_user(correcting, fault, word):
    (correcting.orders / "refine").write_text(fault)
    correcting.click(MISSED)
    assert word in correcting.warned[-1]
    assert correcting.document.count == 0


def test_an_unknown_pixel_size_is_asked_for_and_can_be_estimated(app, discs):
    app.open(discs, mpp=None)
    header = app.dock.header
    assert header.warning.isVisible()
    app.dock.segment_tab.segment.click()
    assert "How large are the pixels?" in app.warned[-1]
    app.until(lambda: app.annotation.estimated_mpp is not None)
    assert app.document.count == 0
    header.estimate.click()
    assert app.annotation.mpp == 0.5
    assert not header.warning.isVisible()
    segment(app)
    assert app.document.count == DISCS


def test_the_export_holds_the_correction(app, discs, tmp_path):
    app.open(discs)
    segment(app)
    app.click(MISSED, CTRL)
    app.hover(OTHER)
    app.press(Qt.Key.Key_2)
    footer = app.dock.footer
    footer.export.click()
    dialog = app.export_dialog()
    dialog.folder.setText(str(tmp_path / "out"))
    dialog.stem.setText("corrected")
    dialog.save.click()
    app.until(lambda: any("written" in text for text in app.said))
    labels = tifffile.imread(tmp_path / "out" / "corrected.tif")
    np.testing.assert_array_equal(labels, app.document.labels())
    assert labels.dtype == np.uint16, "ImageJ shows no whole numbers of 32 bit"
    assert labels[60, 80] == 0
    features = json.loads((tmp_path / "out" / "corrected.geojson").read_text())["features"]
    assert len(features) == DISCS - 1
    named = [f["properties"]["classification"]["name"] for f in features]
    assert named.count(app.document.scheme.name_of(2)) == 1
    rows = (tmp_path / "out" / "corrected.csv").read_text().splitlines()
    assert len(rows) == DISCS
    assert footer.saved.text() == "saved, without a name yet"


def test_an_export_that_cannot_be_written_says_so(correcting, tmp_path):
    correcting.click(MISSED)
    (tmp_path / "a file").write_text("")
    correcting.workspace.export(tmp_path / "a file" / "in", "x", ("labels",))
    correcting.until(lambda: bool(correcting.warned))
    assert "nothing could be written" in correcting.warned[-1]


def test_the_footer_counts_by_class_and_names_the_steps(correcting):
    footer = correcting.dock.footer
    correcting.click(MISSED)
    assert "1 nucleus" in footer.counts.text()
    correcting.click(OTHER)
    correcting.hover(OTHER)
    correcting.press(Qt.Key.Key_2)
    assert "2 nuclei" in footer.counts.text()
    assert correcting.document.scheme.name_of(2) in footer.counts.text()
    assert footer.undo.text().startswith("Undo ")
    footer.undo.click()
    correcting.settle()
    assert footer.redo.isEnabled()
    footer.redo.click()
    assert correcting.document.row(correcting.document.id_at(OTHER)).class_id == 2


def test_the_sample_button_opens_a_field_and_segments_it(app):
    assert app.dock.segment_tab.sample.isVisible()
    app.dock.segment_tab.sample.click()
    app.settle()
    assert app.annotation.image.rgb
    assert app.document.count > 50
    assert not app.dock.segment_tab.sample.isVisible()


def test_closing_the_dock_in_the_middle_of_a_run_ends_it_without_a_word(app, discs):
    app.open(np.tile(discs, (3, 3, 1)))
    (app.orders / "segment").write_text("wait")
    app.dock.segment_tab.segment.click()
    app.until(lambda: (app.orders / "waiting").exists())
    run, said = app.workspace.runs.current, list(app.said)
    app.dock.close()
    (app.orders / "segment").unlink()
    assert not run.running
    assert app.said == said
    assert not app.warned


def test_another_image_in_the_middle_of_a_run_ends_it_and_keeps_what_was_found(app, discs):
    first = app.open(np.tile(discs, (3, 3, 1)), name="first")
    (app.orders / "segment").write_text("wait")
    app.dock.segment_tab.segment.click()
    app.until(lambda: (app.orders / "waiting").exists())
    app.open(discs, name="second")
    (app.orders / "segment").unlink()
    assert not app.dock.footer.cancel.isVisible()
    assert app.document.count == 0
    segment(app)
    assert app.document.count == DISCS
    app.dock.work_on(first)
    assert app.document.count < 9 * DISCS


def test_what_is_wrong_with_a_file_is_told_when_it_is_opened(app, monkeypatch, discs):
    monkeypatch.setattr(launch.napari, "Viewer", lambda title: app.viewer)
    monkeypatch.setattr(launch, "NucleusDock", lambda viewer: app.dock)
    monkeypatch.setattr(app.viewer.window, "add_dock_widget", lambda *_, **__: None)
    launch.open_viewer(ArraySource(discs, None, "a.tif"), "a", "/p/a.tif", "a.tif: pixels of 5 m.")
    assert app.warned[-1] == "a.tif: pixels of 5 m."
    assert app.annotation.image.name == "a"
    assert app.annotation.mpp is None
    assert app.workspace.keeping.project.image.path == "/p/a.tif"


def test_a_click_that_waits_says_so_at_the_pointer(correcting):
    from qtpy.QtWidgets import QToolTip

    order = correcting.orders / "embed"
    order.write_text("wait")
    layers = len(correcting.viewer.layers)
    correcting.click((60.5, 80.5), wait=False)
    correcting.until(lambda: QToolTip.isVisible() and QToolTip.text() == "encoding…")
    assert len(correcting.viewer.layers) == layers
    order.unlink()
    correcting.settle()
    correcting.until(lambda: not QToolTip.isVisible())
    assert correcting.document.count == 1


def test_a_tile_comes_in_pieces_and_is_one_step_all_the_same(app, discs, monkeypatch):
    from napari_nucleus.widgets import tile_run

    monkeypatch.setattr(tile_run, "AT_ONCE", 2)
    app.open(discs)
    segment(app)
    assert app.document.count == DISCS
    assert (app.document.labels() > 0).sum() == DISCS * 49
    app.annotation.undo()
    app.until(lambda: not app.annotation.busy)
    assert app.document.count == 0
