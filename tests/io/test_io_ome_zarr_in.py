"""OME-Zarr labels in, as others write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before ngio, for the sake of other tests; see `test_io_ome_zarr`.
import ome_zarr_models  # noqa: F401  # isort: skip
import dask.array
import ngio
import numpy as np
import ome_zarr.format
import ome_zarr.writer
import pytest
import zarr

from napari_nucleus.core.image import ArraySource
from napari_nucleus.errors import AnnotationError, NucleusError
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.ome_zarr import write_ome_zarr
from napari_nucleus.io.formats.ome_zarr_in import read_ome_zarr

pytestmark = pytest.mark.filterwarnings("ignore")
Write = Callable[..., Path]


def axes(names: str = "yx", unit: str | None = "micrometer") -> list[dict[str, str]]:
    kinds = {"t": "time", "c": "channel"}
    stated = {} if unit is None else {"unit": unit}
    return [
        {"name": n, "type": kinds[n]} if n in kinds else {"name": n, "type": "space", **stated}
        for n in names
    ]


@pytest.fixture
def write(tmp_path) -> Write:
    """Write an array as labels of version 0.4 by hand, with what is to be otherwise."""

    def written(
        array: np.ndarray,
        said: dict[str, Any] | None = None,
        scale: list[float] | None = None,
        **layout: Any,
    ) -> Path:
        path = tmp_path / "their.zarr"
        group = zarr.create_group(path, zarr_format=2, overwrite=True)
        layout = {"chunks": array.shape, "dtype": array.dtype, **layout}
        made = group.create_array("full", shape=array.shape, fill_value=0, **layout)
        made[...] = array
        dataset: dict[str, Any] = {"path": "full"}
        if scale is not None:
            dataset["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
        group.attrs["multiscales"] = [{"axes": axes(), "datasets": [dataset], **(said or {})}]
        group.attrs["image-label"] = {}
        return path

    return written


def labels_of(found: AnnotationFile) -> np.ndarray:
    return found.to_result().labels


@pytest.mark.parametrize("version", [ome_zarr.format.FormatV04(), ome_zarr.format.FormatV05()])
def test_labels_that_ome_zarr_py_wrote_are_read(tmp_path, labels, version):
    path = tmp_path / "their.zarr"
    group = zarr.create_group(path, zarr_format=version.zarr_format)
    image = np.zeros((3, *labels.shape), np.uint8)
    ome_zarr.writer.write_image(image, group, fmt=version, axes="cyx")
    ome_zarr.writer.write_labels(
        dask.array.from_array(labels), group, "cells", fmt=version, axes=axes()
    )
    found = read_ome_zarr(path)
    np.testing.assert_array_equal(labels_of(found), labels)
    assert found.ids_stated
    assert found.shape == labels.shape
    # Labels themselves, and the group of all labels.
    for inner in ("labels", "labels/cells"):
        np.testing.assert_array_equal(labels_of(read_ome_zarr(path / inner)), labels)
    # What ngio makes of the list of labels of 0.5 that has no version.
    ngio.open_ome_zarr_container(path)
    np.testing.assert_array_equal(labels_of(read_ome_zarr(path)), labels)


def test_our_own_labels_are_read_with_their_classes_from_inside_the_folder_too(tmp_path, result):
    source = ArraySource(np.zeros((*result.shape, 3), np.uint8))
    write_ome_zarr(tmp_path / "a.zarr", result, Export(source=source))
    for inner in (".", "labels", "labels/nuclei"):
        found = read_ome_zarr(tmp_path / "a.zarr" / inner)
        np.testing.assert_array_equal(labels_of(found), result.labels)
        if inner != "labels":
            assert [found.scheme.name_of(int(c)) for c in found.class_ids] == result.class_names
            assert found.provenance == result.provenance


@pytest.mark.parametrize(
    "dtype", ["bool", "i1", "u1", "<i2", ">u2", "<i4", ">i4", "u4", "i8", ">u8", "f4", "f8"]
)
def test_ids_of_every_type_are_read(write, dtype):
    labels = np.zeros((9, 8), dtype)
    labels[2:4, 3:5] = labels[6, 6] = 1
    labels[0, 1] = 1 if dtype == "bool" else 100
    found = read_ome_zarr(write(labels))
    got = labels_of(found)
    if dtype == "bool":
        assert len(found) == 3, "each connected part is one nucleus"
        np.testing.assert_array_equal(got > 0, labels)
    else:
        np.testing.assert_array_equal(got, labels)


@pytest.mark.parametrize(
    ("unit", "scale", "mpp", "note"),
    [
        ("micrometer", 0.25, 0.25, None),
        ("nanometer", 250.0, 0.25, None),
        ("millimeter", 0.00025, 0.25, None),
        (None, 0.25, 0.25, "has no unit; taken for micrometres"),
        (None, 1.0, None, None),
        ("parsec", 0.25, None, "'parsec'"),
        ("micrometer", 250.0, None, "250"),
        ("micrometer", -1.0, None, "-1"),
    ],
)
def test_scale_and_unit_give_the_pixel_size(write, labels, unit, scale, mpp, note):
    path = write(labels, {"axes": axes(unit=unit)}, [scale, scale])
    found = read_ome_zarr(path)
    assert found.mpp == (None if mpp is None else pytest.approx(mpp))
    assert len(found.notes) == (note is not None)
    if note is not None:
        assert note in found.notes[0]


def test_scales_of_the_level_and_of_all_levels_count_both(write, labels):
    all_levels = {"coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}
    assert read_ome_zarr(write(labels, all_levels, [0.5, 0.5])).mpp == 0.25


def test_axes_of_length_one_are_no_matter(write, labels):
    said = {"axes": axes("tczyx")}
    found = read_ome_zarr(write(labels[None, None, None], said, [1, 1, 1, 0.25, 0.25]))
    np.testing.assert_array_equal(labels_of(found), labels)
    assert found.mpp == 0.25


@pytest.mark.parametrize("version", ["0.1", "0.3"])
def test_old_versions_are_read(write, labels, version):
    array = labels[None, None, None] if version == "0.1" else labels
    said = {"version": version, "axes": None if version == "0.1" else ["y", "x"]}
    np.testing.assert_array_equal(labels_of(read_ome_zarr(write(array, said))), labels)


def test_rows_and_columns_may_come_the_other_way_round(write, labels):
    found = read_ome_zarr(write(labels.T, {"axes": axes("xy")}))
    np.testing.assert_array_equal(labels_of(found), labels)


@pytest.mark.parametrize("names", ["zyx", "tyx", "cyx"])
def test_several_planes_are_refused_by_name(write, labels, names):
    path = write(np.stack([labels] * 5), {"axes": axes(names)})
    with pytest.raises(NucleusError, match=rf"their.zarr: .*axis '{names[0]}' holds 5 planes"):
        read_ome_zarr(path)


def test_of_several_labels_nuclei_are_read_and_the_others_named(tmp_path, result):
    source = ArraySource(np.zeros((*result.shape, 3), np.uint8))
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, result, Export(source=source))
    opened = ngio.open_ome_zarr_container(path)
    opened.derive_label("cells")
    found = read_ome_zarr(path)
    assert len(found) == len(result)
    assert found.notes == ("a.zarr: read the labels 'nuclei', not 'cells'.",)


def test_shards_are_read(tmp_path, labels):
    group = zarr.create_group(tmp_path / "a.zarr")
    array = group.create_array(
        "0", shape=labels.shape, dtype="u4", chunks=(8, 8), shards=(32, 32), fill_value=0
    )
    array[...] = labels
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes(), "datasets": [{"path": "0"}]}],
        "image-label": {},
    }
    np.testing.assert_array_equal(labels_of(read_ome_zarr(tmp_path / "a.zarr")), labels)


def changed(path: Path, file: str, **members: Any) -> Path:
    value = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(value | members))
    return path


LABELS = np.array([[0, 1], [2, 3]], np.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: changed(p, ".zattrs", plate={}), "plate of many images"),
        (lambda p: changed(p, ".zattrs", multiscales=[]), "nothing of their sizes"),
        (lambda p: changed(p, ".zattrs", multiscales=[{"datasets": 3}]), "no levels"),
        (
            lambda p: changed(p, ".zattrs", multiscales=[{"datasets": [{"path": "gone"}]}]),
            "'gone' are not there",
        ),
        (lambda p: changed(p, "full/.zarray", shape=[2**30, 2**30]), "cannot be true"),
        (lambda p: changed(p, "full/.zarray", chunks=[2**20, 2**20]), "cannot be true"),
        (lambda p: changed(p, "full/.zarray", dtype="<U4", fill_value=""), "cannot hold label ids"),
    ],
)
def test_what_cannot_be_is_refused_by_name(write, change, message):
    with pytest.raises(NucleusError, match=f"^their.zarr: .*{message}"):
        read_ome_zarr(change(write(LABELS)))


@pytest.mark.parametrize("where", ["compressor", "filters"])
@pytest.mark.parametrize("codec", ["pickle", "msgpack2", "fixedscaleoffset", "n5_wrapper"])
def test_codecs_that_do_more_than_decompress_are_not_run(write, where, codec, monkeypatch):
    def run(*_):
        raise AssertionError("it was run")

    monkeypatch.setattr("pickle.loads", run)
    path = write(LABELS)
    stated = {"id": codec, "offset": 0, "scale": 1, "dtype": "<i8"}
    changed(path, "full/.zarray", **{where: stated if where == "compressor" else [stated]})
    with pytest.raises(
        AnnotationError, match=r"^their\.zarr: .*(pickle|msgpack2|scale|n5|damaged)"
    ):
        read_annotations(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, 2**31]]), "id 2147483648 is above 2147483647"),
        (np.array([[0, 2**63]], np.uint64), "id 9223372036854775808 is above"),
        (np.array([[0, -4]]), "negative id -4"),
        (np.array([[0.0, 0.5]]), "0.5 is not a whole number"),
        (np.array([[0.0, 1e30]]), r"id 1e\+30 is above"),
    ],
)
def test_what_are_no_ids_is_refused_by_name(write, array, message):
    with pytest.raises(NucleusError, match=f"^their.zarr: .*{message}"):
        read_ome_zarr(write(array))


def test_images_without_labels_and_other_folders_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"a\.zarr: is no folder of OME-Zarr"):
        read_ome_zarr(tmp_path / "a.zarr")
    group = zarr.create_group(tmp_path / "a.zarr")
    with pytest.raises(AnnotationError, match=r"a\.zarr: holds no OME-Zarr labels"):
        read_ome_zarr(tmp_path / "a.zarr")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{}]}
    with pytest.raises(AnnotationError, match=r"a\.zarr: is an image without labels"):
        read_ome_zarr(tmp_path / "a.zarr")


def test_a_damaged_table_costs_the_classes_but_not_the_nuclei(tmp_path, result):
    path = tmp_path / "a.zarr"
    write_ome_zarr(path, result)
    (path / "tables" / "nuclei" / "table.parquet").write_bytes(b"PAR1 no PAR1")
    found = read_ome_zarr(path)
    np.testing.assert_array_equal(labels_of(found), result.labels)
    assert not found.class_ids.any()
    assert len(found.notes) == 1
    assert "its table cannot be read" in found.notes[0]
