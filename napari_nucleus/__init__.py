"""Segment every nucleus of an H&E image, correct with single clicks, export annotations.

Importing the package loads neither torch nor Qt nor napari; each part is imported by its
own name (``napari_nucleus.core``, ``napari_nucleus.models`` and so on).
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
