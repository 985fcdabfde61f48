"""The prompts that text-guided models learn from: two types, three qualities, words around them.

After "Prompt Group-Aware Training for Robust Text-Guided Nuclei Segmentation". Type 1 asks for all
nuclei, type 2 for one class; low quality names it, medium describes the request, high adds what
nuclei look like and what to leave out. Beside the bank there are prompts for several classes and
for all but some. `vary` words a prompt as people do: with other small words, endings and typing
errors. None of the prompts of `paraphrases` is in the bank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from napari_nucleus.models.promptgroup.vocabulary import CLASS_WORDS, FILLERS, LEAVING_OUT
from napari_nucleus.training.paraphrases import ALL_NUCLEI, BY_CLASS

__all__ = ["ALL_CLASSES", "QUALITIES", "Prompt", "bank", "bank_texts", "draw_group", "vary"]

Quality = Literal["low", "medium", "high"]
QUALITIES: tuple[Quality, ...] = ("low", "medium", "high")
ALL_CLASSES = (1, 2, 3, 4, 5)

SYNONYMS: Mapping[int, tuple[str, ...]] = {
    1: ("neoplastic", "tumor", "tumour", "cancer", "malignant", "carcinoma", "cancerous"),
    2: ("inflammatory", "immune", "lymphocyte", "lymphoid", "leukocyte", "plasma"),
    3: ("connective", "stromal", "fibroblast", "stroma", "spindle", "mesenchymal"),
    4: ("dead", "necrotic", "apoptotic", "dying", "pyknotic"),
    5: ("epithelial", "benign epithelial", "epithelium", "glandular", "gland", "crypt"),
}
"""Words that stand for ``{c}`` in the templates of each class."""

T1: Mapping[Quality, tuple[str, ...]] = {
    "low": (
        "nuclei", "nucleus", "cell nuclei", "all nuclei", "segment nuclei", "find nuclei",
        "mark cells", "nuclear mask", "show nuclei", "every nucleus", "cells", "all cells",
        "each nucleus", "nuclei mask", "outline nuclei",
    ),
    "medium": (
        "all cell nuclei in the tissue", "segment each nucleus in this image",
        "outline the dark stained nuclei", "every visible nucleus in the patch",
        "nuclei across the whole field", "find all hematoxylin stained nuclei",
        "cell nuclei of any type", "nuclei in the H&E tile",
        "delineate nuclei regardless of class", "all purple nuclei here", "locate nuclear regions",
        "all blue nuclei in the section", "nuclei of all classes", "any kind of cell nucleus",
        "mark the nuclei of all cells", "everything that is a nucleus",
    ),
    "high": (
        "segment every cell nucleus in the H&E patch, including small and faint ones",
        "delineate all hematoxylin-positive nuclei of any cell type, excluding cytoplasm and "
        "background",
        "mark the complete area of each nucleus from border to border, skip debris",
        "find all nuclei, tumor and stromal alike, and ignore red blood cells",
        "precisely outline all nuclei in the field while leaving out extracellular matrix",
        "all intact nuclei in the tissue, including overlapping and crowded ones",
        "all nuclear profiles, dark or pale, across the full image",
        "separate every nucleus from cytoplasm and stroma",
        "capture nuclei of every category, excluding mucin and vessels",
        "segment all nuclei with clear chromatin texture, no matter their size",
        "all nuclei, epithelial, inflammatory, connective and dead ones",
        "every nucleus, round or elongated, large or small, regular or irregular",
    ),
}  # fmt: skip

T2: Mapping[Quality, tuple[str, ...]] = {
    "low": (
        "{c} nuclei", "{c} cells", "find {c}", "segment {c}", "{c} nucleus", "mark {c} cells",
        "show {c} nuclei", "only {c}", "{c} mask", "all {c}", "{c}", "{c} cell",
    ),
    "medium": (
        "nuclei of {c} cells in this patch", "segment the {c} cell nuclei",
        "all {c} nuclei across the tissue", "outline nuclei that look {c}",
        "find each {c} cell nucleus", "{c} type nuclei in the H&E image",
        "delineate the {c} population", "nuclei belonging to {c} cells",
        "locate {c} nuclei anywhere in the field", "the {c} component of this tile",
        "every {c} nucleus here", "where are {c} cells",
    ),
    "high": (),
}  # fmt: skip

APPEARANCE: Mapping[int, tuple[str, ...]] = {
    1: (
        "enlarged irregular neoplastic nuclei, excluding lymphocytes and fibroblasts",
        "crowded hyperchromatic tumor nuclei, not stroma",
        "pleomorphic atypical malignant nuclei without inflammatory cells",
        "large vesicular cancer nuclei with coarse chromatin, no lymphocytes",
    ),
    2: (
        "small round dark lymphocyte-like inflammatory nuclei, not tumor nuclei",
        "small dark nuclei of immune cells, excluding epithelium and stroma",
        "compact round nuclei of lymphocytes and plasma cells, no fibroblasts",
        "inflammatory infiltrate of small round nuclei, not epithelial",
    ),
    3: (
        "thin spindle-shaped connective tissue nuclei in the stroma, excluding round nuclei",
        "long slender nuclei of fibroblasts, not lymphocytes",
        "elongated wavy nuclei of stromal and muscle cells, excluding glands",
        "flat narrow fibroblast nuclei without tumor cells",
    ),
    4: (
        "shrunken dense or fragmented dead nuclei, not viable cells",
        "condensed apoptotic bodies, excluding living nuclei",
        "pyknotic shriveled nuclei of necrosis, no viable cells",
        "karyorrhexis and fragments of dying nuclei, not lymphocytes",
    ),
    5: (
        "regular oval benign epithelial nuclei lining glands, excluding neoplastic nuclei",
        "uniform basal nuclei of the glandular epithelium, not stroma",
        "columnar epithelial nuclei in crypts without lymphocytes",
        "ordered oval nuclei of healthy glands, excluding fibroblasts and immune cells",
    ),
}
"""What nuclei of each class look like, and what is to be left out."""

VERBS = ("segment", "delineate", "")
SCOPES = ("in the whole patch", "wherever they occur", "")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, how good it is, and the classes that it asks for."""

    text: str
    quality: Quality
    classes: tuple[int, ...]


@cache
def bank(classes: tuple[int, ...] = ALL_CLASSES) -> tuple[Prompt, ...]:
    """Return every prompt that asks for exactly these classes: all five, or one.

    What the templates give of the texts that are kept out is left out.
    """
    return tuple(p for p in _bank(classes) if p.text not in _KEPT_OUT)


def _bank(classes: tuple[int, ...]) -> tuple[Prompt, ...]:
    if classes == ALL_CLASSES:
        return tuple(Prompt(text, q, classes) for q in QUALITIES for text in T1[q])
    (class_id,) = classes
    simple = tuple(
        Prompt(template.format(c=c), q, classes)
        for q in QUALITIES
        for template in T2[q]
        for c in SYNONYMS[class_id]
    )
    described = tuple(
        Prompt(" ".join(f"{verb} {phrase} {scope}".split()), "high", classes)
        for phrase in APPEARANCE[class_id]
        for verb in VERBS
        for scope in SCOPES
    )
    return simple + described


def bank_texts() -> tuple[str, ...]:
    """Return the texts of the whole bank."""
    groups = (ALL_CLASSES, *((c,) for c in ALL_CLASSES))
    return tuple(prompt.text for group in groups for prompt in bank(group))


def draw_group(
    classes: tuple[int, ...], rng: np.random.Generator, size: int = 3, by_quality: float = 0.5
) -> tuple[Prompt, ...]:
    """Draw the prompts of a group without replacement, in random order: the first is the reference.

    With the probability ``by_quality`` one of each quality, otherwise from the whole pool. Classes
    that are neither one nor all are asked for by `compound`.
    """
    if classes != ALL_CLASSES and len(classes) != 1:
        return tuple(compound(classes, rng) for _ in range(size))
    pool = bank(classes)
    if size == len(QUALITIES) and rng.random() < by_quality:
        chosen = [
            some[rng.integers(len(some))]
            for quality in QUALITIES
            if (some := [p for p in pool if p.quality == quality])
        ]
        return tuple(chosen[i] for i in rng.permutation(size))
    return tuple(pool[i] for i in rng.choice(len(pool), size, replace=False))


def compound(classes: tuple[int, ...], rng: np.random.Generator) -> Prompt:
    """Return a prompt for several classes, named or as all but the others."""

    def named(some: tuple[int, ...], joint: str) -> str:
        words = [SYNONYMS[c][rng.integers(len(SYNONYMS[c]))] for c in some]
        return f" {joint} ".join(words[i] for i in rng.permutation(len(words)))

    others = tuple(c for c in ALL_CLASSES if c not in classes)
    if len(others) <= 2 and rng.random() < 0.5:
        but = ("except", "excluding", "but not", "without", "other than")[rng.integers(5)]
        return Prompt(f"all nuclei {but} {named(others, 'and')} nuclei", "high", classes)
    tail = (" nuclei", " cells", " cell nuclei", "")[rng.integers(4)]
    return Prompt(named(classes, ("and", "or")[rng.integers(2)]) + tail, "medium", classes)


def vary(text: str, rng: np.random.Generator, strength: float = 0.5) -> str:
    """Return a prompt worded a little otherwise: what it asks for stays.

    Small words are put in, the text is begun or ended with others, letters are mistyped, another
    word of the same class takes the place of one. ``strength`` is how likely each change is.
    """
    words = text.replace(",", " ,").split()
    if rng.random() < strength:
        words = [_other_word(w, rng) for w in words]
    if rng.random() < strength:
        for _ in range(int(rng.integers(1, 4))):
            words.insert(int(rng.choice([0, len(words)])), _NEUTRAL[rng.integers(len(_NEUTRAL))])
    if rng.random() < strength * 0.5:
        place = int(rng.integers(len(words)))
        words[place] = _mistyped(words[place], rng)
    return " ".join(words)


_KEPT_OUT = frozenset((*ALL_NUCLEI, *(text for texts in BY_CLASS.values() for text in texts)))
_NEUTRAL = tuple(word for word in FILLERS if word not in LEAVING_OUT)


def _other_word(word: str, rng: np.random.Generator) -> str:
    """Return the word, or at times one that means the same."""
    if rng.random() < 0.5:
        return word
    if word in ("nuclei", "nucleus", "cells"):
        return str(rng.choice(["nuclei", "nucleus", "cells", "cell", "nuclear"]))
    for words in CLASS_WORDS.values():
        if word in words:
            return str(rng.choice(words))
    return word


def _mistyped(word: str, rng: np.random.Generator) -> str:
    """Return a word with a letter left out, doubled or exchanged with the next."""
    if len(word) < 5:
        return word
    i = int(rng.integers(1, len(word) - 1))
    kind = rng.integers(3)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i] + word[i:]
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
