"""Windows of UperHoVer: what overlapping answers become when they are joined."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from uperhover_helpers import PLAIN, TINY, Rule, constant, make_network

from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.windows import predict_maps, window_starts

SMALL = replace(TINY.inference, window=16, stride=8, flips=1)
"""Windows of 16 px every 8 px."""


class Script:
    """Answers the windows in their order with given classes and offsets."""

    def __init__(self, *answers):
        self.answers = iter(answers)

    def __call__(self, pixels):
        assert len(pixels) == 1
        class_id, hv = next(self.answers)
        return constant(class_id, (hv, hv))(pixels)


def scripted(config, shape, *answers):
    rule = Rule(Script(*answers), config)
    maps = predict_maps(rule, torch.rand(1, 3, *shape), config, batch=1)
    assert next(rule.answer.answers, None) is None
    return maps.classes[0].numpy(), maps.hv[0].numpy()


# ---- where windows lie


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (1, [0]),
        (223, [0]),
        (224, [0]),
        (225, [0, 1]),
        (336, [0, 112]),
        (337, [0, 112, 113]),
        (500, [0, 112, 224, 276]),
    ],
)
def test_windows_cover_an_axis_and_the_last_is_flush(length, starts):
    assert window_starts(length, InferenceConfig()) == starts


@pytest.mark.parametrize("fusion", ["gaussian", "paper"])
@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 5), (16, 16), (17, 31), (33, 50)])
def test_a_constant_network_gives_constant_maps(shape, padding, fusion):
    config = replace(SMALL, fusion=fusion, padding=padding)
    maps = predict_maps(Rule(constant(3, (0.25, -0.5))), torch.rand(1, 3, *shape), config)
    assert maps.classes.shape == (1, 6, *shape)
    assert maps.hv.shape == (1, 2, *shape)
    assert torch.allclose(maps.classes[:, 3], torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(maps.classes.sum(1), torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(maps.hv[:, 0], torch.tensor(0.25), atol=1e-5)
    assert torch.allclose(maps.hv[:, 1], torch.tensor(-0.5), atol=1e-5)


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_windows_show_the_tile_and_what_it_is_extended_with(padding):
    seen = []

    def answer(pixels):
        seen.append(pixels.clone())
        return constant(0)(pixels)

    rgb = torch.rand(1, 3, 10, 21)
    predict_maps(Rule(answer), rgb, replace(SMALL, padding=padding))
    windows = torch.cat(seen)
    assert windows.shape == (2, 3, 16, 16)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    shown = windows * std + mean
    assert torch.allclose(shown[0, :, :10], rgb[0, :, :, :16], atol=1e-5)
    assert torch.allclose(shown[1, :, :10], rgb[0, :, :, 5:21], atol=1e-5)
    below = shown[0, :, 10:]
    if padding == "zero":  # black before normalisation, as published
        assert torch.allclose(below, torch.tensor(0.0), atol=1e-5)
    else:
        assert torch.allclose(below, rgb[0, :, 3:9, :16].flip(1), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_does_not_matter(batch):
    network, rgb = make_network(PLAIN), torch.rand(1, 3, 60, 90)
    one = predict_maps(network, rgb, PLAIN.inference, 1)
    more = predict_maps(network, rgb, PLAIN.inference, batch)
    assert torch.allclose(one.classes, more.classes, atol=1e-5)
    assert torch.allclose(one.hv, more.hv, atol=1e-4)


def test_maps_are_probabilities_without_gradients():
    maps = predict_maps(make_network(TINY), torch.rand(1, 3, 70, 64), TINY.inference)
    assert torch.allclose(maps.classes.sum(1), torch.tensor(1.0), atol=1e-5)
    assert float(maps.classes.min()) >= 0
    assert not maps.classes.requires_grad


# ---- feathered


@pytest.mark.parametrize("feather", [0.8, 0.4])
def test_weights_are_the_gaussian_of_the_published_windows(feather):
    config = InferenceConfig(feather=feather)
    side, sigma = 224, feather * 56
    r = np.arange(side) + 0.5 - side / 2
    line = np.exp(-0.5 * (r / sigma) ** 2)
    weight = np.maximum(line[:, None] * line[None], 1e-3)
    assert InferenceConfig().feather == 0.8
    assert (weight == 1e-3).any() == (feather == 0.4)  # narrow ones reach the floor
    _, hv = scripted(config, (224, 336), (1, 0.0), (1, 1.0))
    assert np.allclose(hv[:, :, :112], 0, atol=1e-6)
    assert np.allclose(hv[:, :, 224:], 1, atol=1e-6)
    first, second = weight[:, 112:], weight[:, :112]
    assert np.allclose(hv[0, :, 112:224], second / (first + second), atol=1e-5)


def test_class_probabilities_are_averaged_with_the_same_weights():
    classes, hv = scripted(SMALL, (16, 24), (2, 0.0), (4, 1.0))
    assert np.allclose(classes[4], hv[0], atol=1e-5)
    assert np.allclose(classes[2], 1 - hv[0], atol=1e-5)


def test_a_wider_feather_counts_the_border_of_windows_more():
    def at_the_seam(feather):
        return scripted(replace(SMALL, feather=feather), (16, 24), (1, 0.0), (1, 1.0))[1][0, 8, 8]

    assert at_the_seam(0.5) < at_the_seam(0.8) < at_the_seam(3.0) < 0.5


# ---- as in the paper


PAPER = replace(SMALL, fusion="paper")


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [(2, 0, 2), (0, 2, 2), (2, 4, 4), (4, 2, 2), (0, 0, 0)],
)
def test_foreground_has_priority_and_the_last_offsets_stay(first, second, overlap):
    classes, hv = scripted(PAPER, (16, 24), (first, 0.25), (second, -0.75))
    found = classes.argmax(0)
    assert (found[:, :8] == first).all()
    assert (found[:, 8:16] == overlap).all()
    assert (found[:, 16:] == second).all()
    assert (hv[:, :, :8] == 0.25).all()
    assert (hv[:, :, 8:] == -0.75).all()


def test_windows_follow_each_other_in_rows():
    classes, hv = scripted(PAPER, (24, 24), (1, 0.1), (0, 0.2), (2, 0.3), (0, 0.4))
    found = classes.argmax(0)
    # y, x of the four windows: (0, 0), (0, 8), (8, 0), (8, 8)
    assert found[4, 4] == 1
    assert found[4, 12] == 1
    assert found[4, 20] == 0
    assert found[12, 4] == found[12, 12] == 2
    assert found[20, 20] == 0
    assert np.allclose(hv[0, [4, 4, 12, 12], [4, 20, 4, 20]], [0.1, 0.2, 0.3, 0.4])


# ---- mirrored copies


def asymmetric(pixels):
    """Answers that depend on where a pixel lies in the window."""
    b, _, h, w = pixels.shape
    y, x = torch.meshgrid(torch.arange(h) / h, torch.arange(w) / w, indexing="ij")
    logits = torch.stack([x, y, x * y, pixels[0, 0] * x, y - x, x + 0 * y])
    hv = torch.stack([pixels[0, 1] + x, pixels[0, 2] * y + x])
    return logits[None].expand(b, -1, -1, -1), hv[None].expand(b, -1, -1, -1)


@pytest.mark.parametrize("axes", [(3,), (2,), (2, 3)])
@pytest.mark.parametrize("kind", ["rule", "network"])
def test_four_copies_make_the_answer_equivariant(axes, kind):
    config = replace(TINY.inference, flips=4)
    network = Rule(asymmetric) if kind == "rule" else make_network(TINY)
    rgb = torch.rand(1, 3, 64, 64)
    there = predict_maps(network, rgb.flip(axes), config)
    back = predict_maps(network, rgb, config).flipped(axes)
    assert torch.allclose(there.classes, back.classes, atol=1e-5)
    assert torch.allclose(there.hv, back.hv, atol=1e-4)
    single = replace(config, flips=1)
    there = predict_maps(network, rgb.flip(axes), single)
    back = predict_maps(network, rgb, single).flipped(axes)
    assert not torch.allclose(there.hv, back.hv, atol=1e-3)


def test_two_copies_are_of_left_and_right():
    config = replace(TINY.inference, flips=2)
    rgb = torch.rand(1, 3, 64, 64)
    there = predict_maps(Rule(asymmetric), rgb.flip(3), config)
    back = predict_maps(Rule(asymmetric), rgb, config).flipped((3,))
    assert torch.allclose(there.classes, back.classes, atol=1e-5)
    assert torch.allclose(there.hv, back.hv, atol=1e-5)


def test_offsets_that_point_one_way_in_every_copy_cancel():
    for flips, expected in ((1, (0.5, 0.25)), (2, (0.0, 0.25)), (4, (0.0, 0.0))):
        config = replace(SMALL, flips=flips)
        hv = predict_maps(Rule(constant(1, (0.5, 0.25))), torch.rand(1, 3, 16, 16), config).hv
        for plane, value in zip(hv[0], expected, strict=True):
            assert torch.allclose(plane, torch.tensor(value), atol=1e-6)


# ---- the order of classes


@pytest.mark.parametrize("fusion", ["gaussian", "paper"])
@pytest.mark.parametrize("order", [(1, 2, 3, 4, 5, 0), (3, 0, 5, 1, 2, 4)])
def test_outputs_go_to_the_class_they_stand_for(order, fusion):
    config = replace(SMALL, class_order=order, fusion=fusion)
    for output, class_id in enumerate(order):
        maps = predict_maps(Rule(constant(output)), torch.rand(1, 3, 16, 24), config)
        assert (maps.classes[0].argmax(0) == class_id).all()


def test_the_paper_gives_foreground_priority_after_the_classes_are_put_in_order():
    # Output 0 is class 1 here, output 5 is the background.
    config = replace(PAPER, class_order=(1, 2, 3, 4, 5, 0))
    classes, _ = scripted(config, (16, 24), (0, 0.0), (5, 0.0))
    assert (classes.argmax(0)[:, :16] == 1).all()
    assert (classes.argmax(0)[:, 16:] == 0).all()
