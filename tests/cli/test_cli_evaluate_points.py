"""``evaluate points`` scores what a model points to, for people and as JSON."""

from __future__ import annotations

import json

import pytest
from cli_helpers import save_labels, save_picture


@pytest.fixture
def annotated(tmp_path):
    """A folder with one annotated picture."""
    folder = tmp_path / "annotated"
    save_picture(folder / "a.png")
    save_labels(folder / "a_inst.png")
    return folder


def test_points_and_their_masks_are_scored(command, pointing, annotated) -> None:
    arguments = ("evaluate", "points", annotated, "--model", pointing, "--mpp", 0.25)
    outcome = command(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    scores = json.loads(outcome.out)
    assert scores["detection"]["as it is"]["pooled"] == {
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "true": 4,
        "found": 4,
    }
    assert scores["masks"]["points"]["pq"]["a"] == pytest.approx(1, abs=1e-3)
    assert list(scores["masks"]) == ["points", "true centroids", "uninuc-nano", "uperhover-nano"]
    printed = command(*arguments).out
    assert "as it is: precision 1.0000  recall 1.0000  f1 1.0000  true 4  found 4" in printed
    assert "  from 0.6: precision None" in printed
    assert "masks, points: pq 1.0000" in printed


def test_models_that_do_not_point_are_refused(command, dark, annotated) -> None:
    command("evaluate", "points", annotated, "--model", dark).refused("dark finds no points")
