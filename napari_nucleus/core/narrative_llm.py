"""The narrative in the words of a language model, taken only if it says nothing of its own.

Any object that turns a prompt into a text can be plugged in. Its text is checked: a number that is
none of the features, or a word about a tumour where none was told apart, and the text by rules
stands in for it, with the reason.
"""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

import orjson

from napari_nucleus.core.narrative import Narrative, Sentence, narrate
from napari_nucleus.core.tme import Features, TmeSettings
from napari_nucleus.core.tme_phenotypes import Phenotypes
from napari_nucleus.core.tme_words import merging_note

__all__ = ["NarrativeLLM", "narrate_with", "narrative_prompt", "unfounded_numerals"]

_NUMERAL = re.compile(r"(?:(?<![\w.)\]])[-−])?\d+(?:[.,]\d+)*(?:[eE][-+−]?\d+)?")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_PLAIN = re.compile(r"-?\d+(\.\d+)?")
_TUMOUR_WORDS = re.compile(
    r"\b\w*(?:tumou?r|neoplas|malignan|cancer|carcinoma|sarcoma)\w*", re.IGNORECASE
)
_UNITS = "²³"
"""Signs that are numbers to Unicode and units to a reader."""


@runtime_checkable
class NarrativeLLM(Protocol):
    """A language model that writes."""

    name: str

    def generate(self, prompt: str) -> str:
        """Return what follows after the prompt."""
        ...


def narrative_prompt(
    features: Features, phenotypes: Phenotypes, settings: TmeSettings = TmeSettings()
) -> str:
    """Return the prompt of SegTME-UNI2: four labelled fields, the last one to be filled in."""
    known = {key: value for key, value in features.items() if value is not None}
    labels = ", ".join(f"{axis.value}: {label}" for axis, label in phenotypes.labels.items())
    note = f" ({merging_note(settings)})" if settings.merged else ""
    return (
        f"TME features: {orjson.dumps(known).decode()}\n"
        f"Phenotype labels: {labels}{note}\n"
        f"Biological tokens: {'; '.join(phenotypes.tokens)}\n"
        "Narrative:"
    )


def narrate_with(
    llm: NarrativeLLM,
    features: Features,
    phenotypes: Phenotypes,
    settings: TmeSettings = TmeSettings(),
) -> Narrative:
    """Return what a language model writes, or the text by rules with a note that says why."""
    by_rules = narrate(features, phenotypes, settings)

    def instead(reason: str) -> Narrative:
        return Narrative(
            by_rules.sentences, by_rules.source, f"{reason}; this is the text by rules."
        )

    try:
        text = llm.generate(narrative_prompt(features, phenotypes, settings)).strip()
    except Exception as error:  # whatever a plugged-in model does, there is a text
        return instead(f"{llm.name} failed ({error})")
    if not text:
        return instead(f"{llm.name} wrote nothing")
    unfounded = unfounded_numerals(text, features)
    if unfounded:
        return instead(f"{llm.name} wrote {unfounded[0]!r}, which is none of the measured values")
    about_tumour = _TUMOUR_WORDS.search(text) if settings.merged else None
    if about_tumour:
        return instead(
            f"{llm.name} wrote {about_tumour.group()!r}, though neoplastic and benign epithelial "
            "nuclei were not told apart"
        )
    sentences = tuple(
        Sentence("language model", part, _evidence(part, features))
        for part in re.split(r"(?<=[.!?])\s+(?=\S)", text)
    )
    return Narrative(sentences, llm.name)


def unfounded_numerals(text: str, features: Features) -> list[str]:
    """Return the numerals of a text that are no feature, as they are written.

    A numeral stands for a feature if that is what the feature is when printed with as many digits
    after the point; one without a point stands for a count only. Numbers in words are not looked
    at.
    """
    found = [
        numeral for numeral in _NUMERAL.findall(text) if not _features_printed_as(numeral, features)
    ]
    strange = (c for c in text if c.isnumeric() and not c.isdecimal() and c not in _UNITS)
    return found + list(strange)


def _features_printed_as(numeral: str, features: Features) -> list[str]:
    plain = numeral.replace("−", "-")
    if _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    if not _PLAIN.fullmatch(plain):
        return []
    digits = len(plain.partition(".")[2])
    return [
        key
        for key, value in features.items()
        if value is not None
        and (bool(digits) or isinstance(value, int))
        and f"{value:.{digits}f}" == plain
    ]


def _evidence(text: str, features: Features) -> tuple[str, ...]:
    keys = (key for n in _NUMERAL.findall(text) for key in _features_printed_as(n, features))
    return tuple(dict.fromkeys(keys))
