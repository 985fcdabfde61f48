"""A class scheme as a dialog writes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_nucleus.core.classes import LARGEST_ID, PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.core.schemes import CONSEP, MONUSAC, class_mapping
from napari_nucleus.session.scheme_draft import SchemeDraft


def goes(draft):
    """Where each class goes, by name."""
    names = [None if t is None else draft.classes[t].name for t in draft.targets()]
    return dict(zip([c.name for c in draft.sources], names, strict=True))


def test_a_draft_that_is_not_changed_is_the_scheme():
    draft = SchemeDraft(PANNUKE, PANNUKE)
    assert draft.scheme() == PANNUKE
    assert goes(draft) == {name: name for name in PANNUKE.names}


def test_another_scheme_takes_in_what_the_rule_says():
    draft = SchemeDraft(PANNUKE, PANNUKE)
    draft.begin(CONSEP)
    assert draft.scheme() == CONSEP
    assert goes(draft)["neoplastic"] == "epithelial"
    draft.begin(MONUSAC)
    assert goes(draft)["inflammatory"] is None
    assert draft.unclassified({0: 5, 1: 10, 2: 20, 4: 1}) == 21


def test_a_decision_is_part_of_the_scheme_only_where_it_differs_from_the_rule():
    draft = SchemeDraft(PANNUKE)
    draft.begin(MONUSAC)
    draft.decide("inflammatory", 1)
    draft.decide("neoplastic", 0)
    draft.decide("epithelial", None)
    scheme = draft.scheme()
    assert scheme.taken_in == (("epithelial", 0), ("inflammatory", 2))
    assert class_mapping(PANNUKE, scheme) == {1: 1, 2: 2, 3: 0, 4: 0, 5: 0}
    assert draft.unclassified({2: 20, 5: 3}) == 3


def test_a_class_that_gets_another_name_keeps_its_nuclei_and_the_models():
    draft = SchemeDraft(PANNUKE, PANNUKE)
    draft.rename(0, "  Tumour   cell ")
    scheme = draft.scheme()
    assert scheme.names[0] == "Tumour cell"
    assert scheme.name == "PanNuke, own"
    assert class_mapping(PANNUKE, scheme)[1] == 1
    again = SchemeDraft(scheme, PANNUKE)
    again.rename(0, "malignant")
    assert goes(again)["Tumour cell"] == "malignant"
    assert goes(again)["neoplastic"] == "malignant", "what the model says goes there still"
    assert class_mapping(PANNUKE, again.scheme())[1] == 1
    assert class_mapping(scheme, again.scheme())[1] == 1


def test_classes_are_added_removed_and_moved():
    draft = SchemeDraft(PANNUKE, PANNUKE)
    new = draft.add()
    assert (new.id, new.name, new.key) == (6, "class 1", "6")
    assert new.color not in {c.color for c in PANNUKE.classes}
    draft.remove(3)
    assert goes(draft)["dead"] is None
    assert draft.add().id == 7, "an id that meant something else is not used again"
    assert draft.move(0, -1) == 0
    assert draft.move(4, 1) == 5
    assert draft.move(0, 1) == 1
    assert [c.name for c in draft.classes][:2] == ["inflammatory", "neoplastic"]
    assert draft.scheme().ids == (2, 1, 3, 5, 7, 6)


def test_a_class_that_is_removed_gives_its_nuclei_to_a_synonym():
    draft = SchemeDraft(PANNUKE)
    draft.remove(0)
    assert goes(draft)["neoplastic"] == "epithelial"


def test_there_is_an_end_to_classes():
    kinds = tuple(NucleusClass(i, f"k{i}", (0, 0, 0)) for i in range(1, LARGEST_ID + 1))
    draft = SchemeDraft(ClassScheme("many", kinds))
    assert draft.add() is None
    assert draft.problem == ""


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: setattr(d, "name", " "), "Give the scheme a name"),
        (lambda d: d.classes.clear(), "Add a class"),
        (lambda d: d.rename(1, " "), "Class 2 has no name"),
        (lambda d: d.rename(1, "DEAD"), "Two classes are called 'dead'"),
        (lambda d: setattr(d.classes[0], "key", "2"), "Two classes have the key 2"),
        (lambda d: d.classes.extend([d.classes[0]] * LARGEST_ID), "at most"),
    ],
)
def test_what_is_no_scheme_is_said_in_one_sentence(spoil, says):
    draft = SchemeDraft(PANNUKE, PANNUKE)
    spoil(draft)
    assert says in draft.problem
    assert draft.problem.count(".") == 1
    draft.targets()
    with pytest.raises(ValueError, match=says):
        draft.scheme()


def test_old_decisions_go_with_their_class():
    own = replace(MONUSAC, name="mine", taken_in=(("dead", 0), ("inflammatory", 2)))
    draft = SchemeDraft(own, PANNUKE)
    assert draft.scheme() == replace(own, taken_in=(("inflammatory", 2),))
    draft.remove(1)
    assert draft.scheme().taken_in == ()
