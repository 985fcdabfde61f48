"""Titles, units and digits of the features, for tables, reports and sentences.

Titles name the tumour only where neoplastic nuclei were told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_nucleus.core.tme import CLASS_NAMES, EQUIVALENT_MPP, Features, TmeSettings
from napari_nucleus.core.tme_phenotypes import THRESHOLDS, Axis, axis_feature

__all__ = [
    "FeatureRow",
    "axis_rule",
    "axis_title",
    "class_title",
    "feature_rows",
    "feature_text",
    "feature_title",
    "feature_unit",
    "merging_note",
]

_TITLES = {
    "total_cells": "Classified nuclei",
    "tumor_stroma_fraction": "Neoplastic of neoplastic and connective",
    "immune_infiltration_fraction": "Inflammatory of inflammatory and neoplastic",
    "min_dist_Inflammatory_to_Neoplastic": "Distance inflammatory to neoplastic, smallest",
    "mean_dist_Inflammatory_to_Neoplastic": "Distance inflammatory to neoplastic, mean",
    "count_engaged_immune": "Inflammatory nuclei engaged with neoplastic",
    "fraction_engaged_immune": "Inflammatory nuclei engaged with neoplastic, fraction",
    "mean_spatial_entropy": "Entropy of classes among neighbours, mean",
}
_KINDS = {"count": "{} nuclei", "ratio": "{} nuclei, fraction", "mean_area": "{} nuclei, mean area"}


def feature_title(key: str, settings: TmeSettings) -> str:
    """Return what a feature is called, without its unit.

    Raises
    ------
    KeyError
        If there is no such feature.
    """
    plain = key.removesuffix("_um2").removesuffix("_um")
    if plain in _TITLES:
        title = _TITLES[plain]
        if settings.merged:
            title = title.replace("neoplastic", "epithelial").replace("Neoplastic", "Epithelial")
        return title
    kind, _, name = plain.rpartition("_")
    return _KINDS[kind].format(name)


def feature_unit(key: str) -> str:
    """Return the unit of a feature; empty for numbers and fractions."""
    if key.endswith("_um2"):
        return "µm²"
    if key.endswith("_um"):
        return "µm"
    if key.startswith("mean_area"):
        return "px²"
    if "_dist_" in key:
        return "px"
    return "bit" if key == "mean_spatial_entropy" else ""


def feature_text(key: str, value: float | None) -> str:
    """Return a value as it is printed: whole, with one digit (lengths, areas) or two; – if None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{1 if feature_unit(key) in ('px', 'px²', 'µm', 'µm²') else 2}f}"


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A line of a table: the key of a feature, what it is called, its value, and the unit."""

    key: str
    title: str
    text: str
    unit: str


def feature_rows(features: Features, settings: TmeSettings) -> list[FeatureRow]:
    """Return the features for people to read: lengths in µm, without what was not told apart."""
    rows = []
    for key in features:
        if f"{key}_um" in features or f"{key}_um2" in features:
            continue
        if settings.merged and key.startswith(("count_N", "ratio_N", "mean_area_N")):
            continue
        text = feature_text(key, features[key])
        rows.append(FeatureRow(key, feature_title(key, settings), text, feature_unit(key)))
    return rows


def axis_title(axis: Axis) -> str:
    """Return what an axis is called."""
    return axis.value.replace("_", " ").capitalize()


def axis_rule(axis: Axis, settings: TmeSettings) -> str:
    """Return, in words, what the label of an axis follows from."""
    key = axis_feature(axis, settings)
    low, high = THRESHOLDS[axis]
    unit = feature_unit(key)
    if unit.startswith("px") and settings.thresholds_px == "equivalent":
        unit += f" of {EQUIVALENT_MPP:g} µm"
    unit = f" {unit}" if unit else ""
    return f"{feature_title(key, settings)}: low below {low:g}, high above {high:g}{unit}"


def class_title(class_id: int, settings: TmeSettings) -> str:
    """Return what a class is called in the middle of a sentence or a table."""
    name = CLASS_NAMES[class_id].lower()
    return "epithelial" if settings.merged and class_id == 1 else name


def merging_note(settings: TmeSettings) -> str:
    """Return, as a sentence, what is not told apart; empty if all is."""
    if not settings.merged:
        return ""
    return (
        "Neoplastic and benign epithelial nuclei were not told apart: what is said of epithelial "
        "nuclei is about both together, and so are the values whose names have 'Neoplastic' or "
        "'tumor' in them."
    )
