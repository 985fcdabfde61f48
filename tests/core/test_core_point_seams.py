"""Points of tiles come once each, whatever the order of the tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.point_seams import PointSeams
from napari_nucleus.core.points import Points
from napari_nucleus.core.tiling import TileSpec, tile_grid

RADIUS = 6.0


def points_at(*yx, score=0.5) -> Points:
    n = len(yx)
    return Points(np.array(yx).reshape(-1, 2), np.full(n, score), np.zeros((n, 0)))


LEFT, RIGHT = TileSpec((0, 0, 64, 64), (0, 0, 64, 80)), TileSpec((0, 64, 64, 128), (0, 48, 64, 128))


@given(st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_every_nucleus_comes_once_though_tiles_place_it_differently(random, seed):
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(*[np.arange(8, 200, 16.0)] * 2, indexing="ij"), -1)
    true = lattice.reshape(-1, 2) + rng.uniform(-3, 3, (144, 2))
    specs = tile_grid((200, 200), 64, 16)
    random.shuffle(specs)
    seams = PointSeams(specs, RADIUS)
    found = []
    for spec in specs:
        seen = points_at(*np.clip(true + rng.uniform(-1.4, 1.4, true.shape), 0, 199.9))
        found.append(seams.add(spec, seen.within(spec.outer)))
    given_out = Points.joined(found).yx
    distance = np.linalg.norm(given_out[:, None] - true[None], axis=-1)
    assert len(given_out) == len(true)
    assert sorted(distance.argmin(1)) == list(range(len(true)))


def test_what_two_tiles_claim_comes_from_the_first():
    seams = PointSeams([LEFT, RIGHT], RADIUS)
    first = seams.add(RIGHT, points_at((10, 65)))
    assert first.yx.tolist() == [[10, 65]]
    assert len(seams.add(LEFT, points_at((10, 63), score=0.9))) == 0


def test_what_two_tiles_leave_to_each_other_comes_from_the_surer():
    seams = PointSeams([LEFT, RIGHT], RADIUS)
    assert len(seams.add(LEFT, points_at((10, 65), score=0.9))) == 0
    assert seams.add(RIGHT, points_at((11, 63))).yx.tolist() == [[10, 65]]


def test_what_one_tile_alone_sees_in_anothers_core_is_none():
    seams = PointSeams([LEFT, RIGHT], RADIUS)
    seams.add(LEFT, points_at((10, 65), (40, 70)))
    assert len(seams.add(RIGHT, points_at())) == 0


def test_points_apart_from_seams_come_as_they_are():
    seams = PointSeams([LEFT, RIGHT], RADIUS)
    close = points_at((10, 10), (10, 12))
    assert seams.add(LEFT, close).yx.tolist() == close.yx.tolist()


def test_tiles_come_once():
    seams = PointSeams([LEFT], RADIUS)
    seams.add(LEFT, Points.empty())
    for spec in (LEFT, RIGHT):
        with pytest.raises(ValueError, match="not one of the tiles"):
            seams.add(spec, Points.empty())
