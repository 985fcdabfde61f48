"""``napari-nucleus measure``: label maps and projects into files, and what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from cli_helpers import CENTRES, DARK, SHAPE, disc_labels, save_labels
from PIL import Image

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.schemes import CONSEP
from napari_nucleus.io.labels import write_labels
from napari_nucleus.session.actions import classify
from napari_nucleus.session.imports import import_labels
from napari_nucleus.session.marking import exclude
from napari_nucleus.session.project import ImageReference, Project

CLASSES = "id,class\n1,neoplastic\n2,inflammatory\n3,neoplastic\n4,connective\n"


@pytest.fixture(autouse=True)
def _few_figures(monkeypatch):
    """Draw one figure: how they look is tested elsewhere, and each takes a second."""
    from napari_nucleus.io import measurements

    monkeypatch.setattr(measurements, "_figure_titles", lambda _: {"classes": "Classes"})


@pytest.fixture
def labels(tmp_path):
    file = tmp_path / "field.tif"
    write_labels(file, disc_labels(), 0.25)
    return file


@pytest.fixture
def classes(tmp_path):
    file = tmp_path / "classes.csv"
    file.write_text(CLASSES)
    return file


def regions(folder, *boxes, name: str = "regions.geojson"):
    """A GeoJSON of boxes (x0, y0, x1, y1) named A, B and so on."""
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]],
            },
            "properties": {"name": chr(ord("A") + i)},
        }
        for i, (x0, y0, x1, y1) in enumerate(boxes)
    ]
    file = folder / name
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file


def measured(folder) -> dict:
    (file,) = folder.glob("*_tme.json")
    return json.loads(file.read_text("utf-8"))


def test_a_label_map_and_its_classes_become_files(command, tmp_path, labels, classes):
    out = tmp_path / "out" / "new"
    outcome = command("measure", labels, "--classes", classes, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "field.tif: 4 nuclei, 0 without a class" in outcome.out
    assert "Moderate Tumour Purity" in outcome.out
    names = {"json", "csv", "html", "png", "svg"}
    assert {file.suffix[1:] for file in out.iterdir()} == names
    value = measured(out)
    raw = value["raw_data"]
    assert [raw[f"count_{c}"] for c in ("Neoplastic", "Inflammatory", "Connective")] == [2, 1, 1]
    distance = min(np.hypot(*np.subtract(CENTRES[1], CENTRES[i])) for i in (0, 2))
    assert raw["mean_dist_Inflammatory_to_Neoplastic"] == pytest.approx(distance)
    assert value["area_mm2"] == pytest.approx(SHAPE[0] * SHAPE[1] * 0.25**2 / 1e6)
    assert value["provenance"]["class_scheme"] == "PanNuke"
    for file in out.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()


def test_the_pixel_size_is_stated_or_in_the_file(command, tmp_path, labels, classes):
    out = tmp_path / "out"
    assert command("measure", labels, "--classes", classes, "--out", out, "--mpp", 0.5).code == 0
    assert measured(out)["mpp"] == 0.5
    png = save_labels(tmp_path / "bare.png")
    outcome = command("measure", png, "--classes", classes, "--out", tmp_path / "other")
    outcome.refused("bare.png", "--mpp")
    command("measure", png, "--classes", classes, "--out", out, "--mpp", 90).refused("90", "--mpp")


def test_thresholds_may_be_those_of_the_pixels_at_hand(command, tmp_path, labels, classes):
    found = {}
    for kind in ("equivalent", "native"):
        out = tmp_path / kind
        line = ("measure", labels, "--classes", classes, "--mpp", 1, "--out", out)
        assert command(*line, "--thresholds", kind).code == 0
        found[kind] = measured(out)
    assert found["equivalent"]["interpretation"]["spatial_interaction"] == "Excluded"
    assert found["native"]["interpretation"]["spatial_interaction"] == "Proximal"
    assert found["native"]["settings"]["thresholds_px"] == "native"


def test_a_class_map_and_the_scheme_of_its_numbers(command, tmp_path, labels):
    consep = np.array([0, 3, 2, 3, 4], np.uint8)[disc_labels()]
    Image.fromarray(consep).save(tmp_path / "map.png")
    line = ("measure", labels, "--classes", tmp_path / "map.png", "--out", tmp_path / "out")
    outcome = command(*line, "--scheme", "consep")
    assert outcome.code == 0, outcome.err
    assert "not told apart" in outcome.out
    value = measured(tmp_path / "out")
    assert value["neoplastic_told_apart"] is False
    assert value["raw_data"]["count_Epithelial"] == 2
    assert value["raw_data"]["count_Neoplastic"] is None
    command(*line, "--scheme", "TNM").refused("TNM", "PanNuke, CoNSeP, MoNuSAC")


class TestToldApart:
    """Who says whether a tumour may be named."""

    def told(self, command, labels, classes, out, *more) -> bool:
        assert command("measure", labels, "--classes", classes, "--out", out, *more).code == 0
        return measured(out)["neoplastic_told_apart"]

    def test_the_scheme_and_the_user(self, command, tmp_path, labels, classes):
        out = tmp_path / "out"
        assert self.told(command, labels, classes, out) is True
        assert self.told(command, labels, classes, out, "--epithelium-merged") is False

    def test_the_model_that_made_the_labels(self, command, tmp_path, labels, classes, monkeypatch):
        from napari_nucleus.models import zoo

        entry = zoo._ZOO["uninuc-nano"]
        vague = replace(entry, info=replace(DARK, name="vague", not_told_apart=(1, 5)))
        monkeypatch.setattr(zoo, "_ZOO", {**zoo._ZOO, "vague": vague})
        out = tmp_path / "out"
        write_labels(labels, disc_labels(), 0.25, {"model": "vague", "weights": "0123"})
        assert self.told(command, labels, classes, out) is False
        assert measured(out)["provenance"]["model"] == "vague"
        assert self.told(command, labels, classes, out, "--tumour-known") is True
        write_labels(labels, disc_labels(), 0.25, {"model": "somebody's own"})
        assert self.told(command, labels, classes, out) is True


def test_regions_a_border_and_what_is_excluded(command, tmp_path, labels, classes):
    drawn = regions(tmp_path, (0, 0, 90, 30), (0, 30, 60, 70))
    border = regions(tmp_path, (0, 0, 40, 70), name="border.geojson")
    exclude = regions(tmp_path, (50, 0, 90, 30), name="pen.geojson")
    line = ("measure", labels, "--classes", classes, "--out", tmp_path / "out")
    more = ("--regions", drawn, "--border", border, "--exclude", exclude)
    outcome = command(*line, *more)
    assert outcome.code == 0, outcome.err
    value = measured(tmp_path / "out")
    assert value["raw_data"]["total_cells"] == 3
    assert value["area_mm2"] == pytest.approx((70 * 90 - 40 * 30) * 0.25**2 / 1e6)
    assert [(r["name"], r["raw_data"]["total_cells"]) for r in value["regions"]] == [
        ("A", 1),
        ("B", 1),
    ]
    assert sum(value["infiltration"]["counts"]["Neoplastic"]) == 2
    with open(tmp_path / "out" / "field_tme.csv", newline="") as file:
        assert [row["region"] for row in csv.DictReader(file)] == ["whole image", "A", "B"]


def test_regions_and_borders_elsewhere_are_refused(command, tmp_path, labels, classes):
    line = ("measure", labels, "--classes", classes, "--out", tmp_path / "out")
    far = regions(tmp_path, (900, 900, 950, 950))
    command(*line, "--regions", far).refused("regions.geojson", "'A'", "90 x 70")
    command(*line, "--border", far).refused("regions.geojson", "goes around nothing")
    command(*line, "--regions", tmp_path / "none.geojson").refused("none.geojson", "no such file")
    command(*line, "--border", classes).refused("classes.csv", "no GeoJSON")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["id,class\n", "id,class\n4,inflammatory\n", "id,class\n1,\n"])
def test_missing_classes_are_a_result(command, tmp_path, labels, text):
    (tmp_path / "few.csv").write_text(text)
    outcome = command("measure", labels, "--classes", tmp_path / "few.csv", "--out", tmp_path / "o")
    assert outcome.code == 0, outcome.err
    assert "without a class" in outcome.out
    value = measured(tmp_path / "o")
    assert value["interpretation"]["spatial_interaction"] == "Not assessable"
    assert value["provenance"]["nuclei"] == 4
    known = value["raw_data"]["total_cells"]
    assert value["provenance"]["nuclei_without_class"] == 4 - known


def test_a_label_map_without_nuclei_is_a_result(command, tmp_path, classes):
    empty = save_labels(tmp_path / "empty.png", np.zeros(SHAPE, int))
    outcome = command(
        "measure", empty, "--classes", classes, "--mpp", 0.25, "--out", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.err
    assert measured(tmp_path / "out")["raw_data"]["total_cells"] == 0
    assert set(measured(tmp_path / "out")["interpretation"].values()) == {"Not assessable"}


def test_what_does_not_fit_is_refused_and_nothing_is_written(command, tmp_path, labels, classes):
    out = tmp_path / "out"
    command("measure", labels, "--out", out).refused("field.tif", "--classes")
    channels = tmp_path / "channels.npy"
    np.save(channels, np.ones((*SHAPE, 3), int))
    line = ("--classes", classes, "--out", out, "--mpp", 0.25)
    command("measure", channels, *line).refused("channels.npy", "2 dimensions", "(70, 90, 3)")
    command("measure", tmp_path / "none.tif", *line).refused("none.tif", "no such file")
    other = tmp_path / "other.csv"
    other.write_text("id,class\n50,dead\n")
    command("measure", labels, "--classes", other, "--out", out).refused("other.csv", "label map")
    other.write_text("id,class\n1,dwarf\n")
    command("measure", labels, "--classes", other, "--out", out).refused("other.csv", "'dwarf'")
    assert not out.exists()


def test_nuclei_that_are_not_there_are_counted(command, tmp_path, labels, classes):
    classes.write_text(CLASSES + "50,dead\n51,dead\n")
    outcome = command("measure", labels, "--classes", classes, "--out", tmp_path / "out")
    assert "classes.csv: 2 of its nuclei are not in field.tif" in outcome.out
    assert measured(tmp_path / "out")["raw_data"]["count_Dead"] == 0


def test_no_input_is_replaced(command, tmp_path):
    labels = save_labels(tmp_path / "a.png")
    classes = tmp_path / "a_tme.csv"
    classes.write_text(CLASSES)
    outcome = command("measure", labels, "--classes", classes, "--mpp", 0.25, "--out", tmp_path)
    outcome.refused("a_tme.csv", "--out")
    assert classes.read_text() == CLASSES


class TestProject:
    """A project has classes, a pixel size, regions and a history of its own."""

    @pytest.fixture
    def project(self, tmp_path):
        made = Project.create(
            tmp_path / "field.nucleus", ImageReference("field", "0"), SHAPE, PANNUKE, 0.5
        )
        import_labels(
            made.document, disc_labels(), class_of_id={1: 1, 2: 2, 3: 1, 4: 3}, source="vague"
        )
        yield made
        made.close()

    def test_it_is_measured_as_it_is_while_it_is_open(self, command, tmp_path, project):
        classify(project.document, [4], 4)
        exclude(project.document, [[(0, 50), (0, 90), (30, 90), (30, 50)]], remove_nuclei=False)
        outcome = command("measure", project.path, "--out", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        value = measured(tmp_path / "out")
        raw = value["raw_data"]
        assert (raw["count_Neoplastic"], raw["count_Inflammatory"], raw["count_Dead"]) == (2, 0, 1)
        assert value["mpp"] == 0.5
        assert value["area_mm2"] == pytest.approx((70 * 90 - 40 * 30) * 0.25 / 1e6)
        assert value["neoplastic_told_apart"] is True

    def test_the_models_whose_classes_stand_are_asked(
        self, command, tmp_path, project, monkeypatch
    ):
        from napari_nucleus.models import zoo

        entry = zoo._ZOO["uninuc-nano"]
        vague = replace(entry, info=replace(DARK, name="vague", not_told_apart=(1, 5)))
        monkeypatch.setattr(zoo, "_ZOO", {**zoo._ZOO, "vague": vague})
        command("measure", project.path, "--out", tmp_path / "out")
        assert measured(tmp_path / "out")["neoplastic_told_apart"] is False
        for class_id, ids in ((2, [1, 3]), (1, [2]), (3, [1, 3]), (5, [4])):
            classify(project.document, ids, class_id)
        command("measure", project.path, "--out", tmp_path / "out")
        assert measured(tmp_path / "out")["neoplastic_told_apart"] is True

    def test_other_schemes_become_the_five_classes(self, command, tmp_path):
        made = Project.create(
            tmp_path / "consep.nucleus", ImageReference("field", "0"), SHAPE, CONSEP, 0.5
        )
        import_labels(made.document, disc_labels(), class_of_id={1: 3, 2: 2, 3: 3, 4: 1})
        made.close()
        assert command("measure", made.path, "--out", tmp_path / "out").code == 0
        value = measured(tmp_path / "out")
        assert value["raw_data"]["count_Epithelial"] == 2
        assert value["raw_data"]["total_cells"] == 3
        assert value["provenance"]["class_scheme"] == "CoNSeP"
        assert value["neoplastic_told_apart"] is False

    def test_classes_beside_it_and_a_missing_pixel_size_are_refused(
        self, command, tmp_path, project, classes
    ):
        out = tmp_path / "out"
        command("measure", project.path, "--classes", classes, "--out", out).refused("--classes")
        project.document.mpp = None
        command("measure", project.path, "--out", out).refused("field.nucleus", "--mpp")
        assert command("measure", project.path, "--out", out, "--mpp", 0.25).code == 0
