"""Run lengths against pycocotools', letter by letter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from benchmarks.fields import nuclei_field
from napari_nucleus.io.formats.rle import (
    RleError,
    RunLengths,
    crops_of,
    run_lengths_of_labels,
    run_lengths_of_strings,
    strings_of,
)

LABELS = arrays(
    np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
)
FRAMES = st.tuples(*[st.integers(0, 40)] * 4)


def encoded(labels: np.ndarray, margins: tuple[int, ...]) -> dict[int, str]:
    top, left, bottom, right = margins
    shape = (labels.shape[0] + top + bottom, labels.shape[1] + left + right)
    ids, run_lengths = run_lengths_of_labels(labels, (top, left), shape)
    return dict(zip(ids.tolist(), strings_of(run_lengths), strict=True))


def expected(labels: np.ndarray, margins: tuple[int, ...]) -> dict[int, str]:
    top, left, bottom, right = margins
    whole = np.pad(labels, ((top, bottom), (left, right)))
    return {
        int(i): coco_mask.encode(np.asfortranarray(whole == i, np.uint8))["counts"].decode()
        for i in np.unique(labels)
        if i
    }


def placed(mask: np.ndarray | None, offset: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    whole = np.zeros(shape, bool)
    assert mask is not None
    whole[offset[0] :, offset[1] :][: mask.shape[0], : mask.shape[1]] = mask
    return whole


@settings(max_examples=400)
@given(LABELS, FRAMES)
def test_the_letters_are_those_of_pycocotools(labels, margins):
    assert encoded(labels, margins) == expected(labels, margins)


def test_every_nucleus_of_a_field_has_the_letters_of_pycocotools():
    labels = nuclei_field(512)
    whole = (700, 100, 900, 30_000)
    shape = (512 + 1600, 512 + 30_100)
    ids, run_lengths = run_lengths_of_labels(labels, whole[:2], shape)
    texts = strings_of(run_lengths)
    assert len(ids) == 121
    frame = np.zeros(shape, np.uint8, order="F")
    part = frame[700:1212, 100:612]
    for i, text in zip(ids.tolist(), texts, strict=True):
        part[:] = labels == i
        assert coco_mask.encode(frame)["counts"].decode() == text


@settings(max_examples=300)
@given(LABELS, FRAMES)
def test_masks_come_back_from_their_letters(labels, margins):
    ids = [int(i) for i in np.unique(labels) if i]
    run_lengths = run_lengths_of_strings(list(encoded(labels, margins).values()))
    top, left, bottom, right = margins
    h, w = labels.shape[0] + top + bottom, labels.shape[1] + left + right
    masks, offsets, notes = crops_of(
        run_lengths, np.full(len(ids), h), np.full(len(ids), w), "case"
    )
    whole = np.pad(labels, ((top, bottom), (left, right)))
    assert not notes
    for i, mask, offset in zip(ids, masks, offsets, strict=True):
        np.testing.assert_array_equal(placed(mask, offset, (h, w)), whole == i)


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=9), max_size=5))
def test_any_counts_come_back_from_their_letters(counts):
    flat = np.array([c for one in counts for c in one], np.int64)
    given_counts = RunLengths(flat, np.array([len(one) for one in counts], np.int64))
    back = run_lengths_of_strings(strings_of(given_counts))
    assert back.counts.tolist() == flat.tolist()
    assert back.sizes.tolist() == given_counts.sizes.tolist()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0\x01", "letter"),
        ("0é", "letter"),
        ("0~", "letter"),
        ("0P", "amid"),
        ("PPPPPPPP0", "32 bits"),
    ],
)
def test_letters_that_cannot_be_are_refused(text, what):
    with pytest.raises(RleError, match=what) as caught:
        run_lengths_of_strings(["04", text])
    assert caught.value.index == 1


@pytest.mark.parametrize("counts", [[0, 7], [3, -1, 5], [2**40], [0, 3, 0, 4]])
def test_runs_that_do_not_fit_their_frame_are_refused(counts):
    run_lengths = RunLengths(np.array(counts), np.array([len(counts)]))
    with pytest.raises(RleError):
        crops_of(run_lengths, np.array([2]), np.array([3]), "case")


def test_a_mask_larger_than_a_nucleus_is_left_out_without_being_made():
    side = 2**16 - 1
    run_lengths = RunLengths(np.array([0, side * side, 5, 3]), np.array([2, 2]))
    masks, offsets, notes = crops_of(
        run_lengths, np.array([side, 10]), np.array([side, 10]), "case"
    )
    assert masks[0] is None
    assert "1 outlines larger" in notes[0]
    assert masks[1] is not None
    assert masks[1].tolist() == [[True]] * 3
    assert offsets[1].tolist() == [5, 0]
