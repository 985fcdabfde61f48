"""The table of nuclei beside labels in OME-Zarr: classes and scores, as ngio's feature tables.

OME-Zarr itself has a place for values of each label only in the JSON of the labels, which readers
parse whole; 150,000 nuclei do not belong there. Follows the feature tables, version 1, of the
Fractal project, with Parquet inside: ``tables/nuclei/table.parquet``, which pandas and polars read
as well. What a table cannot hold, the scheme and what made the nuclei, stands in the attributes of
the labels under our own name, `ATTRIBUTE`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zarr

from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme
from napari_nucleus.io.formats.class_table import ClassTable, table_of_columns
from napari_nucleus.io.labels import provenance_of_text
from napari_nucleus.io.results import Provenance, SegmentationResult

__all__ = ["ATTRIBUTE", "attribute_of", "provenance_of_attribute", "read_table", "write_table"]

ATTRIBUTE = "napari-nucleus"
"""Name of our member of the attributes of labels."""

TABLE = Path("tables", "nuclei", "table.parquet")

MOST_ROWS = 2**26


def attribute_of(result: SegmentationResult) -> dict[str, Any]:
    """Return what stands in the attributes of the labels: the scheme and what made the nuclei."""
    return {
        "scheme": json.loads(text_of_scheme(result.scheme)),
        "provenance": dict(result.provenance),
    }


def provenance_of_attribute(value: Any) -> Provenance:
    """Return the provenance in what `attribute_of` made; empty for anything else."""
    found = value.get("provenance") if isinstance(value, dict) else None
    return provenance_of_text(orjson.dumps(found).decode()) if isinstance(found, dict) else {}


def write_table(folder: Path, group: zarr.Group, result: SegmentationResult, region: str) -> None:
    """Write classes and scores into a group of OME-Zarr.

    Parameters
    ----------
    folder
        Where the group lies.
    group
        The group: an image, or labels without an image.
    result
        The nuclei.
    region
        Path of the labels, seen from the tables.
    """
    import pyarrow as pa
    from pyarrow import parquet

    group.create_group("tables", attributes={"tables": ["nuclei"]})
    group.create_group(
        "tables/nuclei",
        attributes={
            "type": "feature_table",
            "table_version": "1",
            "backend": "parquet",
            "region": {"path": region},
            "instance_key": "label",
            "index_key": "label",
            "index_type": "int",
        },
    )
    used = np.unique(result.class_ids).tolist()
    names = np.array([result.scheme.name_of(c) for c in used], object)
    table = pa.table(
        {
            "label": pa.array(result.ids, pa.int64()),
            "class_id": pa.array(result.class_ids, pa.int32()),
            "class": pa.array(names[np.searchsorted(used, result.class_ids)], pa.string()),
            "score": pa.array(result.scores, pa.float32()),
        }
    )
    with open(folder / TABLE, "wb") as file:
        parquet.write_table(table, file)


def read_table(folder: Path, attribute: Any, name: str) -> ClassTable:
    """Return the classes and scores of a group of OME-Zarr; none where it has none of ours.

    Parameters
    ----------
    folder
        Where the group lies.
    attribute
        What the attributes of the labels say under our name.
    name
        Of the file, for notes.
    """
    file = folder / TABLE
    if not isinstance(attribute, dict) or not file.is_file():
        return ClassTable()
    import pyarrow as pa
    from pyarrow import parquet

    try:
        scheme = scheme_of_text(orjson.dumps(attribute.get("scheme")))
        with parquet.ParquetFile(file) as opened:
            if opened.metadata.num_rows > MOST_ROWS:
                raise ValueError(f"{opened.metadata.num_rows:,} rows")
            columns = opened.read(["label", "class_id", "score"]).to_pydict()
        return table_of_columns(scheme, columns["label"], columns["class_id"], columns["score"])
    except (pa.ArrowException, KeyError, OSError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        return ClassTable(notes=(f"{name}: its table cannot be read ({reason}); left out.",))
