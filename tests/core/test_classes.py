from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.classes import (
    CONSEP_MERGED_TO_CANONICAL,
    PANNUKE,
    PANNUKE_CHANNELS,
    UNKNOWN_CLASS,
    ClassScheme,
    NucleusClass,
)


def test_pannuke_has_its_five_classes_in_order():
    assert PANNUKE.ids == (1, 2, 3, 4, 5) == PANNUKE_CHANNELS
    assert PANNUKE.names == ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
    assert [c.key for c in PANNUKE.classes] == list("12345")
    assert len({c.color for c in PANNUKE.classes}) == len(PANNUKE)


def test_foreign_classes_map_to_ours_or_to_unknown():
    for targets in CONSEP_MERGED_TO_CANONICAL.values():
        assert all(t == UNKNOWN_CLASS or PANNUKE.by_id(t) for t in targets)


def test_classes_are_found_by_id_and_by_name():
    dead = PANNUKE.by_id(4)
    assert dead is PANNUKE.by_name("DEAD")
    assert PANNUKE.by_id(0) is None
    assert PANNUKE.by_name("tumour") is None


@pytest.mark.parametrize("class_id", [0, 77, UNKNOWN_CLASS])
def test_ids_without_a_class_have_a_name_and_a_colour(class_id):
    assert PANNUKE.name_of(class_id) == "unclassified"
    assert PANNUKE.color_of(class_id) == PANNUKE.unknown_color


def test_probabilities_become_ids_of_the_scheme():
    scheme = ClassScheme("two", (NucleusClass(9, "a", (0, 0, 0)), NucleusClass(3, "b", (1, 1, 1))))
    ids = scheme.ids_of_probabilities(np.array([[0.7, 0.3], [0.1, 0.9], [0.0, 0.0]]))
    assert ids.tolist() == [9, 3, 0]
    assert scheme.ids_of_probabilities(np.zeros((2, 0))).tolist() == [0, 0]
    assert scheme.ids_of_probabilities(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize("class_id", [0, -1, 251, 255, 300])
def test_ids_outside_the_range_are_refused(class_id):
    with pytest.raises(ValueError, match=f"got {class_id}"):
        NucleusClass(class_id, "a", (0, 0, 0))


@pytest.mark.parametrize("color", [(0, 0), (0, 0, 256), (-1, 0, 0)])
def test_colours_outside_the_range_are_refused(color):
    with pytest.raises(ValueError, match="colour"):
        NucleusClass(1, "a", color)


def test_a_class_needs_a_name():
    with pytest.raises(ValueError, match="no name"):
        NucleusClass(1, " ", (0, 0, 0))


@pytest.mark.parametrize(
    "second", [NucleusClass(1, "b", (0, 0, 0)), NucleusClass(2, "a", (0, 0, 0))]
)
def test_a_scheme_repeats_neither_ids_nor_names(second):
    with pytest.raises(ValueError, match="repeats"):
        ClassScheme("bad", (NucleusClass(1, "a", (0, 0, 0)), second))
