"""Document to file to document: what comes back, and that no file says whose image it was."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.formats import FORMATS, Export, Format, read_annotations
from napari_nucleus.io.importing import import_annotations
from napari_nucleus.io.results import result_of_rows
from napari_nucleus.session.document import Document
from napari_nucleus.session.import_batch import incoming_of
from napari_nucleus.session.import_policy import ImportPolicy, import_incoming
from napari_nucleus.session.masks import largest_part
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.provenance import known_models, provenance_of

BOTH_WAYS = [f for f in FORMATS.values() if f.write is not None and f.is_read]
WRITTEN = [f for f in FORMATS.values() if f.write is not None]

CLASSES = {1: 1, 3: 2, 4: 9, 9: 2, 12: 0, 70_000: 1}
SCORES = {1: 0.91, 3: 0.5, 4: 0.25, 9: 0.75, 12: 1.0, 70_000: 0.125}
PATIENT = "patient-77"
IMAGE = f"/home/pat/{PATIENT}.svs"


@pytest.fixture
def project(tmp_path, labels, result) -> Iterator[Project]:
    """A project of a patient's image, in a file that is called after it."""
    path = tmp_path / PATIENT / f"{PATIENT}.nucleus"
    reference = ImageReference(PATIENT, "0123", IMAGE)
    project = Project.create(path, reference, labels.shape, result.scheme, 0.25)
    project.annotator = "Pat"
    nuclei, ids = Nuclei.from_labels(labels)
    classes = np.array([CLASSES[i] for i in ids.tolist()])
    scores = np.array([SCORES[i] for i in ids.tolist()], np.float32)
    nuclei = Nuclei(nuclei.boxes, nuclei.masks, scores, np.zeros((len(ids), 0), np.float32))
    import_incoming(project.document, incoming_of(nuclei, labels.shape, classes, ids=ids))
    yield project
    project.close()


def exported(one: Format, project: Project, folder: Path) -> Path:
    """Write a project's nuclei as the app does; return the file."""
    document, store = project.document, project.document.store
    rows = document.rows()
    made = {"program": "napari-nucleus 1", **provenance_of(known_models(store), {"import"})}
    result = result_of_rows(
        rows, document.shape, document.labels, document.scheme, document.mpp, made
    )
    picture = np.full((*document.shape, 3), 200, np.uint8)
    path = folder / f"case{one.ending}"
    folder.mkdir(exist_ok=True)
    assert one.write is not None
    one.write(path, result, Export(stem="case", source=ArraySource(picture, 0.25, IMAGE)))
    return path


def found_in(one: Format, path: Path) -> AnnotationFile:
    return read_annotations(path, one)


def kept_masks(document: Document, one: Format) -> dict[tuple[int, int], np.ndarray]:
    """Masks by the corner of their boxes, with what a format does not keep taken out."""
    masks = {}
    for row in document.rows():
        mask, (y0, x0, _, _) = document.mask(row.id)
        mask = mask if one.keeps.parts else largest_part(mask)
        mask = mask if one.keeps.holes else np.asarray(ndimage.binary_fill_holes(mask))
        nuclei = Nuclei.from_masks([mask], [(y0, x0)])
        corner = tuple(nuclei.boxes[0, :2].tolist())
        masks[corner] = nuclei.masks[0]
    return masks


@pytest.mark.parametrize("one", BOTH_WAYS, ids=lambda f: f.name)
class TestThere:
    def test_and_back_into_a_new_document(self, one, project, tmp_path):
        before = project.document
        file = found_in(one, exported(one, project, tmp_path / "out"))
        after = Document(MemoryStore(before.shape), before.scheme, 0.25)
        import_annotations(after, file, ImportPolicy.REPLACE)
        keeps = one.keeps
        assert after.count == before.count
        if keeps.ids:
            assert after.ids.tolist() == before.ids.tolist()
        if keeps.masks:
            there, here = kept_masks(before, one), kept_masks(after, one)
            assert there.keys() == here.keys()
            assert all(np.array_equal(there[corner], here[corner]) for corner in there)
        if keeps.masks and keeps.holes and keeps.parts and keeps.ids:
            assert np.array_equal(after.labels(), before.labels())
        if keeps.ids and keeps.classes:
            classes = [row.class_id for row in after.rows()]
            assert classes == [row.class_id for row in before.rows()]
        if keeps.classes:
            assert after.counts_by_class() == before.counts_by_class()
        if keeps.ids and keeps.scores:
            scores = [row.score for row in after.rows()]
            np.testing.assert_allclose(scores, [r.score for r in before.rows()], atol=1e-3)
        after.undo()
        assert after.count == 0

    def test_and_back_into_its_own_document_changes_nothing(self, one, project, tmp_path):
        keeps = one.keeps
        if not (keeps.masks and keeps.holes and keeps.parts):
            pytest.skip("it does not say that it keeps masks as they are")
        document = project.document
        rows, labels = document.rows(), document.labels()
        file = found_in(one, exported(one, project, tmp_path / "out"))
        result = import_annotations(document, file, ImportPolicy.MERGE)
        assert result.action_id is None, result.message
        assert document.rows() == rows
        replaced = import_annotations(document, file, ImportPolicy.REPLACE)
        assert document.count == len(rows)
        if keeps.ids:
            # Nuclei that come back are those that went.
            assert replaced.ids == tuple(row.id for row in rows)
            assert np.array_equal(document.labels(), labels)


def test_nuclei_that_were_edited_in_qupath_are_those_that_they_were(project, tmp_path):
    """One deleted, one moved, one drawn, one split, and one given another class."""
    document = project.document
    path = exported(FORMATS["geojson"], project, tmp_path / "out")
    value = json.loads(path.read_text())
    features = {int(f["properties"]["metadata"]["id"]): f for f in value["features"]}
    del features[3]
    features[4]["geometry"]["coordinates"] = [[[20, 1], [24, 1], [24, 4], [20, 4], [20, 1]]]
    features[12]["properties"]["classification"] = features[1]["properties"]["classification"]
    drawn = deepcopy(features[4])
    drawn["geometry"]["coordinates"] = [[[2, 30], [9, 30], [9, 36], [2, 36], [2, 30]]]
    del drawn["properties"]["metadata"], drawn["id"]
    second = deepcopy(features[9])
    for feature, part in zip((features[9], second), (0, 1), strict=True):
        rings = feature["geometry"]["coordinates"][part]
        feature["geometry"] = {"type": "Polygon", "coordinates": rings}
    value["features"] = [*features.values(), drawn, second]
    path.write_text(json.dumps(value))

    before = {row.id: row for row in document.rows()}
    for policy in (ImportPolicy.REPLACE, ImportPolicy.MERGE):
        import_annotations(document, read_annotations(path), policy)
        after = {row.id: row for row in document.rows()}
        assert {1, 4, 9, 12, 70_000} < after.keys()
        assert (after[1].box, after[1].area) == (before[1].box, before[1].area)
        assert after[4].box == (1, 20, 4, 24)
        assert after[12].class_id == before[1].class_id
        # A merge takes the larger half for the nucleus that it was.
        half = (35, 40, 38, 44) if policy is ImportPolicy.REPLACE else (30, 30, 33, 33)
        new = sorted(after[i].box for i in after.keys() - before.keys())
        assert new == [(30, 2, 36, 9), half]
        assert (3 in after) is (policy is ImportPolicy.MERGE)
        document.undo()
        assert {row.id: row for row in document.rows()} == before


@pytest.mark.parametrize("one", WRITTEN, ids=lambda f: f.name)
def test_no_file_says_whose_image_it_was(one, project, tmp_path):
    folder = tmp_path / "out"
    exported(one, project, folder)
    for name, data in contents(folder):
        for secret in (PATIENT, "/home/pat", ".svs", str(tmp_path), "Pat\0", '"Pat"'):
            for encoding in ("utf-8", "utf-16-le"):
                assert secret.encode(encoding) not in data, (name, secret)
            assert secret not in name


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every file, and of what is packed in it."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file():
            yield name, b""
            continue
        data = path.read_bytes()
        yield name, data
        if data[:2] == b"\x1f\x8b":
            yield name, gzip.decompress(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    yield member, archive.read(member)
