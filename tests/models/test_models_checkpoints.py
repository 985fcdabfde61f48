"""Checkpoints of other programs: wrappers, prefixes, and what is refused."""

import os
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from napari_nucleus.errors import WeightsError
from napari_nucleus.models.checkpoints import load_into, read_checkpoint, without_prefixes

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([1.0, -1.0])}


def saved(folder, content, name="weights.pt"):
    file = folder / name
    torch.save(content, file)
    return file


def same(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[k], expected[k]) for k in found
    )


# ---- reading


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        OrderedDict,
        lambda s: {"model": s},
        lambda s: {"state_dict": s, "epoch": 3, "best": 0.5},
        lambda s: {"model_state": s, "optimizer": {"lr": 1.0}},
        lambda s: {"desc": s},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"model": {"name": "vit", "depth": 24}, "state_dict": s},
        lambda s: {"state_dict": s, "step": torch.tensor(7)},
        lambda s: {k: nn.Parameter(v) for k, v in s.items()},
        lambda s: {**s, "note": "from the second run"},
    ],
)
def test_a_state_is_found_in_its_wrappers(tmp_path, wrap):
    assert same(read_checkpoint(saved(tmp_path, wrap(STATE))), STATE)


def test_safetensors_are_read_as_well(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(STATE, file)
    assert same(read_checkpoint(file), STATE)


@pytest.mark.parametrize("prefix", ["module.", "model.", "sam.", "module.model."])
def test_prefixes_that_all_names_have_are_taken_off(tmp_path, prefix):
    prefixed = {prefix + k: v for k, v in STATE.items()}
    assert same(read_checkpoint(saved(tmp_path, prefixed)), STATE)
    assert without_prefixes({**prefixed, "other": STATE["layer.bias"]}).keys() == {
        *prefixed,
        "other",
    }


def test_no_names_have_no_prefixes():
    assert without_prefixes({}) == {}


class Harmful:
    """Its pickle makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_files_with_code_are_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    for content in ({"layer.weight": Harmful(trap)}, nn.Linear(2, 2)):
        file = saved(tmp_path, content)
        with pytest.raises(WeightsError, match=r"weights\.pt.*more than tensors"):
            read_checkpoint(file)
    assert not trap.exists()


@pytest.mark.parametrize("content", [{}, [1, 2], 3, {"epoch": 3}, {"model": {"name": "vit"}}])
def test_files_without_tensors_are_refused(tmp_path, content):
    with pytest.raises(WeightsError, match=r"weights\.pt: holds no tensors"):
        read_checkpoint(saved(tmp_path, content))


def test_a_wrapper_of_itself_ends(tmp_path):
    content: dict = {}
    content["model"] = content
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_checkpoint(saved(tmp_path, content))


def test_missing_files_and_folders_are_named(tmp_path):
    for file in (tmp_path, tmp_path / "nowhere.pt"):
        with pytest.raises(WeightsError, match=r"no such weights file"):
            read_checkpoint(file)


def damaged(content: bytes) -> list[bytes]:
    """Cut off, with bytes flipped, and no file at all."""
    generator = torch.Generator().manual_seed(0)
    out = [content[:n] for n in (0, 1, 2, 3, 10, len(content) // 3, len(content) - 30)]
    for _ in range(120):
        other = bytearray(content)
        for place in torch.randint(len(other), (4,), generator=generator).tolist():
            other[place] = int(torch.randint(256, (1,), generator=generator))
        out.append(bytes(other))
    out += [bytes([i, 200, 3]) for i in range(0, 256, 16)]
    return out


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_damaged_files_are_named_whatever_is_wrong_with_them(tmp_path, form):
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(STATE, file)
    else:
        torch.save(STATE, file, _use_new_zipfile_serialization=form == "zip")
    faults = []
    for content in damaged(file.read_bytes()):
        file.write_bytes(content)
        try:
            assert read_checkpoint(file)  # what was hit are values, or names
        except WeightsError as error:
            faults.append(str(error))
    assert len(faults) > 20
    assert all(file.name in fault for fault in faults)


# ---- loading


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = {
        "body": nn.Sequential(*(nn.Linear(3, 3) for _ in range(20))),
        "norm": nn.BatchNorm1d(3),
    }
    return nn.ModuleDict(parts)


def state_of(module):
    return {k: v + 1 for k, v in module.state_dict().items()}


def test_a_state_is_loaded_and_reported(tmp_path):
    module, file = network(), tmp_path / "w.pt"
    state = state_of(module)
    lost = "body.7.bias"
    kept = module.state_dict()[lost].clone()
    del state[lost]
    state["head.weight"] = torch.zeros(3)
    report = load_into(module, state, file, ["theirs"], ["b", "a"])
    assert report.missing == (lost,)
    assert report.unexpected == ("head.weight", "theirs")
    assert report.reshaped == ("a", "b")
    assert set(report.loaded) == set(state) - {"head.weight"}
    for name, value in module.state_dict().items():
        assert torch.equal(value, kept if name == lost else state[name])


def test_other_number_types_become_the_modules():
    module = network()
    load_into(module, {k: v.double() for k, v in state_of(module).items()}, None)  # type: ignore[arg-type]
    assert {v.dtype for v in module.parameters()} == {torch.float32}
    assert module.state_dict()["norm.num_batches_tracked"].dtype == torch.int64


def refused(tmp_path, change, *words):
    module = network()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = state_of(module)
    change(state)
    with pytest.raises(WeightsError) as error:
        load_into(module, state, tmp_path / "w.pt")
    for word in ("w.pt", *words):
        assert word in str(error.value)
    assert same(module.state_dict(), before)  # nothing was loaded halfway


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    def change(state):
        state["body.3.weight"][1, 1] = value

    refused(tmp_path, change, "body.3.weight", "NaN")


def test_other_shapes_are_refused_by_name(tmp_path):
    def change(state):
        state["body.3.weight"] = torch.zeros(3, 4)

    refused(tmp_path, change, "body.3.weight", "(3, 4)", "(3, 3)")


def test_less_than_95_percent_are_refused(tmp_path):
    def change(state):
        for i in range(3):
            del state[f"body.{i}.bias"]

    refused(tmp_path, change, "37 of the 40", "body.0.bias")


def test_95_percent_count_in_each_part(tmp_path):
    refused(tmp_path, lambda state: state.pop("norm.weight"), "3 of the 4", "norm.weight")


def test_old_batch_norms_had_no_count():
    module = network()
    state = state_of(module)
    del state["norm.num_batches_tracked"]
    assert load_into(module, state, None).missing == ("norm.num_batches_tracked",)  # type: ignore[arg-type]
