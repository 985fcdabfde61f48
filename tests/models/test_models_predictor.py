"""The predictor: any tile in, nuclei out; clicks land where they were made, at every scale."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from uninuc_helpers import INFO, TINY, at_scale, make_network, make_predictor, tissue

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile, rgb_uint8
from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import AutomaticSegmenter, PromptableSegmenter
from napari_nucleus.models.uninuc import decoding
from napari_nucleus.models.uninuc.automatic import without_padding
from napari_nucleus.models.uninuc.config import DenseConfig
from napari_nucleus.models.uninuc.crops import PromptBatch, draw_prompts
from napari_nucleus.models.uninuc.decoding import _clicked_parts, decode_all
from napari_nucleus.models.uninuc.dense import DenseMaps
from napari_nucleus.models.uninuc.mask_decoder import MaskOutput
from napari_nucleus.models.uninuc.predictor import UniNucPredictor
from napari_nucleus.models.uninuc.prompting import prompt_batch
from napari_nucleus.models.working import to_network

POINT = Prompts([[30.5, 40.5]], [True])
BOX = Prompts(box=(20.0, 30.0, 36.0, 44.0))
SQUARE = np.ones((12, 14), bool)


@pytest.fixture(scope="module")
def predictor() -> UniNucPredictor:
    return make_predictor()


@pytest.fixture(scope="module")
def tile() -> Tile:
    return Tile(tissue((80, 96)))


def painted(nuclei, shape) -> np.ndarray:
    """How many nuclei cover each pixel; boxes that leave the tile fail."""
    count = np.zeros(shape, int)
    for (y0, x0, y1, x1), mask in zip(nuclei.boxes, nuclei.masks, strict=True):
        assert 0 <= y0 < y1 <= shape[0]
        assert 0 <= x0 < x1 <= shape[1]
        count[y0:y1, x0:x1] += mask
    return count


def on_tile(answer, shape) -> np.ndarray:
    out = np.zeros(shape, bool)
    y0, x0, y1, x1 = answer.box
    out[y0:y1, x0:x1] = answer.mask
    return out


# ---- automatic


def test_it_can_do_what_it_says(predictor):
    assert isinstance(predictor, AutomaticSegmenter)
    assert isinstance(predictor, PromptableSegmenter)
    assert predictor.device == "cpu"


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (65, 33), (80, 96)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_nuclei_lie_inside_the_tile_and_share_no_pixel(predictor, shape, scale):
    nuclei = predictor.segment(Tile(tissue(shape)), at_scale(scale))
    assert painted(nuclei, shape).max(initial=0) <= 1
    assert nuclei.class_prob.shape == (len(nuclei), 5)
    assert np.allclose(nuclei.class_prob.sum(1), 1, atol=1e-4)
    assert ((nuclei.score > 0) & (nuclei.score <= 1)).all()
    assert all(ndimage.label(m)[1] == 1 for m in nuclei.masks)
    assert nuclei.source == "tiny"
    if shape == (80, 96):
        assert len(nuclei) > 0


@pytest.mark.parametrize("value", [255, 0])
def test_white_and_black_tiles_are_no_error(predictor, value):
    tile = Tile(np.full((50, 70, 3), value, np.uint8))
    painted(predictor.segment(tile), tile.shape)
    painted(predictor.segment(tile, at_scale(1.0)), tile.shape)


def test_grey_and_read_only_tiles_are_taken(predictor):
    grey = rgb_uint8(tissue((40, 40))[..., 0])
    grey.flags.writeable = False
    painted(predictor.segment(Tile(grey), at_scale(1.0)), (40, 40))


def test_what_is_not_a_nucleus_is_left_out():
    strict = make_predictor(score_threshold=0.99, peak_score=0.0)
    nuclei = strict.segment(Tile(tissue((64, 64))), at_scale(1.0))
    assert len(nuclei) == 0
    assert nuclei.class_prob.shape == (0, 5)
    dark = make_predictor(foreground_threshold=0.999)
    assert len(dark.segment(Tile(tissue((64, 64))), at_scale(1.0))) == 0


def test_nuclei_carry_logits_of_their_own_place(predictor, tile):
    nuclei = predictor.segment(tile, at_scale(1.0))
    for box, logits in zip(nuclei.boxes, nuclei.logits, strict=True):
        y0, x0, y1, x1 = logits.window
        centre = (box[:2] + box[2:]) / 2
        assert y0 < centre[0] < y1
        assert x0 < centre[1] < x1


def test_the_same_tile_gives_the_same_nuclei(predictor, tile):
    first, second = (predictor.segment(tile, at_scale(1.0)) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert np.array_equal(first.score, second.score)


def test_without_dense_heads_it_segments_but_cannot_estimate_the_scale(tile):
    config = replace(TINY, dense=DenseConfig(0))
    plain = UniNucPredictor(make_network(config), INFO, "digest", None)
    painted(plain.segment(tile, at_scale(1.0)), tile.shape)
    with pytest.raises(ModelError, match="µm per pixel"):
        plain.calibrate([tile], None)


def test_pixels_that_only_fill_up_are_not_looked_at():
    maps = DenseMaps(*(torch.randn(1, c, 24, 32) for c in (1, 1, 2, 1, 5)))
    foreground, distance = without_padding(maps, 2, (41, 60))
    assert foreground.shape == distance.shape == (21, 30)
    assert np.allclose(foreground, maps.foreground[0, 0, :21, :30].sigmoid())
    assert np.array_equal(distance, maps.distance[0, 0, :21, :30])


def test_calibration_with_nuclei_too_few_keeps_the_scale_and_takes_the_stain(predictor, tile):
    strict = make_predictor()
    calibration = strict.calibrate([tile], None)
    assert calibration.mpp_estimated
    assert calibration.lab_mean is not None
    assert strict.calibrate([tile], 0.5).scale == 2.0


def test_the_stain_is_moved_towards_that_of_the_training(tile):
    target = LabStatistics((60.0, 20.0, -10.0), (12.0, 8.0, 6.0))
    config = replace(TINY, inference=replace(TINY.inference, stain_strength=1.0))
    network = make_network(config)
    plain = UniNucPredictor(network, INFO, "digest", None)
    moved = UniNucPredictor(network, INFO, "digest", target)
    at_home = replace(at_scale(1.0), lab_mean=target.mean, lab_std=target.std)
    abroad = replace(at_scale(1.0), lab_mean=(75.0, 30.0, -20.0), lab_std=(15.0, 9.0, 7.0))
    without = plain.embed(tile, abroad).arrays["f0"]
    assert not np.allclose(moved.embed(tile, abroad).arrays["f0"], without, atol=1e-2)
    # Restaining to what it is already changes no byte by more than its rounding.
    assert np.allclose(moved.embed(tile, at_home).arrays["f0"], without, atol=0.1)


# ---- clicks


@pytest.fixture(scope="module")
def embedding(predictor, tile):
    return predictor.embed(tile, at_scale(1.0))


def test_an_embedding_is_plain_arrays_and_knows_where_it_is_from(predictor):
    frame = Frame((100.0, 200.0), mpp=0.5)
    made = predictor.embed(Tile(tissue((50, 64)), frame), at_scale(2.0))
    assert made.shape == (50, 64)
    assert made.frame == frame
    assert made.calibration == at_scale(2.0)
    assert made.model == "digest"
    assert all(isinstance(a, np.ndarray) for a in made.arrays.values())
    # 50 x 64 tile pixels are 100 x 128 working pixels, padded to multiples of 16.
    assert made.arrays["f0"].shape[-2:] == (112 // 2, 128 // 2)
    assert made.arrays["f0"].dtype == np.float16
    assert made.nbytes > 0


def test_embeddings_of_other_weights_are_refused(predictor, embedding):
    with pytest.raises(ModelError, match="another model"):
        predictor.refine(replace(embedding, model="other"), POINT)


@pytest.mark.parametrize("empty", [Prompts(), Prompts(scribble_yx=np.zeros((0, 2)))])
def test_prompts_that_say_nothing_are_refused(predictor, embedding, empty):
    with pytest.raises(ModelError, match="neither point nor box"):
        predictor.refine(embedding, empty)


def test_no_prompts_have_no_answers(predictor, embedding):
    assert predictor.refine_many(embedding, []) == []


LOGITS = MaskLogits(np.full((16, 16), 2.0, np.float16), (20.0, 30.0, 36.0, 46.0))
NOTHING = MaskLogits(np.full((16, 16), -2.0, np.float16), (20.0, 30.0, 36.0, 46.0))
MASK = Prompts(mask=SQUARE, mask_box=(20, 30, 32, 44))
KINDS = {
    "point": POINT,
    "negative point": Prompts([[30.5, 40.5]], [False]),
    "points": Prompts([[30.5, 40.5], [25.5, 50.5]], [True, False]),
    "box": BOX,
    "box and point": replace(BOX, points_yx=np.array([[30.5, 40.5]]), positive=np.array([True])),
    "scribble": Prompts(scribble_yx=np.array([[30.0, 30.0], [34.0, 42.0], [40.0, 50.0]])),
    "dot of a scribble": Prompts(scribble_yx=np.array([[30.0, 30.0]])),
    "mask": MASK,
    "mask and point": MASK.with_point((26.5, 37.5), True),
    "logits": Prompts(logits=LOGITS),
    "logits and point": Prompts([[30.5, 40.5]], [True], logits=LOGITS),
    "logits of nothing": Prompts(logits=NOTHING),
    "at the corner": Prompts([[0.0, 0.0]], [True]),
    "over the border": Prompts(box=(-3.0, 80.0, 20.0, 99.0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_prompt_is_answered(predictor, embedding, kind):
    answer = predictor.refine(embedding, KINDS[kind])
    assert answer.mask.shape == (
        answer.box[2] - answer.box[0],
        answer.box[3] - answer.box[1],
    )
    if answer.mask.size:
        mask = on_tile(answer, embedding.shape)
        assert mask.sum() == answer.area > 0
    assert 0 <= answer.iou <= 1
    assert answer.logits.grid.shape == (16, 16)
    assert np.isfinite(answer.logits.grid).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_clicked_pixels_are_inside_if_positive_and_outside_if_negative(predictor, tile, scale):
    embedding = predictor.embed(tile, at_scale(scale))
    rng = np.random.default_rng(0)
    step = max(int(10 / scale), 4)
    for _ in range(12):
        y, x = rng.integers(step, 80 - step), rng.integers(step, 96 - step)
        points = np.array([[y, x], [y - step, x], [y, x + step], [y + step, x]]) + rng.random(2)
        signs = rng.random(4) < 0.5
        signs[0] = True
        mask = on_tile(predictor.refine(embedding, Prompts(points, signs)), tile.shape)
        rows, cols = np.floor(points).astype(int).T
        assert mask[rows, cols].tolist() == signs.tolist()


def test_nuclei_answered_together_are_answered_as_one_by_one(predictor, embedding):
    together = predictor.refine_many(embedding, list(KINDS.values()))
    for kind, answer in zip(KINDS, together, strict=True):
        alone = predictor.refine(embedding, KINDS[kind])
        assert np.allclose(answer.logits.grid, alone.logits.grid, atol=2e-2), kind
        assert answer.logits.window == alone.logits.window, kind
        differ = on_tile(answer, (80, 96)) != on_tile(alone, (80, 96))
        assert differ.sum() <= 1, kind
        assert answer.iou == pytest.approx(alone.iou, abs=1e-4), kind


@pytest.mark.parametrize("n", [1, 2, 8, 9, 70])
def test_answers_do_not_depend_on_the_chunk(predictor, embedding, n):
    segmenter = predictor.network.segmenter
    projected = tuple(torch.tensor(embedding.arrays[f"f{i}"]).float() for i in range(3))
    kinds = list(KINDS.values())
    batch = prompt_batch([kinds[i % len(kinds)] for i in range(n)], (1.0, 1.0), TINY.decoder)
    answers = decode_all(segmenter, projected, batch)
    assert answers.logits.shape == (n, 16, 16)
    last = PromptBatch(*(getattr(batch, f)[-1:] for f in batch.__dataclass_fields__))
    alone = decode_all(segmenter, projected, last)
    assert torch.allclose(answers.logits[-1], alone.logits[0], atol=1e-4)
    assert torch.allclose(answers.iou[-1], alone.iou[0], atol=1e-5)
    assert torch.allclose(answers.present[-1], alone.present[0], atol=1e-5)


def test_chunks_that_exceed_the_memory_are_halved(predictor, embedding, monkeypatch):
    projected = tuple(torch.tensor(embedding.arrays[f"f{i}"]).float() for i in range(3))
    batch = prompt_batch([POINT, BOX] * 6, (1.0, 1.0), TINY.decoder)
    segmenter = predictor.network.segmenter
    expected = decode_all(segmenter, projected, batch)
    decode, tried = decoding._decode, []

    def small_memory(network, features, prompts):
        tried.append(len(prompts))
        if len(prompts) > limit:
            raise torch.OutOfMemoryError
        return decode(network, features, prompts)

    monkeypatch.setattr(decoding, "_decode", small_memory)
    limit = 8
    out = decode_all(segmenter, projected, batch)
    assert tried == [64, 8, 8]
    assert torch.allclose(out.logits, expected.logits, atol=1e-4)
    limit = 0
    with pytest.raises(torch.OutOfMemoryError):
        decode_all(segmenter, projected, batch)


# ---- where answers land: a network that draws its prompts


@pytest.fixture
def drawing(monkeypatch) -> UniNucPredictor:
    """Answers with what it was asked: disks at positive clicks, boxes, previous masks."""
    made = make_predictor()

    def decode(crops, prompts):
        drawn = draw_prompts(prompts, TINY.decoder)
        shown = torch.stack([drawn[:, 2], drawn[:, 4], (drawn[:, 0] + 1) / 2 * drawn[:, 1]])
        logits = (shown.amax(0) - 0.5) * 16
        n = len(prompts)
        return MaskOutput(
            logits[:, None].expand(-1, 4, -1, -1), torch.ones(n, 4), torch.full((n,), 9.0)
        )

    monkeypatch.setattr(made.network.segmenter, "decode", decode)
    return made


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("point", [(30.5, 40.5), (12.5, 71.5), (47.5, 3.5)])
def test_an_answer_to_a_click_is_centred_on_it(drawing, tile, scale, point):
    embedding = drawing.embed(tile, at_scale(scale))
    mask = on_tile(drawing.refine(embedding, Prompts([point], [True])), tile.shape)
    rows, cols = np.nonzero(mask)
    # The disk has a radius of 2.5 working pixels; half a working pixel off would show.
    assert mask.sum() == pytest.approx(np.pi * (2.5 / scale) ** 2, rel=0.5)
    if point[1] > 10:
        centre = np.array([rows.mean(), cols.mean()]) + 0.5
        assert np.abs(centre - point).max() <= 0.3 / scale


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_an_answer_to_a_box_fills_it(drawing, tile, scale):
    embedding = drawing.embed(tile, at_scale(scale))
    answer = drawing.refine(embedding, BOX)
    # Edges of the box lie on those of cells.
    assert answer.box == (20, 30, 36, 44)
    assert answer.mask.mean() > 0.95


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_mask_given_comes_back_as_it_was(drawing, tile, scale):
    embedding = drawing.embed(tile, at_scale(scale))
    rows, cols = np.indices((20, 24)) + 0.5
    given = ((rows - 10) / 10) ** 2 + ((cols - 12) / 12) ** 2 <= 1
    expected = np.zeros(tile.shape, bool)
    expected[23:43, 31:55] = given
    mask = on_tile(
        drawing.refine(embedding, Prompts(mask=given, mask_box=(23, 31, 43, 55))), (80, 96)
    )
    assert (mask & expected).sum() / (mask | expected).sum() > 0.88
    centres = [np.argwhere(m).mean(0) for m in (mask, expected)]
    assert np.abs(centres[0] - centres[1]).max() < 0.2 / scale


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_logits_fed_back_stay_in_place_over_many_rounds(drawing, tile, scale):
    embedding = drawing.embed(tile, at_scale(scale))
    first = answer = drawing.refine(embedding, BOX)
    for _ in range(5):
        answer = drawing.refine(embedding, Prompts(logits=answer.logits))
    before, after = (np.argwhere(on_tile(a, tile.shape)) for a in (first, answer))
    assert np.abs(before.mean(0) - after.mean(0)).max() < 0.3 / scale
    assert len(after) == pytest.approx(len(before), rel=0.15)


def test_axes_that_are_rounded_differently_are_each_mapped_by_their_own_factor(drawing):
    small = Tile(tissue((33, 97)))
    embedding = drawing.embed(small, at_scale(0.55))
    per = embedding.arrays["per_tile_pixel"]
    assert per[0] != per[1]
    assert np.allclose(per, [18 / 33, 53 / 97])
    mask = on_tile(drawing.refine(embedding, Prompts([[16.5, 90.5]], [True])), small.shape)
    assert mask[16, 90]
    assert np.abs(np.argwhere(mask).mean(0) - [16, 90]).max() < 0.8


def test_a_nucleus_larger_than_its_window_gets_a_larger_one(predictor, tile, monkeypatch):
    whole = make_predictor()

    def decode(crops, prompts):
        n = len(prompts)
        return MaskOutput(torch.full((n, 4, 16, 16), 5.0), torch.ones(n, 4), torch.ones(n))

    monkeypatch.setattr(whole.network.segmenter, "decode", decode)
    embedding = whole.embed(tile, at_scale(1.0))
    answer = whole.refine(embedding, POINT)
    y0, x0, y1, x1 = answer.logits.window
    assert (y1 - y0, x1 - x0) == (64.0, 64.0)
    assert answer.box[0] >= 0
    # Nothing more can be had by looking at more where the tile ends.
    tiny = whole.embed(Tile(tissue((20, 20))), at_scale(1.0))
    answer = whole.refine(tiny, Prompts([[10.5, 10.5]], [True]))
    assert answer.logits.window[2] - answer.logits.window[0] == 32.0
    assert answer.box == (0, 0, 20, 20)


# ---- parts and holes


def test_parts_without_a_click_are_dropped_and_holes_filled():
    mask = np.zeros((30, 30), bool)
    mask[2:12, 2:12], mask[5:7, 5:7] = True, False
    mask[20:24, 20:24] = True
    mask[2:4, 25:27] = True
    none = np.zeros((0, 2), int)
    kept = _clicked_parts(mask, none, none)
    assert kept.sum() == 100
    kept = _clicked_parts(mask, np.array([[21, 21], [50, 50]]), none)
    assert kept.sum() == 116
    assert not kept[2:4, 25:27].any()


def test_a_hole_with_a_negative_click_stays_open():
    mask = np.ones((20, 20), bool)
    mask[5:7, 5:7], mask[12:15, 12:15] = False, False
    kept = _clicked_parts(mask, np.zeros((0, 2), int), np.array([[13, 13], [-4, 2]]))
    assert not kept[12:15, 12:15].any()
    assert kept.sum() == 400 - 9


# ---- the same picture elsewhere


def test_moving_the_tile_moves_the_answers():
    # Attention windows of the coarsest level are 32 pixels; the positional embedding of the tile,
    # which starts at zero, is the only thing that knows where the tile begins.
    predictor = make_predictor()
    assert not predictor.network.segmenter.encoder.trunk.pos_embed.any()
    picture = tissue((288, 288))
    here, there = (
        predictor.embed(
            Tile(np.ascontiguousarray(picture[o : o + 256, o : o + 256])), at_scale(1.0)
        )
        for o in (0, 32)
    )
    for y, x in ((140.5, 150.5), (155.5, 131.5)):
        a = predictor.refine(here, Prompts([[y, x]], [True]))
        b = predictor.refine(there, Prompts([[y - 32, x - 32]], [True]))
        assert np.allclose(a.logits.grid, b.logits.grid, atol=2e-2)
        assert np.allclose(np.array(a.logits.window) - 32, b.logits.window)
        moved = b.shifted(32, 32)
        assert (on_tile(a, (288, 288)) != on_tile(moved, (288, 288))).sum() <= 2


def test_dense_maps_move_with_the_tile_as_well():
    segmenter = make_network().segmenter
    picture = torch.from_numpy(tissue((288, 288))).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        here, there = (
            segmenter.dense(
                segmenter.encoder(to_network(picture[..., o : o + 256, o : o + 256], 16))[0]
            )
            for o in (0, 32)
        )
    for a, b in zip(here, there, strict=True):
        assert torch.allclose(a[..., 64:80, 64:80], b[..., 48:64, 48:64], atol=1e-4)
