"""Points: what they refuse, how they are cut and joined, and which of near ones stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.points import Points, suppress_points


def points(yx: list[tuple[float, float]], score: list[float] | None = None) -> Points:
    return Points(
        np.array(yx).reshape(-1, 2), np.array(score or [1.0] * len(yx)), np.zeros((len(yx), 0))
    )


def test_points_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="scores"):
        Points(np.zeros((2, 2)), np.zeros(1), np.zeros((2, 0)))
    with pytest.raises(ValueError, match="finite"):
        points([(np.nan, 1.0)])


def test_cutting_and_joining() -> None:
    p = points([(0, 0), (5, 9.5), (5, 10)])
    assert len(p.within((0, 0, 10, 10))) == 2
    joined = Points.joined([p, p.shifted(1, 2).scaled((2, 1))])
    assert len(joined) == 6
    assert joined.yx[-1].tolist() == [12, 12]
    assert len(Points.joined([])) == 0


def test_the_better_of_two_near_points_stays_and_does_not_chain() -> None:
    # The middle one is beaten by the first, so it does not take the last away.
    p = points([(0, 0), (0, 5), (0, 10)], [0.9, 0.8, 0.7])
    assert suppress_points(p, 6).yx[:, 1].tolist() == [0, 10]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.floats(0, 1)), max_size=30),
    st.floats(0.5, 15),
)
def test_kept_points_are_apart_and_the_others_near_a_better_one(
    rows: list[tuple[int, int, float]], radius: float
) -> None:
    p = points([r[:2] for r in rows], [r[2] for r in rows])
    kept = suppress_points(p, radius)
    gaps = np.linalg.norm(kept.yx[:, None] - kept.yx[None], axis=-1)
    assert (gaps[~np.eye(len(kept), dtype=bool)] > radius).all()
    for yx, score in zip(p.yx, p.score, strict=True):
        near = np.linalg.norm(kept.yx - yx, axis=1) <= radius
        assert (kept.score[near] >= score).any()
