"""Our members (see `members`) as one JSON text, for formats with a single free place for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from napari_nucleus.io.formats.members import (
    members_of,
    number_in,
    provenance_in,
    scheme_in,
    shape_in,
)
from napari_nucleus.io.results import SegmentationResult

__all__ = ["OUR_KEY", "our_text", "stated_in_text", "stated_in_value"]

OUR_KEY = "napari_nucleus"
"""What the place is called where it has a name."""


def our_text(result: SegmentationResult) -> bytes:
    """Return what a result says of all its nuclei together: classes, sizes, provenance."""
    return orjson.dumps(members_of(result), option=orjson.OPT_SERIALIZE_NUMPY)


def stated_in_text(text: str | bytes | None, name: str) -> dict[str, Any]:
    """Return what such a text says, as keywords for `Stated`; none for any other text.

    Parameters
    ----------
    text
        What stands in the place; it may come from anybody.
    name
        Of the file, for its scheme.
    """
    try:
        value = orjson.loads(text or b"null")
    except orjson.JSONDecodeError:
        value = None
    return stated_in_value(value, name)


def stated_in_value(value: Any, name: str) -> dict[str, Any]:
    """Return what the value of such a text says; see `stated_in_text`."""
    if not isinstance(value, Mapping):
        return {}
    return {
        "scheme": scheme_in(value.get("type_info"), name),
        "mpp": number_in(value.get("mpp")),
        "shape": shape_in(value.get("shape")),
        "provenance": provenance_in(value.get("provenance")),
    }
