"""The Text tab: what is typed, what is shown, and what becomes of the answer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_nucleus.session.imports import import_labels
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.text_answers import ANSWER_ROLE

DISCS = 63
LYMPHOCYTE, TUMOUR = 2, 1


@pytest.fixture
def asking(app, discs):
    """The app on the discs, 7 rows of 9 of them, with the Text tab in front."""
    app.open(discs)
    app.dock.tabs.setCurrentWidget(app.dock.text_tab)
    return app


@pytest.fixture
def annotated(asking):
    """The same with two lymphocytes and a tumour nucleus, which lie on discs."""
    labels = np.zeros((160, 200), np.int32)
    labels[16:25, 16:25], labels[16:25, 36:45], labels[56:65, 96:105] = 1, 2, 3
    classes = {1: LYMPHOCYTE, 2: LYMPHOCYTE, 3: TUMOUR}
    import_labels(asking.document, labels, class_of_id=classes)
    asking.settle()
    return asking


def tab(app):
    return app.dock.text_tab


def type_in(app, text: str) -> None:
    """Type, and wait until it is said how that is understood."""
    line = tab(app).line
    line.clear()
    line.setFocus()
    QTest.keyClicks(line, text)
    app.until(lambda: not tab(app)._typing.isActive())


def ask(app, text: str, where: int = 2) -> None:
    """Type, choose where, press Enter, and wait for the answer."""
    tab(app).where.setCurrentIndex(where)
    type_in(app, text)
    before = app.workspace.words.found
    QTest.keyClick(tab(app).line, Qt.Key.Key_Return)
    app.settle()
    app.until(lambda: app.workspace.words.found is not before or bool(app.warned))
    app.until(lambda: not app.annotation.busy)


def answer_layer(app):
    return next((x for x in app.viewer.layers if (role_of(x) or ("", ""))[1] == ANSWER_ROLE), None)


def test_while_one_types_it_is_said_and_shown_what_is_meant(asking):
    type_in(asking, "nuclei")
    assert "Understood: <b>all nuclei" in tab(asking).understood.text()
    asking.until(lambda: asking.workspace.words.previewed is not None)
    assert 0 < len(asking.workspace.words.previewed.new) < DISCS, "the tile in the middle"
    assert answer_layer(asking).data[80, 100] > 0
    assert asking.document.count == 0
    assert not tab(asking).answer.isVisible(), "a preview is no answer yet"


def test_a_preview_that_is_over_leaves_nothing_to_be_seen(asking):
    type_in(asking, "nuclei")
    asking.until(lambda: asking.workspace.words.previewed is not None)
    layer = answer_layer(asking)
    layer.visible = False
    type_in(asking, "nuclei of the moon")
    asking.until(lambda: asking.workspace.words.previewed is None)
    assert not layer.data.any()
    type_in(asking, "nuclei")
    asking.until(lambda: asking.workspace.words.previewed is not None)
    assert answer_layer(asking) is layer, "one layer for all that is typed"
    assert layer.data[80, 100] > 0
    assert layer.visible
    tab(asking).put_away.click()
    assert answer_layer(asking) is None


def test_the_model_is_asked_before_the_pause_and_nothing_is_shown_yet(asking, monkeypatch):
    type_in(asking, "nuclei")
    asking.until(lambda: asking.workspace.words.previewed is not None)
    host, asked = asking.workspace.words.model.host, []
    ask_host = host.ask

    def spied(source, box, calibration, texts, **rest):
        asked.append(texts)
        return ask_host(source, box, calibration, texts, **rest)

    monkeypatch.setattr(host, "ask", spied)
    tab(asking)._typing.setInterval(60_000)
    tab(asking).line.clear()
    QTest.keyClicks(tab(asking).line, "lymphocytes")
    assert asked[-1] == ("inflammatory nuclei",)
    asking.settle()
    assert asking.workspace.words.previewed.query.text == "nuclei"
    tab(asking)._on_rest()
    asking.until(lambda: asking.workspace.words.previewed.query.text == "lymphocytes")
    assert len(asked) == len(set(asked)), "what was expected is not asked again"


@pytest.mark.parametrize("text", ["nuclei of the moon", "🙂", "所有细胞核", "x" * 10_000, "   "])
def test_what_is_not_known_is_named_and_nothing_is_drawn(asking, text):
    tab(asking).line.setText(text)
    tab(asking)._on_edited(text)
    tab(asking)._on_rest()
    said = tab(asking).understood.text()
    assert (said == "") if not text.strip() else "Not understood" in said
    tab(asking)._on_ask()
    assert "ot understood" in asking.warned[-1]
    assert answer_layer(asking) is None
    assert asking.workspace.words.found is None
    assert not asking.workspace.runs.running


def test_an_answer_changes_nothing_until_it_is_taken_over_in_one_step(asking):
    ask(asking, "lymphocytes")
    found = asking.workspace.words.found
    assert len(found.new) == DISCS
    assert f"{DISCS}" in tab(asking).sentence.text()
    assert asking.document.count == 0
    assert asking.document.history.undo_name is None
    tab(asking).add_new.click()
    asking.until(lambda: asking.document.count == DISCS and not asking.annotation.busy)
    assert set(asking.document.counts_by_class()) == {LYMPHOCYTE}
    assert len(asking.workspace.words.ids) == DISCS
    asking.until(lambda: not tab(asking).add_new.isEnabled())
    asking.annotation.undo()
    assert asking.document.count == 0


def test_nuclei_that_are_there_and_new_ones_are_told_apart(annotated):
    ask(annotated, "lymphocytes")
    found = annotated.workspace.words.found
    assert found.ids.tolist() == [1, 2]
    assert len(found.new) == DISCS - 3
    assert "2 here" in tab(annotated).legend.text()
    # Of three wordings the model makes nothing of one.
    assert found.agreement == pytest.approx(1 / 3)
    assert "N goes through" in annotated.said[-1]
    assert annotated.annotation.reviewing.queue.step(None) in (1, 2)


def test_what_is_done_with_an_answer_is_one_undo_step(annotated):
    ask(annotated, "lymphocytes")
    before = annotated.document.labels()
    tab(annotated).choose.click()
    assert annotated.annotation.by_hand.group.ids == [1, 2]
    annotated.workspace.words.classify(TUMOUR)
    assert annotated.document.counts_by_class() == {TUMOUR: 3}
    annotated.annotation.undo()
    tab(annotated).delete.click()
    assert annotated.document.ids.tolist() == [3]
    assert "2 nuclei of them are gone" in annotated.workspace.words.describe()
    annotated.annotation.undo()
    tab(annotated).keep_only.click()
    assert annotated.document.ids.tolist() == [1, 2]
    annotated.annotation.undo()
    np.testing.assert_array_equal(annotated.document.labels(), before)
    assert annotated.document.counts_by_class() == {LYMPHOCYTE: 2, TUMOUR: 1}


def test_only_the_nuclei_of_the_answer_are_exported(annotated, tmp_path):
    ask(annotated, "lymphocytes")
    tab(annotated).export.click()
    dialog = annotated.export_dialog()
    annotated.until(lambda: dialog.count == 2)
    dialog.folder.setText(str(tmp_path))
    dialog.stem.setText("answer")
    for key, box in dialog.formats.items():
        box.setChecked(key == "geojson")
    dialog.save.click()
    annotated.until(lambda: not annotated.workspace.exporting.running)
    features = json.loads((tmp_path / "answer.geojson").read_text("utf-8"))["features"]
    assert len(features) == 2


def test_a_search_that_is_cancelled_leaves_the_last_answer(annotated):
    ask(annotated, "lymphocytes")
    found = annotated.workspace.words.found
    (annotated.orders / "reader" / "answer").write_text("wait")
    tab(annotated).line.setText("tumour nuclei")
    tab(annotated)._on_ask()
    annotated.until((annotated.orders / "reader" / "waiting").exists)
    annotated.dock.footer.cancel.click()
    (annotated.orders / "reader" / "answer").unlink()
    annotated.settle()
    assert annotated.workspace.words.found is found
    assert "Cancelled" in annotated.said[-1]


def test_texts_that_were_asked_are_offered_again_and_words_completed(annotated):
    ask(annotated, "tumour nuclei")
    ask(annotated, "lymphocytes")
    texts = [tab(annotated).text.itemText(i) for i in range(tab(annotated).text.count())]
    assert texts == ["lymphocytes", "tumour nuclei"]
    type_in(annotated, "large ly")
    assert "large lymphocytes" in tab(annotated)._offers.stringList()


def test_an_answer_is_put_away_with_its_layer_and_with_its_image(annotated):
    ask(annotated, "lymphocytes")
    assert answer_layer(annotated) is not None
    tab(annotated).show_it.click()
    assert not answer_layer(annotated).visible
    tab(annotated).put_away.click()
    assert answer_layer(annotated) is None
    ask(annotated, "lymphocytes")
    annotated.workspace.set_image(None)
    assert answer_layer(annotated) is None
    assert annotated.workspace.words.found is None


def test_sizes_need_the_size_of_a_pixel(app, discs):
    app.open(discs, mpp=None)
    app.dock.tabs.setCurrentWidget(app.dock.text_tab)
    tab(app).line.setText("area > 80 µm²")
    tab(app)._on_ask()
    app.until(lambda: any("How large are the pixels" in text for text in app.warned))
