"""Napari's own Open, Save and File menu: files of nuclei are label layers with their classes."""

from __future__ import annotations

import json
import re
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.errors import MultipleReaderError, ReaderPluginError
from napari.layers import Image, Labels
from npe2 import PluginManifest
from qtpy.QtWidgets import QApplication

from napari_nucleus.core.classes import ClassScheme, NucleusClass
from napari_nucleus.io.export import WRITTEN
from napari_nucleus.io.formats import FORMATS, Export, read_annotations
from napari_nucleus.io.results import result_of_labels
from napari_nucleus.session import actions
from napari_nucleus.widgets import file_layers, napari_commands, napari_writers
from napari_nucleus.widgets.napari_files import get_reader

PLUGIN = "napari-nucleus"
SHAPE = (160, 200)
SCHEME = ClassScheme(
    "theirs", (NucleusClass(1, "Tumör", (9, 9, 9)), NucleusClass(4, "dead", (1, 2, 3)))
)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    labels[20:40, 20:40], labels[100:120, 100:130], labels[60:70, 60:80] = 5, 70_000, 12
    return labels


@pytest.fixture
def label_tiff(tmp_path, labels) -> Path:
    """Three nuclei, the last one without class and score, at 0.5 µm per pixel."""
    result = result_of_labels(labels, SCHEME, {5: 1, 12: 4}, {5: 0.5, 12: 0.25}, 0.5)
    path = tmp_path / "theirs.tif"
    FORMATS["labels"].write(path, result, Export())
    return path


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution(PLUGIN)


# ---- opening


def test_a_label_tiff_opens_as_labels_with_classes_scores_and_pixel_size(
    viewer, label_tiff, labels
):
    (layer,) = viewer.open(label_tiff, plugin=PLUGIN)
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, labels)
    assert layer.name == "theirs"
    assert layer.scale.tolist() == [0.5, 0.5]
    assert str(layer.units[0]) == "micrometer"
    assert layer.features["index"].tolist() == [5, 12, 70_000]
    assert layer.features["class"].tolist() == ["Tumör", "dead", "unclassified"]
    np.testing.assert_allclose(layer.features["score"], [0.5, 0.25, np.nan])


def test_whoever_has_chosen_this_reader_for_tiffs_still_sees_pictures_as_pictures(
    viewer, label_tiff, tmp_path, discs
):
    from napari.settings import get_settings

    tifffile.imwrite(tmp_path / "picture.tif", discs)
    with pytest.raises(MultipleReaderError):
        viewer.open(label_tiff, plugin=None)  # what the user is asked about
    get_settings().plugins.extension2reader = {"*.tif": PLUGIN}
    assert isinstance(viewer.open(label_tiff, plugin=None)[0], Labels)
    (picture,) = viewer.open(tmp_path / "picture.tif", plugin=None)
    assert isinstance(picture, Image)
    assert picture.rgb


def test_what_cannot_be_read_is_told_in_one_sentence_and_no_layer_comes(
    viewer, tmp_path, label_tiff, monkeypatch
):
    (tmp_path / "bad.geojson").write_text('{"type": "FeatureCollection", "features": [{')
    with pytest.raises(ReaderPluginError, match=r"bad.geojson: is no JSON"):
        viewer.open(tmp_path / "bad.geojson", plugin=None)
    monkeypatch.setattr(file_layers, "LARGEST_LAYER", 160 * 200 - 1)
    with pytest.raises(Exception, match="200 x 160 pixels are too many for a layer"):
        viewer.open(label_tiff, plugin=PLUGIN)
    assert not viewer.layers


def test_files_of_other_kinds_are_left_to_others(tmp_path, discs):
    tifffile.imwrite(tmp_path / "picture.png.tif", discs)
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "damaged.json").write_text("{")
    np.save(tmp_path / "numbers.npy", np.zeros((4, 5)))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "")
    (tmp_path / "image.zarr").mkdir()
    (tmp_path / "image.zarr" / "zarr.json").write_text('{"node_type": "group"}')
    (tmp_path / "other.xml").write_text("<a/>")
    (tmp_path / "other.db").write_text("")
    for name in (
        "other.json",
        "damaged.json",
        "numbers.npy",
        "other.zip",
        "other.xml",
        "other.db",
        "missing.geojson",
    ):
        assert get_reader(str(tmp_path / name)) is None, name
    for name in ("picture.png.tif", "image.zarr"):
        reader = get_reader(str(tmp_path / name))
        assert reader is not None
        assert reader.__name__ == "_as_napari_does", name
    assert get_reader([str(tmp_path / "a.geojson"), str(tmp_path / "b.geojson")]) is None


# ---- saving


def test_the_layers_of_the_dock_are_saved_with_the_classes_of_the_document(app, labels, tmp_path):
    app.open(np.full((*SHAPE, 3), 235, np.uint8))
    actions.import_labels(app.document, labels, class_of_id={5: 1, 12: 4})
    for layer in app.annotation.binding.layers:
        app.viewer.layers.selection = {layer}
        (file,) = app.viewer.layers.save(str(tmp_path / "ours.geojson"), selected=True)
        found = read_annotations(Path(file))
        assert found.ids.tolist() == [5, 12, 70_000]
        names = [found.scheme.name_of(int(c)) for c in found.class_ids]
        assert names == ["neoplastic", "dead", "unclassified"]
        assert found.provenance["program"].startswith("napari-nucleus")
    (file,) = app.viewer.layers.save(str(tmp_path / "ours.tif"), selected=True, plugin=PLUGIN)
    np.testing.assert_array_equal(read_annotations(Path(file)).to_result().labels, labels)


def test_a_layer_from_a_file_keeps_its_classes_when_saved_and_when_adopted(app, label_tiff, labels):
    app.open(np.full((*SHAPE, 3), 235, np.uint8))
    (layer,) = app.viewer.open(label_tiff, plugin=PLUGIN)
    app.viewer.layers.selection = {layer}
    again = label_tiff.with_name("again.geojson")
    app.viewer.layers.save(str(again), selected=True)
    found = read_annotations(again)
    assert found.scheme.names == SCHEME.names
    assert found.class_ids.tolist() == [1, 4, 0]
    np.testing.assert_allclose(found.scores, [0.5, 0.25, np.nan])
    assert found.mpp == 0.5
    app.workspace.adopt(layer)
    app.until(lambda: any("adopted" in text for text in app.said))
    rows = app.document.rows()
    assert [row.id for row in rows] == [5, 12, 70_000]
    assert [app.document.scheme.name_of(row.class_id) for row in rows] == [
        "unclassified",
        "dead",
        "unclassified",
    ]
    assert [row.score for row in rows] == [0.5, 0.25, 1.0]
    np.testing.assert_array_equal(app.document.labels(), labels)


def test_any_other_label_layer_is_saved_without_classes(viewer, labels, tmp_path):
    viewer.add_labels(labels, features={"index": [5, 12], "class": ["a", "b"]})
    (file,) = viewer.layers.save(str(tmp_path / "plain.geojson"))
    found = read_annotations(Path(file))
    assert found.ids.tolist() == [5, 12, 70_000]
    assert not found.class_ids.any()
    viewer.layers.clear()
    viewer.add_labels(np.zeros((3, 4, 5), int), name="stack")
    with pytest.raises(Exception, match="stack: has 3 dimensions"):
        viewer.layers.save(str(tmp_path / "stack.geojson"))
    assert not (tmp_path / "stack.geojson").exists()


def test_the_manifest_has_every_format_that_is_written_and_every_ending_that_is_read(manifest):
    commands = {c.id: c.python_name for c in manifest.contributions.commands}
    written = {w.command: w for w in manifest.contributions.writers}
    # Pictures of the image, and cut out of it: there is more to them than a layer.
    names = [name for name in WRITTEN if name not in ("overlay", "pannuke")]
    functions = {name: "write_" + re.sub(r"\W", "_", name) for name in names}
    assert {f"{PLUGIN}.{function}" for function in functions.values()} == set(written)
    for name, function in functions.items():
        command = f"{PLUGIN}.{function}"
        assert commands[command] == f"napari_nucleus.widgets.napari_writers:{function}"
        assert callable(getattr(napari_writers, function))
        assert written[command].layer_types == ["labels"]
        assert FORMATS[name].ending.endswith(written[command].filename_extensions[0])
    (reader,) = manifest.contributions.readers
    assert reader.accepts_directories
    shared = {".png", ".npy"}  # which napari opens; nobody shall be asked for every picture
    for one in FORMATS.values():
        for ending in {one.ending, *one.endings} - shared if one.is_read else ():
            if not one.is_folder:
                assert any(fnmatch(f"x{ending}", p) for p in reader.filename_patterns), ending


# ---- the menu


def test_the_file_menu_opens_the_dialogs_of_the_dock(app, labels):
    app.open(np.full((*SHAPE, 3), 235, np.uint8))
    actions.import_labels(app.document, labels)
    napari_commands.export_nuclei(app.viewer)
    app.export_dialog().reject()
    napari_commands.import_nuclei(app.viewer)
    app.import_dialog().reject()
    QApplication.processEvents()


def test_what_is_saved_says_what_it_needs_without_an_ending(tmp_path, labels):
    attributes = {"name": "a", "metadata": {}}
    (file,) = napari_writers.write_geojson(str(tmp_path / "field"), labels, attributes)
    assert file == str(tmp_path / "field.geojson")
    assert len(json.loads(Path(file).read_text())["features"]) == 3
