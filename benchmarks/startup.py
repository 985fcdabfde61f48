"""How long imports take that the command line and napari's start pay for."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.timing import row

TIMED = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def seconds_to_import(module: str, runs: int = 5) -> float:
    """Return the median seconds of importing a module in a new interpreter."""
    times = []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", TIMED.format(module)], capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    return statistics.median(times)


def main() -> None:
    """Print a row for the package and one for the command line."""
    row("import napari_nucleus", seconds_to_import("napari_nucleus") * 1000, "ms", 150)
    row("import napari_nucleus.cli", seconds_to_import("napari_nucleus.cli") * 1000, "ms")


if __name__ == "__main__":
    main()
