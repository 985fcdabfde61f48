"""The classes of many nuclei before and after a change of scheme, as arrays.

A change of scheme touches every nucleus of an image; as rows it would take seconds and megabytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme

if TYPE_CHECKING:
    from napari_nucleus.session.store import Store

__all__ = ["SCHEME_FACT", "Classes", "Recoding", "apply_recoding", "scheme_in"]

SCHEME_FACT = "scheme"
"""Key under which a store keeps the class scheme."""


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Classes of nuclei in one scheme.

    Parameters
    ----------
    scheme
        The scheme.
    class_ids
        ``(n,)`` int32.
    class_prob
        ``(n, C)`` float64 in the order of the scheme; a row of NaN for a nucleus without any.
    """

    scheme: ClassScheme
    class_ids: NDArray[np.int32]
    class_prob: NDArray[np.float64]

    def probabilities(self) -> list[tuple[float, ...]]:
        """Return the probabilities of each nucleus as a row of the table has them."""
        return [() if math.isnan(sum(row)) else tuple(row) for row in self.class_prob.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Recoding:
    """A scheme that became another, and what became of some nuclei with it.

    Parameters
    ----------
    ids
        ``(n,)`` int64 nuclei whose class or probabilities are others then.
    box
        Smallest box around them; None if there are none.
    before, after
        Their classes.
    """

    ids: NDArray[np.int64]
    box: Box | None
    before: Classes
    after: Classes

    def inverse(self) -> Recoding:
        """Return the change back."""
        return Recoding(self.ids, self.box, self.after, self.before)


def scheme_in(store: Store) -> ClassScheme | None:
    """Return the class scheme that a store keeps; None if it never had to keep one."""
    text = store.fact(SCHEME_FACT)
    return None if text is None else scheme_of_text(text)


def apply_recoding(store: Store, recoding: Recoding) -> None:
    """Write it into a store, inside the store's open transaction."""
    store.put_fact(SCHEME_FACT, text_of_scheme(recoding.after.scheme))
    after = recoding.after
    store.put_classes(recoding.ids.tolist(), after.class_ids.tolist(), after.probabilities())
