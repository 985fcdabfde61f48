"""Files of a measurement: what is in them, that they belong together, and what is never in them."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import pytest
import shapely
from measurement_helpers import MERGED, MPP, SIZE, measurement, some_tissue
from PIL import Image

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.progress import Cancel
from napari_nucleus.core.tme import TmeSettings
from napari_nucleus.core.tme_area import MeasuredArea
from napari_nucleus.core.tme_live import measure_cells
from napari_nucleus.errors import AnnotationError, CancelledError
from napari_nucleus.io.measurement_report import RESEARCH_USE, report_html
from napari_nucleus.io.measurements import measurement_files, write_measurements

PROVENANCE = {"model": "uninuc-nano", "weights": "0123", "class_scheme": "PanNuke"}
QUICK = ("json", "csv", "nuclei", "report")


class Page(HTMLParser):
    """The words, addresses and open elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.sources, self.open = [], [], []
        self.tooltips = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.sources += [v for k, v in values.items() if k in ("src", "href")]
        self.tooltips += values.get("class") == "e"
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All files of a measurement with a border and two regions."""
    measured = [measurement(border=True), measurement("nest"), measurement("stroma <1>")]
    folder = tmp_path_factory.mktemp("patient-77")
    paths = write_measurements(measured, folder, "a", PROVENANCE)
    return measured, {path.name: path for path in paths}


def rows_of(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_are_there_and_no_other(written):
    measured, files = written
    assert list(files) == measurement_files(measured, "a")
    assert sorted(files) == sorted(p.name for p in files["a_tme.json"].parent.iterdir())
    pictures = [name for name in files if name.endswith(".png")]
    assert len(pictures) == 5
    for name in pictures:
        with Image.open(files[name]) as picture:
            assert min(picture.size) > 150
        assert files[name.replace(".png", ".svg")].read_bytes().startswith(b"<?xml")


def test_the_json_is_the_measurement_with_its_regions(written):
    measured, files = written
    value = json.loads(files["a_tme.json"].read_text("utf-8"))
    for key, expected in measured[0].to_json().items():
        assert value[key] == expected, key
    assert [region["name"] for region in value["regions"]] == ["nest", "stroma <1>"]
    assert value["provenance"] == PROVENANCE
    assert set(value) >= {"raw_data", "interpretation", "generated_tokens", "infiltration"}


def test_the_table_has_a_row_to_each_region(written):
    measured, files = written
    rows = rows_of(files["a_tme.csv"])
    assert [row["region"] for row in rows] == [m.name for m in measured]
    for row, m in zip(rows, measured, strict=True):
        assert row["total_cells"] == str(m.features["total_cells"])
        assert float(row["mean_spatial_entropy"]) == pytest.approx(
            m.features["mean_spatial_entropy"], rel=1e-5
        )
        assert float(row["density_all_per_mm2"]) == pytest.approx(m.densities_per_mm2[0], rel=1e-5)
        assert row["morphology"] in m.phenotypes.labels.values()


def test_the_table_of_nuclei_has_those_that_count(written):
    measured, files = written
    rows = rows_of(files["a_tme_nuclei.csv"])
    table = measured[0].cells
    assert [int(row["id"]) for row in rows] == table.ids.tolist()
    assert len(rows) < len(some_tissue())
    for i in (0, 20, len(rows) - 1):
        assert float(rows[i]["centroid_x_px"]) == pytest.approx(table.centroids_yx[i, 1])
        assert float(rows[i]["nearest_Dead_um"]) == pytest.approx(table.nearest_px[i, 4] * MPP)
        assert float(rows[i]["border_um"]) == pytest.approx(table.border_px[i] * MPP)


def test_the_report_stands_alone_and_says_everything(written):
    measured, files = written
    page = Page(files["a_tme.html"].read_text("utf-8"))
    m, text = measured[0], page.text
    assert page.open == []
    assert len(page.sources) == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert RESEARCH_USE in text
    for label in m.phenotypes.labels.values():
        assert label in text
    for token in m.phenotypes.tokens:
        assert token in text
    for sentence in m.narrative.sentences:
        assert sentence.text in text
    assert page.tooltips == len(m.narrative.sentences)
    for value in ("uninuc-nano", "0.25 µm", "pixels of 0.25 µm", "stroma <1>", "Along the border"):
        assert value in text
    assert "nan" not in text.lower().split()


def test_no_file_says_where_it_was_or_what_it_was_called(written):
    _, files = written
    for path in files.values():
        data = path.read_bytes()
        assert b"patient-77" not in data
        assert str(path.parent).encode() not in data


def test_where_the_tumour_was_not_told_apart_the_report_says_so(tmp_path):
    merged = measurement(chosen=MERGED, border=True)
    text = report_html([merged], [], PROVENANCE)
    assert "not told apart" in text
    told = Page(text).text.replace("'tumor'", "").replace("'Neoplastic'", "")
    told = told.replace("Neoplastic and benign epithelial nuclei were not told apart", "")
    assert not re.search("tumou?r|neoplas", told, re.IGNORECASE)
    write_measurements([merged], tmp_path, "m", formats=QUICK)
    assert {row["class"] for row in rows_of(tmp_path / "m_tme_nuclei.csv")} == {
        "Inflammatory",
        "Connective",
        "Dead",
        "Epithelial",
    }
    assert json.loads((tmp_path / "m_tme.json").read_text())["neoplastic_told_apart"] is False


@pytest.mark.parametrize("classes", [(), (0,), (1,), (1, 3), (2, 3), (4,)])
def test_whatever_is_missing_there_is_a_result(tmp_path, classes):
    cells = some_tissue(30, classes) if classes else some_tissue(0, (1,))
    measured = [measurement(cells=cells, border=True), measurement("r", cells=cells)]
    write_measurements(measured, tmp_path, "m", formats=QUICK)
    for path in tmp_path.iterdir():
        assert not re.search(r"\b(NaN|nan|inf|Infinity)\b", path.read_text("utf-8"))


def test_nothing_measured_can_be_drawn_and_written(tmp_path):
    nothing = Cells([], [], [], MPP)
    area = MeasuredArea.of("none", (SIZE, SIZE), excluded=shapely.box(0, 0, SIZE, SIZE))
    measured = [measure_cells(nothing, area, TmeSettings(thresholds_px="native"))]
    assert len(write_measurements(measured, tmp_path, "m")) == 10
    assert "the pixels of the image" in (tmp_path / "m_tme.html").read_text("utf-8")


def test_a_file_that_cannot_be_written_leaves_none(tmp_path, monkeypatch):
    (tmp_path / "m_tme.json").write_text("before")
    monkeypatch.setattr(
        "napari_nucleus.io.measurements.report_html",
        lambda *_: (_ for _ in ()).throw(OSError(28, "full")),
    )
    with pytest.raises(AnnotationError, match="full"):
        write_measurements([measurement()], tmp_path, "m", formats=QUICK)
    assert [p.name for p in tmp_path.iterdir()] == ["m_tme.json"]
    assert (tmp_path / "m_tme.json").read_text() == "before"


def test_a_cancelled_export_leaves_nothing_and_progress_names_each_file(tmp_path):
    cancel, seen = Cancel(), []

    def report(progress):
        seen.append(progress)
        if len(seen) == 3:
            cancel.set()

    with pytest.raises(CancelledError):
        write_measurements([measurement()], tmp_path, "m", progress=report, cancel=cancel)
    assert list(tmp_path.iterdir()) == []
    assert [p.done for p in seen] == [0, 1, 2]


def test_what_must_not_or_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a path"):
        write_measurements([measurement()], tmp_path, "m", {"image": "/home/anna/x.svs"})
    for stem, formats, said in (
        ("a/b", QUICK, "cannot begin"),
        ("m", ["pdf"], "'pdf'"),
        ("m", [], "Nothing"),
    ):
        with pytest.raises(AnnotationError, match=said):
            write_measurements([measurement()], tmp_path, stem, formats=formats)
    assert list(tmp_path.iterdir()) == []
