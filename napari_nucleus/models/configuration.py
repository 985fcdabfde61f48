"""Configurations as frozen dataclasses, and back from the plain values of a weights header."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["from_plain"]


def from_plain(cls: Any, values: dict[str, Any]) -> Any:
    """Rebuild a dataclass from `dataclasses.asdict`, JSON's lists as tuples.

    Nested ones are known by the default factory of their field.

    Raises
    ------
    TypeError
        If a value belongs to no field.
    """
    known = {f.name: f for f in fields(cls)}
    arguments = {}
    for name, value in values.items():
        factory: Any = known[name].default_factory if name in known else None
        default = factory() if callable(factory) else None
        if is_dataclass(default):
            value = from_plain(type(default), value)
        arguments[name] = _tuples(value)
    return cls(**arguments)


def _tuples(value: Any) -> Any:
    """Return a value with its lists as tuples, at every depth."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
