"""Automatic segmentation: where boxes, masks, classes and scores of a tile come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from uninuc_helpers import TINY, at_scale, make_predictor, tissue

from napari_nucleus.core.image import Tile
from napari_nucleus.models.uninuc.automatic import find_candidates
from napari_nucleus.models.uninuc.crops import draw_prompts
from napari_nucleus.models.uninuc.dense import DenseMaps
from napari_nucleus.models.uninuc.mask_decoder import MaskOutput
from napari_nucleus.models.uninuc.predictor import UniNucPredictor
from napari_nucleus.models.working import to_network, to_working

SHAPE = (80, 96)
BOXES_YX = np.array([[8.0, 12, 20, 30], [40, 60, 56, 72], [30, 4, 40, 20]])
"""Boxes in tile pixels that do not overlap."""


def give(predictor: UniNucPredictor, monkeypatch, scale: float, boxes=BOXES_YX, scores=None):
    """Let the detector find these boxes, given in tile pixels.

    The decoder fills boxes, and gives masks back as they are.
    """
    working = torch.tensor(np.asarray(boxes) * scale, dtype=torch.float32)
    centre = (working[:, :2] + working[:, 2:]).flip(1) / 2
    size = (working[:, 2:] - working[:, :2]).flip(1)
    scores = [0.9, 0.8, 0.7][: len(boxes)] if scores is None else scores
    probability = torch.zeros(len(boxes), 5)
    for i, score in enumerate(scores):
        probability[i, i % 5] = score
    found = probability, torch.cat([centre, size], 1)
    monkeypatch.setattr(predictor.network.detector, "detect", lambda _: found)

    def decode(crops, prompts):
        filled = (draw_prompts(prompts, TINY.decoder)[:, 4] - 0.5) * 16
        earlier = F.interpolate(prompts.logits[:, None], filled.shape[-2:])[:, 0]
        logits = torch.where(prompts.has_logits[:, None, None], earlier, filled)
        n = len(prompts)
        iou = torch.tensor([0.5, 1, 1, 1]).expand(n, 4)
        return MaskOutput(logits[:, None].expand(-1, 4, -1, -1), iou, torch.zeros(n))

    monkeypatch.setattr(predictor.network.segmenter, "decode", decode)


def dense_of(predictor: UniNucPredictor, monkeypatch, foreground, distance, classes) -> None:
    """Let the dense heads answer with these maps ``(h, w)`` and ``(5, h, w)``, at stride 2."""

    def dense(feature):
        none = torch.zeros(1, 2, *feature.shape[-2:])
        return DenseMaps(foreground[None, None], distance[None, None], none, none[:, :1], classes)

    monkeypatch.setattr(predictor.network.segmenter.dense, "forward", dense)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_nuclei_lie_where_the_detector_sees_them(monkeypatch, scale):
    predictor = make_predictor(peak_score=0.0)
    give(predictor, monkeypatch, scale)
    nuclei = predictor.segment(Tile(tissue(SHAPE)), at_scale(scale))
    assert len(nuclei) == 3
    # Masks come on cells of two working pixels, or four in the larger windows.
    assert np.abs(nuclei.boxes - BOXES_YX).max() <= 1 / scale
    assert all(m.mean() > 0.85 for m in nuclei.masks)
    for box, logits in zip(nuclei.boxes, nuclei.logits, strict=True):
        y0, x0, y1, x1 = logits.window
        middle = (box[:2] + box[2:]) / 2
        assert np.abs([(y0 + y1) / 2 - middle[0], (x0 + x1) / 2 - middle[1]]).max() <= 4.5 / scale


def test_the_score_is_that_of_the_box_the_mask_and_the_foreground(monkeypatch):
    predictor = make_predictor(peak_score=0.0, flips=1)
    give(predictor, monkeypatch, 1.0)
    foreground = torch.full((40, 48), 2.0)
    dense_of(predictor, monkeypatch, foreground, foreground * 0, torch.zeros(1, 5, 40, 48))
    nuclei = predictor.segment(Tile(tissue(SHAPE)), at_scale(1.0))
    # Predicted IoU 0.5, presence sigmoid(0), foreground sigmoid(2).
    inside = 1 / (1 + np.exp(-2.0))
    expected = np.array([0.9, 0.8, 0.7]) * 0.5 * 0.5 * inside
    assert np.sort(nuclei.score)[::-1] == pytest.approx(expected, rel=1e-3)


def test_classes_are_the_mean_of_detector_and_dense_heads(monkeypatch):
    predictor = make_predictor(peak_score=0.0, flips=1)
    give(predictor, monkeypatch, 1.0)
    classes = torch.full((1, 5, 40, 48), -20.0)
    classes[0, 3, :, :22], classes[0, 4, :, 22:] = 20.0, 20.0
    foreground = torch.full((40, 48), 5.0)
    dense_of(predictor, monkeypatch, foreground, foreground * 0, classes)
    nuclei = predictor.segment(Tile(tissue(SHAPE)), at_scale(1.0))
    nuclei = nuclei.select(np.argsort(-nuclei.score))
    for i, dense in enumerate((3, 4, 3)):
        expected = np.zeros(5)
        expected[i] += 0.5
        expected[dense] += 0.5
        assert nuclei.class_prob[i] == pytest.approx(expected, abs=1e-3)


def test_detections_off_the_tile_or_unsure_are_left_out(monkeypatch):
    predictor = make_predictor(peak_score=0.0, score_threshold=0.3)
    boxes = np.array([[8.0, 12, 20, 30], [84, 20, 100, 40], [40, 60, 56, 72], [30, 90, 44, 101]])
    give(predictor, monkeypatch, 1.0, boxes, [0.9, 0.9, 0.2, 0.9])
    nuclei = predictor.segment(Tile(tissue(SHAPE)), at_scale(1.0))
    assert sorted(nuclei.boxes.tolist()) == [[8, 12, 20, 30], [30, 90, 44, 96]]


def test_boxes_of_the_dense_heads_join_those_of_the_detector(monkeypatch):
    predictor = make_predictor(peak_score=0.5, flips=1, score_threshold=0.1)
    give(predictor, monkeypatch, 1.0, BOXES_YX[:1], [0.9])
    foreground, distance = torch.full((40, 48), -6.0), torch.zeros(40, 48)
    # One nucleus that the detector has, one that it has not, in cells of two pixels.
    for y0, x0, y1, x1 in ((4, 6, 10, 15), (22, 30, 30, 38)):
        foreground[y0:y1, x0:x1] = 6.0
        distance[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = 0.9
    dense_of(predictor, monkeypatch, foreground, distance, torch.zeros(1, 5, 40, 48))
    working = to_working(tissue(SHAPE), at_scale(1.0), 1, None, 0.0, torch.device("cpu"))
    found = find_candidates(predictor.network, working, predictor.config)
    assert found.boxes.tolist() == [[8, 12, 20, 30], [44, 60, 60, 76]]
    assert found.score == pytest.approx([0.9, 0.5 * 1 / (1 + np.exp(-6))], rel=1e-3)
    assert not found.class_prob[1].any()
    assert found.foreground.shape == SHAPE
    assert found.foreground[50, 70] > 0.9
    assert found.foreground[70, 50] < 0.1
    nuclei = predictor.segment(Tile(tissue(SHAPE)), at_scale(1.0))
    assert len(nuclei) == 2
    without = replace(predictor.config, peak_score=0.0)
    assert len(find_candidates(predictor.network, working, without).boxes) == 1


def test_what_is_mirrored_into_the_padding_makes_no_box(monkeypatch):
    # 41 x 60 pixels are padded to 48 x 64; the nuclei lie in the padding and across its border.
    predictor = make_predictor(flips=1, score_threshold=0.5)
    give(predictor, monkeypatch, 1.0, np.zeros((0, 4)))
    foreground, distance = torch.full((24, 32), -6.0), torch.zeros(24, 32)
    for y0, y1, x0, x1 in ((21, 24, 4, 12), (4, 10, 26, 32)):
        foreground[y0:y1, x0:x1] = 6.0
        distance[y0:y1, x0:x1] = 0.9
    dense_of(predictor, monkeypatch, foreground, distance, torch.zeros(1, 5, 24, 32))
    working = to_working(tissue((41, 60)), at_scale(1.0), 1, None, 0.0, torch.device("cpu"))
    found = find_candidates(predictor.network, working, predictor.config)
    assert found.boxes.tolist() == [[8, 52, 20, 60]]


@pytest.mark.parametrize("flips", [1, 2, 4])
def test_dense_maps_are_averaged_over_mirrored_copies(flips):
    predictor = make_predictor(flips=flips)
    segmenter = predictor.network.segmenter
    rgb = tissue((64, 96))
    working = to_working(rgb, at_scale(1.0), 1, None, 0.0, torch.device("cpu"))
    found = find_candidates(predictor.network, working, predictor.config)

    def foreground_of(picture) -> torch.Tensor:
        alone = to_working(
            np.ascontiguousarray(picture), at_scale(1.0), 1, None, 0.0, torch.device("cpu")
        )
        with torch.inference_mode():
            return segmenter.dense(segmenter.encoder(to_network(alone.rgb, 16))[0]).foreground[0, 0]

    total = foreground_of(rgb)
    if flips > 1:
        total = total + foreground_of(rgb[:, ::-1]).flip(1)
    if flips > 2:
        total = total + foreground_of(rgb[::-1]).flip(0)
        total = total + foreground_of(rgb[::-1, ::-1]).flip(0, 1)
    probability = (total / flips).sigmoid()[None, None]
    expected = F.interpolate(probability, scale_factor=2, mode="bilinear")[0, 0]
    assert np.allclose(found.foreground, expected, atol=1e-4)
