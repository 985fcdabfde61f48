"""Open our files in programs of another environment: ``python tests/interop/read_files.py FOLDER``.

Each of them must find every nucleus, with its area in pixels and its class. Knows nothing of our
package, only of what `write_files` wrote beside the files. Ends with 1 if anything differs.
"""

from __future__ import annotations

import ast
import copy
import importlib.metadata
import importlib.util
import json
import logging
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import jsonschema
import numpy as np
import shapely
import spatialdata
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from spatialdata.models import Labels2DModel, ShapesModel
from spatialdata.transformations import Scale
from tiatoolbox.annotation import Annotation, SQLiteStore

Found = tuple[dict[int, float], dict[int, str] | None]
"""Areas in pixels, and class names where the program has them, by id."""


def open_store(path: str | Path) -> SQLiteStore:
    """Open a store, also with a Python whose SQLite loads no extensions.

    TIAToolbox turns that on before it asks what SQLite was compiled with, and needs no extension.
    """
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        SQLiteStore.compile_options = staticmethod(_compile_options)
    return SQLiteStore(path)


def _compile_options() -> list[str]:
    with sqlite3.connect(":memory:") as store:
        return [row[0] for row in store.execute("PRAGMA compile_options")]


def tiatoolbox_store(folder: Path, stem: str, expected: dict[str, Any]) -> Found:
    """Open the store, ask its index for a box, add an annotation to it and take it away again."""
    store = open_store(folder / f"{stem}.db")
    found = {a.properties["id"]: a for a in store.values()}
    box = (100.0, 100.0, 900.0, 700.0) if stem == "field" else (15.0, 3.0, 26.0, 25.0)
    inside = {
        a.properties["id"] for a in store.query(box, geometry_predicate="intersects").values()
    }
    own = {i for i, a in found.items() if a.geometry.intersects(shapely.box(*box))}
    if inside != own or not inside:
        raise AssertionError(f"its index finds {len(inside)} nuclei of {len(own)}")
    count = len(store)
    store.append(Annotation(shapely.Polygon([(1, 1), (2, 1), (2, 2)]), {"type": "x"}), key="new")
    if len(store) != count + 1:
        raise AssertionError("nothing can be added to it")
    store.remove("new")
    store.close()
    return (
        {i: a.geometry.area for i, a in found.items()},
        {i: a.properties["type"] for i, a in found.items()},
    )


def tiatoolbox_geojson(folder: Path, stem: str, expected: dict[str, Any]) -> Found:
    """Let it import our GeoJSON."""
    open_store(":memory:").close()
    store = SQLiteStore.from_geojson(folder / f"{stem}.geojson")
    found = {int(a.properties["metadata"]["id"]): a for a in store.values()}
    return (
        {i: a.geometry.area for i, a in found.items()},
        {i: a.properties["classification"]["name"] for i, a in found.items()},
    )


def spatialdata_shapes(folder: Path, stem: str, expected: dict[str, Any]) -> Found:
    """Make shapes of our GeoParquet, with the pixel size as transformation; write and read them."""
    table = geopandas.read_parquet(folder / f"{stem}.parquet").set_index("id")
    scale = Scale([expected["mpp"]] * 2, axes=("x", "y"))
    shapes = ShapesModel.parse(table, transformations={"global": scale})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.zarr"
        spatialdata.SpatialData(shapes={"nuclei": shapes}).write(path)
        again = spatialdata.read_zarr(path)
    low_x, low_y, high_x, high_y = again["nuclei"].total_bounds.tolist()
    extent = spatialdata.get_extent(again)
    for axis, bounds in (("x", (low_x, high_x)), ("y", (low_y, high_y))):
        np.testing.assert_allclose(extent[axis], np.multiply(bounds, expected["mpp"]))
    areas = again["nuclei"].geometry.area
    classes = again["nuclei"]["class"]
    return dict(zip(areas.index.tolist(), areas, strict=True)), classes.to_dict()


def spatialdata_labels(ending: str) -> Callable[[Path, str, dict[str, Any]], Found]:
    """Make labels of our OME-Zarr, as ome-zarr-py reads it; write and read them."""

    def read(folder: Path, stem: str, expected: dict[str, Any]) -> Found:
        location = parse_url(folder / f"{stem}{ending}")
        (node, *_) = Reader(location)()
        labels = Labels2DModel.parse(node.data[0], dims=("y", "x"))
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "a.zarr"
            spatialdata.SpatialData(labels={"nuclei": labels}).write(path)
            pixels = np.asarray(spatialdata.read_zarr(path)["nuclei"].data)
        numbers, counts = np.unique(pixels[pixels > 0], return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True)), None

    return read


def large_image_model(folder: Path, stem: str, expected: dict[str, Any]) -> Found:
    """Hold our DSA annotation against the schema in large_image's annotation plugin."""
    annotation = json.loads((folder / f"{stem}.dsa.json").read_bytes())
    jsonschema.Draft6Validator(_annotation_schema()).validate(annotation)
    areas: dict[int, float] = {}
    classes: dict[int, str] = {}
    for element in annotation["elements"]:
        holes = [[p[:2] for p in hole] for hole in element.get("holes", [])]
        area = shapely.Polygon([p[:2] for p in element["points"]], holes).area
        number = element["user"]["id"]
        areas[number] = areas.get(number, 0) + area
        classes[number] = element["label"]["value"]
    return areas, classes


def _annotation_schema() -> dict[str, Any]:
    """Return the schema of an annotation; the module's own imports need a server, so they go."""
    root = importlib.util.find_spec("girder_large_image_annotation")
    (package,) = root.submodule_search_locations or [""]
    source = (Path(package) / "models" / "annotation.py").read_text("utf-8")
    names = ("extendSchema", "AnnotationSchema")
    kept = [node for node in ast.parse(source).body if getattr(node, "name", None) in names]
    space: dict[str, Any] = {"copy": copy}
    exec(compile(ast.Module(kept, []), "annotation.py", "exec"), space)
    return space["AnnotationSchema"].annotationSchema


READERS: dict[str, Callable[[Path, str, dict[str, Any]], Found]] = {
    "tiatoolbox: our store": tiatoolbox_store,
    "tiatoolbox: our GeoJSON": tiatoolbox_geojson,
    "spatialdata: our GeoParquet": spatialdata_shapes,
    "spatialdata: our OME-Zarr 0.5": spatialdata_labels(".zarr"),
    "spatialdata: our OME-Zarr 0.4": spatialdata_labels("_0.4.zarr"),
    "large_image: our DSA JSON": large_image_model,
}


def faults(found: Found, expected: dict[str, Any]) -> Iterator[str]:
    """Yield what differs, in words."""
    areas, classes = found
    wanted = {int(i): area for i, area in expected["areas"].items()}
    if areas.keys() != wanted.keys():
        yield f"{len(areas)} nuclei of {len(wanted)}"
        return
    wrong = [i for i in wanted if areas[i] != wanted[i]]
    if wrong:
        yield f"{len(wrong)} areas differ, of {wrong[0]} it is {areas[wrong[0]]}"
    names = {int(i): name for i, name in expected["classes"].items()}
    if classes is not None and classes != names:
        yield "classes differ"


def main(folder: Path) -> int:
    """Print a line for each program and image; return the number of those that failed."""
    logging.disable(logging.WARNING)
    for package in ("tiatoolbox", "spatialdata", "girder-large-image-annotation"):
        print(f"{package} {importlib.metadata.version(package)}")
    failed = 0
    for stem in ("odd", "field"):
        expected = json.loads((folder / f"{stem}.expected.json").read_bytes())
        pixels = sum(expected["areas"].values())
        for name, read in READERS.items():
            found = read(folder, stem, expected)
            wrong = list(faults(found, expected))
            failed += bool(wrong)
            areas = sum(found[0].values())
            text = "; ".join(wrong) or "equal"
            print(
                f"{stem:6}{name:32}{len(found[0]):6,} nuclei {areas:10,.0f} px of {pixels:,} {text}"
            )
    return failed


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
