"""The training loop: schedule, averaging, checkpoints that continue exactly, the best weights."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from napari_nucleus.errors import WeightsError
from napari_nucleus.training.loop import (
    RunConfig,
    ema_model,
    fit,
    learning_rate,
    load_matching,
    resumed_step,
)

RUN = RunConfig(
    steps=12,
    warmup=3,
    learning_rate=0.05,
    ema=0.8,
    report_every=4,
    checkpoint_every=5,
    score_every=4,
)


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def batches_from(start: int):
    for step in itertools.count(start):
        generator = torch.Generator().manual_seed(step)
        yield torch.randn(8, 3, generator=generator)


def squares(model, batch, step):
    value = (model(batch)[:, 0] - batch.sum(1)).pow(2).mean()
    return value, {"twice": 2 * float(value.detach())}


class Stop(Exception):
    pass


def run(folder, loss=squares, config=RUN, groups=None, **more):
    model = make_model()
    groups = groups(model) if groups else [{"params": list(model.parameters())}]
    averaged = fit(
        model,
        groups,
        batches_from(resumed_step(folder)),
        loss,
        config,
        folder,
        say=lambda _: None,
        **more,
    )
    return model, averaged


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


# ---- schedule


def test_the_rate_rises_then_falls_as_a_cosine():
    config = RunConfig(steps=100, warmup=10, final_rate=0.1)
    rates = [learning_rate(s, config) for s in range(101)]
    assert rates[0] == 0.1
    assert rates[9] == 1.0
    assert max(rates) == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate(500, config) == pytest.approx(0.1)
    assert learning_rate(0, RunConfig(steps=5, warmup=0)) == 1.0


def test_groups_have_rates_of_their_own_and_rest_while_frozen(tmp_path):
    seen = []

    def watch(model, batch, step):
        seen.append([p.detach().clone() for p in model.parameters()])
        return squares(model, batch, step)

    def groups(model):
        return [
            {"params": list(model[0].parameters())},
            {"params": list(model[2].parameters()), "scale": 0.1, "frozen_until": 6},
        ]

    run(tmp_path, watch, groups=groups)
    for step in range(1, 12):
        moved = [
            float((a - b).abs().max()) for a, b in zip(seen[step], seen[step - 1], strict=True)
        ]
        assert moved[0] > 0
        assert (moved[2] > 0) == (step > 6)
    # Adam's first steps are of the size of the rate: a tenth of the others'.
    assert 0 < moved[2] < 0.03


# ---- averaging


def test_averaged_weights_follow_their_recursion():
    model = nn.Linear(1, 1, bias=False)
    averaged = ema_model(model, 0.9)
    expected = None
    for seen, value in enumerate([1.0, 3.0, -2.0, 5.0, 0.5]):
        with torch.no_grad():
            model.weight.fill_(value)
        averaged.update_parameters(model)
        decay = min(0.9, (1 + seen) / (10 + seen))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert float(averaged.module.weight) == pytest.approx(expected, rel=1e-6)


def test_buffers_are_averaged_too_and_whole_numbers_taken():
    model = nn.BatchNorm1d(2)
    averaged = ema_model(model, 0.5)
    for _ in range(3):
        model(torch.randn(4, 2))
        averaged.update_parameters(model)
    assert int(averaged.module.num_batches_tracked) == 3


def test_training_returns_the_averaged_model(tmp_path):
    model, averaged = run(tmp_path)
    assert averaged is not model
    assert not same(model, averaged)
    batch = next(batches_from(99))
    assert float(squares(averaged, batch, 0)[0]) < float(squares(make_model(), batch, 0)[0])


# ---- resume


@pytest.mark.parametrize("stop_at", [6, 9, 10, 11])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, stop_at):
    whole = run(tmp_path / "whole")
    part = tmp_path / "part"

    def stopping(model, batch, step):
        if step == stop_at:
            raise Stop
        return squares(model, batch, step)

    with pytest.raises(Stop):
        run(part, stopping)
    assert resumed_step(part) == stop_at // 5 * 5
    resumed = run(part)
    assert same(whole[0], resumed[0])
    assert same(whole[1], resumed[1])
    assert resumed_step(part) == 12


def test_a_finished_run_is_not_run_again(tmp_path):
    _, averaged = run(tmp_path)
    lines = len(log_of(tmp_path))

    def never(*_):
        raise AssertionError

    _, again = run(tmp_path, never)
    assert same(averaged, again)
    assert len(log_of(tmp_path)) == lines


def test_reports_are_means_over_their_steps_after_a_resume_too(tmp_path):
    values = {}

    def watch(model, batch, step):
        value, parts = squares(model, batch, step)
        values[step] = float(value.detach())
        if step == 6 and not resumed_step(tmp_path):
            raise AssertionError
        return value, parts

    run(tmp_path, watch)
    reports = [e for e in log_of(tmp_path) if "loss" in e]
    assert [e["step"] for e in reports] == [4, 8, 12]
    for entry in reports:
        mean = sum(values[s] for s in range(entry["step"] - 4, entry["step"])) / 4
        assert entry["loss"] == pytest.approx(mean, abs=1e-3)
        assert entry["twice"] == pytest.approx(2 * mean, abs=2e-3)

    part = tmp_path / "part"

    def stopping(model, batch, step):
        if step == 6:
            raise Stop
        return squares(model, batch, step)

    with pytest.raises(Stop):
        run(part, stopping)
    run(part)
    # Steps 5 to 7 after the resume at step 5.
    entry = next(e for e in log_of(part) if e.get("step") == 8 and "loss" in e)
    assert entry["loss"] == pytest.approx(sum(values[s] for s in (5, 6, 7)) / 3, abs=1e-3)


# ---- scores


def test_the_best_scored_weights_are_kept(tmp_path):
    scores = iter([0.4, 0.7, 0.5])
    states = []

    def score(model):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"pq": next(scores), "aji": 0.0}

    run(tmp_path, score=score)
    kept = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(v, states[1][k]) for k, v in kept.items())
    assert [e["scores"]["pq"] for e in log_of(tmp_path) if "scores" in e] == [0.4, 0.7, 0.5]


def test_the_best_score_is_remembered_over_a_resume(tmp_path):
    def stopping(model, batch, step):
        if step == 11:
            raise Stop
        return squares(model, batch, step)

    config = replace(RUN, checkpoint_every=4)
    first = iter([0.2, 0.9])
    with pytest.raises(Stop):
        run(tmp_path, stopping, config, score=lambda _: {"pq": next(first)})
    before = load_file(tmp_path / "best.safetensors")
    run(tmp_path, config=config, score=lambda _: {"pq": 0.5})
    after = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(v, after[k]) for k, v in before.items())


def test_another_score_can_select_and_nan_is_never_the_best(tmp_path):
    scores = iter([math.nan, 0.3, math.nan])
    states = []

    def score(model):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"f1": next(scores)}

    run(tmp_path, score=score, best_by="f1")
    kept = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(v, states[1][k]) for k, v in kept.items())


def test_a_step_with_an_infinite_gradient_is_left_out(tmp_path):
    seen = []

    def exploding(model, batch, step):
        seen.append(model[0].weight.detach().clone())
        value, parts = squares(model, batch, step)
        return (value * math.inf if step == 5 else value), parts

    model, _ = run(tmp_path, exploding)
    assert torch.equal(seen[5], seen[6])
    assert not torch.equal(seen[4], seen[5])
    assert all(torch.isfinite(p).all() for p in model.parameters())


# ---- starting from other weights


def test_weights_are_taken_where_names_fit(tmp_path):
    file = tmp_path / "start.safetensors"
    other = make_model()
    with torch.no_grad():
        other[0].weight.fill_(7.0)
    save_file({"0.weight": other[0].weight.detach(), "elsewhere": torch.zeros(2)}, file)
    model = make_model()
    kept = load_matching(model, file)
    assert kept == ["0.bias", "2.bias", "2.weight"]
    assert (model[0].weight == 7).all()
    assert torch.equal(model[2].weight, make_model()[2].weight)


def test_weights_of_another_shape_or_model_are_refused(tmp_path):
    file = tmp_path / "start.safetensors"
    save_file({"0.weight": torch.zeros(5, 3)}, file)
    with pytest.raises(WeightsError, match=r"start\.safetensors.*0\.weight.*\(5, 3\)"):
        load_matching(make_model(), file)
    save_file({"elsewhere": torch.zeros(2)}, file)
    with pytest.raises(WeightsError, match=r"start\.safetensors"):
        load_matching(make_model(), file)
