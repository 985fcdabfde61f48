"""Predictors that the user made, adapted: known by what they have, asked by what they offer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam_helpers import PRESETS, make_network, make_tile
from sam_oracle import answered, clicks, tissue
from torch import nn
from torch.nn import functional as F

from napari_nucleus.core.prompts import Prompts
from napari_nucleus.errors import ModelError
from napari_nucleus.hosting.messages import (
    Description,
    Load,
    ModelSpec,
    Refine,
    Refined,
    TileKey,
)
from napari_nucleus.hosting.worker import Worker
from napari_nucleus.models.api import Calibration, PromptableSegmenter
from napari_nucleus.models.sam import LivePredictor, adapt, live_info
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.network import SamNetwork
from napari_nucleus.models.sam.predictor import SamSegmenter
from napari_nucleus.models.working import normalise

AT_ITS_SCALE = Calibration(1.0, 0.25)


class Predictor:
    """What both packages' predictors do, on a network of ours."""

    def __init__(self, network: SamNetwork) -> None:
        self._network = network
        self.images = 0
        self.model: Any = nn.ModuleDict({"inner": network})
        self.device = torch.device("cpu")

    @torch.inference_mode()
    def _see(self, image: np.ndarray) -> tuple[torch.Tensor, ...]:
        self.images += 1
        rgb = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        size = (self._network.size,) * 2
        shown = F.interpolate(normalise(rgb), size, mode="bilinear", antialias=True)
        return self._network.see(shown)

    @torch.inference_mode()
    def _answer(self, seen, side, coords, labels, box, logits, several):
        factor = self._network.size / side
        found = self._network(
            seen,
            None if coords is None else torch.from_numpy(coords * factor)[None],
            None if labels is None else torch.from_numpy(labels)[None],
            None if box is None else torch.from_numpy(box * factor)[None],
            None if logits is None else torch.from_numpy(logits),
            several,
        )
        low, iou = (v[0].numpy() for v in found)
        return low > 0, iou, low


class SamLike(Predictor):
    """The attributes of a ``SamPredictor``."""

    def __init__(self, network: SamNetwork) -> None:
        super().__init__(network)
        self.model.image_encoder = nn.Identity()
        self.model.image_encoder.img_size = network.size
        self.features: Any = None
        self.is_image_set = False
        self.input_size = self.original_size = None

    def set_image(self, image: np.ndarray) -> None:
        (self.features,) = self._see(image)
        self.original_size, self.input_size = image.shape[:2], (self._network.size,) * 2
        self.is_image_set = True

    def predict(
        self,
        point_coords=None,
        point_labels=None,
        box=None,
        mask_input=None,
        multimask_output=True,
        return_logits=False,
    ):
        assert self.is_image_set
        assert self.input_size == (self._network.size,) * 2
        (side, _) = self.original_size
        return self._answer(
            (self.features,), side, point_coords, point_labels, box, mask_input, multimask_output
        )


class Sam2Like(Predictor):
    """The attributes of a ``SAM2ImagePredictor``."""

    def __init__(self, network: SamNetwork) -> None:
        super().__init__(network)
        self.model.image_size = network.size
        self._features: Any = None
        self._orig_hw: Any = None
        self._is_image_set, self._is_batch = False, False

    def set_image(self, image: np.ndarray) -> None:
        *finer, coarsest = self._see(image)
        self._features = {"image_embed": coarsest, "high_res_feats": finer}
        self._orig_hw = [image.shape[:2]]
        self._is_image_set = True

    def predict(
        self,
        point_coords=None,
        point_labels=None,
        box=None,
        mask_input=None,
        multimask_output=True,
        return_logits=False,
        normalize_coords=True,
    ):
        assert self._is_image_set
        assert not self._is_batch
        held = self._features
        seen = (*held["high_res_feats"], held["image_embed"])
        side = self._orig_hw[-1][0]
        return self._answer(
            seen, side, point_coords, point_labels, box, mask_input, multimask_output
        )


LIKE = {"tiny-sam": SamLike, "tiny-sam2": Sam2Like}


@pytest.fixture(scope="module", params=LIKE)
def network(request, tmp_path_factory) -> SamNetwork:
    return make_network(request.param, tmp_path_factory.mktemp("sam")).eval()


@pytest.fixture
def predictor(network) -> Predictor:
    return LIKE[f"tiny-{network.family}"](network)


def test_an_adapted_predictor_answers_as_the_adopted_weights_do(network, predictor):
    adopted = SamSegmenter(network, live_info(), "digest", SamInference())
    ours, theirs = answered(adopted), answered(adapt(predictor))
    for i in range(len(clicks())):
        assert theirs[f"iou_{i}"] == pytest.approx(ours[f"iou_{i}"], abs=1e-5)
        assert (theirs[f"mask_{i}"] != ours[f"mask_{i}"]).mean() < 1e-3


def test_it_is_a_promptable_model_of_the_name_and_scale_it_was_given(predictor):
    model = adapt(predictor, mpp=0.5, name="mine")
    assert isinstance(model, PromptableSegmenter)
    assert model.info == live_info("mine", 0.5)
    assert model.info.capabilities == ("promptable",)
    assert model.calibrate([], 0.25) == Calibration(0.5, 0.25)
    assert model.device == "cpu"
    tile = make_tile(640, 640)
    assert len(model.embed(tile, Calibration(0.5, 0.25)).arrays["squares"]) == 1


def test_an_embedding_is_put_back_whatever_was_shown_meanwhile(predictor):
    model = adapt(predictor)
    click = Prompts([[30.5, 40.5]], [True])
    first = model.embed(make_tile(), AT_ITS_SCALE)
    expected = model.refine(first, click)
    model.embed(make_tile(60, 100), AT_ITS_SCALE)
    predictor.set_image(tissue(32, 32, seed=9))
    shown = predictor.images
    again = model.refine(first, click)
    assert again.box == expected.box
    assert (again.mask == expected.mask).all()
    assert predictor.images == shown


def test_clicks_end_on_their_side(predictor):
    model = adapt(predictor)
    prompts = Prompts([[30.5, 40.5], [32.5, 12.5], [60.2, 50.9]], [True, False, True])
    answer = model.refine(model.embed(make_tile(), AT_ITS_SCALE), prompts)
    mask = np.zeros((80, 64), bool)
    y0, x0, y1, x1 = answer.box
    mask[y0:y1, x0:x1] = answer.mask
    assert (mask[30, 40], mask[32, 12], mask[60, 50]) == (True, False, True)


def test_embeddings_of_other_weights_are_refused(network, predictor, tmp_path):
    model = adapt(predictor)
    same = adapt(type(predictor)(network), name="another")
    embedding = model.embed(make_tile(), AT_ITS_SCALE)
    assert same.digest == model.digest
    changed = SamNetwork(PRESETS[f"tiny-{network.family}"].config).eval()
    changed.sam.load_state_dict(network.sam.state_dict())
    with torch.no_grad():
        changed.sam.mask_decoder.iou_token.weight += 1e-3
    other = adapt(type(predictor)(changed))
    with pytest.raises(ModelError, match="another model"):
        other.refine(embedding, Prompts([[3.5, 3.5]], [True]))


def test_an_unknown_pixel_size_is_asked_for(predictor):
    with pytest.raises(ModelError, match="live: cannot estimate the magnification"):
        adapt(predictor).calibrate([make_tile()], None)


class Nothing:
    pass


class NoFeatures:
    def set_image(self, image):
        pass

    def predict(self):
        pass


class MoreThanFeatures(NoFeatures):
    features = interm_features = None


@pytest.mark.parametrize("kind", [Nothing, NoFeatures, MoreThanFeatures])
def test_other_objects_are_refused_by_their_kind(kind):
    with pytest.raises(ModelError, match=f"live: a {kind.__name__}"):
        adapt(kind())


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf")])
def test_a_pixel_size_that_is_none_is_refused(predictor, mpp):
    with pytest.raises(ModelError, match="no size of a pixel"):
        adapt(predictor, mpp=mpp)


def make_mine(folder: str, kind: str) -> LivePredictor:
    """What a user's own module would have."""
    return adapt(LIKE[kind](make_network(kind, Path(folder)).eval()), name="mine")


@pytest.mark.parametrize("kind", LIKE)
def test_the_worker_of_the_app_answers_clicks_with_what_a_users_function_makes(tmp_path, kind):
    spec = ModelSpec(f"{__name__}:make_mine", {"folder": str(tmp_path), "kind": kind})
    worker = Worker(cache_bytes=1 << 20)
    described = worker.answer(Load(spec))
    assert isinstance(described, Description)
    assert described.info == live_info("mine")
    key = TileKey("image", (0, 0, 80, 64), AT_ITS_SCALE, spec.key)
    box = Prompts([[30.5, 40.5]], [True], box=(20.0, 30.0, 42.5, 51.0))
    found = worker.answer(Refine(key, (Prompts([[30.5, 40.5]], [True]), box), make_tile()))
    assert isinstance(found, Refined)
    assert all(p.area for p in found.predictions)
    assert isinstance(worker.answer(Refine(key, (box,), None)), Refined)
