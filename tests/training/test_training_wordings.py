"""Wordings of a question: all of them mean the same, to the grammar and to the bundled model."""

import pytest

from napari_nucleus.core.query import Query, parse
from napari_nucleus.models.promptgroup.words import plain_text, read_text
from napari_nucleus.training.wordings import texts_for, wordings


@pytest.mark.parametrize("classes", [(), (1,), (2,), (3,), (4,), (5,), (1, 3), (1, 5), (2, 3, 4)])
def test_wordings_are_three_different_texts_of_known_words(classes):
    texts = wordings(classes)
    assert len(set(texts)) == 3
    assert texts[0] == plain_text(classes)
    for text in texts:
        assert not read_text(text).unknown, text


@pytest.mark.parametrize("classes", [(), (1,), (2,), (3,), (4,), (5,), (1, 3)])
def test_the_plainest_is_understood_as_what_it_was_made_for(classes):
    from napari_nucleus.core.classes import PANNUKE

    query = parse(plain_text(classes))
    assert isinstance(query, Query)
    assert set(query.classes) == {PANNUKE.name_of(i) for i in classes}
    assert not query.conditions


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("lymphocytes", "lymphocytes"),
        ("lymphocytes touching tumour nuclei", "inflammatory nuclei"),
        ("all nuclei but not the tumour ones", "all nuclei"),
        ("large nuclei", "all nuclei"),
    ],
)
def test_a_model_is_asked_about_classes_alone(text, first):
    query = parse(text)
    assert isinstance(query, Query)
    texts = texts_for(query)
    assert texts[0] == first
    assert len(set(texts)) == 3
