"""The table of nuclei: sorted, filtered, linked with the canvas, many changed at once."""

import numpy as np
import pytest
from driver import CTRL, LEFT, NO, SHIFT
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_nucleus.session import actions
from napari_nucleus.session.project import Project
from napari_nucleus.session.table import NucleusState

ID, CLASS, SCORE, AREA, STATE = range(5)

SIDES = {1: 12, 2: 6, 3: 10, 4: 8, 5: 14}
"""Side of the square that each nucleus is."""


def place(nucleus):
    """Return the middle of a nucleus."""
    return 20.5 + 25 * (nucleus - 1), 60.5


class Table:
    """A user's hand on the table."""

    def __init__(self, app) -> None:
        self.app, self.table = app, app.dock.table
        self.view, self.model = self.table.view, self.table.model

    @property
    def shown(self):
        return self.model.ids.tolist()

    @property
    def selected(self):
        return sorted(self.view.selected_ids().tolist())

    def column(self, number):
        rows = range(self.model.rowCount())
        return [self.model.index(row, number).data() for row in rows]

    def settle(self):
        """Wait until the table has caught up."""
        table = self.table
        self.app.until(lambda: not table._refreshing.isActive() and not table._loading.isActive())
        QApplication.processEvents()

    def sort(self, column):
        header = self.view.horizontalHeader()
        x = header.sectionViewportPosition(column) + 15
        QTest.mouseClick(header.viewport(), LEFT, NO, QPoint(x, header.height() // 2))
        QApplication.processEvents()

    def click(self, nucleus, modifiers=NO):
        index = self.model.index(self.shown.index(nucleus), CLASS)
        where = self.view.visualRect(index).center()
        QTest.mouseClick(self.view.viewport(), LEFT, modifiers, where)
        QApplication.processEvents()

    def press(self, key, modifiers=NO):
        QTest.keyClick(self.view, key, modifiers)
        QApplication.processEvents()

    def choose(self, name):
        """Choose an action of the context menu, or of its menu of classes."""
        offered = [*self.table.menu.actions(), *self.table.classes.actions()]
        next(action for action in offered if action.text() == name).trigger()
        QApplication.processEvents()


@pytest.fixture
def squares(app):
    """Five imported nuclei of different sizes, three with a class, and the table of them."""
    app.open(np.full((160, 200, 3), 235, np.uint8))
    labels = np.zeros((160, 200), np.int32)
    for nucleus, side in SIDES.items():
        y, x = (int(v) - side // 2 for v in place(nucleus))
        labels[y : y + side, x : x + side] = nucleus
    actions.import_labels(app.document, labels)
    actions.classify(app.document, [2, 4], 2)
    actions.classify(app.document, [5], 1)
    app.correct()
    app.dock.correct_tab.table.click()
    table = Table(app)
    app.until(lambda: len(table.shown) == 5)
    table.settle()
    return table


def test_the_table_shows_what_the_document_knows(squares):
    assert squares.shown == [1, 2, 3, 4, 5]
    assert squares.column(ID) == ["1", "2", "3", "4", "5"]
    neoplastic, inflammatory = "neoplastic", "inflammatory"
    unclassified = "unclassified"
    assert squares.column(CLASS) == [
        unclassified, inflammatory, unclassified, inflammatory, neoplastic
    ]  # fmt: skip
    assert squares.column(AREA) == ["36.0", "9.0", "25.0", "16.0", "49.0"], "µm² at 0.5 µm"
    assert squares.column(STATE) == ["imported", "user", "imported", "user", "user"]
    assert squares.table.filters.count.text() == "5 nuclei"
    squares.app.dock.header.mpp.setValue(0)
    assert squares.column(AREA)[0] == "144"
    title = squares.model.headerData(AREA, Qt.Orientation.Horizontal)
    assert title == "Area (px)"


def test_a_click_on_a_header_sorts_and_another_one_turns_it_round(squares):
    squares.sort(AREA)
    assert squares.shown == [2, 4, 3, 1, 5]
    squares.sort(AREA)
    assert squares.shown == [5, 1, 3, 4, 2]
    squares.sort(CLASS)
    assert squares.shown == [2, 4, 5, 1, 3]


def test_a_row_selects_the_nucleus_and_brings_it_into_view(squares):
    app = squares.app
    squares.click(3)
    assert app.annotation.tool.selected == 3
    centre = np.asarray(app.viewer.scene.camera.center)[-2:]
    np.testing.assert_allclose(centre, (np.array([70, 60]) - 0.5) * 0.5, atol=0.5)
    assert "Nucleus 3" in app.dock.correct_tab.selected.text()
    squares.press(Qt.Key.Key_Down)
    assert app.annotation.tool.selected == 4


def test_a_click_on_the_canvas_selects_the_row_and_leaves_the_view_alone(squares):
    app = squares.app
    camera = app.viewer.scene.camera
    before = camera.center, camera.zoom
    app.click(place(5))
    assert squares.selected == [5]
    rect = squares.view.visualRect(squares.model.index(4, 0))
    assert squares.view.viewport().rect().contains(rect.center())
    assert (camera.center, camera.zoom) == before
    app.press(Qt.Key.Key_Escape)
    assert squares.selected == []
    app.click(place(2))
    assert squares.selected == [2]
    assert (camera.center, camera.zoom) == before


def test_what_is_selected_stays_so_in_another_order(squares):
    squares.click(2)
    squares.click(3, CTRL)
    assert squares.selected == [2, 3]
    squares.sort(AREA)
    assert squares.selected == [2, 3]
    assert squares.app.annotation.tool.selected == 3


def test_many_get_a_class_in_one_step_and_undo_gives_all_back(squares):
    document = squares.app.document
    before = document.rows()
    squares.click(1)
    squares.click(3, SHIFT)
    squares.choose("connective")
    assert [row.class_id for row in document.rows()] == [3, 3, 3, 2, 1]
    assert squares.column(CLASS)[:3] == ["connective"] * 3
    assert squares.selected == [1, 2, 3]
    squares.app.press(Qt.Key.Key_Z, CTRL)
    assert document.rows() == before
    squares.settle()
    assert squares.column(CLASS)[0] == "unclassified"


def test_many_are_accepted_in_one_step(squares):
    document = squares.app.document
    squares.press(Qt.Key.Key_A, CTRL)
    squares.table.accept.click()
    accepted = [row.id for row in document.rows() if row.state == NucleusState.ACCEPTED]
    assert accepted == [1, 3], "what the user made or changed is the user's already"
    squares.app.press(Qt.Key.Key_Z, CTRL)
    assert document.row(1).state == document.row(3).state == NucleusState.IMPORTED


def test_delete_removes_the_selected_rows_in_one_step(squares):
    document = squares.app.document
    before = document.labels()
    squares.click(2)
    squares.click(4, CTRL)
    squares.press(Qt.Key.Key_Delete)
    assert squares.shown == [1, 3, 5]
    assert document.ids.tolist() == [1, 3, 5]
    assert squares.selected == []
    squares.app.press(Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(document.labels(), before)
    squares.settle()
    assert squares.shown == [1, 2, 3, 4, 5]


def test_keys_of_the_app_work_while_the_table_has_the_focus(squares):
    document = squares.app.document
    squares.click(1)
    squares.press(Qt.Key.Key_Delete)
    assert 1 not in document
    squares.press(Qt.Key.Key_Z, CTRL)
    assert 1 in document


def test_filters_show_some_and_all_again(squares):
    filters = squares.table.filters
    filters.classes.setCurrentIndex(filters.classes.findText("inflammatory"))
    assert squares.shown == [2, 4]
    assert filters.count.text() == "2 of 5"
    filters.area[0].setValue(10)
    assert squares.shown == [4]
    filters.clear.click()
    assert squares.shown == [1, 2, 3, 4, 5]
    assert not filters.is_on
    filters.states.setCurrentIndex(filters.states.findText("Imported"))
    assert squares.shown == [1, 3]
    filters.classes.setCurrentIndex(filters.classes.findText("unclassified"))
    assert squares.shown == [1, 3]
    filters.score[0].setValue(0.99)
    assert squares.shown == [1, 3]
    filters.score[0].setValue(0)
    filters.score[1].setValue(0.99)
    assert squares.shown == []


def test_the_small_are_removed_by_a_filter_in_one_step(squares):
    app = squares.app
    squares.table.filters.area[1].setValue(20)
    assert squares.shown == [2, 4], "of 9 and 16 µm²"
    squares.table.select_all.click()
    assert squares.table.selected.text() == "2 nuclei selected"
    squares.table.remove.click()
    assert app.document.ids.tolist() == [1, 3, 5]
    assert squares.shown == []
    assert app.document.history.undo_name == "Remove 2 nuclei"
    app.press(Qt.Key.Key_Z, CTRL)
    assert app.document.ids.tolist() == [1, 2, 3, 4, 5]


def test_a_filter_by_area_means_pixels_while_their_size_is_unknown(squares):
    squares.app.dock.header.mpp.setValue(0)
    squares.table.filters.area[1].setValue(100)
    assert squares.table.filters.unit.text() == "px"
    assert squares.shown == [2, 3, 4]


def test_a_nucleus_that_a_filter_hides_is_not_selected_in_the_table(squares):
    squares.table.filters.states.setCurrentIndex(2)  # imported
    squares.click(1)
    squares.app.click(place(2))
    assert squares.app.annotation.tool.selected == 2
    assert squares.selected == []


def test_changes_on_the_canvas_come_into_the_table(squares):
    app = squares.app
    app.click(place(4), CTRL)
    squares.settle()
    assert squares.shown == [1, 2, 3, 5]
    app.hover(place(1))
    app.press(Qt.Key.Key_5)
    squares.settle()
    assert squares.column(CLASS)[0] == "epithelial"


def test_a_nucleus_added_by_a_click_is_selected_in_the_table(correcting):
    correcting.dock.toggle_table()
    table = Table(correcting)
    table.settle()
    assert table.shown == []
    correcting.click((60.5, 80.5))
    correcting.click((60.5, 80.5))
    table.settle()
    assert len(table.shown) == 1
    assert table.selected == table.shown


def test_nuclei_that_stream_in_leave_selection_and_place_alone(squares):
    app = squares.app
    squares.click(3)
    camera = app.viewer.scene.camera.center
    resets = []
    squares.model.modelReset.connect(lambda: resets.append(1))
    for i in range(3):
        mask = np.ones((6, 6), bool)
        box = (30 + 20 * i, 150, 36 + 20 * i, 156)
        actions.add(app.document, actions.Outline(mask, box))
        squares.settle()
    assert squares.shown == [1, 2, 3, 4, 5, 6, 7, 8]
    assert squares.selected == [3]
    assert not resets
    assert app.viewer.scene.camera.center == camera


def test_a_row_that_is_gone_before_the_table_knows_does_no_harm(squares):
    squares.click(2)
    actions.remove(squares.app.document, [2])
    assert squares.column(CLASS)[1] == "removed"
    squares.table.remove.click()
    assert squares.app.document.ids.tolist() == [1, 3, 4, 5]
    assert squares.shown == [1, 3, 4, 5]


def test_the_key_and_the_button_show_the_table_and_put_it_away(squares):
    app = squares.app
    assert squares.table.isVisible()
    app.press(Qt.Key.Key_L)
    assert not squares.table.isVisible()
    actions.remove(app.document, [1])
    app.press(Qt.Key.Key_L)
    assert squares.table.isVisible()
    squares.settle()
    assert squares.shown == [2, 3, 4, 5], "it has caught up"
    app.viewer.window.remove_dock_widget(squares.table)  # as the cross in its corner does
    app.dock.correct_tab.table.click()
    app.until(squares.table.isVisible)


def test_another_image_has_its_own_rows(squares, discs):
    app = squares.app
    squares.click(2)
    app.open(discs, name="other")
    squares.settle()
    assert squares.shown == []
    assert squares.table.filters.count.text() == "0 nuclei"
    app.correct()
    app.click((60.5, 80.5))
    squares.settle()
    assert len(squares.shown) == 1
    app.dock.work_on(app.viewer.layers["field"])
    squares.settle()
    assert squares.shown == [1, 2, 3, 4, 5]
    for name in ("other", "field"):
        app.viewer.layers.remove(name)
    assert squares.shown == []
    assert not squares.table.isEnabled()


def test_a_project_that_can_only_be_read_is_shown_and_stays_as_it_is(squares):
    app = squares.app
    path = app.workspace.keeping.project.path
    picture = app.annotation.image.data
    app.viewer.layers.remove(app.annotation.image)
    other = Project.open(path)
    app.open(picture)
    squares.settle()
    assert app.workspace.keeping.project.read_only
    assert squares.shown == [1, 2, 3, 4, 5]
    squares.click(2)
    squares.table.remove.click()
    assert "read only" in app.warned[-1]
    assert squares.shown == [1, 2, 3, 4, 5]
    assert 2 in app.document
    other.close()


def test_the_table_goes_with_the_dock(squares):
    table = squares.table
    squares.app.dock.close()
    assert table.parentWidget() is None
    assert not table.isVisible()
