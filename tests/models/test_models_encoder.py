"""Image encoder: sizes of its maps, padding, and SAM2's neck as oracle."""

from dataclasses import replace

import pytest
import torch
from transformers import Sam2VisionConfig
from transformers.models.sam2.modeling_sam2 import Sam2VisionNeck
from uninuc_helpers import TINY

from napari_nucleus.models.uninuc.config import EncoderConfig
from napari_nucleus.models.uninuc.encoder import ImageEncoder, Neck
from napari_nucleus.models.uninuc.presets import NANO
from napari_nucleus.models.working import normalise, pad_to_multiple, to_network

PUBLISHED_LIKE = EncoderConfig(
    embed_dim=8,
    heads=1,
    stages=(1, 2, 1),
    windows=(8, 4, 4),
    global_blocks=(2,),
    patch_kernel=7,
    background_grid=7,
    neck_dims=(16, 16, 16),
    top_down=(1, 2),
    kept_levels=3,
)
"""Three levels, a global block, no stem, SAM2's neck."""


@pytest.mark.parametrize("config", [NANO.encoder, TINY.encoder, PUBLISHED_LIKE])
def test_maps_have_the_stated_strides_and_channels(config):
    side = 2 * config.multiple
    encoder = ImageEncoder(config).eval()
    with torch.inference_mode():
        maps = encoder(torch.rand(2, 3, side, 3 * config.multiple))
    assert len(maps) == config.kept_levels
    for level, feature in enumerate(maps):
        stride = config.strides[level]
        size = (side // stride, 3 * config.multiple // stride)
        assert feature.shape == (2, config.neck_dims[level], *size)


def test_the_nano_sees_every_second_pixel_and_its_neck_gives_four_levels():
    assert NANO.encoder.strides == (2, 4, 8, 16, 32)
    assert NANO.encoder.kept_levels == 4


def test_sides_fill_windows_as_well_as_the_coarsest_cells():
    # The coarsest cell is 16 pixels, the positional windows of the first stage are 8 x 4 pixels.
    assert PUBLISHED_LIKE.strides == (4, 8, 16)
    assert PUBLISHED_LIKE.multiple == 32


def test_every_level_of_the_neck_needs_a_width():
    with pytest.raises(ValueError, match="3 levels"):
        Neck([8, 16, 32], replace(PUBLISHED_LIKE, neck_dims=(16, 16)))


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (300, 1), (7, 300), (31, 33), (32, 64), (65, 2)]
)
def test_padding_reaches_multiples_at_the_bottom_and_right_only(shape):
    pixels = torch.rand(1, 3, *shape)
    padded = pad_to_multiple(pixels, 32)
    h, w = padded.shape[-2:]
    assert (h, w) == (-(-shape[0] // 32) * 32, -(-shape[1] // 32) * 32)
    assert torch.equal(padded[..., : shape[0], : shape[1]], pixels)


def test_padding_mirrors_as_far_as_there_is_picture():
    row = torch.arange(20.0).reshape(1, 1, 1, 20)
    padded = pad_to_multiple(row, 32)[0, 0, 0]
    assert padded.tolist() == [*range(20), *range(18, 6, -1)]
    assert (pad_to_multiple(row, 32)[0, 0] == padded).all()


def test_normalised_white_and_mean_colour():
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.allclose(normalise(mean), torch.zeros(1, 3, 2, 2))
    white = to_network(torch.ones(1, 3, 5, 5), 32)
    assert white.shape == (1, 3, 32, 32)
    assert torch.allclose(white[0, :, 31, 31], torch.tensor([2.2489, 2.4286, 2.64]), atol=1e-3)


def test_without_blocks_the_neck_is_that_of_sam2():
    dims, width, top_down = [6, 12, 24, 48], 16, (2, 3)
    config = EncoderConfig(neck_dims=(width,) * 4, top_down=top_down, neck_blocks=0)
    neck = Neck(dims, config).eval()
    oracle = Sam2VisionNeck(
        Sam2VisionConfig(
            backbone_channel_list=dims[::-1],
            fpn_hidden_size=width,
            fpn_top_down_levels=list(top_down),
        )
    ).eval()
    # SAM2 numbers its convolutions from the coarsest level.
    for i in range(4):
        oracle.convs[i].load_state_dict(neck.convs[3 - i].state_dict())
    maps = [torch.rand(1, d, 32 >> i, 32 >> i) for i, d in enumerate(dims)]
    with torch.inference_mode():
        ours = neck(maps)
        theirs = oracle([m.permute(0, 2, 3, 1) for m in maps])[0][::-1]
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
