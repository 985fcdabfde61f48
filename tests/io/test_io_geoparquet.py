"""GeoParquet, as geopandas and pyarrow read and write it."""

from __future__ import annotations

import json
import struct

import geopandas
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from napari_nucleus.core.polygons import rasterize
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import geoparquet as module
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.geoparquet import read_geoparquet, write_geoparquet
from napari_nucleus.io.results import result_of_labels

SQUARES = [shapely.box(2, 3, 8, 9), shapely.box(20, 3, 28, 9)]


def frame(**columns) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(columns, geometry=SQUARES)


class TestWriting:
    def test_geopandas_finds_the_same_nuclei_areas_and_places(self, result, tmp_path):
        write_geoparquet(tmp_path / "a.parquet", result)
        found = geopandas.read_parquet(tmp_path / "a.parquet")
        assert found.id.tolist() == result.ids.tolist()
        assert found.geometry.area.tolist() == result.table.areas.tolist()
        assert found.area_px.tolist() == result.table.areas.tolist()
        boxes = result.table.boxes[:, [1, 0, 3, 2]]
        assert found.geometry.bounds.to_numpy().tolist() == boxes.tolist()
        painted = rasterize(found.geometry.to_numpy(), found.id, result.shape)
        assert np.array_equal(painted, result.labels)

    def test_it_claims_no_place_on_earth(self, result, tmp_path):
        write_geoparquet(tmp_path / "a.parquet", result)
        assert geopandas.read_parquet(tmp_path / "a.parquet").crs is None

    def test_columns_say_class_and_score(self, result, tmp_path):
        write_geoparquet(tmp_path / "a.parquet", result)
        found = geopandas.read_parquet(tmp_path / "a.parquet")
        assert found["class"].tolist() == result.class_names
        assert found.class_id.tolist() == result.class_ids.tolist()
        np.testing.assert_array_equal(found.score, result.scores)
        assert pq.read_table(tmp_path / "a.parquet")["score"].null_count == 3

    def test_what_the_format_says_of_itself_is_true(self, result, tmp_path):
        write_geoparquet(tmp_path / "a.parquet", result)
        geo = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"geo"])
        assert geo["version"] == "1.1.0"
        column = geo["columns"][geo["primary_column"]]
        polygons = geopandas.read_parquet(tmp_path / "a.parquet").geometry
        assert set(polygons.geom_type) == set(column["geometry_types"])
        assert column["bbox"] == polygons.total_bounds.tolist()
        assert column["orientation"] == "counterclockwise"
        shells = shapely.get_exterior_ring(shapely.get_parts(polygons.to_numpy()))
        assert shapely.is_ccw(shells).all()

    def test_a_slide_is_read_by_its_parts(self, tmp_path, result):
        labels = np.zeros((3000, 3000), np.int32)
        labels[10:20, 10:20], labels[2500:2510, 2500:2520] = 5, 7
        write_geoparquet(tmp_path / "a.parquet", result_of_labels(labels, result.scheme))
        assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2
        near = geopandas.read_parquet(tmp_path / "a.parquet", bbox=(2400, 2400, 2600, 2600))
        assert near.id.tolist() == [7]

    def test_simplified_outlines_keep_the_areas_of_the_masks(self, tmp_path, result):
        y, x = np.mgrid[:80, :80]
        labels = ((y - 40) ** 2 + (x - 40) ** 2 < 900).astype(np.int32)
        one = result_of_labels(labels, result.scheme)
        write_geoparquet(tmp_path / "a.parquet", one, Export(simplify=True))
        found = geopandas.read_parquet(tmp_path / "a.parquet")
        exact = next(one.blocks()).polygons
        assert shapely.get_num_coordinates(found.geometry)[0] < shapely.get_num_coordinates(exact)
        assert found.area_px.tolist() == [labels.sum()]


class TestReading:
    def test_columns_are_found_by_the_names_of_others(self, tmp_path):
        table = frame(label=[7, 3], classification=["dead", None], prob=[0.25, 0.75])
        table.to_parquet(tmp_path / "a.parquet")
        found = read_geoparquet(tmp_path / "a.parquet")
        assert found.ids.tolist() == [7, 3]
        names = [found.scheme.name_of(int(c)) for c in found.class_ids]
        assert names == ["dead", "unclassified"]
        assert found.scores.tolist() == [0.25, 0.75]
        assert found.nuclei.boxes.tolist() == [[3, 2, 9, 8], [3, 20, 9, 28]]
        assert found.notes == ()

    def test_a_label_that_is_a_text_is_a_class(self, tmp_path):
        frame(label=["dead", "epithelial"], id=["11", "12"]).to_parquet(tmp_path / "a.parquet")
        found = read_geoparquet(tmp_path / "a.parquet")
        assert found.ids.tolist() == [11, 12]
        assert [found.scheme.name_of(int(c)) for c in found.class_ids] == ["dead", "epithelial"]

    @pytest.mark.parametrize("as_text", [True, False])
    def test_classifications_of_qupath_have_name_and_colour(self, tmp_path, as_text):
        value = {"name": "Kind A", "color": [1, 2, 3]}
        values = [json.dumps(value) if as_text else value] * 2
        frame(classification=values).to_parquet(tmp_path / "a.parquet")
        found = read_geoparquet(tmp_path / "a.parquet")
        kind = found.scheme.by_name("Kind A")
        assert kind is not None
        assert kind.color == (1, 2, 3)

    def test_categories_are_classes_and_numbers_are_named(self, tmp_path):
        kinds = pandas.Categorical(["dead", "dead"])
        frame(cell_type=kinds).to_parquet(tmp_path / "a.parquet")
        assert read_geoparquet(tmp_path / "a.parquet").class_ids.tolist() == [4, 4]
        frame(type=[2, 0]).to_parquet(tmp_path / "b.parquet")
        found = read_geoparquet(tmp_path / "b.parquet")
        assert found.class_ids.tolist() == [2, 0]
        assert "taken for PanNuke's" in found.notes[0]

    def test_points_and_lines_are_left_out_and_noted(self, tmp_path):
        shapes = [SQUARES[0], shapely.Point(1, 1), None]
        table = geopandas.GeoDataFrame({"id": [4, 5, 6]}, geometry=shapes)
        table.to_parquet(tmp_path / "a.parquet")
        found = read_geoparquet(tmp_path / "a.parquet")
        assert found.ids.tolist() == [4]
        assert "2 geometries are no polygons" in found.notes[0]

    def test_parquet_without_outlines_is_refused(self, tmp_path):
        pq.write_table(pa.table({"id": [1]}), tmp_path / "a.parquet")
        with pytest.raises(AnnotationError, match=r"a\.parquet: is Parquet without outlines"):
            read_geoparquet(tmp_path / "a.parquet")

    def test_an_encoding_that_is_not_read_is_named(self, tmp_path):
        frame(id=[1, 2]).to_parquet(tmp_path / "a.parquet", geometry_encoding="geoarrow")
        with pytest.raises(AnnotationError, match="'polygon'; only WKB is read"):
            read_geoparquet(tmp_path / "a.parquet")

    def test_damage_is_one_error(self, result, tmp_path):
        write_geoparquet(tmp_path / "a.parquet", result)
        data = (tmp_path / "a.parquet").read_bytes()
        (tmp_path / "a.parquet").write_bytes(data[: len(data) // 2])
        with pytest.raises(AnnotationError, match=r"a\.parquet: is damaged, or no Parquet"):
            read_geoparquet(tmp_path / "a.parquet")

    def write_blobs(self, path, blobs) -> None:
        geo = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
        }
        schema = pa.schema([("geometry", pa.binary())], {"geo": json.dumps(geo)})
        pq.write_table(pa.table({"geometry": blobs}, schema=schema), path)

    def test_collections_in_each_other_do_not_stop_the_program(self, tmp_path):
        deep = struct.pack("<BII", 1, 7, 1) * 100_000 + struct.pack("<BII", 1, 7, 0)
        self.write_blobs(tmp_path / "a.parquet", [deep])
        assert len(read_geoparquet(tmp_path / "a.parquet")) == 0

    def test_a_value_that_comes_a_million_times_is_not_multiplied(self, tmp_path, monkeypatch):
        ring = np.column_stack([np.arange(20_000) % 7, np.arange(20_000)])
        blob = shapely.to_wkb(shapely.Polygon(ring))
        self.write_blobs(tmp_path / "a.parquet", pa.array([blob] * 2000))
        assert (tmp_path / "a.parquet").stat().st_size < 4 * len(blob)
        monkeypatch.setattr(module, "MOST_BYTES", 1000 * len(blob))
        with pytest.raises(AnnotationError, match="its geometries are larger than"):
            read_geoparquet(tmp_path / "a.parquet")
