"""Named configurations of the text-prompted models."""

from __future__ import annotations

from napari_nucleus.models.promptgroup.config import PromptGroupConfig
from napari_nucleus.models.uperhover.presets import NANO as UPERHOVER_NANO

__all__ = ["NANO"]

NANO = PromptGroupConfig(vision=UPERHOVER_NANO)
"""The bundled model: the eyes of ``uperhover-nano``, six concepts, two CPU cores."""
