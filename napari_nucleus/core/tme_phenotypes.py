"""Six phenotype axes of a microenvironment and their tokens, by the thresholds of SegTME-UNI2.

Every rule is a strict inequality on one feature. Labels and tokens that name the tumour are used
only where neoplastic nuclei were told apart; elsewhere they say epithelial.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from napari_nucleus.core.tme import CLASS_NAMES, Features, TmeSettings

__all__ = [
    "NOT_ASSESSABLE",
    "THRESHOLDS",
    "Axis",
    "Phenotypes",
    "axis_feature",
    "interpret",
]

NOT_ASSESSABLE = "Not assessable"


class Axis(StrEnum):
    """The axes, under the names that they have in JSON, in the order of their tokens."""

    COMPOSITION = "composition_phenotype"
    IMMUNE = "immune_status"
    STROMA = "stromal_status"
    SPATIAL = "spatial_interaction"
    ARCHITECTURE = "architecture"
    MORPHOLOGY = "morphology"


THRESHOLDS = {
    Axis.COMPOSITION: (0.30, 0.60),
    Axis.IMMUNE: (0.10, 0.30),
    Axis.STROMA: (0.05, 0.50),
    Axis.SPATIAL: (20.0, 60.0),
    Axis.ARCHITECTURE: (0.40, 0.70),
    Axis.MORPHOLOGY: (150.0, 300.0),
}
"""Below the first value a feature is low, above the second it is high; lengths and areas in pixels,
see `TmeSettings.thresholds_px`."""

_POWERS = {Axis.SPATIAL: 1, Axis.MORPHOLOGY: 2}


@dataclass(frozen=True, slots=True)
class Phenotypes:
    """The label of each axis, and the tokens of all, each once, in the order of the axes."""

    labels: dict[Axis, str]
    tokens: tuple[str, ...]


def interpret(features: Features, mpp: float, settings: TmeSettings = TmeSettings()) -> Phenotypes:
    """Return the phenotype on each axis.

    Parameters
    ----------
    features
        As `core.tme.features` returns them, for the same ``mpp`` and ``settings``.
    mpp
        Micrometres per pixel; see `TmeSettings.thresholds_px`.
    """
    levels = {axis: _level(axis, features, mpp, settings) for axis in Axis}
    found = {
        axis: _BY_LEVEL[axis].get(level, (NOT_ASSESSABLE, ()))
        for axis, level in levels.items()
        if axis is not Axis.COMPOSITION
    }
    ratios = features["ratio_Inflammatory"], features["ratio_Connective"]
    found = {Axis.COMPOSITION: _composition(levels[Axis.COMPOSITION], *ratios), **found}
    engaged = features["fraction_engaged_immune"]
    if engaged is not None and engaged < settings.bystander_below:
        label, tokens = found[Axis.SPATIAL]
        found[Axis.SPATIAL] = label, (*tokens, "Bystander immune cells")
    labels = {axis: label for axis, (label, _) in found.items()}
    tokens = [token for _, some in found.values() for token in some]
    if settings.merged:
        labels = {axis: EPITHELIAL_WORDS.get(label, label) for axis, label in labels.items()}
        tokens = [EPITHELIAL_WORDS.get(token, token) for token in tokens]
    return Phenotypes(labels, tuple(dict.fromkeys(tokens)))


def axis_feature(axis: Axis, settings: TmeSettings) -> str:
    """Return the key of the feature that an axis rests on."""
    own = CLASS_NAMES[settings.target_class]
    return {
        Axis.COMPOSITION: f"ratio_{own}",
        Axis.IMMUNE: "ratio_Inflammatory",
        Axis.STROMA: "ratio_Connective",
        Axis.SPATIAL: "mean_dist_Inflammatory_to_Neoplastic",
        Axis.ARCHITECTURE: "mean_spatial_entropy",
        Axis.MORPHOLOGY: f"mean_area_{own}",
    }[axis]


def _level(axis: Axis, features: Features, mpp: float, settings: TmeSettings) -> str | None:
    """Return whether the feature of an axis is low, high or in the middle; None if unknown."""
    value = features[axis_feature(axis, settings)]
    if value is None or (axis is Axis.ARCHITECTURE and (features["total_cells"] or 0) < 2):
        return None
    value *= settings.threshold_scale(mpp) ** _POWERS.get(axis, 0)
    low, high = THRESHOLDS[axis]
    return "low" if value < low else "high" if value > high else "middle"


EPITHELIAL_WORDS = {
    "High Tumour Purity": "High Epithelial Fraction",
    "Moderate Tumour Purity": "Moderate Epithelial Fraction",
    "Low Tumour Purity": "Low Epithelial Fraction",
    "Solid tumour nest": "Solid epithelial nest",
    "Peritumoral": "Periepithelial",
}
"""What is said in place of words about a tumour that was not told apart."""

_Found = tuple[str, tuple[str, ...]]


def _composition(level: str | None, immune: float | None, stroma: float | None) -> _Found:
    if level is None or immune is None or stroma is None:
        return NOT_ASSESSABLE, ()
    if level == "low":
        rich = ("Immune-dominant", "Lymphocyte-rich")
        return "Low Tumour Purity", rich if immune > stroma else ("Stroma-dominant",)
    if level == "high":
        return "High Tumour Purity", ("Solid tumour nest", "Hypercellular")
    return "Moderate Tumour Purity", ()


_BY_LEVEL: dict[Axis, dict[str | None, _Found]] = {
    Axis.IMMUNE: {
        "high": ("Immune Hot", ("Heavy infiltrate",)),
        "low": ("Immune Cold", ("Immune desert", "Pauci-immune")),
        "middle": ("Moderate", ("Patchy infiltrate",)),
    },
    Axis.STROMA: {
        "high": ("Desmoplastic", ("Fibrotic barrier",)),
        "low": ("Stroma-Free", ("Non-desmoplastic", "Lack of fibrosis")),
        "middle": ("Moderate stroma", ()),
    },
    Axis.SPATIAL: {
        "low": ("Direct Contact", ("Juxtaposed cells",)),
        "high": ("Excluded", ("Immune exclusion", "Restricted to stroma")),
        "middle": ("Proximal", ("Peritumoral",)),
    },
    Axis.ARCHITECTURE: {
        "high": ("Highly Mixed", ("Diffuse integration",)),
        "low": ("Segregated", ("Homogeneous", "Compartmentalized")),
        "middle": ("Intermediate", ()),
    },
    Axis.MORPHOLOGY: {
        "high": ("Large/Pleomorphic", ("Nuclear enlargement", "Anisocytosis")),
        "low": ("Small/Monotonous", ("Small cell morphology",)),
        "middle": ("Intermediate", ()),
    },
}
"""Label and tokens of an axis whose feature is low, high or neither."""
