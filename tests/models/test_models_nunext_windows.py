"""Windows see a tile whole, and each of its points once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.points import Points
from napari_nucleus.models.nunext.windows import Piece, cut_windows, detect_in_windows

LENGTHS = st.integers(1, 900)


def looked_up(points: dict[int, np.ndarray], seen: list[int]):
    """Return a detector that knows the points of tiles, and notes how many windows it is given."""

    def detect(pieces: list[Piece]) -> list[Points]:
        seen.append(len(pieces))
        found = []
        for piece in pieces:
            yx = points[piece.tile]
            whole = Points(yx, np.linspace(0.5, 1, len(yx)), np.zeros((len(yx), 0)))
            y, x = piece.window.box[:2]
            found.append(whole.within(piece.window.box).shifted(-y, -x))
        return found

    return detect


@given(LENGTHS, LENGTHS)
def test_cores_cover_a_tile_once_and_windows_see_beyond_them(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for window in cut_windows((height, width), 256, 32):
        y0, x0, y1, x1 = window.core
        covered[y0:y1, x0:x1] += 1
        for axis, length in enumerate((height, width)):
            begin, end = window.box[axis], window.box[axis + 2]
            assert end - begin == min(length, 256)
            assert begin == 0 or window.core[axis] - begin >= 32
            assert end == length or end - window.core[axis + 2] >= 32
    assert (covered == 1).all()


def test_a_tile_of_three_windows_a_side_needs_no_more() -> None:
    assert len(cut_windows((640, 640), 256, 32)) == 9
    assert len(cut_windows((256, 257), 256, 32)) == 2


@given(st.lists(st.tuples(LENGTHS, LENGTHS), min_size=1, max_size=3), st.integers(0, 99))
def test_what_is_found_in_windows_is_what_is_there(
    shapes: list[tuple[int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = {i: rng.random((40, 2)) * s for i, s in enumerate(shapes)}
    found = detect_in_windows(shapes, looked_up(points, []), radius=0)
    for i, there in points.items():
        order = np.lexsort(there.T)
        np.testing.assert_allclose(found[i].yx[np.lexsort(found[i].yx.T)], there[order])


def test_windows_of_several_tiles_share_a_batch() -> None:
    seen: list[int] = []
    points = {i: np.zeros((0, 2)) for i in range(3)}
    detect_in_windows([(256, 256)] * 3, looked_up(points, seen), batch=2)
    assert seen == [2, 1]


def test_of_two_points_that_are_near_the_better_stays() -> None:
    near = {0: np.array([[100.0, 100.0], [100.0, 105.0], [200.0, 200.0]])}
    (found,) = detect_in_windows([(300, 300)], looked_up(near, []), radius=6)
    assert found.yx.tolist() == [[100.0, 105.0], [200.0, 200.0]]


def test_a_window_that_is_all_halo_is_refused() -> None:
    with pytest.raises(ValueError, match="all halo"):
        cut_windows((64, 64), 64, 32)
