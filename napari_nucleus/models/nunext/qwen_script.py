"""What is said to a Qwen2.5-VL, and what it must say before each list of points, as token ids.

Knows the tokenizer and the settings of a checkpoint; no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_nucleus.errors import ModelError
from napari_nucleus.models.nunext.grammar import Grammar
from napari_nucleus.models.nunext.qwen_config import QwenSettings
from napari_nucleus.models.nunext.tokens import TokenizerVocabulary, Vocabulary

__all__ = ["Script", "class_mode_of", "look_up", "script_of"]

VISION_START, IMAGE, VISION_END = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
REFERENCE_START, REFERENCE_END = "<|object_ref_start|>", "<|object_ref_end|>"


@dataclass(frozen=True)
class Script:
    """A question and the forced parts of its answer.

    Parameters
    ----------
    vocabulary
        Of the answer.
    before, after
        Ids before and after those of the picture; latent tokens are the last.
    image
        The id that stands for a token of the picture.
    openings
        What is forced before each list of points, to its ``begin``.
    classes
        How many classes points have: of separators, or of lists.
    separator_needed
        As for `Grammar`.
    """

    vocabulary: Vocabulary
    before: tuple[int, ...]
    after: tuple[int, ...]
    image: int
    openings: tuple[tuple[int, ...], ...]
    classes: int
    separator_needed: bool

    @property
    def by_list(self) -> bool:
        """Whether a point's class is that of its list."""
        return len(self.openings) > 1

    def question(self, picture_tokens: int) -> list[int]:
        """Return the ids up to an answer on a picture of so many tokens."""
        return [*self.before, *[self.image] * picture_tokens, *self.after]

    def grammar(self, settings: QwenSettings, device: Any = "cpu") -> Grammar:
        """Return the grammar of one list of points."""
        margin = settings.line_margin if self.separator_needed else None
        return Grammar(self.vocabulary, settings.max_points, margin, self.separator_needed, device)


def class_mode_of(tokenizer: Any, settings: QwenSettings) -> str:
    """Return how classes are told: ``"none"``, ``"typed"`` or ``"grouped"``.

    Raises
    ------
    ModelError
        If typed separators are asked for that the tokenizer does not know.
    """
    known = tokenizer.get_vocab()
    absent = next((token for token in settings.class_tokens if token not in known), None)
    if settings.class_mode == "auto":
        if absent is None:
            return "typed"
        return "none" if "<cv0>" in known else "grouped"
    if settings.class_mode == "typed" and absent is not None:
        raise ModelError(f"class_mode is 'typed', but the tokenizer has no {absent}.")
    return settings.class_mode


def look_up(tokenizer: Any, settings: QwenSettings, rows: int) -> TokenizerVocabulary:
    """Return the vocabulary of answers; ``rows`` are those of the network's embedding.

    Coordinates that the tokenizer lacks are appended to it, classes and latents are not: a network
    that never learned them is better off without.
    """
    known = tokenizer.get_vocab()
    latent = 0
    while latent < settings.latent and f"<cv{latent}>" in known:
        latent += 1
    typed = class_mode_of(tokenizer, settings) == "typed"
    classes = settings.class_tokens if typed else ()
    return Vocabulary.of_tokenizer(tokenizer, settings.bins, classes, latent, rows)


def script_of(tokenizer: Any, settings: QwenSettings, vocabulary: Vocabulary) -> Script:
    """Return what is said to the network.

    Raises
    ------
    ModelError
        If the tokenizer lacks the marks of a picture or of a phrase.
    """
    known = tokenizer.get_vocab()
    mode = class_mode_of(tokenizer, settings)
    marks = [VISION_START, IMAGE, VISION_END]
    marks += [REFERENCE_START, REFERENCE_END] if mode == "grouped" else []
    absent = next((mark for mark in marks if mark not in known), None)
    if absent is not None:
        raise ModelError(f"This tokenizer has no {absent}; it is not Qwen2.5-VL's.")

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    names = settings.phrases if mode == "grouped" else ("nucleus",)
    asked = settings.instruction.replace("{phrases}", ", ".join(names))
    before = f"<|im_start|>system\n{settings.system}<|im_end|>\n<|im_start|>user\n{VISION_START}"
    after = f"{VISION_END}{asked}<|im_end|>\n<|im_start|>assistant\n"
    openings: tuple[tuple[int, ...], ...] = ((vocabulary.begin,),)
    classes = vocabulary.n_classes
    if mode == "grouped":
        classes = len(names) if len(names) > 1 else 0
        openings = tuple(
            (
                *ids(f"{', ' if i else ''}{REFERENCE_START}{name}{REFERENCE_END}"),
                vocabulary.begin,
            )
            for i, name in enumerate(names)
        )
    return Script(
        vocabulary,
        ids(before),
        (*ids(after), *vocabulary.latent),
        int(known[IMAGE]),
        openings,
        classes,
        mode != "grouped",
    )
