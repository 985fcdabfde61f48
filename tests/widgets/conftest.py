"""A real viewer with the dock, its model a fake in a process of its own, and a hand to drive it."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "hosting"))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    """Hide all windows first: some OpenGL drivers fail when one is painted while it is taken down.

    It takes several viewers in one process, which users do not have.
    """
    _hide_windows()
    return (yield)


def _hide_windows() -> None:
    # A function of its own: what the hook itself remembered would outlive the test's viewer.
    from qtpy.QtWidgets import QApplication

    for window in QApplication.topLevelWidgets():
        window.hide()


@pytest.fixture(autouse=True)
def only_the_main_thread_touches_the_viewer(monkeypatch):
    monkeypatch.setenv("NAPARI_ENSURE_PLUGIN_MAIN_THREAD", "1")


@pytest.fixture
def discs() -> np.ndarray:
    """A picture of 160 x 200 with dark discs of 9 pixels every 20, for the threshold model."""
    rgb = np.full((160, 200, 3), 235, np.uint8)
    yy, xx = np.mgrid[:160, :200]
    for y in range(20, 150, 20):
        for x in range(20, 190, 20):
            rgb[(yy - y) ** 2 + (xx - x) ** 2 <= 16] = (90, 60, 120)
    return rgb


@pytest.fixture
def more_models() -> list:
    """Models that the app has beside the usual ones; for test modules to say."""
    return []


@pytest.fixture
def app(make_napari_viewer, qtbot, tmp_path, more_models):
    """The dock in a shown viewer; orders to the model are files in ``app.orders``.

    It has a model for clicks and runs, another one that finds nuclei only and takes its orders in
    ``finder`` there, and one that understands words and takes its orders in ``reader``.
    """
    from driver import Driver
    from hosting_fakes import FINDER_INFO, INFO, READER_INFO

    from napari_nucleus.hosting.messages import ModelSpec
    from napari_nucleus.session.shelf import Shelf
    from napari_nucleus.widgets.dock import NucleusDock
    from napari_nucleus.widgets.model import AppModel
    from napari_nucleus.widgets.models import AppModels

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1100, 800)
    orders = tmp_path / "orders"
    (orders / "finder").mkdir(parents=True)
    (orders / "reader").mkdir()
    spec = ModelSpec("hosting_fakes:threshold", {"folder": str(orders)})
    finder = ModelSpec("hosting_fakes:finder", {"folder": str(orders / "finder")})
    reader = ModelSpec("hosting_fakes:reader", {"folder": str(orders / "reader")})
    models = AppModels(
        [
            AppModel("fake", spec=spec, warm_up=False, info=INFO),
            AppModel("finder", spec=finder, info=FINDER_INFO),
            AppModel("reader", spec=reader, info=READER_INFO),
            *more_models,
        ]
    )
    dock = NucleusDock(viewer, models, Shelf(tmp_path / "shelf"))
    docked = viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    driver = Driver(viewer, dock, qtbot, orders)
    yield driver
    driver.settle()
    dock.close()
    driver.until_threads_ended()
    viewer.window.remove_dock_widget(docked)


@pytest.fixture
def correcting(app, discs):
    """The app on the discs, at 0.5 µm per pixel, ready to correct."""
    app.open(discs)
    app.correct()
    return app


@pytest.fixture
def bars(app):
    """Two nuclei that are bars, side by side, on an empty picture."""
    from napari_nucleus.session import actions

    app.open(np.full((160, 200, 3), 235, np.uint8))
    labels = np.zeros((160, 200), np.int32)
    labels[60:80, 40:90], labels[60:80, 96:120] = 1, 2
    actions.import_labels(app.document, labels)
    app.correct()
    return app
