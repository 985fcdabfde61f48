"""Nuclei chosen together by a box."""

from __future__ import annotations

import pytest
from session_helpers import STORES, block, make_document

from napari_nucleus.session import actions
from napari_nucleus.session.group import Group


@pytest.fixture
def document():
    document = make_document((64, 64))
    for y, x in ((0, 0), (0, 20), (20, 0), (40, 40)):
        actions.add(document, block(y, x, y + 10, x + 10))
    return document


def test_a_box_chooses_nuclei_by_their_middle_whichever_way_it_is_drawn(document):
    group = Group(document)
    assert not group
    outcome = group.choose_box((26.0, 26.0, -3.0, -3.0))
    assert group.ids == [1, 2, 3]
    assert "3 nuclei chosen" in outcome.reason
    group.choose_box((0, 0, 4, 4))
    assert group.ids == [], "the middle lies outside"
    assert not group


def test_what_is_removed_is_not_chosen_any_more_and_comes_back_with_undo(document):
    group = Group(document)
    group.choose([4, 2])
    actions.remove(document, [2])
    assert group.ids == [4]
    document.undo()
    assert group.ids == [2, 4]
    group.clear()
    assert group.ids == []


@STORES
def test_all_chosen_change_in_one_step(make):
    document = make_document((64, 64), store=make((64, 64), 16))
    for y in (0, 20, 40):
        actions.add(document, block(y, 0, y + 10, 10))
    group = Group(document)
    group.choose_box((0, 0, 64, 64))
    actions.classify(document, group.ids, 2)
    assert document.counts_by_class() == {2: 3}
    assert document.undo() == "Classify 3 nuclei as inflammatory"
    actions.remove(document, group.ids)
    assert document.count == 0
    assert not group
