"""Phenotypes and tokens: the paper's worked example, and every threshold from both sides."""

from __future__ import annotations

import pytest
from tme_helpers import cells_at, changed, random_cells, worked_example

from napari_nucleus.core.tme import TmeSettings, features
from napari_nucleus.core.tme_phenotypes import Axis, interpret

DISTANCE = "mean_dist_Inflammatory_to_Neoplastic"
NATIVE = TmeSettings(thresholds_px="native")
MERGED = TmeSettings(not_told_apart=(1, 5))
EXAMPLE_TOKENS = {
    "Immune-dominant",
    "Lymphocyte-rich",
    "Heavy infiltrate",
    "Non-desmoplastic",
    "Lack of fibrosis",
    "Immune exclusion",
    "Restricted to stroma",
    "Bystander immune cells",
    "Homogeneous",
    "Nuclear enlargement",
    "Anisocytosis",
}


def test_the_papers_worked_example():
    found = worked_example()
    assert found["total_cells"] == 4501
    assert f"{found['tumor_stroma_fraction']:.4f}" == "0.9478"
    assert f"{found['immune_infiltration_fraction']:.4f}" == "0.7083"
    assert found["mean_area_Neoplastic"] == pytest.approx(3216.37)
    phenotypes = interpret(found, 0.25, NATIVE)
    assert phenotypes.labels == {
        Axis.COMPOSITION: "Low Tumour Purity",
        Axis.IMMUNE: "Immune Hot",
        Axis.STROMA: "Stroma-Free",
        Axis.SPATIAL: "Excluded",
        Axis.ARCHITECTURE: "Segregated",
        Axis.MORPHOLOGY: "Large/Pleomorphic",
    }
    assert set(phenotypes.tokens) >= EXAMPLE_TOKENS
    # The paper's own table gives one more, which its printed example leaves out.
    assert set(phenotypes.tokens) - EXAMPLE_TOKENS == {"Compartmentalized"}


@pytest.mark.parametrize(
    ("axis", "key", "value", "label", "tokens"),
    [
        (
            Axis.COMPOSITION,
            "ratio_Neoplastic",
            0.61,
            "High Tumour Purity",
            "Solid tumour nest; Hypercellular",
        ),
        (Axis.COMPOSITION, "ratio_Neoplastic", 0.60, "Moderate Tumour Purity", ""),
        (Axis.COMPOSITION, "ratio_Neoplastic", 0.30, "Moderate Tumour Purity", ""),
        (Axis.COMPOSITION, "ratio_Neoplastic", 0.29, "Low Tumour Purity", "Stroma-dominant"),
        (Axis.IMMUNE, "ratio_Inflammatory", 0.31, "Immune Hot", "Heavy infiltrate"),
        (Axis.IMMUNE, "ratio_Inflammatory", 0.30, "Moderate", "Patchy infiltrate"),
        (Axis.IMMUNE, "ratio_Inflammatory", 0.10, "Moderate", "Patchy infiltrate"),
        (Axis.IMMUNE, "ratio_Inflammatory", 0.09, "Immune Cold", "Immune desert; Pauci-immune"),
        (Axis.STROMA, "ratio_Connective", 0.51, "Desmoplastic", "Fibrotic barrier"),
        (Axis.STROMA, "ratio_Connective", 0.50, "Moderate stroma", ""),
        (Axis.STROMA, "ratio_Connective", 0.05, "Moderate stroma", ""),
        (
            Axis.STROMA,
            "ratio_Connective",
            0.04,
            "Stroma-Free",
            "Non-desmoplastic; Lack of fibrosis",
        ),
        (Axis.SPATIAL, DISTANCE, 19.9, "Direct Contact", "Juxtaposed cells"),
        (Axis.SPATIAL, DISTANCE, 20.0, "Proximal", "Peritumoral"),
        (Axis.SPATIAL, DISTANCE, 60.0, "Proximal", "Peritumoral"),
        (Axis.SPATIAL, DISTANCE, 60.1, "Excluded", "Immune exclusion; Restricted to stroma"),
        (Axis.SPATIAL, DISTANCE, None, "Not assessable", ""),
        (Axis.ARCHITECTURE, "mean_spatial_entropy", 0.71, "Highly Mixed", "Diffuse integration"),
        (Axis.ARCHITECTURE, "mean_spatial_entropy", 0.70, "Intermediate", ""),
        (Axis.ARCHITECTURE, "mean_spatial_entropy", 0.40, "Intermediate", ""),
        (
            Axis.ARCHITECTURE,
            "mean_spatial_entropy",
            0.39,
            "Segregated",
            "Homogeneous; Compartmentalized",
        ),
        (
            Axis.MORPHOLOGY,
            "mean_area_Neoplastic",
            300.1,
            "Large/Pleomorphic",
            "Nuclear enlargement; Anisocytosis",
        ),
        (Axis.MORPHOLOGY, "mean_area_Neoplastic", 300.0, "Intermediate", ""),
        (Axis.MORPHOLOGY, "mean_area_Neoplastic", 150.0, "Intermediate", ""),
        (
            Axis.MORPHOLOGY,
            "mean_area_Neoplastic",
            149.9,
            "Small/Monotonous",
            "Small cell morphology",
        ),
        (Axis.MORPHOLOGY, "mean_area_Neoplastic", None, "Not assessable", ""),
    ],
)
def test_thresholds_are_strict(axis, key, value, label, tokens):
    usual = set(interpret(changed(), 0.25).tokens)
    found = interpret(changed(**{key: value}), 0.25)
    assert found.labels[axis] == label
    expected = set(filter(None, tokens.split("; ")))
    assert expected <= set(found.tokens)
    assert set(found.tokens) - expected <= usual


def test_a_low_purity_is_immune_or_stroma_dominant():
    few = changed(ratio_Neoplastic=0.1, ratio_Inflammatory=0.29, ratio_Connective=0.28)
    assert {"Immune-dominant", "Lymphocyte-rich"} <= set(interpret(few, 0.25).tokens)
    few["ratio_Connective"] = 0.29
    assert "Stroma-dominant" in interpret(few, 0.25).tokens


def test_bystanders_are_inflammatory_nuclei_of_which_few_are_engaged():
    assert "Bystander immune cells" in interpret(changed(fraction_engaged_immune=0.09), 0.25).tokens
    assert (
        "Bystander immune cells"
        not in interpret(changed(fraction_engaged_immune=0.10), 0.25).tokens
    )
    without = features(cells_at([(1, 1), (50, 50), (90, 9)], [2, 2, 3]))
    assert "Bystander immune cells" not in interpret(without, 0.25).tokens


def test_thresholds_hold_at_a_quarter_micrometre_unless_native():
    coarse = changed(mean_area_Neoplastic=100.0, mean_dist_Inflammatory_to_Neoplastic=35.0)
    found = interpret(coarse, 0.5)  # 400 px² and 70 px of 0.25 µm
    assert found.labels[Axis.MORPHOLOGY] == "Large/Pleomorphic"
    assert found.labels[Axis.SPATIAL] == "Excluded"
    native = interpret(coarse, 0.5, NATIVE)
    assert native.labels[Axis.MORPHOLOGY] == "Small/Monotonous"
    assert native.labels[Axis.SPATIAL] == "Proximal"


def test_tokens_come_once_in_the_order_of_the_axes():
    tokens = interpret(worked_example(), 0.25, NATIVE).tokens
    assert len(set(tokens)) == len(tokens)
    order = ["Immune-dominant", "Heavy infiltrate", "Lack of fibrosis", "Immune exclusion"]
    order += ["Homogeneous", "Anisocytosis"]
    assert sorted(order, key=tokens.index) == order


def test_nothing_is_said_of_nothing():
    phenotypes = interpret(features(cells_at([], [])), 0.25)
    assert set(phenotypes.labels.values()) == {"Not assessable"}
    assert phenotypes.tokens == ()
    alone = interpret(features(cells_at([(5, 5)], [1])), 0.25)
    assert alone.labels[Axis.ARCHITECTURE] == "Not assessable"


@pytest.mark.parametrize("seed", range(6))
def test_where_the_tumour_was_not_told_apart_no_word_speaks_of_it(seed):
    ids = [(1, 5, 5, 5), (1, 2, 3, 5), (2, 2, 1), (3, 3, 3, 5), (1, 2), (4, 2, 5)][seed]
    cells = random_cells(90, seed, classes=ids)
    phenotypes = interpret(features(cells, MERGED), cells.mpp, MERGED)
    said = " ".join([*phenotypes.labels.values(), *phenotypes.tokens]).lower()
    assert "tumo" not in said
    assert "neoplas" not in said
    assert "Epithelial" in phenotypes.labels[Axis.COMPOSITION]
