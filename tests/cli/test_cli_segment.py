"""``segment``: four files for each image, and one line for each that is not one."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from cli_helpers import SHAPE, disc_labels, save_picture
from PIL import Image

from napari_nucleus.cli import batch


def results(stem: str) -> set[str]:
    return {f"{stem}.tif", f"{stem}.geojson", f"{stem}.csv", f"{stem}_overlay.png"}


def names(folder) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_each_image_gets_four_files_that_tell_the_same(command, dark, tmp_path):
    first = save_picture(tmp_path / "one.png")
    second = save_picture(tmp_path / "other folder" / "two.jpg", (64, 130))
    out = tmp_path / "new" / "results"
    outcome = command("segment", first, second, "--out", out, "--model", dark, "--mpp", 0.5)
    assert outcome.code == 0
    assert outcome.err == ""
    assert len(outcome.out.splitlines()) == 2
    assert names(out) == results("one") | results("two")
    for stem, shape in (("one", SHAPE), ("two", (64, 130))):
        with tifffile.TiffFile(out / f"{stem}.tif") as tiff:
            page = tiff.pages.first
            labels = page.asarray()
            assert page.resolution == pytest.approx((20_000, 20_000))
            provenance = json.loads(page.description)
        assert labels.dtype == np.uint16
        assert labels.shape == shape
        with (out / f"{stem}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        features = json.loads((out / f"{stem}.geojson").read_text("utf-8"))["features"]
        ids = set(np.unique(labels)) - {0}
        assert {int(row["id"]) for row in rows} == ids
        assert len(features) == len(ids)
        assert f"{stem}.{'png' if stem == 'one' else 'jpg'}: {len(ids)} nuclei" in outcome.out
        with Image.open(out / f"{stem}_overlay.png") as overlay:
            assert overlay.size == shape[::-1]
        assert provenance["model"] == dark
        assert str(tmp_path) not in json.dumps(provenance)
    found = tifffile.imread(out / "one.tif")
    np.testing.assert_array_equal(found > 0, disc_labels() > 0)


def test_own_weights_are_used_and_the_file_says_which(command, tiny_weights, picture, tmp_path):
    from napari_nucleus.models.weights import read_weights

    outcome = command("segment", picture, "--out", tmp_path / "out", "--weights", tiny_weights)
    assert outcome.code == 0
    with tifffile.TiffFile(tmp_path / "out" / "field.tif") as tiff:
        assert tiff.pages.first.shape == SHAPE
        provenance = json.loads(tiff.pages.first.description)
    assert provenance["weights"] == read_weights(tiny_weights).digest[:16]


def test_a_scale_that_was_guessed_is_said_and_one_that_is_known_is_not(command, dark, tmp_path):
    save_picture(tmp_path / "a.png")
    arguments = ("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--model", dark)
    assert "0.250 µm/px estimated" in command(*arguments).out
    assert "estimated" not in command(*arguments, "--mpp", 0.5).out


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 2)])
def test_very_small_pictures_have_results_as_well(command, tiny_weights, tmp_path, shape):
    file = save_picture(tmp_path / "small.png", shape)
    outcome = command("segment", file, "--out", tmp_path / "out", "--weights", tiny_weights)
    assert outcome.code == 0, outcome.err
    assert names(tmp_path / "out") == results("small")
    assert tifffile.imread(tmp_path / "out" / "small.tif").shape == shape


def test_glass_without_nuclei_is_a_result(command, dark, tmp_path):
    Image.new("RGB", (80, 60), "white").save(tmp_path / "glass.png")
    outcome = command("segment", tmp_path / "glass.png", "--out", tmp_path / "out", "--model", dark)
    assert outcome.code == 0
    assert "glass.png: 0 nuclei" in outcome.out
    assert names(tmp_path / "out") == results("glass")


def test_running_again_replaces_the_results_and_leaves_nothing_else(command, dark, tmp_path):
    save_picture(tmp_path / "a.png")
    arguments = ("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--model", dark)
    command(*arguments)
    save_picture(tmp_path / "a.png", (40, 50))
    assert command(*arguments).code == 0
    assert names(tmp_path / "out") == results("a")
    assert tifffile.imread(tmp_path / "out" / "a.tif").shape == (40, 50)


def test_bad_images_are_named_and_the_others_are_done(command, dark, tmp_path):
    good = [save_picture(tmp_path / f"good{i}.png") for i in range(2)]
    cut = tmp_path / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:150])
    out = tmp_path / "out"
    outcome = command(
        "segment", good[0], cut, tmp_path / "gone.png", good[1], "--out", out, "--model", dark
    )
    assert outcome.code == 2
    lines = outcome.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["cut.png", "gone.png"]
    assert names(out) == results("good0") | results("good1")
    assert [line.split(": ")[0] for line in outcome.out.splitlines()] == ["good0.png", "good1.png"]


def test_a_file_name_is_no_markup_for_the_progress_bar(command, dark, tmp_path, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    file = save_picture(tmp_path / "[b]{0}é%s.png")
    outcome = command("segment", file, "--out", tmp_path / "out", "--model", dark)
    assert outcome.code == 0
    assert file.name in outcome.err
    assert names(tmp_path / "out") == results("[b]{0}é%s")


@pytest.mark.parametrize("other", ["a.tif", "sub/a.png", "A.png", "a.png"])
def test_images_that_would_share_their_results_are_refused_before_anything_is_done(
    command, dark, tmp_path, other
):
    first, second = save_picture(tmp_path / "a.png"), save_picture(tmp_path / other)
    outcome = command("segment", first, second, "--out", tmp_path / "out", "--model", dark)
    outcome.refused(first, second, "different folders")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("images", "lost"), [(["a.tif"], "a.tif"), (["b.png", "b_overlay.png"], "b_overlay.png")]
)
def test_a_result_never_takes_the_place_of_an_image(command, dark, tmp_path, images, lost):
    files = [save_picture(tmp_path / name) for name in images]
    before = {file: file.read_bytes() for file in files}
    outcome = command("segment", *files, "--out", tmp_path / "x" / "..", "--model", dark)
    outcome.refused(tmp_path / lost, "--out")
    assert {file: file.read_bytes() for file in files} == before
    assert names(tmp_path) == set(images)


@pytest.mark.parametrize("mpp", ["0", "-0.25", "nan", "inf", "40"])
def test_a_pixel_size_no_microscope_has_is_refused_with_its_value(
    command, dark, picture, tmp_path, mpp
):
    outcome = command(
        "segment", picture, "--out", tmp_path / "out", "--model", dark, f"--mpp={mpp}"
    )
    outcome.refused("--mpp", mpp, "0.05–5")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "uninuc-giga"), ("'uninuc-giga'", "uninuc-nano")),
        (("--device", "toaster"), ("'toaster'", "auto, cpu, cuda")),
        (("--device", "cuda:99"), ("'cuda:99'", "CUDA devices")),
        (("--weights", "nowhere.safetensors"), ("nowhere.safetensors", "no such")),
    ],
)
def test_a_model_that_is_not_to_be_had_is_refused(command, picture, tmp_path, arguments, words):
    outcome = command("segment", picture, "--out", tmp_path / "out", *arguments)
    outcome.refused(*words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_file_in_the_place_of_the_output_folder_is_named_and_kept(
    command, dark, picture, tmp_path, inside
):
    taken = tmp_path / "taken"
    taken.write_text("my notes")
    outcome = command("segment", picture, "--out", taken / inside, "--model", dark)
    outcome.refused(taken / inside, f"{taken} is a file")
    assert outcome.out == ""
    assert taken.read_text() == "my notes"


def test_a_disk_that_fails_ends_the_run_and_leaves_no_half_results(
    command, dark, picture, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_nucleus.io.formats.overlay.draw_overlay", full)
    outcome = command("segment", picture, "--out", tmp_path / "out", "--model", dark)
    outcome.refused("field", "No space left on device")
    assert names(tmp_path / "out") == set()


def test_an_interrupt_keeps_what_was_finished(command, dark, tmp_path, monkeypatch):
    files = [save_picture(tmp_path / f"{name}.png") for name in "ab"]
    segment = batch.segment_image

    def interrupted(model, source, name):
        if name == "b.png":
            raise KeyboardInterrupt
        return segment(model, source, name)

    monkeypatch.setattr(batch, "segment_image", interrupted)
    outcome = command("segment", *files, "--out", tmp_path / "out", "--model", dark)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert names(tmp_path / "out") == results("a")


@pytest.mark.parametrize(
    "arguments",
    [("segment",), ("segment", "a.png"), ("segment", "a.png", "--out", "x", "--mpp", "small")],
)
def test_what_cannot_be_understood_is_answered_with_the_usage(command, arguments):
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "segment [OPTIONS]" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_pixel_size_that_cannot_be_true_is_told_and_not_used(command, dark, tmp_path):
    picture = tmp_path / "absurd.tif"
    rgb = np.asarray(Image.open(save_picture(tmp_path / "one.png")))
    tifffile.imwrite(picture, rgb, resolution=(2e9, 2e9), resolutionunit="CENTIMETER")
    outcome = command("segment", picture, "--out", tmp_path / "out", "--model", dark)
    assert outcome.code == 0
    assert "absurd.tif" in outcome.err
    assert "5e-06 µm per pixel" in outcome.err
    assert "estimated" in outcome.out
