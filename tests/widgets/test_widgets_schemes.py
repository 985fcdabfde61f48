"""The classes of a document can be changed in the app, and who and what made it is noted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import tifffile
from driver import CTRL
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QColorDialog, QPushButton

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.schemes import CONSEP, MONUSAC, scheme_of_text, text_of_scheme
from napari_nucleus.session import rescheme
from napari_nucleus.session.preferences import Preferences, login_name
from napari_nucleus.widgets.scheme_dialog import SchemeDialog

SHIFT = Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = (60.5, 80.5), (100.5, 120.5), (20.5, 20.5)


def box_of(app):
    return app.dock.correct_tab.classes


def dialog_of(app) -> SchemeDialog:
    box_of(app).edit.click()
    (dialog,) = (d for d in box_of(app).findChildren(SchemeDialog) if d.isVisible())
    return dialog


def begin_with(dialog, name):
    texts = [dialog.schemes.itemText(i) for i in range(dialog.schemes.count())]
    dialog.schemes.setCurrentIndex(next(i for i, t in enumerate(texts) if t.startswith(name)))


def change(app, name):
    """Change to a scheme and wait until it is done."""
    dialog = dialog_of(app)
    begin_with(dialog, name)
    dialog.apply.click()
    app.until(lambda: not box_of(app).findChildren(SchemeDialog))


def named(app):
    """Add a nucleus, and one of PanNuke's classes 1 and 2 each."""
    for place, key in ((FIRST, Qt.Key.Key_1), (SECOND, Qt.Key.Key_2), (THIRD, None)):
        app.click(place)
        app.hover(place)
        if key is not None:
            app.press(key)
    assert app.document.counts_by_class() == {0: 1, 1: 1, 2: 1}


def color_at(app, nucleus):
    """The colour in which a nucleus's outline is drawn."""
    layer = app.annotation.binding.layers[1]
    app.annotation.binding.mark(None)
    y0, x0, _, x1 = app.document.row(nucleus).box
    values = np.unique(np.asarray(layer.data)[y0, x0:x1])
    value = int(values[values > 0][0])
    return tuple(np.round(np.asarray(layer.colormap.color_dict[value][:3]) * 255).astype(int))


def test_another_scheme_moves_nuclei_and_changes_buttons_counts_colours_and_keys(correcting):
    app = correcting
    named(app)
    (first, *_) = app.document.ids.tolist()
    assert color_at(app, first) == PANNUKE.color_of(1)
    change(app, "CoNSeP")
    assert app.document.scheme == CONSEP
    texts = [b.text() for b in box_of(app).buttons]
    assert texts == ["1  other", "2  inflammatory", "3  epithelial", "4  spindle-shaped"]
    counts = app.dock.footer.counts
    app.until(lambda: "epithelial 1" in counts.text() and "inflammatory 1" in counts.text())
    assert color_at(app, first) == CONSEP.color_of(3)
    app.hover(FIRST)
    app.press(Qt.Key.Key_4)
    assert app.document.scheme.name_of(app.document.row(first).class_id) == "spindle-shaped"
    app.press(Qt.Key.Key_5)
    assert app.said[-1] == "No class has the key 5."


def test_undo_brings_back_the_scheme_and_redo_brings_it_again(correcting):
    app = correcting
    named(app)
    before = app.document.rows()
    change(app, "MoNuSAC")
    assert app.dock.footer.undo.isEnabled()
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.scheme == PANNUKE
    assert app.document.rows() == before
    assert len(box_of(app).buttons) == 5
    assert color_at(app, app.document.ids[0]) == PANNUKE.color_of(1)
    app.press(Qt.Key.Key_Z, CTRL | SHIFT)
    assert app.document.scheme == MONUSAC
    assert app.document.counts_by_class() == {0: 2, 1: 1}
    assert box_of(app).buttons[3].text() == "4  neutrophil"


def test_the_dialog_says_how_many_become_unclassified_before_it_is_done(correcting):
    app = correcting
    named(app)
    dialog = dialog_of(app)
    assert "All 2 nuclei" in dialog.effect.text()
    begin_with(dialog, "MoNuSAC")
    assert "1 of 2 nuclei" in dialog.effect.text()
    inflammatory = dialog.targets[1]
    assert inflammatory.currentText() == "unclassified"
    inflammatory.setCurrentText("lymphocyte")
    assert "All 2 nuclei" in dialog.effect.text()
    assert app.document.scheme == PANNUKE, "nothing was done yet"
    dialog.reject()
    assert app.document.scheme == PANNUKE


def test_a_decision_of_the_user_is_kept_with_the_scheme(correcting):
    app = correcting
    named(app)
    dialog = dialog_of(app)
    begin_with(dialog, "MoNuSAC")
    dialog.targets[1].setCurrentText("macrophage")
    dialog.apply.click()
    app.until(lambda: app.document.scheme.name == "MoNuSAC")
    assert app.document.scheme == replace(MONUSAC, taken_in=(("inflammatory", 3),))
    assert app.document.counts_by_class() == {0: 1, 1: 1, 3: 1}


def test_a_scheme_of_ones_own_is_written_in_the_table(correcting):
    app = correcting
    named(app)
    dialog = dialog_of(app)
    dialog.table.item(0, 1).setText("tumour")
    assert dialog.name.text() == "PanNuke, own"
    dialog.add.click()
    dialog.table.item(5, 1).setText("mitosis")
    dialog.table.cellWidget(5, 2).setCurrentText("9")
    dialog.table.selectRow(3)
    dialog.remove.click()
    dialog.table.selectRow(4)
    for _ in range(9):
        dialog.up.click()
    dialog.name.setText("mine")
    dialog.name.textEdited.emit("mine")
    dialog.apply.click()
    app.until(lambda: app.document.scheme.name == "mine")
    assert app.document.scheme.names == (
        "mitosis",
        "tumour",
        "inflammatory",
        "connective",
        "epithelial",
    )
    assert app.document.counts_by_class() == {0: 1, 1: 1, 2: 1}, "a new name, the same nuclei"
    app.hover(FIRST)
    app.press(Qt.Key.Key_9)
    nucleus = app.document.id_at(FIRST)
    assert app.document.scheme.name_of(app.document.row(nucleus).class_id) == "mitosis"


def test_a_colour_is_chosen_and_seen_at_once(correcting):
    app = correcting
    named(app)
    dialog = dialog_of(app)
    button = dialog.table.cellWidget(0, 0)
    assert isinstance(button, QPushButton)
    button.click()
    (colors,) = dialog.findChildren(QColorDialog)
    colors.colorSelected.emit(colors.currentColor().fromRgb(1, 2, 200))
    colors.reject()
    dialog.unknown.click()
    last = dialog.findChildren(QColorDialog)[-1]
    last.colorSelected.emit(last.currentColor().fromRgb(250, 251, 252))
    last.reject()
    dialog.apply.click()
    app.until(lambda: app.document.scheme.color_of(1) == (1, 2, 200))
    first, _, third = app.document.ids.tolist()
    assert color_at(app, first) == (1, 2, 200)
    assert color_at(app, third) == (250, 251, 252)
    assert app.document.scheme.name == "PanNuke", "colours alone make no other scheme"


def test_what_is_no_scheme_cannot_be_chosen_and_the_dialog_says_why(correcting):
    dialog = dialog_of(correcting)
    dialog.table.item(1, 1).setText("Dead")
    assert "Two classes are called" in dialog.problem.text()
    assert not dialog.apply.isEnabled()
    assert not dialog.save.isEnabled()
    dialog.table.item(1, 1).setText("immune")
    assert dialog.problem.text() == ""
    dialog.table.cellWidget(1, 2).setCurrentText("1")
    assert "key 1" in dialog.problem.text()
    dialog.table.cellWidget(1, 2).setCurrentText("")
    assert dialog.apply.isEnabled()
    dialog.reject()


def test_a_scheme_goes_to_a_file_and_comes_from_one(correcting, tmp_path):
    app = correcting
    dialog = dialog_of(app)
    begin_with(dialog, "MoNuSAC")
    dialog.targets[1].setCurrentText("lymphocyte")
    file = tmp_path / "classes.json"
    dialog.save_to(file)
    assert scheme_of_text(file.read_bytes()).taken_in == (("inflammatory", 2),)
    dialog.reject()
    dialog = dialog_of(app)
    dialog.load_from(file)
    assert dialog.targets[1].currentText() == "lymphocyte"
    (tmp_path / "bad.json").write_text('{"name": "x"}')
    dialog.load_from(tmp_path / "bad.json")
    assert "bad.json" in dialog.problem.text()
    assert "classes" in dialog.problem.text()
    dialog.load_from(tmp_path / "none.json")
    assert "none.json" in dialog.problem.text()
    dialog.save_to(tmp_path / "no folder" / "x.json")
    assert "x.json" in dialog.problem.text()
    dialog.apply.click()
    app.until(lambda: app.document.scheme == replace(MONUSAC, taken_in=(("inflammatory", 2),)))


def test_a_scheme_is_remembered_and_used_for_new_projects_only_if_that_is_wished(app, discs):
    app.open(discs)
    app.correct()
    dialog = dialog_of(app)
    dialog.table.item(0, 1).setText("tumour")
    dialog.apply.click()
    app.until(lambda: app.document.scheme.name == "PanNuke, own")
    app.open(255 - discs, name="second")
    assert app.document.scheme == PANNUKE
    dialog = dialog_of(app)
    begin_with(dialog, "PanNuke, own")
    dialog.for_new.setChecked(True)
    dialog.apply.click()
    app.until(lambda: app.document.scheme.name == "PanNuke, own")
    app.open(discs[::-1].copy(), name="third")
    assert app.document.scheme.by_name("tumour") is not None
    assert app.document.history.undo_name is None


def test_while_a_segmentation_runs_the_classes_stay_and_the_dialog_says_so(correcting):
    app = correcting
    (app.orders / "segment").write_text("wait")
    app.dock.segment_tab.segment.click()
    app.until(lambda: (app.orders / "waiting").exists())
    dialog = dialog_of(app)
    begin_with(dialog, "CoNSeP")
    dialog.apply.click()
    assert "still coming in" in dialog.problem.text()
    assert dialog.apply.isEnabled()
    dialog.reject()
    assert app.document.scheme == PANNUKE
    (app.orders / "segment").unlink()
    app.settle()


def test_a_change_that_is_given_up_has_not_happened(correcting, monkeypatch):
    app = correcting
    named(app)
    before = app.document.rows()
    monkeypatch.setattr(rescheme, "BATCH", 1)
    monkeypatch.setattr("napari_nucleus.widgets.stepping.SLICE_S", 0.0)
    change = app.workspace.change_scheme(CONSEP)
    change._go_on = lambda: None
    next(change._steps)
    app.workspace.set_image(None)
    assert not change.running
    app.dock.work_on(app.viewer.layers[0])
    assert (app.document.scheme, app.document.rows()) == (PANNUKE, before)


def journal(app):
    project = app.workspace.keeping.project
    return project._connection.execute("SELECT name, annotator FROM action ORDER BY id").fetchall()


def test_the_annotator_is_noted_with_each_action_and_remembered(correcting, tmp_path):
    app = correcting
    line = app.dock.header.annotator
    assert line.text() == login_name()
    app.click(FIRST)
    line.setText("  Dr.  Grün ")
    line.editingFinished.emit()
    assert line.text() == "Dr. Grün"
    app.click(SECOND)
    line.setText("")
    line.editingFinished.emit()
    assert line.text() == login_name()
    app.click(THIRD)
    assert [who for _, who in journal(app)] == [login_name(), "Dr. Grün", login_name()]
    line.setText("Dr. Blau")
    line.editingFinished.emit()
    again = Preferences(app.workspace.keeping.shelf.folder / "preferences.json")
    assert again.annotator == "Dr. Blau"
    app.workspace.set_image(None)
    app.dock.work_on(app.viewer.layers[0])
    app.click((140.5, 20.5))
    assert journal(app)[-1][1] == "Dr. Blau"


def test_preferences_that_cannot_be_kept_hold_as_long_as_the_app_runs(app, discs):
    app.workspace.keeping.shelf.folder.write_text("a file where the folder should be")
    app.dock.header.annotator.setText("somebody")
    app.dock.header.annotator.editingFinished.emit()
    assert app.workspace.keeping.annotator == "somebody"
    file = Preferences(app.workspace.keeping.shelf.folder / "preferences.json")
    assert file.new_scheme == PANNUKE
    assert file.last_scheme is None


def test_damaged_preferences_are_as_if_there_were_none(tmp_path):
    file = tmp_path / "preferences.json"
    for text in ("{", "[1]", '{"annotator": 3, "new_scheme": "{}", "last_scheme": 7}'):
        file.write_text(text)
        settled = Preferences(file)
        assert settled.annotator == login_name()
        assert (settled.new_scheme, settled.last_scheme) == (PANNUKE, None)
    settled.new_scheme = MONUSAC
    settled.annotator = "x" * 500
    assert Preferences(file).new_scheme == MONUSAC
    assert len(Preferences(file).annotator) == 80
    assert orjson.loads(file.read_bytes())["new_scheme"] == text_of_scheme(MONUSAC)


def test_runs_and_clicks_note_the_model_and_exports_name_it(correcting, tmp_path):
    app = correcting
    app.click(FIRST)
    app.dock.segment_tab.segment.click()
    app.settle()
    store = app.document.store
    made = [store.edits_of(entry.id)[0].made_by for entry in store.actions_after(1)]
    made.insert(0, store.edits_of(1)[0].made_by)
    assert len(made) == 2
    for model in made:
        assert (model.model, model.weights) == ("fake", "fa4e" * 16)
        assert model.program.startswith("napari-nucleus ")
    assert {row.source for row in app.document.rows()} == {"fake"}
    app.workspace.export(tmp_path, "case", ("labels", "geojson"))
    app.until(lambda: (tmp_path / "case.geojson").exists() and (tmp_path / "case.tif").exists())
    found = orjson.loads((tmp_path / "case.geojson").read_bytes())["provenance"]
    assert (found["model"], found["weights"]) == ("fake", "fa4e" * 4)
    with tifffile.TiffFile(tmp_path / "case.tif") as tiff:
        assert "fa4e" in tiff.pages[0].description
    assert not any("/" in str(value) for value in found.values())


def test_exports_of_nuclei_that_no_model_made_name_none(correcting, tmp_path):
    app = correcting
    labels = np.zeros(app.document.shape, np.int32)
    labels[10:20, 10:20] = 1
    app.workspace.adopt(app.viewer.add_labels(labels, scale=(0.5, 0.5), units=("µm", "µm")))
    app.until(lambda: app.document.count == 1)
    app.workspace.export(tmp_path, "case", ("geojson",))
    app.until(lambda: (tmp_path / "case.geojson").exists())
    found = orjson.loads((tmp_path / "case.geojson").read_bytes())["provenance"]
    assert "model" not in found
    assert "program" in found
