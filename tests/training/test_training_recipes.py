"""Scores that select checkpoints, and the recipe from a data folder to weights that load."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import nn
from training_helpers import draw_labels, make_image, write_image
from uninuc_helpers import INFO, TINY, at_scale, make_network, tissue

from napari_nucleus.core.image import Tile
from napari_nucleus.errors import ImageError, ModelError, WeightsError
from napari_nucleus.models.uninuc.build import load_predictor, save_network
from napari_nucleus.models.uninuc.dense import DenseMaps
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.weights import read_weights, write_weights
from napari_nucleus.models.working import normalise
from napari_nucleus.training import uninuc_recipe
from napari_nucleus.training.data import CONSEP_DEVELOPMENT
from napari_nucleus.training.detection import boxes_of_crop
from napari_nucleus.training.recipes import TrainingOrder, train_model
from napari_nucleus.training.scores import (
    _greedy_hits,
    _piece,
    score_boxes,
    score_clicks,
    score_dense,
)
from napari_nucleus.training.sources import draw_fields, training_stain
from napari_nucleus.training.uninuc_recipe import nano_recipe

CPU = torch.device("cpu")


# ---- scores


class DarkIsNucleus(nn.Module):
    """Dense maps read off the colours of a drawn picture."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = make_network().segmenter.encoder

    def forward(self, pixels):
        white = normalise(torch.ones(1, 3, 1, 1))
        dark = (pixels - white).sum(1)[0].numpy() < -3.0
        labels, n = ndimage.label(dark)
        distance = np.zeros(dark.shape, np.float32)
        for i in range(1, n + 1):
            depth = ndimage.distance_transform_edt(labels == i)
            distance = np.maximum(distance, depth / depth.max())
        foreground = torch.from_numpy(np.where(dark, 5.0, -5.0)).float()
        none = torch.zeros(1, 1, *dark.shape)
        return DenseMaps(
            foreground[None, None], torch.from_numpy(distance)[None, None], none, none, none
        )


@pytest.mark.parametrize("tile", [40, 500])
def test_dense_scores_do_not_depend_on_the_tiles(tile):
    images = [make_image((100, 118), s, 7) for s in range(2)]
    scores = score_dense(images, CPU, tile)(DarkIsNucleus())
    assert scores["pq"] > 0.9
    assert scores["aji"] > 0.9
    assert scores["worst"] <= scores["pq"]


def test_click_scores_are_means_of_ious_and_repeat():
    images = [make_image((60, 70), 3, 6)]
    score = score_clicks(images, TINY, CPU, 48)
    model = make_network().segmenter
    first = score(model)
    assert set(first) == {"point_0", "point_7", "box_0", "box_7", "score"}
    assert all(0 <= v <= 1 for v in first.values())
    assert first["score"] == pytest.approx(
        np.mean([first[k] for k in first if k != "score"]), abs=1e-4
    )
    assert score(model) == first


@pytest.mark.parametrize(("shift", "f1"), [(0.0, 1.0), (1000.0, 0.0)])
def test_box_scores_count_boxes_that_overlap_by_half(monkeypatch, shift, f1):
    image = make_image((120, 120), 2, 9)
    model = make_network()
    true = boxes_of_crop(_piece(image, 0.5, 64), 5).boxes
    boxes = true + torch.tensor([shift, 0, 0, 0])
    extra = torch.tensor([[5.0, 5, 2, 2]])
    probability = torch.cat([torch.full((len(true), 5), 0.9), torch.full((1, 5), 0.1)])
    monkeypatch.setattr(
        model.detector, "detect", lambda _: (probability, torch.cat([boxes, extra]))
    )
    scores = score_boxes([image], CPU, 64)(model)
    assert scores == {"f1": f1, "precision": f1, "recall": f1}


def test_every_true_box_is_found_once():
    iou = torch.tensor([[0.9, 0.6], [0.8, 0.55], [0.7, 0.4], [0.2, 0.9]])
    assert _greedy_hits(iou) == 2
    assert _greedy_hits(iou[2:]) == 2
    assert _greedy_hits(iou[:0]) == 0
    assert _greedy_hits(torch.zeros(3, 0)) == 0


# ---- the recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for i, name in enumerate(["consep_train_01", CONSEP_DEVELOPMENT[0]]):
        labels = draw_labels(((160, 144), (48, 48))[i], i, 6)
        write_image(root / "consep", name, labels, ".jpg", np.where(labels > 0, 2, 0))
    write_image(root / "dsb2018", "dsb2018_1", draw_labels((60, 64), 5, 5), ".png")
    (root / "nucls_points").mkdir()
    return root


def tiny_recipe(*_):
    recipe = nano_recipe(CPU, 2, 0, 0)
    sizes = ((1.0, 32, 2),)
    plans = {}
    for name in ("dense", "clicks", "detector"):
        plan = getattr(recipe, name)
        run = replace(plan.run, score_every=2)
        plans[name] = replace(plan, run=run, sizes=sizes, autocast=False)
    return replace(
        recipe,
        config=TINY,
        objects=replace(recipe.objects, per_crop=2),
        synthetic_fields=1,
        synthetic_size=48,
        **plans,
    )


def test_the_recipe_makes_weights_that_load_and_goes_on_where_it_stopped(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(uninuc_recipe, "nano_recipe", tiny_recipe)
    said: list[str] = []

    def train(stage):
        order = TrainingOrder(folder, tmp_path, stage, device="cpu", workers=0)
        train_model("uninuc-nano", order, said.append)

    with pytest.raises(WeightsError, match="dense"):
        train("clicks")
    train("all")
    file = tmp_path / "uninuc-nano.safetensors"
    predictor = load_predictor(INFO, file, "cpu")
    predictor.segment(Tile(tissue((48, 48))), at_scale(1.0))
    header = read_weights(file).header
    assert header["provenance"]["recipe"] == "uninuc-nano"
    assert predictor.training_stain is not None
    assert any("synthetic" in line for line in said)

    # The stages are finished; only the packing is done again, from what is there.
    before = file.read_bytes()
    said.clear()
    train("all")
    assert read_weights(file).tensors.keys() == predictor.network.state_dict().keys()
    assert file.read_bytes() == before
    assert not any(line.startswith("drawing") for line in said)


def test_training_goes_on_from_a_weights_file(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(uninuc_recipe, "nano_recipe", tiny_recipe)
    torch.manual_seed(5)
    network = make_network(spread=1.0)
    start = tmp_path / "start.safetensors"
    save_network(network, start, None, {})

    def train(stage, out):
        order = TrainingOrder(folder, tmp_path / out, stage, device="cpu", workers=0, start=start)
        train_model("uninuc-nano", order, print)
        return load_file(tmp_path / out / stage / "best.safetensors")

    def apart(name, trained, prefix):
        return float((trained[name] - network.state_dict()[prefix + name]).abs().max())

    clicks = train("clicks", "a")
    assert apart("mask_decoder.iou_token.weight", clicks, "segmenter.") < 0.05
    name = "encoder.stem.0.weight"
    name = name if name in clicks else next(k for k in clicks if k.startswith("encoder."))
    assert 0 < apart(name, clicks, "segmenter.") < 0.05  # the encoder learns from the first step
    dense = train("dense", "a")
    assert apart(name, dense, "segmenter.") < 0.05
    detector = train("detector", "a")
    assert torch.equal(detector["segmenter." + name], clicks[name])  # of the stage before
    assert apart("detector.bbox_embed.layers.0.weight", detector, "") < 0.05
    alone = train("detector", "b")  # no stage before: all is of the file
    assert torch.allclose(
        alone["segmenter." + name], network.state_dict()["segmenter." + name], atol=2e-3
    )
    groups = alone["detector.query_feat.weight"].unflatten(0, (TINY.detector.groups, -1))
    assert float((groups - groups[:1]).abs().max()) < 0.05  # each went on from the one that is kept


def test_training_cannot_go_on_from_what_is_no_network(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(uninuc_recipe, "nano_recipe", tiny_recipe)
    other = tmp_path / "other.safetensors"
    write_weights(other, {"weight": torch.zeros(3)}, {"system": "other"})
    wider = tmp_path / "wider.safetensors"
    wide = replace(TINY, decoder=replace(TINY.decoder, dim=2 * TINY.decoder.dim))
    save_network(UniNuc(wide), wider, None, {})
    for file in (tmp_path / "none.safetensors", other, wider):
        order = TrainingOrder(folder, tmp_path / "x", "dense", device="cpu", workers=0, start=file)
        with pytest.raises(WeightsError, match=file.name):
            train_model("uninuc-nano", order, print)
        assert not (tmp_path / "x" / "dense").exists()


def test_recipes_that_are_not_there_and_folders_that_are_not_are_named(tmp_path):
    with pytest.raises(ModelError, match="nunext-3b"):
        train_model("nunext-3b", TrainingOrder(tmp_path, tmp_path), print)
    with pytest.raises(ImageError, match="consep"):
        train_model("uninuc-nano", TrainingOrder(tmp_path, tmp_path / "out"), print)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_stage_has_a_plan_that_ends(device):
    recipe = nano_recipe(torch.device(device), None, 1, 0)
    short = nano_recipe(torch.device(device), 7, 1, 0)
    for name in ("dense", "clicks", "detector"):
        plan = getattr(recipe, name)
        assert plan.sizes[-1][0] == 1.0
        assert plan.run.steps > 1000
        assert all(size % 32 == 0 for _, size, _ in plan.sizes)
        assert getattr(short, name).run.steps == 7
    # Boxes and outlines need outlines.
    assert recipe.clicks.sampler.points == recipe.detector.sampler.points == 0


def test_synthetic_fields_follow_their_seed():
    first, again, other = (draw_fields(2, 48, s) for s in (1, 1, 2))
    assert [f.name for f in first] == ["synthetic_0", "synthetic_1"]
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.labels, b.labels)
    assert not np.array_equal(first[0].rgb, other[0].rgb)
    assert not np.array_equal(first[0].rgb, first[1].rgb)


def test_the_training_stain_is_that_of_the_training_tissue():
    found = training_stain([make_image((120, 120), s) for s in range(2)])
    assert found is not None
    assert 40 < found.mean[0] < 90
    assert training_stain([replace(make_image(), rgb=np.full((96, 112, 3), 250, np.uint8))]) is None
