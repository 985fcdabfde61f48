"""What is annotated is kept without a save button, and is there again."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from driver import CTRL
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.preferences import ExportChoices
from napari_nucleus.session.project import Project
from napari_nucleus.session.shelf import Shelf
from napari_nucleus.widgets.exported_nuclei import EVERYTHING
from napari_nucleus.widgets.image_question import ImageQuestion
from napari_nucleus.widgets.nuclei_export_dialog import ExportOrder
from napari_nucleus.widgets.project_dialog import ProjectDialog
from napari_nucleus.widgets.recent_box import RecentBox

MISSED, OTHER = (60.5, 80.5), (100.5, 120.5)


def files(app):
    return sorted(app.workspace.keeping.shelf.folder.glob("*.nucleus"))


def stored(file, tmp_path):
    """Return how many nuclei the file holds, as a program that comes later would find it."""
    import shutil

    copy = tmp_path / "seen" / file.name
    copy.parent.mkdir(exist_ok=True)
    for part in file.parent.glob(f"{file.name}*"):
        shutil.copy(part, copy.with_name(part.name))
    project = Project.open(copy)
    count = project.document.count
    project.close()
    return count


def close_image(app):
    app.viewer.layers.remove(app.annotation.image)
    app.settle()


def save_as(app, file):
    """Save the project as a file and wait until it is kept there."""
    app.workspace.keeping.save_as(file)
    app.until(lambda: app.workspace.keeping.project.path == file)


def close_case(app, discs, folder):
    """Annotate a picture in a file, save it as ``case.nucleus``, close it; return the picture."""
    picture = folder / "slide.tif"
    tifffile.imwrite(picture, discs, photometric="rgb")
    app.open(discs, metadata={"napari_nucleus": {"path": str(picture)}})
    app.correct()
    app.click(MISSED)
    save_as(app, folder / "case.nucleus")
    close_image(app)
    return picture


def test_a_click_is_in_the_file_when_it_is_shown(correcting, tmp_path):
    correcting.click(MISSED)
    assert correcting.document.count == 1
    (file,) = files(correcting)
    assert stored(file, tmp_path) == 1
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert stored(file, tmp_path) == 0
    assert "saved" in correcting.dock.footer.saved.text()


def test_an_image_that_is_opened_again_has_its_nuclei_and_its_undo(app, discs):
    app.open(discs)
    app.correct()
    app.click(MISSED)
    app.click(OTHER)
    before = app.document.labels()
    close_image(app)
    assert app.workspace.keeping.project is None
    app.open(discs.copy(), name="another name")
    assert np.array_equal(app.document.labels(), before)
    assert app.outlined().any()
    assert any("2 nuclei from before" in text for text in app.said)
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.count == 1
    app.press(Qt.Key.Key_Z, CTRL | Qt.KeyboardModifier.ShiftModifier)
    assert np.array_equal(app.document.labels(), before)


def test_an_image_on_which_nothing_was_done_leaves_no_file(app, discs):
    app.open(discs)
    assert len(files(app)) == 1
    close_image(app)
    assert files(app) == []


def test_the_pixel_size_that_was_stated_is_there_again(app, discs):
    app.open(discs, mpp=None)
    app.dock.header.mpp.setValue(0.4)
    app.correct()
    app.click(MISSED)
    close_image(app)
    app.open(discs, mpp=None)
    assert app.annotation.mpp == 0.4
    assert app.dock.header.mpp.value() == 0.4


def test_a_project_that_is_open_elsewhere_can_be_looked_at_and_not_changed(correcting, tmp_path):
    correcting.click(MISSED)
    (file,) = files(correcting)
    image = correcting.annotation.image
    correcting.workspace.set_image(None)
    elsewhere = Project.open(file)
    correcting.dock.work_on(image)
    assert "Another window" in correcting.warned[-1]
    assert "read only" in correcting.dock.footer.saved.text()
    assert correcting.document.count == 1
    correcting.click(OTHER)
    assert "read only" in correcting.warned[-1]
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert correcting.document.count == 1
    correcting.dock.segment_tab.segment.click()
    correcting.settle()
    assert correcting.document.count == 1
    save_as(correcting, tmp_path / "mine.nucleus")
    assert file.exists(), "it is somebody else's"
    correcting.click(OTHER)
    assert correcting.document.count == 2
    assert elsewhere.document.count == 1
    elsewhere.close()


def test_without_a_place_for_files_the_annotation_is_in_memory_and_the_user_is_told(app, discs):
    app.workspace.keeping.shelf.folder.write_text("a file where the folder should be")
    app.open(discs)
    assert "in memory only" in app.warned[-1]
    app.correct()
    app.click(MISSED)
    assert app.dock.footer.saved.text() == "in memory only"
    image = app.annotation.image
    app.workspace.set_image(None)
    app.dock.work_on(image)
    assert app.document.count == 1, "as long as the app runs"


def test_save_as_gives_the_project_a_file(correcting, tmp_path):
    correcting.click(MISSED)
    correcting.dock.footer.save_as.click()
    (dialog,) = correcting.dock.footer.findChildren(ProjectDialog)
    target = tmp_path / "my case.nucleus"
    dialog.fileSelected.emit(str(target))
    dialog.reject()
    correcting.until(lambda: correcting.workspace.keeping.project.path == target)
    assert files(correcting) == [], "it lies in one place only"
    assert "my case.nucleus" in correcting.dock.footer.saved.text()
    correcting.click(OTHER)
    assert stored(target, tmp_path) == 2
    (tmp_path / "a file").write_text("no folder")
    correcting.dock.footer._save_as(tmp_path / "a file" / "x.nucleus")
    assert "a file" in correcting.warned[-1]
    assert correcting.workspace.keeping.project.path == target


@pytest.fixture
def slow(monkeypatch):
    """Hold up the work that is done in the background until told to go on: ``slow(name)``."""
    gates = []

    def hold(target):
        module, name = target.split(":")
        whole = getattr(sys.modules[module], name)
        gate, reached = threading.Event(), threading.Event()

        def held(*arguments, **options):
            reached.set()
            gate.wait(30)
            return whole(*arguments, **options)

        monkeypatch.setattr(sys.modules[module], name, held)
        gates.append(gate)
        return gate, reached

    yield hold
    for gate in gates:
        gate.set()


COPYING = "napari_nucleus.session.saving:copy_whole"


def test_an_edit_made_during_save_as_is_in_the_new_file(correcting, tmp_path, slow):
    correcting.click(MISSED)
    gate, reached = slow(COPYING)
    target = tmp_path / "case.nucleus"
    keeping = correcting.workspace.keeping
    keeping.save_as(target)
    correcting.until(reached.is_set)
    assert correcting.dock.footer.saved.text() == "Saving…"
    correcting.click(OTHER)
    assert correcting.document.count == 2, "the app goes on meanwhile"
    with pytest.raises(ProjectError, match="being saved"):
        keeping.save_as(tmp_path / "other.nucleus")
    gate.set()
    correcting.until(lambda: keeping.project.path == target)
    assert "case.nucleus" in correcting.dock.footer.saved.text()
    assert "is kept in case.nucleus" in correcting.said[-1]
    assert stored(target, tmp_path) == 2
    correcting.press(Qt.Key.Key_Z, CTRL)
    assert stored(target, tmp_path) == 1


def test_an_image_that_is_left_while_it_is_saved_elsewhere_is_saved_there(
    correcting, tmp_path, slow
):
    correcting.click(MISSED)
    gate, reached = slow(COPYING)
    target = tmp_path / "case.nucleus"
    correcting.workspace.keeping.save_as(target)
    correcting.until(reached.is_set)
    threading.Timer(0.2, gate.set).start()
    image = correcting.annotation.image
    correcting.workspace.set_image(None)
    assert correcting.workspace.keeping.project is None
    assert files(correcting) == []
    assert stored(target, tmp_path) == 1
    correcting.dock.work_on(image)
    correcting.settle()
    assert "case.nucleus" in correcting.dock.footer.saved.text()


def test_an_export_holds_one_moment_and_edits_go_on(correcting, tmp_path, slow):
    correcting.click(MISSED)
    before = correcting.document.labels()
    gate, reached = slow("napari_nucleus.widgets.exporting:write_all")
    correcting.workspace.export(tmp_path / "out", "x", ("labels",))
    correcting.until(reached.is_set)
    assert correcting.dock.footer.export_bar.isVisible()
    correcting.click(OTHER)
    assert correcting.document.count == 2
    order = ExportOrder(tmp_path / "out", "y", ("labels",), EVERYTHING)
    correcting.dock.footer._export(order, ExportChoices())
    assert "export is running" in correcting.warned[-1]
    gate.set()
    correcting.until(lambda: any("1 nucleus written: x.tif" in text for text in correcting.said))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "x.tif"), before)
    assert not correcting.dock.footer.export_bar.isVisible()


def test_a_cancelled_export_leaves_what_was_there(correcting, tmp_path, slow):
    correcting.click(MISSED)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.csv").write_text("from before")
    gate, reached = slow("napari_nucleus.io.formats.label_tiff:write_label_tiles")
    correcting.workspace.export(tmp_path / "out", "x", ("labels", "csv"))
    correcting.until(reached.is_set)
    correcting.dock.footer.export_cancel.click()
    assert correcting.dock.footer.export_bar.text() == "Stopping…"
    gate.set()
    correcting.until(lambda: not correcting.workspace.exporting.running)
    assert "no file was written" in correcting.said[-1]
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["x.csv"]
    assert (tmp_path / "out" / "x.csv").read_text() == "from before"


def test_an_annotation_in_memory_only_is_exported_with_the_edits_until_it_was_read(
    app, discs, tmp_path
):
    app.workspace.keeping.shelf.folder.write_text("a file where the folder should be")
    app.open(np.tile(discs, (10, 10, 1)))
    app.correct()
    app.click(MISSED)
    app.workspace.export(tmp_path / "out", "x", ("labels",))
    app.until(lambda: any("written: x.tif" in text for text in app.said))
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out" / "x.tif"), app.document.labels()
    )


def test_a_project_is_opened_with_its_image(app, discs, tmp_path):
    close_case(app, discs, tmp_path)
    assert len(app.viewer.layers) == 0
    box = app.dock.segment_tab.findChild(RecentBox)
    assert "field: 1 nucleus" in box.recents.currentText()
    box.go_on.click()
    app.until(lambda: app.annotation is not None)
    assert app.annotation.image.name == "field"
    assert app.document.count == 1
    assert app.annotation.mpp == 0.5
    assert app.workspace.keeping.project.path == tmp_path / "case.nucleus"


def question(app, project):
    """Open a project that has to ask, and return the dialog that asks."""
    app.workspace.opening.project(project)
    app.until(lambda: bool(app.dock.findChildren(ImageQuestion)))
    (dialog,) = app.dock.findChildren(ImageQuestion)
    return dialog


def answer(app, dialog, button):
    """Press a button of a dialog and wait until what follows is done."""
    button.click()
    app.until(lambda: not app.dock.findChildren(ImageQuestion))


def test_an_image_that_was_moved_is_asked_about_and_found(app, discs, tmp_path):
    picture, case = close_case(app, discs, tmp_path), tmp_path / "case.nucleus"
    moved = tmp_path / "elsewhere" / "new name.tif"
    moved.parent.mkdir()
    picture.rename(moved)
    dialog = question(app, case)
    assert "slide.tif is not there" in dialog.text()
    assert "1 nucleus" in dialog.informativeText()
    answer(app, dialog, dialog.button(ImageQuestion.StandardButton.Cancel))
    assert app.annotation is None
    dialog = question(app, case)
    answer(app, dialog, dialog.find)
    (chooser,) = app.dock.findChildren(QFileDialog)
    chooser.fileSelected.emit(str(moved))
    chooser.reject()
    app.until(lambda: app.annotation is not None)
    assert app.document.count == 1
    assert app.workspace.keeping.project.image.path == str(moved)
    close_image(app)
    app.workspace.opening.project(case)
    app.until(lambda: app.annotation is not None)
    assert app.document.count == 1, "found at once from now on"


def test_a_changed_picture_can_be_looked_at_without_changing_the_project(app, discs, tmp_path):
    picture, case = close_case(app, discs, tmp_path), tmp_path / "case.nucleus"
    tifffile.imwrite(picture, 255 - discs, photometric="rgb")
    dialog = question(app, case)
    assert "slide.tif: the picture has changed since case.nucleus" in dialog.text()
    assert "is kept" in dialog.informativeText()
    answer(app, dialog, dialog.look_only)
    app.until(lambda: app.annotation is not None)
    assert app.document.count == 1
    assert "read only" in app.dock.footer.saved.text()
    assert "picture has changed" in app.warned[-1]
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.count == 1
    close_image(app)
    assert "has changed" in question(app, case).text(), "it is asked again"


def test_a_changed_picture_can_take_the_annotation_over(app, discs, tmp_path):
    picture, case = close_case(app, discs, tmp_path), tmp_path / "case.nucleus"
    tifffile.imwrite(picture, 255 - discs, photometric="rgb")
    dialog = question(app, case)
    answer(app, dialog, dialog.use_changed)
    assert any("annotation (1 nucleus) is kept" in text for text in app.said)
    app.until(lambda: app.annotation is not None)
    assert app.document.count == 1
    assert app.document.history.undo_name == "Add nucleus"
    assert app.workspace.keeping.project.path == case
    close_image(app)
    app.workspace.opening.project(case)
    app.until(lambda: app.annotation is not None)
    assert app.document.count == 1, "not asked again"
    assert app.dock.findChildren(ImageQuestion) == []


def test_a_changed_picture_is_left_alone_when_the_question_is_cancelled(app, discs, tmp_path):
    picture, case = close_case(app, discs, tmp_path), tmp_path / "case.nucleus"
    before = case.read_bytes()
    tifffile.imwrite(picture, 255 - discs, photometric="rgb")
    dialog = question(app, case)
    answer(app, dialog, dialog.button(ImageQuestion.StandardButton.Cancel))
    assert app.annotation is None
    assert case.read_bytes() == before
    tifffile.imwrite(picture, discs, photometric="rgb")
    app.workspace.opening.project(case)
    app.until(lambda: app.annotation is not None)
    assert app.document.count == 1


def test_what_cannot_be_opened_is_told_and_nothing_is_asked(app, discs, tmp_path):
    picture, case = close_case(app, discs, tmp_path), tmp_path / "case.nucleus"
    tifffile.imwrite(picture, discs[:-2], photometric="rgb")
    for path, sentence in (
        (case, "200 x 158 pixels, but case.nucleus was made on a picture of 200 x 160"),
        (tmp_path / "none.nucleus", "no such file"),
        (picture, "no project"),
    ):
        app.workspace.opening.project(path)
        app.until(lambda sentence=sentence: bool(app.warned) and sentence in app.warned[-1])
    assert app.annotation is None
    assert app.dock.findChildren(ImageQuestion) == []
    app.open(discs, name="from elsewhere")
    assert app.document.count == 1, "its annotation comes with it"


def test_a_file_whose_picture_was_replaced_is_asked_about_when_it_is_opened(app, discs, tmp_path):
    picture = close_case(app, discs, tmp_path)
    app.open(255 - discs, metadata={"napari_nucleus": {"path": str(picture)}})
    assert app.document.count == 0
    app.until(lambda: bool(app.dock.findChildren(ImageQuestion)))
    (dialog,) = app.dock.findChildren(ImageQuestion)
    answer(app, dialog, dialog.use_changed)
    assert app.document.count == 1
    assert files(app) == [], "nothing was begun anew"


def test_two_images_have_a_project_each(app, discs):
    first = app.open(discs, name="first")
    app.correct()
    app.click(MISSED)
    app.open(255 - discs, name="second")
    assert app.document.count == 0
    assert Path(app.workspace.keeping.project.path).name.startswith("second")
    app.dock.work_on(first)
    assert app.document.count == 1
    assert isinstance(app.workspace.keeping.shelf, Shelf)


def test_closing_the_dock_while_it_exports_stops_without_a_word(correcting, tmp_path, slow):
    correcting.click(MISSED)
    gate, reached = slow("napari_nucleus.io.formats.label_tiff:write_label_tiles")
    correcting.workspace.export(tmp_path / "out", "x", ("labels",))
    correcting.until(reached.is_set)
    correcting.dock.close()
    said = list(correcting.said)
    gate.set()
    correcting.until(lambda: not correcting.workspace.exporting.running)
    assert correcting.said == said
    assert list((tmp_path / "out").iterdir()) == []
