"""The H&E field generator, bundled fields with ground truth, napari's samples."""
