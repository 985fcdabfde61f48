"""More than one model in the app: one answers clicks, the chosen one finds the nuclei."""

from __future__ import annotations

import numpy as np
import pytest
from driver import CTRL, Driver

from napari_nucleus.models import zoo
from napari_nucleus.widgets.models import AppModels

PALE, DISC = (60.5, 80.5), (100.5, 120.5)
"""A nucleus that only the finder sees, and one that both models see."""


@pytest.fixture
def pale(discs):
    """The picture of discs, one of them too pale for the model that answers clicks."""
    yy, xx = np.indices(discs.shape[:2])
    discs[(yy - 60) ** 2 + (xx - 80) ** 2 <= 16] = (200, 60, 120)
    return discs


def choose_finder(app: Driver) -> None:
    box = app.dock.segment_tab.model
    box.setCurrentText("finder")
    box.textActivated.emit("finder")


def segment(app: Driver) -> None:
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    app.dock.segment_tab.segment.click()
    app.settle()


def test_the_chosen_model_finds_nuclei_and_the_other_answers_clicks(app, pale):
    app.open(pale)
    finder = app.workspace.models.named("finder")
    assert finder.host.state == "new", "it is loaded when it is first needed"
    segment(app)
    assert app.document.id_at(PALE) is None
    assert finder.host.state == "new"
    choose_finder(app)
    assert "blue for connective" in app.dock.segment_tab.note.text()
    segment(app)
    row = app.document.row(app.document.id_at(PALE))
    assert (row.source, row.class_id) == ("finder", 2)
    app.click(DISC, CTRL)
    app.click(DISC)
    assert app.document.row(app.document.id_at(DISC)).source == "fake"
    made = {(m.model, m.weights[:4]) for m in app.document.models}
    assert made == {("fake", "fa4e"), ("finder", "f1de")}
    shown = app.dock.header.model.text()
    assert "finder (cpu" in shown.splitlines()[0]
    assert "fake (cpu" in shown.splitlines()[1]


def test_a_click_is_answered_while_the_other_model_is_at_work(app, pale):
    app.open(pale)
    choose_finder(app)
    order = app.orders / "finder" / "segment"
    order.write_text("wait")
    app.dock.segment_tab.segment.click()
    app.until(lambda: (app.orders / "finder" / "waiting").exists())
    app.click(DISC, wait=False)
    app.until(lambda: app.document.count == 1)
    order.unlink()
    app.settle()
    assert app.document.count == 63
    assert app.document.row(app.document.id_at(DISC)).source == "fake"


def test_the_choice_is_kept_for_the_next_time(app, pale):
    choose_finder(app)
    assert app.workspace.keeping.preferences.automatic_model == "finder"
    app.workspace.choose_model("one that is gone")
    assert app.workspace.models.automatic.name == "finder"


def test_of_the_zoo_the_default_model_is_chosen_and_answers_clicks():
    models = AppModels()
    assert models.automatic.name == zoo.DEFAULT_MODEL
    assert models.clicks is models.automatic
    assert {m.name for m in models.offered} == {
        name for name in zoo.available() if "automatic" in zoo.describe(name).capabilities
    }
    models.close()
