"""Sets of cells for the tests of the microenvironment."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.tme import TmeSettings, features
from napari_nucleus.core.tme_area import MeasuredArea

MPP = 0.25
SIZE = 400
AREA = MeasuredArea.of("all", (SIZE, SIZE))


def random_cells(n: int, seed: int = 0, mpp: float = MPP, classes=(0, 1, 2, 3, 4, 5, 255)) -> Cells:
    """Cells at random places of an area of `SIZE` pixels, of random classes."""
    rng = np.random.default_rng(seed)
    return Cells(
        rng.random((n, 2)) * SIZE, rng.uniform(50, 500, n), rng.choice(classes, n).astype(int), mpp
    )


def cells_at(points, classes, mpp: float = MPP, areas=None) -> Cells:
    """Cells at places, of 100 pixels each by default."""
    points = np.asarray(points, float).reshape(-1, 2)
    return Cells(
        points, np.full(len(points), 100.0) if areas is None else areas, np.array(classes, int), mpp
    )


@st.composite
def some_cells(draw, most: int = 14, classes=(0, 1, 2, 3, 4, 5, 255)):
    """Few cells on a coarse grid, so that many distances are equal."""
    n = draw(st.integers(0, most))
    step = st.integers(0, 5)
    places = draw(st.lists(st.tuples(step, step), min_size=n, max_size=n))
    points = np.array(places, float).reshape(-1, 2) * 30 + 5
    kinds = draw(st.lists(st.sampled_from(classes), min_size=n, max_size=n))
    areas = draw(st.lists(st.integers(10, 900), min_size=n, max_size=n))
    mpp = draw(st.sampled_from([0.1, 0.25, 0.5]))
    return Cells(points, np.array(areas, float), np.array(kinds, int), mpp)


COUNTS = {1: 1290, 2: 3133, 3: 71, 4: 7}


def worked_example() -> dict:
    """The features of the paper's example: counts and areas as printed, the rest set as printed."""
    classes = np.repeat(list(COUNTS), list(COUNTS.values()))
    areas = np.where(classes == 1, 3216.37, 400.0)
    points = np.random.default_rng(0).random((len(classes), 2)) * 4000
    found = features(Cells(points, areas, classes, 0.25), TmeSettings(thresholds_px="native"))
    return found | {
        "mean_dist_Inflammatory_to_Neoplastic": 136.14,
        "mean_dist_Inflammatory_to_Neoplastic_um": 136.14 * 0.25,
        "count_engaged_immune": 257,
        "fraction_engaged_immune": 257 / 3133,
        "mean_spatial_entropy": 0.2678,
    }


def changed(**values) -> dict:
    """Features of a field in the middle of every axis, some of them changed."""
    middle = features(random_cells(60)) | {
        "total_cells": 60,
        "ratio_Neoplastic": 0.4,
        "ratio_Inflammatory": 0.2,
        "ratio_Connective": 0.2,
        "mean_area_Neoplastic": 200.0,
        "mean_dist_Inflammatory_to_Neoplastic": 40.0,
        "fraction_engaged_immune": 0.5,
        "mean_spatial_entropy": 0.5,
    }
    return middle | values
