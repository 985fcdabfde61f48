"""Runs benchmarks by name, all of them by default, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "startup",
    "metrics",
    "watershed",
    "tme",
    "polygons",
    "coco",
    "exports",
    "document",
    "generator",
    "nano",
    "nunext",
    "app",
    "stalls",
    "slide",
    "table",
    "measure",
    "text",
    "points",
)


def main() -> int:
    """Run the benchmarks named on the command line."""
    wanted = sys.argv[1:] or NAMES
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"No benchmark {unknown[0]!r}; there is {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"--- {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
