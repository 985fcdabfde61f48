"""The table of formats says what the registry says, in the documentation too."""

from __future__ import annotations

from pathlib import Path

from napari_nucleus.io.formats import FORMATS
from napari_nucleus.io.formats.overview import markdown_table, text_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
BEGIN, END = "<!-- formats -->\n", "<!-- end of formats -->"


def test_the_documented_table_is_that_of_the_registry():
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert table.strip() == markdown_table(), "make docs writes the table anew"


def test_every_format_has_a_row_with_what_it_keeps():
    lines = text_table().splitlines()
    head = lines[0].replace("made by", "made_by").split()
    for line, one in zip(lines[1:], FORMATS.values(), strict=True):
        cells = line.split()[: len(head) - 1]
        row = dict(zip(head, cells, strict=False))
        assert row["format"] == one.name
        assert (row["out"] == "x") is (one.write is not None)
        assert (row["in"] == "x") is one.is_read
        assert (row["holes"] == "x") is one.keeps.holes
        assert (row["class"] == "x") is one.keeps.classes
        assert (row["size"] == "x") is one.keeps.shape
        assert (row["made_by"] == "x") is one.keeps.provenance
        assert one.title in line


def test_names_and_endings_belong_to_one_format():
    endings = [one.ending for one in FORMATS.values() if one.write is not None]
    assert len(set(endings)) == len(endings)
    assert all(name == one.name for name, one in FORMATS.items())
