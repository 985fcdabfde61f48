"""Points first: found, put right with napari's own tools, outlined, accepted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from driver import CTRL, SHIFT
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_nucleus.session import actions
from napari_nucleus.session.points_kept import kept_points
from napari_nucleus.session.table import NucleusState
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.points_layer import POINTS_ROLE, SCREEN_PX
from napari_nucleus.widgets.points_view import OUTLINES_ROLE

DISCS = 7 * 9
FIRST, SECOND, THIRD = (20.5, 20.5), (20.5, 40.5), (60.5, 80.5)
BACKGROUND = (30.5, 30.5)


@pytest.fixture
def more_models(tmp_path):
    from hosting_fakes import POINTER_INFO

    from napari_nucleus.hosting.messages import ModelSpec
    from napari_nucleus.widgets.model import AppModel

    folder = tmp_path / "orders" / "pointer"
    folder.mkdir(parents=True)
    spec = ModelSpec("hosting_fakes:pointer", {"folder": str(folder)})
    info = replace(POINTER_INFO, capabilities=("automatic", "points"))
    return [AppModel("pointer", spec=spec, warm_up=False, info=info)]


@pytest.fixture
def pointing(app, discs):
    """The app on the discs, 7 rows of 9 of them, with a model of points chosen."""
    app.open(discs)
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    app.workspace.choose_model("pointer")
    app.viewer.scene.camera.zoom *= 0.4
    app.viewer.screenshot()  # napari learns what is visible when it draws
    return app


@pytest.fixture
def pointed(pointing):
    """The same with all points found and outlined."""
    find(pointing)
    return pointing


def find(app) -> None:
    app.dock.segment_tab.find_points.click()
    app.settle()
    outlined(app)


def outlined(app) -> None:
    """Wait until outlines have followed."""
    points = app.workspace.points
    app.until(lambda: not points.at_work)
    QApplication.processEvents()


def box(app):
    return app.dock.segment_tab.points


def layer(app, role=POINTS_ROLE):
    return next((x for x in app.viewer.layers if (role_of(x) or ("", ""))[1] == role), None)


def points_of(app) -> set[tuple[int, int]]:
    return {(round(y + 0.5), round(x + 0.5)) for y, x in layer(app).data.tolist()}


def drawn(app) -> np.ndarray:
    return np.asarray(layer(app, OUTLINES_ROLE).data)


def accept(app) -> None:
    box(app).accept.click()
    app.settle()
    app.until(lambda: not app.annotation.busy)


def test_only_a_model_of_points_offers_to_find_them_first(pointing):
    assert pointing.dock.segment_tab.find_points.isVisible()
    assert not box(pointing).isVisible()
    pointing.workspace.choose_model("finder")
    assert not pointing.dock.segment_tab.find_points.isVisible()


def test_points_come_with_outlines_and_no_nucleus_is_made(pointed):
    assert len(layer(pointed).data) == DISCS
    assert (round(20.5), round(20.5)) in points_of(pointed)
    assert (drawn(pointed) > 0).sum() == DISCS * 20, "outlines, not filled"
    assert pointed.document.count == 0
    assert pointed.document.history.undo_name is None
    assert f"{DISCS} points, {DISCS} outlined" in box(pointed).sentence.text()
    assert "Accept makes nuclei" in pointed.said[-1]
    assert pointed.dock.tabs.currentWidget() is pointed.dock.segment_tab


def test_accepted_points_are_nuclei_by_one_undo_step(pointed):
    accept(pointed)
    assert pointed.document.count == DISCS
    assert pointed.document.history.undo_name == f"Accept {DISCS} points"
    assert {row.source for row in pointed.document.rows()} == {"pointer"}
    assert {m.model for m in pointed.document.models} == {"pointer", "fake"}
    assert layer(pointed) is None
    assert layer(pointed, OUTLINES_ROLE) is None
    assert f"{DISCS} nuclei made of points" in pointed.said[-1]
    pointed.annotation.undo()
    pointed.until(lambda: pointed.document.count == 0)
    QApplication.processEvents()
    assert box(pointed).bring_back.isVisible()
    box(pointed).bring_back.click()
    assert len(layer(pointed).data) == DISCS


def test_a_point_that_is_moved_takes_its_outline_along(pointed):
    pointed.drag(THIRD, BACKGROUND)
    outlined(pointed)
    assert drawn(pointed)[56, 80] == 0
    assert "1 without a nucleus" in box(pointed).sentence.text()
    assert layer(pointed).symbol.astype(str).tolist().count("cross") == 1
    pointed.drag(BACKGROUND, THIRD)
    outlined(pointed)
    assert drawn(pointed)[56, 80] > 0
    accept(pointed)
    assert pointed.document.row(pointed.document.id_at(THIRD)).state is NucleusState.USER
    assert pointed.document.row(pointed.document.id_at(FIRST)).state is NucleusState.AUTOMATIC


def test_points_are_deleted_with_the_key_and_added_with_a_click(pointed):
    pointed.click(THIRD)
    pointed.press(Qt.Key.Key_Delete)
    outlined(pointed)
    assert len(layer(pointed).data) == DISCS - 1
    assert drawn(pointed)[56, 80] == 0
    box(pointed).classes.setCurrentIndex(2)
    box(pointed).classes.activated.emit(2)
    box(pointed).add.click()
    pointed.click(THIRD)
    outlined(pointed)
    assert len(layer(pointed).data) == DISCS
    assert drawn(pointed)[56, 80] == 2, "the class that was chosen"
    assert tuple(np.round(255 * layer(pointed).face_color[-1, :3])) == (10, 175, 85)
    accept(pointed)
    row = pointed.document.row(pointed.document.id_at(THIRD))
    assert (row.class_id, row.state, row.source) == (2, NucleusState.USER, "fake")


def test_undo_on_the_layer_takes_back_changes_of_points_and_not_of_nuclei(pointed):
    actions.add(pointed.document, _block(140, 140))
    pointed.click(THIRD)
    pointed.press(Qt.Key.Key_Delete)
    outlined(pointed)
    pointed.press(Qt.Key.Key_Z, CTRL)
    outlined(pointed)
    assert len(layer(pointed).data) == DISCS
    assert drawn(pointed)[56, 80] > 0
    assert pointed.document.count == 1
    pointed.press(Qt.Key.Key_Z, CTRL | SHIFT)
    assert len(layer(pointed).data) == DISCS - 1
    box(pointed).undo.click()
    QApplication.processEvents()
    assert not box(pointed).undo.isEnabled()


def test_selected_points_are_given_a_class(pointed):
    pointed.drag((12.5, 12.5), (28.5, 48.5))
    box(pointed).classes.setCurrentIndex(3)
    box(pointed).classes.activated.emit(3)
    assert (pointed.workspace.points.book.table.class_ids == 3).sum() == 2
    outlined(pointed)
    assert drawn(pointed)[16, 20] == drawn(pointed)[16, 40] == 3
    assert len(layer(pointed).selected_data) == 2
    pointed.press(Qt.Key.Key_1)
    assert (pointed.workspace.points.book.table.class_ids == 1).sum() == 2
    assert len(layer(pointed).data) == DISCS
    QApplication.processEvents()
    assert box(pointed).classes.currentText() == "neoplastic"


def test_less_sure_points_are_hidden_and_not_accepted(pointing, discs):
    picture = discs.copy()
    picture[18:23, 16:25] = 235  # leaves less of the first disc
    pointing.viewer.layers.selection.active = pointing.annotation.image
    pointing.annotation.image.data = picture
    pointing.workspace.set_image(None)
    pointing.dock.work_on(pointing.viewer.layers[0])
    find(pointing)
    sure = pointing.workspace.points.book.table.score
    box(pointing).sureness.setValue(round(100 * float(np.sort(sure)[-1])) - 1)
    outlined(pointing)
    shown = len(layer(pointing).data)
    assert 0 < shown < len(sure)
    assert f"{len(sure) - shown} hidden" in box(pointing).sentence.text()
    accept(pointing)
    assert pointing.document.count == shown


def test_points_beside_the_image_are_dropped_or_put_back(pointed):
    box(pointed).add.click()
    layer(pointed).add([[-20.0, 30.0]])
    assert len(layer(pointed).data) == DISCS
    assert "beside the image dropped" in pointed.said[-1]
    box(pointed).select.click()
    pointed.drag(FIRST, (20.5, -15.0))
    assert (20, 20) in points_of(pointed)
    assert "put back" in pointed.said[-1]


def test_points_that_were_pasted_are_points(pointed):
    layer(pointed).selected_data = {0}
    pointed.press(Qt.Key.Key_C, CTRL)
    pointed.press(Qt.Key.Key_V, CTRL)
    accept(pointed)
    assert pointed.document.count == DISCS, "two points in one nucleus"


def test_cancelling_half_way_keeps_the_points_so_far(pointing, discs):
    pointing.workspace.set_image(None)
    pointing.open(np.tile(discs, (3, 3, 1)))
    order = pointing.orders / "pointer" / "detect"
    (pointing.orders / "pointer" / "log").unlink(missing_ok=True)
    pointing.dock.segment_tab.find_points.click()
    pointing.until(lambda: layer(pointing) is not None and len(layer(pointing).data) > 0)
    order.write_text("wait")
    pointing.until(lambda: (pointing.orders / "pointer" / "waiting").exists())
    pointing.dock.footer.cancel.click()
    order.unlink()
    pointing.settle()
    outlined(pointing)
    assert 0 < len(layer(pointing).data) < 9 * DISCS
    assert "Cancelled" in pointing.said[-1]
    accept(pointing)
    assert pointing.document.count > 0


def test_points_out_of_view_are_outlined_when_they_are_accepted(pointing):
    camera = pointing.viewer.scene.camera
    camera.center, camera.zoom = (0, *(np.array(THIRD) * 0.5)), camera.zoom * 4
    pointing.viewer.screenshot()
    find(pointing)
    standing = pointing.workspace.points.book.standing
    assert 0 < standing.outlined < DISCS
    accept(pointing)
    assert pointing.document.count == DISCS


def test_a_model_that_fails_is_reported_and_the_points_stay(pointed):
    (pointed.orders / "refine").write_text("model error")
    pointed.drag(THIRD, BACKGROUND)
    outlined(pointed)
    assert any("too wonderful" in text for text in pointed.said)
    box(pointed).accept.click()
    pointed.settle()
    assert "too wonderful" in pointed.warned[-1]
    assert pointed.document.count == 0
    assert len(layer(pointed).data) == DISCS
    (pointed.orders / "refine").unlink()
    accept(pointed)
    assert pointed.document.count == DISCS - 1


def test_points_are_there_again_when_their_image_is(pointed, discs):
    pointed.click(THIRD)
    pointed.press(Qt.Key.Key_Delete)
    pointed.viewer.layers.remove(pointed.annotation.image)
    assert "are not accepted yet" in pointed.warned[-1]
    assert layer(pointed) is None
    pointed.open(discs)
    assert len(layer(pointed).data) == DISCS - 1
    assert any("wait here to be accepted" in text for text in pointed.said)
    box(pointed).discard.click()
    assert layer(pointed) is None
    assert kept_points(pointed.document) is None


def test_an_image_that_is_closed_while_points_are_found_keeps_those_so_far(pointing, discs):
    order = pointing.orders / "pointer" / "detect"
    order.write_text("wait")
    pointing.dock.segment_tab.find_points.click()
    pointing.until(lambda: (pointing.orders / "pointer" / "waiting").exists())
    pointing.viewer.layers.remove(pointing.annotation.image)
    order.unlink()
    pointing.settle()
    assert layer(pointing) is None
    assert pointing.workspace.points.book is None


def test_a_layer_of_points_that_is_deleted_comes_back(pointed):
    pointed.viewer.layers.remove(layer(pointed))
    assert len(layer(pointed).data) == DISCS
    assert "put back" in pointed.said[-1]
    pointed.viewer.layers.remove(layer(pointed, OUTLINES_ROLE))
    pointed.drag(THIRD, BACKGROUND)
    outlined(pointed)
    assert (drawn(pointed) > 0).any()


def test_points_rest_while_nuclei_are_corrected(pointed):
    pointed.correct()
    assert layer(pointed).mode == "pan_zoom"
    assert pointed.viewer.layers.selection.active is pointed.annotation.image
    pointed.click(THIRD)
    assert pointed.document.count == 1
    pointed.viewer.layers.selection.active = layer(pointed)
    layer(pointed).mode = "select"
    layer(pointed).selected_data = {0}
    pointed.press(Qt.Key.Key_Delete)
    assert pointed.document.count == 1
    assert len(layer(pointed).data) == DISCS - 1


def test_points_have_one_size_on_the_screen(pointed):
    camera = pointed.viewer.scene.camera
    for zoom in (camera.zoom, 3 * camera.zoom):
        camera.zoom = zoom
        pointed.qtbot.wait(300)
        size = layer(pointed).size[0] * 0.5 * camera.zoom
        assert size == pytest.approx(SCREEN_PX)


def test_another_scheme_recolours_points(pointed):
    from napari_nucleus.core.schemes import CONSEP

    layer(pointed).selected_data = {0}
    box(pointed).classes.setCurrentIndex(3)
    box(pointed).classes.activated.emit(3)
    change = pointed.workspace.change_scheme(CONSEP)
    change.start()
    pointed.until(lambda: pointed.document.scheme == CONSEP)
    assert (pointed.workspace.points.book.table.class_ids == 4).sum() == 1
    names = [box(pointed).classes.itemText(i) for i in range(box(pointed).classes.count())]
    assert names[1:] == list(CONSEP.names)


def test_the_policy_of_runs_holds_for_points(pointed):
    with pointed.document.run("Segment") as run:
        from napari_nucleus.core.nuclei import Nuclei

        old = Nuclei.from_masks([np.ones((20, 20), bool)], [(20, 20)], source="fake")
        run.add_tile((0, 0, 160, 200), old)
    actions.add(pointed.document, _block(60, 80))
    accept(pointed)
    assert "1 gave way" in pointed.said[-1]
    assert pointed.document.row(pointed.document.id_at(THIRD)).area == 81
    assert pointed.document.count == DISCS


def _block(y: int, x: int):
    return actions.Outline(np.ones((9, 9), bool), (y - 4, x - 4, y + 5, x + 5))
