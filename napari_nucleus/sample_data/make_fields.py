"""Draw the bundled fields anew: ``python -m napari_nucleus.sample_data.make_fields [FOLDER]``.

Each field is a spec and a seed, chosen by eye; everything else follows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from napari_nucleus.sample_data.fields import field_to_dict
from napari_nucleus.sample_data.generator import Field, FieldSpec, generate_field
from napari_nucleus.sample_data.optics import Optics
from napari_nucleus.sample_data.staining import Stain

__all__ = ["RECIPES", "main", "write_field"]

SCAN = Optics(blur_px=0.6, sharpen=0.7, noise=0.8, quality=85, unevenness=0.015)

RECIPES: Mapping[str, tuple[FieldSpec, int]] = {
    "crypts": (
        FieldSpec(
            (768, 768),
            tissues=("glands",),
            pleomorphism=0.3,
            stain=Stain(
                hematoxylin=(0.55, 0.95, 0.30),
                eosin=(0.14, 0.80, 0.34),
                red_cells=(0.10, 0.80, 0.62),
                nuclear_eosin=0.4,
            ),
            optics=SCAN,
        ),
        9,
    ),
    "tumour": (
        FieldSpec(
            (768, 768),
            tissues=("tumour",),
            pleomorphism=0.6,
            stain=Stain(
                hematoxylin=(0.66, 0.86, 0.36),
                eosin=(0.22, 0.74, 0.36),
                red_cells=(0.15, 0.85, 0.60),
                white=(238.0, 234.0, 240.0),
                haze=1.2,
                nuclear_eosin=0.5,
            ),
            optics=SCAN,
        ),
        15,
    ),
    "lymphoid": (
        FieldSpec(
            (768, 768),
            tissues=("lymphoid", "muscle", "vessel"),
            pleomorphism=0.3,
            stain=Stain(
                hematoxylin=(0.52, 1.02, 0.26),
                eosin=(0.10, 0.92, 0.44),
                red_cells=(0.06, 0.80, 0.72),
                nuclear_eosin=0.3,
            ),
            optics=SCAN,
        ),
        21,
    ),
}
"""What each bundled field is drawn from."""


def write_field(field: Field, folder: Path, name: str) -> None:
    """Write a field as ``NAME.png``, ``NAME_labels.png`` (16-bit) and ``NAME.json``."""
    Image.fromarray(field.rgb).save(folder / f"{name}.png", optimize=True)
    labels = Image.fromarray(field.labels.astype(np.uint16))
    labels.save(folder / f"{name}_labels.png", optimize=True)
    text = json.dumps(field_to_dict(field), separators=(",", ":"))
    (folder / f"{name}.json").write_text(text + "\n", "utf-8")


def main(arguments: list[str]) -> None:
    """Write all bundled fields into a folder, by default the package's own."""
    folder = Path(arguments[0]) if arguments else Path(__file__).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (spec, seed) in RECIPES.items():
        write_field(generate_field(spec, np.random.default_rng(seed)), folder, name)


if __name__ == "__main__":
    main(sys.argv[1:])
