"""Long changes that pause: generators that yield between pieces of work and return the outcome."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

__all__ = ["finished"]

T = TypeVar("T")


def finished(steps: Generator[Any, None, T]) -> T:
    """Work through to the end without pausing, and return the outcome."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
