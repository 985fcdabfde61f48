"""The dock as napari opens it from its menu: with a viewer that shows its public side only."""

from __future__ import annotations

import numpy as np
import pytest
from driver import CTRL, Driver
from qtpy.QtCore import Qt

from napari_nucleus.hosting.messages import ModelSpec
from napari_nucleus.session.shelf import Shelf
from napari_nucleus.widgets.model import AppModel
from napari_nucleus.widgets.models import AppModels

MISSED, OTHER = (60.5, 80.5), (100.5, 120.5)


@pytest.fixture
def menu_app(make_napari_viewer, qtbot, tmp_path, monkeypatch):
    """The dock from the Plugins menu, its model a fake."""
    spec = ModelSpec("hosting_fakes:threshold", {"folder": str(tmp_path)})
    workspace = "napari_nucleus.widgets.workspace"
    models = AppModels([AppModel(spec=spec, warm_up=False)])
    monkeypatch.setattr(f"{workspace}.AppModels", lambda: models)
    monkeypatch.setattr(f"{workspace}.default_shelf", lambda: Shelf(tmp_path / "shelf"))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1100, 800)
    docked, dock = viewer.window.add_plugin_dock_widget(
        "napari-nucleus", "Segment and correct nuclei"
    )
    driver = Driver(viewer, dock, qtbot, tmp_path)
    yield driver
    driver.settle()
    dock.close()
    driver.until_threads_ended()
    viewer.window.remove_dock_widget(docked)


def test_the_dock_from_the_menu_segments_corrects_and_follows_layers(menu_app, discs):
    app = menu_app
    first = app.open(discs, name="first")
    app.correct()
    app.click(MISSED)
    app.click(OTHER)
    assert app.document.count == 2
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.count == 1
    app.press(Qt.Key.Key_B)
    app.drag((80.5, 30.5), (80.5, 50.5))
    app.press(Qt.Key.Key_Escape)
    assert app.document.count == 2
    app.press(Qt.Key.Key_L)
    assert app.dock.table.isVisible()
    app.open(np.full((60, 60, 3), 235, np.uint8), name="second")
    assert app.document.count == 0
    app.dock.work_on(first)
    assert app.document.count == 2
    assert app.outlined().any()
