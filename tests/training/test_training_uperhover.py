"""Training of UperHoVer: what a batch holds, what the encoder begins with, that it learns."""

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_helpers import draw_labels, make_crop, paint_labels
from uninuc_helpers import make_network as make_uninuc
from uperhover_helpers import TINY, blobs, discs, make_network

from napari_nucleus.core.image import Tile
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.uninuc.build import save_network as save_uninuc
from napari_nucleus.models.uperhover.losses import LossConfig
from napari_nucleus.models.uperhover.network import Maps, UperHover
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor
from napari_nucleus.models.uperhover.presets import NANO
from napari_nucleus.training.data import EPITHELIAL_EITHER, AnnotatedImage, PointImage
from napari_nucleus.training.loop import RunConfig, fit
from napari_nucleus.training.offsets import offset_targets
from napari_nucleus.training.sampler import Crop, CropSampler, SamplerConfig
from napari_nucleus.training.scores import score_maps
from napari_nucleus.training.uperhover import MapLoss, TargetConfig, begin_encoder, map_batch

CPU = torch.device("cpu")


# ---- batches


def crop_of(target, known=True) -> Crop:
    """Nuclei in a row, each 6 x 6, with these class targets."""
    labels = np.zeros((16, 10 * len(target) + 2), np.int32)
    for i in range(len(target)):
        labels[5:11, 10 * i + 2 : 10 * i + 8] = i + 1
    return Crop(
        paint_labels(labels),
        labels,
        np.array([0, *target], np.uint8),
        np.full(labels.shape, known) if known is True else labels > 0,
    )


def inside(sets: torch.Tensor, labels: np.ndarray, i: int) -> list[int]:
    """The set that all pixels of nucleus ``i`` have."""
    columns = sets[:, torch.from_numpy(labels == i)]
    assert (columns == columns[:, :1]).all()
    return columns[:, 0].tolist()


def test_each_pixel_says_which_classes_would_be_right():
    crop = crop_of([2, EPITHELIAL_EITHER, 255, 1])
    batch = map_batch(TINY, TargetConfig())([crop, crop])
    sets = batch["class_set"][0]
    assert sets.shape == (6, *crop.labels.shape)
    assert sets.dtype == torch.uint8
    assert inside(sets, crop.labels, 0) == [1, 0, 0, 0, 0, 0]
    assert inside(sets, crop.labels, 1) == [0, 0, 1, 0, 0, 0]
    assert inside(sets, crop.labels, 2) == [0, 1, 0, 0, 0, 1]
    assert inside(sets, crop.labels, 3) == [0, 1, 1, 1, 1, 1]  # a nucleus, of whatever class
    assert inside(sets, crop.labels, 4) == [0, 1, 0, 0, 0, 0]
    assert torch.equal(batch["class_set"][1], sets)
    assert batch["pixels"].shape == (2, 3, *crop.labels.shape)
    assert np.array_equal(batch["pixels"][0].permute(1, 2, 0), crop.rgb)


def test_offsets_are_known_in_nuclei_with_outlines():
    crop = crop_of([2, 3])
    batch = map_batch(TINY, TargetConfig())([crop])
    assert np.allclose(batch["hv"][0], offset_targets(crop.labels, 12.56))
    assert np.array_equal(batch["hv_mask"][0], crop.labels > 0)
    assert batch["hv_mask"].dtype == torch.float32


def test_offsets_may_be_those_of_the_paper():
    crop = make_crop(48)
    crop = replace(crop, labels=np.where(crop.labels > 0, crop.labels, 0))
    labels = np.zeros_like(crop.labels)
    labels[10:20, 10:20], labels[10:20, 20:30] = 1, 2
    crop = replace(crop, labels=labels, class_target=np.array([0, 2, 3], np.uint8))
    found = map_batch(TINY, TargetConfig("components"))([crop])["hv"][0]
    assert np.allclose(found, offset_targets(labels, 12.56, "components"))
    assert not np.allclose(found, offset_targets(labels, 12.56))


def test_the_reach_follows_the_working_pixel_size():
    config = replace(TINY, inference=replace(TINY.inference, mpp=0.5))
    crop = crop_of([2])
    found = map_batch(config, TargetConfig())([crop])["hv"][0]
    assert np.allclose(found, offset_targets(crop.labels, 6.28))


def test_points_teach_presence_and_class_but_no_background_and_no_offsets():
    crop = crop_of([2, 255], known=False)
    batch = map_batch(TINY, TargetConfig())([crop])
    sets = batch["class_set"][0]
    assert inside(sets, crop.labels, 0) == [0] * 6
    assert inside(sets, crop.labels, 1) == [0, 0, 1, 0, 0, 0]
    assert inside(sets, crop.labels, 2) == [0, 1, 1, 1, 1, 1]
    assert not batch["hv_mask"].any()


def test_points_drawn_by_the_sampler_teach_the_same():
    rgb = np.full((60, 60, 3), 200, np.uint8)
    image = PointImage("p", rgb, np.array([[20.5, 20.5], [40.5, 38.5]]), np.array([2, 1], np.uint8))
    sampler = CropSampler({}, [image], 48, SamplerConfig(dirt=0.0))
    batch = map_batch(TINY, TargetConfig())([sampler.draw() for _ in range(6)])
    assert not batch["class_set"][:, 0].any()
    assert batch["class_set"][:, 2].any()
    assert not batch["hv_mask"].any()


def test_a_crop_without_nuclei_is_background():
    labels = np.zeros((16, 16), np.int32)
    crop = Crop(paint_labels(labels), labels, np.zeros(1, np.uint8), labels == 0)
    batch = map_batch(TINY, TargetConfig())([crop])
    assert batch["class_set"][0, 0].all()
    assert not batch["class_set"][0, 1:].any()
    assert not batch["hv_mask"].any()


# ---- the start


def test_the_encoder_begins_with_the_stem_of_uninuc(tmp_path):
    uninuc = make_uninuc()
    source, file = tmp_path / "uninuc.safetensors", tmp_path / "run" / "start.safetensors"
    save_uninuc(uninuc, source, None, {})
    begin_encoder(source, file)
    tensors = load_file(file)
    own = make_network().state_dict()
    stem = uninuc.segmenter.encoder.stem.state_dict()
    assert tensors.keys() == {f"encoder.stem.first.{name}" for name in stem}
    for name, value in tensors.items():
        assert own[name].shape == value.shape
        assert value.dtype == torch.float32
        assert torch.equal(value, stem[name.removeprefix("encoder.stem.first.")].half().float())


def test_the_nanos_stem_is_that_of_the_bundled_uninuc(tmp_path):
    begin_encoder(zoo.weights_file("uninuc-nano"), tmp_path / "start.safetensors")
    with torch.device("meta"):
        stem = UperHover(NANO).encoder.stem
    assert stem is not None
    expected = {f"encoder.stem.first.{k}": v.shape for k, v in stem.first.state_dict().items()}
    found = load_file(tmp_path / "start.safetensors")
    assert {k: v.shape for k, v in found.items()} == expected


# ---- learning


def tiles() -> list[AnnotatedImage]:
    """Four pictures with nuclei of two classes, each in its colours."""
    out = []
    for seed in range(4):
        labels = draw_labels((64, 64), seed, 8)
        rng = np.random.default_rng(seed)
        target = np.concatenate([[0], rng.choice([2, 3], int(labels.max()))]).astype(np.uint8)
        colours = np.array([(225, 175, 205), (0, 0, 0), (80, 50, 140), (150, 60, 90)], np.uint8)
        rgb = colours[np.where(labels > 0, target[labels], 0)]
        rgb = np.clip(rgb + rng.normal(0, 8, (64, 64, 1)), 0, 255).astype(np.uint8)
        out.append(AnnotatedImage(f"tile_{seed}", "consep", rgb, labels, target))
    return out


def test_four_tiles_are_learnt_by_heart(tmp_path):
    images = tiles()
    crops = [Crop(i.rgb, i.labels, i.class_target, np.ones((64, 64), bool)) for i in images]
    torch.manual_seed(0)
    model = UperHover(TINY)
    targets = TargetConfig(loss=LossConfig(hv=2.0, dice=1.0))
    batch = map_batch(TINY, targets)(crops)
    run = RunConfig(
        steps=150, warmup=15, learning_rate=5e-3, ema=0.9, report_every=50, score_every=150
    )
    loss = MapLoss(targets.loss, CPU, False)
    groups = [{"params": list(model.parameters())}]
    said: list[str] = []
    score = score_maps(images, CPU)
    learnt = fit(model, groups, repeat(batch), loss, run, tmp_path, score, say=said.append)
    scores = score(learnt)
    assert scores["pq"] > 0.6
    assert scores["f1_inflammatory"] > 0.8
    assert scores["f1_connective"] > 0.8
    predictor = UperHoverPredictor(learnt, zoo.describe("uperhover-nano"), "d", None)  # type: ignore[arg-type]
    both, found, true = 0, 0, 0
    for image in images:
        nuclei = predictor.segment(Tile(image.rgb), Calibration(1.0, 0.25))
        mask = nuclei.to_labels((64, 64)) > 0
        both += int((mask & (image.labels > 0)).sum())
        found, true = found + int(mask.sum()), true + int((image.labels > 0).sum())
    assert 2 * both / (found + true) > 0.9
    assert set(load_file(tmp_path / "best.safetensors")) == set(model.state_dict())
    assert all(word in said[0] for word in ("class", "hv", "gradient", "dice"))


def test_half_precision_changes_the_loss_little():
    batch = map_batch(TINY, TargetConfig())([make_crop(64, seed) for seed in range(2)])
    model = make_network()
    config = LossConfig(dice=1.0)
    exact, parts = MapLoss(config, CPU, False)(model, batch, 0)
    half, _ = MapLoss(config, CPU, True)(model, batch, 0)
    assert float(half) == pytest.approx(float(exact), rel=0.03)
    assert half.dtype == torch.float32
    assert all(np.isfinite(value) for value in parts.values())
    assert set(batch) == {"pixels", "class_set", "hv", "hv_mask"}  # the batch stays whole


# ---- scores


def drawn(classes, shape=(64, 96)) -> AnnotatedImage:
    centres = [(16, 16), (16, 48), (16, 80), (46, 32), (46, 64)][: len(classes)]
    rgb, labels = discs(shape, centres, 9, [1 if c == EPITHELIAL_EITHER else c for c in classes])
    return AnnotatedImage("drawn", "consep", rgb, labels, np.array([0, *classes], np.uint8))


def by_rule(mpp: float = 0.25, rename=None) -> UperHover:
    """A UperHover that answers as `blobs`."""
    model = make_network(replace(TINY, inference=replace(TINY.inference, mpp=mpp)))

    def answer(pixels):
        maps = Maps(*blobs(pixels))
        return maps if rename is None else rename(maps)

    model.forward = answer  # type: ignore[method-assign]
    return model


ALL = [2, EPITHELIAL_EITHER, 3, 2, 3]


def test_right_nuclei_and_classes_have_scores_of_one():
    scores = score_maps([drawn(ALL), drawn([5, 2])], CPU)(by_rule())
    assert scores == pytest.approx(
        {
            "pq": 1,
            "aji": 1,
            "worst": 1,
            "f1_inflammatory": 1,
            "f1_epithelium": 1,
            "f1_connective": 1,
        },
        abs=0.01,
    )


def test_scores_are_taken_at_the_models_pixel_size():
    scores = score_maps([drawn(ALL)], CPU)(by_rule(0.5))
    assert 0.7 < scores["pq"] < 1
    assert scores["f1_epithelium"] == 1
    halved = score_maps([drawn(ALL)], CPU, mpp=0.5)(by_rule(0.5))
    assert halved["pq"] == pytest.approx(1, abs=0.01)


def test_the_worst_image_is_told_apart_from_the_mean():
    blank = drawn(ALL)
    blank = replace(blank, rgb=np.full_like(blank.rgb, 255))
    scores = score_maps([drawn(ALL), blank], CPU)(by_rule())
    assert scores["worst"] == 0
    assert scores["pq"] == pytest.approx(0.5, abs=0.01)
    assert scores["f1_inflammatory"] == pytest.approx(4 / (4 + 2), abs=1e-3)


def test_wrong_classes_cost_f1_but_not_pq():
    def all_connective(maps):
        classes = maps.classes.clone()
        classes[:, 3] = classes[:, 1:].amax(1)
        classes[:, [1, 2, 4, 5]] = 0
        return Maps(classes, maps.hv)

    scores = score_maps([drawn(ALL)], CPU)(by_rule(rename=all_connective))
    assert scores["pq"] == pytest.approx(1, abs=0.01)
    assert scores["f1_epithelium"] == scores["f1_inflammatory"] == 0
    assert scores["f1_connective"] == pytest.approx(2 * 2 / (2 * 2 + 2 * 3), abs=0.01)


def test_classes_that_are_not_there_have_no_score():
    scores = score_maps([drawn([2, 2])], CPU)(by_rule())
    assert "f1_connective" not in scores
    assert all(np.isfinite(v) for v in scores.values())
