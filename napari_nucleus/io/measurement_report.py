"""The report of a measurement: one HTML file with everything in it, to be read in any browser.

No scripts and nothing from elsewhere. What a sentence rests on is shown when the pointer is on it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from napari_nucleus.core.narrative import Sentence
from napari_nucleus.core.spatial import PairDistance
from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.core.tme_phenotypes import axis_feature
from napari_nucleus.core.tme_words import (
    axis_rule,
    axis_title,
    feature_rows,
    feature_text,
    feature_title,
    feature_unit,
    merging_note,
)
from napari_nucleus.io.results import Provenance

__all__ = ["RESEARCH_USE", "report_html"]

RESEARCH_USE = (
    "For research use only, not for diagnosis. The values describe the nuclei as they were "
    "segmented and classified, mistakes included."
)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62em; margin: 2em auto;
  padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: .2em; } h2 { font-size: 1.15em; margin: 1.8em 0 .5em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .18em .9em .18em 0; border-bottom: 1px solid #e4e4e4;
  vertical-align: top; }
td.n, th.n { text-align: right; } thead th { border-bottom: 1px solid #999; }
.use { color: #555; } .note { background: #fff6dd; border-left: 4px solid #e0a800;
  padding: .5em .8em; }
.token { display: inline-block; background: #eef2f6; border-radius: .8em; padding: .05em .7em;
  margin: .15em .3em .15em 0; }
.s { position: relative; cursor: help; border-bottom: 1px dotted #999; }
.s .e { display: none; position: absolute; left: 0; top: 1.6em; z-index: 1; background: #222;
  color: #fff; font-size: .85em; padding: .4em .7em; border-radius: .3em; white-space: pre; }
.s:hover .e, .s:focus .e { display: block; }
figure { display: inline-block; margin: .5em 1em .5em 0; vertical-align: top; }
figure img { max-width: 100%; width: 28em; } .small { color: #555; font-size: .9em; }
"""

Figures = Sequence[tuple[str, bytes]]
"""What each figure shows, and the figure as SVG."""


def report_html(
    measurements: Sequence[TmeMeasurement], figures: Figures, provenance: Provenance
) -> str:
    """Return the report.

    Parameters
    ----------
    measurements
        At least one; phenotypes and text are those of the first, tables have a column for each.
    figures
        In their order.
    provenance
        What made the nuclei and the measurement.
    """
    first = measurements[0]
    note = merging_note(first.settings)
    parts = [
        "<h1>Microenvironment report</h1>",
        f'<p class="use">{escape(RESEARCH_USE)}</p>',
        f'<p class="note">{escape(note)}</p>' if note else "",
        f"<h2>Phenotypes: {escape(first.name)}</h2>",
        _phenotypes(first),
        "<h2>In words</h2>",
        _narrative(first),
        "<h2>Figures</h2>",
        *(_figure(title, svg) for title, svg in figures),
        "<h2>Values</h2>",
        _values(measurements),
        f"<h2>Nearest neighbours: {escape(first.name)}</h2>",
        _distances(first),
        _bands(first),
        "<h2>How this was made</h2>",
        _made(first, provenance),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Microenvironment report</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """Return a table; columns from ``numbers_from`` on are set to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        marked = (
            f'<{tag} class="n">{escape(c)}</{tag}>'
            if i >= numbers_from
            else f"<{tag}>{escape(c)}</{tag}>"
            for i, c in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


def _valued(measurement: TmeMeasurement, key: str) -> str:
    return f"{feature_text(key, measurement.features[key])} {feature_unit(key)}".strip()


def _phenotypes(m: TmeMeasurement) -> str:
    rows = [
        (
            axis_title(axis),
            label,
            _valued(m, axis_feature(axis, m.settings)),
            axis_rule(axis, m.settings),
        )
        for axis, label in m.phenotypes.labels.items()
    ]
    tokens = "".join(f'<span class="token">{escape(t)}</span>' for t in m.phenotypes.tokens)
    return _table(("Axis", "Phenotype", "Value", "Follows from"), rows, 9) + f"<p>{tokens}</p>"


def _narrative(m: TmeMeasurement) -> str:
    text = " ".join(_sentence(m, sentence) for sentence in m.narrative.sentences)
    note = m.narrative.note or (
        "The text is made by rules; point at a sentence to see the values that it rests on."
        if m.narrative.source == "rules"
        else f"Written by the language model {m.narrative.source}; every number was checked."
    )
    return f'<p>{text}</p><p class="small">{escape(note)}</p>'


def _sentence(m: TmeMeasurement, sentence: Sentence) -> str:
    evidence = "\n".join(
        f"{feature_title(key, m.settings)}: {_valued(m, key)}" for key in sentence.evidence
    )
    shown = f'<span class="e">{escape(evidence)}</span>' if evidence else ""
    return f'<span class="s" tabindex="0">{escape(sentence.text)}{shown}</span>'


def _figure(title: str, svg: bytes) -> str:
    data = base64.b64encode(svg).decode("ascii")
    alt = escape(title, quote=True)
    return f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}"></figure>'


def _values(measurements: Sequence[TmeMeasurement]) -> str:
    first = measurements[0]
    rows = [("Area", "mm²", *(f"{m.area_mm2:.4g}" for m in measurements))]
    columns = [feature_rows(m.features, m.settings) for m in measurements]
    rows += [
        (line[0].title, line[0].unit, *(row.text for row in line))
        for line in zip(*columns, strict=True)
    ]
    for class_id in (0, *first.class_ids):
        what = "all nuclei" if not class_id else f"{first.class_title(class_id)} nuclei"
        densities = (m.densities_per_mm2[class_id] for m in measurements)
        texts = ("–" if d is None else f"{d:.0f}" for d in densities)
        rows.append((f"Density of {what}", "1/mm²", *texts))
    return _table(("", "", *(m.name for m in measurements)), rows, 2)


def _distances(m: TmeMeasurement) -> str:
    titles = [m.class_title(i) for i in m.class_ids]
    pairs: Mapping[tuple[int, int], PairDistance] = {(d.source, d.target): d for d in m.distances}

    def shown(pair: PairDistance) -> str:
        if pair.median_um is None:
            return "–"
        return f"{pair.median_um:.1f} ({pair.lower_um:.1f}–{pair.upper_um:.1f})"

    rows = [
        (f"from {title}", *(shown(pairs[source, target]) for target in m.class_ids))
        for source, title in zip(m.class_ids, titles, strict=True)
    ]
    what = "Distance in µm to the nearest other nucleus of a class: median (quartiles)."
    table = _table(("", *(f"to {title}" for title in titles)), rows, 1)
    return f'<p class="small">{what}</p>{table}'


def _bands(m: TmeMeasurement) -> str:
    bands = m.infiltration
    if bands is None:
        return ""
    densities = bands.densities_per_mm2
    rows = [
        (
            f"{low:g} to {high:g}".replace("-", "−"),
            f"{area:.4f}",
            *(f"{densities[i, c]:.0f}" if bands.sizeable[i] else "–" for c in m.class_ids),
        )
        for i, (low, high, area) in enumerate(
            zip(bands.edges_um, bands.edges_um[1:], bands.areas_mm2, strict=False)
        )
    ]
    head = ("µm from the border", "mm²", *(m.class_title(c) for c in m.class_ids))
    what = "Nuclei per mm² in bands along the drawn border; negative distances are inside."
    return f'<h2>Along the border</h2><p class="small">{what}</p>{_table(head, rows, 1)}'


def _made(m: TmeMeasurement, provenance: Provenance) -> str:
    settings = m.settings
    native = settings.thresholds_px == "native"
    pixel = "the pixels of the image" if native else "pixels of 0.25 µm"
    facts = {
        **{key.replace("_", " "): str(value) for key, value in provenance.items()},
        "pixel size": f"{m.mpp:g} µm",
        "thresholds": f"SegTME-UNI2, in {pixel}",
        "engaged": f"nearer than {settings.engaged_px:g} px, in {pixel}",
        "entropy": f"of the classes of the {settings.neighbours} nearest nuclei",
        "classes": ", ".join(m.class_title(i) for i in m.class_ids),
        "curves": "share of nuclei with one of a class within a distance, corrected for the edge "
        "(Kaplan–Meier); dashed what as many nuclei at random would give",
    }
    return _table((), list(facts.items()), 9)
