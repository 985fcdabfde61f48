"""Comparing with another model in the app: nothing changes, doubt is noted, proposals are taken."""

from __future__ import annotations

import numpy as np
import pytest
from driver import CTRL, SHIFT, Driver
from qtpy.QtCore import Qt

from napari_nucleus.core.outlines import INTERIOR
from napari_nucleus.session import actions
from napari_nucleus.session.agreement_raster import Band
from napari_nucleus.session.table import NucleusState

ONLY_THEIRS, ONLY_OURS, BOTH = (60.5, 80.5), (100.5, 40.5), (100.5, 120.5)
DISCS = 7 * 9


def disc(rgb: np.ndarray, centre_yx: tuple[float, float], colour: tuple[int, int, int]) -> None:
    yy, xx = np.indices(rgb.shape[:2]) + 0.5
    rgb[(yy - centre_yx[0]) ** 2 + (xx - centre_yx[1]) ** 2 <= 16] = colour


@pytest.fixture
def segmented(app, discs):
    """The app on discs of which each model misses one, with the first model's nuclei."""
    disc(discs, ONLY_THEIRS, (200, 60, 120))
    disc(discs, ONLY_OURS, (110, 110, 120))
    app.open(discs)
    app.dock.segment_tab.segment.click()
    app.settle()
    assert app.document.count == DISCS - 1
    return app


def compare(app: Driver, name: str = "finder") -> None:
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    menu = app.dock.segment_tab.models
    menu.aboutToShow.emit()
    next(entry for entry in menu.actions() if entry.text() == name).trigger()
    app.settle()
    app.until(lambda: not app.annotation.busy)


def agreement_layer(app: Driver):
    from napari_nucleus.widgets.agreement_layer import AGREEMENT_ROLE
    from napari_nucleus.widgets.layers import role_of

    roles = {(role_of(layer) or ("", ""))[1]: layer for layer in app.viewer.layers}
    return roles.get(AGREEMENT_ROLE)


def test_comparing_changes_no_nucleus_and_is_one_step(segmented):
    actions.classify(segmented.document, [1], 3)
    before = segmented.document.labels()
    rows = {r.id: (r.class_id, r.state, r.source) for r in segmented.document.rows()}
    compare(segmented)
    np.testing.assert_array_equal(segmented.document.labels(), before)
    after = segmented.document.rows()
    assert {r.id: (r.class_id, r.state, r.source) for r in after} == rows
    assert segmented.document.history.undo_name == "Compare with finder"
    ours = segmented.document.row(segmented.document.id_at(ONLY_OURS))
    assert ours.agreement == 0.0
    assert segmented.document.row(segmented.document.id_at(BOTH)).agreement == 1.0
    segmented.press(Qt.Key.Key_Z, CTRL)
    assert {r.agreement for r in segmented.document.rows()} == {None}
    assert agreement_layer(segmented) is None, "it is put away with what it showed"
    assert not segmented.dock.correct_tab.compared.isVisible()


def test_the_layer_shows_the_bands_follows_corrections_and_can_be_hidden(segmented):
    compare(segmented)
    layer = agreement_layer(segmented)
    segmented.until(lambda: layer.data.any())
    assert layer.data[100, 120] == Band.CLOSE + INTERIOR
    assert layer.data[100, 40] == Band.ALONE + INTERIOR
    assert layer.data[60, 80] == Band.PROPOSED + INTERIOR
    segmented.click(ONLY_OURS, CTRL)
    segmented.until(lambda: not layer.data[95:105, 35:45].any())
    segmented.press(Qt.Key.Key_C)
    assert not layer.visible
    assert not segmented.dock.correct_tab.compared.show_it.isChecked()
    segmented.dock.correct_tab.compared.show_it.click()
    assert layer.visible
    segmented.dock.correct_tab.compared.drop.click()
    assert agreement_layer(segmented) is None
    assert not segmented.dock.correct_tab.compared.isVisible()


def test_one_click_adds_what_only_the_other_model_found_and_ctrl_click_leaves_it(segmented):
    compare(segmented)
    box = segmented.dock.correct_tab.compared
    assert "Only found by it: 1" in box.summary.text()
    segmented.hover(ONLY_THEIRS)
    segmented.click(ONLY_THEIRS)
    row = segmented.document.row(segmented.document.id_at(ONLY_THEIRS))
    assert (row.source, row.class_id, row.state) == ("finder", 2, NucleusState.ACCEPTED)
    assert not (segmented.orders / "log").read_text().count("refine"), "no model was asked"
    segmented.until(lambda: "Only found by it: 0" in box.summary.text())
    segmented.press(Qt.Key.Key_Z, CTRL)
    assert segmented.document.id_at(ONLY_THEIRS) is None
    segmented.until(lambda: "Only found by it: 1" in box.summary.text())
    segmented.click(ONLY_THEIRS, CTRL)
    assert segmented.document.id_at(ONLY_THEIRS) is None
    assert "Only found by it: 0" in box.summary.text()
    assert not agreement_layer(segmented).data[60, 80]


def test_the_queue_goes_through_both_kinds_of_doubt(segmented):
    compare(segmented)
    alone = segmented.document.id_at(ONLY_OURS)
    segmented.press(Qt.Key.Key_N)
    assert segmented.annotation.tool.selected == alone
    assert "another model agrees by 0.00" in segmented.said[-1]
    segmented.press(Qt.Key.Key_N)
    assert segmented.annotation.tool.selected is None
    assert "Only finder found this: inflammatory" in segmented.said[-1]
    assert agreement_layer(segmented).data[56, 80] == 253, "it is marked"
    segmented.press(Qt.Key.Key_N, SHIFT)
    assert segmented.annotation.tool.selected == alone
    segmented.press(Qt.Key.Key_N)
    segmented.press(Qt.Key.Key_Return)
    row = segmented.document.row(segmented.document.id_at(ONLY_THEIRS))
    assert row.state is NucleusState.ACCEPTED
    assert segmented.annotation.tool.selected not in (None, alone, row.id)


def test_delete_leaves_the_proposal_that_is_looked_at(segmented):
    compare(segmented)
    for _ in range(2):
        segmented.press(Qt.Key.Key_N)
    count = segmented.document.count
    segmented.press(Qt.Key.Key_Delete)
    assert segmented.document.count == count
    assert len(segmented.annotation.opinion.comparison.proposals) == 0


def test_classes_that_contradict_are_listed_and_can_be_chosen(segmented):
    document = segmented.document
    ids = document.ids.tolist()
    actions.classify(document, ids[:10], 2)
    actions.classify(document, ids[10:13], 1)
    compare(segmented)
    box = segmented.dock.correct_tab.compared
    # By the finder, purple discs are connective: blue is their strongest channel.
    assert "another class for 13" in box.summary.text()
    table = box.classes
    cells = {
        table.item(r, c).data(Qt.ItemDataRole.UserRole): table.item(r, c).text()
        for r in range(table.rowCount())
        for c in range(table.columnCount())
        if table.item(r, c) is not None
    }
    assert cells[(2, 3)] == "10"
    assert cells[(1, 3)] == "3"
    assert document.row(ids[0]).agreement == 0.5
    place = next(
        (r, c)
        for r in range(table.rowCount())
        for c in range(table.columnCount())
        if table.item(r, c) and table.item(r, c).data(Qt.ItemDataRole.UserRole) == (1, 3)
    )
    table.cellClicked.emit(*place)
    assert segmented.annotation.by_hand.group.ids == ids[10:13]
    segmented.press(Qt.Key.Key_3)
    segmented.until(lambda: "another class for 10" in box.summary.text())


def test_all_proposals_are_one_step_and_still_to_be_looked_at(segmented):
    compare(segmented)
    segmented.dock.correct_tab.compared.take_all.click()
    segmented.until(lambda: segmented.document.count == DISCS)
    row = segmented.document.row(segmented.document.id_at(ONLY_THEIRS))
    assert row.state is NucleusState.AUTOMATIC
    assert segmented.document.history.undo_name == "Add nucleus of finder"


def test_only_the_chosen_part_is_compared(segmented):
    segmented.dock.tabs.setCurrentWidget(segmented.dock.segment_tab)
    segmented.dock.segment_tab.draw.click()
    shapes = segmented.viewer.layers.selection.active
    shapes.add_rectangles(np.array([[10, 10], [10, 69], [69, 69], [69, 10]]))
    compare(segmented)
    known = {r.centroid_yx for r in segmented.document.rows() if r.agreement is not None}
    assert len(known) == 9
    assert max(y for y, _ in known) < 69


def test_a_cancelled_comparison_notes_what_was_compared(app, discs):
    app.open(np.tile(discs, (3, 3, 1)))
    app.dock.segment_tab.segment.click()
    app.settle()
    order = app.orders / "finder" / "segment"
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    order.write_text("wait")
    menu = app.dock.segment_tab.models
    menu.aboutToShow.emit()
    menu.actions()[1].trigger()
    app.until(lambda: (app.orders / "finder" / "waiting").exists())
    app.dock.footer.cancel.click()
    order.unlink()
    app.settle()
    app.until(lambda: not app.annotation.busy)
    assert not any(r.agreement == 0.0 for r in app.document.rows())
    assert app.document.count == 9 * DISCS


def test_another_image_in_the_middle_of_a_comparison_ends_it(app, discs):
    first = app.open(np.tile(discs, (2, 2, 1)), name="first")
    app.dock.segment_tab.segment.click()
    app.settle()
    order = app.orders / "finder" / "segment"
    order.write_text("wait")
    app.dock.tabs.setCurrentWidget(app.dock.segment_tab)
    menu = app.dock.segment_tab.models
    menu.aboutToShow.emit()
    menu.actions()[1].trigger()
    app.until(lambda: (app.orders / "finder" / "waiting").exists())
    app.open(discs, name="second")
    order.unlink()
    assert app.annotation.opinion.comparison is None
    assert not app.warned
    app.dock.work_on(first)
    assert app.document.count == 4 * DISCS
