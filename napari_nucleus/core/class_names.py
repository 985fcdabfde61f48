"""Class schemes of what a file names: names and colours in, a scheme and ids out.

Knows nothing of formats. A file whose classes are all those of a scheme of the program gets that
scheme; any other gets a scheme of its own, with its own colours where it states them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import KEYS, LARGEST_ID, PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.core.schemes import SCHEMES
from napari_nucleus.errors import AnnotationError

__all__ = ["FREE_COLORS", "NEW_SCHEME", "NO_CLASS_NAMES", "free_color", "scheme_of_names"]

Rgb = tuple[int, int, int]

FREE_COLORS: tuple[Rgb, ...] = (
    (230, 85, 13),
    (10, 175, 85),
    (0, 114, 220),
    (20, 20, 20),
    (0, 204, 252),
    (255, 255, 255),
    (150, 0, 30),
    (90, 70, 0),
)
"""Colours of new classes, the first that no class has."""

NEW_SCHEME = "imported classes"
"""Name of a scheme that is made of what a file names."""

NO_CLASS_NAMES = frozenset(("", "unclassified", "none", "background", "nolabe", "unknown"))
"""Names, in small letters, of having no class."""


def free_color(taken: Iterable[Rgb]) -> Rgb:
    """Return the first of `FREE_COLORS` that is not taken, grey when all are."""
    used = set(taken)
    return next((c for c in FREE_COLORS if c not in used), (128, 128, 128))


def scheme_of_names(
    names: Iterable[str | None],
    colors: Mapping[str, Rgb] | None = None,
    where: str = "import",
    stated: ClassScheme | None = None,
) -> tuple[ClassScheme, NDArray[np.int32]]:
    """Return the scheme of the classes that nuclei name, and the class id of each nucleus.

    Parameters
    ----------
    names
        Class name of each of n nuclei; None, empty or one of `NO_CLASS_NAMES` for no class.
    colors
        ``(r, g, b)`` in 0–255 by name, where the file states any.
    where
        Name of the file, for an error. It does not become the scheme's, which goes into files.
    stated
        The scheme that the file itself describes, if it does: taken if it has all the names.

    Returns
    -------
    scheme
        The stated one or the first of the program's schemes that has all names (case does not
        matter), PanNuke's if none is named; else a new one in the order of appearance.
    class_ids
        ``(n,)`` int32, 0 for no class.

    Raises
    ------
    AnnotationError
        If there are more classes than a scheme can have.
    """
    wanted = [(name or "").strip() for name in names]
    first = {name.casefold(): name for name in reversed(wanted)}
    order = dict.fromkeys(n.casefold() for n in wanted if n.casefold() not in NO_CLASS_NAMES)
    known = [stated] if stated is not None else []
    known += SCHEMES.values()
    scheme = next((s for s in known if all(s.by_name(n) for n in order)), None)
    if scheme is None:
        scheme = _new_scheme([first[n] for n in order], dict(colors or {}), where)
    elif not order and stated is None:
        scheme = PANNUKE
    ids = {c.name.casefold(): c.id for c in scheme.classes}
    return scheme, np.array([ids.get(n.casefold(), 0) for n in wanted], np.int32)


def _new_scheme(names: list[str], colors: dict[str, Rgb], where: str) -> ClassScheme:
    if len(names) > LARGEST_ID:
        raise AnnotationError(
            f"{where}: {len(names)} classes ({names[0]!r}, {names[1]!r} …); there can be "
            f"{LARGEST_ID} at most. Are these names of single nuclei?"
        )
    classes: list[NucleusClass] = []
    taken = {colors[n] for n in names if n in colors}
    for i, name in enumerate(names):
        color = colors.get(name) or free_color(taken)
        taken.add(color)
        classes.append(NucleusClass(i + 1, name, color, KEYS[i] if i < len(KEYS) else ""))
    return ClassScheme(NEW_SCHEME, tuple(classes))
