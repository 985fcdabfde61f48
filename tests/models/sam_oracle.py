"""What `segment_anything` and `sam2` compute; a script that runs with these packages on its path.

    python sam_oracle.py MODEL FOLDER

writes ``FOLDER/checkpoint.pt``, random weights in the package's own layout; ``FOLDER/MODEL.npz``,
what the package makes of a picture and of prompts with them; and ``FOLDER/live.npz``, what its
predictor answers when it is adapted. ``tiny-sam`` and ``tiny-sam2`` are the packages' classes in
small, whose answers are kept in ``sam_answers``; other models are built as the packages build them.
"""

from __future__ import annotations

import json
import sys
import types
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.core.image import Tile
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.sam import adapt

TINY_SAM = {
    "model_type": "sam",
    "vision_config": {
        "hidden_size": 32,
        "output_channels": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 96,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 96},
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": 24,
        "layer_norm_eps": 1e-5,
    },
}
"""Six cells a side, which windows of four do not divide."""

TINY_SAM2 = {
    "model_type": "sam2",
    "vision_config": {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 16,
            "num_attention_heads": 1,
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [16, 32, 64, 128],
            "num_attention_heads_per_stage": [1, 2, 4, 8],
            "window_size_per_stage": [8, 4, 6, 2],
            "global_attention_blocks": [3],
            "window_positional_embedding_background_size": [3, 3],
        },
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 128},
    "mask_decoder_config": {"hidden_size": 32},
}


def values(name: str, shape: tuple[int, ...]) -> Tensor:
    """Random weights that depend on nothing but a name and a shape."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "weight" and len(shape) == 1:
        scaled = 1 + 0.1 * noise
    elif len(shape) == 1:
        scaled = 0.1 * noise
    elif last == "positional_encoding_gaussian_matrix":
        scaled = noise
    elif last in ("pos_embed", "pos_embed_window", "rel_pos_h", "rel_pos_w"):
        scaled = 0.2 * noise
    else:
        scaled = noise * max(np.prod(shape[1:]), 4) ** -0.5
    if name.endswith("output_hypernetworks_mlps.0.layers.2.weight"):
        # SAM2 takes a mask from elsewhere where the first is not stable: some are, and some not.
        scaled = (6 if shape[1] > 100 else 20) * scaled
    return torch.from_numpy(np.asarray(scaled, np.float32))


def picture(size: int) -> Tensor:
    """A normalised picture ``(1, 3, size, size)``."""
    coarse = np.random.RandomState(5).standard_normal((1, 3, 12, 12))
    return F.interpolate(torch.from_numpy(coarse).float(), (size, size), mode="bicubic")


def prompts(size: int, grid: int) -> list[dict[str, Any]]:
    """Prompts of every kind: indices of pixels ``x, y``, labels, ``x0, y0, x1, y1``, logits."""
    points = torch.tensor([[0.31, 0.42], [0.7, 0.3], [0.5, 0.9]]) * size
    box = torch.tensor([0.2, 0.25, 0.55, 0.8]) * size
    rough = torch.from_numpy(np.random.RandomState(6).standard_normal((1, 1, 8, 8))).float()
    logits = 8 * F.interpolate(rough, (grid, grid), mode="bilinear")[0]
    one, all_three = (points[:1], torch.tensor([1])), (points, torch.tensor([1, 0, 1]))
    return [
        {"points": one, "several": True},
        {"points": all_three},
        {"box": box},
        {"points": all_three, "box": box},
        {"points": one, "logits": logits},
        {"box": box, "logits": logits, "several": True},
        {"logits": logits},
    ]


def _without_torchvision() -> None:
    """Stand in for what is used of torchvision, whose import fails beside a torch for CPUs."""

    class Resize(nn.Module):
        def __init__(self, size: tuple[int, int]) -> None:
            super().__init__()
            self.height, self.width = size

        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(
                x[None], [self.height, self.width], mode="bilinear", antialias=True
            )[0]

    class Normalize(nn.Module):
        def __init__(self, mean: list[float], std: list[float]) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor(mean)[:, None, None])
            self.register_buffer("std", torch.tensor(std)[:, None, None])

        def forward(self, x: Tensor) -> Tensor:
            return (x - self.mean) / self.std

    def to_tensor(rgb: np.ndarray) -> Tensor:
        return torch.from_numpy(rgb).permute(2, 0, 1).float() / 255

    def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize(size[::-1], Image.Resampling.BILINEAR)

    parts = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": None, "box_area": None},
        "torchvision.transforms": {
            "Resize": Resize,
            "Normalize": Normalize,
            "ToTensor": lambda: to_tensor,
        },
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
    }
    for name, content in parts.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module


def _tiny_sam() -> nn.Module:
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    encoder = ImageEncoderViT(
        depth=3,
        embed_dim=32,
        img_size=96,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=(1,),
        window_size=4,
        out_chans=32,
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=4)
    return Sam(
        encoder,
        PromptEncoder(32, (6, 6), (96, 96), 16),
        MaskDecoder(transformer_dim=32, transformer=transformer, iou_head_hidden_dim=24),
    )


def _tiny_sam2() -> nn.Module:
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam2_base import SAM2Base

    trunk = Hiera(
        embed_dim=16,
        num_heads=1,
        stages=(1, 1, 2, 1),
        window_pos_embed_bkg_spatial_size=(3, 3),
        window_spec=(8, 4, 6, 2),
        global_att_blocks=(3,),
    )
    neck = FpnNeck(
        PositionEmbeddingSine(32),
        d_model=32,
        backbone_channel_list=[128, 64, 32, 16],
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return SAM2Base(
        ImageEncoder(trunk, neck, scalp=1),
        memory_attention=nn.Identity(),
        memory_encoder=nn.Identity(),
        image_size=128,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_mlp_for_obj_ptr_proj=True,
        use_multimask_token_for_obj_ptr=True,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )


def build(name: str) -> nn.Module:
    """Return a package's model with random weights."""
    if name.startswith("tiny"):
        model = _tiny_sam() if name == "tiny-sam" else _tiny_sam2()
    elif name.startswith("sam-"):
        from segment_anything import sam_model_registry

        model = sam_model_registry[name.removeprefix("sam-").replace("-", "_")]()
    else:
        from sam2.build_sam import build_sam2

        size = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[name[7:]]
        model = build_sam2(f"configs/sam2.1/sam2.1_hiera_{size}.yaml", None, device="cpu")
    state = model.state_dict()
    model.load_state_dict({n: values(n, tuple(v.shape)) for n, v in state.items()})
    return model.eval()


def predictor_of(model: nn.Module) -> Any:
    """Return the package's predictor of a model."""
    if hasattr(model, "prompt_encoder"):
        from segment_anything import SamPredictor

        return SamPredictor(model)
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(model.image_size // s,) * 2 for s in (4, 8, 16)]
    return predictor


class Given(nn.Module):
    """Transforms that return a picture, whatever they are given."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, _: Tensor) -> Tensor:
        return self.pixels


@torch.inference_mode()
def see(model: nn.Module, predictor: Any, pixels: Tensor) -> list[Tensor]:
    """Show a predictor a normalised picture; return its maps, finest first."""
    if hasattr(model, "prompt_encoder"):
        predictor.features = model.image_encoder(pixels)
        predictor.input_size = predictor.original_size = tuple(pixels.shape[-2:])
        predictor.is_image_set = True
        return [predictor.features]
    predictor._transforms.transforms = Given(pixels[0])
    predictor.set_image(np.zeros((model.image_size, model.image_size, 3), np.uint8))
    held = predictor._features
    return [*held["high_res_feats"], held["image_embed"]]


@torch.inference_mode()
def answer(predictor: Any, prompt: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the low-resolution logits and the predicted IoU of a prompt."""
    points, labels = prompt.get("points", (None, None))
    numpy = {
        "point_coords": points,
        "point_labels": labels,
        "box": prompt.get("box"),
        "mask_input": prompt.get("logits"),
    }
    _, iou, logits = predictor.predict(
        **{k: None if v is None else v.numpy() for k, v in numpy.items()},
        multimask_output=prompt.get("several", False),
    )
    return torch.from_numpy(logits), torch.from_numpy(iou)


def clicks() -> list[Prompts]:
    """Prompts on the pixels of `tissue`."""
    alone = Prompts([[30.5, 40.5]], [True])
    return [
        alone,
        Prompts([[30.5, 40.5], [50.5, 20.5]], [True, False]),
        Prompts(box=(20.0, 30.0, 42.5, 51.0)),
        Prompts([[30.5, 40.5]], [True], box=(20.0, 30.0, 42.5, 51.0)),
        Prompts([[30.5, 40.5]], [True], mask=np.ones((12, 14), bool), mask_box=(24, 34, 36, 48)),
    ]


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with smooth structure, RGB uint8."""
    coarse = np.random.RandomState(seed).uniform(0, 255, (1, 3, 6, 6))
    smooth = F.interpolate(torch.from_numpy(coarse), (height, width), mode="bilinear")
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


def answered(model: Any) -> dict[str, np.ndarray]:
    """Return what a promptable model answers to `clicks` on a tile that is one square, filled."""
    tile, calibration = Tile(tissue(128, 128)), Calibration(2.0, 0.5)
    found = model.refine_many(model.embed(tile, calibration), clicks())
    out = {}
    for i, answer in enumerate(found):
        out[f"mask_{i}"] = np.zeros(tile.shape, bool)
        y0, x0, y1, x1 = answer.box
        out[f"mask_{i}"][y0:y1, x0:x1] = answer.mask
        out[f"iou_{i}"] = np.asarray(answer.iou)
    return out


def main(name: str, folder: Path) -> None:
    """Write a checkpoint and what the package makes of it."""
    _without_torchvision()
    model = build(name)
    state = model.state_dict()
    wrapped = state if hasattr(model, "prompt_encoder") else {"model": state}
    torch.save(wrapped, folder / "checkpoint.pt")
    predictor = predictor_of(model)
    encoder = getattr(model, "prompt_encoder", None) or model.sam_prompt_encoder
    size, grid = encoder.input_image_size[0], encoder.mask_input_size[0]
    found = {f"seen_{i}": m.numpy() for i, m in enumerate(see(model, predictor, picture(size)))}
    for i, prompt in enumerate(prompts(size, grid)):
        found[f"logits_{i}"], found[f"iou_{i}"] = (v.numpy() for v in answer(predictor, prompt))
    shapes = json.dumps({n: list(v.shape) for n, v in state.items()})
    np.savez_compressed(folder / f"{name}.npz", shapes=np.array(shapes), **found)
    np.savez_compressed(folder / "live.npz", **answered(adapt(predictor_of(model))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
