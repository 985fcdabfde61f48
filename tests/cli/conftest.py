"""Runs the command line in this process, with a model of numpy alone in the zoo."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_helpers import (
    DARK,
    OUTLINES,
    POINTS,
    DarkAroundClicks,
    DarkHasMiddles,
    DarkIsNucleus,
    Outcome,
    save_picture,
)

sys.path.append(str(Path(__file__).parents[1] / "models"))


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``napari-nucleus`` with arguments, as its entry point does."""
    from napari_nucleus.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["napari-nucleus", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Outcome(0 if code is None else int(code), said.out, said.err)

    return run


@pytest.fixture
def dark(monkeypatch) -> str:
    """The name of a model that takes dark discs for nuclei; it is the default as well."""
    from napari_nucleus.models import zoo

    entry = zoo._Entry(DARK, "uninuc", lambda info, weights, device: DarkIsNucleus())
    monkeypatch.setattr(zoo, "_ZOO", {**zoo._ZOO, DARK.name: entry})
    monkeypatch.setattr(zoo, "DEFAULT_MODEL", DARK.name)
    return DARK.name


@pytest.fixture
def pointing(monkeypatch) -> str:
    """The name of a model that finds dark discs as points; the default model outlines them."""
    from napari_nucleus.models import zoo

    models = {POINTS: DarkHasMiddles, OUTLINES: DarkAroundClicks}
    entries = {
        info.name: zoo._Entry(info, "uninuc", lambda info, *_, kind=kind: kind())
        for info, kind in models.items()
    }
    monkeypatch.setattr(zoo, "_ZOO", {**zoo._ZOO, **entries})
    monkeypatch.setattr(zoo, "DEFAULT_MODEL", OUTLINES.name)
    return POINTS.name


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Weights of a UniNuc of a few thousand parameters, none of which means anything."""
    from uninuc_helpers import make_network

    from napari_nucleus.models.uninuc.build import save_network

    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(make_network(), file, None, {})
    return file


@pytest.fixture
def picture(tmp_path) -> Path:
    """A picture with nuclei, of 90 x 70 pixels."""
    return save_picture(tmp_path / "field.png")


@pytest.fixture
def windows(monkeypatch) -> list[str]:
    """What a window was opened for, by name; none is opened really."""
    from types import ModuleType

    opened: list[str] = []
    launcher = ModuleType("napari_nucleus.widgets.launch")
    launcher.launch = lambda source, name, *_: opened.append(name)  # type: ignore[attr-defined]
    launcher.launch_project = lambda path: opened.append(path.name)  # type: ignore[attr-defined]
    launcher.launch_folder = lambda path, mpp: opened.append((path.name, mpp))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "napari_nucleus.widgets.launch", launcher)
    return opened
