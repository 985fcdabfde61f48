"""Converting annotation files and projects from the command line."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import SHAPE, disc_labels, save_labels, save_picture
from PIL import Image

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.io.formats import FORMATS, read_annotations
from napari_nucleus.io.formats.geojson import write_geojson
from napari_nucleus.io.images import open_image
from napari_nucleus.io.results import result_of_labels
from napari_nucleus.session.imports import import_labels
from napari_nucleus.session.project import ImageReference, Project

CLASSES = {1: 1, 2: 2, 3: 1, 4: 0}


@pytest.fixture
def geojson(tmp_path) -> Path:
    """Four discs with classes, as QuPath reads them."""
    path = tmp_path / "in" / "discs.geojson"
    path.parent.mkdir()
    write_geojson(path, result_of_labels(disc_labels(), PANNUKE, CLASSES, mpp=0.25))
    return path


@pytest.fixture
def project(tmp_path, picture) -> Path:
    path = tmp_path / "field.nucleus"
    made = Project.create(
        path, ImageReference("patient-77", image_key(open_image(picture)), str(picture)), SHAPE
    )
    made.document.mpp = 0.5
    import_labels(made.document, disc_labels(), class_of_id=CLASSES)
    made.close()
    return path


@pytest.fixture
def square(tmp_path) -> Path:
    """A region that holds the upper two discs."""
    path = tmp_path / "region.geojson"
    ring = [[0, 0], [90, 0], [90, 30], [0, 30], [0, 0]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return path


def labels_of(path: Path) -> np.ndarray:
    return read_annotations(path).to_result(SHAPE).labels


def left_behind(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_the_ending_names_the_format(command, geojson, tmp_path):
    outcome = command("convert", geojson, tmp_path / "out" / "a.tif")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "discs.geojson: 4 nuclei -> a.tif (Label TIFF (instance ids))\n"
    assert np.array_equal(labels_of(tmp_path / "out" / "a.tif"), disc_labels())
    assert left_behind(tmp_path / "out") == {"a.tif"}


WRITTEN = [f.name for f in FORMATS.values() if f.write is not None]


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_is_written_into_a_folder_by_its_name(
    command, geojson, tmp_path, picture, name
):
    out = tmp_path / "out"
    outcome = command("convert", geojson, out, "--to", name, "--image", picture)
    assert outcome.code == 0, outcome.err
    assert f"discs{FORMATS[name].ending}" in outcome.out
    assert (out / f"discs{FORMATS[name].ending}").exists()
    assert not [p for p in left_behind(out) if p.startswith(".")]


def test_a_project_is_converted_with_what_it_knows(command, project, tmp_path):
    outcome = command("convert", project, tmp_path / "a.geojson")
    assert outcome.code == 0, outcome.err
    found = read_annotations(tmp_path / "a.geojson")
    assert found.ids.tolist() == [1, 2, 3, 4]
    assert found.class_ids.tolist() == [1, 2, 1, 0]
    assert found.mpp == 0.5
    text = (tmp_path / "a.geojson").read_text()
    assert "patient-77" not in text
    assert "field" not in text
    assert str(tmp_path) not in text


def test_a_given_pixel_size_counts_more_than_that_of_the_file(command, geojson, tmp_path, picture):
    command("convert", geojson, tmp_path / "a.geojson", "--mpp", 0.4)
    assert read_annotations(tmp_path / "a.geojson").mpp == 0.4
    outcome = command(
        "convert", geojson, tmp_path / "b.geojson", "--image", picture, "--mpp", "0.5"
    )
    assert outcome.code == 0
    assert "states 0.25 µm per pixel, while 0.5 is used" in outcome.err
    assert read_annotations(tmp_path / "b.geojson").mpp == 0.5


def test_classes_and_regions_choose_nuclei(command, geojson, project, square, tmp_path):
    for source in (geojson, project):
        outcome = command("convert", source, tmp_path / "a.tif", "--class", "Neoplastic")
        assert np.unique(labels_of(tmp_path / "a.tif")).tolist() == [0, 1, 3], outcome.err
        command(
            "convert", source, tmp_path / "a.tif", "--class", "neoplastic", "--class",
            "unclassified",
        )  # fmt: skip
        assert np.unique(labels_of(tmp_path / "a.tif")).tolist() == [0, 1, 3, 4]
        command("convert", source, tmp_path / "a.tif", "--class", "neoplastic", "--region", square)
        assert np.unique(labels_of(tmp_path / "a.tif")).tolist() == [0, 1]


def test_simplified_outlines_are_asked_for(command, geojson, tmp_path):
    command("convert", geojson, tmp_path / "exact.geojson")
    command("convert", geojson, tmp_path / "fewer.geojson", "--simplify")
    sizes = [(tmp_path / f"{n}.geojson").stat().st_size for n in ("fewer", "exact")]
    assert sizes[0] < sizes[1]


def test_notes_of_the_file_are_told(command, tmp_path):
    path = tmp_path / "odd.geojson"
    ring = [[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    outcome = command("convert", path, tmp_path / "a.tif")
    assert outcome.code == 0
    assert "cross themselves; mended" in outcome.err


def test_nuclei_outside_of_the_image_are_told(command, tmp_path, picture):
    labels = np.zeros((100, 90), np.int32)
    labels[2:6, 2:6], labels[80:90, 5:9] = 1, 2
    whole = result_of_labels(labels, PANNUKE)
    write_geojson(tmp_path / "a.geojson", whole)
    value = json.loads((tmp_path / "a.geojson").read_text())
    del value["image"]
    (tmp_path / "a.geojson").write_text(json.dumps(value))
    outcome = command("convert", tmp_path / "a.geojson", tmp_path / "b.tif", "--image", picture)
    assert outcome.code == 0, outcome.err
    assert "1 of its nuclei lie outside of 90 x 70 pixels; left out" in outcome.err


# ---- into projects


def test_a_new_project_is_about_the_image(command, geojson, tmp_path, picture):
    path = tmp_path / "new" / "a.nucleus"
    outcome = command("convert", geojson, path, "--image", picture)
    assert outcome.code == 0, outcome.err
    assert outcome.out == "discs.geojson -> a.nucleus: 4 nuclei imported.\n"
    project = Project.open(path)
    assert np.array_equal(project.document.labels(), disc_labels())
    assert [row.class_id for row in project.document.rows()] == [1, 2, 1, 0]
    assert project.image.fingerprint == image_key(open_image(picture))
    assert project.image.found(path) == picture
    assert project.document.mpp == 0.25
    project.document.undo()
    assert project.document.count == 0
    project.close()
    assert left_behind(path.parent) == {"a.nucleus"}


def test_a_new_project_needs_the_image(command, geojson, tmp_path):
    path = tmp_path / "a.nucleus"
    command("convert", geojson, path).refused("a.nucleus", "--image")
    assert not path.exists()


@pytest.mark.parametrize(
    ("policy", "new_id", "said"),
    [
        ("add", 9, "1 nucleus imported; 4 left out"),
        ("replace", 70, "5 nuclei imported in the place of 4"),
        ("merge", 70, "1 nucleus imported; 1 brought up to date; 3 the same"),
    ],
)
def test_a_project_takes_nuclei_by_the_policy(command, project, tmp_path, policy, new_id, said):
    labels = disc_labels()
    labels[10:12, 20] = 0
    labels[60:66, 5:11] = 70
    source = save_labels(tmp_path / "edited.png", labels)
    outcome = command("convert", source, project, "--policy", policy)
    assert outcome.code == 0, outcome.err
    assert said in outcome.out
    opened = Project.open(project)
    assert opened.document.ids.tolist() == [1, 2, 3, 4, new_id]
    assert bool(opened.document.labels()[10, 20]) is (policy == "add")
    opened.document.undo()
    assert np.array_equal(opened.document.labels(), disc_labels())
    opened.close()


def test_replacing_in_a_region_leaves_the_rest_of_a_project(command, project, tmp_path, square):
    empty = save_labels(tmp_path / "empty.png", np.zeros(SHAPE))
    outcome = command("convert", empty, project, "--policy", "replace", "--region", square)
    assert outcome.code == 0, outcome.err
    opened = Project.open(project)
    assert opened.document.ids.tolist() == [3, 4]
    opened.close()


def test_one_project_goes_into_another(command, project, tmp_path, picture):
    outcome = command("convert", project, tmp_path / "b.nucleus", "--image", picture)
    assert outcome.code == 0, outcome.err
    opened = Project.open(tmp_path / "b.nucleus")
    assert np.array_equal(opened.document.labels(), disc_labels())
    assert [row.class_id for row in opened.document.rows()] == [1, 2, 1, 0]
    assert opened.document.mpp == 0.5
    opened.close()


def test_a_project_that_is_open_elsewhere_is_left_alone(command, project, geojson):
    opened = Project.open(project)
    command("convert", geojson, project).refused("field.nucleus", "works on this project")
    assert opened.document.count == 4
    opened.close()


def test_a_project_of_another_image_is_left_alone(command, project, geojson, tmp_path):
    other = tmp_path / "other.png"
    Image.new("RGB", (90, 70), "white").save(other)
    command("convert", geojson, project, "--image", other).refused("another image", "other.png")


# ---- bad input


BAD_ARGUMENTS = {
    "missing": ("gone.geojson a.tif", ["gone.geojson", "no such file"]),
    "missing project": ("gone.nucleus a.tif", ["gone.nucleus", "no such file"]),
    "damaged": ("broken.geojson a.tif", ["broken.geojson"]),
    "no format": ("in/discs.geojson a.xyz", ["a.xyz", ".geojson"]),
    "several formats": ("in/discs.geojson a.json", ["a.json", "several", "coco"]),
    "unknown format": ("in/discs.geojson a.tif --to jpeg", ["'jpeg'", "geojson"]),
    "a picture": ("large.png a.geojson", ["large.png"]),
    "itself": ("in/discs.geojson in/discs.geojson", ["discs.geojson", "the place of this file"]),
    "itself in a folder": ("in/discs.geojson in --to geojson", ["the place of this file"]),
    "its image": (
        "in/discs.geojson large.png --to overlay --image large.png",
        ["large.png", "the place of this file"],
    ),
    "a folder": ("in/discs.geojson folder.tif", ["folder.tif", "a folder"]),
    "no image": ("in/discs.geojson a_overlay.png", ["a_overlay.png"]),
    "another image": ("in/discs.geojson a.tif --image large.png", ["90 x 70", "90 x 80"]),
    "another class": ("in/discs.geojson a.tif --class glia", ["'glia'", "neoplastic"]),
    "no region": ("in/discs.geojson a.tif --region gone.json", ["gone.json"]),
    "absurd pixel size": ("in/discs.geojson a.tif --mpp 900", ["900"]),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_what_cannot_be_is_refused_in_one_line(command, geojson, tmp_path, monkeypatch, kind):
    (tmp_path / "broken.geojson").write_text('{"type": "FeatureCollection", "features": [')
    (tmp_path / "folder.tif").mkdir()
    save_picture(tmp_path / "large.png", (80, 90))
    monkeypatch.chdir(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    arguments, words = BAD_ARGUMENTS[kind]
    command("convert", *arguments.split()).refused(*words)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert set(tmp_path.rglob("*")) == set(before)


@pytest.mark.parametrize("target", ["a.geojson", "a.nucleus"])
def test_an_interrupt_leaves_nothing_behind(
    command, geojson, picture, tmp_path, monkeypatch, target
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    # The package has the command under the module's name.
    module = import_module("napari_nucleus.cli.convert")
    monkeypatch.setattr(module.Export, "blocks", interrupted)
    monkeypatch.setattr(module, "import_annotations", interrupted)
    out = tmp_path / "out"
    outcome = command("convert", geojson, out / target, "--image", picture)
    assert outcome.code not in (0, 2)
    assert "Traceback" not in outcome.err
    assert not left_behind(out)


def test_the_formats_are_listed(command):
    outcome = command("formats")
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == ["format", *FORMATS]
