"""The annotated document: store, edits, undo and the click tool; free of Qt, napari and torch."""
