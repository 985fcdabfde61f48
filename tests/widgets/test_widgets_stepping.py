"""Long changes are made bit by bit, and nothing else gets between."""

from __future__ import annotations

import numpy as np
import pytest
from driver import CTRL
from qtpy.QtCore import Qt

from napari_nucleus.errors import ProjectError
from napari_nucleus.session import actions
from napari_nucleus.widgets.stepping import Stepping

MANY = 1_200
FREE = (155.5, 195.5)


@pytest.fixture
def crowd(app, monkeypatch):
    """Very many nuclei of one pixel, and time for one piece of work in each slice."""
    app.open(np.full((160, 200, 3), 235, np.uint8))
    labels = np.zeros((160, 200), np.int32)
    ids = np.arange(1, MANY + 1)
    labels[(ids - 1) // 60 * 3, (ids - 1) % 60 * 3] = ids
    actions.import_labels(app.document, labels)
    app.correct()
    monkeypatch.setattr("napari_nucleus.widgets.stepping.SLICE_S", 0.0)
    return app


def choose_all(app):
    app.annotation.by_hand.choose((0.0, 0.0, 160.0, 200.0))
    assert len(app.annotation.by_hand.group.ids) == MANY


def test_many_are_classified_in_one_step_without_holding_up_the_window(crowd):
    choose_all(crowd)
    crowd.annotation.classify_by_key("2")
    assert crowd.annotation.busy
    crowd.until(lambda: not crowd.annotation.busy)
    assert crowd.document.counts_by_class() == {2: MANY}
    crowd.annotation.undo()
    assert crowd.annotation.busy
    crowd.until(lambda: not crowd.annotation.busy)
    assert crowd.document.counts_by_class() == {0: MANY}
    crowd.annotation.redo()
    crowd.until(lambda: not crowd.annotation.busy)
    assert crowd.document.counts_by_class() == {2: MANY}


def test_while_a_change_is_made_the_user_is_asked_to_wait(crowd):
    choose_all(crowd)
    crowd.press(Qt.Key.Key_Delete)
    assert crowd.annotation.busy
    crowd.annotation.clicked(np.array(FREE), False)
    assert "wait a moment" in crowd.said[-1]
    crowd.annotation.undo()
    assert "wait a moment" in crowd.said[-1]
    crowd.dock.segment_tab.segment.click()
    assert "wait a moment" in crowd.warned[-1]
    crowd.until(lambda: not crowd.annotation.busy)
    assert crowd.document.count == 0
    crowd.press(Qt.Key.Key_Z, CTRL)
    crowd.until(lambda: not crowd.annotation.busy)
    assert crowd.document.count == MANY


def test_a_change_under_way_is_finished_when_the_image_is_left(crowd):
    image = crowd.annotation.image
    choose_all(crowd)
    crowd.annotation.reviewing.delete()
    assert crowd.annotation.busy
    crowd.workspace.set_image(None)
    crowd.dock.work_on(image)
    assert crowd.document.count == 0
    assert crowd.document.history.undo_name == "Remove 1,200 nuclei"


def test_steps_end_with_an_outcome_or_with_nothing(qtbot):
    def work(fail=False):
        for n in range(3):
            yield n
            if fail:
                raise ProjectError("disk full")
        return "done"

    told = []
    for steps, act in (
        (work(), Stepping.finish),
        (work(), Stepping.stop),
        (work(fail=True), Stepping.finish),
    ):
        stepping = Stepping(steps)
        stepping.ended.connect(lambda outcome: told.append(outcome))
        stepping.failed.connect(lambda sentence: told.append(sentence))
        act(stepping)
        assert not stepping.running
    assert told == ["done", None, "disk full", None]
