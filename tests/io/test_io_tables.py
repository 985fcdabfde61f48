from __future__ import annotations

import csv

import numpy as np
import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats.table import write_table
from napari_nucleus.io.results import result_of_labels


def rows_of(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_tells_what_a_nucleus_is_and_where(tmp_path, result):
    write_table(tmp_path / "a.csv", result)
    rows = rows_of(tmp_path / "a.csv")
    assert [r["id"] for r in rows] == ["1", "3", "4", "9", "12", "70000"]
    pixel = rows[1]
    assert pixel["class"] == "inflammatory"
    assert pixel["class_id"] == "2"
    assert float(pixel["score"]) == 0.5
    assert (float(pixel["centroid_x_px"]), float(pixel["centroid_y_px"])) == (20.5, 20.5)
    assert float(pixel["centroid_x_um"]) == pytest.approx(20.5 / 4)
    assert (int(pixel["area_px"]), float(pixel["area_um2"])) == (1, pytest.approx(1 / 16, abs=1e-3))


def test_x_and_y_are_not_mixed_up(tmp_path):
    labels = np.zeros((50, 90), int)
    labels[3:5, 70:80] = 1
    write_table(tmp_path / "a.csv", result_of_labels(labels, PANNUKE, mpp=0.5))
    (row,) = rows_of(tmp_path / "a.csv")
    assert (row["centroid_x_px"], row["centroid_y_px"]) == ("75.00", "4.00")
    assert (row["centroid_x_um"], row["centroid_y_um"]) == ("37.500", "2.000")


def test_names_of_classes_survive_commas_and_umlauts(tmp_path, result):
    write_table(tmp_path / "a.csv", result)
    assert rows_of(tmp_path / "a.csv")[0]["class"] == "Tumör, fest"
    assert "Tumör".encode() in (tmp_path / "a.csv").read_bytes()


def test_columns_in_micrometres_are_empty_without_a_pixel_size(tmp_path, labels):
    write_table(tmp_path / "a.csv", result_of_labels(labels, PANNUKE))
    for row in rows_of(tmp_path / "a.csv"):
        in_um = {name: value for name, value in row.items() if "_um" in name}
        assert len(in_um) >= 4
        assert set(in_um.values()) == {""}


def test_unknown_scores_are_empty_and_all_other_cells_are_finite_numbers(tmp_path, result):
    write_table(tmp_path / "a.csv", result)
    rows = rows_of(tmp_path / "a.csv")
    assert rows[2]["score"] == ""
    for row in rows:
        for name, value in row.items():
            if name not in ("class", "score"):
                assert np.isfinite(float(value))


def test_no_nuclei_give_a_table_without_rows(tmp_path):
    write_table(tmp_path / "a.csv", result_of_labels(np.zeros((4, 4), int), PANNUKE))
    text = (tmp_path / "a.csv").read_text()
    assert text.startswith("id,class,")
    assert text.count("\n") == 1


def test_a_fault_of_the_disk_leaves_the_file_as_it_was(
    tmp_path, result, unwritable, assert_untouched
):
    with pytest.raises(AnnotationError, match=f"a.csv could not be written .{unwritable}"):
        write_table(tmp_path / "out" / "a.csv", result)
    assert_untouched()
