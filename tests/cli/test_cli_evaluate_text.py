"""``evaluate text`` prints what the protocol measures, for people and as JSON."""

from __future__ import annotations

import json

import pytest

from napari_nucleus.training import text_scores

SCORES = {
    "texts": {
        "all": {
            "texts": 30,
            "dice": 0.78,
            "sd": 0.01,
            "baseline": 0.79,
            "ratio": 0.99,
            "worst": {"text": "cells", "dice": 0.7},
        }
    },
    "quality": {"all": {"low": 0.7, "medium": 0.8, "high": 0.8, "mean": 0.77, "sd": 0.02}},
    "presence": {"together": {"absent": 3, "empty_where_absent": None}},
}


@pytest.fixture(autouse=True)
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_scores, "evaluate_texts", lambda *_: json.loads(json.dumps(SCORES)))


def test_numbers_are_printed_with_the_worst_text(command, tmp_path) -> None:
    printed = command("evaluate", "text", tmp_path).out
    assert "all: texts 30  dice 0.7800  sd 0.0100" in printed
    assert "worst 0.7000 (cells)" in printed
    assert "all, training bank: low 0.7000" in printed
    assert "together, tiles: absent 3" in printed


def test_json_holds_all_of_it(command, tmp_path) -> None:
    assert json.loads(command("evaluate", "text", tmp_path, "--json").out) == SCORES
