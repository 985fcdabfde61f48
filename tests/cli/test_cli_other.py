"""The smaller commands: what is there, whether it works, the demo, and opening the app."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_helpers import DARK, save_picture
from PIL import Image

from napari_nucleus import __version__
from napari_nucleus.errors import NucleusError, WeightsError
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.io.images import open_image
from napari_nucleus.models import zoo
from napari_nucleus.session.project import ImageReference, Project

COMMANDS = ("segment", "measure", "evaluate", "train", "models", "card", "doctor", "demo", "open")


def test_the_version_is_printed(command):
    outcome = command("--version")
    assert outcome.code == 0
    assert outcome.out.strip() == __version__


def test_help_names_every_command_and_what_it_is_not_for(command):
    outcome = command("--help")
    assert outcome.code == 0
    for name in COMMANDS:
        assert name in outcome.out
    assert "not for diagnosis" in outcome.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command, name):
    outcome = command(name, "--help")
    assert outcome.code == 0
    assert name in outcome.out


@pytest.mark.parametrize("arguments", [("divine",), ("evaluate", "beauty"), ("--frobnicate",)])
def test_unknown_commands_are_answered_with_the_usage(command, arguments):
    outcome = command(*arguments)
    assert outcome.code == 2
    assert arguments[-1] in outcome.err
    assert "Traceback" not in outcome.err


def test_help_loads_neither_torch_nor_napari():
    script = (
        "import atexit, sys\n"
        "from napari_nucleus.cli import main\n"
        "heavy = {'torch', 'transformers', 'napari', 'qtpy', 'skimage'}\n"
        "atexit.register(lambda: print('LOADED', *sorted(heavy & set(sys.modules))))\n"
        "sys.argv = ['napari-nucleus', '--help']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_models_are_listed_for_people_and_for_programs(command):
    text = command("models")
    assert text.code == 0
    rows = json.loads(command("models", "--json").out)
    assert [row["name"] for row in rows] == list(zoo.names())
    for row in rows:
        assert row["name"] in text.out
        assert row["licence"] in text.out
        assert (row["classes"] or ["none"])[0] in text.out


def test_the_card_of_a_model_is_printed(command, monkeypatch, tmp_path):
    (tmp_path / "card.md").write_text("# Nano\n\nBad at: café", "utf-8")
    monkeypatch.setattr(zoo, "_resource", lambda entry, name: tmp_path / name)
    outcome = command("card", "uninuc-nano")
    assert outcome.code == 0
    assert outcome.out == "# Nano\n\nBad at: café\n"


def test_cards_that_are_not_there_are_named(command, monkeypatch, tmp_path):
    command("card", "uninuc-giga").refused("'uninuc-giga'", "uninuc-nano")
    monkeypatch.setattr(zoo, "_resource", lambda entry, name: tmp_path / name)
    command("card").refused(tmp_path / "card.md", "uninuc-nano")


# ---- doctor


def test_the_doctor_ends_well_only_if_every_finding_is_well(command, dark, monkeypatch):
    monkeypatch.setattr(zoo, "available", lambda: (dark,))
    outcome = command("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(outcome.out)}
    assert {"python", "torch", "weights", "data folder", "viewer", "screen"} <= set(findings)
    assert outcome.code == (0 if all(f["ok"] for f in findings.values()) else 1)
    assert findings["weights"]["found"].startswith("dark, sha256 0123456789abcdef")


def test_the_doctor_says_what_is_broken_and_how_to_mend_it(command, dark, monkeypatch):
    def broken(info, weights, device):
        raise WeightsError("nano.safetensors: no such weights file.")

    monkeypatch.setattr(zoo, "_ZOO", {DARK.name: zoo._Entry(DARK, "uninuc", broken)})
    outcome = command("doctor")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("BAD  weights"))
    assert "nano.safetensors: no such weights file." in lines[row]
    assert lines[row + 1].strip() == "Reinstall napari-nucleus."
    assert "Traceback" not in outcome.err


# ---- demo


def test_the_demo_writes_and_scores_a_bundled_field(command, dark, windows, tmp_path):
    outcome = command("demo", "--out", tmp_path / "out", "--field", "lymphoid", "--no-show")
    assert outcome.code == 0, outcome.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "lymphoid.tif",
        "lymphoid.geojson",
        "lymphoid.csv",
        "lymphoid_overlay.png",
    }
    assert "nuclei found" in outcome.out
    assert "PQ " in outcome.out
    assert windows == []


def test_a_demo_that_cannot_be_is_refused(command, dark, windows, tmp_path):
    out = tmp_path / "out"
    command("demo", "--out", out, "--field", "moon").refused("'moon'", "crypts, tumour, lymphoid")
    command("demo", "--out", out, "--device", "cuda", "--no-show", "--field", "").refused("''")
    assert not out.exists()
    out.write_text("my notes")
    command("demo", "--out", out).refused(out, "is a file")
    assert out.read_text() == "my notes"
    assert windows == []


# ---- open


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":99")


def test_an_image_is_opened_by_its_name(command, windows, screen, picture):
    assert command("open", picture).code == 0
    assert windows == ["field"]


@pytest.fixture
def case(tmp_path, picture):
    """A project of the picture."""
    source = open_image(picture)
    image = ImageReference("my slide", image_key(source), str(picture))
    Project.create(tmp_path / "case.nucleus", image, source.shape).close()
    return tmp_path / "case.nucleus"


def test_a_project_is_opened(command, windows, screen, case):
    assert command("open", case).code == 0
    assert windows == ["case.nucleus"]


def test_where_the_app_has_to_ask_for_the_picture_it_is_said_and_opened(
    command, windows, screen, case, picture
):
    changed = Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed.save(picture)
    outcome = command("open", case)
    assert outcome.code == 0
    assert "field.png: the picture has changed since case.nucleus" in outcome.err
    picture.unlink()
    outcome = command("open", case)
    assert outcome.code == 0
    assert "case.nucleus: its image" in outcome.err
    assert "is not there" in outcome.err
    assert windows == ["case.nucleus"] * 2


def test_no_window_is_opened_for_a_project_with_a_picture_of_another_size(
    command, windows, screen, case, picture
):
    picture.write_bytes(save_picture(picture.with_name("other.png"), (64, 130)).read_bytes())
    command("open", case).refused("field.png", "130 x 64", "90 x 70", "case.nucleus")
    case.write_text("no project")
    command("open", case).refused("case.nucleus: no project")
    assert windows == []


def test_a_folder_of_images_is_opened(command, windows, screen, picture):
    assert command("open", picture.parent, "--mpp", "0.5").code == 0
    assert windows == [(picture.parent.name, 0.5)]
    command("open", picture.parent, "--mpp", "99").refused("99", "0.05–5")
    assert len(windows) == 1


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_no_window_is_opened_for_what_is_no_image(command, windows, screen, tmp_path, kind):
    file = tmp_path / "slide.svs"
    if kind == "folder":
        file.mkdir()
    elif kind == "text":
        file.write_text("no slide")
    command("open", file).refused("slide.svs: ")
    assert windows == []


def test_no_window_is_opened_with_a_pixel_size_no_microscope_has(command, windows, screen, picture):
    command("open", picture, "--mpp", 99).refused("field.png", "99", "0.05–5")
    assert windows == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
@pytest.mark.parametrize("how", ["open", "demo"])
def test_without_a_screen_it_is_said_what_works_instead(
    command, dark, windows, picture, tmp_path, monkeypatch, how
):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    arguments = {"open": (picture,), "demo": ("--show", "--out", tmp_path / "out")}[how]
    command(how, *arguments).refused("no screen", "napari-nucleus segment")
    assert windows == []
    assert not (tmp_path / "out").exists()


def test_an_installation_without_the_viewer_is_told_how_to_get_it(
    command, screen, picture, monkeypatch
):
    monkeypatch.setitem(sys.modules, "napari_nucleus.widgets.launch", None)
    command("open", picture).refused("pip install 'napari-nucleus[app]'")


# ---- every error


def test_a_message_of_several_lines_becomes_one(command, monkeypatch):
    def fail(name):
        raise NucleusError("slide.svs: damaged\n  at row 7\n")

    monkeypatch.setattr(zoo, "card", fail)
    command("card").refused("slide.svs: damaged at row 7")


def test_a_fault_of_the_program_is_not_taken_for_one_of_the_user(monkeypatch):
    from napari_nucleus.cli import main

    def fail(name):
        raise ZeroDivisionError

    monkeypatch.setattr(zoo, "card", fail)
    monkeypatch.setattr(sys, "argv", ["napari-nucleus", "card"])
    with pytest.raises(ZeroDivisionError):
        main()
