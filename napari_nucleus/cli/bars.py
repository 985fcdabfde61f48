"""Progress bars of commands: on a terminal only, and gone when the work is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_nucleus.core.progress import Progress as Report
from napari_nucleus.core.progress import ProgressCallback

__all__ = ["shown_progress"]


@contextmanager
def shown_progress(name: str, unit: str) -> Iterator[ProgressCallback]:
    """Give what takes reports while a bar is shown.

    Parameters
    ----------
    name
        What is worked on.
    unit
        What is counted, such as ``"tiles"``.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed}}/{{task.total}} {unit}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(name, total=None)

        def show(report: Report) -> None:
            bar.update(task, completed=report.done, total=report.total)

        yield show
