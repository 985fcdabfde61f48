"""Six phenotype axes of a microenvironment and their tokens, by the thresholds of SegTME-UNI2.

Every rule is a strict inequality on one feature. Labels and tokens that name the tumour are used
only where neoplastic nuclei were told apart; elsewhere they say epithelial.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from napari_nucleus.core.tme import Features, TmeSettings

__all__ = ["NOT_ASSESSABLE", "Axis", "Phenotypes", "interpret"]

NOT_ASSESSABLE = "Not assessable"


class Axis(StrEnum):
    """The axes, under the names that they have in JSON, in the order of their tokens."""

    COMPOSITION = "composition_phenotype"
    IMMUNE = "immune_status"
    STROMA = "stromal_status"
    SPATIAL = "spatial_interaction"
    ARCHITECTURE = "architecture"
    MORPHOLOGY = "morphology"


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
    own = "Epithelial" if settings.merged else "Neoplastic"
    scale = settings.threshold_scale(mpp)
    target, immune, stroma = (
        features[f"ratio_{name}"] for name in (own, "Inflammatory", "Connective")
    )
    found = {
        Axis.COMPOSITION: _composition(target, immune, stroma),
        Axis.IMMUNE: _immune(immune),
        Axis.STROMA: _stroma(stroma),
        Axis.SPATIAL: _spatial(features, scale, settings),
        Axis.ARCHITECTURE: _architecture(features),
        Axis.MORPHOLOGY: _morphology(features[f"mean_area_{own}"], scale),
    }
    labels = {axis: label for axis, (label, _) in found.items()}
    tokens = [token for _, some in found.values() for token in some]
    if settings.merged:
        labels = {axis: EPITHELIAL_WORDS.get(label, label) for axis, label in labels.items()}
        tokens = [EPITHELIAL_WORDS.get(token, token) for token in tokens]
    return Phenotypes(labels, tuple(dict.fromkeys(tokens)))


EPITHELIAL_WORDS = {
    "High Tumour Purity": "High Epithelial Fraction",
    "Moderate Tumour Purity": "Moderate Epithelial Fraction",
    "Low Tumour Purity": "Low Epithelial Fraction",
    "Solid tumour nest": "Solid epithelial nest",
    "Peritumoral": "Periepithelial",
}
"""What is said in place of words about a tumour that was not told apart."""

_Found = tuple[str, tuple[str, ...]]


def _composition(target: float | None, immune: float | None, stroma: float | None) -> _Found:
    if target is None or immune is None or stroma is None:
        return NOT_ASSESSABLE, ()
    if target > 0.60:
        return "High Tumour Purity", ("Solid tumour nest", "Hypercellular")
    if target < 0.30:
        rich = ("Immune-dominant", "Lymphocyte-rich")
        return "Low Tumour Purity", rich if immune > stroma else ("Stroma-dominant",)
    return "Moderate Tumour Purity", ()


def _immune(ratio: float | None) -> _Found:
    if ratio is None:
        return NOT_ASSESSABLE, ()
    if ratio > 0.30:
        return "Immune Hot", ("Heavy infiltrate",)
    if ratio < 0.10:
        return "Immune Cold", ("Immune desert", "Pauci-immune")
    return "Moderate", ("Patchy infiltrate",)


def _stroma(ratio: float | None) -> _Found:
    if ratio is None:
        return NOT_ASSESSABLE, ()
    if ratio > 0.50:
        return "Desmoplastic", ("Fibrotic barrier",)
    if ratio < 0.05:
        return "Stroma-Free", ("Non-desmoplastic", "Lack of fibrosis")
    return "Moderate stroma", ()


def _spatial(features: Features, scale: float, settings: TmeSettings) -> _Found:
    distance = features["mean_dist_Inflammatory_to_Neoplastic"]
    engaged = features["fraction_engaged_immune"]
    if distance is None or engaged is None:
        return NOT_ASSESSABLE, ()
    bystander = ("Bystander immune cells",) if engaged < settings.bystander_below else ()
    if distance * scale < 20:
        return "Direct Contact", ("Juxtaposed cells", *bystander)
    if distance * scale > 60:
        return "Excluded", ("Immune exclusion", "Restricted to stroma", *bystander)
    return "Proximal", ("Peritumoral", *bystander)


def _architecture(features: Features) -> _Found:
    entropy = features["mean_spatial_entropy"]
    if entropy is None or (features["total_cells"] or 0) < 2:
        return NOT_ASSESSABLE, ()
    if entropy > 0.70:
        return "Highly Mixed", ("Diffuse integration",)
    if entropy < 0.40:
        return "Segregated", ("Homogeneous", "Compartmentalized")
    return "Intermediate", ()


def _morphology(mean_area: float | None, scale: float) -> _Found:
    if mean_area is None:
        return NOT_ASSESSABLE, ()
    if mean_area * scale**2 > 300:
        return "Large/Pleomorphic", ("Nuclear enlargement", "Anisocytosis")
    if mean_area * scale**2 < 150:
        return "Small/Monotonous", ("Small cell morphology",)
    return "Intermediate", ()
