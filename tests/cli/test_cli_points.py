"""``segment`` with a model that finds points: nuclei as from every model, and the points."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from cli_helpers import CENTRES, SHAPE, disc_labels, save_picture


def segment(command, model, picture, out, *more):
    return command("segment", picture, "--out", out, "--model", model, "--mpp", 0.25, *more)


def test_a_model_that_points_segments_as_every_other(command, pointing, picture, tmp_path):
    outcome = segment(command, pointing, picture, tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert f"{picture.name}: 4 nuclei" in outcome.out
    with tifffile.TiffFile(tmp_path / "out" / "field.tif") as tiff:
        labels = tiff.pages.first.asarray()
        provenance = json.loads(tiff.pages.first.description)
    np.testing.assert_array_equal(labels > 0, disc_labels() > 0)
    assert (provenance["model"], provenance["segmenter"]) == ("points", "outlines")
    with (tmp_path / "out" / "field.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["class"], row["score"]) for row in rows} == {("inflammatory", "0.4000")}


@pytest.mark.parametrize("ending", ["csv", "geojson"])
def test_the_points_are_written_as_well(command, pointing, tmp_path, ending):
    picture = save_picture(tmp_path / "wide.png", (70, 200))
    file = tmp_path / f"points.{ending}"
    outcome = segment(command, pointing, picture, tmp_path / "out", "--points", file)
    assert outcome.code == 0, outcome.err
    assert f"4 points -> points.{ending}" in outcome.out
    if ending == "csv":
        with file.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        found = [(float(row["y_px"]), float(row["x_px"])) for row in rows]
    else:
        features = json.loads(file.read_text("utf-8"))["features"]
        found = [tuple(f["geometry"]["coordinates"][::-1]) for f in features]
    assert sorted(found) == [(y + 0.5, x + 0.5) for y, x in sorted(CENTRES)]
    assert tifffile.imread(tmp_path / "out" / "wide.tif").shape == (70, 200)


def test_another_model_may_outline(command, pointing, picture, tmp_path):
    outcome = segment(command, pointing, picture, tmp_path / "out", "--segmenter", "outlines")
    assert outcome.code == 0, outcome.err
    assert tifffile.imread(tmp_path / "out" / "field.tif").shape == SHAPE


def test_only_models_that_take_clicks_outline(command, pointing, picture, tmp_path):
    segment(command, pointing, picture, tmp_path, "--segmenter", "uperhover-nano").refused(
        "uperhover-nano", "does not take clicks"
    )
    segment(command, pointing, picture, tmp_path, "--segmenter", "none").refused("No model 'none'")


def test_only_models_that_point_have_points_or_a_segmenter(command, dark, picture, tmp_path):
    segment(command, dark, picture, tmp_path, "--segmenter", "uninuc-nano").refused(
        "dark makes its own masks"
    )
    segment(command, dark, picture, tmp_path, "--points", tmp_path / "p.csv").refused(
        "dark finds no points", "nunext-nano"
    )


def test_points_go_into_a_file_of_their_own_for_one_image(command, pointing, picture, tmp_path):
    out = tmp_path / "out"
    segment(command, pointing, picture, out, "--points", tmp_path / "p.txt").refused(".geojson")
    other = save_picture(tmp_path / "other.png")
    segment(command, pointing, picture, out, other, "--points", tmp_path / "p.csv").refused(
        "one image", 2
    )
    assert not out.exists()
