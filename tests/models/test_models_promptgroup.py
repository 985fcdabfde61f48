"""The text-prompted nano: seen once, answered often, and silent where it does not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from promptgroup_helpers import INFO, TINY, make_network, make_predictor, make_tile

from napari_nucleus.core.image import Tile
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import Calibration, TextSegmenter
from napari_nucleus.models.promptgroup.build import load_predictor, restore_network, save_network
from napari_nucleus.models.promptgroup.config import PromptGroupConfig
from napari_nucleus.models.promptgroup.network import PromptGroup
from napari_nucleus.models.promptgroup.predictor import PromptGroupPredictor
from napari_nucleus.models.promptgroup.presets import NANO
from napari_nucleus.models.promptgroup.text import Read

AT_ITS_SCALE = Calibration(1.0, 0.25)
ALL = (1, 2, 3, 4, 5)


def wanting(predictor: PromptGroupPredictor, classes: tuple[int, ...]) -> PromptGroupPredictor:
    """Let the predictor read every text as asking for these classes."""
    head = predictor.network.text.wanted
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([20.0 if c in classes else -20.0 for c in ALL]))
    return predictor


def sure_of(predictor: PromptGroupPredictor, bias: float) -> PromptGroupPredictor:
    """Let the predictor find everything, or nothing."""
    projection = predictor.network.sam3.mask_decoder.semantic_projection
    with torch.no_grad():
        projection.weight.zero_()
        projection.bias.fill_(bias)
    return predictor


def test_the_answer_has_stride_two_and_one_map_a_text() -> None:
    network = make_network()
    with torch.inference_mode():
        seen = network.see(torch.randn(1, 3, 64, 64))
        read = network.read([["nuclei"], ["tumor", "cells"]])
        answers = network(seen.of(torch.tensor([0, 0])), read)
    assert answers.semantic.shape == (2, 1, 32, 32)
    assert answers.presence.shape == (2,)
    assert answers.masks.shape == (2, 4, 32, 32)
    assert answers.boxes.shape == (2, 4, 4)


def test_the_nano_fits_in_a_wheel() -> None:
    count = sum(p.numel() for p in PromptGroup(NANO).parameters())
    assert 2 * count < 12e6


def test_the_text_changes_the_answer() -> None:
    network = make_network()
    with torch.inference_mode():
        seen = network.see(torch.randn(1, 3, 64, 64))
        a, b = (network(seen, network.read([[word]])).semantic for word in ("tumor", "stroma"))
    assert not torch.allclose(a, b)


def test_without_gates_the_text_is_heard_at_the_coarsest_level_alone() -> None:
    config = replace(TINY, fusion=replace(TINY.fusion, gated=False))
    network = make_network(config)
    assert not list(network.gates)
    with torch.inference_mode():
        seen = network.see(torch.randn(1, 3, 64, 64))
        a, b = (network(seen, network.read([[word]])).semantic for word in ("tumor", "stroma"))
    assert not torch.allclose(a, b)


def test_an_encoder_without_a_level_at_stride_two_is_refused() -> None:
    head = replace(TINY.vision.head, fine_dim=0)
    with pytest.raises(ValueError, match="stride 2"):
        PromptGroup(replace(TINY, vision=replace(TINY.vision, head=head)))


def test_a_configuration_survives_its_header() -> None:
    assert PromptGroupConfig.from_dict(NANO.to_dict()) == NANO
    with pytest.raises(TypeError):
        PromptGroupConfig.from_dict({"colour": 1})


def test_weights_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    network = make_network()
    file = tmp_path / "nano.safetensors"
    save_network(network.half().float(), file, None, {})
    again = load_predictor(INFO, file, "cpu").network
    for (name, a), (_, b) in zip(
        network.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name


def test_weights_of_another_model_or_size_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "nano.safetensors"
    save_network(make_network(), file, None, {})
    with pytest.raises(WeightsError, match="shape"):
        restore_network(file, replace(TINY, fusion=replace(TINY.fusion, dim=32)))


def test_a_text_with_an_unknown_word_is_told_and_nothing_is_drawn() -> None:
    predictor = sure_of(wanting(make_predictor(), ALL), 20.0)
    answer = predictor.query(make_tile(), "all mitotic nuclei", AT_ITS_SCALE)
    assert answer.low_confidence
    assert answer.unknown == ("mitotic",)
    assert len(answer.nuclei) == 0
    assert answer.confidence == 0


@pytest.mark.parametrize("text", ["", "   ", "?!", "show me all of it"])
def test_a_text_that_names_nothing_is_told_and_nothing_is_drawn(text: str) -> None:
    answer = make_predictor().query(make_tile(), text, AT_ITS_SCALE)
    assert answer.low_confidence
    assert len(answer.nuclei) == 0


def test_a_doubtful_reading_is_told() -> None:
    predictor = make_predictor(confidence=0.9)
    with torch.no_grad():
        predictor.network.text.wanted.weight.zero_()
        predictor.network.text.wanted.bias.fill_(0.4)
    assert predictor.query(make_tile(), "nuclei", AT_ITS_SCALE).low_confidence


def test_an_answer_explains_itself_by_words_of_what_was_asked() -> None:
    predictor = sure_of(wanting(make_predictor(), (2,)), 20.0)
    answer = predictor.query(make_tile(), "show lymphocites, not tumor nuclei", AT_ITS_SCALE)
    assert answer.words == (("lymphocytes", "inflammatory"), ("nuclei", "nucleus"))
    assert answer.classes == (2,)
    assert answer.confidence > 0.9


def test_nuclei_of_an_answer_are_of_the_classes_asked_for() -> None:
    predictor = sure_of(wanting(make_predictor(), (2, 3)), 20.0)
    answer = predictor.query(make_tile(), "lymphocytes and fibroblasts", AT_ITS_SCALE)
    assert len(answer.nuclei)
    assert not answer.nuclei.class_prob[:, [0, 3, 4]].any()
    np.testing.assert_allclose(answer.nuclei.class_prob.sum(1), 1, atol=1e-5)


def test_where_nothing_is_found_nothing_is_drawn_but_the_text_was_understood() -> None:
    predictor = sure_of(wanting(make_predictor(), ALL), -20.0)
    answer = predictor.query(make_tile(), "all nuclei", AT_ITS_SCALE)
    assert not answer.low_confidence
    assert len(answer.nuclei) == 0


def test_windows_in_which_the_presence_is_low_answer_nothing() -> None:
    predictor = sure_of(wanting(make_predictor(presence=1.0), ALL), 20.0)
    answer = predictor.query(make_tile(), "all nuclei", AT_ITS_SCALE)
    assert len(answer.nuclei) == 0
    assert 0 < answer.presence < 1


def test_a_tile_is_seen_once_for_all_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = wanting(make_predictor(), ALL)
    looks = []
    see = PromptGroup.see
    monkeypatch.setattr(PromptGroup, "see", lambda self, x: looks.append(len(x)) or see(self, x))
    embedding = predictor.embed(make_tile(), AT_ITS_SCALE)
    predictor.answer_many(embedding, ["all nuclei", "tumor", "giraffe"])
    assert sum(looks) == 2  # one window, two mirrorings


def test_a_tile_is_asked_once_for_texts_that_are_read_alike(monkeypatch) -> None:
    predictor = wanting(make_predictor(plain=True), (2,))
    answered = []
    forward = PromptGroup.forward
    monkeypatch.setattr(
        PromptGroup, "forward", lambda self, *a: answered.append(1) or forward(self, *a)
    )
    embedding = predictor.embed(make_tile(), AT_ITS_SCALE)
    first = predictor.answer(embedding, "lymphocytes")
    again = predictor.answer(embedding, "all lymphocytes")
    assert len(answered) == 1
    assert again.text == "all lymphocytes"
    np.testing.assert_array_equal(again.nuclei.boxes, first.nuclei.boxes)
    wanting(predictor, (3,))
    assert predictor.answer(embedding, "fibroblasts").classes == (3,)
    assert len(answered) == 2, "other classes are asked for"
    predictor.answer(predictor.embed(make_tile(seed=1), AT_ITS_SCALE), "fibroblasts")
    assert len(answered) == 3, "another tile"


def test_texts_that_are_answered_as_they_are_worded_are_asked_each(monkeypatch) -> None:
    predictor = wanting(make_predictor(plain=False), (2,))
    answered = []
    forward = PromptGroup.forward
    monkeypatch.setattr(
        PromptGroup, "forward", lambda self, *a: answered.append(1) or forward(self, *a)
    )
    predictor.answer_many(predictor.embed(make_tile(), AT_ITS_SCALE), ["lymphocytes", "lymphoid"])
    assert len(answered) == 2


def test_a_text_that_is_not_understood_costs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PromptGroup, "see", lambda *_: pytest.fail("it looked"))
    assert make_predictor().query(make_tile(), "giraffes", AT_ITS_SCALE).low_confidence


def test_the_predictor_answers_texts_as_the_protocol_says() -> None:
    assert isinstance(make_predictor(), TextSegmenter)


def test_an_embedding_of_another_model_is_refused() -> None:
    predictor = make_predictor()
    embedding = replace(predictor.embed(make_tile(), AT_ITS_SCALE), model="other")
    with pytest.raises(ModelError, match="another model"):
        predictor.answer(embedding, "nuclei")


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (65, 130)])
def test_tiles_of_any_size_are_answered_in_their_own_pixels(shape: tuple[int, int]) -> None:
    predictor = sure_of(wanting(make_predictor(), ALL), 20.0)
    nuclei = predictor.query(make_tile(*shape), "all nuclei", AT_ITS_SCALE).nuclei
    assert (nuclei.boxes[:, 2:] <= shape).all()
    assert (nuclei.boxes[:, :2] >= 0).all()


def test_a_magnified_tile_is_answered_in_its_own_pixels() -> None:
    predictor = sure_of(wanting(make_predictor(), ALL), 20.0)
    answer = predictor.query(make_tile(40, 60), "all nuclei", Calibration(2.0, 0.5))
    assert (answer.nuclei.to_labels((40, 60)) > 0).mean() > 0.9


def test_a_white_tile_is_no_exception() -> None:
    tile = Tile(np.full((64, 64, 3), 255, np.uint8))
    answer = wanting(make_predictor(), ALL).query(tile, "all nuclei", AT_ITS_SCALE)
    assert answer.nuclei.class_prob.shape[1] == 5


def test_a_mirrored_tile_gets_the_mirrored_answer() -> None:
    predictor = wanting(make_predictor(), ALL)
    tile = make_tile()
    mirrored = Tile(np.ascontiguousarray(tile.rgb[:, ::-1]))
    understood = predictor.understand("all nuclei")
    maps = [
        predictor.semantic(predictor.embed(t, AT_ITS_SCALE), understood)[0]
        for t in (tile, mirrored)
    ]
    np.testing.assert_allclose(maps[1][:, ::-1], maps[0], atol=2e-3)


def test_windows_that_agree_are_joined_without_a_seam() -> None:
    predictor = sure_of(wanting(make_predictor(), ALL), 0.7)
    embedding = predictor.embed(make_tile(100, 150), AT_ITS_SCALE)
    assert len(embedding.arrays["starts"]) == 6
    probability, _ = predictor.semantic(embedding, predictor.understand("all nuclei"))
    assert probability.shape == (100, 150)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-0.7)), atol=1e-5)


def test_texts_can_be_repeated() -> None:
    network = make_network()
    read = network.read([["nuclei"], ["tumor"]])
    twice: Read = read.repeated(torch.tensor([1, 1]))
    assert torch.equal(twice.pooled[0], read.pooled[1])
    assert torch.equal(twice.pooled[1], read.pooled[1])
