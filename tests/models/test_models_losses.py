"""Losses: IA-BCE, matching, class sets, boxes, dense maps."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from napari_nucleus.models.uninuc.dense import DenseHeads, DenseMaps
from napari_nucleus.models.uninuc.detector import Detections, Proposals
from napari_nucleus.models.uninuc.losses import (
    class_loss,
    dense_loss,
    dice_loss,
    focal_loss,
    heatmap_loss,
)
from napari_nucleus.models.uninuc.set_loss import (
    BoxTargets,
    SetLossConfig,
    decoder_loss,
    denoising_loss,
    giou,
    ia_bce,
    iou_and_giou,
    match,
    proposal_loss,
)

LOSS = SetLossConfig()
REFERENCE = 100.0
KNOWN = [[0.0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
UNKNOWN = [[0.0, 0, 0, 0, 0]]
EITHER = [[1.0, 0, 0, 0, 1]]


def box(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float32)


# ---- boxes


@pytest.mark.parametrize(
    ("a", "b", "iou", "general"),
    [
        ((10, 10, 4, 4), (10, 10, 4, 4), 1.0, 1.0),
        ((2, 2, 4, 4), (4, 2, 4, 4), 1 / 3, 1 / 3),  # side by side, no gap in the hull
        ((2, 2, 4, 4), (4, 4, 4, 4), 4 / 28, 4 / 28 - 8 / 36),
        ((1, 1, 2, 2), (9, 1, 2, 2), 0.0, -12 / 20),
        ((5, 5, 10, 10), (5, 5, 5, 5), 0.25, 0.25),
    ],
)
def test_known_values_of_iou_and_giou(a, b, iou, general):
    found = iou_and_giou(box(*a), box(*b))
    assert float(found[0]) == pytest.approx(iou, abs=1e-6)
    assert float(found[1]) == pytest.approx(general, abs=1e-6)
    assert float(giou(box(*b), box(*a))) == pytest.approx(general, abs=1e-6)


# ---- IA-BCE


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
@settings(max_examples=30, deadline=None)
def test_ia_bce_equals_its_weighted_form(seed, alpha):
    torch.manual_seed(seed)
    logits, iou = torch.randn(6, 5, dtype=torch.float64) * 3, torch.rand(6, dtype=torch.float64)
    positive = torch.zeros(6, 5, dtype=torch.bool)
    positive[[0, 2, 3], [1, 4, 0]] = True
    p = logits.sigmoid()
    t = (p**alpha * iou[:, None] ** (1 - alpha)).clamp(min=0.01)
    up = torch.where(positive, t, 0.0)
    down = torch.where(positive, 1 - t, p**2)
    weighted = (-up * p.log() - down * (1 - p).log()).sum()
    fused = ia_bce(logits, positive, iou, torch.ones_like(positive), alpha)
    assert torch.allclose(fused, weighted)


def test_ia_bce_asks_for_the_confidence_that_the_box_deserves():
    def slope(iou: float, logit: float) -> float:
        x = torch.tensor([[logit]], requires_grad=True)
        positive = torch.ones(1, 1, dtype=torch.bool)
        ia_bce(x, positive, torch.tensor([iou]), positive, 0.25).backward()
        return float(x.grad)

    assert slope(0.9, 0.0) < 0  # too low for a good box
    assert slope(0.1, 2.0) > 0  # too high for a bad one


def test_entries_that_are_not_known_weigh_nothing():
    logits = torch.randn(3, 5, requires_grad=True)
    none = torch.zeros(3, 5, dtype=torch.bool)
    known = none.clone()
    known[1, 2] = True
    ia_bce(logits, none, torch.zeros(3), known, 0.25).backward()
    assert (logits.grad != 0).sum() == 1
    assert logits.grad[1, 2] > 0


# ---- matching


def spread_targets(n: int = 6) -> BoxTargets:
    torch.manual_seed(0)
    boxes = torch.cat([torch.rand(n, 2) * 80 + 10, torch.rand(n, 2) * 10 + 6], dim=1)
    sets = F.one_hot(torch.arange(n) % 5, 5).float()
    return BoxTargets(boxes, sets)


def test_matching_finds_the_obvious_assignment():
    target = spread_targets()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    boxes = torch.cat([torch.full((4, 4), 7.0), target.boxes[order] + 0.3])
    logits = torch.full((10, 5), -4.0)
    logits[4:] = 8 * target.class_set[order] - 4
    query, nucleus = match(logits, boxes, target, LOSS, REFERENCE)
    assert (query >= 4).all()
    assert torch.equal(order[query - 4], nucleus)
    assert sorted(nucleus.tolist()) == list(range(6))


def test_of_two_equal_boxes_the_right_class_is_matched():
    target = BoxTargets(box(20, 20, 10, 10), torch.tensor(KNOWN[:1]))
    logits = torch.full((2, 5), -4.0)
    logits[0, 1], logits[1, 2] = 2.0, 2.0
    query, _ = match(logits, box(20, 20, 10, 10).repeat(2, 1), target, LOSS, REFERENCE)
    assert query.tolist() == [1]


def test_a_nucleus_of_unknown_class_is_matched_by_its_box():
    target = BoxTargets(box(20, 20, 10, 10), torch.tensor(UNKNOWN))
    boxes = torch.cat([box(60, 20, 10, 10), box(21, 20, 10, 10)])
    query, _ = match(torch.full((2, 5), -2.0), boxes, target, LOSS, REFERENCE)
    assert query.tolist() == [1]


# ---- class sets


def test_the_likeliest_of_the_right_classes_counts():
    targets = BoxTargets(torch.ones(3, 4), torch.tensor([*EITHER, *UNKNOWN, KNOWN[0]]))
    logits = torch.tensor([[0.0, 9, 9, 9, 1], [0, 0, 0, 5, 0], [9, 9, 0, 9, 9]])
    assert targets.right_class(logits).tolist() == [4, 3, 2]


def detections(logits: torch.Tensor, boxes: torch.Tensor, layers: int = 1) -> Detections:
    return Detections(
        logits[None, None].expand(layers, 1, -1, -1), boxes[None, None].expand(layers, 1, -1, -1)
    )


@pytest.mark.parametrize(
    ("sets", "pushed_down", "pulled_up"),
    [(UNKNOWN, [], 3), (EITHER, [1, 2, 3], 4), (KNOWN[:1], [0, 1, 3, 4], 2)],
    ids=["unknown", "either", "known"],
)
def test_classes_that_may_be_right_are_not_pushed_down(sets, pushed_down, pulled_up):
    logits = torch.tensor([[-2.0, -2, -2, -1, -1.5]], requires_grad=True)
    target = BoxTargets(box(20, 20, 10, 10), torch.tensor(sets))
    decoder_loss(detections(logits, target.boxes), [target], [1], LOSS, REFERENCE).backward()
    gradient = logits.grad[0]
    assert gradient[pulled_up] < 0
    assert [c for c in range(5) if gradient[c] > 0] == pushed_down
    assert int((gradient == 0).sum()) == 4 - len(pushed_down)


def test_unmatched_queries_are_pushed_down_in_every_class():
    logits = torch.zeros(3, 5, requires_grad=True)
    target = BoxTargets(box(20, 20, 10, 10), torch.tensor(UNKNOWN))
    boxes = torch.cat([target.boxes, box(70, 70, 9, 9), box(50, 20, 9, 9)])
    decoder_loss(detections(logits, boxes), [target], [3], LOSS, REFERENCE).backward()
    assert (logits.grad[1:] > 0).all()
    assert (logits.grad[0] <= 0).all()


# ---- the set loss as a whole


def test_each_group_is_matched_on_its_own_and_averaged():
    target = spread_targets(3)
    logits, boxes = torch.randn(5, 5), torch.rand(5, 4) * 50 + 5
    one = decoder_loss(detections(logits, boxes), [target], [5], LOSS, REFERENCE)
    twice = detections(torch.cat([logits] * 2), torch.cat([boxes] * 2), layers=3)
    assert torch.allclose(decoder_loss(twice, [target], [5, 5], LOSS, REFERENCE), one, atol=1e-5)


def test_a_picture_without_nuclei_pushes_everything_down():
    none = BoxTargets(torch.zeros(0, 4), torch.zeros(0, 5))
    logits = torch.zeros(2, 5, requires_grad=True)
    boxes = (torch.rand(2, 4) * 50).requires_grad_()
    decoder_loss(detections(logits, boxes), [none], [2], LOSS, REFERENCE).backward()
    assert (logits.grad > 0).all()
    assert boxes.grad is None or not boxes.grad.any()


def test_perfect_boxes_cost_nothing_and_weights_scale_the_rest():
    target = spread_targets(4)
    sure = 20 * target.class_set - 10
    good = decoder_loss(detections(sure, target.boxes), [target], [4], LOSS, REFERENCE)
    assert float(good) < 0.05
    off = detections(sure, target.boxes + torch.tensor([1.0, 0, 0, 0]))
    only_l1 = replace(LOSS, classes=0.0, giou=0.0)
    assert float(decoder_loss(off, [target], [4], only_l1, REFERENCE)) == pytest.approx(
        LOSS.l1 * 1 / REFERENCE, rel=1e-4
    )


def test_denoising_queries_answer_for_the_nucleus_they_were_made_from():
    target = spread_targets(3)
    index = torch.tensor([[0, 1, 2, -1]])
    sure = torch.cat([20 * target.class_set - 10, torch.full((1, 5), 10.0)])
    boxes = torch.cat([target.boxes, box(1, 1, 90, 90)])
    out = detections(sure, boxes)
    assert float(denoising_loss(out, [target], index, LOSS, REFERENCE)) < 0.05
    swapped = torch.tensor([[1, 0, 2, -1]])
    assert float(denoising_loss(out, [target], swapped, LOSS, REFERENCE)) > 1


def test_cells_in_the_central_half_of_a_nucleus_propose_it():
    y, x = torch.meshgrid(torch.arange(16) * 4 + 2.0, torch.arange(16) * 4 + 2.0, indexing="ij")
    anchors = torch.stack([x, y, torch.full_like(x, 12), torch.full_like(x, 12)], -1).reshape(-1, 4)
    target = BoxTargets(box(30, 22, 24, 16), torch.tensor(KNOWN[:1]))
    logits = torch.full((1, 256, 5), -6.0, requires_grad=True)
    proposals = Proposals(logits, anchors[None], torch.zeros(1, 256, 4))
    proposal_loss(proposals, anchors, [target], LOSS, REFERENCE).backward()
    up = (logits.grad[0, :, 2] < 0).nonzero()[:, 0]
    inside = (anchors[:, 0] - 30).abs().le(6) & (anchors[:, 1] - 22).abs().le(4)
    assert up.tolist() == inside.nonzero()[:, 0].tolist()
    assert len(up) == 3 * 3  # x 26, 30, 34 and y 18, 22, 26
    silent = (logits.grad[0] == 0).all(1)
    rim = (anchors[:, 0] - 30).abs().le(9.6) & (anchors[:, 1] - 22).abs().le(6.4) & ~inside
    assert torch.equal(silent, rim)


def test_a_nucleus_smaller_than_a_cell_is_proposed_by_the_nearest():
    anchors = torch.tensor([[8.0, 8, 12, 12], [24, 8, 12, 12], [8, 24, 12, 12], [24, 24, 12, 12]])
    target = BoxTargets(box(20, 11, 2, 2), torch.tensor(KNOWN[:1]))
    logits = torch.full((1, 4, 5), -6.0, requires_grad=True)
    proposals = Proposals(logits, anchors[None], torch.zeros(1, 4, 4))
    proposal_loss(proposals, anchors, [target], LOSS, REFERENCE).backward()
    assert (logits.grad[0, :, 2] < 0).tolist() == [False, True, False, False]


# ---- masks and dense maps


def test_dice_and_focal_are_small_for_right_and_large_for_wrong_masks():
    target = torch.zeros(1, 8, 8)
    target[0, 2:6, 2:6] = 1
    right = (target * 2 - 1) * 12
    for loss in (dice_loss, focal_loss):
        assert float(loss(right, target)) < 1e-3
        assert float(loss(-right, target)) > 0.5
    assert float(dice_loss(right, torch.zeros(1, 8, 8))) > 0.9


def test_focal_with_gamma_0_is_weighted_cross_entropy():
    logits, target = torch.randn(3, 10), torch.randint(0, 2, (3, 10)).float()
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    expected = (torch.where(target > 0, 0.3, 0.7) * ce).mean(1)
    assert torch.allclose(focal_loss(logits, target, alpha=0.3, gamma=0.0), expected)


def test_class_loss_is_minus_log_of_the_summed_probability():
    logits = torch.randn(1, 5, 2)
    p = logits.softmax(1)
    sets = torch.zeros(1, 5, 2)
    sets[0, [0, 4], 0] = 1
    sets[0, 2, 1] = 1
    weights = torch.ones(5)
    expected = -((p[0, 0, 0] + p[0, 4, 0]).log() + p[0, 2, 1].log()) / 2
    assert torch.allclose(class_loss(logits, sets, weights), expected)
    sets[0, :, 1] = 0
    expected = -(p[0, 0, 0] + p[0, 4, 0]).log()
    assert torch.allclose(class_loss(logits, sets, weights), expected)
    assert float(class_loss(logits, torch.zeros(1, 5, 2), weights)) == 0


def test_a_heatmap_is_best_where_its_centres_are():
    target = torch.zeros(1, 9, 9)
    target[0, 4, 4] = 1
    weight = torch.ones(1, 9, 9)
    right = torch.full((1, 9, 9), -8.0)
    right[0, 4, 4] = 8
    assert float(heatmap_loss(right, target, weight)) < 0.01
    assert float(heatmap_loss(right.roll(1, 2), target, weight)) > 5
    unknown = weight.clone()
    unknown[0, :, 5] = 0
    spurious = right.clone()
    spurious[0, 2, 5] = 8
    assert float(heatmap_loss(spurious, target, unknown)) < 0.01


def make_targets(known: float = 1.0) -> dict[str, torch.Tensor]:
    shape = (1, 8, 8)
    fg = torch.zeros(shape)
    fg[0, 2:5, 2:5] = 1
    sets = torch.zeros(1, 5, 8, 8)
    sets[0, 1, 2:5, 2:5] = 1
    heat = torch.zeros(shape)
    heat[0, 3, 3] = 1
    return {
        "foreground": fg,
        "distance": fg * 0.7,
        "hv": torch.zeros(1, 2, 8, 8),
        "heatmap": heat,
        "known": torch.full(shape, known),
        "class_set": sets,
    }


def test_right_dense_maps_cost_little_and_each_wrong_one_costs():
    targets = make_targets()
    sign = targets["foreground"][:, None] * 2 - 1
    right = DenseMaps(
        sign * 10,
        targets["distance"][:, None],
        targets["hv"],
        targets["heatmap"][:, None] * 20 - 10,
        targets["class_set"] * 20 - 10,
    )
    weights = torch.ones(5)
    loss, parts = dense_loss(right, targets, weights)
    assert float(loss) < 0.1
    assert set(parts) == {"fg_bce", "fg_dice", "distance", "hv", "heat", "class"}
    for name in DenseMaps._fields:
        wrong = right._replace(**{name: right._asdict()[name].roll(4, -1) + 0.5})
        assert float(dense_loss(wrong, targets, weights)[0]) > float(loss) + 0.05


def test_where_only_points_are_known_the_rest_teaches_nothing():
    targets = make_targets(0.0)
    targets["known"][0, 2:5, 2:5] = 1
    leaves = [torch.zeros(1, c, 8, 8, requires_grad=True) for c in (1, 1, 2, 1, 5)]
    dense_loss(DenseMaps(*leaves), targets, torch.ones(5))[0].backward()
    unknown = targets["known"][0] == 0
    foreground, distance, hv, heatmap, _ = leaves
    for leaf in (foreground, heatmap):
        assert leaf.grad[0, 0][unknown].abs().max() == 0
        assert leaf.grad[0, 0][~unknown].abs().sum() > 0
    assert not distance.grad.any()
    assert not hv.grad.any()


def test_flipped_maps_are_the_maps_of_the_flipped_picture():
    heads = DenseHeads(4, 8, 5).eval()
    feature = torch.randn(1, 4, 6, 10)
    maps = heads(feature)
    for axes in ((2,), (3,), (2, 3)):
        twice = maps.flipped(axes).flipped(axes)
        assert all(torch.equal(a, b) for a, b in zip(maps, twice, strict=True))
    right = maps.flipped((3,))
    assert torch.equal(right.hv[0, 0], -maps.hv[0, 0].flip(1))
    assert torch.equal(right.hv[0, 1], maps.hv[0, 1].flip(1))
    down = maps.flipped((2,))
    assert torch.equal(down.hv[0, 1], -maps.hv[0, 1].flip(0))
    assert torch.equal(down.foreground[0, 0], maps.foreground[0, 0].flip(0))


def test_dense_heads_begin_with_rare_foreground_and_rarer_centres():
    torch.manual_seed(0)
    maps = DenseHeads(4, 8, 5)(torch.zeros(1, 4, 6, 6))
    assert float(maps.foreground.sigmoid().mean()) == pytest.approx(0.2, abs=0.08)
    assert float(maps.heatmap.sigmoid().mean()) == pytest.approx(0.01, abs=0.01)
