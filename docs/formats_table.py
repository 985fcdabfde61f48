"""Writes the table of annotation formats into docs/formats.md anew; part of ``make docs``."""

from __future__ import annotations

from pathlib import Path

from napari_nucleus.io.formats.overview import markdown_table

BEGIN, END = "<!-- formats -->\n", "<!-- end of formats -->"


def main() -> None:
    """Put the table between its two marks."""
    path = Path(__file__).with_name("formats.md")
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest[rest.index(END) :]
    path.write_text(f"{before}{BEGIN}{markdown_table()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
