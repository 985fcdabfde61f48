"""Wordings of a question: all of them mean the same, to the grammar and to the bundled model."""

import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.query import Query, parse
from napari_nucleus.models.promptgroup.vocabulary import CLASS_WORDS
from napari_nucleus.models.promptgroup.words import plain_text, read_text
from napari_nucleus.training.wordings import texts_for, wordings

PHRASINGS = (
    "{} nuclei",
    "{} cells",
    "all {} nuclei",
    "show all {} nuclei",
    "show me all {} nuclei",
    "can you outline all {} cells",
    "please segment every {} nucleus",
    "find the nuclei of {} cells",
)


@pytest.mark.parametrize("classes", [(), (1,), (2,), (3,), (4,), (5,), (1, 3), (1, 5), (2, 3, 4)])
def test_wordings_are_three_different_texts_of_known_words(classes):
    texts = wordings(classes)
    assert len(set(texts)) == 3
    assert texts[0] == plain_text(classes)
    for text in texts:
        assert not read_text(text).unknown, text


@pytest.mark.parametrize("classes", [(), (1,), (2,), (3,), (4,), (5,), (1, 3)])
def test_the_plainest_is_understood_as_what_it_was_made_for(classes):
    query = parse(plain_text(classes))
    assert isinstance(query, Query)
    assert set(query.classes) == {PANNUKE.name_of(i) for i in classes}
    assert not query.conditions


@pytest.mark.parametrize(
    ("text", "plain", "typed"),
    [
        ("lymphocytes", "inflammatory nuclei", True),
        ("show me all lymphocytes", "inflammatory nuclei", True),
        ("inflammatory nuclei", "inflammatory nuclei", False),
        ("lymphocytes touching tumour nuclei", "inflammatory nuclei", False),
        ("all nuclei but not the tumour ones", "all nuclei", False),
        ("large nuclei", "all nuclei", False),
    ],
)
def test_a_model_is_asked_plainly_and_what_was_typed_is_another_wording(text, plain, typed):
    query = parse(text)
    assert isinstance(query, Query)
    texts = texts_for(query)
    assert texts[0] == plain
    assert (text in texts[1:]) == typed
    assert len(set(texts)) == 3


def test_the_answer_does_not_depend_on_how_classes_are_asked_for():
    """Every word of a class in every phrasing that is understood leads to one plain text."""
    asked = 0
    for class_id, words in CLASS_WORDS.items():
        for word in words:
            for phrasing in PHRASINGS:
                query = parse(phrasing.format(word))
                if isinstance(query, Query) and query.classes:
                    asked += 1
                    assert texts_for(query)[0] == plain_text(
                        [i for i in PANNUKE.ids if PANNUKE.name_of(i) in query.classes]
                    )
                    assert PANNUKE.name_of(class_id) in query.classes, phrasing.format(word)
    assert asked > 400
