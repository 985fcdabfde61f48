"""The losses of prompt groups, against the worked example and the laws they must keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.models.promptgroup.losses import (
    GroupConfig,
    SegmentationConfig,
    aggregated,
    consistency,
    effective_coefficients,
    group_term,
    grouped_loss,
    segmentation_loss,
)

EXAMPLE = [0.5, 0.8, 1.4]
UNCLIPPED = GroupConfig(floor=-10.0)


def gradient(losses: list[float], config: GroupConfig) -> torch.Tensor:
    """By how much each loss counts in mean L + λ L_group."""
    values = torch.tensor([losses], requires_grad=True)
    (values.mean() + config.weight * group_term(values, config).sum()).backward()
    assert values.grad is not None
    return values.grad[0]


def test_the_worked_example_without_clipping_untrains_the_worst_prompt() -> None:
    expected = torch.tensor([0.7333, 0.4333, -0.1667])
    torch.testing.assert_close(gradient(EXAMPLE, UNCLIPPED), expected, atol=1e-4, rtol=0)
    coefficients = effective_coefficients(torch.tensor([EXAMPLE]), UNCLIPPED)[0]
    torch.testing.assert_close(coefficients, expected, atol=1e-4, rtol=0)


def test_clipping_keeps_the_worst_prompt_of_the_example_at_a_tenth_of_its_share() -> None:
    # Advantages 0.4, 0.1, -0.5: the last is clipped to -0.3, the others shrink by 0.3 / 0.5.
    expected = torch.tensor([1 / 3 + 0.24, 1 / 3 + 0.06, 1 / 30])
    torch.testing.assert_close(gradient(EXAMPLE, GroupConfig()), expected, atol=1e-5, rtol=0)


@given(
    st.lists(st.floats(0, 20), min_size=2, max_size=6),
    st.floats(0.01, 1.0),
    st.floats(0.3, 3.0),
)
def test_no_prompt_counts_for_less_than_the_floor_and_all_together_for_one(
    losses: list[float], weight: float, temperature: float
) -> None:
    config = GroupConfig(weight=weight, temperature=temperature)
    coefficients = gradient(losses, config)
    assert float(coefficients.min()) >= 0.1 / len(losses) - 1e-4
    assert float(coefficients.sum()) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(
        coefficients,
        effective_coefficients(torch.tensor([losses]), config)[0],
        atol=1e-3,
        rtol=1e-3,
    )


def test_better_prompts_count_for_more() -> None:
    coefficients = gradient([0.2, 0.9, 0.5], GroupConfig())
    assert coefficients[0] > coefficients[2] > coefficients[1]


def test_the_literal_form_is_logged_and_trains_nothing() -> None:
    config = GroupConfig(mode="literal")
    values = torch.tensor([EXAMPLE], requires_grad=True)
    term = group_term(values, config)
    assert float(term.detach()) != 0
    torch.testing.assert_close(gradient(EXAMPLE, config), torch.full((3,), 1 / 3))


def test_off_is_the_mean_of_the_losses() -> None:
    losses, logits = torch.tensor([EXAMPLE]), torch.randn(1, 3, 4, 4)
    grouped = grouped_loss(losses, logits, GroupConfig(mode="off"))
    assert float(grouped.total) == pytest.approx(0.9)
    assert float(grouped.group) == float(grouped.consistency) == 0


def test_a_warm_up_has_no_group_terms() -> None:
    losses, logits = torch.tensor([EXAMPLE]), torch.randn(1, 3, 4, 4)
    grouped = grouped_loss(losses, logits, GroupConfig().scaled(0.0))
    assert float(grouped.total) == pytest.approx(0.9)


def test_weights_are_the_softmax_of_the_losses_and_sum_to_one() -> None:
    grouped = grouped_loss(torch.tensor([EXAMPLE]), torch.zeros(1, 3, 2, 2), GroupConfig())
    torch.testing.assert_close(grouped.weights, torch.softmax(-torch.tensor([EXAMPLE]), 1))


def test_consistency_draws_prompts_to_the_first_and_leaves_the_first_alone() -> None:
    logits = torch.tensor([[[[1.0]], [[3.0]], [[0.0]]]], requires_grad=True)
    value = consistency(logits)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx((4 + 1) / 2)
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [0.0, 2.0, -1.0]


def test_consistency_is_a_mean_over_pixels_and_blind_beyond_the_clamp() -> None:
    small, large = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 8, 8)
    small[:, 1], large[:, 1] = 2.0, 2.0
    assert float(consistency(small)) == float(consistency(large)) == 4.0
    beyond = torch.full((1, 2, 2, 2), 50.0)
    beyond[:, 1] = 11.0
    assert float(consistency(beyond)) == 0.0


def perfect(n: int = 1) -> tuple[torch.Tensor, ...]:
    target = torch.zeros(n, 8, 8)
    target[:, 2:5, 2:5] = 1
    return 20 * (2 * target - 1), torch.full((n,), 9.0), target, torch.ones(n, 8, 8), torch.ones(n)


def test_a_perfect_answer_costs_nothing() -> None:
    logits, presence, target, known, present = perfect()
    loss = segmentation_loss(logits, presence, target, known, present, SegmentationConfig())
    assert float(loss) < 1e-3


def test_pixels_of_which_nothing_is_known_cost_nothing() -> None:
    logits, presence, target, known, present = perfect()
    wrong = logits.clone()
    wrong[:, 0] = 20.0
    known[:, 0] = 0
    config = SegmentationConfig()
    torch.testing.assert_close(
        segmentation_loss(wrong, presence, target, known, present, config),
        segmentation_loss(logits, presence, target, known, present, config),
        atol=1e-4,
        rtol=0,
    )


def test_presence_that_is_not_known_is_not_asked() -> None:
    logits, presence, target, known, present = perfect()
    config = SegmentationConfig()
    unknown = segmentation_loss(logits, -presence, target, known, -present, config)
    assert float(unknown) < 1e-3
    assert float(segmentation_loss(logits, -presence, target, known, present, config)) > 5


def test_parts_are_summed_with_their_weights() -> None:
    logits, presence, target, known, present = perfect()
    logits, presence = torch.zeros_like(logits), torch.zeros_like(presence)
    none = SegmentationConfig(0, 0, 0)
    parts = [
        segmentation_loss(logits, presence, target, known, present, replace(none, **{name: 1.0}))
        for name in ("mask", "dice", "presence")
    ]
    whole = segmentation_loss(logits, presence, target, known, present, SegmentationConfig())
    torch.testing.assert_close(whole, sum(parts, torch.zeros(1)))


def test_queries_are_joined_by_their_maximum_or_a_smooth_form_of_it() -> None:
    masks, scores = torch.randn(5, 3, 3), torch.tensor([0.9, 0.1, 0.8, 0.7, 0.2])
    best = masks[[0, 2, 3]].amax(0)
    torch.testing.assert_close(aggregated(masks, scores, 3, "max"), best)
    smooth = aggregated(masks, scores, 3, temperature=0.01)
    torch.testing.assert_close(smooth, best, atol=0.02, rtol=0)


def test_every_chosen_query_learns_from_the_smooth_form() -> None:
    masks = torch.zeros(4, 2, 2, requires_grad=True)
    aggregated(masks, torch.tensor([0.9, 0.8, 0.1, 0.2]), 2).sum().backward()
    assert masks.grad is not None
    assert (masks.grad.abs().sum((1, 2)) > 0).tolist() == [True, True, False, False]
