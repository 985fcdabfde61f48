"""SAM3 with weights of the user's: adopted once, a tile seen once, any text answered on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from promptgroup_helpers import make_tile, tiny_sam3, write_sam3
from transformers import Sam3Config, Sam3Model

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, TextSegmenter
from napari_nucleus.models.promptgroup.config import Sam3Inference
from napari_nucleus.models.promptgroup.sam3 import Sam3Network, to_input
from napari_nucleus.models.promptgroup.sam3_build import adopt_checkpoint, load_predictor
from napari_nucleus.models.promptgroup.sam3_predictor import Sam3Predictor

AT_ITS_SCALE = Calibration(1.0, 0.25)
EASY = Sam3Inference(window=32, stride=24, presence=0.0, score=0.0)


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam3")
    adopt_checkpoint(write_sam3(folder / "theirs"), folder / "sam3.safetensors")
    return folder / "sam3.safetensors"


@pytest.fixture(scope="module")
def predictor(adopted: Path) -> Sam3Predictor:
    loaded = load_predictor(zoo.describe("sam3"), adopted, "cpu")
    return Sam3Predictor(loaded.network, loaded.info, loaded.digest, EASY)


def test_adopted_weights_answer_as_the_library_does(predictor: Sam3Predictor) -> None:
    network = predictor.network
    pixels = to_input(torch.rand(1, 3, 32, 32), network.size)
    found = network.tokenizer(
        ["all nuclei"], padding="max_length", max_length=8, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = network.sam3(pixels, **{k: found[k] for k in ("input_ids", "attention_mask")})
        ours = network(network.see(pixels), network.read_texts(["all nuclei"]))
    torch.testing.assert_close(ours.semantic, theirs.semantic_seg)
    torch.testing.assert_close(ours.masks, theirs.pred_masks)
    torch.testing.assert_close(ours.presence, theirs.presence_logits[:, 0])


def test_one_look_serves_several_texts(predictor: Sam3Predictor) -> None:
    network: Sam3Network = predictor.network
    with torch.inference_mode():
        seen = network.see(to_input(torch.rand(1, 3, 32, 32), network.size))
        read = network.read_texts(["cell nuclei", "tumor"])
        both = network(seen.of(torch.zeros(2, dtype=torch.long)), read)
        alone = network(seen, network.read_texts(["tumor"]))
    torch.testing.assert_close(both.semantic[1:], alone.semantic, atol=1e-5, rtol=1e-4)


def test_names_of_video_models_are_taken_and_their_trackers_left(tmp_path: Path) -> None:
    file = write_sam3(tmp_path / "video", prefix="detector_model.")
    report = adopt_checkpoint(file, tmp_path / "out.safetensors")
    assert not report.missing
    assert report.unexpected == ("tracker_model.memory.weight",)


def test_a_tile_is_seen_once_and_answered_in_its_own_pixels(predictor: Sam3Predictor) -> None:
    assert isinstance(predictor, TextSegmenter)
    embedding = predictor.embed(make_tile(50, 40), AT_ITS_SCALE)
    assert len(embedding.arrays["starts"]) == 4
    answer = predictor.answer(embedding, "all nuclei")
    labels = answer.nuclei.to_labels((50, 40))
    assert len(np.unique(labels)) - 1 == len(answer.nuclei)
    assert 0 <= answer.presence <= 1
    assert not answer.low_confidence


def test_nothing_is_answered_below_the_threshold_of_presence(predictor: Sam3Predictor) -> None:
    strict = Sam3Predictor(
        predictor.network, predictor.info, predictor.digest, replace(EASY, presence=1.0)
    )
    answer = strict.query(make_tile(32, 32), "cell nuclei", AT_ITS_SCALE)
    assert len(answer.nuclei) == 0
    assert answer.presence < 1


def test_more_instances_than_queries_can_tell_are_parted_from_the_semantic_answer(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowded = Sam3Predictor(
        predictor.network, predictor.info, predictor.digest, replace(EASY, crowded=0)
    )
    seen = []
    monkeypatch.setattr(Sam3Predictor, "_parted", lambda self, s: seen.append(s.shape) or _none())
    crowded.query(make_tile(32, 32), "cell nuclei", AT_ITS_SCALE)
    assert seen == [(1, 1, 16, 16)]


def _none():
    from napari_nucleus.core.nuclei import Nuclei

    return Nuclei.empty()


@pytest.mark.parametrize("shape", [(1, 1), (3, 70)])
def test_tiles_of_any_size_are_answered(predictor: Sam3Predictor, shape: tuple[int, int]) -> None:
    assert predictor.query(make_tile(*shape), "nuclei", AT_ITS_SCALE).nuclei.boxes.shape[1] == 4


def test_an_embedding_of_another_model_is_refused(predictor: Sam3Predictor) -> None:
    embedding = replace(predictor.embed(make_tile(32, 32), AT_ITS_SCALE), model="other")
    with pytest.raises(ModelError, match="another model"):
        predictor.answer(embedding, "nuclei")


def test_an_empty_text_is_refused(predictor: Sam3Predictor) -> None:
    embedding = predictor.embed(make_tile(32, 32), AT_ITS_SCALE)
    with pytest.raises(ModelError, match="empty"):
        predictor.answer(embedding, "  ")


def test_weights_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    file = write_sam3(tmp_path / "theirs")
    file.with_name("tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        adopt_checkpoint(file, tmp_path / "out.safetensors")


def test_files_of_the_original_program_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "sam3.pt"
    file.write_bytes(b"x")
    with pytest.raises(WeightsError, match="safetensors alone"):
        adopt_checkpoint(file, tmp_path / "out.safetensors")


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = write_sam3(tmp_path / "theirs")
    state = load_file(file)
    state.pop("detr_decoder.presence_token.weight")
    save_file(state, file)
    with pytest.raises(WeightsError, match="presence_token"):
        adopt_checkpoint(file, tmp_path / "out.safetensors")


def test_a_class_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no classes"):
        adopt_checkpoint(tmp_path / "model.safetensors", tmp_path / "out", (1, 0))


def test_the_tiny_configuration_is_one_of_the_library() -> None:
    assert Sam3Model(Sam3Config.from_dict(tiny_sam3())).config.detr_decoder_config.num_queries == 14
