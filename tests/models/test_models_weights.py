"""Weights files: what is written is read, and nothing else is taken for it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from uninuc_helpers import INFO, TINY, at_scale, make_network, tissue

from napari_nucleus.core.image import Tile
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.uninuc.build import load_predictor, save_network
from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.presets import NANO
from napari_nucleus.models.weights import fill, read_weights, write_weights

STAIN = LabStatistics((61.5, 20.25, -8.5), (12.0, 8.0, 6.0))


@pytest.fixture
def file(tmp_path):
    target = tmp_path / "folder" / "tiny.safetensors"
    save_network(make_network(), target, STAIN, {"commit": "abc"})
    return target


def edited(file, change, header=None):
    """Write the file again with other tensors or another header."""
    weights = read_weights(file)
    tensors = dict(weights.tensors)
    change(tensors)
    write_weights(file, tensors, weights.header if header is None else header)
    return file


def test_half_precision_is_written_and_read_bit_by_bit(file):
    network = make_network()
    weights = read_weights(file)
    for name, value in network.state_dict().items():
        if name.startswith("detector.proposal_heads.1"):
            assert name not in weights.tensors
            continue
        kept = weights.tensors[name]
        assert torch.equal(kept, value[: len(kept)].half() if value.ndim else value.half())
    again = file.with_name("again.safetensors")
    write_weights(again, weights.tensors, weights.header)
    assert read_weights(again).digest == weights.digest


def test_a_loaded_network_is_the_saved_one_with_one_query_group(file):
    predictor = load_predictor(INFO, file, "cpu")
    assert predictor.network.config.detector.groups == 1
    assert predictor.training_stain == STAIN
    assert predictor.digest == read_weights(file).digest
    assert not predictor.network.training
    saved = make_network().state_dict()
    for name, value in predictor.network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, saved[name][: len(value)].half().float()), name
    tile = Tile(tissue((64, 64)))
    assert len(predictor.segment(tile, at_scale(1.0)))


def test_the_header_says_what_the_weights_are(file):
    header = read_weights(file).header
    assert header["system"] == "uninuc"
    assert header["provenance"] == {"commit": "abc"}
    assert UniNucConfig.from_dict(header["config"]).decoder == TINY.decoder


@pytest.mark.parametrize("config", [TINY, NANO, UniNucConfig()])
def test_configurations_survive_json(config):
    assert UniNucConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_other_weights_have_another_digest(file):
    before = read_weights(file).digest

    def change(tensors):
        tensors["segmenter.mask_decoder.conv_s0.bias"] += 0.5

    assert read_weights(edited(file, change)).digest != before


def refused(file, *words):
    with pytest.raises(WeightsError) as error:
        load_predictor(INFO, file, "cpu")
    message = str(error.value)
    assert file.name in message
    for word in words:
        assert word in message, message


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "nowhere.safetensors", "no such")


@pytest.mark.parametrize("keep", [0, 4, 100, 20_000])
def test_a_truncated_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    refused(file, "not a complete safetensors file")


def test_a_folder_and_a_text_are_no_weights(tmp_path):
    refused(tmp_path, "no such")
    text = tmp_path / "notes.safetensors"
    text.write_text("these are not the weights you are looking for")
    refused(text, "not a complete safetensors file")


def test_weights_of_another_program_are_refused(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, foreign)
    refused(foreign, "another program")


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '"uninuc"'])
def test_a_header_that_is_no_header_is_refused(tmp_path, text):
    broken = tmp_path / "broken.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, broken, {"napari_nucleus": text})
    refused(broken)


KEY = "segmenter.mask_decoder.conv_s0.bias"


def test_missing_surplus_and_reshaped_tensors_are_named(file):
    whole = file.read_bytes()
    refused(edited(file, lambda t: t.pop(KEY)), "lack", KEY)
    file.write_bytes(whole)
    refused(edited(file, lambda t: t.update(strange=torch.zeros(2))), "unknown", "strange")
    file.write_bytes(whole)
    refused(edited(file, lambda t: t.update({KEY: torch.zeros(99)})), "another shape", KEY)


def test_many_wrong_tensors_are_counted(file):
    def change(tensors):
        for i in range(10):
            tensors[f"strange{i}"] = torch.zeros(1)

    refused(edited(file, change), "strange0", "and 7 more")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_numbers_that_are_none_are_refused(file, value):
    # A million is beyond half precision.
    def change(tensors):
        tensors[KEY] = tensors[KEY].float()
        tensors[KEY][1] = value

    refused(edited(file, change), "NaN or infinity", KEY)


def test_weights_of_another_system_are_refused(file):
    header = read_weights(file).header
    refused(edited(file, lambda _: None, header | {"system": "nunext"}), "nunext")
    del header["system"]
    refused(edited(file, lambda _: None, header), "unknown")


def test_configurations_of_another_version_are_refused(file):
    header = read_weights(file).header
    newer = header["config"] | {"sharpness": 3}
    refused(edited(file, lambda _: None, header | {"config": newer}), "sharpness")
    decoder = header["config"]["decoder"] | {"frequency": 1}
    newer = header["config"] | {"decoder": decoder}
    refused(edited(file, lambda _: None, header | {"config": newer}), "frequency")
    narrow = header["config"]["encoder"] | {"neck_dims": [8]}
    for odd in (None, "nano", {"encoder": 3}, header["config"] | {"encoder": narrow}):
        refused(edited(file, lambda _: None, header | {"config": odd}), "another version")
    refused(edited(file, lambda _: None, {"system": "uninuc"}), "config")


def test_a_device_that_is_not_there_is_said_before_anything_is_read(tmp_path):
    with pytest.raises(ModelError, match="toaster") as error:
        load_predictor(INFO, tmp_path / "nowhere.safetensors", "toaster")
    assert not isinstance(error.value, WeightsError)


def test_fill_leaves_the_module_as_it_was_when_it_refuses():
    module = torch.nn.Linear(2, 2)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    wrong = {"weight": torch.ones(2, 2), "bias": torch.tensor([0.0, float("nan")])}
    with pytest.raises(WeightsError, match="bias"):
        fill(module, wrong, "some.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    fill(module, {"weight": torch.ones(2, 2).half(), "bias": torch.zeros(2).half()}, "some")
    assert np.array_equal(module.weight.detach().numpy(), np.ones((2, 2), np.float32))


def test_files_are_written_whole_or_not_at_all(file, monkeypatch):
    whole = file.read_bytes()

    def stopped(tensors, target, metadata):
        with open(target, "wb") as handle:
            handle.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("napari_nucleus.models.weights.save_file", stopped)
    with pytest.raises(OSError, match="disk full"):
        save_network(make_network(), file, None, {})
    assert file.read_bytes() == whole
    assert load_file(file)
