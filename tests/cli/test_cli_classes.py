"""``evaluate classes``, and ``adopt``: weights of the published model become usable."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from cli_helpers import disc_labels, save_labels, save_picture
from PIL import Image
from uperhover_helpers import PLAIN, make_network, timm_state

from napari_nucleus.models import zoo
from napari_nucleus.models.uperhover import build

LABELS = disc_labels()
MERGED = np.array([0, 3, 3, 2, 1], np.uint8)
"""Two epithelial nuclei, an inflammatory one, another; the model takes all for neoplastic."""


@pytest.fixture
def annotated(tmp_path):
    """A picture with classes, and one with points."""
    folder = tmp_path / "annotated"
    save_picture(folder / "a.png")
    save_labels(folder / "a_inst.png")
    Image.fromarray(MERGED[LABELS]).save(folder / "a_cls.png")
    save_picture(folder / "b.png")
    (folder / "b_points.csv").write_text("x,y,class\n20,15,tumor_any\n80,5,sTIL\n")
    return folder


# ---- evaluate classes


def test_classes_are_scored_as_text_and_as_json(command, dark, annotated):
    arguments = ("evaluate", "classes", annotated, "--model", dark)
    outcome = command(*arguments, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    scores = json.loads(outcome.out)
    assert scores["f1"] == {
        "inflammatory": 0.0,
        "epithelium": pytest.approx(4 / (4 + 2), abs=1e-4),
        "connective": None,
    }
    assert scores["points"]["neoplastic"]["named"]["neoplastic"] == 1.0
    assert scores["points"]["inflammatory"] == {
        "points": 1,
        "found": 0.0,
        "named": dict.fromkeys(
            ("neoplastic", "inflammatory", "connective", "dead", "epithelial"), 0.0
        ),
    }
    lines = command(*arguments).out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["F1", "neoplastic", "inflammatory"]
    assert "epithelium 0.6667" in lines[0]
    assert "1 points, found 1.0" in lines[1]
    assert "neoplastic 1.0000" in lines[1]


def test_one_of_the_images_is_scored_by_its_name(command, dark, annotated):
    text = command("evaluate", "classes", annotated, "--model", dark, "--name", "b").out
    assert "F1" not in text
    assert text.startswith("neoplastic: ")


def test_what_is_missing_is_named_before_a_model_of_classes_is_loaded(command, annotated, tmp_path):
    def evaluate(folder, *options):
        return command("evaluate", "classes", folder, "--weights", "nowhere.safetensors", *options)

    evaluate(tmp_path / "gone").refused(tmp_path / "gone", "no such folder")
    evaluate(annotated / "a.png").refused(annotated / "a.png", "no such folder")
    save_picture(tmp_path / "bare" / "a.png")
    evaluate(tmp_path / "bare").refused(tmp_path / "bare", "NAME_cls.png", "NAME_points.csv")
    evaluate(annotated, "--name", "a", "--name", "z").refused(annotated, "'z'")
    for mpp in ("0", "-1", "nan"):
        evaluate(annotated, f"--mpp={mpp}").refused("--mpp", mpp)
    (annotated / "b_points.csv").write_text("a,b\n1,2\n")
    evaluate(annotated).refused("b_points.csv")
    (annotated / "a_cls.png").write_bytes(b"no picture")
    evaluate(annotated).refused("a_cls.png", "no picture")


def test_a_model_of_classes_that_is_not_to_be_had_is_refused(command, annotated):
    def evaluate(*options):
        return command("evaluate", "classes", annotated, *options)

    evaluate("--model", "uninuc-giga").refused("'uninuc-giga'", "uperhover-nano")
    evaluate("--device", "toaster").refused("'toaster'", "auto, cpu, cuda")
    evaluate("--weights", "nowhere.safetensors").refused("nowhere.safetensors")


# ---- adopt


MODEL = "uperhover-uni2h"


@pytest.fixture
def theirs(tmp_path):
    """A whole model of another program, background last."""
    network = make_network(PLAIN)
    own = network.state_dict()
    state = {f"encoder.vit.{k}": v for k, v in timm_state(network.encoder.trunk).items()}
    for head in ("classes", "hv"):
        inside = f"{head}.decode_head."
        state |= {
            f"{head}_decoder.{k.removeprefix(inside)}": v
            for k, v in own.items()
            if k.startswith(inside)
        }
    for i in range(4):
        for kind in ("weight", "bias"):
            state[f"to_level.{i}.{kind}"] = own[f"encoder.projections.{i}.1.{kind}"]
    file = tmp_path / "theirs.pth"
    torch.save({"state_dict": state, "epoch": 100}, file)
    return file


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The published model in a size that fits here, and a data folder of its own."""

    def adopt(file, out, class_order):
        return build._adopt(PLAIN, file, out, class_order)

    entry = replace(zoo._ZOO[MODEL], adopt=adopt)
    monkeypatch.setattr(zoo, "_ZOO", {**zoo._ZOO, MODEL: entry})
    monkeypatch.setattr(zoo, "user_data_path", lambda name: tmp_path / "data" / name)
    return zoo.weights_file(MODEL)


def test_adopted_weights_are_those_of_the_model_from_then_on(
    command, small, theirs, picture, tmp_path
):
    out = tmp_path / "out"
    arguments = ("segment", picture, "--out", out, "--model", MODEL, "--mpp", 0.314)
    command(*arguments, "--device", "cpu").refused(MODEL, "napari-nucleus adopt")
    assert MODEL not in zoo.available()
    outcome = command("adopt", MODEL, theirs, "--class-order", "1,2,3,4,5,0")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"written: {small} (")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["unexpected"]
    assert "encoder.vit.norm.bias" in lines[1]
    assert MODEL in zoo.available()
    predictor = zoo.load_model(MODEL, "cpu")
    assert predictor.config.class_order == (1, 2, 3, 4, 5, 0)
    outcome = command(*arguments, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert (out / "field.tif").exists()


def test_weights_that_cannot_be_adopted_are_refused_and_leave_nothing(
    command, small, theirs, tmp_path
):
    command("adopt", "uperhover-nano", theirs).refused("uperhover-nano", "has weights")
    command("adopt", "uninuc-giga", theirs).refused("'uninuc-giga'")
    command("adopt", MODEL, tmp_path / "gone.pth").refused("gone.pth", "no such")
    command("adopt", MODEL, theirs, "--class-order", "1,2,x").refused("--class-order", "1,2,x")
    command("adopt", MODEL, theirs, "--class-order", "1,2,3").refused("1, 2, 3")
    (tmp_path / "notes.pth").write_text("these are not the weights you are looking for")
    command("adopt", MODEL, tmp_path / "notes.pth").refused("notes.pth")
    state = torch.load(theirs, weights_only=True)["state_dict"]
    state["to_level.2.weight"][0, 0] = torch.nan
    torch.save(state, theirs)
    command("adopt", MODEL, theirs).refused("theirs.pth", "projections.2", "NaN")
    assert not small.exists()
