"""Three bundled fields with ground truth, and napari's Open Sample.

A field lies in ``data/`` as ``NAME.png`` (RGB), ``NAME_labels.png`` (16-bit ids) and ``NAME.json``
(classes by id and the `FieldSpec`). `make_fields` writes them. napari is not imported: its sample
functions return layer-data tuples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.sample_data.generator import Field, FieldSpec
from napari_nucleus.sample_data.optics import Optics
from napari_nucleus.sample_data.staining import Stain

__all__ = ["FIELD_NAMES", "crypts", "load_field", "lymphoid", "spec_from_dict", "tumour"]

FIELD_NAMES: Mapping[str, str] = {
    "crypts": "H&E: crypts",
    "tumour": "H&E: tumour",
    "lymphoid": "H&E: lymphoid tissue",
}
"""Bundled fields and the layer names that napari shows."""

LayerData = tuple[NDArray[Any], dict[str, Any], str]


def spec_from_dict(values: Mapping[str, Any]) -> FieldSpec:
    """Return the `FieldSpec` that `dataclasses.asdict` turned into plain values."""

    def frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}

    spec = frozen(values)
    spec["stain"] = Stain(**frozen(values["stain"]))
    spec["optics"] = Optics(**frozen(values["optics"]))
    return FieldSpec(**spec)


def field_to_dict(field: Field) -> dict[str, Any]:
    """Return what the JSON file of a field holds."""
    return {"class_of_id": field.class_of_id.tolist(), "spec": asdict(field.spec)}


def load_field(name: str) -> Field:
    """Return a bundled field.

    Parameters
    ----------
    name
        One of `FIELD_NAMES`.

    Raises
    ------
    KeyError
        For any other name.
    """
    if name not in FIELD_NAMES:
        raise KeyError(f"no bundled field {name!r}; there are {', '.join(FIELD_NAMES)}")
    folder = resources.files("napari_nucleus.sample_data") / "data"
    about = json.loads((folder / f"{name}.json").read_text("utf-8"))
    pictures = []
    for suffix in ("", "_labels"):
        with (folder / f"{name}{suffix}.png").open("rb") as stream, Image.open(stream) as picture:
            pictures.append(np.array(picture))
    return Field(
        rgb=pictures[0],
        labels=pictures[1].astype(np.int32),
        class_of_id=np.array(about["class_of_id"], np.uint8),
        spec=spec_from_dict(about["spec"]),
    )


def _layer(name: str) -> list[LayerData]:
    field = load_field(name)
    mpp = field.spec.mpp
    options = {
        "name": FIELD_NAMES[name],
        "rgb": True,
        "scale": (mpp, mpp),
        "units": ("µm", "µm"),
        "metadata": {"napari_nucleus": {"sample": name, "mpp": mpp}},
    }
    return [(field.rgb, options, "image")]


def crypts() -> list[LayerData]:
    """Crypts of a colon-like mucosa, for napari's Open Sample."""
    return _layer("crypts")


def tumour() -> list[LayerData]:
    """Nests of a solid tumour in stroma, for napari's Open Sample."""
    return _layer("tumour")


def lymphoid() -> list[LayerData]:
    """Lymphoid tissue beside muscle and a vessel, for napari's Open Sample."""
    return _layer("lymphoid")
