"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Device", "Json", "Model", "Mpp", "Names", "Weights"]

Model = Annotated[str, typer.Option("--model", help="Model; see `napari-nucleus models`.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Weights = Annotated[Path | None, typer.Option(help="Weights file in place of the bundled one.")]
Mpp = Annotated[
    float | None,
    typer.Option(help="µm per pixel. By default what the file says, else an estimate."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Names = Annotated[
    list[str] | None, typer.Option("--name", help="Only images of this stem; may be repeated.")
]
