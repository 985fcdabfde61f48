"""NuNext's losses, against hand computations and the laws they must keep."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from napari_nucleus.models.nunext.losses import (
    IGNORED,
    covt_weight,
    sequence_loss,
    sigma_of,
    soft_targets,
    union_mask_loss,
)

K = 6
COORDINATES = torch.arange(2, 2 + K)
SEPARATORS = torch.tensor([8, 9, 10])
V = 12


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, V, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 63), st.floats(0.3, 20.0))
def test_a_soft_target_sums_to_one_and_peaks_at_the_true_bin(true: int, sigma: float) -> None:
    row = soft_targets(torch.tensor([true]), 64, sigma)[0]
    assert float(row.sum()) == pytest.approx(1, abs=1e-5)
    assert int(row.argmax()) == true


@given(st.integers(0, 63), st.floats(0.8, 20.0))
def test_soft_targets_of_mirrored_bins_are_mirrored(true: int, sigma: float) -> None:
    one, other = soft_targets(torch.tensor([true, 63 - true]), 64, sigma)
    torch.testing.assert_close(one, other.flip(0))


def test_a_soft_target_falls_as_a_gaussian_and_is_cut_at_the_border() -> None:
    row = soft_targets(torch.tensor([0]), 8, 1.0)[0]
    raw = [math.exp(-k * k / 2) for k in range(8)]
    torch.testing.assert_close(row, torch.tensor(raw) / sum(raw))


def test_without_spread_the_target_is_one_bin() -> None:
    assert soft_targets(torch.tensor([2, 0]), 4, 0).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


def test_sigma_is_a_pixel_in_bins_and_never_below_the_least() -> None:
    assert sigma_of(1000, 256) == 4
    assert sigma_of(256, 256) == 1
    assert sigma_of(512, 128) == 4
    assert sigma_of(64, 256) == 0.8


def test_a_one_hot_sequence_has_the_cross_entropy() -> None:
    logits = random_logits(2, 7)
    target = torch.randint(0, V, (2, 7), generator=torch.Generator().manual_seed(1))
    target[0, 3] = IGNORED
    torch.testing.assert_close(
        sequence_loss(logits, target, COORDINATES, 0),
        F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED),
    )


def test_a_coordinate_costs_its_soft_cross_entropy_over_the_whole_vocabulary() -> None:
    logits = random_logits(1, 1)
    log_p = torch.log_softmax(logits[0, 0], 0)
    soft = soft_targets(torch.tensor([4]), K, 1.5)[0]
    expected = -sum(float(soft[k] * log_p[2 + k]) for k in range(K))
    loss = sequence_loss(logits, torch.tensor([[6]]), COORDINATES, 1.5)
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    # Probability on a token that is no bin costs, though no bin changed against another.
    worse = logits.clone()
    worse[0, 0, 0] += 3
    assert float(sequence_loss(worse, torch.tensor([[6]]), COORDINATES, 1.5)) > expected


def test_a_near_bin_costs_less_than_a_far_one() -> None:
    def cost(bin: int) -> float:
        logits = torch.zeros(1, 1, V)
        logits[0, 0, COORDINATES[bin]] = 5
        return float(sequence_loss(logits, torch.tensor([[2]]), COORDINATES, 1.0))

    assert cost(0) < cost(1) < cost(2) < cost(4)


def test_the_gradient_of_a_coordinate_is_probability_less_soft_target() -> None:
    logits = random_logits(1, 1).requires_grad_()
    sequence_loss(logits, torch.tensor([[3]]), COORDINATES, 1.0).backward()
    expected = torch.softmax(logits.detach()[0, 0], 0)
    expected[COORDINATES] -= soft_targets(torch.tensor([1]), K, 1.0)[0]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0, 0], expected)


def test_a_separator_of_a_set_costs_the_set_s_summed_probability() -> None:
    logits = random_logits(1, 2)
    target = torch.tensor([[8, 9]])
    sets = torch.tensor([[[True, False, True], [False, True, False]]])
    p = torch.softmax(logits[0], 1)
    expected = -(math.log(float(p[0, 8] + p[0, 10])) + math.log(float(p[1, 9]))) / 2
    loss = sequence_loss(logits, target, COORDINATES, 1.0, sets, SEPARATORS)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_a_set_of_one_and_no_set_are_the_plain_cross_entropy() -> None:
    logits = random_logits(1, 3)
    target = torch.tensor([[9, 0, 9]])
    sets = torch.zeros(1, 3, 3, dtype=torch.bool)
    sets[0, 0, 1] = True
    torch.testing.assert_close(
        sequence_loss(logits, target, COORDINATES, 1.0, sets, SEPARATORS),
        F.cross_entropy(logits[0], target[0]),
    )


def test_a_class_of_a_set_is_not_pushed_against_another_of_it() -> None:
    logits = torch.zeros(1, 1, V, requires_grad=True)
    sets = torch.tensor([[[True, False, True]]])
    sequence_loss(logits, torch.tensor([[8]]), COORDINATES, 1.0, sets, SEPARATORS).backward()
    assert logits.grad is not None
    gradient = logits.grad[0, 0]
    assert float(gradient[8]) == pytest.approx(float(gradient[10]))
    assert float(gradient[8]) < 0
    assert float(gradient[9]) > 0


def test_sets_without_separators_are_refused() -> None:
    sets = torch.ones(1, 1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="separators"):
        sequence_loss(random_logits(1, 1), torch.tensor([[8]]), COORDINATES, 1.0, sets)


def test_weights_count_tokens_more_or_not_at_all() -> None:
    logits = random_logits(1, 2)
    target = torch.tensor([[3, 0]])
    first = sequence_loss(logits[:, :1], target[:, :1], COORDINATES, 1.0)
    second = sequence_loss(logits[:, 1:], target[:, 1:], COORDINATES, 1.0)
    weighted = sequence_loss(logits, target, COORDINATES, 1.0, weights=torch.tensor([[3.0, 1.0]]))
    torch.testing.assert_close(weighted, (3 * first + second) / 4)
    alone = sequence_loss(logits, target, COORDINATES, 1.0, weights=torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(alone, second)


def test_smoothing_is_torch_s_for_words_and_leaves_coordinates_alone() -> None:
    logits = random_logits(1, 2)
    words, bins = torch.tensor([[0, 11]]), torch.tensor([[2, 5]])
    torch.testing.assert_close(
        sequence_loss(logits, words, COORDINATES, 1.0, label_smoothing=0.1),
        F.cross_entropy(logits[0], words[0], label_smoothing=0.1),
    )
    torch.testing.assert_close(
        sequence_loss(logits, bins, COORDINATES, 1.0, label_smoothing=0.1),
        sequence_loss(logits, bins, COORDINATES, 1.0),
    )


def test_a_batch_without_targets_costs_nothing_and_can_be_descended() -> None:
    logits = random_logits(1, 3).requires_grad_()
    loss = sequence_loss(logits, torch.full((1, 3), IGNORED), COORDINATES, 1.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_mask_of_latent_tokens_warms_up_evenly() -> None:
    assert [covt_weight(s, 500, 2.0) for s in (0, 250, 500, 900)] == [0, 1, 2, 2]
    assert covt_weight(0, 0) == 1


def test_a_right_union_mask_costs_little_and_a_wrong_one_its_entropy_and_dice() -> None:
    target = torch.zeros(2, 8, 8, dtype=torch.bool)
    target[:, 2:5, 2:5] = True
    assert float(union_mask_loss(20.0 * (2 * target.float() - 1), target)) < 1e-3
    # Of logits 0 every probability is a half: BCE log 2, Dice (9 + 1) / (32 + 9 + 1).
    expected = math.log(2) + 1 - 10 / 42
    assert float(union_mask_loss(torch.zeros(2, 8, 8), target)) == pytest.approx(expected)


def test_an_empty_union_mask_is_met_by_saying_nothing() -> None:
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)
    assert float(union_mask_loss(torch.full((1, 8, 8), -20.0), nothing)) < 1e-3
    assert float(union_mask_loss(torch.zeros(1, 8, 8), nothing)) > 1
