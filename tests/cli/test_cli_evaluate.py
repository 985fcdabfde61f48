"""``evaluate``: scores as text and as JSON, and what cannot be scored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_helpers import SHAPE, disc_labels, save_labels, save_picture
from PIL import Image

LABELS = disc_labels()


@pytest.fixture
def annotated(tmp_path):
    """A folder with one annotated picture."""
    folder = tmp_path / "annotated"
    save_picture(folder / "a.png")
    save_labels(folder / "a_inst.png")
    return folder


# ---- segmentation


@pytest.mark.parametrize("form", ["files", "folders"])
def test_a_perfect_prediction_has_a_pq_of_one(command, tmp_path, form):
    pred = save_labels(tmp_path / "pred" / "a.png", np.where(LABELS, 9 - LABELS, 0))
    true = save_labels(tmp_path / "true" / "a_inst.png")
    paths = (pred, true) if form == "files" else (pred.parent, true.parent)
    outcome = command("evaluate", "segmentation", *paths, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    scores = json.loads(outcome.out)
    assert scores["mean"]["pq"] == pytest.approx(1, abs=1e-4)
    assert scores["images"]["a"]["n_true"] == scores["images"]["a"]["n_pred"] == 4
    lines = command("evaluate", "segmentation", *paths).out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["a", "mean", "worst"]
    assert "pq 1.0000" in lines[1]


def test_what_segment_writes_can_be_scored_against_the_truth(command, dark, annotated, tmp_path):
    out = tmp_path / "out"
    assert command("segment", annotated / "a.png", "--out", out, "--model", dark).code == 0
    outcome = command("evaluate", "segmentation", out / "a.tif", annotated / "a_inst.png", "--json")
    assert json.loads(outcome.out)["mean"]["pq"] == pytest.approx(1, abs=1e-4)


def test_images_without_nuclei_have_no_worst(command, tmp_path):
    for folder in ("pred", "true"):
        save_labels(tmp_path / folder / "empty.png", LABELS * 0)
    arguments = ("evaluate", "segmentation", tmp_path / "pred", tmp_path / "true")
    outcome = command(*arguments)
    assert outcome.code == 0
    assert "worst" not in outcome.out
    assert "NaN" not in command(*arguments, "--json").out


def test_maps_of_different_size_are_named_with_their_sizes(command, tmp_path):
    pred = save_labels(tmp_path / "pred" / "a.png", LABELS[:-10])
    true = save_labels(tmp_path / "true" / "a.png")
    for paths in ((pred, true), (pred.parent, true.parent)):
        command("evaluate", "segmentation", *paths).refused(pred, true, "90 x 60", "90 x 70")


def test_what_does_not_pair_up_is_named(command, tmp_path):
    pred = save_labels(tmp_path / "pred" / "a.png")
    true = save_labels(tmp_path / "true" / "b.png")
    (tmp_path / "none").mkdir()

    def evaluate(*paths):
        return command("evaluate", "segmentation", *paths)

    evaluate(pred.parent, true.parent).refused(pred.parent, true.parent, "same name")
    evaluate(tmp_path / "none", true.parent).refused(tmp_path / "none")
    evaluate(pred, true.parent).refused(pred, true.parent, "two files or two folders")
    evaluate(tmp_path / "gone", true.parent).refused(tmp_path / "gone", "no such")
    evaluate(pred, tmp_path / "gone.png").refused(tmp_path / "gone.png", "no such")


@pytest.mark.parametrize("mpp", ["0", "-1", "nan"])
@pytest.mark.parametrize("what", ["segmentation", "automatic", "interactive", "correction"])
def test_a_pixel_size_no_microscope_has_is_refused(command, dark, annotated, what, mpp):
    paths = {
        "segmentation": (annotated / "a_inst.png", annotated / "a_inst.png"),
        "automatic": (annotated,),
        "interactive": (annotated, annotated),
        "correction": (annotated, annotated),
    }[what]
    command("evaluate", what, *paths, f"--mpp={mpp}").refused("--mpp", mpp)


# ---- automatic


def test_the_changes_of_an_image_are_scored_as_well(command, dark, annotated):
    arguments = ("evaluate", "automatic", annotated, "--model", dark, "--change", "jpeg40")
    outcome = command(*arguments, "--json")
    assert outcome.code == 0
    scores = json.loads(outcome.out)
    assert set(scores) == {"original", "jpeg40"}
    assert scores["original"]["mean"]["pq"] == pytest.approx(1, abs=1e-4)
    text = command(*arguments).out
    assert "original: " in text
    assert "jpeg40: " in text
    assert "worst: a (PQ" in text


def test_images_that_are_empty_by_truth_and_by_model_have_no_worst(command, dark, annotated):
    save_labels(annotated / "a_inst.png", LABELS * 0)
    Image.new("RGB", SHAPE[::-1], "white").save(annotated / "a.png")
    outcome = command("evaluate", "automatic", annotated, "--model", dark)
    assert outcome.code == 0
    assert "worst" not in outcome.out


# ---- interactive


@pytest.mark.parametrize("start", ["point", "box", "automatic"])
def test_corrections_are_simulated_from_every_start(command, tiny_weights, annotated, start):
    arguments = ("evaluate", "interactive", annotated, annotated, "--weights", tiny_weights)
    more = ("--iterations", 2, "--mpp", 0.25, "--start", start)
    outcome = command(*arguments, *more, "--json")
    assert outcome.code == 0, outcome.err
    scores = json.loads(outcome.out)
    assert len(scores["msa"]) == 2
    assert scores["n_nuclei"] == 4
    text = command(*arguments, *more).out
    assert text.startswith("mSA: I_0 ")
    assert "clicks_to_0.90: " in text


def test_the_cost_of_correction_is_told_for_both_starts(command, tiny_weights, annotated):
    arguments = ("evaluate", "correction", annotated, annotated, "--weights", tiny_weights)
    more = ("--mpp", 0.25, "--means", "clicks")
    outcome = command(*arguments, *more, "--json")
    assert outcome.code == 0, outcome.err
    scores = json.loads(outcome.out)
    assert [(r["start"], r["means"]) for r in scores["runs"]] == [
        ("automatic", "clicks"),
        ("nothing", "clicks"),
    ]
    assert scores["runs"][0]["total"]["n_nuclei"] == 4
    text = command(*arguments, *more).out
    assert text.startswith("clicks, from the automatic result: n_nuclei 4  mean ")
    assert "clicks, automatic by nothing: " in text


def test_means_that_nobody_has_are_answered_with_the_usage(command, annotated):
    outcome = command("evaluate", "correction", annotated, annotated, "--means", "magic")
    assert outcome.code == 2
    assert "--means" in outcome.err


@pytest.mark.parametrize(
    "options", [("--start", "middle"), ("--iterations", "0"), ("--seed", "often")]
)
def test_impossible_options_are_answered_with_the_usage(command, annotated, options):
    outcome = command("evaluate", "interactive", annotated, annotated, *options)
    assert outcome.code == 2
    assert options[0] in outcome.err
    assert "Traceback" not in outcome.err


# ---- what all need


def evaluated(command, what, images, truth, *options):
    folders = (images,) if what == "automatic" else (images, truth)
    return command("evaluate", what, *folders, *options)


every = pytest.mark.parametrize("what", ["automatic", "interactive", "correction"])


@every
def test_what_is_missing_is_named_before_a_model_is_loaded(command, annotated, tmp_path, what):
    gone, bare = tmp_path / "gone", tmp_path / "bare"
    save_picture(bare / "a.png")
    unloaded = ("--weights", "nowhere.safetensors")
    evaluated(command, what, gone, annotated, *unloaded).refused(gone, "no such folder")
    evaluated(command, what, bare, bare, *unloaded).refused(bare, "_inst.png")
    names = ("--name", "a", "--name", "b")
    evaluated(command, what, annotated, annotated, *names, *unloaded).refused(annotated, "'b'")
    file = annotated / "a.png"
    evaluated(command, what, file, annotated, *unloaded).refused(file, "no such folder")


@every
def test_a_model_that_is_not_to_be_had_is_refused(command, annotated, what):
    def evaluate(*options):
        return evaluated(command, what, annotated, annotated, *options)

    evaluate("--model", "uninuc-giga").refused("'uninuc-giga'", "uninuc-nano")
    evaluate("--device", "toaster").refused("'toaster'", "auto, cpu, cuda")
    evaluate("--weights", "nowhere.safetensors").refused("nowhere.safetensors")


@every
def test_bad_files_among_good_ones_are_named(command, tiny_weights, annotated, what):
    save_labels(annotated / "a_inst.png", LABELS[:, :-20])
    outcome = evaluated(command, what, annotated, annotated, "--weights", tiny_weights)
    outcome.refused("a_inst.png", "70 x 70", "90 x 70")
    (annotated / "a.png").write_bytes(b"no picture")
    outcome = evaluated(command, what, annotated, annotated, "--weights", tiny_weights)
    outcome.refused("a.png", "no image")


def test_a_change_that_is_none_is_refused_before_a_model_is_loaded(command, annotated):
    outcome = command("evaluate", "automatic", annotated, "--change", "tripled", "--weights", "x")
    outcome.refused("'tripled'", "halved, doubled, restained, jpeg40")
