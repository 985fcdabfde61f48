"""Imports in the app: a file is looked at before it enters, and enters as one undo step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from napari_nucleus.core.schemes import MONUSAC
from napari_nucleus.io.formats import FORMATS, Export
from napari_nucleus.io.results import result_of_labels
from napari_nucleus.session import actions
from napari_nucleus.session.import_policy import ImportPolicy
from napari_nucleus.widgets.stepping import Stepping

SHAPE = (160, 200)
HERE, SAME, NEW = (slice(20, 40),) * 2, (slice(22, 42), slice(20, 40)), (slice(100, 120),) * 2
"""A nucleus of the document, nearly the same in a file, and another one in that file."""


@pytest.fixture
def one(app):
    """One nucleus on an empty picture."""
    app.open(np.full((*SHAPE, 3), 235, np.uint8))
    labels = np.zeros(SHAPE, np.int32)
    labels[HERE] = 1
    actions.import_labels(app.document, labels, class_of_id={1: 3})
    return app


@pytest.fixture
def file(tmp_path) -> Path:
    """QuPath detections in MoNuSAC's classes: id 7 is nearly the one there, id 9 is not there."""
    labels = np.zeros(SHAPE, np.int32)
    labels[SAME], labels[NEW] = 7, 9
    result = result_of_labels(labels, MONUSAC, {7: 2, 9: 4}, {7: 0.5, 9: 0.75}, 0.5)
    path = tmp_path / "theirs.tif"
    FORMATS["labels"].write(path, result, Export())
    return path


def looked_into(app, path: Path):
    app.dock.footer.import_.click()
    dialog = app.import_dialog()
    dialog.file.setText(str(path))
    dialog.file.editingFinished.emit()
    app.until(lambda: "Reading" not in dialog.words.text())
    return dialog


def imported(app, path: Path, policy: ImportPolicy) -> None:
    dialog = looked_into(app, path)
    dialog.policies[policy].setChecked(True)
    dialog.enter.click()
    app.until(lambda: not app.annotation.busy)
    QApplication.processEvents()


def pixels(app) -> dict[int, int]:
    ids, counts = np.unique(app.document.labels(), return_counts=True)
    return dict(zip(ids[1:].tolist(), counts[1:].tolist(), strict=True))


def test_the_dialog_says_what_is_in_a_file_and_what_becomes_of_its_classes(one, file):
    dialog = looked_into(one, file)
    words = dialog.words.text()
    assert "<b>2 nuclei</b> in theirs.tif" in words
    assert words.index("lymphocyte") < words.index("becomes inflammatory")
    assert "Ids are kept" in words
    assert "another scale" not in words
    one.annotation.set_mpp(0.25)
    dialog.look_into(file)
    one.until(lambda: "another scale" in dialog.words.text())
    dialog.reject()
    assert one.document.count == 1


@pytest.mark.parametrize(
    ("policy", "expected", "said"),
    [
        (ImportPolicy.ADD, {1: 400, 9: 400}, "1 nucleus imported"),
        (ImportPolicy.MERGE, {1: 400, 9: 400}, "1 brought up to date"),
        (ImportPolicy.REPLACE, {7: 400, 9: 400}, "2 nuclei imported in the place of 1"),
    ],
)
def test_each_policy_is_one_undo_step(one, file, monkeypatch, policy, expected, said):
    monkeypatch.setattr("napari_nucleus.widgets.stepping.SLICE_S", 0.0)
    before = one.document.labels()
    earlier = one.document.history.undo_name
    imported(one, file, policy)
    assert pixels(one) == expected
    assert one.document.row(9).class_id == 2, "a neutrophil is inflammatory here"
    assert one.document.row(9).score == pytest.approx(0.75)
    assert one.said[-1].startswith("theirs.tif: ")
    assert said in one.said[-1]
    assert one.document.history.undo_name == "Import theirs.tif"
    after = one.document.labels()
    one.annotation.undo()
    one.until(lambda: not one.annotation.busy)
    np.testing.assert_array_equal(one.document.labels(), before)
    assert one.document.history.undo_name == earlier
    one.annotation.redo()
    one.until(lambda: not one.annotation.busy)
    np.testing.assert_array_equal(one.document.labels(), after)
    assert one.workspace.keeping.preferences.import_folder == str(file.parent)


def test_a_bad_file_gives_one_sentence_and_changes_nothing(one, tmp_path, file):
    (tmp_path / "bad.geojson").write_text('{"type": "FeatureCollection", "features": [{')
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "small.tif").write_bytes(file.read_bytes()[:300])
    for name in ("bad.geojson", "other.json", "small.tif", "missing.geojson"):
        dialog = looked_into(one, tmp_path / name)
        assert f"{name}: " in dialog.words.text()
        assert not dialog.enter.isEnabled()
        dialog.reject()
    dialog = looked_into(one, file)
    dialog.look_into(tmp_path / "other.json")
    assert not dialog.enter.isEnabled(), "what was found before must not enter in its place"
    dialog.reject()
    assert one.document.count == 1
    assert not one.warned


def test_nothing_enters_while_another_change_is_made_or_without_an_image(one, file, monkeypatch):
    dialog = looked_into(one, file)
    monkeypatch.setattr(one.annotation, "_stepping", Stepping(iter(())))
    dialog.enter.click()
    assert "still being made" in one.warned[-1]
    monkeypatch.setattr(one.annotation, "_stepping", None)
    assert one.document.count == 1
    looked_into(one, file)
    one.workspace.set_image(None)
    with pytest.raises(StopIteration):
        one.import_dialog()  # it is closed with the image
    one.dock.footer.open_import(file)
    assert "Open the image first" in one.warned[-1]


def dropped(app, path: Path) -> bool:
    """Drop a file on the dock; return True if the dock took it."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    action, left = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    event = QDragEnterEvent(QPoint(5, 5), action, mime, left, none)
    app.dock.dragEnterEvent(event)
    drop = QDropEvent(QPointF(5, 5), action, mime, left, none)
    drop.setAccepted(False)
    app.dock.dropEvent(drop)
    assert drop.isAccepted() == event.isAccepted()
    return drop.isAccepted()


def test_a_file_of_nuclei_dropped_on_the_dock_is_looked_into_and_a_picture_is_not(
    one, file, tmp_path, discs
):
    tifffile.imwrite(tmp_path / "picture.tif", discs)
    (tmp_path / "text.txt").write_text("")
    assert not dropped(one, tmp_path / "picture.tif")
    assert not dropped(one, tmp_path / "text.txt")
    assert dropped(one, file)
    QApplication.processEvents()
    dialog = one.import_dialog()
    one.until(lambda: dialog.enter.isEnabled())
    assert dialog.file.text() == str(file)
    dialog.reject()
