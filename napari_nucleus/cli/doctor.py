"""What an installation needs, looked at one by one, each finding with how to mend it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_data_path

from napari_nucleus import __version__
from napari_nucleus.cli.batch import screen_available
from napari_nucleus.errors import NucleusError
from napari_nucleus.models import zoo

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and how to mend it if it is not ok."""

    what: str
    found: str
    ok: bool = True
    mend: str = ""

    def as_dict(self) -> dict[str, str | bool]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'BAD '} {self.what}: {self.found}"
        return line if self.ok else f"{line}\n     {self.mend}"


def examine() -> list[Finding]:
    """Return all findings; none raises."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _torch,
        _transformers,
        _torchvision,
        _cuda,
        _weights,
        _data_folder,
        _viewer,
        _screen,
    )
    return [check() for check in checks]


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(
        "python",
        f"{text}, napari-nucleus {__version__}",
        sys.version_info >= (3, 11),
        "Use Python 3.11 or newer.",
    )


def _torch() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return Finding("torch", str(error), False, "pip install 'torch>=2.6,<2.14'")
    return Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _transformers() -> Finding:
    try:
        found = version("transformers")
        importlib.import_module("transformers").Sam2HieraDetModel  # noqa: B018
    except (ImportError, PackageNotFoundError, RuntimeError) as error:
        return Finding(
            "transformers",
            str(error).splitlines()[0],
            False,
            "pip install 'transformers>=5.23,<5.24'; see the torchvision line as well.",
        )
    return Finding("transformers", found)


def _torchvision() -> Finding:
    """A torchvision of another build than torch breaks every transformers model on import."""
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "not installed, and not needed")
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        return Finding(
            "torchvision",
            f"fails on import ({str(error).splitlines()[0]})",
            False,
            "It does not fit this torch and breaks transformers: pip uninstall torchvision",
        )
    return Finding("torchvision", version("torchvision"))


def _cuda() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return Finding("GPU", "unknown without torch")
    if not torch.cuda.is_available():
        return Finding("GPU", "none that torch can use; models run on the CPU")
    return Finding("GPU", torch.cuda.get_device_name(0))


def _weights() -> Finding:
    found = []
    for name in zoo.available() or (zoo.DEFAULT_MODEL,):
        try:
            model = zoo.load_model(name, "cpu")
        except (NucleusError, ImportError, RuntimeError) as error:
            return Finding("weights", f"{name}: {error}", False, "Reinstall napari-nucleus.")
        found.append(f"{name}, sha256 {model.digest[:16]}")
    return Finding("weights", "; ".join(found))


def _data_folder() -> Finding:
    folder = Path(user_data_path("napari-nucleus"))
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    return Finding(
        "data folder",
        str(folder),
        os.access(nearest, os.W_OK),
        f"{nearest} cannot be written to; change its permissions.",
    )


def _viewer() -> Finding:
    missing = [
        m for m in ("napari", "qtpy", "magicgui", "superqt") if importlib.util.find_spec(m) is None
    ]
    if missing:
        return Finding(
            "viewer",
            f"{', '.join(missing)} not installed",
            False,
            "pip install 'napari-nucleus[app]'",
        )
    try:
        importlib.import_module("qtpy.QtCore")
    except Exception as error:  # qtpy has an exception of its own for a missing binding
        return Finding("viewer", f"no usable Qt ({error})", False, "pip install PyQt6")
    return Finding("viewer", f"napari {version('napari')}")


def _screen() -> Finding:
    if screen_available():
        return Finding("screen", "there is one")
    return Finding("screen", "none; the command line works, the app needs one (or Xvfb)")
