"""Named configurations of the NuNext nano."""

from __future__ import annotations

from napari_nucleus.models.nunext.config import NuNextConfig

__all__ = ["NANO"]

NANO = NuNextConfig()
"""The bundled model: windows of 256 px, one word for each of their pixels' rows and columns."""
