"""A folder opens as a series; each image is resumed where it was left."""

import json
import threading

import numpy as np
import pytest
import tifffile
from driver import CTRL
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_nucleus.session.project import Project
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.recent_box import RecentBox
from napari_nucleus.widgets.series_bar import KNOWN_ROLE, SeriesBar

MISSED, OTHER = (60.5, 80.5), (100.5, 120.5)


@pytest.fixture
def folder(tmp_path, discs):
    """Three images, the second of which is damaged, and a text."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for name, rgb in (("s1", discs), ("s3", discs[::-1].copy()), ("s10", 255 - discs)):
        write(folder / f"{name}.tif", rgb)
    (folder / "s2.tif").write_bytes(b"II*\0 and no more")
    (folder / "notes.txt").write_text("notes")
    return folder


def write(file, rgb):
    options = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}  # 0.5 µm
    tifffile.imwrite(file, rgb, photometric="rgb", **options)


def walk(app):
    return app.workspace.series


def open_folder(app, folder):
    before = walk(app).series
    walk(app).open(folder)
    app.until(lambda: walk(app).series is not before)
    settle(app)


def settle(app):
    """Wait until an image of the series is open and none is being read."""
    app.until(lambda: walk(app).series is not None and walk(app).wanted is None)
    app.settle()


def go(app, forward=True):
    bar = app.dock.findChild(SeriesBar)
    (bar.next if forward else bar.previous).click()
    settle(app)


def images(app):
    return [x.name for x in app.viewer.layers if type(x).__name__ == "Image" and not role_of(x)]


def look(app, point_yx, zoom):
    """Bring a point of the image into the middle of the view, so many screen pixels to a pixel."""
    camera = app.viewer.scene.camera
    camera.center = (0, *app.annotation.image.data_to_world(np.array(point_yx) - 0.5))
    camera.zoom = zoom / float(app.annotation.image.scale[-1])


def seen(app):
    """Return the point in the middle of the view, and the screen pixels to a pixel."""
    image, camera = app.annotation.image, app.viewer.scene.camera
    point = np.asarray(image.world_to_data(camera.center[-2:])) + 0.5
    return (*np.round(point, 6).tolist(), round(camera.zoom * float(image.scale[-1]), 6))


def test_a_folder_is_opened_from_the_app_at_its_first_image(app, folder):
    bar = app.dock.findChild(SeriesBar)
    assert not bar.isVisible()
    box = app.dock.segment_tab.findChild(RecentBox)
    box.folder.click()
    (dialog,) = box.findChildren(QFileDialog)
    dialog.fileSelected.emit(str(folder))
    dialog.reject()
    settle(app)
    assert bar.isVisible()
    assert bar.images.currentText() == "1 of 4: s1.tif"
    assert images(app) == ["s1"]
    assert app.annotation.mpp == 0.5
    assert "Reading s1.tif…" in app.said
    assert not bar.previous.isEnabled()
    assert app.dock.header.image.value is app.annotation.image


def test_next_and_previous_resume_where_each_image_was_left(app, folder):
    open_folder(app, folder)
    app.correct()
    app.click(MISSED)
    app.click(OTHER)
    nucleus = app.document.id_at(MISSED)
    app.annotation.select(nucleus)
    look(app, (70.0, 90.0), 6.0)
    there = seen(app)
    go(app)
    assert images(app) == ["s3"], "the one before was put away"
    assert app.document.count == 0
    assert "s2.tif" in app.warned[-1]
    assert "passed over" in app.warned[-1]
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    look(app, (20.0, 30.0), 3.0)
    elsewhere = seen(app)
    go(app, forward=False)
    assert images(app) == ["s1"]
    assert app.document.count == 2
    assert seen(app) == there
    assert app.annotation.tool.selected == nucleus
    assert app.dock.tabs.currentWidget() is app.dock.correct_tab
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.count == 1, "with its undo"
    go(app)
    assert seen(app) == elsewhere, "also where nothing was annotated"
    assert app.dock.tabs.currentWidget() is app.dock.segment_tab
    assert [role_of(x) for x in app.viewer.layers].count(None) == 1


def test_a_new_start_goes_on_where_the_last_one_ended(app, folder):
    open_folder(app, folder)
    go(app)
    app.correct()
    app.click(MISSED)
    app.annotation.select(app.document.id_at(MISSED))
    look(app, (44.0, 55.0), 5.0)
    there = seen(app)
    app.viewer.layers.remove(app.annotation.image)
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    app.workspace.resuming._views.clear()  # as in another run of the program
    positions = json.loads((app.workspace.keeping.shelf.folder / "series.json").read_text())
    assert positions == [[str(folder), "s3.tif"]]
    open_folder(app, folder)
    assert images(app) == ["s3"]
    assert seen(app) == there
    assert app.annotation.tool.selected == app.document.id_at(MISSED)
    assert app.dock.tabs.currentWidget() is app.dock.correct_tab


def test_a_single_image_that_is_opened_again_is_seen_as_it_was_left(app, folder, tmp_path):
    file = folder / "s1.tif"
    app.workspace.opening.image(file, None, lambda x: app.workspace.opening.show(x, "s1"), print)
    app.until(lambda: app.annotation is not None)
    app.correct()
    app.click(MISSED)
    look(app, (44.0, 55.0), 5.0)
    there = seen(app)
    project = app.workspace.keeping.project.path
    app.viewer.layers.remove(app.annotation.image)
    app.workspace.resuming._views.clear()
    app.workspace.opening.project(project)
    app.until(lambda: app.annotation is not None)
    assert seen(app) == there
    assert app.document.history.undo_name == "Add nucleus", "a view is no step"


def test_keys_go_through_the_series_whether_one_corrects_or_not(app, folder):
    open_folder(app, folder)
    app.press(Qt.Key.Key_PageDown, CTRL)
    settle(app)
    assert images(app) == ["s3"]
    app.correct()
    app.press(Qt.Key.Key_PageDown, CTRL)
    settle(app)
    assert images(app) == ["s10"]
    app.press(Qt.Key.Key_PageDown, CTRL)
    assert "last image" in app.said[-1]
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    app.press(Qt.Key.Key_PageUp, CTRL)
    settle(app)
    assert images(app) == ["s3"]
    app.dock.close()
    assert "PageUp" not in str(app.viewer.keymap)


def test_the_list_jumps_and_says_how_far_each_image_is(app, folder):
    open_folder(app, folder)
    app.correct()
    app.click(MISSED)
    bar = app.dock.findChild(SeriesBar)
    bar.images.activated.emit(3)
    settle(app)
    assert images(app) == ["s10"]
    app.until(lambda: bar.images.itemData(0, KNOWN_ROLE) == "1 nucleus, 1 looked at")
    go(app, forward=False)
    assert images(app) == ["s3"]
    bar.images.activated.emit(1)
    settle(app)
    assert bar.images.itemData(1, KNOWN_ROLE) == "cannot be read"
    assert images(app) == ["s3"], "it stays where it was"
    assert bar.images.currentText() == "3 of 4: s3.tif"


def test_what_was_annotated_in_an_earlier_run_is_known_from_the_start(app, folder):
    open_folder(app, folder)
    app.correct()
    app.click(MISSED)
    go(app)
    open_folder(app, folder)
    app.until(lambda: walk(app).about(0) == "1 nucleus, 1 looked at")
    assert walk(app).about(2) == ""


def test_the_app_can_be_used_while_the_next_image_is_read(app, folder, monkeypatch):
    open_folder(app, folder)
    app.correct()
    gate = threading.Event()
    from napari_nucleus.widgets import opening

    read = opening.load_image

    def slowly(*arguments):
        gate.wait(30)
        return read(*arguments)

    monkeypatch.setattr(opening, "load_image", slowly)
    bar = app.dock.findChild(SeriesBar)
    bar.images.activated.emit(2)
    assert app.said[-1] == "Reading s3.tif…"
    assert bar.images.currentText() == "3 of 4: s3.tif"
    app.click(MISSED)
    assert app.document.count == 1
    bar.next.click()
    gate.set()
    settle(app)
    assert images(app) == ["s10"], "what was asked for last"
    go(app, forward=False)
    go(app, forward=False)
    assert images(app) == ["s1"]
    assert app.document.count == 1


def test_a_region_that_was_drawn_goes_with_its_image_and_other_layers_stay(app, folder):
    open_folder(app, folder)
    app.viewer.add_points(np.array([[1.0, 1.0]]), name="mine")
    app.dock.segment_tab.draw.click()
    assert "Region" in app.viewer.layers
    go(app)
    assert "Region" not in app.viewer.layers
    assert "mine" in app.viewer.layers
    assert images(app) == ["s3"]


def test_a_folder_without_a_readable_image_says_so(app, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    walk(app).open(empty)
    app.until(lambda: bool(app.warned))
    assert "no image in this folder" in app.warned[-1]
    (empty / "a.png").write_bytes(b"")
    (empty / "b.png").write_bytes(b"")
    walk(app).open(empty)
    app.until(lambda: any("b.png" in text for text in app.warned))
    settle(app)
    assert app.annotation is None
    assert walk(app).about(0) == walk(app).about(1) == "cannot be read"


def test_a_file_of_the_series_that_was_replaced_is_asked_about(app, folder, discs):
    open_folder(app, folder)
    app.correct()
    app.click(MISSED)
    go(app)
    write(folder / "s1.tif", np.roll(discs, 1, axis=0))
    asked = []
    app.workspace.opening.asked.connect(asked.append)
    go(app, forward=False)
    app.until(lambda: bool(asked))
    assert app.document.count == 0
    app.workspace.opening.use_changed(asked[0])
    app.settle()
    assert app.document.count == 1
    assert images(app) == ["s1"]
    go(app)
    go(app, forward=False)
    assert app.document.count == 1
    assert len(asked) == 1
    project = app.workspace.keeping.project.path
    app.workspace.set_image(None)
    again = Project.open(project)
    assert again.image.fingerprint == asked[0].fingerprint
    again.close()
