"""The zoo: models by name; describing one loads no torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.uninuc.presets import NANO


def modules_after(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded after ``code``."""
    script = code + (
        "\nimport sys\n"
        "heavy = {'torch', 'transformers', 'safetensors', 'napari', 'qtpy'}\n"
        "print('LOADED', *sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    line = next(row for row in out.splitlines() if row.startswith("LOADED"))
    return set(line.split()[1:])


def test_describing_models_loads_no_torch():
    code = (
        "import napari_nucleus.models.api\n"
        "from napari_nucleus.models import zoo\n"
        "from napari_nucleus.errors import NucleusError\n"
        "for name in zoo.names():\n"
        "    zoo.describe(name)\n"
        "    try:\n"
        "        zoo.card(name)\n"
        "    except (OSError, NucleusError):\n"
        "        pass\n"
        "try:\n"
        "    zoo.load_model('no such model')\n"
        "except NucleusError:\n"
        "    pass\n"
    )
    assert modules_after(code) == set()


def test_the_default_model_is_in_the_zoo():
    assert zoo.DEFAULT_MODEL in zoo.names()
    info = zoo.describe(zoo.DEFAULT_MODEL)
    assert info.name == zoo.DEFAULT_MODEL
    assert info.classes == PANNUKE
    assert info.source == "bundled"
    assert set(info.capabilities) == {"automatic", "promptable"}


def test_what_is_said_of_the_nano_is_what_it_is_configured_for():
    info, inference = zoo.describe("uninuc-nano"), NANO.inference
    assert info.working_mpp == inference.mpp
    assert (info.tile, info.halo, info.click_tile) == (
        inference.tile,
        inference.halo,
        inference.click_tile,
    )
    assert len(info.classes) == NANO.n_classes


def test_a_file_in_place_of_the_bundled_weights_is_said(tmp_path):
    file = tmp_path / "mine.safetensors"
    assert zoo.describe("uninuc-nano", file).source == str(file)
    with pytest.raises(WeightsError, match=r"mine\.safetensors"):
        zoo.load_model("uninuc-nano", "cpu", str(file))


@pytest.mark.parametrize("call", [zoo.describe, zoo.card, zoo.load_model])
def test_an_unknown_model_is_refused_with_those_there_are(call):
    with pytest.raises(ModelError, match=r"'uninuc-giga'.*uninuc-nano"):
        call("uninuc-giga")


@pytest.mark.parametrize("name", ["toaster", "cuda:x", "", "meta", "mps"])
def test_unknown_devices_are_refused_with_those_there_are(name):
    with pytest.raises(ModelError, match="auto, cpu, cuda"):
        resolve_device(name)
    with pytest.raises(ModelError, match="auto, cpu, cuda"):
        zoo.load_model("uninuc-nano", name, Path("nowhere.safetensors"))


def test_auto_takes_the_gpu_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, name, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ModelError, match=f"'{name}'.*{count} CUDA"):
        resolve_device(name)
