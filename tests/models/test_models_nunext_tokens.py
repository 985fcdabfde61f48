"""Points become tokens and come back within half a bin, in the order of reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nunext_helpers import tiny_tokenizer

from napari_nucleus.errors import ModelError
from napari_nucleus.models.nunext.tokens import (
    CLASS_TOKENS,
    Vocabulary,
    bin_centres,
    decode_points,
    encode_points,
    is_well_formed,
    point_bins,
    reading_order,
)

SMALL = Vocabulary.nano(bins=16, n_classes=2, n_latent=3, words=("point", "to"))
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))
UNIT_POINTS = arrays(float, st.tuples(st.integers(0, 30), st.just(2)), elements=st.floats(0, 0.999))


def test_a_small_vocabulary_is_laid_out_densely() -> None:
    ids = [*SMALL.coordinates, *SMALL.separators, SMALL.begin, SMALL.end, *SMALL.none, SMALL.stop]
    assert [*ids, *SMALL.latent, *SMALL.words] == list(range(SMALL.size))
    assert (SMALL.bins, SMALL.n_classes, len(SMALL.words)) == (16, 2, 2)


@given(UNIT_POINTS, SIZES, st.sampled_from([7, 256, 1000]))
def test_points_come_back_within_half_a_bin(
    unit: np.ndarray, size: tuple[int, int], bins: int
) -> None:
    yx = unit * size
    back = bin_centres(point_bins(yx, size, bins), size, bins)
    assert (np.abs(back - yx) <= np.array(size) / bins / 2 + 1e-9).all()


@pytest.mark.parametrize("separator_needed", [True, False])
@given(unit=UNIT_POINTS, size=SIZES, data=st.data())
def test_an_answer_tells_the_points_and_classes_it_was_made_of(
    separator_needed: bool, unit: np.ndarray, size: tuple[int, int], data: st.DataObject
) -> None:
    kinds = data.draw(arrays(int, len(unit), elements=st.sampled_from([0, 1, 2, 255])))
    line = data.draw(st.sampled_from([None, 12.0]))
    ids = encode_points(unit * size, kinds, SMALL, size, line, separator_needed)
    assert is_well_formed(ids, SMALL, separator_needed)
    yx, told = decode_points(ids, SMALL, size, separator_needed)
    bins = point_bins(unit * size, size, SMALL.bins)
    last_untold = int(not separator_needed)
    if not last_untold:
        rows = {
            (*b, k if k <= 2 else 0) for b, k in zip(bins.tolist(), kinds.tolist(), strict=True)
        }
        again = point_bins(yx, size, SMALL.bins).tolist()
        assert {(*b, k) for b, k in zip(again, told.tolist(), strict=True)} == rows
    assert len(yx) == len(unit)
    if line is None:
        back = point_bins(yx, size, SMALL.bins)
        assert (np.diff(back[:, 0] * SMALL.bins + back[:, 1]) >= 0).all()


def test_points_of_one_line_go_from_left_to_right() -> None:
    yx = np.array([[11.0, 2.0], [1.0, 30.0], [9.0, 5.0], [12.0, 1.0], [3.0, 4.0]])
    assert reading_order(yx, 10).tolist() == [4, 2, 1, 3, 0]
    assert reading_order(yx).tolist() == [1, 4, 2, 0, 3]


def test_of_two_points_at_one_place_both_are_written() -> None:
    ids = encode_points([[3.0, 3.0], [3.0, 3.0]], None, SMALL, 16)
    assert len(decode_points(ids, SMALL, 16)[0]) == 2


def test_width_and_height_have_bins_of_their_own() -> None:
    ids = encode_points([[50.0, 50.0]], [2], SMALL, (100, 200))
    x, y = SMALL.coordinates[4], SMALL.coordinates[8]
    assert ids == [SMALL.begin, x, y, SMALL.separators[2], SMALL.end, SMALL.stop]


def test_points_beyond_the_image_are_put_at_its_rim() -> None:
    assert point_bins([[-5.0, 300.0]], 256, 256).tolist() == [[0, 255]]


def test_no_nuclei_are_told_by_a_word() -> None:
    ids = encode_points(np.zeros((0, 2)), None, SMALL, 16)
    assert ids == [SMALL.begin, *SMALL.none, SMALL.end, SMALL.stop]
    yx, kinds = decode_points(ids, SMALL, 16)
    assert yx.shape == (0, 2)
    assert kinds.shape == (0,)


def test_latent_tokens_before_an_answer_are_skipped() -> None:
    ids = [*SMALL.latent, *encode_points([[3.0, 3.0]], None, SMALL, 16)]
    assert is_well_formed(ids, SMALL)
    assert decode_points(ids, SMALL, 16)[0].tolist() == [[3.5, 3.5]]


X, COMMA, BEGIN, END, NONE, STOP = (
    SMALL.coordinates[1],
    SMALL.separators[0],
    SMALL.begin,
    SMALL.end,
    SMALL.none[0],
    SMALL.stop,
)


@pytest.mark.parametrize(
    "ids",
    [
        [],
        [BEGIN],
        [BEGIN, END],
        [BEGIN, X, X, COMMA],
        [X, X, COMMA, END],
        [BEGIN, X, COMMA, END],
        [BEGIN, X, X, X, END],
        [BEGIN, X, X, END],
        [BEGIN, X, X, COMMA, X, END],
        [BEGIN, NONE, X, X, COMMA, END],
        [BEGIN, NONE, NONE, END],
        [BEGIN, X, X, COMMA, END, STOP, X],
        [BEGIN, X, X, COMMA, END, END],
        [BEGIN, SMALL.latent[0], X, X, COMMA, END],
        [BEGIN, COMMA, X, X, END],
    ],
)
def test_malformed_answers_are_refused(ids: list[int]) -> None:
    assert not is_well_formed(ids, SMALL)
    with pytest.raises(ModelError, match="no list of points"):
        decode_points(ids, SMALL, 16)


def test_separators_stand_between_points_where_that_is_said() -> None:
    ids = [BEGIN, X, X, COMMA, X, X, END]
    assert is_well_formed(ids, SMALL, separator_needed=False)
    assert not is_well_formed(ids, SMALL)
    ids.insert(-1, COMMA)
    assert not is_well_formed(ids, SMALL, separator_needed=False)
    assert not is_well_formed([BEGIN, END], SMALL, separator_needed=False)


def test_a_vocabulary_with_one_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="one id"):
        Vocabulary((0, 1), (1,), 2, 3, (4,), 5, (), 6)


def test_an_id_beyond_the_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="id 6"):
        Vocabulary((0, 6), (1,), 2, 3, (4,), 5, (), 6)


def test_a_tokenizer_that_has_every_token_is_left_as_it_is(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path, coordinates="re-purposed", own_tokens=True)
    before = len(tokenizer)
    found = Vocabulary.of_tokenizer(tokenizer, 10, CLASS_TOKENS, 2)
    assert found.appended == ()
    assert len(tokenizer) == before == found.rows
    known = tokenizer.get_vocab()
    assert found.vocabulary.coordinates == tuple(known[f"<{i}>"] for i in range(10))
    assert found.vocabulary.separators == tuple(known[t] for t in (",", *CLASS_TOKENS))


@pytest.mark.parametrize(("coordinates", "count"), [("re-purposed", 10), ("appended", 0)])
def test_rows_that_had_been_words_are_told_from_new_ones(
    tmp_path: Path, coordinates: Any, count: int
) -> None:
    tokenizer = tiny_tokenizer(tmp_path, coordinates)
    found = Vocabulary.of_tokenizer(tokenizer, 10, (), 0)
    assert found.repurposed == count
    assert not found.appended


def test_what_a_tokenizer_lacks_is_appended_and_told(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path, coordinates="absent")
    before = len(tokenizer)
    found = Vocabulary.of_tokenizer(tokenizer, 10, CLASS_TOKENS, 2)
    wanted = (*(f"<{i}>" for i in range(10)), *CLASS_TOKENS, "<cv0>", "<cv1>")
    assert found.appended == wanted
    assert found.rows == found.vocabulary.size == before + len(wanted)


def test_spare_rows_of_the_network_serve_what_is_appended(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path, coordinates="appended")
    found = Vocabulary.of_tokenizer(tokenizer, 10, (), 2, rows=len(tokenizer) + 30)
    assert found.appended == ("<cv0>", "<cv1>")
    assert found.rows == found.vocabulary.size == len(tokenizer) - 2 + 30


def test_none_may_be_several_tokens(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path, coordinates="appended")
    vocabulary = Vocabulary.of_tokenizer(tokenizer, 10, (), 0).vocabulary
    assert len(vocabulary.none) > 1
    ids = encode_points(np.zeros((0, 2)), None, vocabulary, 16)
    assert is_well_formed(ids, vocabulary)
    assert not is_well_formed([ids[0], ids[1], *ids[-2:]], vocabulary)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="box_start"):
        Vocabulary.of_tokenizer(tiny_tokenizer(tmp_path, marks=False), 10)
