"""Texts are read by a closed vocabulary: near misses are mended, other words are told."""

from __future__ import annotations

from zlib import crc32

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.models.promptgroup.config import TextConfig
from napari_nucleus.models.promptgroup.text import TextEncoder, buckets_of
from napari_nucleus.models.promptgroup.words import (
    known_word,
    meaning,
    read_text,
    split_words,
    vocabulary,
)


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("nucleii", "nuclei"),
        ("lymphocites", "lymphocytes"),
        ("epithelal", "epithelial"),
        ("segmnt", "segment"),
        ("Tumours", "tumours"),
    ],
)
def test_mistyped_words_are_read_as_what_they_must_be(typed: str, word: str) -> None:
    assert read_text(typed).words == (word,)
    assert not read_text(typed).unknown


@pytest.mark.parametrize(
    "text",
    ["mitotic nuclei", "giraffes", "ganglion cells", "hepatocytes", "left nuclei", "xylophone"],
)
def test_words_that_were_never_taught_are_named(text: str) -> None:
    assert read_text(text).unknown


def test_what_is_no_nucleus_can_be_left_out_but_not_asked_for() -> None:
    assert read_text("red blood cells").unknown == ("red", "blood")
    assert not read_text("all nuclei, ignore red blood cells").unknown


def test_opposites_are_not_taken_for_typing_errors() -> None:
    assert meaning("nonneoplastic") == (5,)
    assert known_word("nonneoplastic") == "nonneoplastic"
    assert read_text("endothelial").words == ("endothelial",)


def test_words_say_what_they_mean() -> None:
    assert meaning("lymphocytes") == (2,)
    assert meaning("nuclei") == ()
    assert read_text("show me all lymphocyte nuclei").naming == ("lymphocyte", "nuclei")


def test_small_words_alone_name_nothing() -> None:
    assert read_text("show me all of this please").naming == ()


@given(st.text(max_size=60))
def test_any_text_is_split_into_words_that_split_no_further(text: str) -> None:
    words = split_words(text)
    assert split_words(" ".join(words)) == words


def test_every_word_of_the_vocabulary_is_known_as_it_is() -> None:
    for word in vocabulary():
        assert split_words(word) == (word,)
        assert known_word(word) == word


def test_hashing_is_the_same_in_every_process() -> None:
    rows = buckets_of("nuclei", 4096, (3, 5))
    assert rows[0] == 1 + crc32(b"<nuclei>") % 4095
    assert len(rows) == 1 + 6 + 5 + 4
    assert all(0 < row < 4096 for row in rows)


def test_plurals_and_typing_errors_share_most_of_their_rows() -> None:
    def shared(a: str, b: str) -> float:
        x, y = (set(buckets_of(w, 4096, (3, 5))) for w in (a, b))
        return len(x & y) / min(len(x), len(y))

    assert shared("lymphocyte", "lymphocytes") > 0.7
    assert shared("lymphocyte", "lymphocite") > 0.4
    assert shared("lymphocyte", "fibroblast") < 0.1


def test_padding_changes_no_text() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(TextConfig(buckets=64, dim=16, heads=2, ffn_dim=16), 8, 5).eval()
    with torch.inference_mode():
        alone = encoder([["all", "nuclei"]])
        beside = encoder([["all", "nuclei"], ["every", "single", "lymphocyte", "here"]])
    torch.testing.assert_close(beside.pooled[0], alone.pooled[0])
    torch.testing.assert_close(beside.tokens[0, :2], alone.tokens[0])
    assert beside.mask.tolist() == [[True, True, False, False], [True] * 4]


def test_texts_are_cut_and_empty_ones_are_read() -> None:
    encoder = TextEncoder(TextConfig(buckets=64, dim=16, heads=2, ffn_dim=16, max_words=3), 8, 5)
    read = encoder.eval()([["nuclei"] * 9, []])
    assert read.tokens.shape == (2, 3, 8)
    assert bool(torch.isfinite(read.tokens).all())
