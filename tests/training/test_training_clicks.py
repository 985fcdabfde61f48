"""Objects with prompts, simulated clicks, and losses that go down."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from training_helpers import draw_labels, make_crop
from uninuc_helpers import TINY, make_network

from napari_nucleus.models.uninuc.crops import LOGIT_RANGE
from napari_nucleus.models.uninuc.mask_decoder import MaskOutput
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.prompt_encoder import NEGATIVE, PADDING, POSITIVE
from napari_nucleus.training.batches import dense_batch
from napari_nucleus.training.click_targets import (
    ClickObjects,
    ObjectConfig,
    corrupt_mask,
    draw_objects,
)
from napari_nucleus.training.clicks import (
    ClickConfig,
    ClickLoss,
    _spoilt_loss,
    first_prompts,
    mask_iou,
    simulate_clicks,
    simulate_corrections,
)
from napari_nucleus.training.detection import DetectorLoss, TeachingConfig, box_batch
from napari_nucleus.training.sampler import Crop
from napari_nucleus.training.uninuc import CLASS_WEIGHTS, DenseLoss, DenseNetwork, click_batch

CPU = torch.device("cpu")
DECODER = TINY.decoder
SIDE = 2 * DECODER.crop_grid


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def objects_of(crops, seed: int = 0, **config) -> ClickObjects:
    return draw_objects(crops, DECODER, replace(ObjectConfig(), **config), rng(seed))


def square_crop(y0: int, x0: int, side: int, size: int = 128) -> Crop:
    labels = np.zeros((size, size), np.int32)
    labels[y0 : y0 + side, x0 : x0 + side] = 1
    rgb = np.full((size, size, 3), 200, np.uint8)
    return Crop(rgb, labels, np.array([0, 2], np.uint8), np.ones(labels.shape, bool))


# ---- objects


def test_every_crop_gives_the_same_number_of_objects():
    none = replace(make_crop(), labels=np.zeros((64, 64), np.int32))
    objects = objects_of([make_crop(), none, make_crop(seed=1)], per_crop=7)
    assert objects.tile_index.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert objects.is_object[7:14].sum() == 0
    assert objects.truth[7:14].sum() == 0
    assert objects.windows.shape == (21, 4)
    assert objects.truth.shape == objects.start_mask.shape == (21, SIDE, SIDE)


def test_points_lie_in_their_nucleus_and_on_background_otherwise():
    crop = make_crop(96, n=10)
    objects = objects_of([crop], per_crop=60, negatives=0.3, box_start=0.0, corrupted_start=0.0)
    rows, cols = objects.points_yx.floor().long().T.numpy()
    assert ((objects.points_yx % 1) == 0.5).all()
    assert np.array_equal(crop.labels[rows, cols] > 0, objects.is_object.numpy() > 0)
    assert 0 < objects.is_object.sum() < 60
    # Truth is of the nucleus that the point lies in.
    for i in range(60):
        y0, x0, y1, _ = objects.windows[i].tolist()
        cell = (y1 - y0) / SIDE
        r, c = int((rows[i] + 0.5 - y0) / cell), int((cols[i] + 0.5 - x0) / cell)
        assert (objects.truth[i, r, c] > 0.5) == (objects.is_object[i] > 0)


@pytest.mark.parametrize("side", [14, 30])
def test_truth_lies_where_the_nucleus_does_in_small_and_large_windows(side):
    crop = square_crop(41, 53, side)
    objects = objects_of([crop], per_crop=5, negatives=0.0)
    for window, truth in zip(objects.windows, objects.truth, strict=True):
        cell = float(window[2] - window[0]) / SIDE
        assert cell == (1 if side == 14 else 2)
        y, x = (window[a] + (torch.arange(SIDE) + 0.5) * cell for a in (0, 1))
        middle = 41 + side / 2, 53 + side / 2
        assert float((truth.sum(1) * y).sum() / truth.sum()) == pytest.approx(middle[0], abs=0.01)
        assert float((truth.sum(0) * x).sum() / truth.sum()) == pytest.approx(middle[1], abs=0.01)
        assert float(truth.sum()) * cell**2 == pytest.approx(side**2)


def test_boxes_are_jittered_around_the_nucleus():
    objects = objects_of([square_crop(40, 50, 20)], per_crop=80, negatives=0.0, box_start=1.0)
    off = objects.boxes - torch.tensor([40.0, 50, 60, 70])
    assert off.abs().max() <= 0.08 * 20 + 1e-4
    assert off.mean(0).abs().max() < 0.4
    assert off.std() > 0.5
    prompts = first_prompts(objects, DECODER.crop_grid)
    assert prompts.has_box.all()
    assert (prompts.labels == PADDING).all()
    assert not prompts.lone.any()


def test_starts_come_in_their_shares():
    objects = objects_of([make_crop(96, n=10)], per_crop=400, negatives=0.0)
    boxes = ~torch.isnan(objects.boxes[:, 0])
    masks = objects.starts_from_mask
    assert float(boxes.float().mean()) == pytest.approx(0.45, abs=0.08)
    assert float(masks.float().mean()) == pytest.approx(0.15, abs=0.06)
    assert not (boxes & masks).any()
    prompts = first_prompts(objects, DECODER.crop_grid)
    assert torch.equal(prompts.has_logits, masks)
    assert torch.equal(prompts.lone, ~boxes & ~masks)
    assert torch.equal(prompts.labels[:, 0] == POSITIVE, ~boxes & ~masks)
    # Damaged masks are fed back as logits of their own place.
    logits = prompts.logits[masks]
    shown = torch.nn.functional.avg_pool2d(objects.start_mask[masks][:, None], 2)[:, 0]
    assert ((logits > 0) != (shown > 0.5)).float().mean() < 0.05
    assert not prompts.logits[~masks].any()


def test_damaged_masks_are_near_their_nucleus_and_differ_from_it():
    labels = draw_labels((96, 96), 2, 14)
    slices = ndimage.find_objects(labels)
    changed = 0
    for seed in range(80):
        number = seed % labels.max() + 1
        found = corrupt_mask(labels, number, slices[number - 1], rng(seed))
        if found is None:
            continue
        mask, (y, x) = found
        placed = np.zeros((140, 140), bool)
        placed[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        true = np.pad(labels == number, ((0, 44), (0, 44)))
        assert mask.dtype == bool
        assert (placed & true).any() or mask.sum() < 12
        changed += not np.array_equal(placed, true)
    assert changed > 60
    # What was given is not written to.
    assert np.array_equal(labels, draw_labels((96, 96), 2, 14))


def test_a_window_is_centred_on_what_the_prompt_shows():
    crop = square_crop(40, 48, 14)
    objects = objects_of([crop], per_crop=60, negatives=0.0, box_start=0.0, corrupted_start=1.0)
    for window, start in zip(
        objects.windows[objects.starts_from_mask],
        objects.start_mask[objects.starts_from_mask],
        strict=True,
    ):
        cell = float(window[2] - window[0]) / SIDE
        rows = torch.nonzero(start.any(1))[:, 0]
        middle = float(window[0]) + float(rows.min() + rows.max() + 1) / 2 * cell
        assert abs(middle - float(window[0] + window[2]) / 2) <= 4 + cell


# ---- simulated clicks


def test_clicks_lie_in_what_is_missing_and_what_is_surplus():
    truth = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    pred = truth.clone()
    truth[0, 4:10, 20:25] = True  # missing
    pred[0, 15:20, 2:9] = True  # surplus
    truth[1, 5:9, 5:9] = pred[1, 5:9, 5:9] = True  # right
    pred[2, 1:3, 1:3] = True  # only surplus
    windows = torch.tensor([[0.0, 8, 32, 40], [0, 0, 64, 64], [16, 16, 80, 80]])
    signs = torch.ones(3, 2, dtype=torch.bool)
    for sharpness in (0.0, 2.0):
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            points, labels = simulate_clicks(pred, truth, windows, signs, sharpness, generator)
            assert labels.tolist() == [
                [POSITIVE, NEGATIVE],
                [PADDING, PADDING],
                [PADDING, NEGATIVE],
            ]
            (y, x), (v, u) = points[0].tolist()
            assert 4 < y < 10
            assert 28 < x < 33
            assert 15 < v < 20
            assert 10 < u < 17
            # Two pixels a cell in a window of 64.
            assert ((points[2, 1] > 18) & (points[2, 1] < 22)).all()


def test_a_sign_that_is_not_asked_for_is_not_clicked():
    truth = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    truth[0, 4:10, 4:10] = True
    pred = truth.roll(3, 1)
    signs = torch.tensor([[False, True]])
    windows = torch.tensor([[0.0, 0, 32, 32]])
    _, labels = simulate_clicks(pred, truth, windows, signs, 0.0, torch.Generator())
    assert labels.tolist() == [[PADDING, NEGATIVE]]


def test_sharp_clicks_prefer_the_middle_of_large_errors():
    truth = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    truth[0, 4:20, 4:20] = True
    truth[0, 28, 28] = True
    pred = torch.zeros_like(truth)
    windows = torch.tensor([[0.0, 0, 32, 32]])
    signs = torch.ones(1, 2, dtype=torch.bool)

    def mean_distance(sharpness: float) -> float:
        generator = torch.Generator().manual_seed(0)
        found = [
            simulate_clicks(pred, truth, windows, signs, sharpness, generator)[0][0, 0]
            for _ in range(60)
        ]
        return float((torch.stack(found) - 12).norm(dim=1).mean())

    assert mean_distance(4.0) < mean_distance(0.0)


def test_iou_of_masks():
    a = torch.zeros(3, 4, 4, dtype=torch.bool)
    b = a.clone()
    a[0, :2], b[0, 1:3] = True, True
    a[1, 0] = True
    assert mask_iou(a, b).tolist() == pytest.approx([1 / 3, 0.0, 1.0])


def test_corrections_of_a_model_that_obeys_reach_the_truth(monkeypatch):
    # Answers with its previous answer, painted at the clicks: the truth is a disk of a click.
    segmenter = make_network().segmenter
    crop = make_crop(64, n=3)
    objects = objects_of([crop], per_crop=3, negatives=0.0, box_start=1.0, corrupted_start=0.0)

    def decode(crops, prompts):
        n, grid = len(prompts), DECODER.crop_grid
        logits = torch.where(prompts.has_logits[:, None, None], prompts.logits, -5.0)
        cell = (prompts.windows[:, 2] - prompts.windows[:, 0]) / grid
        at = (prompts.points_yx - prompts.windows[:, None, :2]) / cell[:, None, None]
        for k in range(prompts.labels.shape[1]):
            for i in range(n):
                if prompts.labels[i, k] != PADDING:
                    r, c = at[i, k].long().clamp(0, grid - 1).tolist()
                    logits[i, r, c] = 5.0 if prompts.labels[i, k] == POSITIVE else -5.0
        shown = logits[:, None].expand(-1, 4, -1, -1)
        return MaskOutput(shown, torch.ones(n, 4), torch.zeros(n))

    monkeypatch.setattr(segmenter, "decode", decode)
    ious = simulate_corrections(segmenter, None, objects, 40, 0)  # type: ignore[arg-type]
    assert ious[0] == 0
    assert ious[-1] > 0.6
    assert ious == simulate_corrections(segmenter, None, objects, 40, 0)  # type: ignore[arg-type]


# ---- losses go down when a tiny network sees one tiny batch again and again


def overfit(model, parameters, loss, batch, steps: int, rate: float = 3e-3, first: int = 0):
    optimizer = torch.optim.AdamW(list(parameters), lr=rate)
    values = []
    for step in range(first, first + steps):
        value, parts = loss(model, dict(batch), step)
        assert all(np.isfinite(v) for v in parts.values())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values


@pytest.mark.parametrize(("autocast", "steps", "left"), [(False, 30, 0.7), (True, 10, 0.9)])
def test_dense_heads_learn_a_batch(autocast, steps, left):
    torch.manual_seed(0)
    model = DenseNetwork(TINY)
    batch = dense_batch(TINY)([make_crop(32, s, 3) for s in range(2)])
    loss = DenseLoss(CPU, autocast)
    values = overfit(model, model.parameters(), loss, batch, steps, 1e-2)
    assert np.mean(values[-3:]) < left * np.mean(values[:3])


def test_click_head_learns_a_batch():
    torch.manual_seed(0)
    segmenter = make_network(spread=1.0).segmenter.train()
    batch = click_batch(TINY, ObjectConfig(per_crop=4, negatives=0.2), 0)(
        [make_crop(64, s, 5) for s in range(2)]
    )
    config = ClickConfig(passes=(2, 2), focal_from=2.0, long_from=2.0, encoder_from=0)
    loss = ClickLoss(config, 1000, CPU, False, 0, CLASS_WEIGHTS)
    values = overfit(segmenter, segmenter.parameters(), loss, batch, 24, 5e-3)
    assert np.mean(values[-5:]) < 0.75 * np.mean(values[:5])


def test_encoder_rests_until_it_may_learn():
    segmenter = make_network().segmenter.train()
    batch = click_batch(TINY, ObjectConfig(per_crop=3), 0)([make_crop(64)])
    config = ClickConfig(passes=(1, 1), encoder_from=5)
    loss = ClickLoss(config, 100, CPU, False, 0, CLASS_WEIGHTS)

    def touched(step: int) -> tuple[bool, bool]:
        segmenter.zero_grad(set_to_none=True)
        loss(segmenter, dict(batch), step)[0].backward()
        return (
            any(p.grad is not None and bool(p.grad.any()) for p in segmenter.encoder.parameters()),
            any(p.grad is not None for p in segmenter.mask_decoder.parameters()),
        )

    assert touched(4) == (False, True)
    assert touched(5) == (True, True)


@pytest.mark.parametrize("autocast", [False, True])
def test_all_passes_learn_however_many_went_before_without(autocast):
    segmenter = make_network().segmenter.train()
    batch = click_batch(TINY, ObjectConfig(per_crop=3, negatives=0), 0)([make_crop(64)])
    config = ClickConfig(passes=(5, 5), encoder_from=99, focal_from=0.0)
    loss = ClickLoss(config, 100, CPU, autocast, 0, CLASS_WEIGHTS)
    for step in range(3):
        segmenter.zero_grad(set_to_none=True)
        value, parts = loss(segmenter, dict(batch), step)
        value.backward()
        assert 1 <= parts["passes"] <= 5
        missing = [
            n
            for n, p in segmenter.mask_decoder.named_parameters()
            if p.grad is None and "output_hypernetworks" not in n
        ]
        assert missing == []


def test_what_was_right_before_is_missed_when_it_is_wrong_now():
    crop = make_crop(64)
    objects = click_batch(TINY, ObjectConfig(per_crop=2, negatives=0), 0)([crop])["objects"]
    prompts = first_prompts(objects, TINY.decoder.crop_grid)
    truth = objects.truth > 0.5
    side = truth.shape[-1]
    wrong = torch.where(truth, -4.0, 4.0)
    nowhere, everywhere = torch.zeros_like(truth), torch.ones_like(truth)
    fed_back = replace(prompts, has_logits=torch.ones(2, dtype=torch.bool))
    assert _spoilt_loss(wrong, objects, prompts, everywhere) == 0  # it saw no answer before
    assert _spoilt_loss(wrong, objects, fed_back, nowhere) == 0
    assert _spoilt_loss(-wrong, objects, fed_back, everywhere) == 0
    some = everywhere.clone()
    some[:, : side // 2] = False
    half = float(_spoilt_loss(wrong, objects, fed_back, some))
    assert 0 < half < float(_spoilt_loss(wrong, objects, fed_back, everywhere))


def test_boxes_are_drawn_with_more_or_less_care():
    crop = make_crop(64)
    share = {"per_crop": 40, "negatives": 0, "box_start": 1.0}
    drawn = objects_of([crop], box_jitter=0.5, **share)
    tight = objects_of([crop], box_jitter=0.0, **share).boxes
    errors = (drawn.boxes[:, None] - tight[None]).abs().amax(-1).amin(1)
    assert errors.min() < 0.1 * errors.max()
    assert errors.max() < 0.5 * float((tight[:, 2:] - tight[:, :2]).max())


def test_nuclei_that_are_none_teach_the_object_score_only():
    segmenter = make_network().segmenter
    empty = replace(make_crop(), labels=np.zeros((64, 64), np.int32))
    batch = click_batch(TINY, ObjectConfig(per_crop=4), 0)([empty])
    config = ClickConfig(passes=(1, 1), encoder_from=99, click_weight=0.0)
    loss = ClickLoss(config, 100, CPU, False, 0, CLASS_WEIGHTS)
    value, parts = loss(segmenter, batch, 0)
    value.backward()
    decoder = segmenter.mask_decoder
    assert decoder.pred_obj_score_head.layers[-1].bias.grad > 0
    for mlp in decoder.output_hypernetworks_mlps:
        grad = mlp.layers[-1].weight.grad
        assert grad is None or not grad.any()
    assert parts["iou_first"] == 1.0


def test_feedback_is_clipped_and_only_where_it_is_kept(monkeypatch):
    segmenter = make_network(spread=80.0).segmenter
    batch = click_batch(TINY, ObjectConfig(per_crop=8, negatives=0.3), 0)([make_crop(64)])
    seen = []
    decode = segmenter.decode

    def watch(crops, prompts):
        seen.append(prompts)
        return decode(crops, prompts)

    monkeypatch.setattr(segmenter, "decode", watch)
    config = ClickConfig(passes=(4, 4), feedback=0.5, encoder_from=99)
    loss = ClickLoss(config, 100, CPU, False, 0, CLASS_WEIGHTS)
    while len(seen) < 4:
        seen.clear()
        loss(segmenter, dict(batch), 0)
    for before, after in itertools.pairwise(seen):
        assert after.labels.shape[1] == before.labels.shape[1] + 2
        assert torch.equal(after.points_yx[:, :-2], before.points_yx)
        assert after.logits.abs().max() <= LOGIT_RANGE
        assert not after.logits[~after.has_logits].any()
        assert not after.has_logits[batch["objects"].is_object == 0].any()
        assert not after.logits.requires_grad


@pytest.mark.parametrize(("autocast", "steps", "left"), [(False, 25, 0.85), (True, 8, 0.97)])
def test_detector_learns_a_batch(autocast, steps, left):
    torch.manual_seed(0)
    model = UniNuc(TINY)
    batch = box_batch(TINY)([make_crop(64, s, 5) for s in range(2)])
    loss = DetectorLoss(TeachingConfig(proposals_only=0.0), 1000, CPU, autocast, 0)
    values = overfit(model, model.detector.parameters(), loss, batch, steps, 1e-2)
    assert np.mean(values[-3:]) < left * np.mean(values[:3])


def test_the_first_stage_learns_alone_at_first():
    model = make_network()
    batch = box_batch(TINY)([make_crop(64)])
    loss = DetectorLoss(TeachingConfig(proposals_only=0.5), 10, CPU, False, 0)
    assert set(loss(model, batch, 4)[1]) == {"proposals"}
    value, parts = loss(model, batch, 5)
    assert set(parts) == {"proposals", "decoder", "denoising"}
    value.backward()
    assert all(p.grad is None for p in model.segmenter.parameters())
    assert all(p.grad is not None for p in model.detector.layers.parameters())


def test_a_batch_without_nuclei_is_no_error():
    model = make_network()
    empty = replace(
        make_crop(), labels=np.zeros((64, 64), np.int32), class_target=np.zeros(1, np.uint8)
    )
    loss = DetectorLoss(TeachingConfig(proposals_only=0.0), 10, CPU, False, 0)
    value, parts = loss(model, box_batch(TINY)([empty]), 5)
    assert torch.isfinite(value)
    assert parts["denoising"] == 0


def test_noisy_boxes_stay_near_their_nucleus_and_know_whose_they_are():
    batch = box_batch(TINY)([make_crop(64, 0, 5), make_crop(64, 1, 3)])
    loss = DetectorLoss(TeachingConfig(denoising=0.15), 10, CPU, False, 0)
    boxes, index = loss._noisy_boxes(batch["boxes"])
    assert boxes.shape == (2, 64, 4)
    assert index[0].tolist() == [*range(5), *[-1] * 59]
    assert index[1].tolist() == [*range(3), *[-1] * 61]
    true = batch["boxes"][0].boxes
    off = (boxes[0, :5] - true).abs() / true[:, 2:].repeat(1, 2)
    assert 0.01 < off.max() <= 0.15 + 1e-5
    assert (boxes[..., 2:] > 0).all()
