"""CPU time of drawing sample fields; ``python -m benchmarks generator``.

Prints milliseconds of CPU time per field of 256 x 256 pixels, the median for each tissue and for
random mixtures. The aim is at most 150 ms on one core, so that fields can be drawn beside a
training. Set OMP_NUM_THREADS=1 for a fair figure.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from napari_nucleus.sample_data.generator import TISSUES, generate_field, random_spec


def cpu_ms(tissues: tuple[str, ...] | None, side: int, repeats: int) -> tuple[float, float, float]:
    """Return median and largest CPU milliseconds, and the mean number of nuclei."""
    times, nuclei = [], []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        spec = random_spec(rng, (side, side), tissues=tissues)
        start = time.process_time()
        field = generate_field(spec, rng)
        times.append(1e3 * (time.process_time() - start))
        nuclei.append(len(field.class_of_id) - 1)
    return statistics.median(times), max(times), statistics.fmean(nuclei)


def main() -> None:
    """Time each tissue, then mixtures."""
    parser = argparse.ArgumentParser(description="CPU time of drawing sample fields.")
    parser.add_argument("--side", type=int, default=256, help="pixels on each side")
    parser.add_argument("--repeats", type=int, default=7, help="fields per row")
    options = parser.parse_args()
    print(f"{'tissue':16s}{'median ms':>10s}{'max ms':>10s}{'nuclei':>8s}")
    for name in TISSUES:
        median, largest, nuclei = cpu_ms((name,), options.side, options.repeats)
        print(f"{name:16s}{median:10.0f}{largest:10.0f}{nuclei:8.0f}")
    median, largest, nuclei = cpu_ms(None, options.side, 8 * options.repeats)
    print(f"{'random':16s}{median:10.0f}{largest:10.0f}{nuclei:8.0f}")


if __name__ == "__main__":
    main()
