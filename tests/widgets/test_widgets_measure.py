"""The Measure tab: values of the chosen area, in words with evidence, live, and on files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from driver import CTRL, Driver
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QEnterEvent
from qtpy.QtWidgets import QApplication, QDialog

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.tme import TmeSettings, features
from napari_nucleus.core.tme_words import feature_rows
from napari_nucleus.session import actions
from napari_nucleus.session.cell_book import CellBook
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.widgets.extents import view_extent

NEOPLASTIC, INFLAMMATORY, CONNECTIVE, EPITHELIAL = 1, 2, 3, 5
DISC, BESIDE = (60.5, 80.5), (60.5, 100.5)


@pytest.fixture
def classed(app, discs):
    """The app on 63 discs: a third each neoplastic, inflammatory and connective, by the user."""
    app.open(discs)
    app.dock.segment_tab.segment.click()
    app.settle()
    ids = app.document.ids.tolist()
    for class_id in (NEOPLASTIC, INFLAMMATORY, CONNECTIVE):
        actions.classify(app.document, ids[class_id - 1 :: 3], class_id)
    return app


def measure(app: Driver) -> None:
    app.dock.tabs.setCurrentWidget(app.dock.measure_tab)
    measured(app)


def measured(app: Driver) -> None:
    """Wait until all that has changed is measured, and shown."""
    measuring = app.dock.measure_tab.measuring

    def at_rest() -> bool:
        timers = (measuring._area, measuring._turns, measuring._details)
        waiting = any(timer.isActive() for timer in timers)
        return not (waiting or measuring._working or measuring._detailing)

    app.until(at_rest)


def shown(app: Driver) -> dict[str, str]:
    """Return what the table says, by the key of the feature."""
    return {row.key: row.text for row in app.dock.measure_tab.table.features.rows}


def expected(app: Driver, ids=None, settings=TmeSettings(), mpp=0.5) -> dict[str, str]:
    book = CellBook()
    book.put(app.document.rows(ids))
    cells, _ = book.cells(app.document.scheme, mpp)
    return {row.key: row.text for row in feature_rows(features(cells, settings), settings)}


def text_of(app: Driver) -> str:
    labels = app.dock.measure_tab.narrative.labels
    return " ".join(label.text() for label in labels if label.isVisible())


def point_at(widget) -> None:
    place = QPointF(2, 2)
    QApplication.sendEvent(widget, QEnterEvent(place, place, place))


def leave(widget) -> None:
    QApplication.sendEvent(widget, QEvent(QEvent.Type.Leave))


# ---- values


def test_the_table_shows_the_features_of_the_whole_image(classed):
    measure(classed)
    assert shown(classed) == expected(classed)
    assert shown(classed)["count_Neoplastic"] == "21"
    assert "Tumour purity" in text_of(classed)
    assert classed.dock.measure_tab.figures.bar.count() == 2


def test_values_follow_corrections_and_their_undoing(classed):
    measure(classed)
    nucleus = classed.document.id_at(DISC)
    before = shown(classed)
    actions.classify(classed.document, [nucleus], EPITHELIAL)
    measured(classed)
    assert shown(classed)["count_Epithelial"] == "1"
    assert shown(classed) == expected(classed)
    actions.remove(classed.document, [nucleus, classed.document.id_at(BESIDE)])
    measured(classed)
    assert shown(classed)["total_cells"] == "61"
    assert shown(classed) == expected(classed)
    for _ in range(2):
        classed.press(Qt.Key.Key_Z, CTRL)
        measured(classed)
    assert shown(classed) == before


def test_nuclei_can_be_corrected_beside_the_values(classed):
    measure(classed)
    classed.click(DISC, CTRL)
    assert classed.document.count == 63, "a click on the canvas is only a look"
    classed.dock.measure_tab.correct.click()
    classed.click(DISC, CTRL)
    measured(classed)
    assert shown(classed)["total_cells"] == "62"
    classed.hover(BESIDE)
    classed.press(Qt.Key.Key_5)
    measured(classed)
    assert shown(classed)["count_Epithelial"] == "1"
    classed.dock.measure_tab.correct.click()
    assert not classed.workspace.armed


def test_nothing_is_measured_while_the_tab_is_hidden(classed):
    measure(classed)
    classed.correct()
    seen = []
    classed.dock.measure_tab.measuring.measured.connect(seen.append)
    actions.remove(classed.document, [classed.document.id_at(DISC)])
    classed.qtbot.wait(600)
    assert seen == []
    assert shown(classed)["total_cells"] == "63"
    measure(classed)
    assert shown(classed) == expected(classed)
    assert shown(classed)["total_cells"] == "62"


def test_a_whole_segmentation_undone_and_done_again(classed):
    measure(classed)
    while classed.document.count:
        classed.annotation.undo()
        classed.annotation.finish_change()
    measured(classed)
    assert not classed.dock.measure_tab.results.isVisible()
    assert "segment them first" in classed.dock.measure_tab.note.text()
    while classed.document.history.redo_name is not None:
        classed.annotation.redo()
        classed.annotation.finish_change()
    measured(classed)
    assert shown(classed) == expected(classed)


def test_another_image_is_measured_for_itself(classed, discs):
    measure(classed)
    first = classed.annotation.image
    classed.open(discs[:100], name="second")
    measured(classed)
    assert not classed.dock.measure_tab.results.isVisible()
    classed.dock.work_on(first)
    measured(classed)
    assert shown(classed) == expected(classed)


def test_closing_in_the_middle_of_measuring_is_quiet(classed):
    classed.dock.tabs.setCurrentWidget(classed.dock.measure_tab)
    classed.dock.close()
    assert not classed.warned


# ---- words


def test_a_sentence_marks_what_it_rests_on(classed):
    measure(classed)
    tab = classed.dock.measure_tab
    label = next(x for x in tab.narrative.labels if "mean distance" in x.text())
    point_at(label)
    model = tab.table.features
    marked = {row.key for row in model.rows if model.is_marked(row)}
    assert marked == {
        "ratio_Inflammatory",
        "mean_dist_Inflammatory_to_Neoplastic_um",
    }
    assert "Rests on:" in label.toolTip()
    leave(label)
    assert not any(model.is_marked(row) for row in model.rows)


def test_an_axis_marks_its_feature_and_says_its_rule(classed):
    from napari_nucleus.core.tme_phenotypes import Axis

    measure(classed)
    tab = classed.dock.measure_tab
    label = tab.phenotype.labels[Axis.IMMUNE]
    assert "Immune Hot" in label.text()
    assert "high above 0.3" in label.toolTip()
    point_at(label)
    model = tab.table.features
    assert [row.key for row in model.rows if model.is_marked(row)] == ["ratio_Inflammatory"]
    assert tab.phenotype.gauges[Axis.IMMUNE].place > 2 / 3


def test_the_text_says_epithelial_until_the_user_has_told_apart(app, discs):
    app.open(discs)
    masks = [np.ones((8, 8), bool)] * 12
    prob = np.eye(5)[[0, 1, 4] * 4]
    offsets = [(20 * (i // 4) + 10, 20 * (i % 4) + 10) for i in range(12)]
    found = Nuclei.from_masks(masks, offsets, class_prob=prob, source="finder")
    with app.document.run("Segment image", made_by=MadeBy("finder", classes=PANNUKE)) as run:
        run.add_tile((0, 0, 160, 200), found)
    measure(app)
    tab = app.dock.measure_tab
    assert "8 nuclei have their class from finder" in tab.note.text()
    assert "epithelial fraction" in text_of(app)
    assert "eoplastic" not in text_of(app)
    assert "count_Neoplastic" not in shown(app)
    assert shown(app)["count_Epithelial"] == "8"
    rows = app.document.rows()
    actions.accept(app.document, [row.id for row in rows])
    measured(app)
    assert "count_Neoplastic" not in shown(app), "an accepted nucleus has its class from the model"
    for class_id in (NEOPLASTIC, EPITHELIAL):
        same = [row.id for row in rows if row.class_id == class_id]
        actions.classify(app.document, same, class_id)
        if class_id == NEOPLASTIC:
            measured(app)
            assert "4 nuclei have their class from finder" in tab.note.text()
    measured(app)


def test_once_all_are_named_by_the_user_they_are_told_apart(classed):
    measure(classed)
    assert not classed.dock.measure_tab.note.isVisible()
    assert shown(classed)["count_Neoplastic"] == "21"


def test_an_unknown_pixel_size_is_said_and_lengths_are_in_pixels(classed):
    measure(classed)
    classed.annotation.set_mpp(None)
    measured(classed)
    tab = classed.dock.measure_tab
    assert "size of the pixels is unknown" in tab.note.text()
    model = tab.table.features
    assert not any("µm" in row.unit for row in model.rows)
    assert next(r for r in model.rows if r.key == "mean_area_Neoplastic").unit == "px²"
    assert "µm" not in text_of(classed)
    assert " px)" in text_of(classed)
    assert tab.figures.bar.count() == 1, "curves are in µm"
    tab.report.click()
    assert "needs the size of the pixels" in classed.warned[-1]
    classed.annotation.set_mpp(0.5)
    measured(classed)
    assert shown(classed) == expected(classed)


def test_another_class_scheme_is_measured_in_the_canonical_classes(classed):
    from napari_nucleus.core.schemes import CONSEP

    measure(classed)
    classed.workspace.change_scheme(CONSEP).finish()
    measured(classed)
    assert "not told apart" in classed.dock.measure_tab.note.text()
    assert shown(classed)["count_Epithelial"] == "21"
    assert shown(classed) == expected(classed, settings=TmeSettings((1, 5)))


# ---- where


def draw(app: Driver, *boxes) -> None:
    """Draw rectangles ``(y0, x0, y1, x1)`` in level-0 pixels."""
    layer = app.workspace.regions.draw()
    layer.add_polygons([np.array([[a, b], [a, d], [c, d], [c, b]]) - 0.5 for a, b, c, d in boxes])
    layer.mode = "pan_zoom"


def inside(app: Driver, y0, x0, y1, x1) -> list[int]:
    rows = app.document.rows()
    return [r.id for r in rows if y0 < r.centroid_yx[0] < y1 and x0 < r.centroid_yx[1] < x1]


def test_drawn_regions_are_measured_together_and_compared_under_their_names(classed):
    measure(classed)
    tab = classed.dock.measure_tab
    tab.area.draw.click()
    draw(classed, (0, 0, 70, 90), (70, 90, 160, 200))
    measured(classed)
    assert tab.area.area.currentText() == "Drawn regions"
    first, second = inside(classed, 0, 0, 70, 90), inside(classed, 70, 90, 160, 200)
    assert shown(classed) == expected(classed, sorted(first + second))
    table = tab.regions
    assert [table.item(r, 0).text() for r in range(3)] == [
        "Drawn regions", "Region 1", "Region 2",
    ]  # fmt: skip
    assert [table.item(r, 1).text() for r in (1, 2)] == [str(len(first)), str(len(second))]
    table.item(2, 0).setText("invasive front")
    measured(classed)
    assert tab.regions.item(2, 0).text() == "invasive front"
    layer = classed.workspace.regions.drawing()
    assert layer.features["name"].tolist() == ["Region 1", "invasive front"]
    assert "Regions" in [tab.figures.bar.tabText(i) for i in range(tab.figures.bar.count())]


def test_the_view_is_measured_and_followed(classed):
    measure(classed)
    tab = classed.dock.measure_tab
    tab.area.area.setCurrentText("View")
    measured(classed)
    before = int(shown(classed)["total_cells"])
    camera = classed.viewer.scene.camera
    camera.center, camera.zoom = (0, *(np.array(DISC) * 0.5)), camera.zoom * 3
    classed.viewer.screenshot()  # napari learns what is visible when it draws
    camera.zoom *= 1.001
    measured(classed)
    assert 0 < int(shown(classed)["total_cells"]) < before
    assert shown(classed)["total_cells"] == str(
        len(inside(classed, *view_extent(classed.annotation).box))
    )


def test_excluded_regions_are_left_out_and_signed_off_ones_compared(classed):
    measure(classed)
    square = [[(0, 0), (0, 90), (70, 90), (70, 0)]]
    actions.exclude(classed.document, square, remove_nuclei=False)
    actions.sign_off(classed.document, [[(70, 90), (70, 200), (160, 200), (160, 90)]])
    measured(classed)
    out = set(inside(classed, 0, 0, 70, 90))
    left = [i for i in classed.document.ids.tolist() if i not in out]
    assert shown(classed) == expected(classed, left)
    assert classed.dock.measure_tab.regions.item(1, 0).text() == "Signed off 2"


def test_a_tumour_border_gives_densities_by_distance(classed):
    measure(classed)
    tab = classed.dock.measure_tab
    details = []
    tab.measuring.detailed.connect(details.append)
    tab.area.border.click()
    layer = classed.viewer.layers.selection.active
    layer.add_polygons([np.array([[0, 0], [0, 100], [160, 100], [160, 0]]) - 0.5])
    layer.mode = "pan_zoom"
    measured(classed)
    bands = details[-1].whole.infiltration
    assert bands.counts.sum() == 63
    assert "Border" in [tab.figures.bar.tabText(i) for i in range(tab.figures.bar.count())]
    assert tab.regions.rowCount() == 0 or not tab.boxes["Regions"].isVisible()
    layer.data = [np.array([[500.0, 500], [500, 600], [600, 600]])]
    measured(classed)
    assert "goes around nothing" in tab.note.text()
    assert details[-1].whole.infiltration is None


# ---- pictures and files


def test_a_figure_is_drawn_at_the_width_of_the_dock(classed):
    measure(classed)
    view = classed.dock.measure_tab.figures.view
    classed.until(
        lambda: (
            view.image is not None
            and abs(view.image.deviceIndependentSize().width() - view.width()) <= 1
        )
    )
    colours = {
        view.image.pixelColor(x, y).name() for x in range(0, 300, 3) for y in range(0, 150, 3)
    }
    assert "#ffffff" in colours
    assert any(PANNUKE.color_of(2) == _rgb(c) for c in colours), "the class's own colour"
    view.parentWidget().mouseDoubleClickEvent(None)
    windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog)]
    window = next(w for w in windows if w.windowTitle() == "Classes")
    assert window.isVisible()
    window.close()


def _rgb(name: str) -> tuple[int, int, int]:
    return tuple(int(name[i : i + 2], 16) for i in (1, 3, 5))


def test_the_entropy_map_lies_on_the_image_and_can_be_hidden(classed):
    measure(classed)
    classed.press(Qt.Key.Key_Y)
    measured(classed)
    layer = next(x for x in classed.viewer.layers if "entropy" in x.name)
    corners = np.array(
        [layer.data_to_world(p) for p in ((-0.5, -0.5), np.array(layer.data.shape) - 0.5)]
    )
    image = classed.annotation.image
    wanted = np.array([image.data_to_world(p) for p in ((-0.5, -0.5), (159.5, 199.5))])
    np.testing.assert_allclose(corners, wanted, atol=0.7)
    before = np.array(layer.data)
    ids = classed.document.ids.tolist()
    actions.classify(classed.document, ids, NEOPLASTIC)
    measured(classed)
    assert np.nanmax(layer.data) == 0 < np.nanmax(before)
    classed.dock.measure_tab.entropy.click()
    assert not layer.visible
    classed.open(np.array(image.data), name="other")
    assert not any("entropy" in x.name for x in classed.viewer.layers)


def test_the_report_holds_what_is_shown(classed, tmp_path):
    measure(classed)
    draw(classed, (0, 0, 70, 90))
    measured(classed)
    classed.dock.measure_tab.report.click()
    dialog = classed.export_dialog()
    dialog.folder.setText(str(tmp_path / "out"))
    dialog.stem.setText("case")
    dialog.save.click()
    classed.until(lambda: any("measured:" in text for text in classed.said))
    value = json.loads((tmp_path / "out" / "case_tme.json").read_text())
    rows = feature_rows(value["raw_data"], TmeSettings())
    assert {row.key: row.text for row in rows} == shown(classed)
    assert [region["name"] for region in value["regions"]] == ["Region 1"]
    html = (tmp_path / "out" / "case_tme.html").read_text()
    assert all(label.text() in html for label in classed.dock.measure_tab.narrative.labels)
    assert value["provenance"]["program"].startswith("napari-nucleus")
    assert not classed.dock.footer.export_bar.isVisible()


def test_a_report_that_cannot_be_written_says_so(classed, tmp_path):
    measure(classed)
    (tmp_path / "a file").write_text("")
    classed.dock.measure_tab._write(tmp_path / "a file" / "in", "x", ("json",))
    classed.until(lambda: bool(classed.warned))
    assert "x" in classed.warned[-1]
