"""A user's SAM from its file to a mask: adopted once, loaded by its name; what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sam_helpers import PRESETS, make_network, make_tile, state_of, write_checkpoint

from napari_nucleus.core.prompts import Prompts
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import PromptableSegmenter
from napari_nucleus.models.sam import build
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.presets import PRESETS as PUBLISHED
from napari_nucleus.models.weights import digest_of, read_weights, write_weights

SIZES = {
    "sam-vit-b": "tiny-sam",
    "pathosam-vit-h": "tiny-sam",
    "medsam": "tiny-sam",
    "sam2.1-tiny": "tiny-sam2",
}


@pytest.fixture(autouse=True)
def shrunken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published models in small, and a data folder of the test's own."""
    monkeypatch.setattr(zoo, "user_data_path", lambda name: tmp_path / "data")
    small = {
        name: replace(PUBLISHED[name], config=PRESETS[size].config) for name, size in SIZES.items()
    }
    monkeypatch.setattr(build, "PRESETS", small)


@pytest.mark.parametrize("name", SIZES)
def test_an_adopted_file_answers_clicks_under_its_name(tmp_path, name):
    assert name not in zoo.available()
    report = zoo.adopt(name, write_checkpoint(SIZES[name], tmp_path))
    assert report.missing == ()
    assert name in zoo.available()
    model = zoo.load_model(name, "cpu")
    assert isinstance(model, PromptableSegmenter)
    assert model.info == zoo.describe(name)
    tile = make_tile(90, 90)
    answer = model.refine(model.embed(tile), Prompts([[30.5, 40.5]], [True]))
    y0, x0 = answer.box[:2]
    assert answer.mask[30 - y0, 40 - x0]
    again = Prompts([[30.5, 40.5], [60.5, 60.5]], [True, False]).with_logits(answer.logits)
    less = model.refine(model.embed(tile), again)
    y0, x0, y1, x1 = less.box
    assert not (y0 <= 60 < y1 and x0 <= 60 < x1) or not less.mask[60 - y0, 60 - x0]


def test_adopted_weights_are_those_of_the_file_to_the_last_bit(tmp_path):
    file = write_checkpoint("tiny-sam", tmp_path)
    zoo.adopt("sam-vit-b", file)
    model = zoo.load_model("sam-vit-b", "cpu")
    expected = make_network("tiny-sam", tmp_path).tensors()
    own = model.network.tensors()
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[k], expected[k]) for k in own)
    header = read_weights(zoo.weights_file("sam-vit-b")).header
    assert header["provenance"] == {"adopted": file.name, "sha256": digest_of(file)}
    assert model.digest == digest_of(zoo.weights_file("sam-vit-b"))


def test_medsam_keeps_its_own_way_with_values(tmp_path):
    file = write_checkpoint("tiny-sam", tmp_path)
    for name in ("medsam", "sam-vit-b"):
        zoo.adopt(name, file)
    assert zoo.load_model("medsam", "cpu").settings.values == "range"
    assert zoo.load_model("sam-vit-b", "cpu").settings == SamInference()


def test_medsam_is_taken_in_the_layout_of_its_hub_too(tmp_path):
    state = make_network("tiny-sam", tmp_path).tensors()
    save_file(state, tmp_path / "model.safetensors")
    assert zoo.adopt("medsam", tmp_path / "model.safetensors").missing == ()
    assert zoo.load_model("medsam", "cpu").info.name == "medsam"


def test_a_model_without_weights_says_how_to_adopt_them():
    with pytest.raises(ModelError, match=r"napari-nucleus adopt sam2\.1-large FILE"):
        zoo.load_model("sam2.1-large", "cpu")


def test_a_file_with_a_published_name_and_other_contents_is_refused(tmp_path):
    file = write_checkpoint("tiny-sam", tmp_path)
    published = file.rename(tmp_path / "sam_vit_b_01ec64.pth")
    with pytest.raises(WeightsError, match=r"sam_vit_b_01ec64\.pth.*SHA-256.*ec2df62732614e57"):
        zoo.adopt("sam-vit-b", published)
    assert not zoo.weights_file("sam-vit-b").exists()
    # Under another's name it is somebody's own.
    zoo.adopt("medsam", published)


def test_published_digests_are_of_files_of_different_names():
    files = [f for preset in PUBLISHED.values() for f in preset.published.items()]
    assert len({name for name, _ in files}) == len({digest for _, digest in files}) == 7
    assert all(len(digest) == 64 and int(digest, 16) for _, digest in files)


def test_half_an_encoder_is_refused_and_nothing_is_written(tmp_path):
    encoder = [n for n in state_of("tiny-sam2") if n.startswith("image_encoder.trunk.")]
    file = write_checkpoint("tiny-sam2", tmp_path, **dict.fromkeys(encoder[::2]))
    with pytest.raises(WeightsError, match=r"tiny-sam2\.pt: holds .* vision_encoder needs"):
        zoo.adopt("sam2.1-tiny", file)
    assert not zoo.weights_file("sam2.1-tiny").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut off"])
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    file = tmp_path / "sam.pth"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"sam\.pth"):
        zoo.adopt("sam-vit-b", file)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.pth: no such"):
        zoo.adopt("sam-vit-b", tmp_path / "gone.pth")


def test_a_decoder_file_of_pathosam_is_another_models(tmp_path):
    torch.save({"encoder.blocks.0.norm1.weight": torch.ones(3)}, tmp_path / "decoder.pt")
    with pytest.raises(WeightsError, match=r"decoder\.pt: holds 0 of"):
        zoo.adopt("pathosam-vit-h", tmp_path / "decoder.pt")


def test_values_that_are_not_finite_are_refused(tmp_path):
    name = "prompt_encoder.no_mask_embed.weight"
    broken = torch.full((1, 32), float("nan"))
    file = write_checkpoint("tiny-sam", tmp_path, **{name: broken})
    with pytest.raises(WeightsError, match=r"no_mask_embed.*NaN"):
        zoo.adopt("sam-vit-b", file)


def test_a_class_order_is_refused(tmp_path):
    with pytest.raises(ModelError, match="sam-vit-b has no classes"):
        zoo.adopt("sam-vit-b", tmp_path / "sam.pth", (1, 0))


def test_weights_adopted_under_another_name_are_refused(tmp_path):
    zoo.adopt("sam-vit-b", write_checkpoint("tiny-sam", tmp_path))
    with pytest.raises(WeightsError, match=r"weights of sam-vit-b, not medsam.*adopt medsam FILE"):
        zoo.load_model("medsam", "cpu", zoo.weights_file("sam-vit-b"))


def test_weights_of_another_system_are_refused(tmp_path):
    write_weights(tmp_path / "other.safetensors", {"a": torch.ones(2)}, {"system": "uninuc"})
    with pytest.raises(WeightsError, match="weights of 'uninuc', not 'sam'"):
        zoo.load_model("sam-vit-b", "cpu", tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"model_type": "sam3"}},
        {"config": {"model_type": "sam", "vision_config": {"hidden_size": "wide"}}},
        {"inference": {"zoom": 3}},
        {"inference": None},
    ],
)
def test_a_configuration_of_another_version_is_refused(tmp_path, changes):
    zoo.adopt("sam-vit-b", write_checkpoint("tiny-sam", tmp_path))
    weights = read_weights(zoo.weights_file("sam-vit-b"))
    header = json.loads(json.dumps(weights.header | changes))
    write_weights(tmp_path / "changed.safetensors", weights.tensors, header, torch.float32)
    with pytest.raises(WeightsError, match="configuration is of another version"):
        zoo.load_model("sam-vit-b", "cpu", tmp_path / "changed.safetensors")


def test_every_published_model_is_in_the_zoo_with_a_card_and_its_licence():
    for name in PUBLISHED:
        info = zoo.describe(name)
        assert info.capabilities == ("promptable",)
        assert info.working_mpp == PUBLISHED[name].inference.mpp
        assert info.click_tile + 2 * info.halo == PUBLISHED[name].inference.largest
        assert info.licence.startswith("of the weights you adopt")
        assert f"`{name}`" in zoo.card(name)


def test_a_tile_for_clicks_is_one_square(tmp_path):
    zoo.adopt("sam-vit-b", write_checkpoint("tiny-sam", tmp_path))
    model = zoo.load_model("sam-vit-b", "cpu")
    side = model.info.click_tile + 2 * model.info.halo
    embedding = model.embed(make_tile(side, side))
    assert np.array_equal(embedding.arrays["squares"], [[0, 0, side, side]])
