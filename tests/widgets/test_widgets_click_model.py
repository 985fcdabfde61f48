"""Several models that take clicks: one of them answers, and another can be chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

DISC, OTHER = (100.5, 120.5), (60.5, 80.5)


@pytest.fixture
def more_models(tmp_path) -> list:
    from hosting_fakes import INFO

    from napari_nucleus.hosting.messages import ModelSpec
    from napari_nucleus.widgets.model import AppModel

    folder = tmp_path / "orders" / "second"
    folder.mkdir(parents=True)
    told = {"name": "second", "title": "Clicks alone", "capabilities": ("promptable",)}
    spec = ModelSpec("hosting_fakes:threshold", {"folder": str(folder), **told})
    return [AppModel("second", spec=spec, warm_up=False, info=replace(INFO, **told))]


def choose(app, name: str) -> None:
    box = app.dock.correct_tab.model
    box.setCurrentText(name)
    box.textActivated.emit(name)


def test_the_chosen_model_answers_clicks_from_then_on(correcting):
    app = correcting
    assert [m.name for m in app.workspace.models.answering] == ["fake", "second"]
    assert app.workspace.models.clicks.name == "fake"
    assert app.dock.correct_tab.model.isVisibleTo(app.dock.correct_tab)
    app.click(DISC)
    choose(app, "second")
    app.click(OTHER)
    rows = [app.document.row(app.document.id_at(at)) for at in (DISC, OTHER)]
    assert [m.model for m in app.document.models] == ["fake", "second"]
    assert [row.source for row in rows] == ["fake", "second"]
    assert "second (cpu" in app.dock.header.model.text().splitlines()[1]
    # It does not find nuclei by itself, so another does.
    assert app.workspace.models.automatic.name == "fake"


def test_what_the_former_model_was_asked_is_given_up(correcting):
    app = correcting
    order = app.orders / "refine"
    order.write_text("wait")
    app.click(DISC, wait=False)
    app.until(lambda: (app.orders / "waiting").exists())
    choose(app, "second")
    order.unlink()
    app.settle()
    assert app.document.count == 0
    app.click(DISC)
    assert app.document.row(app.document.id_at(DISC)).source == "second"


def test_the_choice_is_kept_for_the_next_time(correcting):
    app = correcting
    choose(app, "second")
    assert app.workspace.keeping.preferences.click_model == "second"
    app.workspace.choose_click_model("one that is gone")
    assert app.workspace.models.clicks.name == "second"
    assert app.dock.correct_tab.model.currentText() == "second"


def test_another_image_is_answered_by_it_too(correcting):
    app = correcting
    choose(app, "second")
    app.open(np.full((120, 120, 3), 235, np.uint8))
    assert app.workspace.annotation.model.name == "second"
