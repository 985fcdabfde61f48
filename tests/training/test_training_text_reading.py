"""Learning to read from texts alone: known words, right classes, plain texts left as they are."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from promptgroup_helpers import TINY

from napari_nucleus.models.promptgroup.config import TextConfig
from napari_nucleus.models.promptgroup.network import PromptGroup
from napari_nucleus.models.promptgroup.words import plain_text, read_text, split_words
from napari_nucleus.training import text_reading
from napari_nucleus.training.paraphrases import paraphrases
from napari_nucleus.training.prompt_bank import ALL_CLASSES
from napari_nucleus.training.text_reading import learn_to_read, worded

TEXTS = 400


def drawn(seed: int = 0) -> list[tuple[str, tuple[int, ...]]]:
    rng = np.random.default_rng(seed)
    return [worded(rng) for _ in range(TEXTS)]


def test_texts_ask_for_all_kinds_of_classes_and_none_is_kept_out_for_the_scores():
    texts = drawn()
    asked = {classes for _, classes in texts}
    assert {ALL_CLASSES, *((c,) for c in ALL_CLASSES)} <= asked
    kept = {*paraphrases(), *(t for c in ALL_CLASSES for t in paraphrases((c,)))}
    assert not kept & {text for text, _ in texts}
    assert len({text for text, _ in texts}) > 0.9 * TEXTS


def test_nearly_all_words_are_known_but_for_slips():
    words = [word for text, _ in drawn(1)[:120] for word in split_words(text)]
    unknown = [w for text, _ in drawn(1)[:120] for w in read_text(text).unknown]
    assert len(unknown) < 0.02 * len(words)


def test_reading_is_learned_and_plain_texts_keep_their_meaning(monkeypatch):
    torch.manual_seed(0)
    config = replace(TINY, text=TextConfig(buckets=4096, dim=64, heads=4, ffn_dim=128))
    network = PromptGroup(config).eval()
    plain = [plain_text((c,)) for c in range(1, 6)]
    before = network.read_texts(plain)
    others = [value.clone() for name, value in network.state_dict().items() if "text." not in name]
    texts = drawn(2)
    target = torch.zeros(TEXTS, 5)
    for row, (_, classes) in enumerate(texts):
        target[row, [c - 1 for c in classes]] = 1

    def right() -> float:
        with torch.no_grad():
            wanted = network.read_texts([t for t, _ in texts]).wanted
        return float(((wanted > 0) == (target > 0)).all(1).float().mean())

    start = right()
    monkeypatch.setattr(text_reading, "BATCH", 64)
    learn_to_read(network, 150, 0, lambda _: None)
    assert right() > start + 0.3
    after = network.read_texts(plain)
    moved = (after.pooled - before.pooled).square().mean()
    assert moved < 0.1 * before.pooled.square().mean()
    still = [value for name, value in network.state_dict().items() if "text." not in name]
    for a, b in zip(others, still, strict=True):
        torch.testing.assert_close(a, b)
