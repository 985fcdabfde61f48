"""The two lists that were written before the grammar: what must be understood, what refused."""

from __future__ import annotations

from query_phrases import REFUSED, VALID

from napari_nucleus.core.query import Query, parse

MOST_MISUNDERSTOOD = 0.10
MOST_ACCEPTED = 0.05


def test_nine_of_ten_valid_phrases_are_understood_as_a_person_would():
    wrong = {}  # the order of the parts does not matter
    for text, notation in VALID.items():
        found = parse(text)
        if not isinstance(found, Query) or set(found.notation().split()) != set(notation.split()):
            wrong[text] = found.notation() if isinstance(found, Query) else str(found)
    assert len(wrong) <= MOST_MISUNDERSTOOD * len(VALID), wrong


def test_nineteen_of_twenty_phrases_out_of_scope_are_refused():
    taken = [text for text in REFUSED if isinstance(parse(text), Query)]
    assert len(taken) <= MOST_ACCEPTED * len(REFUSED), taken
