"""Teaches the text encoder, on texts alone, which classes a text asks for.

Masks need images, reading does not: texts are made by the thousand of the words that the model
knows, in orders and companies that the bank of prompts does not have. What the plain texts mean to
the rest of the network is held where it was: the answer to a text is that to the plainest text for
the classes that were read in it (`AnswerConfig.plain`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.promptgroup.network import PromptGroup
from napari_nucleus.models.promptgroup.text import Read
from napari_nucleus.models.promptgroup.vocabulary import (
    CLASS_WORDS,
    FILLERS,
    LEAVING_OUT,
    MORPHOLOGY,
    NOT_NUCLEI,
)
from napari_nucleus.models.promptgroup.words import plain_text, split_words
from napari_nucleus.training.prompt_bank import ALL_CLASSES, compound, draw_group, vary

__all__ = ["learn_to_read", "worded"]

BATCH = 192
RATE = 1e-3
KEPT = 20.0
"""Weight of what keeps the plain texts where they were."""

SMALL = tuple(w for w in FILLERS if w not in LEAVING_OUT)
HEADS = ("nuclei", "nucleus", "cells", "cell", "nuclear", "cell nuclei", "nuclei of cells")
QUANTITIES = ("all", "all", "every", "each", "any")
"""Words that ask for all of a class beside its name, and for all classes without it."""

NEGATIONS = ("no", "not", "without", "excluding", "exclude", "but not", "ignoring", "leaving out")


def worded(rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
    """Return a text of known words and the classes that it asks for."""
    kind = rng.random()
    if kind < 0.4:
        return _of_bank(rng)
    if kind < 0.62:
        return _all(rng), ALL_CLASSES
    return _of_class(int(rng.integers(1, 1 + len(ALL_CLASSES))), rng)


def _of_bank(rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
    kind = rng.random()
    if kind < 0.3:
        classes = ALL_CLASSES
    elif kind < 0.85:
        classes = (int(rng.integers(1, 6)),)
    else:
        some = rng.choice(5, int(rng.integers(2, 5)), replace=False) + 1
        classes = tuple(sorted(int(c) for c in some))
    prompt = (
        draw_group(classes, rng, 1)[0]
        if classes == ALL_CLASSES or len(classes) == 1
        else compound(classes, rng)
    )
    return vary(prompt.text, rng), classes


def _all(rng: np.random.Generator) -> str:
    """Return a text that asks for all nuclei, also one that counts up some classes."""
    words = [*_small(rng, 0, 5), _one(HEADS, rng)]
    kind = rng.random()
    if kind < 0.25:
        classes = rng.permutation(5)[: int(rng.integers(2, 5))] + 1
        named = [_one(CLASS_WORDS[int(c)], rng) for c in classes]
        tail = _one(("together", "alike", "too", "included"), rng)
        words = ["all", *words, "of", *" and ".join(named).split(), "cells", tail]
    elif kind < 0.5:
        looks = [_one(MORPHOLOGY[int(c)], rng) for c in rng.permutation(5)[:2] + 1]
        words += [*looks[:1], "or", *looks[1:], "ones"] if "ones" in FILLERS else looks
        words = ["all", *words]
    elif kind < 0.7:
        words += [_one(NEGATIONS, rng), *_some(NOT_NUCLEI, rng, 1, 3)]
    return _mixed(words, rng)


def _of_class(class_id: int, rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
    """Return a text for one class: its words, what it looks like, and what it is not."""
    words = _small(rng, 0, 5)
    looks = _some(MORPHOLOGY[class_id], rng, 0, 3)
    named = _some(CLASS_WORDS[class_id], rng, 1, 2)
    head = [_one(HEADS, rng)] if rng.random() < 0.8 else []
    if rng.random() < 0.4:
        words.append(_one(QUANTITIES, rng))
    if rng.random() < 0.3:
        words += [*looks, *head, *("of", "the"), *named]
    else:
        words += [*looks, *named, *head]
    if rng.random() < 0.35:
        others = [c for c in ALL_CLASSES if c != class_id]
        gone = [_one(CLASS_WORDS[int(c)], rng) for c in rng.permutation(others)[:2]]
        if rng.random() < 0.5:
            gone = gone[:1]
        words += [*_one(NEGATIONS, rng).split(), *" and ".join(gone).split()]
        if rng.random() < 0.4:
            words.append(_one(("cells", "nuclei", "ones"), rng))
    return _mixed(words, rng), (class_id,)


def _mixed(words: list[str], rng: np.random.Generator) -> str:
    """Put a few small words before and after, and at times mistype."""
    words = [*words, *_small(rng, 0, 4)]
    return vary(" ".join(words), rng, 0.25)


def _small(rng: np.random.Generator, least: int, most: int) -> list[str]:
    return _some(SMALL, rng, least, most)


def _some(words: tuple[str, ...], rng: np.random.Generator, least: int, most: int) -> list[str]:
    count = min(int(rng.integers(least, most + 1)), len(words))
    return [words[int(i)] for i in rng.choice(len(words), count, replace=False)]


def _one(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def learn_to_read(network: PromptGroup, steps: int, seed: int, say: Callable[[str], None]) -> None:
    """Train the text encoder of a network on texts; nothing else of it changes.

    Parameters
    ----------
    network
        Trained on images before: what its plain texts mean is kept.
    steps
        Of `BATCH` texts each.
    """
    rng = np.random.default_rng([seed, 2])
    text = network.text
    device = next(text.parameters()).device
    plain = [plain_text(classes) for classes in _class_sets()]
    with torch.no_grad():
        teacher = deepcopy(text).eval()
        kept = teacher([split_words(t) for t in plain])
    text.train()
    optimizer = torch.optim.AdamW(text.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step, (words, target) in enumerate(_batches(rng, steps), 1):
        loss = _reading_loss(text(words), target.to(device))
        text.eval()
        loss = loss + KEPT * _drift(text([split_words(t) for t in plain]), kept)
        text.train()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(text.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        if step % max(steps // 8, 1) == 0:
            say(f"reading, step {step}: {loss.item():.4f}")
    text.eval()


def _class_sets() -> list[tuple[int, ...]]:
    pairs = [(a, b) for a in ALL_CLASSES for b in ALL_CLASSES if a < b]
    return [ALL_CLASSES, *((c,) for c in ALL_CLASSES), *pairs]


def _batches(
    rng: np.random.Generator, steps: int
) -> Iterator[tuple[list[tuple[str, ...]], Tensor]]:
    for _ in range(steps):
        pairs = [worded(rng) for _ in range(BATCH)]
        target = torch.zeros(len(pairs), len(ALL_CLASSES))
        for row, (_, classes) in enumerate(pairs):
            target[row, [c - 1 for c in classes]] = 1
        yield [split_words(text) for text, _ in pairs], target


def _reading_loss(read: Read, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(read.wanted, target)


def _drift(read: Read, kept: Read) -> Tensor:
    """Return how far plain texts have moved, tokens and mean."""
    moved = (read.tokens - kept.tokens).square().mean(-1)
    tokens = (moved * kept.mask).sum() / kept.mask.sum()
    return tokens + (read.pooled - kept.pooled).square().mean()
