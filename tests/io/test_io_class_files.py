"""Classes of nuclei from files: every format, every scheme, and each mistake named once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.core.schemes import CONSEP, MONUSAC, PANNUKE
from napari_nucleus.errors import LabelsError
from napari_nucleus.io.class_files import count_strangers, read_classes
from napari_nucleus.io.formats.table import write_table

LABELS = np.zeros((20, 30), np.int32)
LABELS[2:6, 2:6], LABELS[2:6, 10:14], LABELS[10:16, 3:9] = 3, 7, 70_000


def written(folder, name: str, text: str):
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def found(file, scheme=None) -> dict[int, int]:
    return dict(read_classes(file, LABELS, scheme).class_of_id)


@pytest.mark.parametrize(
    "text",
    [
        "id,class\n3,neoplastic\n7,Connective\n70000,unclassified\n",
        "id;class\n3;1\n7;3\n70000;0\n",
        "class\tlabel\tscore\nNEOPLASTIC\t3\t0.5\nconnec\t7.0\t1\n\t70000\t1\n",
        "\ufeffid,class_id\r\n3,1\r\n7,3\r\n70000,0\r\n",
    ],
)
def test_tables(tmp_path, text):
    assert found(written(tmp_path, "c.csv", text)) == {3: 1, 7: 3, 70_000: 0}


@pytest.mark.parametrize(
    "value",
    [
        {"3": "neoplastic", "7": 3},
        {"mag": 40, "nuc": {"3": {"type": 1, "contour": []}, "7": {"type": 3}}},
        [{"id": 3, "class": "tumour"}, {"id": 7, "class": "stroma"}],
    ],
)
def test_json(tmp_path, value):
    assert found(written(tmp_path, "c.json", json.dumps(value))) == {3: 1, 7: 3}


def test_a_class_map_gives_a_nucleus_what_most_of_its_pixels_are(tmp_path):
    classes = np.zeros(LABELS.shape, np.uint8)
    classes[2:6, 2:6], classes[2, 2:6] = 2, 5
    classes[2:6, 10:11] = 4  # the rest of this nucleus is background
    Image.fromarray(classes).save(tmp_path / "c.png")
    np.save(tmp_path / "c.npy", classes.astype(np.int64))
    for name in ("c.png", "c.npy"):
        assert found(tmp_path / name) == {3: 2, 7: 4}


def test_pairs_of_id_and_class(tmp_path):
    np.save(tmp_path / "c.npy", np.array([(3, 1), (70_000, 255)]))
    assert found(tmp_path / "c.npy") == {3: 1, 70_000: 255}


def test_the_table_that_segment_writes(tmp_path, result):
    from dataclasses import replace

    write_table(tmp_path / "a.csv", replace(result, scheme=PANNUKE, class_ids=result.class_ids % 6))
    stated = read_classes(tmp_path / "a.csv", result.labels)
    assert list(stated.class_of_id) == result.ids.tolist()
    assert list(stated.class_of_id.values()) == (result.class_ids % 6).tolist()


@pytest.mark.parametrize(
    ("names", "scheme", "classes", "together"),
    [
        (("epithelial", "inflammatory"), PANNUKE, [5, 2], ()),
        (("epithelial", "spindle-shaped"), CONSEP, [5, 3], (1, 5)),
        (("other", "epithelial"), CONSEP, [0, 5], (1, 5)),
        (("lymphocyte", "epithelial"), MONUSAC, [2, 5], (1, 5)),
        (("malignant", "immune"), PANNUKE, [1, 2], ()),
        (("neoplastic", "other"), PANNUKE, [1, 0], ()),
        (("neutrophil", "spindle-shaped"), PANNUKE, [2, 3], ()),
    ],
)
def test_names_tell_their_scheme(tmp_path, names, scheme, classes, together):
    text = "id,class\n" + "".join(f"{i},{name}\n" for i, name in zip((3, 7), names, strict=True))
    stated = read_classes(written(tmp_path, "c.csv", text), LABELS)
    assert stated.scheme == scheme
    assert list(stated.class_of_id.values()) == classes
    assert stated.not_told_apart == together


def test_numbers_are_of_the_scheme_that_is_stated(tmp_path):
    file = written(tmp_path, "c.csv", "id,class\n3,3\n7,4\n")
    assert found(file) == {3: 3, 7: 4}
    assert found(file, CONSEP) == {3: 5, 7: 3}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.csv", "id,class\n3,plasma ball\n", ["plasma ball", "PanNuke", "MoNuSAC"]),
        ("c.csv", "id,class\n3,9\n", ["9", "is no class of PanNuke", "5 epithelial"]),
        ("c.csv", "number,kind\n3,1\n", ["column 'id'", "'number'"]),
        ("c.csv", "", ["column 'id'", "none"]),
        ("c.csv", "id,class\nthree,1\n", ["line 2", "'three'"]),
        ("c.csv", "id,class\n3.5,1\n", ["'3.5'"]),
        ("c.csv", "id,class\n3,1\n3,2\n", ["line 3", "nucleus 3"]),
        ("c.json", "{", ["no JSON"]),
        ("c.json", "3", ["no object of classes"]),
        ("c.json", '{"3": [1]}', ["nucleus 3", "[1]"]),
        ("c.json", '{"nuc": {"3": {}}}', ["'type'"]),
        ("c.xml", "<a/>", ["'.xml'", "CSV"]),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path, name, text, said):
    with pytest.raises(LabelsError) as refused:
        read_classes(written(tmp_path, name, text), LABELS)
    assert str(refused.value).startswith(name)
    for word in said:
        assert word in str(refused.value)


def test_a_class_map_of_another_size_and_a_missing_file_are_refused(tmp_path):
    np.save(tmp_path / "c.npy", np.zeros((20, 31), np.uint8))
    with pytest.raises(LabelsError, match=r"\(20, 31\), the label map \(20, 30\)"):
        read_classes(tmp_path / "c.npy", LABELS)
    np.save(tmp_path / "c.npy", np.zeros((20, 30), np.float32))
    with pytest.raises(LabelsError, match="float32"):
        read_classes(tmp_path / "c.npy", LABELS)
    for name in ("none.csv", "none.json", "none.png"):
        with pytest.raises(LabelsError, match="no such file"):
            read_classes(tmp_path / name, LABELS)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelsError, match="not text"):
        read_classes(tmp_path / "b.csv", LABELS)


def test_nuclei_of_another_image_are_noticed(tmp_path):
    stated = read_classes(written(tmp_path, "c.csv", "id,class\n3,1\n4,1\n5,2\n"), LABELS)
    assert count_strangers(stated, np.array([3, 7]), "c.csv") == 2
    assert count_strangers(stated, np.zeros(0, int), "c.csv") == 3
    with pytest.raises(LabelsError, match=r"c\.csv: none of its 3 nuclei \(such as 3\)"):
        count_strangers(stated, np.array([70, 80]), "c.csv")
