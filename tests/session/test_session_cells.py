"""Rows of the nuclei table as cells."""

from __future__ import annotations

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.schemes import CONSEP
from napari_nucleus.session.cells import cells_of_rows, classifying_models
from napari_nucleus.session.table import NucleusRow


def row(i: int, class_id: int, source: str = "user", prob: tuple[float, ...] = ()) -> NucleusRow:
    return NucleusRow(i, (0, 0, 4, 9), 7 * i, (1.5 * i, 2.5), class_id, prob, source=source)


def test_cells_are_where_the_rows_are_under_their_ids():
    cells, together = cells_of_rows([row(4, 1), row(9, 0)], PANNUKE, 0.25)
    assert cells.ids.tolist() == [4, 9]
    assert cells.centroids_yx.tolist() == [[6, 2.5], [13.5, 2.5]]
    assert cells.areas.tolist() == [28, 63]
    assert cells.class_ids.tolist() == [1, 0]
    assert together == ()


def test_classes_become_canonical():
    cells, together = cells_of_rows([row(1, 3), row(2, 4), row(3, 1)], CONSEP, 0.25)
    assert cells.class_ids.tolist() == [5, 3, 0]
    assert together == (1, 5)


def test_no_rows_are_no_cells():
    assert len(cells_of_rows([], PANNUKE, 0.5)[0]) == 0


def test_models_are_named_for_classes_that_are_still_theirs():
    rows = [
        row(1, 1, "uninuc-nano", (0.9, 0.1)),
        row(2, 2, "other"),  # the user has named it since
        row(3, 0, "third", (0.0, 0.0)),
        row(4, 5),
    ]
    assert classifying_models(rows) == {"uninuc-nano"}
