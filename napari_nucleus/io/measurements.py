"""Files of a measurement: JSON, tables, figures and a report, all of them or none."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.entropy_map import entropy_map
from napari_nucleus.core.figures import (
    composition_figure,
    curves_figure,
    entropy_figure,
    infiltration_figure,
    regions_figure,
)
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback, ignore_progress
from napari_nucleus.core.tme import CLASS_NAMES
from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import check_stem, replacing_together
from napari_nucleus.io.measurement_report import report_html
from napari_nucleus.io.results import Provenance, check_provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MEASUREMENT_FORMATS", "measurement_files", "write_measurements"]

MEASUREMENT_FORMATS: Mapping[str, str] = {
    "json": "JSON (features, phenotypes, text, curves)",
    "csv": "CSV table (a row to each region)",
    "nuclei": "CSV table of nuclei",
    "figures": "Figures (PNG and SVG)",
    "report": "HTML report",
}
"""What can be written, with what to call it."""

DPI = 150


def write_measurements(
    measurements: Sequence[TmeMeasurement],
    out_dir: str | os.PathLike[str],
    stem: str,
    provenance: Provenance | None = None,
    scheme: ClassScheme = PANNUKE,
    formats: Collection[str] = tuple(MEASUREMENT_FORMATS),
    progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Write ``STEM_tme.json``, ``.csv``, ``.html``, a table of nuclei and the figures.

    All are written to a folder beside their targets first and moved only when all are complete.

    Parameters
    ----------
    measurements
        The first is the one that figures and text are about; the others are regions beside it.
    out_dir
        Folder; it is made if it is not there.
    stem
        Beginning of the file names; it occurs in no file.
    provenance
        What made the nuclei; without paths.
    scheme
        Colours of the canonical classes.
    formats
        Some of `MEASUREMENT_FORMATS`; all by default.
    progress
        Called before each file.
    cancel
        Looked at before each file, and before the files are moved to their places.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    AnnotationError
        If a file cannot be written; those that were there are as they were.
    CancelledError
        If it was cancelled; the files that were there are as they were.
    """
    check_stem(stem)
    unknown = [name for name in formats if name not in MEASUREMENT_FORMATS]
    if unknown or not formats or not measurements:
        what = f"Format {unknown[0]!r}" if unknown else "Nothing to write"
        raise AnnotationError(f"{what}: choose of {', '.join(MEASUREMENT_FORMATS)}.")
    facts = dict(provenance or {})
    check_provenance(facts)
    cancel = Cancel() if cancel is None else cancel
    drawn = bool({"figures", "report"} & set(formats))
    names = measurement_files(measurements, stem, formats)
    with replacing_together(out_dir, stem) as part:
        done = 0

        def begin(what: str) -> None:
            nonlocal done
            cancel.check()
            progress(Progress(done, len(names), f"Export: {what}"))
            done += 1

        if "json" in formats:
            begin("JSON")
            (part / f"{stem}_tme.json").write_bytes(_json(measurements, facts))
        if "csv" in formats:
            begin("table")
            records = [m.record() for m in measurements]
            rows = ([_cell(v) for v in record.values()] for record in records)
            (part / f"{stem}_tme.csv").write_bytes(_csv(list(records[0]), rows))
        if "nuclei" in formats:
            begin("nuclei")
            (part / f"{stem}_tme_nuclei.csv").write_bytes(_nuclei(measurements[0]))
        svgs = []
        for name, title in _figure_titles(measurements).items() if drawn else ():
            begin(title)
            figure = _drawn(name, measurements, scheme)
            svgs.append((title, _svg(figure)))
            if "figures" in formats:
                (part / f"{stem}_tme_{name}.svg").write_bytes(svgs[-1][1])
                figure.savefig(part / f"{stem}_tme_{name}.png", dpi=DPI)
        if "report" in formats:
            begin("report")
            text = report_html(measurements, svgs, facts)
            (part / f"{stem}_tme.html").write_text(text, encoding="utf-8")
        cancel.check()
    return [Path(out_dir) / name for name in names]


def measurement_files(
    measurements: Sequence[TmeMeasurement],
    stem: str,
    formats: Collection[str] = tuple(MEASUREMENT_FORMATS),
) -> list[str]:
    """Return the names of the files that `write_measurements` writes."""
    endings = {"json": [".json"], "csv": [".csv"], "nuclei": ["_nuclei.csv"], "report": [".html"]}
    endings["figures"] = [
        f"_{name}.{kind}" for name in _figure_titles(measurements) for kind in ("png", "svg")
    ]
    chosen = [name for name in MEASUREMENT_FORMATS if name in formats]
    return [f"{stem}_tme{ending}" for name in chosen for ending in endings[name]]


def _json(measurements: Sequence[TmeMeasurement], provenance: Provenance) -> bytes:
    first, *regions = [m.to_json() for m in measurements]
    value = {**first, "provenance": dict(provenance), "regions": regions}
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _cell(value: float | str | None, digits: int = 6) -> str:
    """Return a value for a table: empty where there is none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _nuclei(m: TmeMeasurement) -> bytes:
    """Return a table of the nuclei that count, with what was measured of each."""
    cells = m.cells
    y, x = cells.centroids_yx.T
    columns = {
        "id": cells.ids,
        "class": [CLASS_NAMES[i] for i in cells.class_ids.tolist()],
        "centroid_x_px": x,
        "centroid_y_px": y,
        "area_um2": cells.areas * m.mpp**2,
        "neighbour_entropy_bit": cells.entropies,
        **{f"nearest_{CLASS_NAMES[i]}_um": cells.nearest_px[:, i] * m.mpp for i in m.class_ids},
        "edge_um": cells.edge_px * m.mpp,
    }
    if cells.border_px is not None:
        columns["border_um"] = cells.border_px * m.mpp
    lists = [v if isinstance(v, list) else v.tolist() for v in columns.values()]
    return _csv(list(columns), ([_cell(v, 7) for v in row] for row in zip(*lists, strict=True)))


def _figure_titles(measurements: Sequence[TmeMeasurement]) -> dict[str, str]:
    """Return what can be drawn, by the name of its file."""
    titles = {
        "classes": "Classes",
        "distances": "Distances between classes",
        "entropy": "Entropy of classes among neighbours",
        "infiltration": "Density along the border",
        "regions": "Classes by region",
    }
    missing = {
        "infiltration": measurements[0].infiltration is None,
        "regions": len(measurements) < 2,
    }
    return {name: title for name, title in titles.items() if not missing.get(name)}


def _drawn(name: str, measurements: Sequence[TmeMeasurement], scheme: ClassScheme) -> Figure:
    m = measurements[0]
    if name == "entropy":
        return entropy_figure(entropy_map(m.cells, m.area, m.mpp), m.mpp, m.name)
    if name == "regions":
        return regions_figure(measurements, scheme)
    draw = {
        "classes": composition_figure,
        "distances": curves_figure,
        "infiltration": infiltration_figure,
    }[name]
    return draw(m, scheme)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
