"""Losses of UperHoVer: what is known teaches, in its own weight; what is not known does not."""

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from napari_nucleus.models.uperhover.losses import (
    LossConfig,
    class_loss,
    foreground_dice,
    gradients,
    offset_loss,
    uperhover_loss,
)
from napari_nucleus.models.uperhover.network import Maps

PLAIN = LossConfig()
WEIGHED = LossConfig(class_weights=(0.5, 3.0, 1.0, 2.0, 0.7))


def maps(seed=0, shape=(2, 5, 7)):
    generator = torch.Generator().manual_seed(seed)
    b, h, w = shape
    logits = torch.randn(b, 6, h, w, generator=generator) * 2
    classes = torch.randint(0, 6, shape, generator=generator)
    return logits.requires_grad_(), classes


def sets(classes):
    """One class is right; none where it is 255."""
    known = torch.where(classes == 255, 0, classes)
    out = F.one_hot(known, 6).permute(0, 3, 1, 2)
    return (out * (classes != 255)[:, None]).to(torch.uint8)


# ---- classes


def test_known_classes_of_equal_weight_are_the_plain_cross_entropy():
    logits, classes = maps()
    assert torch.allclose(
        class_loss(logits, sets(classes), PLAIN), F.cross_entropy(logits, classes), atol=1e-5
    )


def test_unknown_pixels_are_left_out_as_ignored_ones():
    logits, classes = maps()
    classes[:, :2] = 255
    loss = class_loss(logits, sets(classes), PLAIN)
    assert torch.allclose(loss, F.cross_entropy(logits, classes, ignore_index=255), atol=1e-5)
    loss.backward()
    assert not logits.grad[:, :, :2].any()
    assert logits.grad[:, :, 2:].all(dim=1).any()


def test_where_nothing_is_known_nothing_is_learnt():
    logits, _ = maps()
    loss = class_loss(logits, torch.zeros(2, 6, 5, 7, dtype=torch.uint8), PLAIN)
    loss.backward()
    assert float(loss) == 0
    assert not logits.grad.any()


def test_either_of_two_classes_is_the_sum_of_their_probabilities():
    logits, classes = maps()
    classes[:] = 1
    both = sets(classes)
    both[:, 5] = 1
    p = logits.softmax(1)
    assert torch.allclose(
        class_loss(logits, both, PLAIN), -(p[:, 1] + p[:, 5]).log().mean(), atol=1e-5
    )


def test_an_unknown_class_teaches_only_that_it_is_a_nucleus():
    logits, classes = maps()
    every = torch.ones(2, 6, 5, 7, dtype=torch.uint8)
    every[:, 0] = 0
    for config in (PLAIN, WEIGHED):
        loss = class_loss(logits, every, config)
        assert torch.allclose(loss, -(1 - logits.softmax(1)[:, 0]).log().mean(), atol=1e-5)
    loss.backward()
    # Each class rises by its share of the nuclei's probability: their proportions stay.
    p = logits.detach().softmax(1)
    inside = p[:, 1:] / p[:, 1:].sum(1, keepdim=True)
    expected = -(inside * p[:, :1]) / classes.numel()
    assert torch.allclose(logits.grad[:, 1:], expected, atol=1e-6)


def test_class_weights_do_not_change_what_is_learnt_of_presence():
    _, classes = maps()
    found = []
    for config in (PLAIN, WEIGHED):
        logits, _ = maps()
        class_loss(logits, sets(classes), config).backward()
        found.append(logits.grad)
    assert torch.allclose(found[0][:, 0], found[1][:, 0], atol=1e-7)
    assert not torch.allclose(found[0][:, 1:], found[1][:, 1:], atol=1e-4)
    background = classes == 0
    for a, b in zip(found[0].transpose(0, 1), found[1].transpose(0, 1), strict=True):
        assert torch.allclose(a[background], b[background], atol=1e-7)


@pytest.mark.parametrize("class_id", [1, 2, 4])
def test_a_class_counts_by_its_weight(class_id):
    logits, classes = maps()
    classes[:] = class_id
    p = logits.softmax(1)
    presence = -(1 - p[:, 0]).log().mean()
    which = -(p[:, class_id] / (1 - p[:, 0])).log().mean()
    expected = presence + WEIGHED.class_weights[class_id - 1] * which
    assert torch.allclose(class_loss(logits, sets(classes), WEIGHED), expected, atol=1e-5)


def test_either_of_two_classes_has_their_mean_weight():
    logits, classes = maps()
    classes[:] = 1
    both = sets(classes)
    both[:, 5] = 1
    p = logits.softmax(1)
    inside = 1 - p[:, 0]
    expected = -inside.log().mean() - 0.6 * ((p[:, 1] + p[:, 5]) / inside).log().mean()
    assert torch.allclose(class_loss(logits, both, WEIGHED), expected, atol=1e-5)


def test_logits_that_are_very_sure_give_finite_gradients():
    for order in permutations((300.0, 0.0, -300.0)):
        logits = torch.zeros(1, 6, 1, 3)
        logits[0, [0, 1, 2], 0, :] = torch.tensor(order)[:, None]
        logits.requires_grad_()
        loss = class_loss(logits, sets(torch.tensor([[[0, 1, 2]]])), WEIGHED)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


# ---- foreground


def test_dice_by_hand():
    p = torch.tensor([[[0.9, 0.8, 0.3, 0.1]]])
    logits = torch.log(torch.stack([1 - p, *[p / 5] * 5], 1))
    target = sets(torch.tensor([[[1, 2, 3, 0]]]))
    expected = 1 - (2 * (0.9 + 0.8 + 0.3) + 1) / (2.1 + 3 + 1)
    assert float(foreground_dice(logits, target)) == pytest.approx(expected, abs=1e-5)
    # The last pixel is not known: it counts on neither side.
    target = sets(torch.tensor([[[1, 2, 255, 0]]]))
    expected = 1 - (2 * (0.9 + 0.8) + 1) / (1.8 + 2 + 1)
    assert float(foreground_dice(logits, target)) == pytest.approx(expected, abs=1e-5)


def test_dice_is_none_of_the_loss_by_default():
    logits, classes = maps()
    hv = torch.zeros(2, 2, 5, 7)
    targets = {"class_set": sets(classes), "hv": hv, "hv_mask": torch.ones(2, 5, 7)}
    plain, parts = uperhover_loss(Maps(logits, hv), targets, PLAIN)
    assert set(parts) == {"class", "hv", "gradient"}
    more, parts = uperhover_loss(Maps(logits, hv), targets, LossConfig(dice=0.5))
    assert float(more - plain) == pytest.approx(0.5 * parts["dice"], abs=1e-6)
    assert parts["dice"] == pytest.approx(float(foreground_dice(logits, sets(classes))))


# ---- offsets


def ramp(slope_x, slope_y, shape=(9, 11)):
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    return torch.stack([slope_x * x + 0.3 * y, slope_y * y - 0.2 * x])[None]


def test_offsets_at_their_target_cost_nothing():
    target = torch.randn(2, 2, 6, 8)
    for sobel5 in (False, True):
        error, slope = offset_loss(
            target.clone(), target, torch.ones(2, 6, 8), LossConfig(sobel5=sobel5)
        )
        assert float(error) == float(slope) == 0


def test_the_slope_of_a_ramp_is_its_gradient():
    found = gradients(ramp(0.1, -0.05))
    inner = found[0, :, 1:-1, 1:-1]
    assert torch.allclose(inner[0], torch.tensor(0.1), atol=1e-6)
    assert torch.allclose(inner[1], torch.tensor(-0.05), atol=1e-6)


def test_hovernets_kernel_is_the_published_one():
    point = torch.zeros(1, 2, 9, 9)
    point[..., 4, 4] = 1
    found = gradients(point, sobel5=True)[0, :, 2:7, 2:7]
    for row in range(5):
        for column in range(5):
            # What a pixel gets of the point is the kernel mirrored at its centre.
            v, h = 2 - row, 2 - column
            weight = 1 / (h * h + v * v + 1e-15)
            assert float(found[0, row, column]) == pytest.approx(h * weight, rel=1e-5)
            assert float(found[1, row, column]) == pytest.approx(v * weight, rel=1e-5)


def test_offset_errors_by_hand():
    hv, target = torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
    hv[0, 0] = 0.5
    hv[0, 1] = -1.0
    mask = torch.zeros(1, 4, 5)
    mask[0, 1, 1:4] = 1
    error, slope = offset_loss(hv, target, mask, PLAIN)
    assert float(error) == pytest.approx(0.25 + 1.0)  # both channels, over the nuclei's pixels
    assert float(slope) == 0
    hv = ramp(0.2, 0.4, (4, 5))
    _, slope = offset_loss(hv, target, mask, PLAIN)
    assert float(slope) == pytest.approx(0.04 + 0.16, abs=1e-5)


def test_offsets_outside_nuclei_teach_nothing_but_through_the_slope_beside_them():
    hv = torch.randn(1, 2, 7, 9).requires_grad_()
    mask = torch.zeros(1, 7, 9)
    mask[0, 3, 2:5] = 1
    error, _ = offset_loss(hv, torch.zeros(1, 2, 7, 9), mask, PLAIN)
    error.backward()
    assert not hv.grad[:, :, mask[0] == 0].any()
    assert hv.grad[:, :, mask[0] > 0].all()
    hv.grad = None
    _, slope = offset_loss(hv, torch.zeros(1, 2, 7, 9), mask, PLAIN)
    slope.backward()
    assert not hv.grad[..., 6:].any()
    assert not hv.grad[:, :, 0].any()
    assert hv.grad[:, 0, 3, 1].any()


def test_no_nuclei_are_no_error():
    hv = torch.randn(1, 2, 4, 4).requires_grad_()
    error, slope = offset_loss(hv, torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4), PLAIN)
    (error + slope).backward()
    assert float(error) == float(slope) == 0
    assert not hv.grad.any()


def test_the_whole_loss_is_the_papers_sum():
    logits, classes = maps()
    hv, target = torch.randn(2, 2, 5, 7), torch.randn(2, 2, 5, 7)
    targets = {"class_set": sets(classes), "hv": target, "hv_mask": (classes > 0).float()}
    loss, parts = uperhover_loss(Maps(logits, hv), targets, LossConfig(hv=3.0))
    expected = parts["class"] + 3 * (parts["hv"] + 2 * parts["gradient"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert parts["class"] == pytest.approx(float(F.cross_entropy(logits, classes)), rel=1e-5)


def test_half_precision_is_summed_in_single():
    logits, classes = maps()
    hv = torch.randn(2, 2, 5, 7)
    targets = {"class_set": sets(classes), "hv": hv * 0, "hv_mask": torch.ones(2, 5, 7)}
    loss, _ = uperhover_loss(Maps(logits.bfloat16(), hv.bfloat16()), targets, PLAIN)
    assert loss.dtype == torch.float32
