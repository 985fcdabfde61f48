"""Adopted SAMs: tiles of any size and scale in, masks in tile pixels out, clicks obeyed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sam_helpers import SMALL, make_network, make_segmenter, make_tile
from torch.nn import functional as F

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import AutomaticSegmenter, Calibration, PromptableSegmenter
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.predictor import SamSegmenter, to_input
from napari_nucleus.models.sam.squares import squares_of
from napari_nucleus.models.working import normalise

AT_ITS_SCALE = Calibration(1.0, 0.25)
POINT = Prompts([[30.5, 40.5]], [True])


@pytest.fixture(scope="module", params=["tiny-sam", "tiny-sam2"])
def segmenter(request, tmp_path_factory) -> SamSegmenter:
    return make_segmenter(make_network(request.param, tmp_path_factory.mktemp("sam")))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> SamSegmenter:
    return make_segmenter(make_network("tiny-sam", tmp_path_factory.mktemp("sam")))


def on_tile(answer, shape) -> np.ndarray:
    out = np.zeros(shape, bool)
    y0, x0, y1, x1 = answer.box
    out[y0:y1, x0:x1] = answer.mask
    return out


# ---- squares


@pytest.mark.parametrize(
    ("shape", "scale", "expected"),
    [
        ((320, 320), 1.0, [[0, 0, 320, 320]]),
        ((100, 30), 1.0, [[0, 0, 256, 256]]),
        ((300, 100), 1.0, [[0, 0, 300, 300]]),
        ((160, 160), 2.0, [[0, 0, 160, 160]]),
        ((640, 640), 0.5, [[0, 0, 640, 640]]),
        ((1, 1), 1.0, [[0, 0, 256, 256]]),
        ((1, 1), 1000.0, [[0, 0, 1, 1]]),
        ((400, 100), 1.0, [[0, 0, 256, 256], [144, 0, 400, 256], [0, 0, 400, 400]]),
        (
            (330, 330),
            1.0,
            [*([y, x, y + 256, x + 256] for y in (0, 74) for x in (0, 74)), [0, 0, 330, 330]],
        ),
    ],
)
def test_a_tile_is_one_square_or_several_that_overlap_and_all_of_it(shape, scale, expected):
    assert squares_of(shape, scale, SamInference()).tolist() == expected


@pytest.mark.parametrize("shape", [(321, 700), (1000, 50), (777, 333)])
def test_squares_cover_the_tile(shape):
    seen = np.zeros(shape, bool)
    for y0, x0, y1, x1 in squares_of(shape, 0.9, SamInference())[:-1]:
        assert 0 <= y0 < shape[0]
        assert 0 <= x0 < shape[1]
        assert y1 - y0 == x1 - x0
        seen[y0:y1, x0:x1] = True
    assert seen.all()


def test_a_square_is_stretched_and_what_is_beyond_it_is_zero():
    rgb = torch.rand(1, 3, 20, 30)
    seen = to_input(rgb, 40, 80, SamInference())
    assert seen.shape == (1, 3, 80, 80)
    assert (seen[..., 41:, :] == 0).all()
    assert (seen[..., 61:] == 0).all()
    expected = F.interpolate(normalise(rgb), scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(seen[..., :38, :58], expected[..., :38, :58])


def test_medsam_sees_values_from_zero_to_one_and_no_statistics():
    rgb = torch.rand(1, 3, 40, 40) * 0.4 + 0.3
    seen = to_input(rgb, 40, 40, SamInference(values="range"))
    assert float(seen.min()) == 0
    assert float(seen.max()) == 1
    torch.testing.assert_close(seen, (rgb - rgb.min()) / (rgb.max() - rgb.min()))
    even = to_input(torch.full((1, 3, 8, 8), 0.5), 8, 16, SamInference(values="range"))
    assert (even == 0).all()


# ---- answers


def test_it_answers_prompts_and_finds_nothing_by_itself(segmenter):
    assert isinstance(segmenter, PromptableSegmenter)
    assert not isinstance(segmenter, AutomaticSegmenter)
    assert segmenter.device == "cpu"


def test_embeddings_are_plain_arrays_of_half_precision(segmenter):
    embedding = segmenter.embed(make_tile(), AT_ITS_SCALE)
    maps = {k: v for k, v in embedding.arrays.items() if k != "squares"}
    assert {v.dtype for v in maps.values()} == {np.dtype(np.float16)}
    assert embedding.arrays["squares"].tolist() == [[0, 0, 80, 80]]
    assert (embedding.shape, embedding.model) == ((80, 64), "digest")


@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
@pytest.mark.parametrize(
    "prompts",
    [
        POINT,
        Prompts([[30.5, 40.5]], [False], box=(10.0, 20.0, 60.0, 60.0)),
        Prompts([[30.5, 40.5], [32.5, 12.5], [60.2, 50.9]], [True, False, True]),
        Prompts([[5.5, 5.5], [20.5, 5.5]], [True, False], box=(0.0, 0.0, 30.0, 30.0)),
    ],
    ids=["lone", "box", "several", "corner"],
)
def test_every_click_ends_on_its_side(segmenter, prompts, scale):
    tile = make_tile()
    answer = segmenter.refine(segmenter.embed(tile, Calibration(scale, 0.25 * scale)), prompts)
    mask = on_tile(answer, tile.shape)
    at = np.floor(prompts.points_yx).astype(int)
    assert mask[tuple(at.T)].tolist() == prompts.positive.tolist()
    assert 0 <= answer.iou <= 1
    assert answer.class_prob == ()


def test_a_scribble_is_inside_what_is_answered(segmenter):
    tile = make_tile()
    line = np.stack([np.linspace(20, 40, 30), np.full(30, 30.0)], 1)
    answer = segmenter.refine(segmenter.embed(tile, AT_ITS_SCALE), Prompts(scribble_yx=line))
    mask = on_tile(answer, tile.shape)
    assert mask[20, 30]
    assert mask[39, 30]


def test_a_mask_and_a_box_alone_are_answered(segmenter):
    embedding = segmenter.embed(make_tile(), AT_ITS_SCALE)
    mask = Prompts(mask=np.ones((20, 14), bool), mask_box=(24, 34, 44, 48))
    box = Prompts(box=(24.0, 34.0, 44.0, 48.0))
    for prompts in (mask, box):
        assert segmenter.refine(embedding, prompts).mask.ndim == 2


def test_what_is_fed_back_is_seen_by_the_network_as_it_was_answered(plain, monkeypatch):
    embedding = plain.embed(make_tile(), AT_ITS_SCALE)
    given = []
    network = plain.network

    def spy(*arguments):
        given.append(arguments[4])
        return type(network).forward(network, *arguments)

    monkeypatch.setattr(network, "forward", spy)
    first = plain.refine(embedding, POINT)
    again = POINT.with_point((12.5, 12.5), positive=False).with_logits(first.logits)
    plain.refine(embedding, again)
    assert given[0] is None
    grid, window = first.logits.grid.astype(np.float32), first.logits.window
    cell = 80 / 24
    y0, x0 = (round(v / cell) for v in window[:2])
    inner = given[1][0, y0 + 1 : y0 + len(grid) - 1, x0 + 1 : x0 + grid.shape[1] - 1]
    np.testing.assert_allclose(inner.numpy(), grid[1:-1, 1:-1], atol=1e-2)


def test_logits_cover_no_more_than_they_say_something_of(plain, monkeypatch):
    grid = torch.full((1, 1, 24, 24), -30.0)
    grid[..., 5:9, 10:15] = 12.0
    monkeypatch.setattr(plain.network, "forward", lambda *_: (grid, torch.ones(1, 1)))
    tile = make_tile(72, 72)
    embedding = plain.embed(tile, AT_ITS_SCALE)
    answer = plain.refine(embedding, Prompts(box=(15.0, 30.0, 27.0, 45.0)))
    cell = 72 / 24
    assert answer.logits.window == tuple(cell * v for v in (4, 9, 10, 16))
    assert answer.logits.grid.shape == (6, 7)
    assert (answer.logits.grid.min(), answer.logits.grid.max()) == (-10, 10)
    assert answer.box == (15, 30, 27, 45)
    assert answer.mask.mean() > 0.9


def test_an_answer_of_nothing_is_an_empty_mask(plain, monkeypatch):
    grid = torch.full((1, 1, 24, 24), -30.0)
    monkeypatch.setattr(plain.network, "forward", lambda *_: (grid, torch.zeros(1, 1)))
    answer = plain.refine(
        plain.embed(make_tile(), AT_ITS_SCALE), Prompts(box=(15.0, 30.0, 27.0, 45.0))
    )
    assert answer.area == 0


def test_a_lone_point_asks_for_several_and_gets_the_best_of_them(plain, monkeypatch):
    asked = []

    def answer(seen, points, labels, boxes, logits, several):
        asked.append(several)
        n = 3 if several else 1
        levels = torch.tensor([1.0, 3.0, 2.0])[:n]
        return levels.view(1, n, 1, 1).expand(1, n, 24, 24), torch.tensor([[0.2, 0.9, 0.4]])[:, :n]

    monkeypatch.setattr(plain.network, "forward", answer)
    embedding = plain.embed(make_tile(), AT_ITS_SCALE)
    lone = plain.refine(embedding, POINT)
    assert lone.iou == pytest.approx(0.9)
    assert float(lone.logits.grid.max()) == 3
    for more in (
        POINT.with_point((12.5, 12.5), positive=True),
        Prompts([[30.5, 40.5]], [True], box=(20.0, 30.0, 44.0, 50.0)),
        POINT.with_logits(MaskLogits(np.ones((8, 8), np.float16), (20.0, 30.0, 44.0, 50.0))),
    ):
        assert plain.refine(embedding, more).iou == pytest.approx(0.2)
    assert asked == [True, False, False, False]


def test_positions_reach_the_network_at_the_centres_of_pixels(plain, monkeypatch):
    given = []

    def answer(seen, points, labels, boxes, *_):
        given.append((points, labels, boxes))
        return torch.zeros(1, 1, 24, 24), torch.ones(1, 1)

    monkeypatch.setattr(plain.network, "forward", answer)
    # A tile of 32 at half the pixel size: a square of 48 pixels is stretched twofold to 96.
    embedding = plain.embed(make_tile(32, 20), Calibration(64 / 48, 0.25))
    plain.refine(embedding, Prompts([[10.2, 4.9]], [False], box=(8.0, 2.0, 20.0, 12.5)))
    points, labels, boxes = given[0]
    # The network adds half a pixel: 2 * 4.5, 2 * 10.5.
    assert (points + 0.5).tolist() == [[[9.0, 21.0]]]
    assert labels.tolist() == [[0]]
    assert (boxes + 0.5).tolist() == [[4.0, 16.0, 25.0, 40.0]]


MANY = [
    POINT,
    Prompts(box=(20.0, 30.0, 42.5, 51.0)),
    POINT.with_point((12.5, 12.5), positive=False),
    Prompts([[60.5, 20.5]], [True]),
    Prompts([[30.5, 40.5]], [True], mask=np.ones((9, 9), bool), mask_box=(26, 36, 35, 45)),
    Prompts([[10.5, 50.5]], [True]),
]


def test_many_nuclei_are_answered_as_each_alone(segmenter):
    embedding = segmenter.embed(make_tile(), AT_ITS_SCALE)
    small = make_segmenter(segmenter.network, chunks=(2, 2))
    for together in (segmenter, small):
        found = together.refine_many(embedding, MANY)
        for one, prompts in zip(found, MANY, strict=True):
            alone = segmenter.refine(embedding, prompts)
            assert one.iou == pytest.approx(alone.iou, abs=1e-4)
            mask, other = (on_tile(a, (80, 64)) for a in (one, alone))
            assert (mask != other).mean() < 0.01
    assert segmenter.refine_many(embedding, []) == []


def test_a_tile_of_several_squares_is_answered_where_the_nucleus_is_in_the_middle(segmenter):
    tile = make_tile(150, 150)
    embedding = segmenter.embed(tile, AT_ITS_SCALE)
    squares = embedding.arrays["squares"]
    assert len(squares) == 10
    prompts = [Prompts([[y, x]], [True]) for y, x in ((20.5, 20.5), (130.5, 75.5), (75.5, 140.5))]
    for prompt, answer in zip(prompts, segmenter.refine_many(embedding, prompts), strict=True):
        y0, x0, y1, x1 = min(
            squares[:-1].tolist(), key=lambda s: np.abs(prompt.points_yx[0] - s[:2] - 32).max()
        )
        alone = segmenter.embed(Tile(tile.rgb[y0:y1, x0:x1]), AT_ITS_SCALE)
        there = segmenter.refine(alone, prompt.shifted(-y0, -x0)).shifted(y0, x0)
        assert answer.box == there.box
        assert (answer.mask == there.mask).all()


def test_a_nucleus_that_no_square_holds_is_answered_in_that_of_all_of_the_tile(plain, monkeypatch):
    windows = []
    decode = plain._decode
    monkeypatch.setattr(
        plain,
        "_decode",
        lambda maps, batch: windows.append(batch.windows[0]) or decode(maps, batch),
    )
    embedding = plain.embed(make_tile(150, 100), AT_ITS_SCALE)
    held = Prompts(box=(55.0, 45.0, 85.0, 85.0))
    wide = Prompts([[20.5, 50.5], [120.5, 40.5], [5.5, 5.5]], [True, True, False])
    answers = plain.refine_many(embedding, [held, wide])
    assert [w.tolist() for w in windows] == [[48, 36, 112, 100], [0, 0, 150, 150]]
    mask = on_tile(answers[1], (150, 100))
    assert (mask[20, 50], mask[120, 40], mask[5, 5]) == (True, True, False)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (90, 70)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_tiles_of_any_size_and_scale_are_answered(plain, shape, scale):
    tile = make_tile(*shape)
    embedding = plain.embed(tile, Calibration(scale, 0.25 * scale))
    answer = plain.refine(embedding, Prompts([[0.5, 0.5]], [True]))
    y0, x0, y1, x1 = answer.box
    assert 0 <= y0 <= y1 <= shape[0]
    assert 0 <= x0 <= x1 <= shape[1]
    assert on_tile(answer, shape)[0, 0]


def test_a_chunk_that_does_not_fit_into_the_memory_is_halved(tmp_path, monkeypatch):
    segmenter = make_segmenter(make_network("tiny-sam", tmp_path))
    sizes = []

    def answer(seen, points, *_):
        sizes.append(len(points))
        if len(points) > 1:
            raise torch.OutOfMemoryError
        return torch.zeros(1, 3, 24, 24), torch.ones(1, 3)

    monkeypatch.setattr(segmenter.network, "forward", answer)
    embedding = segmenter.embed(make_tile(), AT_ITS_SCALE)
    assert len(segmenter.refine_many(embedding, [POINT] * 3)) == 3
    assert sizes == [3, 2, 1, 1, 1]
    monkeypatch.setattr(segmenter.network, "forward", _out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        segmenter.refine(embedding, POINT)


def _out_of_memory(*_):
    raise torch.OutOfMemoryError


# ---- calibration, and what is refused


def test_the_scale_follows_the_stated_pixel_size(plain):
    assert plain.calibrate([], 0.5) == Calibration(2.0, 0.5)
    stated = plain.embed(make_tile(mpp=0.5))
    assert stated.calibration == Calibration(2.0, 0.5)


def test_an_unknown_pixel_size_is_asked_for(plain):
    with pytest.raises(ModelError, match="tiny: cannot estimate the magnification"):
        plain.calibrate([make_tile()], None)
    with pytest.raises(ModelError, match="state µm per pixel"):
        plain.embed(Tile(make_tile().rgb, Frame()))


def test_an_embedding_of_another_model_is_refused(plain):
    embedding = replace(plain.embed(make_tile(), AT_ITS_SCALE), model="other")
    with pytest.raises(ModelError, match="another model"):
        plain.refine(embedding, POINT)


def test_prompts_that_say_nothing_are_refused(plain):
    embedding = plain.embed(make_tile(), AT_ITS_SCALE)
    with pytest.raises(ModelError, match="neither point nor box nor mask"):
        plain.refine_many(embedding, [POINT, Prompts()])


def test_the_small_settings_are_those_of_the_published_in_small():
    assert SMALL.window / SMALL.largest == SamInference().window / SamInference().largest
