"""A simulated user of the app: what he does, what it costs, and what is counted."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from test_training_interactive import TRUE, Blind, Oracle, Stubborn
from training_helpers import draw_labels, paint_labels, write_image

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.models.api import Calibration
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.training import correction, strokes
from napari_nucleus.training.correction import correct_image, evaluate_correction, summary
from napari_nucleus.training.desk import Desk
from napari_nucleus.training.embeddings import Embeddings
from napari_nucleus.training.simulated_user import LIMIT
from napari_nucleus.training.views import View, holds_another, takers_of

SHAPE = TRUE.shape
SOURCE = ArraySource(paint_labels(TRUE), 0.25, "field")
N = int(TRUE.max())


def correct(model, labels=None, means: Any = "all", true=TRUE, source=SOURCE, seed=0):
    embeddings = Embeddings(model, source, Calibration(1.0, 0.25))
    found = None if labels is None else Nuclei.from_labels(labels)[0]
    return correct_image(embeddings, found, true.astype(np.int32), means, seed)


def without(number: int) -> np.ndarray:
    return np.where(number == TRUE, 0, TRUE)


def halved(number: int) -> np.ndarray:
    """The truth with the lower half of a nucleus gone."""
    out = TRUE.copy()
    rows = np.nonzero(np.equal(TRUE, number).any(1))[0]
    lower = np.arange(SHAPE[0])[:, None] >= rows[len(rows) // 2]
    out[lower & (number == TRUE)] = 0
    return out


def with_false() -> np.ndarray:
    """The truth with a square on background that is no nucleus."""
    free = ndimage.distance_transform_edt(TRUE == 0)
    r, c = np.unravel_index(int(free[8:-8, 8:-8].argmax()), (SHAPE[0] - 16, SHAPE[1] - 16))
    out = TRUE.copy()
    out[r + 4 : r + 12, c + 4 : c + 12] = N + 1
    assert not TRUE[r + 4 : r + 12, c + 4 : c + 12].any()
    return out


# ---- what it costs


@pytest.mark.parametrize("means", ["all", "boxes", "clicks"])
def test_a_perfect_result_costs_nothing_and_redrawing_it_a_click_each(means):
    kept = correct(Oracle(), TRUE, means)
    assert kept.spent.tolist() == [0] * N
    assert kept.removals == 0
    assert not kept.tallies.kinds
    redrawn = correct(Oracle(), None, means)
    assert redrawn.spent.tolist() == [1] * N
    assert redrawn.last.tolist() == [1.0] * N
    assert redrawn.first.tolist() == [0.0] * N
    assert redrawn.tallies.kinds == {"click": N}


@pytest.mark.parametrize(("means", "kind"), [("all", "box"), ("boxes", "box"), ("clicks", "click")])
def test_a_missing_nucleus_costs_one_action(means, kind):
    outcome = correct(Oracle(), without(3), means)
    assert outcome.spent[2] == outcome.spent.sum() == 1
    assert outcome.tallies.kinds == {kind: 1}
    assert outcome.last[2] == 1.0


def test_half_a_nucleus_costs_one_action_and_its_gain_is_noted():
    outcome = correct(Oracle(), halved(4), "clicks")
    assert outcome.spent[3] == outcome.spent.sum() == 1
    ((before, after),) = outcome.tallies.tactics["click"]
    assert before == pytest.approx(outcome.first[3])
    assert after == 1.0


@pytest.mark.parametrize("means", ["all", "clicks"])
def test_a_false_nucleus_costs_a_removal_that_no_nucleus_is_charged_with(means):
    outcome = correct(Oracle(), with_false(), means)
    assert outcome.removals == 1
    assert outcome.spent.sum() == 0
    assert outcome.tallies.kinds == {"Ctrl-click": 1}
    assert summary([outcome])["mean"] == pytest.approx(1 / N, abs=1e-3)


def test_a_model_that_sees_nothing_is_given_up_or_drawn_by_hand():
    given_up = correct(Blind(), without(3), "clicks")
    assert given_up.last[2] == 0
    assert 1 <= given_up.spent[2] <= LIMIT
    by_hand = correct(Blind(), without(3), "all")
    assert by_hand.tallies.kinds["brush stroke"] >= 1
    assert by_hand.last[2] > 0.6
    assert by_hand.last[2] < 1, "a hand is not exact"


def test_an_action_that_makes_it_worse_is_undone_and_both_count():
    class Spoiler(Oracle):
        def answer(self, embedding, prompts):
            whole = super().answer(embedding, prompts)
            mask = whole.mask.copy()
            mask[:, mask.shape[1] // 2 :] = False
            return replace(whole, mask=mask)

    outcome = correct(Spoiler(halved(4)), cut_off(4, 0.65), "boxes")
    assert outcome.tallies.kinds["undo"] >= 1
    assert outcome.last[3] >= outcome.first[3]
    assert outcome.spent.sum() == sum(outcome.tallies.kinds.values())


def cut_off(number: int, share: float) -> np.ndarray:
    """The truth with the right part of a nucleus gone."""
    out = TRUE.copy()
    columns = np.nonzero(np.equal(TRUE, number).any(0))[0]
    gone = np.arange(SHAPE[1])[None] >= columns[int(share * len(columns))]
    out[gone & (number == TRUE)] = 0
    return out


@pytest.mark.parametrize("kind", [Oracle, Stubborn, Blind])
@pytest.mark.parametrize("means", ["all", "boxes", "clicks"])
def test_every_action_is_counted_once_and_none_beyond_the_limit(kind, means):
    for labels in (None, halved(2)):
        outcome = correct(kind(), labels, means)
        assert outcome.spent.max() <= LIMIT
        assert outcome.spent.sum() + outcome.removals == sum(outcome.tallies.kinds.values())
        assert outcome.neighbours_changed == 0
        json.dumps(summary([outcome]), allow_nan=False)


def test_the_same_seed_gives_the_same_session():
    first, second = (correct(Blind(), None, "all") for _ in range(2))
    assert first.spent.tolist() == second.spent.tolist()
    assert first.last.tolist() == second.last.tolist()
    other = correct(Blind(), None, "all", seed=1)
    assert first.last.tolist() != other.last.tolist()


def document_of(labels) -> Document:
    document = Document(MemoryStore(labels.shape))
    with document.run("Segment image") as run:
        run.add_tile((0, 0, *labels.shape), Nuclei.from_labels(labels)[0])
    return document


# ---- nuclei that were taken for one, or for several


def touching() -> np.ndarray:
    """Two discs side by side, and one apart."""
    rows, cols = np.indices((80, 90)) + 0.5
    labels = np.zeros((80, 90), np.int32)
    for number, (y, x) in enumerate(((30, 25), (30, 42), (60, 70)), start=1):
        labels[((rows - y) ** 2 + (cols - x) ** 2 <= 81) & (labels == 0)] = number
    return labels


PAIR = touching()
PAIR_SOURCE = ArraySource(paint_labels(PAIR), 0.25, "pair")


def test_merged_nuclei_are_cut_with_one_stroke():
    merged = np.where(PAIR == 2, 1, PAIR)
    outcome = correct(Blind(), merged, "all", PAIR, PAIR_SOURCE)
    assert outcome.tallies.kinds == {"cut stroke": 1}
    assert outcome.last.min() >= 0.8
    assert outcome.spent.sum() == 1


def test_parts_of_one_nucleus_are_merged_with_one_stroke():
    parted = PAIR.copy()
    parted[(PAIR == 3) & (np.indices(PAIR.shape)[0] >= 62)] = 4
    outcome = correct(Blind(), parted, "all", PAIR, PAIR_SOURCE)
    assert outcome.tallies.kinds == {"merge stroke": 1}
    assert outcome.last.min() == 1.0


def test_an_eraser_begun_in_a_nucleus_takes_from_that_one_only():
    grown = np.where(PAIR == 2, 1, PAIR)
    grown[(PAIR == 2) & (np.indices(PAIR.shape)[1] > 44)] = 2
    embeddings = Embeddings(Blind(), PAIR_SOURCE, Calibration(1.0, 0.25))
    document = document_of(grown)
    desk = Desk(document, embeddings)
    left, right = document.id_at((30, 25)), document.id_at((30, 48))
    everything = np.ones((30, 20), bool)
    assert desk.erase(everything, (15, 35, 45, 55), left)
    assert document.id_at((30, 40)) is None
    assert document.id_at((30, 25)) == left
    assert document.id_at((30, 48)) == right
    assert desk.undo()
    assert document.id_at((30, 40)) == left


# ---- what he sees


def view_of(labels, number, true=PAIR):
    document = document_of(labels)
    rows, cols = np.nonzero(true == number)
    box = (int(rows.min()), int(cols.min()), int(rows.max()) + 1, int(cols.max()) + 1)
    return View.of(document, true, number, box)


def test_a_blob_stands_for_the_nucleus_it_holds_most_of():
    blob = np.where((PAIR == 2) & (np.indices(PAIR.shape)[1] < 46), 1, np.where(PAIR == 2, 0, PAIR))
    larger, smaller = view_of(blob, 1), view_of(blob, 2)
    assert larger.own is not None
    assert holds_another(larger)
    assert smaller.own is None
    assert smaller.iou == 0
    (taker,) = takers_of(smaller)
    assert taker.id == larger.own
    assert not taker.is_fragment
    assert not taker.is_false


def test_missing_surplus_and_taken_are_told_apart():
    labels = np.roll(np.where(PAIR == 1, 0, PAIR), -4, axis=1)
    view = view_of(labels, 2)
    truth = PAIR[view.box[0] : view.box[2], view.box[1] : view.box[3]] == 2
    assert (view.missing | (view.mask & truth)).sum() == truth.sum()
    assert view.surplus.sum() == view.mask.sum() - (view.mask & truth).sum() > 0
    assert not view.taken.any()


# ---- the hand


def test_a_hand_errs_by_a_pixel_and_smoothly():
    path = np.zeros((4000, 2))
    drawn = strokes.shaken(path, np.random.default_rng(0))
    assert drawn.std() == pytest.approx(strokes.JITTER, rel=0.15)
    assert np.abs(np.diff(drawn, axis=0)).max() < 1


def test_a_brush_covers_what_lies_within_its_radius():
    covered = strokes.brushed(np.array([[10.5, 5.5], [10.5, 14.5]]), 3.0, (20, 20))
    assert covered[10, 2:18].all()
    assert not covered[10, :2].any()
    assert covered[:, 10].sum() == 7


def test_strokes_keep_to_their_side_of_the_true_outline():
    rows, cols = np.indices((60, 60)) + 0.5
    truth = (rows - 30) ** 2 + (cols - 30) ** 2 <= 144
    half = truth & (cols > 30)
    inside = strokes.paint_stroke(truth, half, 4.0)
    assert inside is not None
    painted = strokes.brushed(inside, 4.0, truth.shape)
    assert not (painted & ~truth).any()
    assert (painted & half).sum() > 0.8 * half.sum()
    ring = ndimage.binary_dilation(truth, iterations=4) & ~truth
    outside = strokes.erase_stroke(truth, ring, np.zeros_like(truth), 4.0)
    assert outside is not None
    erased = strokes.brushed(outside, 4.0, truth.shape)
    assert not (erased & truth).any()
    assert (erased & ring).sum() > 0.9 * ring.sum()
    spared = ring & (cols < 30)
    gentle = strokes.erase_stroke(truth, ring & ~spared, spared, 4.0)
    assert gentle is not None
    assert (strokes.brushed(gentle, 4.0, truth.shape) & spared).sum() < 0.4 * spared.sum()


def test_no_stroke_is_drawn_where_it_does_not_pay():
    truth = draw_labels((60, 60), 1, 1) > 0
    speck = np.zeros_like(truth)
    speck[tuple(np.argwhere(truth)[0])] = True
    assert strokes.paint_stroke(truth, speck, 4.0) is None


# ---- a folder


def test_a_folder_is_evaluated_from_both_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(correction.zoo, "load_model", lambda *_: Oracle(without(3)))
    for name in ("one", "two", "three"):
        write_image(tmp_path, name, TRUE, ".png")
    result = evaluate_correction(
        tmp_path, tmp_path, "oracle", ("all", "clicks"), 0.25, 0, ["one", "two"], "cpu", None
    )
    runs = {(run["start"], run["means"]): run for run in result["runs"]}
    assert len(runs) == 4
    start = runs["automatic", "all"]
    assert set(start["images"]) == {"one", "two"}
    assert start["total"]["n_nuclei"] == 2 * N
    assert start["total"]["median"] == 1.0
    assert start["total"]["none"] == pytest.approx(1 - 1 / N, abs=1e-3)
    assert start["total"]["never"] == 0
    assert start["tactics"]["box"] == {"uses": 2, "iou_before": 0.0, "iou_after": 1.0}
    assert runs["nothing", "clicks"]["total"]["mean"] == 1.0
    assert result["ratios"]["clicks"] == pytest.approx(1 / N, abs=1e-3)
    assert result["all_to_clicks"] == pytest.approx(1 / N, abs=1e-3)
    json.dumps(result, allow_nan=False)
