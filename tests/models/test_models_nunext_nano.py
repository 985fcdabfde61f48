"""The nano: what guides the words, that a cache changes nothing, and what comes of windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nunext_nano_helpers import (
    TINY_NEXT,
    looked_at,
    make_next,
    make_next_predictor,
    seen_with,
    silent,
)
from uninuc_helpers import at_scale, tissue

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.errors import WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import PointDetector
from napari_nucleus.models.nunext import build
from napari_nucleus.models.nunext.config import NuNextConfig, SequenceConfig
from napari_nucleus.models.nunext.generation import Sampling, generate
from napari_nucleus.models.nunext.guide import Guide, Peaks, find_peaks, reading_place
from napari_nucleus.models.nunext.language import waves_of
from napari_nucleus.models.nunext.network import (
    SEPARATOR_ROLE,
    X_ROLE,
    Y_ROLE,
    Written,
)
from napari_nucleus.models.nunext.tokens import decode_points, is_well_formed, reading_order

SEQUENCE = TINY_NEXT.sequence


def tile(shape: tuple[int, int], seed: int = 0) -> Tile:
    return Tile(tissue(shape, seed), Frame(mpp=0.25))


# ---- guide


def test_a_peak_is_found_between_cells_and_in_its_frame() -> None:
    network = make_next()
    points = np.array([[20.7, 30.2], [41.0, 12.5]])
    heat = seen_with(network, points, 64).maps[:, 1:2]
    corner = torch.tensor([[8, 16]])
    peaks = find_peaks(heat, corner, TINY_NEXT.guide, replace(SEQUENCE, frame=128))
    found = peaks.yx[0, : len(points)].numpy() - (8, 16)
    assert np.abs(found - points).max() < 0.5
    assert (peaks.logit[0, len(points) :] == -torch.inf).all()


def test_the_next_peak_is_the_first_that_is_one() -> None:
    guide = Guide(TINY_NEXT.guide, SEQUENCE)
    with torch.no_grad():
        guide.slope.fill_(1)
        guide.shift.zero_()
    probability = torch.tensor([[0.5, 0.8, 0.25]])
    yx = torch.tensor([[[4.0, 10.0], [4.0, 40.0], [40.0, 5.0]]])
    along = reading_place(yx[..., 0], yx[..., 1], SEQUENCE)
    peaks = Peaks(yx, torch.logit(probability), along)
    none = torch.zeros(1, 1, 3, dtype=torch.bool)
    first, end = guide.next_peak(peaks, torch.tensor([[-1.0]]), none)
    assert torch.allclose(first[0, 0], torch.tensor([0.5, 0.5 * 0.8, 0.5 * 0.2 * 0.25]), atol=1e-3)
    assert float(first.sum() + end.sum()) == pytest.approx(1, abs=1e-3)
    # After a point on the second peak only the third is left.
    first, end = guide.next_peak(peaks, along[:, 1:2], none)
    assert first[0, 0].tolist() == pytest.approx([0, 0, 0.25], abs=1e-3)
    assert float(end) == pytest.approx(0.75, abs=1e-3)


def test_y_is_that_of_the_peaks_at_the_chosen_x() -> None:
    guide = Guide(TINY_NEXT.guide, SEQUENCE)
    yx = torch.tensor([[[10.5, 20.5], [12.5, 50.5]]])
    peaks = Peaks(yx, torch.full((1, 2), 5.0), torch.tensor([[20.5, 50.5]]))
    first = torch.tensor([[[0.6, 0.4]]])
    for x, y in ((20, 10), (50, 12)):
        assert int(guide.second_coordinate(first, peaks, torch.tensor([[x]])).argmax()) == y


def test_lines_are_read_from_left_to_right() -> None:
    yx = np.array([[17.0, 3.0], [2.0, 60.0], [14.0, 8.0], [40.0, 1.0]])
    along = reading_place(torch.tensor(yx[:, 0]), torch.tensor(yx[:, 1]), SEQUENCE).numpy()
    assert np.argsort(along).tolist() == reading_order(yx, SEQUENCE.line).tolist()


# ---- language


def test_neighbouring_positions_have_like_waves() -> None:
    waves = waves_of(torch.arange(64.0), 16)
    likeness = waves @ waves.T
    assert (likeness.argmax(1) == torch.arange(64)).all()
    assert (likeness[20, 21:24].diff() < 0).all()


def test_word_by_word_is_what_the_whole_text_gives() -> None:
    network = make_next()
    torch.manual_seed(1)
    looked = looked_at(network, np.array([[20.0, 20.0], [40.0, 50.0]]), 64)
    v = network.vocabulary
    written = Written(
        torch.tensor([[20, 50, 3]]),
        torch.tensor([[19, 41, 60]]),
        torch.tensor([[v.separators[1], v.separators[0], v.separators[5]]]),
    )
    with torch.no_grad():
        whole = network(looked, written, 0.0).logits
        logits, past = network.start(looked)
        steps = [logits]
        length = network.prefix(1)[0].shape[1]
        places = network._places(written, length)
        tokens = torch.stack([written.x, written.y, written.separator], 2).flatten(1)
        yx = torch.stack([written.y, written.x], 2) + 0.5
        covered = network.pointer.covered(looked.pointed, yx)
        covered = torch.cat([torch.zeros_like(covered[:, :1]), covered], 1)
        for i in range(9):
            role = (X_ROLE, Y_ROLE, SEPARATOR_ROLE)[i % 3]
            logits, past = network.step(
                looked, past, tokens[:, i], role, places[:, i], covered[:, (i + 2) // 3]
            )
            steps.append(logits)
    assert torch.allclose(torch.stack(steps, 1), whole, atol=1e-4)


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_an_answer_without_a_point_can_be_told_and_taught(bias: float) -> None:
    network = make_next()
    looked = looked_at(network, np.zeros((0, 2)), 64)
    none = torch.zeros((1, 0), dtype=torch.long)
    said = network(looked, Written(none, none, none), bias)
    assert said.logits.shape == (1, 1, network.vocabulary.size)
    if not bias:
        torch.testing.assert_close(said.logits[:, 0], network.start(looked)[0])
    said.logits.sum().backward()
    assert network.others.grad is not None


def test_a_later_point_changes_nothing_that_was_said_before() -> None:
    network = make_next()
    looked = looked_at(network, np.array([[20.0, 20.0]]), 64)
    comma = network.vocabulary.separators[0]
    first = Written(*(torch.tensor([[a, b]]) for a, b in ((5, 9), (6, 7), (comma, comma))))
    other = Written(*(torch.tensor([[a, b]]) for a, b in ((5, 40), (6, 50), (comma, comma))))
    with torch.no_grad():
        a, b = network(looked, first).logits, network(looked, other).logits
    assert torch.equal(a[:, :4], b[:, :4])
    assert not torch.allclose(a[:, 4:], b[:, 4:])


# ---- generation


def test_without_words_the_guide_writes_the_peaks_in_order() -> None:
    network = silent(make_next())
    points = np.array([[5.5, 40.5], [10.5, 12.5], [30.5, 30.5], [52.5, 9.5], [52.5, 55.5]])
    answer = generate(network, looked_at(network, points, 64))
    expected = points[reading_order(points, SEQUENCE.line)]
    assert answer.count.tolist() == [5]
    found = np.stack([answer.written.y[0], answer.written.x[0]], 1) + 0.5
    assert np.abs(found - expected).max() <= 1
    assert (answer.confidence > 0.5).all()


def test_nothing_is_none() -> None:
    network = silent(make_next())
    answer = generate(network, looked_at(network, np.zeros((0, 2)), 64))
    assert answer.count.tolist() == [0]
    v = network.vocabulary
    assert answer.tokens[0].tolist() == [*v.none, v.end, v.stop]


def test_four_hundred_nuclei_are_not_cut_short() -> None:
    config = NuNextConfig(
        language=TINY_NEXT.language, sequence=SequenceConfig(bins=256, frame=256, latent=3)
    )
    network = silent(make_next(config))
    grid = np.arange(20) * 12.5 + 8.5
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    answer = generate(network, looked_at(network, points, 256))
    assert answer.count.tolist() == [400]
    found = np.stack([answer.written.y[0], answer.written.x[0]], 1) + 0.5
    gaps = np.linalg.norm(found[:, None] - points[None], axis=2)
    assert (gaps.min(0) <= 1.5).all()


def test_a_thousand_answers_of_random_weights_are_well_formed() -> None:
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    done = 0
    for seed in range(10):
        network = make_next(seed=seed)
        with torch.no_grad():
            network.scale.fill_(3.0)
        points = rng.uniform(4, 60, (6, 2))
        one = seen_with(network, points, 64)
        hundred = type(one)(*(v.expand(100, *v.shape[1:]) for v in one))
        with torch.no_grad():
            looked = network.look(hundred, torch.full((100, 2), 64))
        answer = generate(
            network, looked, float(seed % 2), sampling=Sampling(2.0, 0.99), generator=generator
        )
        for row, count in zip(answer.tokens.tolist(), answer.count.tolist(), strict=True):
            ids = [network.vocabulary.begin, *row]
            assert is_well_formed(ids, network.vocabulary)
            assert len(decode_points(ids, network.vocabulary, 64)[0]) == count
            assert count <= SEQUENCE.max_points
            done += 1
    assert done == 1000


def test_windows_together_are_windows_one_by_one() -> None:
    network = make_next(seed=3)
    with torch.no_grad():
        network.scale.fill_(2.0)
    seen = [seen_with(network, np.random.default_rng(s).uniform(4, 60, (4, 2)), 64) for s in (1, 2)]
    sizes = torch.tensor([[64, 64], [40, 56]])
    together = type(seen[0])(*(torch.cat(v) for v in zip(*seen, strict=True)))
    with torch.no_grad():
        both = generate(network, network.look(together, sizes), end=0.2)
        for b in (0, 1):
            one = generate(network, network.look(seen[b], sizes[b : b + 1]), end=0.2)
            n = int(one.count[0])
            assert int(both.count[b]) == n
            assert both.written.x[b, :n].tolist() == one.written.x[0, :n].tolist()
            assert both.written.y[b, :n].tolist() == one.written.y[0, :n].tolist()


def test_the_end_comes_sooner_where_less_is_asked_of_it() -> None:
    network = silent(make_next())
    points = np.array([[5.5, 40.5], [30.5, 30.5]])
    looked = looked_at(network, points, 64)
    assert generate(network, looked, end=1e-6).count.tolist() == [0]
    assert generate(network, looked, most=1).count.tolist() == [1]


# ---- predictor


@pytest.mark.parametrize("shape", [(1, 1), (7, 90), (64, 64), (150, 131)])
def test_points_of_tiles_of_any_size_lie_on_them(shape: tuple[int, int]) -> None:
    predictor = make_next_predictor()
    assert isinstance(predictor, PointDetector)
    points = predictor.detect(tile(shape), at_scale(1.0))
    assert ((points.yx >= 0) & (points.yx <= np.array(shape))).all()
    assert points.class_prob.shape == (len(points), 5)
    assert ((points.score >= 0) & (points.score <= 1)).all()


def test_several_tiles_give_what_each_gives() -> None:
    predictor = make_next_predictor()
    tiles = [tile((64, 64), 1), tile((100, 70), 2)]
    together = predictor.detect_many(tiles, at_scale(1.0))
    for one, points in zip(tiles, together, strict=True):
        alone = predictor.detect(one, at_scale(1.0))
        assert np.allclose(alone.yx, points.yx)


def test_points_are_in_pixels_of_the_tile_at_every_magnification() -> None:
    predictor = make_next_predictor()
    small = tile((64, 64), 4)
    large = Tile(np.repeat(np.repeat(small.rgb, 2, 0), 2, 1), Frame(mpp=0.125))
    a = predictor.peaks(small, at_scale(1.0))
    b = predictor.peaks(large, at_scale(0.5))
    assert len(a) == len(b)
    assert np.abs(a.yx * 2 - b.yx).max(initial=0) < 4


def test_the_guide_can_be_left_out_without_changing_the_model() -> None:
    predictor = make_next_predictor()
    other = predictor.with_bias(0.0)
    assert other.config.bias == 0.0
    assert predictor.config.bias == TINY_NEXT.inference.bias
    assert other.network is predictor.network


def test_weights_come_back_and_belong_to_one_pair_of_eyes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = make_next_predictor()
    monkeypatch.setattr(build.zoo, "load_model", lambda name, device: predictor.eyes)

    class Read:
        digest = "digest"

    real = build.read_weights
    eyes_file = zoo.weights_file(build.EYES)
    monkeypatch.setattr(build, "read_weights", lambda f: Read() if f == eyes_file else real(f))
    file = tmp_path / "next.safetensors"
    build.save_network(predictor.network, file, {"note": "test"})
    again = build.load_predictor(predictor.info, file, "cpu")
    one = tile((64, 64), 5)
    assert np.allclose(
        again.peaks(one, at_scale(1.0)).yx, predictor.peaks(one, at_scale(1.0)).yx, atol=0.3
    )
    predictor.eyes.digest = "other"
    with pytest.raises(WeightsError, match="other weights of uninuc-nano"):
        build.load_predictor(predictor.info, file, "cpu")
