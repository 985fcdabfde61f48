"""UperHoVer's network: the published size, the pyramid, the heads, its configurations."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from uperhover_helpers import PLAIN, TINY, make_network

from napari_nucleus.core.hv_maps import GradientLimits
from napari_nucleus.core.watershed import HoverNetConstants, WatershedConfig
from napari_nucleus.models import zoo
from napari_nucleus.models.layers import ChannelNorm
from napari_nucleus.models.uperhover.config import HeadConfig, UperHoverConfig
from napari_nucleus.models.uperhover.network import Maps, UperHover
from napari_nucleus.models.uperhover.presets import NANO, UNI2H


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(config: UperHoverConfig) -> UperHover:
    """A network without memory for its numbers."""
    with torch.device("meta"):
        return UperHover(config).eval()


@pytest.fixture(scope="module")
def published() -> UperHover:
    return on_meta(UNI2H)


# ---- the published size


def test_the_published_model_has_the_published_parameters(published):
    # The trunk is read before its last norm (2 x 1536). In its place transformers has a token of
    # masked patches and a position of the class token, which timm has not: the same number.
    assert count(published.encoder.trunk) == 681_394_176
    assert count(published.classes) == 80_239_110
    assert count(published.hv) == 80_236_034
    levels = UNI2H.encoder.pyramid_dims
    assert count(published.encoder.projections) == sum(1536 * d + d + 2 * 1536 for d in levels)
    assert len(list(published.encoder.laterals.parameters())) == 0


def test_the_published_blocks_have_uni2hs_shapes(published):
    state = published.encoder.trunk.state_dict()
    layer = "encoder.layer.23."
    assert state["embeddings.register_tokens"].shape == (1, 8, 1536)
    assert state["embeddings.position_embeddings"].shape == (1, 257, 1536)
    assert state["embeddings.patch_embeddings.projection.weight"].shape == (1536, 3, 14, 14)
    assert state[f"{layer}mlp.gate_proj.weight"].shape == (4096, 1536)
    assert state[f"{layer}mlp.down_proj.weight"].shape == (1536, 4096)
    assert state[f"{layer}attention.q_proj.weight"].shape == (1536, 1536)
    assert "encoder.layer.24.norm1.weight" not in state
    assert UNI2H.encoder.taps == (5, 11, 17, 23)


def test_the_published_pyramid_has_four_strides(published):
    pixels = torch.empty(1, 3, 224, 224, device="meta")
    with torch.no_grad():
        features = published.encoder(pixels)
        maps = published(pixels)
    assert [tuple(p.shape) for p in features.pyramid] == [
        (1, 256, 56, 56),
        (1, 512, 28, 28),
        (1, 1024, 14, 14),
        (1, 2048, 7, 7),
    ]
    assert features.stem is None
    assert maps.classes.shape == (1, 6, 224, 224)
    assert maps.hv.shape == (1, 2, 224, 224)


def test_the_published_heads_have_the_layers_of_upernet(published):
    names = set(published.hv.state_dict())
    head = "decode_head."
    assert {
        f"{head}psp_modules.3.1.conv.weight",
        f"{head}bottleneck.batch_norm.running_var",
        f"{head}lateral_convs.2.conv.weight",
        f"{head}fpn_convs.2.conv.weight",
        f"{head}fpn_bottleneck.conv.weight",
        f"{head}classifier.bias",
    } <= names
    assert all(name.startswith(head) for name in names)
    shapes = {name: tuple(v.shape) for name, v in published.hv.state_dict().items()}
    assert shapes[f"{head}bottleneck.conv.weight"] == (768, 2048 + 4 * 768, 3, 3)
    assert shapes[f"{head}classifier.weight"] == (2, 768, 1, 1)


# ---- the nano


def test_the_nano_is_small_and_what_the_zoo_says_of_it():
    nano = on_meta(NANO)
    assert count(nano) < 5_000_000
    info = zoo.describe("uperhover-nano")
    assert info.working_mpp == NANO.inference.mpp
    assert info.classes is not None
    assert len(info.classes) == NANO.n_classes
    assert info.tile + 2 * info.halo >= NANO.inference.window


def test_a_stem_is_added_to_the_pyramid_and_seen_by_the_heads():
    network = make_network()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = network.encoder(pixels)
        assert [tuple(p.shape[1:]) for p in features.pyramid] == [
            (8, 16, 16),
            (8, 8, 8),
            (12, 4, 4),
            (16, 2, 2),
        ]
        assert features.stem is not None
        assert features.stem.shape == (1, 8, 32, 32)
        before = network(pixels)
        for lateral in network.encoder.laterals:
            lateral.weight.zero_()
            lateral.bias.zero_()
        without = network.encoder(pixels)
        assert not torch.allclose(without.pyramid[0], features.pyramid[0], atol=1e-3)
        assert torch.equal(without.pyramid[1], features.pyramid[1])
        # The last stage reads the stem itself: noise in one corner is seen there.
        noisy = features._replace(stem=features.stem + torch.randn_like(features.stem))
        assert not torch.allclose(network.hv(noisy), network.hv(features), atol=1e-3)
    assert before.classes.shape == (1, 6, 64, 64)
    assert before.hv.shape == (1, 2, 64, 64)


@pytest.mark.parametrize("config", [TINY, PLAIN])
@pytest.mark.parametrize("tiles", [(1, 1), (2, 1), (1, 3)])
def test_windows_of_several_sizes_are_answered_in_their_own(config, tiles):
    side = config.inference.window
    pixels = torch.randn(2, 3, side * tiles[0], side * tiles[1])
    with torch.no_grad():
        maps = make_network(config)(pixels)
    assert maps.classes.shape == (2, 6, *pixels.shape[-2:])
    assert maps.hv.shape == (2, 2, *pixels.shape[-2:])
    assert torch.isfinite(maps.classes).all()
    # Answers are of the pixels, and of each picture by itself.
    assert float(maps.classes.std(dim=(-2, -1)).min()) > 0
    with torch.no_grad():
        alone = make_network(config)(pixels[:1])
    assert torch.allclose(alone.classes, maps.classes[:1], atol=1e-4)


@pytest.mark.parametrize(("norm", "kind"), [("group", nn.GroupNorm), ("channel", ChannelNorm)])
def test_small_heads_have_another_norm(norm, kind):
    config = replace(TINY, head=HeadConfig(dim=8, norm=norm, fine_dim=8))
    head = UperHover(config).classes.decode_head
    norms = [m for m in head.modules() if isinstance(m, kind)]
    assert len(norms) == len(config.head.pool_scales) + 1 + 3 + 3 + 1
    assert not any(isinstance(m, nn.BatchNorm2d) for m in head.modules())


def test_every_parameter_learns_but_the_token_of_masked_patches():
    network = UperHover(TINY).train()
    maps = network(torch.randn(2, 3, 64, 64))
    (maps.classes.square().sum() + maps.hv.square().sum()).backward()
    idle = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # Registers and class token of the last block are not read, so nothing else depends on them.
    assert idle <= {"encoder.trunk.embeddings.mask_token"}


def test_maps_that_are_mirrored_have_offsets_of_the_other_sign():
    maps = Maps(torch.rand(1, 6, 4, 5), torch.rand(1, 2, 4, 5))
    across = maps.flipped((3,))
    assert torch.equal(across.classes, maps.classes.flip(3))
    assert torch.equal(across.hv[:, 0], -maps.hv[:, 0].flip(2))
    assert torch.equal(across.hv[:, 1], maps.hv[:, 1].flip(2))
    down = maps.flipped((2,))
    assert torch.equal(down.hv[:, 0], maps.hv[:, 0].flip(1))
    assert torch.equal(down.hv[:, 1], -maps.hv[:, 1].flip(1))
    both = maps.flipped((2, 3))
    assert torch.equal(both.hv, -maps.hv.flip((2, 3)))
    assert torch.equal(both.flipped((2, 3)).hv, maps.hv)


# ---- configurations


HOVERNET = replace(
    PLAIN.inference,
    class_order=(1, 2, 3, 4, 5, 0),
    watershed=WatershedConfig(
        postproc="hovernet",
        hovernet=HoverNetConstants(limits=GradientLimits((-2.0, 0.5), (-1.0, 0.25))),
    ),
)


@pytest.mark.parametrize("config", [TINY, PLAIN, NANO, UNI2H, replace(PLAIN, inference=HOVERNET)])
def test_uperhovers_configurations_survive_json(config):
    again = UperHoverConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)


def test_fields_that_are_not_there_are_refused():
    values = json.loads(json.dumps(TINY.to_dict()))
    values["encoder"]["colour"] = "mauve"
    with pytest.raises(TypeError, match="colour"):
        UperHoverConfig.from_dict(values)
