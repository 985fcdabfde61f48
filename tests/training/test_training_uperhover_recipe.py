"""The recipe of UperHoVer from data and unlabelled images to weights that load."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from training_helpers import draw_labels, paint_labels, write_image
from uninuc_helpers import make_network as make_uninuc
from uperhover_helpers import INFO, PLAIN, TINY, discs, make_network, timm_state

from napari_nucleus.core.image import Tile
from napari_nucleus.errors import ImageError, ModelError, WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.uninuc.build import save_network as save_uninuc
from napari_nucleus.models.uperhover.build import load_predictor, save_network
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.uperhover.presets import NANO, UNI2H
from napari_nucleus.models.weights import read_weights
from napari_nucleus.training import uperhover, uperhover_recipe
from napari_nucleus.training.data import CONSEP_DEVELOPMENT
from napari_nucleus.training.loop import best_score
from napari_nucleus.training.pseudo import FilterConfig
from napari_nucleus.training.recipes import TrainingOrder, train_model

NAME = "uperhover-nano"
CPU = torch.device("cpu")
STAGES = ("supervised", "second", "third")
the_recipe = uperhover_recipe.uperhover_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for i, name in enumerate(["consep_train_01", CONSEP_DEVELOPMENT[0]]):
        labels = draw_labels(((160, 144), (48, 48))[i], i, 6)
        write_image(root / "consep", name, labels, ".jpg", np.where(labels > 0, 2, 0))
    write_image(root / "dsb2018", "dsb2018_1", draw_labels((60, 64), 5, 5), ".png")
    (root / "nucls_points").mkdir()
    return root


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    root = tmp_path_factory.mktemp("unlabelled")
    for seed in range(2):
        picture = Image.fromarray(paint_labels(draw_labels((128, 128), seed, 20)))
        picture.save(root / f"slide_{seed}.png", dpi=(101_600, 101_600))
    (root / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The recipe with a tiny network, two steps a stage, and the stem of a tiny UniNuc."""
    config = {"config": TINY}

    def recipe(name, *_):
        plain = the_recipe(name, CPU, 2, 0, 0)
        stages = {
            stage: replace(plan, sizes=((1.0, 32, 2),), autocast=False)
            for stage, plan in plain.stages.items()
        }
        return replace(plain, **config, stages=stages, filter=FilterConfig(side=64), fields=(1, 48))

    stem = tmp_path / "uninuc.safetensors"
    save_uninuc(make_uninuc(), stem, None, {})
    monkeypatch.setattr(uperhover_recipe, "uperhover_recipe", recipe)
    monkeypatch.setattr(zoo, "weights_file", lambda name: stem)
    return config


@pytest.fixture
def begun(monkeypatch):
    """The network with which each stage began, by the stage's folder."""
    states: dict[str, dict[str, torch.Tensor]] = {}
    fit = uperhover.fit

    def spy(model, groups, batches, loss, run, folder, *rest, **more):
        states[folder.name] = {k: v.clone() for k, v in model.state_dict().items()}
        return fit(model, groups, batches, loss, run, folder, *rest, **more)

    monkeypatch.setattr(uperhover, "fit", spy)
    return states


@pytest.fixture
def labelled(monkeypatch):
    """What labelled the tiles each time, and the tiles that were kept."""
    calls = []
    label = uperhover_recipe.label_folder

    def spy(predictor, *arguments):
        kept = label(predictor, *arguments)
        calls.append((predictor, kept))
        return kept

    monkeypatch.setattr(uperhover_recipe, "label_folder", spy)
    return calls


def order(data, out, stage="all", **more):
    return TrainingOrder(data, out, stage, device="cpu", workers=0, **more)


def test_all_stages_make_weights_that_load_and_are_not_done_again(
    tiny, begun, labelled, data, unlabelled, tmp_path
):
    said: list[str] = []
    out = tmp_path / "run"

    def train():
        said.clear()
        train_model(NAME, order(data, out, unlabelled=unlabelled), said.append)

    train()
    assert [line for line in said if line.startswith("---")] == [f"--- {s}" for s in STAGES]
    assert sum("left out" in line and "broken.png" in line for line in said) == 2

    # Each stage began alike: new decoders, and the stem of the bundled UniNuc.
    assert list(begun) == list(STAGES)
    stem = load_file(out / "start.safetensors")
    for state in begun.values():
        for name, value in state.items():
            assert torch.equal(value, begun["supervised"][name]), name
        assert all(torch.equal(state[name], value) for name, value in stem.items())
    assert all(name.startswith("encoder.stem.first.") for name in stem)
    trained = load_file(out / "supervised" / "best.safetensors")
    head = "classes.fine.out.weight"
    assert not torch.equal(trained[head], begun["second"][head])

    # Each was labelled by the one before.
    for (predictor, kept), stage in zip(labelled, STAGES[1:], strict=True):
        before = load_file(out / STAGES[STAGES.index(stage) - 1] / "best.safetensors")
        own = predictor.network.state_dict()
        assert all(torch.equal(own[name], value) for name, value in before.items())
        assert kept
        files = {f.name for f in (out / f"{stage}_labels").iterdir()}
        assert files == {"scores.csv"} | {
            f"{tile.name}{ending}" for tile in kept for ending in ("_inst.png", "_sem_map.png")
        }

    file = out / f"{NAME}.safetensors"
    predictor = load_predictor(INFO, file, "cpu")
    rgb, _ = discs((64, 64), [(20, 20)], 8)
    predictor.segment(Tile(rgb), Calibration(1.0, 0.25))
    assert predictor.training_stain is not None
    header = read_weights(file).header
    assert header["provenance"]["recipe"] == NAME
    scores = {stage: best_score(out / stage) for stage in STAGES}
    assert header["provenance"]["stage"] == max(scores, key=lambda s: scores[s])

    written = file.read_bytes()
    labels = len(labelled)
    train()
    assert file.read_bytes() == written
    assert len(labelled) == labels
    assert not any(line.startswith(("drawing", "labelled")) for line in said)
    for stage in STAGES:
        lines = (out / stage / "log.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(steps)


def test_a_stage_that_was_broken_off_goes_on(tiny, begun, labelled, data, unlabelled, tmp_path):
    out = tmp_path / "run"
    train_model(NAME, order(data, out, "supervised"), print)
    train_model(NAME, order(data, out, "second", unlabelled=unlabelled), print)
    checkpoint = out / "second" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "step": 1}, checkpoint)
    said: list[str] = []
    train_model(NAME, order(data, out, "second", unlabelled=unlabelled), said.append)
    assert "resumed at step 1" in said
    assert len(labelled) == 2
    first, again = ([tile.name for tile in kept] for _, kept in labelled)
    assert first == again


def test_without_unlabelled_images_there_is_the_supervised_stage(tiny, begun, data, tmp_path):
    train_model(NAME, order(data, tmp_path / "run"), print)
    assert list(begun) == ["supervised"]
    header = read_weights(tmp_path / "run" / f"{NAME}.safetensors").header
    assert header["provenance"]["stage"] == "supervised"


@pytest.mark.parametrize("best", STAGES)
def test_the_stage_that_scored_best_is_packed(tiny, data, tmp_path, monkeypatch, best):
    out = tmp_path / "run"
    networks = {}
    for seed, stage in enumerate(STAGES):
        networks[stage] = make_network(TINY, seed)
        (out / stage).mkdir(parents=True)
        save_file(networks[stage].state_dict(), out / stage / "best.safetensors")
    scores = dict.fromkeys(STAGES, 0.2) | {best: 0.4}
    monkeypatch.setattr(uperhover_recipe, "best_score", lambda folder: scores.get(folder.name))
    said: list[str] = []
    train_model(NAME, order(data, out, "pack"), said.append)
    weights = read_weights(out / f"{NAME}.safetensors")
    assert weights.header["provenance"]["stage"] == best
    name = "hv.fine.out.weight"
    assert torch.equal(weights.tensors[name], networks[best].state_dict()[name].half())
    assert f"the {best} stage" in said[-1]


# ---- what is refused, before anything is drawn or trained


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be read, drawn or trained."""
    for name in ("load_training_images", "train_maps", "label_folder"):
        monkeypatch.setattr(uperhover_recipe, name, lambda *_: pytest.fail("work began"))


@pytest.mark.parametrize("stage", ["second", "third"])
def test_stages_on_own_labels_need_images(tiny, idle, data, tmp_path, stage):
    with pytest.raises(ModelError, match=rf"{stage}.*--unlabelled"):
        train_model(NAME, order(data, tmp_path / "run", stage), print)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stage", ["all", "second"])
def test_a_missing_folder_of_images_is_said_hours_before_it_is_needed(
    tiny, idle, data, tmp_path, stage
):
    for folder in (tmp_path / "nowhere", data / "nucls_points"):
        with pytest.raises(ImageError, match=folder.name):
            train_model(NAME, order(data, tmp_path / "run", stage, unlabelled=folder), print)
    assert not (tmp_path / "run").exists()


def test_a_stage_before_the_one_that_labels_for_it_is_refused(tiny, data, unlabelled, tmp_path):
    for stage, before in (("second", "supervised"), ("third", "second")):
        with pytest.raises(WeightsError, match=f"train the {before} stage first"):
            train_model(NAME, order(data, tmp_path / "run", stage, unlabelled=unlabelled), print)


def test_nothing_is_packed_where_nothing_was_trained(tiny, idle, data, tmp_path):
    with pytest.raises(WeightsError, match="no stage was trained"):
        train_model(NAME, order(data, tmp_path / "run", "pack"), print)


def test_the_published_size_begins_with_weights(idle, data, tmp_path):
    with pytest.raises(ModelError, match=r"UNI2-h.*--start"):
        train_model("uperhover-uni2h", order(data, tmp_path / "run"), print)
    assert not (tmp_path / "run").exists()


# ---- starting from a file


def test_every_stage_goes_on_from_a_weights_file(tiny, begun, data, unlabelled, tmp_path):
    start = tmp_path / "mine.safetensors"
    network = make_network(TINY, 5)
    save_network(network, start, None, {})
    out = tmp_path / "run"
    train_model(NAME, order(data, out, unlabelled=unlabelled, start=start), print)
    assert list(begun) == list(STAGES)
    for state in begun.values():
        for name, value in network.state_dict().items():
            assert torch.equal(state[name], value.half().float()), name


def test_the_encoder_begins_with_uni2hs_weights(tiny, begun, data, tmp_path):
    tiny["config"] = PLAIN
    trunk = make_network(PLAIN, 7).encoder.trunk
    start = tmp_path / "uni2h.bin"
    torch.save(timm_state(trunk), start)
    with pytest.MonkeyPatch.context() as patch:
        # The published layout has batch norms; its windows are multiples of 14.
        plain = uperhover_recipe.uperhover_recipe
        patch.setattr(
            uperhover_recipe,
            "uperhover_recipe",
            lambda *a: replace(
                plain(*a),
                stages={
                    stage: replace(plan, sizes=((1.0, 56, 2),))
                    for stage, plan in plain(*a).stages.items()
                },
            ),
        )
        train_model(
            "uperhover-uni2h", order(data, tmp_path / "run", "supervised", start=start), print
        )
    own = begun["supervised"]
    for name, value in trunk.state_dict().items():
        if not name.endswith("mask_token"):
            assert torch.equal(own[f"encoder.trunk.{name}"], value), name
    begin = load_file(tmp_path / "run" / "start.safetensors")
    assert all(name.startswith("encoder.trunk.") for name in begin)


def test_files_that_are_no_start_are_named(tiny, idle, data, tmp_path):
    other = tmp_path / "other.safetensors"
    save_uninuc(make_uninuc(), other, None, {})
    wide = tmp_path / "wide.safetensors"
    save_network(UperHover(replace(TINY, head=replace(TINY.head, dim=16))), wide, None, {})
    plain = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(3)}, plain)
    for file in (tmp_path / "none.safetensors", other, wide, plain):
        with pytest.raises(WeightsError, match=file.name):
            train_model(NAME, order(data, tmp_path / "run", start=file), print)


# ---- the recipes themselves


def test_recipes_hold_what_was_published():
    paper = the_recipe("uperhover-uni2h", CPU, None, 0, 0)
    assert paper.config == UNI2H
    lengths = {stage: plan.run.steps for stage, plan in paper.stages.items()}
    assert lengths["second"] == lengths["supervised"]
    assert lengths["third"] == pytest.approx(lengths["supervised"] * 100 / 250)
    for plan in paper.stages.values():
        assert plan.run.learning_rate == 5e-5
        assert plan.run.weight_decay == 0.01
        assert plan.sizes == ((1.0, 224, 8),)
    assert paper.targets.loss.dice == 0
    assert paper.targets.loss.hv == 1
    assert paper.targets.loss.class_weights == (1.0,) * 5
    assert paper.filter.percentile == 70
    assert paper.filter.empty_share == 0.05


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_nanos_crops_end_with_the_windows_of_its_use(device):
    recipe = the_recipe(NAME, torch.device(device), None, 1, 3)
    assert recipe.config == NANO
    assert set(recipe.stages) == set(STAGES)
    for plan in recipe.stages.values():
        assert plan.sizes[-1][1] == NANO.inference.window
        assert plan.sizes[-1][0] == 1.0
        assert plan.seed == 3
    assert recipe.targets.loss.dice > 0


def test_steps_replace_the_length_of_every_stage():
    for plan in the_recipe(NAME, CPU, 7, 0, 0).stages.values():
        assert plan.run.steps == 7
        assert plan.run.warmup < 7
        assert plan.run.score_every >= 1
