"""Answers on small tables of nuclei whose truth is plain to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.label_runs import label_table
from napari_nucleus.core.query import NucleiTable, Query, answer, check, parse, prepare
from napari_nucleus.core.query.conditions import ids_of_class
from napari_nucleus.core.query.table import SHAPE
from napari_nucleus.core.schemes import CONSEP, MONUSAC
from napari_nucleus.errors import QueryError

MPP = 0.5
SHAPE_YX = (400, 600)


def ellipse(labels, number, yx, axes):
    rows, columns = np.indices(labels.shape)
    y, x = (rows + 0.5 - yx[0]) / axes[0], (columns + 0.5 - yx[1]) / axes[1]
    labels[(y**2 + x**2 <= 1) & (labels == 0)] = number


def table_of(labels, classes, **fields):
    """A table of a label map; classes by id, all else as an automatic run leaves it."""
    found = label_table(labels)
    n = len(found)
    class_ids = np.array([classes[int(i)] for i in found.ids], np.int32)
    values = {
        "ids": found.ids,
        "class_ids": class_ids,
        "class_prob": np.zeros((n, len(PANNUKE))),
        "scores": np.full(n, 0.9),
        "areas": found.areas,
        "centroids_yx": found.centroids_yx,
        "boxes": found.boxes,
        "states": np.full(n, "automatic", "U9"),
        "doubts": np.zeros(n),
        "shape": labels.shape,
        "scheme": PANNUKE,
        "mpp": MPP,
        "read": lambda box: labels[box[0] : box[2], box[1] : box[3]],
    }
    return NucleiTable(**{**values, **fields})


@pytest.fixture
def labels():
    """Seven nuclei; 1 and 2 touch, 3 is long, 4 is jagged, 5 meets the edge, 6 and 7 lie apart."""
    found = np.zeros(SHAPE_YX, np.int32)
    ellipse(found, 1, (100, 100), (12, 12))
    ellipse(found, 2, (100, 121), (10, 10))
    ellipse(found, 3, (100, 170), (6, 24))
    ellipse(found, 4, (160, 100), (14, 14))
    found[150:158, 98:102] = 0
    found[164:175, 98:102] = 0
    ellipse(found, 5, (200, 4), (10, 10))
    ellipse(found, 6, (330, 300), (16, 16))
    ellipse(found, 7, (60, 500), (8, 8))
    return found


CLASSES = {1: 1, 2: 2, 3: 3, 4: 1, 5: 5, 6: 1, 7: 2}


@pytest.fixture
def table(labels):
    return table_of(labels, CLASSES)


def found(text, table):
    query = parse(text, table.scheme, table.mpp)
    assert isinstance(query, Query), str(query)
    return answer(query, table).ids.tolist()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("nuclei", [1, 2, 3, 4, 5, 6, 7]),
        ("tumour", [1, 4, 6]),
        ("tumour or lymphocytes", [1, 2, 4, 6, 7]),
        ("not neoplastic", [2, 3, 5, 7]),
        ("dead", []),
        ("unclassified", []),
        ("larger than 150 µm²", [6]),
        ("tumour nuclei of at most 150 µm²", [1, 4]),
        ("smaller than 9 µm", [5, 7]),
        ("between 50 and 100 µm²", [2, 5, 7]),
        ("large", [1, 3, 4, 6]),
        ("elongated", [3]),
        ("round", [1, 2, 4, 6, 7]),
        ("irregular", [4]),
        ("not irregular tumour nuclei", [1, 6]),
        ("eccentricity above 0.9", [3]),
        ("touching tumour", [2]),
        ("touching each other", [1, 2]),
        ("touching dead nuclei", []),
        ("tumour not touching lymphocytes", [4, 6]),
        ("within 11 µm of tumour", [2]),
        ("lymphocytes near tumour", [2]),
        ("far from tumour", [5, 6, 7]),
        ("more than 30 µm from tumour", [3, 5, 6, 7]),
        ("isolated", [3, 4, 5, 6, 7]),
        ("crowded", []),
        ("near dead nuclei", []),
        ("far from dead nuclei", [1, 2, 3, 4, 5, 6, 7]),
        ("at the image edge", [5]),
        ("not at the edge", [1, 2, 3, 4, 6, 7]),
        ("within 20 µm of the image edge", [5]),
        ("elongated or irregular", [3, 4]),
        ("score below 0.5", []),
        ("score of at least 0.9", [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_the_nuclei_that_are_meant_are_found(table, text, ids):
    assert found(text, table) == ids


def test_places_follow_the_drawn_border(labels):
    square = shapely.box(50, 50, 250, 250)
    table = table_of(labels, CLASSES, border=square)
    assert found("inside the border", table) == [1, 2, 3, 4]
    assert found("outside the tumour", table) == [5, 6, 7]
    assert found("within 26 µm of the border", table) == [1, 2, 3, 4, 5]
    assert found("near the border", table) == [1, 2, 3, 4, 5, 6]
    assert found("more than 100 µm from the border", table) == [7]
    assert found("tumour nuclei inside the border but not near the image edge", table) == [1, 4]


def test_dark_and_pale_are_relative_to_the_nuclei_asked_for():
    rng = np.random.default_rng(0)
    labels = np.zeros((100, 600), np.int32)
    picture = np.full((100, 600, 3), 230, np.uint8)
    for i in range(30):
        labels[40:50, 5 + 19 * i : 15 + 19 * i] = i + 1
        shade = 60 if i == 7 else 200 if i == 9 else 120 + rng.integers(-4, 5)
        picture[40:50, 5 + 19 * i : 15 + 19 * i] = shade
    table = table_of(labels, dict.fromkeys(range(1, 31), 1), source=ArraySource(picture))
    assert 8 in found("dark", table)
    assert 10 not in found("dark", table)
    assert 10 in found("pale", table)
    assert found("dark tumour nuclei", table) == found("dark", table)


def test_states_and_doubt_are_seen(labels):
    states = np.array(["automatic", "imported", "accepted", "user", "user", "automatic", "user"])
    table = table_of(labels, CLASSES, states=states, doubts=np.linspace(0, 0.9, 7))
    assert found("imported", table) == [2]
    assert found("accepted", table) == [3]
    assert found("corrected tumour nuclei", table) == [4]
    assert found("automatic", table) == [1, 6]
    assert found("not automatic", table) == [2, 3, 4, 5, 7]
    assert found("doubtful", table) == [5, 6, 7]


def test_scores_are_class_probability_times_clarity(labels):
    prob = np.zeros((7, 5))
    prob[0] = 0.6, 0.2, 0.1, 0.05, 0.05
    table = table_of(labels, CLASSES, class_prob=prob)
    tumour = answer(parse("tumour"), table)
    assert tumour.scores.tolist() == pytest.approx([0.6, 1.0, 1.0])
    either = answer(parse("tumour or inflammatory"), table)
    assert either.scores[0] == pytest.approx(0.8)
    everything = answer(parse("nuclei"), table)
    assert everything.scores.tolist() == pytest.approx([0.9] * 7)
    larger = answer(parse("larger than 50 µm²"), table)
    areas = table.areas[np.searchsorted(table.ids, larger.ids)]
    assert (np.diff(larger.scores[np.argsort(areas)]) >= 0).all()
    assert larger.scores.min() >= 0.45


def test_scores_of_a_condition_and_its_opposite_share_all_nuclei_out(table):
    for text in ("elongated", "near tumour", "touching tumour", "irregular", "large", "isolated"):
        one, other = found(text, table), found(f"not {text}", table)
        assert sorted(one + other) == table.ids.tolist(), text


def test_small_medium_and_large_share_all_nuclei_out():
    rng = np.random.default_rng(1)
    labels = np.zeros((40, 3000), np.int32)
    for i in range(100):
        side = int(rng.integers(3, 25))
        labels[5 : 5 + side, 30 * i : 30 * i + side] = i + 1
    for n in (100, 10):
        some = np.where(labels <= n, labels, 0)
        table = table_of(some, dict.fromkeys(range(1, 101), 1))
        parts = [found(name, table) for name in ("small", "medium", "large")]
        assert sorted(i for part in parts for i in part) == table.ids.tolist()
        assert all(parts)


def test_large_is_relative_to_the_classes_asked_for():
    labels = np.zeros((40, 60 * 40), np.int32)
    for i in range(60):
        side = (6 if i % 30 else 12) if i < 30 else (20 if i % 30 else 34)
        labels[2 : 2 + side, 40 * i : 40 * i + side] = i + 1
    table = table_of(labels, {i + 1: 2 if i < 30 else 1 for i in range(60)})
    assert found("large lymphocytes", table) == [1]
    assert found("large tumour nuclei", table) == [31]


def test_crowded_nuclei_have_many_neighbours():
    labels = np.zeros((300, 300), np.int32)
    for i in range(9):
        y, x = 20 + 14 * (i // 3), 20 + 14 * (i % 3)
        labels[y : y + 10, x : x + 10] = i + 1
    labels[250:260, 250:260] = 10
    table = table_of(labels, dict.fromkeys(range(1, 11), 1))
    assert 5 in found("crowded", table)
    assert 10 not in found("crowded", table)
    assert found("isolated", table) == [10]


def test_nuclei_a_narrow_gap_apart_touch():
    labels = np.zeros((40, 80), np.int32)
    labels[10:20, 10:20] = 1
    labels[10:20, 21:30] = 2  # 1 px: 0.5 µm
    labels[10:20, 33:40] = 3  # 3 px: 1.5 µm
    labels[20:30, 40:50] = 4  # at a corner
    table = table_of(labels, dict.fromkeys(range(1, 5), 1))
    assert found("touching other nuclei", table) == [1, 2, 3, 4]
    fine = table_of(labels, dict.fromkeys(range(1, 5), 1), mpp=0.6)
    assert found("touching other nuclei", fine) == [3, 4]
    assert found("touching other nuclei", replace(fine, mpp=None, _values={}, _pairs=[])) == [3, 4]


def test_touching_is_the_same_whichever_block_a_nucleus_is_in(monkeypatch):
    from napari_nucleus.core.query import table as module

    rng = np.random.default_rng(3)
    labels = np.zeros((200, 200), np.int32)
    for i in range(120):
        y, x = rng.integers(0, 190, 2)
        ellipse(labels, i + 1, (y, x), (5, 7))
    ids = np.unique(labels)[1:]
    classes = {int(i): int(rng.integers(1, 6)) for i in ids}
    texts = ("touching tumour", "touching other nuclei", "round", "irregular lymphocytes")
    whole = [found(t, table_of(labels, classes)) for t in texts]
    monkeypatch.setattr(module, "BLOCK", 32)
    assert [found(t, table_of(labels, classes)) for t in texts] == whole


class TestWhatIsMissing:
    """What a table cannot answer is refused in a sentence, and nothing is computed."""

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("dark nuclei", "image"),
            ("near the border", "border"),
            ("inside the tumour", "border"),
        ],
    )
    def test_an_image_and_a_border(self, table, text, word):
        with pytest.raises(QueryError, match=word):
            answer(parse(text), table)

    @pytest.mark.parametrize(
        "text", ["larger than 50 µm²", "near tumour", "isolated", "within 5 µm of tumour", "large"]
    )
    def test_the_size_of_a_pixel(self, labels, text):
        with pytest.raises(QueryError, match="pixel"):
            answer(parse(text), table_of(labels, CLASSES, mpp=None))

    @pytest.mark.parametrize("text", ["tumour", "round", "touching tumour", "at the image edge"])
    def test_what_needs_no_size_of_a_pixel_is_answered_without(self, labels, text):
        assert found(text, table_of(labels, CLASSES, mpp=None))

    def test_outlines(self, labels):
        with pytest.raises(QueryError, match="outlines"):
            check(parse("round nuclei"), table_of(labels, CLASSES, read=None))

    def test_a_class_that_the_scheme_has_not(self, labels):
        table = table_of(labels, CLASSES, scheme=MONUSAC, class_prob=np.zeros((7, 4)))
        with pytest.raises(QueryError, match="connective"):
            answer(parse("stromal nuclei"), table)
        with pytest.raises(QueryError, match="connective"):
            answer(parse("lymphocytes near stromal nuclei"), table)


def test_classes_of_other_schemes_are_mapped(labels):
    consep = table_of(labels, CLASSES, scheme=CONSEP, class_prob=np.zeros((7, 4)))
    assert ids_of_class("epithelial", consep) == ids_of_class("neoplastic", consep) == (3,)
    assert found("fibroblasts", consep) == []
    assert found("inflammatory", consep) == [2, 7]
    merged = answer(parse("tumour"), consep)
    assert merged.ids.tolist() == [3]
    assert "epithelial for neoplastic" in merged.note
    assert not answer(parse("epithelial"), consep).note
    monusac = table_of(labels, CLASSES, scheme=MONUSAC, class_prob=np.zeros((7, 4)))
    assert ids_of_class("inflammatory", monusac) == (2, 3, 4)
    macrophages = parse("macrophage", MONUSAC)
    assert macrophages.notation() == "macrophage"
    assert answer(macrophages, monusac).ids.tolist() == [3]


def test_what_is_computed_is_kept_and_taken_over(labels):
    reads = []

    def read(box):
        reads.append(box)
        return labels[box[0] : box[2], box[1] : box[3]]

    table = table_of(labels, CLASSES, read=read)
    assert list(prepare(parse("round tumour nuclei"), table))
    assert table.missing(SHAPE, np.arange(7)).tolist() == [1, 2, 4, 6]
    reads.clear()
    assert list(prepare(parse("irregular tumour nuclei"), table)) == []
    assert not reads
    changed = labels.copy()
    changed[changed == 6] = 0
    ellipse(changed, 6, (330, 300), (10, 16))
    later = table_of(changed, CLASSES)
    later.take_over(table)
    assert later.missing(SHAPE, np.arange(7)).tolist() == [1, 2, 4, 5, 6]


def test_an_empty_table_has_no_answer_but_no_fault_either():
    table = table_of(
        np.zeros((10, 10), np.int32), {}, source=ArraySource(np.zeros((10, 10, 3), "u1"))
    )
    for text in ("nuclei", "round", "dark", "touching tumour", "near tumour", "crowded", "large"):
        assert found(text, table) == []


def test_tables_that_do_not_fit_together_are_refused(table):
    with pytest.raises(ValueError, match="scores"):
        replace(table, scores=np.zeros(3))
    with pytest.raises(ValueError, match="ascending"):
        replace(table, ids=table.ids[::-1])
