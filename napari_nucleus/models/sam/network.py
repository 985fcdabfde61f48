"""SAM and SAM2 whole, as published: `transformers`' `SamModel` and `Sam2Model`.

An image is seen once; any number of prompts is then answered on what was seen, by the models' own
prompt encoder and mask decoder. With the originals' weights they compute what the originals do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

__all__ = ["SamNetwork"]


class SamNetwork(nn.Module):
    """A promptable segmenter of square images.

    Parameters
    ----------
    config
        Plain values of a `SamConfig` or `Sam2Config`; ``model_type`` says which.

    Raises
    ------
    ValueError
        If it is neither's, or a value is none that the library takes.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.family = str(config.get("model_type"))
        if self.family == "sam":
            self.sam: Any = SamModel(SamConfig.from_dict(config))
        elif self.family == "sam2":
            self.sam = Sam2Model(Sam2Config.from_dict(config))
        else:
            raise ValueError(f"model_type {self.family!r}")

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.sam.config.prompt_encoder_config.image_size)

    @property
    def grid(self) -> int:
        """Side of masks and of previous logits in cells."""
        return 4 * self.size // int(self.sam.config.prompt_encoder_config.patch_size)

    def see(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Look at ``(B, 3, size, size)``; return maps, finest first: one of SAM, three of SAM2."""
        found = self.sam.get_image_embeddings(pixels)
        return (found,) if self.family == "sam" else tuple(found)

    def forward(
        self,
        seen: Sequence[Tensor],
        points_xy: Tensor | None,
        labels: Tensor | None,
        boxes_xyxy: Tensor | None,
        logits: Tensor | None,
        several: bool,
    ) -> tuple[Tensor, Tensor]:
        """Answer prompts on one image.

        Parameters
        ----------
        seen
            What `see` returned for the image.
        points_xy, labels
            ``(n, k, 2)`` indices of pixels of the image, whose centres are half a pixel further,
            and ``(n, k)``: 1 in the object, 0 out of it.
        boxes_xyxy
            ``(n, 4)``.
        logits
            ``(n, grid, grid)`` of previous answers.
        several
            Give three hypotheses in place of one mask.

        Returns
        -------
        Logits ``(n, m, grid, grid)`` and the predicted IoU ``(n, m)``.
        """
        n = len(next(p for p in (points_xy, boxes_xyxy, logits) if p is not None))
        sparse, dense = self.sam.get_prompt_embeddings(
            None if points_xy is None else points_xy[:, None],
            None if labels is None else labels[:, None],
            None if boxes_xyxy is None else boxes_xyxy[:, None],
            None if logits is None else logits[:, None],
        )
        # The library's own forward adds a point to logits alone, which the originals do not.
        sparse = dense.new_zeros((n, 1, 0, dense.shape[1])) if sparse is None else sparse
        maps = [m.expand(n, -1, -1, -1) for m in seen]
        finer = {} if self.family == "sam" else {"high_resolution_features": maps[:-1]}
        masks, iou, *_ = self.sam.mask_decoder(
            image_embeddings=maps[-1],
            image_positional_embeddings=self._place.expand(n, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
            **finer,
        )
        return masks[:, 0], iou[:, 0]

    @property
    def _place(self) -> Tensor:
        """Where the cells of the coarsest map lie, ``(1, C, h, w)``."""
        return self.sam.get_image_wide_positional_embeddings()

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name, none of which shares memory with another."""
        own = self.sam.state_dict()
        name = "prompt_encoder.shared_embedding.positional_embedding"
        return {**own, name: own[name].clone()}
