from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import disk

from napari_nucleus.core.geometry import box_area
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.tiling import (
    SeamResolver,
    TileSpec,
    centroid_pixels,
    order_from,
    owned,
    tile_grid,
)

shapes = st.tuples(st.integers(0, 70), st.integers(0, 70))
regions = st.none() | st.tuples(*[st.integers(-10, 80)] * 4)


@given(shapes, st.integers(1, 40), st.integers(0, 20), regions)
def test_every_pixel_lies_in_exactly_one_core(shape, core, halo, region):
    count = np.zeros(shape, int)
    for spec in tile_grid(shape, core, halo, region):
        (y0, x0, y1, x1), (a, b, c, d) = spec.core, spec.outer
        count[y0:y1, x0:x1] += 1
        assert box_area(spec.core) > 0
        assert (a, b) == (max(y0 - halo, 0), max(x0 - halo, 0))
        assert (c, d) == (min(y1 + halo, shape[0]), min(x1 + halo, shape[1]))
    expected = np.zeros(shape, int)
    if region is None:
        expected[:] = 1
    else:
        y0, x0, y1, x1 = (max(v, 0) for v in region)
        expected[y0:y1, x0:x1] = 1
    np.testing.assert_array_equal(count, expected)


@pytest.mark.parametrize(("core", "halo"), [(0, 4), (16, -1)])
def test_a_tile_without_a_core_is_refused(core, halo):
    with pytest.raises(ValueError, match=f"{core} and {halo}"):
        tile_grid((10, 10), core, halo)


def test_tiles_come_from_the_view_centre_outwards():
    specs = tile_grid((50, 50), 10, 2)
    ordered = order_from(specs, (25, 5))
    assert ordered[0].core == (20, 0, 30, 10)
    assert {s.core for s in ordered[1:4]} == {(10, 0, 20, 10), (30, 0, 40, 10), (20, 10, 30, 20)}
    assert ordered[-1].core in {(0, 40, 10, 50), (40, 40, 50, 50)}
    assert set(ordered) == set(specs)


def test_the_centroid_pixel_is_exact_and_moves_with_the_nucleus():
    nuclei = Nuclei.from_masks([np.array([[1, 1]], bool), np.ones((3, 3), bool)], [(4, 7), (0, 0)])
    # The centre of two pixels lies on their common side and goes to the second.
    assert centroid_pixels(nuclei).tolist() == [[4, 8], [1, 1]]
    assert centroid_pixels(nuclei.shifted(-9, 100)).tolist() == [[-5, 108], [-8, 101]]


@given(st.integers(0, 39), st.integers(0, 39))
def test_each_nucleus_is_owned_by_one_tile(y, x):
    nucleus = Nuclei.from_masks([np.ones((2, 1), bool)], [(y, x)])
    assert sum(owned(nucleus, s)[0] for s in tile_grid((45, 45), 13, 4)) == 1


def discs(shape: tuple[int, int], seed: int, radius: int) -> np.ndarray:
    """A picture of discs that do not touch, 4-connected blobs of at most ``radius``."""
    rng = np.random.default_rng(seed)
    picture = np.zeros(shape, bool)
    for _ in range(20):
        centre, r = rng.uniform((0, 0), shape), rng.uniform(1, radius)
        blob = np.zeros(shape, bool)
        blob[disk(centre, r, shape=shape)] = True
        if not (ndimage.binary_dilation(blob, np.ones((3, 3))) & picture).any():
            picture |= blob
    return picture


def segment(picture: np.ndarray) -> Nuclei:
    """A segmenter that sees no farther than a nucleus reaches."""
    return Nuclei.from_labels(ndimage.label(picture)[0])[0]  # type: ignore[index]


def segment_tiled(picture: np.ndarray, specs: list[TileSpec]) -> Nuclei:
    resolver = SeamResolver(specs)
    found = []
    for spec in specs:
        y0, x0, y1, x1 = spec.outer
        found.append(resolver.add(spec, segment(picture[y0:y1, x0:x1]).shifted(y0, x0)))
    return Nuclei.concatenate(found)


def as_set(nuclei: Nuclei) -> set:
    return {
        (tuple(b), m.tobytes()) for b, m in zip(nuclei.boxes.tolist(), nuclei.masks, strict=True)
    }


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(12, 45), st.integers(0, 60), st.integers(0, 60))
def test_tiled_equals_untiled(seed, core, y, x):
    picture = discs((60, 60), seed, radius=4)
    untiled = segment(picture)
    tiled = segment_tiled(picture, order_from(tile_grid(picture.shape, core, 9), (y, x)))
    assert len(tiled) == len(untiled)
    assert as_set(tiled) == as_set(untiled)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(12, 30))
def test_a_region_gives_the_nuclei_whose_centroid_it_holds(seed, core):
    picture = discs((60, 60), seed, radius=4)
    region = (13, 21, 47, 52)
    untiled = segment(picture)
    expected = untiled.select(owned(untiled, TileSpec(region, region)))
    assert as_set(segment_tiled(picture, tile_grid((60, 60), core, 9, region))) == as_set(expected)


def nucleus_at(y: int, x: int, score: float = 1.0) -> Nuclei:
    """A disc of 81 pixels around pixel ``(y, x)``."""
    mask = np.hypot(*np.mgrid[-5:6, -5:6]) <= 5
    return Nuclei.from_masks([mask], [(y - 5, x - 5)], [score])


LEFT, RIGHT = tile_grid((40, 80), 40, 10)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_nucleus_that_two_tiles_claim_comes_once(order):
    seen = [(LEFT, nucleus_at(20, 39)), (RIGHT, nucleus_at(20, 40))]
    resolver = SeamResolver([LEFT, RIGHT])
    found = [len(resolver.add(*seen[i])) for i in order]
    assert found == [1, 0]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_nucleus_that_each_tile_leaves_to_the_other_comes_once(order):
    # The left tile sees it with its centroid in the right core and the other way round.
    seen = [(LEFT, nucleus_at(20, 40, 0.1)), (RIGHT, nucleus_at(20, 38, 0.2))]
    resolver = SeamResolver([LEFT, RIGHT])
    found = [resolver.add(*seen[i]) for i in order]
    assert [len(n) for n in found] == [0, 1]
    # It ends 6 pixels before the left tile does and begins 3 after the right one begins.
    assert found[1].score[0] == pytest.approx(0.1)


def test_a_nucleus_that_its_tile_does_not_see_is_dropped():
    resolver = SeamResolver([LEFT, RIGHT])
    assert len(resolver.add(LEFT, nucleus_at(20, 42))) == 0
    assert len(resolver.add(RIGHT, Nuclei.empty())) == 0


def test_an_orphan_at_a_corner_of_four_tiles_comes_once():
    specs = tile_grid((40, 40), 20, 10)
    # Each tile leaves it to the next one, in a circle.
    seen = [(19, 20), (20, 20), (19, 19), (20, 19)]
    resolver = SeamResolver(specs)
    found = [resolver.add(s, nucleus_at(*p)) for s, p in zip(specs, seen, strict=True)]
    assert sum(len(n) for n in found) == 1


def test_neighbours_across_a_seam_both_come():
    resolver = SeamResolver([LEFT, RIGHT])
    both = Nuclei.concatenate([nucleus_at(20, 34), nucleus_at(20, 45)])
    assert len(resolver.add(LEFT, both)) + len(resolver.add(RIGHT, both)) == 2


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(15, 40))
def test_tiles_that_agree_only_nearly_give_each_nucleus_once(seed, core):
    rng = np.random.default_rng(seed)
    centres = [
        (y + rng.integers(-3, 4), x + rng.integers(-3, 4))
        for y in range(12, 70, 20)
        for x in range(12, 70, 20)
    ]
    specs = tile_grid((80, 80), core, 14)
    resolver = SeamResolver(specs)
    found = []
    for i in rng.permutation(len(specs)):
        y0, x0, y1, x1 = specs[i].outer
        seen = [
            nucleus_at(y + rng.integers(0, 2), x + rng.integers(0, 2))
            for y, x in centres
            if y0 <= y - 5 and x0 <= x - 5 and y + 7 <= y1 and x + 7 <= x1
        ]
        found.append(resolver.add(specs[i], Nuclei.concatenate(seen)))
    boxes = np.concatenate([n.boxes for n in found])
    nearest = [np.abs(boxes[:, :2] + 5 - c).max(axis=1) <= 1 for c in centres]
    assert [n.sum() for n in nearest] == [1] * len(centres)


def test_memory_is_held_only_along_seams_to_come():
    specs = tile_grid((40, 4000), 40, 10)
    resolver = SeamResolver(specs)
    for spec in specs:
        centre = spec.core[1] + 20
        seen = Nuclei.concatenate([nucleus_at(20, centre), nucleus_at(20, centre + 18)])
        resolver.add(spec, seen)
        assert len(resolver._emitted.nuclei) + len(resolver._waiting.nuclei) <= 2


def test_class_probabilities_pass_through():
    resolver = SeamResolver([LEFT, RIGHT])
    nucleus = Nuclei.from_masks([np.ones((3, 3), bool)], [(10, 38)], [0.5], [[0.2, 0.8]])
    first = resolver.add(LEFT, nucleus)
    assert first.class_prob[0].tolist() == pytest.approx([0.2, 0.8])
    assert resolver.add(RIGHT, nucleus).class_prob.shape == (0, 2)


@pytest.mark.parametrize("spec", [TileSpec((0, 0, 5, 5), (0, 0, 9, 9)), LEFT])
def test_a_tile_that_is_not_to_come_is_refused(spec):
    resolver = SeamResolver([LEFT, RIGHT])
    resolver.add(LEFT, Nuclei.empty())
    with pytest.raises(ValueError, match="not one of the tiles"):
        resolver.add(spec, Nuclei.empty())
