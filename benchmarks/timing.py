"""Measuring a piece of work, and the row that says how it compares with its target."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

__all__ = ["cpu_seconds", "median_ms", "percentile", "row", "wall_times"]


def cpu_seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Return the median CPU time of ``work`` over ``runs`` runs, after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def wall_times(work: Callable[[], object], runs: int) -> list[float]:
    """Return the seconds that each of ``runs`` calls took."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return times


def median_ms(work: Callable[[], object], runs: int) -> float:
    """Return the median time of a call in milliseconds."""
    return statistics.median(wall_times(work, runs)) * 1000


def percentile(times: Sequence[float], share: float) -> float:
    """Return the time below which a share of the times lies."""
    ordered = sorted(times)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def row(what: str, measured: float, unit: str, target: float | None = None, note: str = "") -> None:
    """Print one row: what was done, what was measured, the target, and whether it was met."""
    text = f"{what:<58} {measured:10.3f} {unit:<7}"
    if target is not None:
        text += f" target {target:8.3f}  {'ok' if measured <= target else 'MISSED'}"
    print(f"{text}  {note}".rstrip(), flush=True)
