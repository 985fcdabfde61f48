"""``napari-nucleus query``: how it was understood, what was found, and what is refused."""

from __future__ import annotations

import json

import pytest
from cli_helpers import SHAPE, disc_labels, save_picture

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.schemes import CONSEP
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.session.imports import import_labels
from napari_nucleus.session.project import ImageReference, Project


@pytest.fixture
def project(tmp_path):
    made = Project.create(
        tmp_path / "field.nucleus", ImageReference("field", "0"), SHAPE, PANNUKE, 0.5
    )
    import_labels(made.document, disc_labels(), class_of_id={1: 1, 2: 2, 3: 1, 4: 3})
    yield made
    made.close()


def test_the_line_and_the_count_are_printed(command, project):
    outcome = command("query", project.path, "the round tumour cells, larger than 20 µm²")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "round neoplastic nuclei, larger than 20 µm²: 2\n"


def test_ids_and_scores_are_printed_as_json(command, project):
    outcome = command("query", project.path, "lymphocytes within 25 µm of tumour", "--json")
    value = json.loads(outcome.out)
    assert value["understood"] == "inflammatory nuclei, within 25 µm of neoplastic nuclei"
    assert value["notation"] == "inflammatory near:neoplastic<=25"
    assert value["count"] == 1
    assert value["nuclei"][0]["id"] == 2
    assert 0 < value["nuclei"][0]["score"] <= 1


def test_what_was_found_is_written_as_an_annotation_file(command, project, tmp_path):
    out = tmp_path / "found.geojson"
    outcome = command("query", project.path, "tumour", "--out", out)
    assert outcome.code == 0, outcome.err
    assert "written: found.geojson" in outcome.out
    assert len(read_annotations(out)) == 2
    assert json.loads(out.read_text())["provenance"]["query"] == "neoplastic nuclei"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("liver", ["liver", "not known"]),
        ("large kidney and lung cells", ["kidney", "lung"]),
        ("", ["nothing was typed"]),
        ("x" * 10_000, ["10,000 letters"]),
        ("🦠🦠", ["🦠"]),
        ("细胞核", ["细胞核"]),
        ("area above", ["area"]),
        ("near the border", ["border"]),
        ("dark nuclei", ["image"]),
    ],
)
def test_what_is_not_understood_or_lacking_is_said(command, project, tmp_path, text, words):
    out = tmp_path / "found.geojson"
    command("query", project.path, text, "--out", out).refused(*words)
    assert not out.exists()


def test_border_and_image_are_given_as_files(command, project, tmp_path):
    border = tmp_path / "border.geojson"
    ring = [[0, 0], [40, 0], [40, 30], [0, 30], [0, 0]]
    border.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    outcome = command("query", project.path, "inside the border", "--border", border)
    assert outcome.out == "nuclei, inside the border: 1\n"
    picture = save_picture(tmp_path / "field.png")
    outcome = command("query", project.path, "not pale", "--image", picture, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["count"] == 4
    other = save_picture(tmp_path / "other.png", (50, 50))
    command("query", project.path, "pale", "--image", other).refused("50 x 50", "90 x 70")


def test_files_that_do_not_fit_are_refused(command, project, tmp_path):
    command("query", tmp_path / "no.nucleus", "tumour").refused("no.nucleus")
    command("query", tmp_path / "labels.tif", "tumour").refused("labels.tif", ".nucleus")
    command("query", project.path, "tumour", "--out", tmp_path / "x.docx").refused("x.docx")
    command("query", project.path, "tumour", "--mpp", -1).refused("--mpp")


def test_the_size_of_a_pixel_can_be_stated(command, project):
    project.document.mpp = None
    command("query", project.path, "larger than 20 µm²").refused("pixel")
    outcome = command("query", project.path, "larger than 20 µm²", "--mpp", 0.5)
    assert outcome.out.endswith(": 4\n")


def test_a_scheme_that_tells_less_apart_is_named(command, tmp_path):
    made = Project.create(
        tmp_path / "consep.nucleus", ImageReference("field", "0"), SHAPE, CONSEP, 0.5
    )
    import_labels(made.document, disc_labels(), class_of_id={1: 3, 2: 2, 3: 3, 4: 1})
    made.close()
    outcome = command("query", made.path, "tumour cells")
    assert outcome.out.splitlines() == [
        "neoplastic nuclei: 2",
        "CoNSeP has epithelial for neoplastic nuclei.",
    ]
