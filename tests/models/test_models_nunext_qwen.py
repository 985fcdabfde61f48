"""NuNext on a Qwen2.5-VL of the user's: a folder adopted once, points that any weights write."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import regex
import torch
from nunext_helpers import make_tile, write_qwen
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LogitsProcessorList
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.points import Points
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, PointDetector
from napari_nucleus.models.nunext import qwen_predictor
from napari_nucleus.models.nunext.grammar import Grammar
from napari_nucleus.models.nunext.qwen import (
    CLIP_MEAN,
    CLIP_STD,
    mass_near,
    picture_tokens,
    to_input,
    to_patches,
)
from napari_nucleus.models.nunext.qwen_build import adopt_folder, load_predictor, open_folder
from napari_nucleus.models.nunext.qwen_config import QwenSettings, read_settings
from napari_nucleus.models.nunext.qwen_predictor import QwenPredictor
from napari_nucleus.models.nunext.tokens import Vocabulary, encode_points

AT_ITS_SCALE = Calibration(1.0, 0.25)
INFO = zoo.describe("nunext-3b")
PHRASES = ["tumour nucleus", "lymphocyte", "fibroblast", "dead cell", "epithelial nucleus"]

KINDS: dict[str, dict[str, Any]] = {
    "typed": {},
    "re-purposed": {"coordinates": "re-purposed"},
    "free": {"own_tokens": False, "class_mode": "none"},
    "one phrase": {"own_tokens": False},
    "phrases": {"own_tokens": False, "phrases": PHRASES},
}
"""Checkpoints: with tokens of our own or as Rex-Omni's, and what they are asked for."""

MIXED = [make_tile(32, 32, i) for i in range(4)] + [make_tile(20, 47, 9), make_tile(1, 1, 2)]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen(tmp_path_factory.mktemp("qwen"), **KINDS[request.param])


@pytest.fixture(scope="module")
def predictor(folder: Path) -> QwenPredictor:
    return load_predictor(INFO, folder, "cpu")


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    return write_qwen(tmp_path / "typed")


def same(a: Points, b: Points, score: float = 1e-5) -> None:
    np.testing.assert_array_equal(a.yx, b.yx)
    np.testing.assert_allclose(a.score, b.score, atol=score)
    np.testing.assert_allclose(a.class_prob, b.class_prob, atol=1e-5)


# ---- answers


def test_a_detector_of_points_gives_points_inside_the_tile(predictor: QwenPredictor) -> None:
    assert isinstance(predictor, PointDetector)
    found = predictor.detect_many(MIXED, AT_ITS_SCALE)
    assert sum(map(len, found)) > 2
    for tile, points in zip(MIXED, found, strict=True):
        assert (points.yx >= 0).all()
        assert (points.yx < tile.shape).all()
        assert ((points.score > 0) & (points.score <= 1)).all()


def test_tiles_together_are_answered_as_each_alone(predictor: QwenPredictor) -> None:
    together = predictor.detect_many(MIXED, AT_ITS_SCALE)
    assert len({len(points) for points in together}) > 1
    for tile, points in zip(MIXED, together, strict=True):
        same(points, predictor.detect(tile, AT_ITS_SCALE))


def test_answers_are_those_of_the_library_given_the_same_grammar(
    predictor: QwenPredictor,
) -> None:
    script, settings, network = predictor.script, predictor.settings, predictor.writer
    picture = to_input(torch.tensor(MIXED[0].rgb).permute(2, 0, 1) / 255, 3.5)
    sheet = network.open([picture], script)
    sheet.say(script.openings[0])
    (answer,) = sheet.points(settings)
    ids = torch.tensor([[*script.question(picture_tokens(picture)), *script.openings[0]]])
    patches, grid = to_patches(picture, network.mean, network.std, 2)
    grammar = script.grammar(settings)

    def constrained(written: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        state = grammar.start(1)
        for token in written[0, ids.shape[1] :]:
            state = grammar.advance(state, token[None])
        return grammar.constrain(logits, state)

    out = network.model.generate(
        input_ids=ids,
        mm_token_type_ids=(ids == script.image).int(),
        pixel_values=patches,
        image_grid_thw=torch.tensor([grid]),
        max_new_tokens=40,
        do_sample=False,
        pad_token_id=0,
        logits_processor=LogitsProcessorList([constrained]),
    )
    bins = out[0, ids.shape[1] :].tolist()
    v = script.vocabulary
    pairs = [(bins[3 * i + 1], bins[3 * i]) for i in range(len(answer.bins))]
    assert answer.bins.tolist() == [[v.coordinates.index(t) for t in pair] for pair in pairs]
    rest = bins[3 * len(pairs) - (not script.separator_needed and len(pairs) > 0) :]
    assert rest == [*(() if pairs else v.none), v.end, v.stop]


def test_classes_are_told_by_separators_or_lists(
    folder: Path, predictor: QwenPredictor, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["folder"]
    classes = 5 if kind in ("typed", "re-purposed", "phrases") else 0
    assert predictor.info.classes == (PANNUKE if classes else None)
    points = Points.joined(predictor.detect_many(MIXED, AT_ITS_SCALE))
    assert points.class_prob.shape == (len(points), classes)
    if kind == "phrases":
        assert set(np.unique(points.class_prob)) == {0, 1}
        assert (points.class_prob.sum(0) > 0).sum() > 1
    elif classes:
        told = points.class_prob.sum(1)
        assert np.isclose(told, 1).any()
        assert (np.isclose(told, 1) | (told == 0)).all()


def test_an_empty_answer_gives_no_points(typed: Path) -> None:
    predictor = load_predictor(INFO, typed, "cpu")
    model = predictor.writer.model
    none = predictor.script.vocabulary.none[0]
    head = torch.nn.Linear(32, model.config.text_config.vocab_size)
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.nn.functional.one_hot(torch.tensor(none), len(head.bias)))
    model.lm_head = head
    points = predictor.detect(make_tile(70, 40), AT_ITS_SCALE)
    assert points.yx.shape == (0, 2)
    assert points.class_prob.shape == (0, 5)


def test_no_answer_is_longer_than_it_may_be(predictor: QwenPredictor) -> None:
    most = predictor.settings.max_points * len(predictor.script.openings)
    counts = [len(p) for p in predictor.detect_many(MIXED[:4], AT_ITS_SCALE)]
    assert max(counts) <= most


def test_raster_order_is_kept_within_its_margin(tmp_path: Path) -> None:
    folder = write_qwen(tmp_path, line_margin=0)
    for points in load_predictor(INFO, folder, "cpu").detect_many(MIXED[:4], AT_ITS_SCALE):
        assert (np.diff(points.yx[:, 0]) >= 0).all()


def test_latent_tokens_stand_before_an_answer_where_they_are_known(typed: Path) -> None:
    script = load_predictor(INFO, typed, "cpu").script
    assert len(script.vocabulary.latent) == 2
    assert script.after[-2:] == script.vocabulary.latent


def test_a_score_is_what_lies_near_the_coordinate_that_was_chosen() -> None:
    v = Vocabulary.nano(6, 0, 0)
    probability = torch.zeros(2, v.size)
    probability[:, :6] = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.05, 0.1])
    near = mass_near(probability, torch.tensor([2, 0]), v, 1)
    torch.testing.assert_close(near, torch.tensor([0.65, 0.3]))


# ---- pictures and windows


def test_patches_are_those_of_the_library() -> None:
    rgb = make_tile(112, 168).rgb
    theirs = Qwen2VLImageProcessorPil(do_resize=False)(Image.fromarray(rgb), return_tensors="pt")
    patches, grid = to_patches(torch.tensor(rgb).permute(2, 0, 1) / 255, CLIP_MEAN, CLIP_STD, 2)
    torch.testing.assert_close(patches, theirs["pixel_values"], atol=1e-5, rtol=1e-5)
    assert [list(grid)] == theirs["image_grid_thw"].tolist()


@pytest.mark.parametrize(
    ("shape", "size"), [((256, 256), (1008, 1008)), ((100, 61), (392, 252)), ((1, 5), (112, 112))]
)
def test_windows_are_stretched_alike_to_whole_cells(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    assert to_input(torch.rand(3, *shape), 1008 / 256).shape == (3, *size)


def test_points_of_a_large_tile_are_those_of_its_windows(typed: Path) -> None:
    predictor = load_predictor(INFO, typed, "cpu")
    tile = make_tile(32, 48)
    parts = [
        predictor.detect(replace(tile, rgb=tile.rgb[:, x : x + 32]), AT_ITS_SCALE).shifted(0, x)
        for x in (0, 16)
    ]
    expected = Points.joined([parts[0].within((0, 0, 32, 24)), parts[1].within((0, 24, 32, 48))])
    same(predictor.detect(tile, AT_ITS_SCALE), expected)


def test_points_are_in_pixels_of_the_tile_at_any_scale(typed: Path) -> None:
    predictor = load_predictor(INFO, typed, "cpu")
    tile = make_tile(64, 64)
    small = predictor.detect(tile, predictor.calibrate([], 0.125))
    same(predictor.detect(tile, Calibration(0.5, 0.125)), small)
    assert small.yx.max() > 32
    assert (small.yx < 64).all()


def test_an_unknown_pixel_size_is_what_the_default_model_says(
    typed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = SimpleNamespace(calibrate=lambda samples, mpp: Calibration(2.0, 0.5, True))
    monkeypatch.setattr(qwen_predictor.zoo, "load_model", lambda name, device: default)
    calibration = load_predictor(INFO, typed, "cpu").calibrate([make_tile()], None)
    assert calibration == Calibration(2.0, 0.5, True)


# ---- folders


def test_an_adopted_folder_is_the_model_from_then_on(
    typed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "user_data_path", lambda name: tmp_path / "data")
    with pytest.raises(ModelError, match="adopt nunext-3b FOLDER"):
        zoo.load_model("nunext-3b", "cpu")
    report = zoo.adopt("nunext-3b", typed)
    assert any(name.endswith("embed_tokens.weight") for name in report.loaded)
    assert not report.missing
    assert zoo.weights_file("nunext-3b").stat().st_size < 1000
    assert "nunext-3b" in zoo.available()
    adopted = zoo.load_model("nunext-3b", "cpu")
    given = zoo.load_model("nunext-3b", "cpu", typed)
    assert adopted.digest == given.digest
    same(*(m.detect(make_tile(), AT_ITS_SCALE) for m in (adopted, given)))


def test_a_folder_that_has_changed_is_refused(typed: Path, tmp_path: Path) -> None:
    out = tmp_path / "adopted.json"
    adopt_folder(typed, out)
    (typed / "nunext.json").write_text("{}")
    with pytest.raises(WeightsError, match="changed since it was adopted"):
        load_predictor(INFO, out, "cpu")
    typed.rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="not there any more"):
        load_predictor(INFO, out, "cpu")


def test_a_checkpoint_that_never_learned_to_point_is_refused(tmp_path: Path) -> None:
    folder = write_qwen(tmp_path, "absent", own_tokens=False)
    with pytest.raises(WeightsError, match=r"has no <0>.*not trained to point"):
        adopt_folder(folder, tmp_path / "out.json")


def test_for_training_it_is_given_rows_for_what_it_lacks(tmp_path: Path) -> None:
    folder = write_qwen(tmp_path, "absent", own_tokens=False, spare_rows=3)
    opened = open_folder(folder, read_settings(folder), append=True)
    assert opened.found.appended == tuple(f"<{i}>" for i in range(10))
    assert opened.network.rows == opened.found.rows == len(opened.tokenizer)
    script_rows = opened.network.model.lm_head.weight.shape[0]
    assert script_rows == opened.network.rows


def test_rows_that_are_spare_are_used_before_any_are_added(tmp_path: Path) -> None:
    folder = write_qwen(tmp_path, "absent", own_tokens=False, spare_rows=30)
    before = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    opened = open_folder(folder, read_settings(folder), append=True)
    assert opened.network.rows == before


def _without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _with(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**old, **values}))


def _state(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})


BROKEN: dict[str, tuple[Any, str]] = {
    "no configuration": (lambda f: _without(f, "config.json"), r"config\.json.*not there"),
    "no weights": (lambda f: _without(f, "model.safetensors"), "no safetensors"),
    "no tokenizer": (lambda f: _without(f, "tokenizer.json"), "tokenizer"),
    "torn configuration": (lambda f: (f / "config.json").write_text("{"), r"config\.json"),
    "torn tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer cannot be"),
    "torn weights": (
        lambda f: (f / "model.safetensors").write_bytes(b"x" * 64),
        "network cannot be read",
    ),
    "another model": (lambda f: _with(f, "config.json", model_type="llama"), "'llama'"),
    "a part missing": (
        lambda f: _state(f, lambda s: s.pop("model.norm.weight")),
        r"lacks model\.language_model\.norm\.weight",
    ),
    "not finite": (
        lambda f: _state(f, lambda s: s["model.norm.weight"].fill_(torch.nan)),
        "NaN",
    ),
    "torn pictures": (
        lambda f: _with(f, "preprocessor_config.json", image_std=[1, 0, 1]),
        "std|deviation",
    ),
    "unknown setting": (lambda f: _with(f, "nunext.json", colour="red"), r"nunext\.json.*colour"),
    "bad mode": (lambda f: _with(f, "nunext.json", class_mode="both"), "'both'"),
    "bad side": (lambda f: _with(f, "nunext.json", side=100), "100"),
    "bad phrases": (lambda f: _with(f, "nunext.json", phrases=["a", "b"]), "2, not 1 or 5"),
    "more bins than tokens": (lambda f: _with(f, "nunext.json", bins=11), "has no <10>"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_bad_folder_is_refused_in_one_sentence(typed: Path, fault: str) -> None:
    spoil, words = BROKEN[fault]
    spoil(typed)
    with pytest.raises(WeightsError, match=words) as raised:
        load_predictor(INFO, typed, "cpu")
    assert str(typed) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_typed_separators_that_are_not_there_are_refused(tmp_path: Path) -> None:
    folder = write_qwen(tmp_path, own_tokens=False, class_mode="typed")
    with pytest.raises(WeightsError, match="no <neo>"):
        load_predictor(INFO, folder, "cpu")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"system": "x", "folder": "y", "digest": 1}'])
def test_a_file_that_names_no_folder_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "nunext-3b.json"
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_predictor(INFO, file, "cpu")
    file.write_text(content)
    with pytest.raises(WeightsError, match=r"nunext-3b\.json"):
        load_predictor(INFO, file, "cpu")


def test_a_class_order_is_refused(typed: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="leave --class-order out"):
        adopt_folder(typed, tmp_path / "out.json", (1, 2))


def test_settings_come_back_from_plain_values() -> None:
    settings = QwenSettings(phrases=("a", "b", "c", "d", "e"), line_margin=None)
    assert QwenSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


# ---- vLLM, by a stand-in that decodes by the pattern and the ids that it is given


class StandIn:
    """What of vLLM is used, over the network itself: nothing is kept from call to call."""

    def __init__(self, folder: Path) -> None:
        opened = open_folder(folder, read_settings(folder))
        self.network, self.tokenizer = opened.network, opened.tokenizer
        self.orders: list[Any] = []
        self.options: dict[str, Any] = {}

    def modules(self) -> dict[str, ModuleType]:
        vllm, params = ModuleType("vllm"), ModuleType("vllm.sampling_params")
        vllm.LLM, vllm.SamplingParams = self._opened, SimpleNamespace  # type: ignore[attr-defined]
        params.StructuredOutputsParams = SimpleNamespace  # type: ignore[attr-defined]
        return {"vllm": vllm, "vllm.sampling_params": params}

    def _opened(self, **options: Any) -> StandIn:
        self.options = options
        return self

    def generate(self, prompts: list[Any], order: Any, use_tqdm: bool) -> list[Any]:
        self.orders.append(order)
        return [SimpleNamespace(outputs=[self._written(p, order)]) for p in prompts]

    @torch.inference_mode()
    def _written(self, prompt: dict[str, Any], order: Any) -> Any:
        picture = torch.tensor(np.asarray(prompt["multi_modal_data"]["image"])).permute(2, 0, 1)
        patches, grid = to_patches(picture / 255, self.network.mean, self.network.std, 2)
        image = self.network.model.config.image_token_id
        ids: list[int] = []
        for token in prompt["prompt_token_ids"]:
            ids += [token] * (picture_tokens(picture) if token == image else 1)
        written: list[int] = []
        told: list[dict[int, Any]] = []
        for _ in range(order.max_tokens):
            row = torch.tensor([[*ids, *written]])
            out = self.network.model(
                input_ids=row,
                mm_token_type_ids=(row == image).int(),
                pixel_values=patches,
                image_grid_thw=torch.tensor([grid]),
                logits_to_keep=1,
            )
            logits = out.logits[0, -1].float()
            allowed = [t for t in order.allowed_token_ids if self._fits(written, t, order)]
            mask = torch.full_like(logits, -torch.inf)
            mask[allowed] = logits[allowed]
            likely = mask.log_softmax(-1).topk(order.logprobs)
            told.append(
                {
                    int(i): SimpleNamespace(logprob=float(v))
                    for v, i in zip(likely.values, likely.indices, strict=True)
                }
            )
            written.append(int(mask.argmax()))
            if written[-1] in order.stop_token_ids:
                break
        return SimpleNamespace(token_ids=tuple(written), logprobs=told)

    def _fits(self, written: list[int], token: int, order: Any) -> bool:
        pattern = order.structured_outputs.regex
        if token in order.stop_token_ids:
            return regex.fullmatch(pattern, self.tokenizer.decode(written)) is not None
        text = self.tokenizer.decode([*written, token])
        return regex.fullmatch(pattern, text, partial=True) is not None


@pytest.fixture
def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(folder)
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def test_vllm_writes_what_the_library_writes(
    folder: Path, stand_in: StandIn, tmp_path: Path
) -> None:
    copied = tmp_path / "free"
    copied.mkdir()
    for file in folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    _with(copied, "nunext.json", line_margin=None)
    ours = load_predictor(INFO, copied, "cpu").detect_many(MIXED[:3], AT_ITS_SCALE)
    _with(copied, "nunext.json", backend="vllm")
    predictor = load_predictor(INFO, copied, "cpu")
    theirs = predictor.detect_many(MIXED[:3], AT_ITS_SCALE)
    assert stand_in.options["model"] == str(copied)
    assert len(stand_in.orders) == len(predictor.script.openings)
    assert predictor.device == "vllm"
    for a, b in zip(ours, theirs, strict=True):
        same(a, b, score=1.0)
        assert (b.score <= a.score + 1e-4).all()  # the unlikely is left out
        assert (b.score > 0.5 * a.score).all()


def test_without_vllm_its_backend_is_refused_with_what_to_do(typed: Path) -> None:
    _with(typed, "nunext.json", backend="vllm")
    with pytest.raises(ModelError, match=r"needs vLLM.*set backend to 'transformers'"):
        load_predictor(INFO, typed, "cpu")


def test_vllm_is_not_imported_unless_it_is_asked_for(folder: Path, stand_in: StandIn) -> None:
    load_predictor(INFO, folder, "cpu")
    assert not stand_in.options


def test_the_grammar_and_the_encoder_agree_with_the_tokens_of_a_real_layout(typed: Path) -> None:
    script = load_predictor(INFO, typed, "cpu").script
    grammar = Grammar(script.vocabulary, 3)
    state = grammar.start(1)
    for token in encode_points([[1.0, 2.0], [3.0, 4.0]], [1, 5], script.vocabulary, 10)[1:]:
        assert grammar.allowed(state)[0, token]
        state = grammar.advance(state, torch.tensor([token]))
    assert grammar.done(state).all()
