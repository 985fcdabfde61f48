"""The images of a folder, one after the other: their order, and where somebody stopped."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from napari_nucleus.errors import ImageError
from napari_nucleus.session.lists import read_list, write_list

__all__ = ["Positions", "Series", "natural_key"]

KEPT_FOLDERS = 200


def natural_key(name: str) -> tuple:
    """Return what to sort names by, so that 2 comes before 10, whatever the case of letters."""
    stem, suffix = os.path.splitext(name.casefold())
    parts = re.split(r"(\d+)", stem)
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in parts if p), suffix


@dataclass(frozen=True, eq=False)
class Series:
    """The images of a folder.

    Parameters
    ----------
    folder
        Where they are; folders in it are not searched.
    files
        The images in their natural order; one at least.
    unreadable
        Why an image cannot be opened, by its place in the order; found out when it is tried.
    """

    folder: Path
    files: tuple[Path, ...]
    unreadable: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of_folder(cls, folder: Path, suffixes: Collection[str]) -> Series:
        """Return the images of a folder: the files with one of these endings, hidden ones left out.

        Parameters
        ----------
        suffixes
            Endings in small letters, with the dot.

        Raises
        ------
        ImageError
            If the folder cannot be read or there is no image in it.
        """
        try:
            found = [
                file
                for file in folder.iterdir()
                if file.suffix.lower() in suffixes
                and not file.name.startswith(".")
                and file.is_file()
            ]
        except OSError as error:
            reason = error.strerror or error
            raise ImageError(f"{folder}: the folder cannot be read ({reason}).") from error
        if not found:
            raise ImageError(
                f"{folder}: there is no image in this folder ({', '.join(sorted(suffixes))})."
            )
        files = sorted(found, key=lambda file: (natural_key(file.name), file.name))
        return cls(folder, tuple(files))

    def __len__(self) -> int:
        return len(self.files)

    def title(self, index: int) -> str:
        """Return what to call an image of the series: ``"3 of 24: name.tif"``."""
        return f"{index + 1} of {len(self)}: {self.files[index].name}"

    def after(self, index: int, forward: bool = True) -> int | None:
        """Return the next image, or the one before, that is not known to be unreadable."""
        step = 1 if forward else -1
        end = len(self) if forward else -1
        return next((i for i in range(index + step, end, step) if i not in self.unreadable), None)

    def index_of(self, name: str) -> int:
        """Return where an image is; for one that is gone, where it would be, at most the last."""
        names = [file.name for file in self.files]
        if name in names:
            return names.index(name)
        before = sum(natural_key(other) < natural_key(name) for other in names)
        return min(before, len(self) - 1)


class Positions:
    """Which image of each folder was looked at last.

    Parameters
    ----------
    file
        Where that is kept, between sessions as well.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, series: Series) -> int:
        """Return where to go on in a series; its first image if it was never opened before."""
        names = dict(self._rows())
        name = names.get(str(series.folder))
        return 0 if name is None else series.index_of(name)

    def note(self, series: Series, index: int) -> None:
        """Note that an image of a series is looked at."""
        here = str(series.folder)
        others = [row for row in self._rows() if row[0] != here]
        write_list(self._file, [[here, series.files[index].name], *others][:KEPT_FOLDERS])

    def _rows(self) -> list[list[str]]:
        return [
            row
            for row in read_list(self._file)
            if isinstance(row, list) and len(row) == 2 and all(isinstance(v, str) for v in row)
        ]
