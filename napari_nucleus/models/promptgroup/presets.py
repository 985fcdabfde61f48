"""Named configurations of the text-prompted models."""

from __future__ import annotations

from dataclasses import replace

from napari_nucleus.models.promptgroup.config import AnswerConfig, PromptGroupConfig
from napari_nucleus.models.uperhover.presets import NANO as UPERHOVER_NANO

__all__ = ["NANO"]

NANO = PromptGroupConfig(
    # One mirroring: a preview must follow the typing, and there are four windows on a tile of 320.
    vision=replace(UPERHOVER_NANO, inference=replace(UPERHOVER_NANO.inference, flips=1)),
    answer=AnswerConfig(mask=0.55, confidence=0.1, plain=True, precision="auto"),
)
"""The bundled model: the eyes of ``uperhover-nano``, six concepts, two CPU cores."""
