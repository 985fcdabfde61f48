"""Annotation stores of TIAToolbox, by their layout; the package itself is asked elsewhere."""

from __future__ import annotations

import json
import sqlite3
import uuid
import zlib

import numpy as np
import pytest
import shapely

from napari_nucleus.core.polygons import rasterize
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import tiatoolbox as module
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.geojson import detection_ids
from napari_nucleus.io.formats.tiatoolbox import read_tiatoolbox, write_tiatoolbox

SQUARE = shapely.box(2, 3, 8, 9)


def rows(path, question: str, *values) -> list[tuple]:
    with sqlite3.connect(path) as store:
        found = store.execute(question, values).fetchall()
    store.close()
    return found


def make_store(path, *extra: str, compression: str | None = "zlib", annotations=()) -> None:
    """A store as TIAToolbox makes it, with statements of somebody else's after that."""
    with sqlite3.connect(path) as store:
        for table in module.TABLES:
            store.execute(table)
        for key, value in (("version", "1.0.1"), ("compression", compression)):
            store.execute("INSERT INTO metadata VALUES(?, ?)", (key, json.dumps(value)))
        for i, (blob, properties) in enumerate(annotations, 1):
            store.execute(
                "INSERT INTO annotations VALUES(?, ?, 'Polygon', 0, 0, ?, ?, 0)",
                (i, str(i), blob, properties),
            )
        for statement in extra:
            store.execute(statement)
    store.close()


def packed(shape: shapely.Geometry) -> bytes:
    return zlib.compress(shapely.to_wkb(shape), 9)


class TestWriting:
    def test_rows_paint_the_same_nuclei_and_have_their_areas(self, result, tmp_path):
        write_tiatoolbox(tmp_path / "a.db", result)
        found = rows(
            tmp_path / "a.db", "SELECT geometry, properties, area FROM annotations ORDER BY id"
        )
        polygons = [shapely.from_wkb(zlib.decompress(row[0])) for row in found]
        ids = [json.loads(row[1])["id"] for row in found]
        assert ids == result.ids.tolist()
        assert [row[2] for row in found] == result.table.areas.tolist()
        assert np.array_equal(rasterize(polygons, ids, result.shape), result.labels)

    def test_tables_and_metadata_are_those_of_the_layout(self, result, tmp_path):
        write_tiatoolbox(tmp_path / "a.db", result)
        columns = rows(
            tmp_path / "a.db",
            "SELECT name, type, \"notnull\" FROM pragma_table_info('annotations')",
        )
        assert columns == [
            ("id", "INTEGER", 0),
            ("key", "TEXT", 0),
            ("objtype", "TEXT", 0),
            ("cx", "FLOAT", 1),
            ("cy", "FLOAT", 1),
            ("geometry", "BLOB", 0),
            ("properties", "TEXT", 0),
            ("area", "FLOAT", 1),
        ]
        kept = dict(rows(tmp_path / "a.db", "SELECT key, value FROM metadata"))
        assert json.loads(kept["version"]) == "1.0.1"
        assert json.loads(kept["compression"]) == "zlib"
        assert 0 < json.loads(kept["compression_level"]) < 10

    def test_its_index_finds_what_lies_in_a_box(self, result, tmp_path):
        write_tiatoolbox(tmp_path / "a.db", result)
        question = (
            "SELECT json_extract(properties, '$.id') FROM annotations JOIN rtree USING (id) "
            "WHERE max_x >= ? AND min_x <= ? AND max_y >= ? AND min_y <= ? ORDER BY 1"
        )
        found = [row[0] for row in rows(tmp_path / "a.db", question, 15, 26, 3, 25)]
        tree = shapely.STRtree(next(result.blocks()).polygons)
        assert found == result.ids[np.sort(tree.query(shapely.box(15, 3, 26, 25)))].tolist()

    def test_keys_are_the_uuids_of_every_export(self, result, tmp_path):
        export = Export(namespace=uuid.uuid4())
        write_tiatoolbox(tmp_path / "a.db", result, export)
        keys = [
            row[0] for row in rows(tmp_path / "a.db", "SELECT key FROM annotations ORDER BY id")
        ]
        assert keys == [str(k) for k in detection_ids(result.ids, export.namespace)]

    def test_properties_are_named_as_its_models_name_them(self, result, tmp_path):
        write_tiatoolbox(tmp_path / "a.db", result)
        found = rows(tmp_path / "a.db", "SELECT objtype, properties FROM annotations ORDER BY id")
        assert json.loads(found[0][1]) == {"type": "Tumör, fest", "id": 1, "prob": 0.91}
        assert "prob" not in json.loads(found[2][1])
        assert found[3][0] == "MultiPolygon"

    def test_a_cancelled_export_leaves_the_old_file(self, result, tmp_path):
        (tmp_path / "a.db").write_bytes(b"before")
        export = Export()
        export.cancel.set()
        with pytest.raises(Exception, match="ancel"):
            write_tiatoolbox(tmp_path / "a.db", result, export)
        assert [p.name for p in tmp_path.iterdir()] == ["a.db"]
        assert (tmp_path / "a.db").read_bytes() == b"before"

    def test_what_sqlite_cannot_write_is_one_error(self, result, tmp_path, monkeypatch):
        def full(*_):
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(module, "_fill", full)
        with pytest.raises(AnnotationError, match=r"a\.db could not be written \(.*disk is full"):
            write_tiatoolbox(tmp_path / "a.db", result)
        assert not list(tmp_path.iterdir())


class TestReading:
    @pytest.mark.parametrize("compression", ["zlib", None])
    def test_stores_of_the_package_are_read_packed_or_not(self, tmp_path, compression):
        blob = packed(SQUARE) if compression else shapely.to_wkb(SQUARE)
        properties = json.dumps({"type": "dead", "prob": 0.5})
        make_store(
            tmp_path / "a.db", compression=compression, annotations=[(blob, properties), (None, "")]
        )
        found = read_tiatoolbox(tmp_path / "a.db")
        assert found.nuclei.boxes.tolist() == [[3, 2, 9, 8]]
        assert found.scheme.name_of(int(found.class_ids[0])) == "dead"
        assert found.scores.tolist() == [0.5]
        assert not found.ids_stated
        assert "1 annotations are no polygons" in found.notes[0]

    def test_what_it_makes_of_qupaths_geojson_is_read(self, tmp_path):
        properties = {
            "objectType": "detection",
            "classification": {"name": "Kind A", "color": [1, 2, 3]},
            "measurements": {"Score": 0.25},
            "metadata": {"id": "70000"},
        }
        make_store(tmp_path / "a.db", annotations=[(packed(SQUARE), json.dumps(properties))])
        found = read_tiatoolbox(tmp_path / "a.db")
        assert found.ids.tolist() == [70_000]
        assert found.scores.tolist() == [0.25]
        kind = found.scheme.by_name("Kind A")
        assert kind is not None
        assert kind.color == (1, 2, 3)

    def test_reading_changes_nothing(self, result, tmp_path):
        write_tiatoolbox(tmp_path / "a.db", result)
        before = (tmp_path / "a.db").read_bytes()
        read_tiatoolbox(tmp_path / "a.db")
        assert [p.name for p in tmp_path.iterdir()] == ["a.db"]
        assert (tmp_path / "a.db").read_bytes() == before

    def test_names_with_signs_of_addresses_are_opened(self, result, tmp_path):
        path = tmp_path / "a?mode=rwc#b%20 ä.db"
        write_tiatoolbox(path, result)
        assert len(read_tiatoolbox(path)) == len(result)

    @pytest.mark.parametrize(
        "statements",
        [
            (
                "ALTER TABLE annotations RENAME TO other",
                "CREATE VIEW annotations AS SELECT * FROM other",
            ),
            (
                "DROP TABLE annotations",
                "CREATE TABLE annotations(id INTEGER PRIMARY KEY, properties TEXT, "
                "geometry BLOB AS (zeroblob(100000000)))",
            ),
            ("DROP TABLE metadata", "CREATE VIEW metadata AS SELECT 1 AS key, 2 AS value"),
            ("DROP TABLE annotations",),
        ],
    )
    def test_views_and_computed_columns_are_no_store(self, tmp_path, statements):
        make_store(tmp_path / "a.db", *statements)
        with pytest.raises(AnnotationError, match="no annotation store"):
            read_tiatoolbox(tmp_path / "a.db")

    def test_an_outline_that_unpacks_without_end_is_refused(self, tmp_path):
        blob = zlib.compress(bytes(module.LARGEST_GEOMETRY + 1), 9)
        make_store(tmp_path / "a.db", annotations=[(blob, "{}")])
        with pytest.raises(AnnotationError, match="cut off, or larger"):
            read_tiatoolbox(tmp_path / "a.db")

    def test_pages_that_point_in_a_circle_are_damage(self, tmp_path):
        many = [(packed(SQUARE), json.dumps({"note": "x" * 500}))] * 400
        make_store(tmp_path / "a.db", annotations=many)
        data = bytearray((tmp_path / "a.db").read_bytes())
        root = rows(
            tmp_path / "a.db", "SELECT rootpage FROM sqlite_master WHERE name = 'annotations'"
        )[0][0]
        page = 4096 * (root - 1)
        assert data[page] == 5
        data[page + 8 : page + 12] = root.to_bytes(4)  # the right-most child is its parent
        (tmp_path / "a.db").write_bytes(data)
        with pytest.raises(AnnotationError, match=r"a\.db: is damaged"):
            read_tiatoolbox(tmp_path / "a.db")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_a_file_that_was_cut_is_one_error(self, result, tmp_path, share):
        write_tiatoolbox(tmp_path / "a.db", result)
        data = (tmp_path / "a.db").read_bytes()
        (tmp_path / "a.db").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(AnnotationError, match=r"a\.db: "):
            read_tiatoolbox(tmp_path / "a.db")

    def test_other_files_of_that_ending_are_refused(self, tmp_path):
        (tmp_path / "a.db").write_bytes(b"\x00\x01Thumbs.db")
        with pytest.raises(AnnotationError, match="no SQLite file"):
            read_tiatoolbox(tmp_path / "a.db")
