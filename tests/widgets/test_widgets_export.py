"""The dialog of exports: which nuclei, in which formats, and what it remembers."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from qtpy.QtWidgets import QApplication

from napari_nucleus.io.export import USUAL, WRITTEN
from napari_nucleus.io.formats import FORMATS, Keeps, read_annotations
from napari_nucleus.io.formats.base import Format
from napari_nucleus.session import actions
from napari_nucleus.session.preferences import ExportChoices, Preferences
from napari_nucleus.widgets.nuclei_export_dialog import groups_of, tip_of

LEFT, RIGHT, BELOW, NAMELESS = 1, 2, 3, 4
"""Ids of the nuclei; all but the last have the class of that number."""


@pytest.fixture
def four(app):
    """Four nuclei on an empty picture: two above, two below."""
    app.open(np.full((160, 200, 3), 235, np.uint8))
    labels = np.zeros((160, 200), np.int32)
    labels[20:40, 20:40], labels[20:40, 120:140] = LEFT, RIGHT
    labels[100:120, 20:40], labels[100:120, 120:140] = BELOW, NAMELESS
    actions.import_labels(app.document, labels, class_of_id={LEFT: 1, RIGHT: 2, BELOW: 3})
    return app


def draw(app, y0, x0, y1, x1):
    layer = app.workspace.regions.draw()
    layer.add_polygons([np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]) - 0.5])
    layer.mode = "pan_zoom"


def look_at_left(app):
    """Bring the nucleus of that name into view, and no other."""
    app.viewer.scene.camera.center = (0, 15, 15)
    app.viewer.scene.camera.zoom = 40
    QApplication.processEvents()


def opened(app):
    app.dock.footer.export.click()
    dialog = app.export_dialog()
    app.until(lambda: dialog.count is not None)
    return dialog


def exported(app, dialog, folder, *formats):
    """Export in these formats and return the names of the files."""
    dialog.folder.setText(str(folder))
    for name, box in dialog.formats.items():
        box.setChecked(name in formats)
    dialog.save.click()
    app.until(lambda: not app.workspace.exporting.running)
    QApplication.processEvents()
    return sorted(path.name for path in folder.iterdir())


def test_all_formats_that_can_be_written_are_offered_each_with_what_it_keeps(four):
    dialog = opened(four)
    assert list(dialog.formats) == list(WRITTEN)
    assert [n for n, box in dialog.formats.items() if box.isChecked()] == list(USUAL)
    assert all(box.toolTip() for box in dialog.formats.values())
    grouped = groups_of(list(WRITTEN))
    assert sorted(n for names in grouped.values() for n in names) == sorted(WRITTEN)
    assert "Without" not in tip_of(FORMATS["geojson"])
    no_scores = Format("x", "X", ".x", Keeps(scores=False), note="Small.")
    assert "Without scores." in tip_of(no_scores)
    assert tip_of(no_scores).endswith("Small.")
    dialog.reject()


def test_an_export_holds_the_nuclei_of_the_region_and_the_classes_that_are_ticked(four, tmp_path):
    draw(four, 0, 0, 160, 100)
    draw(four, 90, 100, 130, 200)
    dialog = opened(four)
    assert dialog.count == 4
    dialog.area.setCurrentText("Drawn regions")
    four.until(lambda: dialog.count == 3)
    assert "connective  1" in dialog.classes[3].text()
    assert "inflammatory  0" in dialog.classes[2].text()
    dialog.classes[3].setChecked(False)
    assert dialog.total.text() == "2 nuclei chosen"
    dialog.area.setCurrentText("Region 1")
    four.until(lambda: dialog.count == 1)
    assert dialog.total.text() == "1 nucleus chosen"
    files = exported(four, dialog, tmp_path / "out", "labels", "geojson")
    assert files == ["field.geojson", "field.tif"]
    for name in files:
        found = read_annotations(tmp_path / "out" / name)
        assert found.ids.tolist() == [LEFT]
        assert found.nuclei.boxes.tolist() == [[20, 20, 40, 40]]
        assert found.scheme.name_of(int(found.class_ids[0])) == "neoplastic"
    assert four.said[-1].startswith("1 nucleus written")


def test_signed_off_regions_and_the_view_can_be_exported(four, tmp_path):
    four.correct()
    actions.sign_off(four.document, [np.array([[0, 100], [0, 200], [160, 200], [160, 100]], float)])
    look_at_left(four)
    dialog = opened(four)
    dialog.area.setCurrentText("Signed-off regions")
    four.until(lambda: dialog.count == 2)
    dialog.area.setCurrentText("View")
    four.until(lambda: dialog.count == 1)
    dialog.classes[1].setChecked(False)
    assert not dialog.save.isEnabled()
    assert dialog.problem.text() == "There is no such nucleus."
    dialog.reject()


def test_the_dialog_begins_with_what_was_chosen_the_last_time(four, tmp_path):
    look_at_left(four)
    dialog = opened(four)
    dialog.area.setCurrentText("View")
    four.until(lambda: dialog.count is not None)
    dialog.classes[0].setChecked(False)
    dialog.classes[2].setChecked(False)
    dialog.simplify.setChecked(True)
    dialog.stem.setText("other")
    exported(four, dialog, tmp_path / "out", "csv")
    again = opened(four)
    assert again.folder.text() == str(tmp_path / "out")
    assert again.stem.text() == "field"
    assert [n for n, box in again.formats.items() if box.isChecked()] == ["csv"]
    assert again.area.currentText() == "View"
    assert [i for i, box in again.classes.items() if not box.isChecked()] == [2, 0]
    assert again.simplify.isChecked()
    assert not again.problem.text()
    again.stem.setText("other")
    assert again.problem.text() == "Replaces other.csv."
    again.stem.setText("in/folder")
    assert "leave out folders" in again.problem.text()
    assert not again.save.isEnabled()
    again.reject()


def test_choices_of_another_version_or_a_damaged_file_do_no_harm(four, tmp_path):
    file = four.workspace.keeping.shelf.folder / "preferences.json"
    settled = {"folder": 3, "formats": ["csv", "gone", 7], "area": "Region 9", "without": {"a": 1}}
    file.write_bytes(orjson.dumps({"export": settled, "annotator": "A"}))
    dialog = opened(four)
    assert [n for n, box in dialog.formats.items() if box.isChecked()] == ["csv"]
    assert dialog.area.currentText() == "Whole image"
    assert all(box.isChecked() for box in dialog.classes.values())
    dialog.reject()
    preferences = Preferences(tmp_path / "p.json")
    preferences.annotator = "B"
    preferences.export = ExportChoices("/x", ("csv",), "View", ("dead",), True)
    assert preferences.export == ExportChoices("/x", ("csv",), "View", ("dead",), True)
    assert preferences.annotator == "B"
    (tmp_path / "p.json").write_text('{"export": [1]}')
    assert preferences.export == ExportChoices()
