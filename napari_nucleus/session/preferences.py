"""What a user has settled once for all projects: who works, with which model, in which classes.

That it cannot be read or written is no reason to stop: it is then as if nothing were settled.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme

__all__ = ["ExportChoices", "Preferences", "login_name", "tidy_name"]

LONGEST_NAME = 80

ANNOTATOR, LAST_SCHEME, NEW_SCHEME = "annotator", "last_scheme", "new_scheme"
AUTOMATIC_MODEL, CLICK_MODEL = "automatic_model", "click_model"
EXPORT, IMPORT_FOLDER, ASKED = "export", "import_folder", "asked"

MOST_ASKED = 30
"""Texts that are remembered."""


@dataclass(frozen=True)
class ExportChoices:
    """What was chosen at the last export; the name of the files is the image's, never kept.

    Parameters
    ----------
    folder
        Where the files went; empty before the first export.
    formats
        Names of formats, which may be of another version of the program; empty for the usual ones.
    area
        What of the image; empty for all.
    without
        Names of classes that were left out.
    simplify
        Whether outlines were simplified.
    """

    folder: str = ""
    formats: tuple[str, ...] = ()
    area: str = ""
    without: tuple[str, ...] = ()
    simplify: bool = False

    @classmethod
    def of(cls, value: Any) -> Self:
        """Return what a file holds of it; whatever is damaged there is as if never chosen."""
        settled: Mapping[str, Any] = value if isinstance(value, dict) else {}

        def text(key: str) -> str:
            found = settled.get(key)
            return found if isinstance(found, str) else ""

        def texts(key: str) -> tuple[str, ...]:
            found = settled.get(key)
            return tuple(t for t in found if isinstance(t, str)) if isinstance(found, list) else ()

        return cls(
            text("folder"),
            texts("formats"),
            text("area"),
            texts("without"),
            settled.get("simplify") is True,
        )


class Preferences:
    """A small file in the user's data folder; read when asked, written when set.

    Parameters
    ----------
    file
        Made when first needed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def annotator(self) -> str:
        """Who works; the name of the login until a name is given. Setting "" forgets the name."""
        name = self._read().get(ANNOTATOR)
        return name if isinstance(name, str) and name else login_name()

    @annotator.setter
    def annotator(self, name: str) -> None:
        self._write({ANNOTATOR: tidy_name(name)})

    @property
    def automatic_model(self) -> str:
        """Name of the model that finds the nuclei; empty until one is chosen."""
        name = self._read().get(AUTOMATIC_MODEL)
        return name if isinstance(name, str) else ""

    @automatic_model.setter
    def automatic_model(self, name: str) -> None:
        self._write({AUTOMATIC_MODEL: name})

    @property
    def click_model(self) -> str:
        """Name of the model that answers clicks; empty until one is chosen."""
        name = self._read().get(CLICK_MODEL)
        return name if isinstance(name, str) else ""

    @click_model.setter
    def click_model(self, name: str) -> None:
        self._write({CLICK_MODEL: name})

    @property
    def export(self) -> ExportChoices:
        """What was chosen at the last export."""
        return ExportChoices.of(self._read().get(EXPORT))

    @export.setter
    def export(self, choices: ExportChoices) -> None:
        self._write({EXPORT: asdict(choices)})

    @property
    def asked(self) -> list[str]:
        """Texts that were asked, the last one first."""
        texts = self._read().get(ASKED)
        return [t for t in texts if isinstance(t, str)] if isinstance(texts, list) else []

    def note_asked(self, text: str) -> None:
        """Remember a text that was asked; `MOST_ASKED` are kept."""
        others = [t for t in self.asked if t.casefold() != text.casefold()]
        self._write({ASKED: [text, *others][:MOST_ASKED]})

    @property
    def import_folder(self) -> str:
        """Folder of the file that was imported last; empty before that."""
        folder = self._read().get(IMPORT_FOLDER)
        return folder if isinstance(folder, str) else ""

    @import_folder.setter
    def import_folder(self, folder: str) -> None:
        self._write({IMPORT_FOLDER: folder})

    @property
    def last_scheme(self) -> ClassScheme | None:
        """The class scheme of the user's own that was used last; None if there was none."""
        return self._scheme(LAST_SCHEME)

    @last_scheme.setter
    def last_scheme(self, scheme: ClassScheme) -> None:
        self._write({LAST_SCHEME: text_of_scheme(scheme)})

    @property
    def new_scheme(self) -> ClassScheme:
        """The class scheme of new projects."""
        return self._scheme(NEW_SCHEME) or PANNUKE

    @new_scheme.setter
    def new_scheme(self, scheme: ClassScheme) -> None:
        self._write({NEW_SCHEME: text_of_scheme(scheme)})

    def _scheme(self, key: str) -> ClassScheme | None:
        text = self._read().get(key)
        try:
            return scheme_of_text(text) if isinstance(text, str) else None
        except ValueError:
            return None

    def _read(self) -> dict[str, Any]:
        try:
            found = orjson.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, settled: Mapping[str, Any]) -> None:
        part = self._file.with_suffix(".part")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            whole = {**self._read(), **settled}
            part.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))
            os.replace(part, self._file)


def tidy_name(name: str) -> str:
    """Return a name as it is kept: of a sensible length, with single blanks."""
    return " ".join(name.split())[:LONGEST_NAME]


def login_name() -> str:
    """Return the name that the user is logged in with; empty where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # each Python and system has its own way to say so
        return ""
