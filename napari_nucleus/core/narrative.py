"""A text about a microenvironment in which every number is one of the features.

The text is made by rules: a sentence to each topic, in a fixed order, each with its numbers in
parentheses and the keys of the features that it rests on. The same features give the same text.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_nucleus.core.tme import Features, TmeSettings
from napari_nucleus.core.tme_phenotypes import NOT_ASSESSABLE, Axis, Phenotypes
from napari_nucleus.core.tme_words import class_title, feature_text, feature_unit

__all__ = ["Narrative", "Sentence", "narrate"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, and the keys of the features that it is about."""

    topic: str
    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Narrative:
    """Sentences, and where they come from.

    Parameters
    ----------
    sentences
        In the order of reading.
    source
        ``"rules"``, or the name of a language model.
    note
        Why a language model's text was not taken; empty otherwise.
    """

    sentences: tuple[Sentence, ...]
    source: str = "rules"
    note: str = ""

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(sentence.text for sentence in self.sentences)


def narrate(
    features: Features, phenotypes: Phenotypes, settings: TmeSettings = TmeSettings()
) -> Narrative:
    """Return the text by rules.

    Parameters
    ----------
    features, phenotypes
        As `core.tme.features` and `core.tme_phenotypes.interpret` return them for ``settings``.
    """
    words = _Words(features, phenotypes, settings)
    return Narrative(
        tuple(
            _sentence(topic, words, rule(words))
            for topic, rule in (
                ("composition", _composition),
                ("morphology", _morphology),
                ("stroma", _stroma),
                ("immune infiltrate", _infiltrate),
                ("engagement", _engagement),
                ("architecture", _architecture),
            )
        )
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """What the rules speak with."""

    features: Features
    phenotypes: Phenotypes
    settings: TmeSettings

    @property
    def own(self) -> str:
        """The class that takes the part of the tumour, in small letters."""
        return class_title(self.settings.target_class, self.settings)

    @property
    def tissue(self) -> str:
        return "epithelium" if self.settings.merged else "tumour"

    def of_own(self, kind: str) -> str:
        """Return the key of a feature of that class."""
        return f"{kind}_{self.own.capitalize()}"

    def label(self, axis: Axis) -> str:
        return self.phenotypes.labels[axis]

    def value(self, key: str) -> str:
        """Return a number with its unit."""
        return f"{feature_text(key, self.features[key])} {feature_unit(key)}".strip()


_Said = tuple[str, tuple[str, ...]]
"""A sentence with ``{}`` for each number, and the keys of the numbers in their order."""

DISTANCES = (
    "mean_dist_Inflammatory_to_Neoplastic",
    "mean_dist_Inflammatory_to_Neoplastic_um",
)


def _sentence(topic: str, words: _Words, said: _Said) -> Sentence:
    text, keys = said
    return Sentence(topic, text.format(*(words.value(key) for key in keys)), keys)


def _composition(words: _Words) -> _Said:
    ratio = words.of_own("ratio")
    label = words.label(Axis.COMPOSITION)
    subject = "The epithelial fraction" if words.settings.merged else "Tumour purity"
    if label == NOT_ASSESSABLE:
        return "There are no classified nuclei ({}).", ("total_cells",)
    if label.startswith("High"):
        said = f"{subject} is high: {words.own} nuclei dominate ({{}})."
        return said, (ratio,)
    if label.startswith("Moderate"):
        return f"{subject} is moderate ({{}}).", (ratio,)
    more = "outnumber" if "Immune-dominant" in words.phenotypes.tokens else "do not outnumber"
    any_own = words.features[words.of_own("count")]
    few = f"{words.own} nuclei are a minority" if any_own else f"there are no {words.own} nuclei"
    said = (
        f"{subject} is low: {few} ({{}}), and inflammatory nuclei {more} connective ones "
        "({} against {})."
    )
    return said, (ratio, "ratio_Inflammatory", "ratio_Connective")


def _morphology(words: _Words) -> _Said:
    label = words.label(Axis.MORPHOLOGY)
    if label == NOT_ASSESSABLE:
        said = f"Without {words.own} nuclei their size cannot be assessed ({{}})."
        return said, (words.of_own("count"),)
    size = {"Large/Pleomorphic": "large", "Small/Monotonous": "small"}.get(
        label, "of intermediate size"
    )
    area = words.of_own("mean_area")
    said = f"{words.own.capitalize()} nuclei are {size} on average (mean area {{}}, {{}})."
    return said, (area, f"{area}_um2")


def _stroma(words: _Words) -> _Said:
    said = {
        "Desmoplastic": "Connective nuclei are in the majority, as in desmoplastic stroma ({}).",
        "Stroma-Free": "There is hardly any stroma: connective nuclei are rare ({}).",
        "Moderate stroma": "The share of connective nuclei is moderate ({}).",
    }.get(words.label(Axis.STROMA))
    if said is None:
        return "Of stroma nothing can be said ({}).", ("total_cells",)
    return said, ("ratio_Connective",)


def _infiltrate(words: _Words) -> _Said:
    immune, spatial = words.label(Axis.IMMUNE), words.label(Axis.SPATIAL)
    amount = {"Immune Hot": "heavy", "Immune Cold": "sparse"}.get(immune, "patchy")
    if immune == NOT_ASSESSABLE:
        return "Of the immune infiltrate nothing can be said ({}).", ("total_cells",)
    if spatial == NOT_ASSESSABLE:
        count = words.of_own("count")
        if not words.features["count_Inflammatory"]:
            said = "There are no inflammatory nuclei ({})."
            return said, ("count_Inflammatory",)
        said = (
            f"The infiltrate is {amount} ({{}}); how far it is from {words.own} nuclei cannot be "
            "assessed, for there are none ({})."
        )
        return said, ("ratio_Inflammatory", count)
    where = {
        "Direct Contact": f"lie directly against {words.own} ones",
        "Excluded": f"are kept out of the {words.tissue}",
        "Proximal": f"lie near the {words.tissue}",
    }[spatial]
    far = f"inflammatory nuclei {where} (mean distance {{}}, {{}})"
    if immune == "Immune Hot" and spatial == "Excluded":
        said = f"Although the infiltrate is heavy ({{}}), {far}."
    elif immune == "Immune Cold" and spatial != "Excluded":
        said = f"The infiltrate is sparse ({{}}), but the {far}."
    else:
        said = f"The infiltrate is {amount} ({{}}), and {far}."
    return said, ("ratio_Inflammatory", *DISTANCES)


def _engagement(words: _Words) -> _Said:
    fraction = words.features["fraction_engaged_immune"]
    if fraction is None:
        said = f"No inflammatory nucleus is engaged with {words.own} ones ({{}})."
        return said, ("count_engaged_immune",)
    keys = ("fraction_engaged_immune", "count_engaged_immune", "count_Inflammatory")
    if fraction < words.settings.bystander_below:
        said = "Inflammatory nuclei are mostly bystanders: few are engaged with {own} ones"
    elif fraction > 0.5:
        said = "Most inflammatory nuclei are engaged with {own} ones"
    else:
        said = "A part of the inflammatory nuclei is engaged with {own} ones"
    return said.format(own=words.own) + " ({}; {} of {}).", keys


def _architecture(words: _Words) -> _Said:
    said = {
        "Highly Mixed": "Neighbouring nuclei are of many classes, highly mixed (mean entropy {}).",
        "Segregated": "Neighbouring nuclei are mostly of one class, segregated (mean entropy {}).",
        "Intermediate": "Neighbouring nuclei are partly mixed in class (mean entropy {}).",
    }.get(words.label(Axis.ARCHITECTURE))
    if said is None:
        return "There are too few nuclei to speak of an architecture ({}).", ("total_cells",)
    return said, ("mean_spatial_entropy",)
