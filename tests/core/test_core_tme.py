"""The features of the microenvironment: the paper's definitions, on sets small enough to count."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from tme_helpers import cells_at, random_cells, some_cells

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.neighbourhood import neighbours, neighbours_of
from napari_nucleus.core.tme import CLASS_NAMES, TmeSettings, features

PAPER = [
    "total_cells",
    *[f"{kind}_{n}" for n in CLASS_NAMES.values() for kind in ("count", "ratio", "mean_area")],
    "tumor_stroma_fraction",
    "immune_infiltration_fraction",
    "min_dist_Inflammatory_to_Neoplastic",
    "mean_dist_Inflammatory_to_Neoplastic",
    "count_engaged_immune",
    "fraction_engaged_immune",
    "mean_spatial_entropy",
]
MERGED = TmeSettings(not_told_apart=(1, 5))


def by_hand(cells: Cells) -> dict[str, float | None]:
    """The definitions again, with a loop over the cells."""
    kept = [i for i in range(len(cells)) if 1 <= cells.class_ids[i] <= 5]
    kinds = [int(cells.class_ids[i]) for i in kept]
    points = [cells.centroids_yx[i] for i in kept]
    counts, n = Counter(kinds), len(kept)

    def ratio(a, b):
        return a / b if b else None

    out: dict[str, float | None] = {"total_cells": n}
    for c, name in CLASS_NAMES.items():
        out[f"count_{name}"] = counts[c]
        out[f"ratio_{name}"] = ratio(counts[c], n)
        areas = [cells.areas[i] for i, kind in zip(kept, kinds, strict=True) if kind == c]
        out[f"mean_area_{name}"] = ratio(sum(areas), len(areas))
    out["tumor_stroma_fraction"] = ratio(counts[1], counts[1] + counts[3])
    out["immune_infiltration_fraction"] = ratio(counts[2], counts[1] + counts[2])
    tumour = [p for p, kind in zip(points, kinds, strict=True) if kind == 1]
    immune = [p for p, kind in zip(points, kinds, strict=True) if kind == 2]
    nearest = [min(np.hypot(*(p - q)) for q in tumour) for p in immune] if tumour else []
    engaged = sum(d * cells.mpp / 0.25 < 50 for d in nearest)
    out["min_dist_Inflammatory_to_Neoplastic"] = min(nearest, default=None)
    out["mean_dist_Inflammatory_to_Neoplastic"] = ratio(sum(nearest), len(nearest))
    out["count_engaged_immune"] = engaged
    out["fraction_engaged_immune"] = ratio(engaged, len(nearest))
    entropies = []
    for i, p in enumerate(points):
        others = sorted((np.hypot(*(p - points[j])), kept[j], j) for j in range(n) if j != i)[:5]
        shares = Counter(kinds[j] for *_, j in others)
        whole = len(others)
        entropies.append(-sum(c / whole * np.log2(c / whole) for c in shares.values()))
    out["mean_spatial_entropy"] = ratio(sum(entropies), n) or 0.0
    return out


@given(some_cells())
@settings(deadline=None)
def test_features_are_the_papers_definitions(cells):
    found = features(cells)
    assert list(found)[:23] == PAPER
    expected = by_hand(cells)
    for key in PAPER:
        if expected[key] is None:
            assert found[key] is None, key
        else:
            assert found[key] == pytest.approx(expected[key], abs=1e-12), key


def test_every_length_and_area_is_given_in_micrometres_too():
    found = features(random_cells(80, mpp=0.5))
    extra = list(found)[23:]
    assert len(extra) == 7
    for key in PAPER:
        if key.startswith("mean_area"):
            assert found[f"{key}_um2"] == pytest.approx(found[key] * 0.25)
        if "_dist_" in key:
            assert found[f"{key}_um"] == pytest.approx(found[key] * 0.5)


@given(some_cells())
def test_json_takes_whatever_comes_out(cells):
    for chosen in (TmeSettings(), MERGED, TmeSettings(thresholds_px="native")):
        text = json.dumps(features(cells, chosen), allow_nan=False)
        assert "NaN" not in text


@pytest.mark.parametrize(
    ("points", "classes", "nothing", "zero"),
    [
        ([], [], ["ratio_Dead", "tumor_stroma_fraction"], ["total_cells", "mean_spatial_entropy"]),
        ([(1, 1)], [2], ["fraction_engaged_immune"], ["mean_spatial_entropy"]),
        (
            [(1, 1), (9, 9)],
            [1, 3],
            ["mean_dist_Inflammatory_to_Neoplastic"],
            ["ratio_Inflammatory"],
        ),
        ([(1, 1), (9, 9)], [2, 2], ["tumor_stroma_fraction"], ["count_engaged_immune"]),
        ([(1, 1), (9, 9)], [0, 255], ["ratio_Neoplastic"], ["total_cells"]),
    ],
)
def test_what_cannot_be_divided_is_none_and_what_is_not_there_is_zero(
    points, classes, nothing, zero
):
    found = features(cells_at(points, classes))
    assert [found[key] for key in nothing] == [None] * len(nothing)
    assert [found[key] for key in zero] == [0] * len(zero)


def test_engagement_is_measured_at_a_quarter_micrometre_or_in_the_pixels_at_hand():
    cells = cells_at([(0, 0), (0, 40)], [1, 2], mpp=0.5)  # 20 µm apart: 80 px of 0.25 µm
    assert features(cells)["count_engaged_immune"] == 0
    assert features(cells, TmeSettings(thresholds_px="native"))["count_engaged_immune"] == 1
    at_the_limit = cells_at([(0, 0), (0, 50)], [1, 2])
    assert features(at_the_limit)["count_engaged_immune"] == 0


def test_what_was_not_told_apart_counts_as_one():
    cells = random_cells(120)
    ids = cells.class_ids
    one = Cells(cells.centroids_yx, cells.areas, np.where(ids == 1, 5, ids), cells.mpp)
    as_tumour = Cells(cells.centroids_yx, cells.areas, np.where(ids == 5, 1, ids), cells.mpp)
    found, expected = features(cells, MERGED), features(as_tumour)
    assert found == features(one, MERGED)
    for kind in ("count", "ratio", "mean_area"):
        assert found[f"{kind}_Neoplastic"] is None
        assert found[f"{kind}_Epithelial"] == pytest.approx(expected[f"{kind}_Neoplastic"])
    for key in PAPER:
        if not key.endswith(("Neoplastic", "Epithelial")) or "_dist_" in key:
            assert found[key] == pytest.approx(expected[key]), key


def test_only_neoplastic_and_epithelial_can_be_one():
    for wrong in ((1,), (2, 3), (1, 3, 5)):
        with pytest.raises(ValueError, match="told apart"):
            TmeSettings(not_told_apart=wrong)
    with pytest.raises(ValueError, match="thresholds_px"):
        TmeSettings(thresholds_px="µm")  # type: ignore[arg-type]


@given(some_cells(most=20))
@settings(deadline=None)
def test_neighbours_by_a_tree_are_those_of_a_plain_search(cells):
    points, ids = cells.centroids_yx, np.random.default_rng(0).permutation(len(cells))
    for k in (1, 3, 5):
        found = neighbours(points, ids, k)
        assert found.shape == (len(cells), min(k, max(len(cells) - 1, 0)))
        for i, row in enumerate(found):
            order = sorted(
                (((points[i] - points[j]) ** 2).sum(), ids[j], j)
                for j in range(len(cells))
                if j != i
            )
            assert row.tolist() == [j for *_, j in order[:k]]
        if len(cells) > k:
            every = np.arange(len(cells))
            np.testing.assert_array_equal(neighbours_of(every, points, ids, k), found)
