"""UNI2-h's layout and whole models of other programs in UperHoVer."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from uperhover_helpers import INFO, PLAIN, TINY, make_network, timm_state

from napari_nucleus.core.image import Tile
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.uperhover.build import _adopt, adopt_checkpoint, load_predictor
from napari_nucleus.models.uperhover.convert import load_checkpoint, load_encoder
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.weights import read_weights

ENCODER = PLAIN.encoder


def timm_taps(state, pixels, heads, taps, patch):
    """Outputs of blocks of a timm vision transformer, its arithmetic written out.

    Patches plus positions, then class token and registers in front; in each block norm, attention
    with packed q, k, v, layer scale, and norm, packed SwiGLU, layer scale; no last norm.
    """

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches = F.conv2d(pixels, weight, bias, stride=patch)
    b, dim, h, w = patches.shape
    x = patches.flatten(2).transpose(1, 2) + state["pos_embed"]
    front = [state["cls_token"], state["reg_token"]]
    x = torch.cat([*(token.expand(b, -1, -1) for token in front), x], dim=1)
    skipped = x.shape[1] - h * w
    out = []
    for i in range(max(taps) + 1):
        block = f"blocks.{i}"
        y = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        y = y.reshape(b, -1, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
        q, k, v = y.unbind(0)
        weights = (q @ k.transpose(-2, -1) * (dim // heads) ** -0.5).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(b, -1, dim)
        x = x + linear(y, f"{block}.attn.proj") * state[f"{block}.ls1.gamma"]
        x1, x2 = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1").chunk(2, dim=-1)
        x = x + linear(F.silu(x1) * x2, f"{block}.mlp.fc2") * state[f"{block}.ls2.gamma"]
        if i in taps:
            out.append(x[:, skipped:].transpose(1, 2).reshape(b, dim, h, w))
    return out


def uni2h(seed=3):
    """A flat state with timm's names, of random numbers."""
    generator = torch.Generator().manual_seed(seed)
    state = timm_state(make_network(PLAIN, seed).encoder.trunk)
    for name, value in state.items():
        scale = 0.3 if value.ndim > 1 else 0.1
        state[name] = torch.randn(value.shape, generator=generator) * scale
        if name.endswith(("norm1.weight", "norm2.weight", "gamma")):
            state[name] += 1
    return state


def saved(folder, content, name="uni2h.bin"):
    file = folder / name
    if name.endswith(".safetensors"):
        save_file(content, file)
    else:
        torch.save(content, file)
    return file


# ---- the encoder


def test_the_encoder_computes_what_timm_does(tmp_path):
    state = uni2h()
    network = make_network(PLAIN, 9)
    report = load_encoder(network, saved(tmp_path, state))
    pixels = torch.randn(2, 3, 56, 56)
    expected = timm_taps(state, pixels, ENCODER.heads, ENCODER.taps, ENCODER.patch_size)
    with torch.no_grad():
        found = network.encoder.taps(pixels)
    assert len(found) == 4
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5)
    assert float(expected[0].std()) > 0.1
    assert report.unexpected == ("norm.bias", "norm.weight")
    assert report.missing == ()
    assert report.reshaped == ()
    assert "encoder.layer.4.mlp.up_proj.weight" in report.loaded


@pytest.mark.parametrize(
    "name", ["uni2h.bin", "model.safetensors", "checkpoint.pth", "prefixed.pt", "deep.pt"]
)
def test_wrappers_and_prefixes_of_the_encoder_do_not_matter(tmp_path, name):
    state = uni2h()
    content = {
        "checkpoint.pth": {"model": state, "epoch": 3},
        "prefixed.pt": {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        "deep.pt": {**{f"visual.trunk.{k}": v for k, v in state.items()}, "scale": torch.ones(1)},
    }.get(name, state)
    network = make_network(PLAIN, 9)
    load_encoder(network, saved(tmp_path, content, name))
    other = make_network(PLAIN, 8)
    load_encoder(other, saved(tmp_path, state, "plain.bin"))
    for name, value in other.encoder.trunk.state_dict().items():
        if not name.endswith("mask_token"):
            assert torch.equal(network.encoder.trunk.state_dict()[name], value)


def test_the_class_token_has_no_position_but_one_it_comes_with(tmp_path):
    network, state = make_network(PLAIN), uni2h()
    load_encoder(network, saved(tmp_path, state))
    own = network.encoder.trunk.state_dict()["embeddings.position_embeddings"]
    assert not own[:, 0].any()
    assert torch.equal(own[:, 1:], state["pos_embed"])
    first = torch.full((1, 1, ENCODER.dim), 7.0)
    state["pos_embed"] = torch.cat([first, state["pos_embed"]], 1)
    report = load_encoder(network, saved(tmp_path, state))
    own = network.encoder.trunk.state_dict()["embeddings.position_embeddings"]
    assert torch.equal(own, state["pos_embed"])
    assert report.reshaped == ()


@pytest.mark.parametrize("with_class", [False, True])
def test_positions_of_another_grid_are_resized(tmp_path, with_class):
    state = uni2h()
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    grid = torch.zeros(12, 12, ENCODER.dim)
    grid[..., 0], grid[..., 1], grid[..., 2] = 5.0, (y + 0.5) / 12, (x + 0.5) / 12
    state["pos_embed"] = grid.reshape(1, 144, -1)
    if with_class:
        state["pos_embed"] = torch.cat([torch.ones(1, 1, ENCODER.dim), state["pos_embed"]], 1)
    network = make_network(PLAIN)
    report = load_encoder(network, saved(tmp_path, state))
    assert report.reshaped == ("embeddings.position_embeddings",)
    own = network.encoder.trunk.state_dict()["embeddings.position_embeddings"]
    assert own.shape == (1, 17, ENCODER.dim)
    assert bool(own[0, 0].all()) == with_class
    small = own[0, 1:].reshape(4, 4, -1)
    assert torch.allclose(small[..., 0], torch.tensor(5.0), atol=1e-5)
    # The middle cells are not bent by the border.
    middle = (torch.arange(4) + 0.5)[1:3] / 4
    assert torch.allclose(small[1:3, 0, 1], middle, atol=0.02)
    assert torch.allclose(small[0, 1:3, 2], middle, atol=0.02)


def test_the_blocks_above_the_last_tap_are_surplus(tmp_path):
    state = uni2h()
    state["blocks.5.norm1.weight"] = torch.ones(ENCODER.dim)
    state["blocks.0.attn.rel_pos"] = torch.ones(3)
    state["blocks.odd"] = torch.ones(3)
    report = load_encoder(make_network(PLAIN), saved(tmp_path, state))
    assert {"encoder.layer.5.norm1.weight", "blocks.0.attn.rel_pos", "blocks.odd"} <= set(
        report.unexpected
    )


def test_encoders_of_other_kinds_are_refused(tmp_path):
    network = make_network(PLAIN)
    convnext = {"stem.0.weight": torch.zeros(3, 3), "stages.0.blocks.0.gamma": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"uni2h\.bin.*no vision transformer"):
        load_encoder(network, saved(tmp_path, convnext))
    twice = {f"{who}.{k}": v for who in ("student", "teacher") for k, v in uni2h().items()}
    with pytest.raises(WeightsError, match=r"uni2h\.bin.*'student\.', 'teacher\.'"):
        load_encoder(network, saved(tmp_path, twice))


def without(*endings):
    def change(state):
        for name in [n for n in state if n.endswith(endings)]:
            del state[name]

    return change


def instead(name, value):
    def change(state):
        state[name] = value

    return change


BAD = {
    "no positions": (without("pos_embed"), "position_embeddings"),
    "no registers": (without("reg_token"), "register_tokens"),
    "no layer scale": (without("gamma"), "layer_scale1"),
    "few blocks": (without("fc1.weight", "fc1.bias", "fc2.weight"), "mlp"),
    "another width": (instead("blocks.1.norm1.weight", torch.zeros(25)), "layer.1.norm1.weight"),
    "more registers": (instead("reg_token", torch.zeros(1, 4, 24)), "register_tokens"),
    "other patches": (instead("patch_embed.proj.weight", torch.zeros(24, 3, 16, 16)), "projection"),
    "plain mlp": (instead("blocks.2.mlp.fc1.weight", torch.zeros(64, 24)), "layer.2.mlp.gate_proj"),
    "two thirds": (instead("blocks.0.attn.qkv.weight", torch.zeros(47, 24)), "blocks.0.attn.qkv"),
    "scalar": (instead("blocks.0.attn.qkv.bias", torch.tensor(1.0)), "blocks.0.attn.qkv.bias"),
    "half": (instead("blocks.3.mlp.fc1.bias", torch.zeros(1)), "blocks.3.mlp.fc1.bias"),
    "no square": (instead("pos_embed", torch.zeros(1, 19, 24)), "pos_embed"),
    "flat positions": (instead("pos_embed", torch.zeros(16, 24)), "pos_embed"),
    "empty positions": (instead("pos_embed", torch.zeros(1, 0, 24)), "pos_embed"),
    "other positions": (instead("pos_embed", torch.zeros(1, 9, 30)), "position_embeddings"),
    "nan": (instead("cls_token", torch.full((1, 1, 24), torch.nan)), "cls_token"),
    "infinity": (instead("blocks.0.ls1.gamma", torch.full((24,), torch.inf)), "layer_scale1"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_encoder_is_refused_by_file_and_name(tmp_path, kind):
    change, word = BAD[kind]
    state = uni2h()
    change(state)
    network = make_network(PLAIN)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_encoder(network, saved(tmp_path, state))
    assert "uni2h.bin" in str(error.value)
    assert word in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


# ---- whole models


def foreign(network: UperHover, encoder="", classes="sem.", hv="hv.", levels="proj.{}.", bias=True):
    """A whole model as another program would name it."""
    own = network.state_dict()
    state = {encoder + k: v for k, v in timm_state(network.encoder.trunk).items()}
    for head, prefix in (("classes", classes), ("hv", hv)):
        inside = f"{head}.decode_head."
        state |= {
            prefix + k.removeprefix(inside): v for k, v in own.items() if k.startswith(inside)
        }
    for i in range(4):
        for kind in ("weight", "bias") if bias else ("weight",):
            state[levels.format(i) + kind] = own[f"encoder.projections.{i}.1.{kind}"]
    return {k: v.clone() for k, v in state.items()}


def same_answers(a: UperHover, b: UperHover) -> bool:
    pixels = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        first, second = a.eval()(pixels), b.eval()(pixels)
    return torch.allclose(first.classes, second.classes, atol=1e-5) and torch.allclose(
        first.hv, second.hv, atol=1e-5
    )


NAMES = {
    "short": {},
    "nested": {
        "encoder": "backbone.vit.",
        "classes": "decoders.np.decode_head.",
        "hv": "decoders.hv.decode_head.",
        "levels": "neck.{}.conv.",
    },
    "all inside the encoder": {
        "encoder": "net.",
        "classes": "net.semantic.",
        "hv": "net.offsets.",
        "levels": "net.to_level{}.",
    },
    "one head at the root": {"encoder": "vit.", "classes": "", "hv": "hv."},
    "one head in the other": {"encoder": "vit.", "classes": "head.", "hv": "head.hv."},
}


@pytest.mark.parametrize("names", NAMES)
def test_a_whole_model_is_known_by_its_structure(tmp_path, names):
    source, network = make_network(PLAIN, 1), make_network(PLAIN, 2)
    state = foreign(source, **NAMES[names])
    state["steps_done"] = torch.tensor(5)
    report = load_checkpoint(network, saved(tmp_path, {"state_dict": state}))
    assert same_answers(network, source)
    assert report.missing == ()
    assert any(name.endswith("steps_done") for name in report.unexpected)
    assert len([n for n in report.unexpected if not n.endswith("steps_done")]) == 2  # the last norm


def test_a_whole_model_with_our_names_is_loaded(tmp_path):
    source, network = make_network(TINY, 1), make_network(TINY, 2)
    report = load_checkpoint(network, saved(tmp_path, {"model": source.state_dict()}))
    assert report.missing == report.unexpected == ()
    assert torch.equal(network.classes.fine.out.weight, source.classes.fine.out.weight)


def test_projections_without_a_bias_have_none(tmp_path):
    source, network = make_network(PLAIN, 1), make_network(PLAIN, 2)
    with torch.no_grad():
        for projection in source.encoder.projections:
            projection[1].bias.zero_()
    load_checkpoint(network, saved(tmp_path, foreign(source, bias=False)))
    assert same_answers(network, source)


def test_projections_are_not_looked_for_in_the_heads(tmp_path):
    # A lateral convolution of a head has the shape of a projection here.
    alike = replace(
        PLAIN, encoder=replace(ENCODER, pyramid_dims=(9, 24, 12, 16)), head=replace(PLAIN.head)
    )
    source, network = make_network(alike, 1), make_network(alike, 2)
    assert source.classes.decode_head.lateral_convs[1].conv.weight.shape == (9, 24, 1, 1)
    load_checkpoint(network, saved(tmp_path, dict(reversed(foreign(source).items()))))
    assert same_answers(network, source)


def test_whole_models_of_another_grid_are_resized(tmp_path):
    wide = replace(PLAIN, encoder=replace(ENCODER, image_size=84))
    report = load_checkpoint(
        make_network(PLAIN), saved(tmp_path, foreign(make_network(wide), encoder="vit."))
    )
    assert report.reshaped == ("encoder.trunk.embeddings.position_embeddings",)


OTHER_HEAD = torch.zeros(3, 9, 1, 1)
BAD_WHOLE = {
    "no encoder": (lambda s: [s.pop(k) for k in list(s) if "blocks" in k], "vision transformer"),
    "no hv head": (lambda s: [s.pop(k) for k in list(s) if k.startswith("hv.")], "head for hv"),
    "no heads": (
        lambda s: [s.pop(k) for k in list(s) if k.startswith(("hv.", "sem."))],
        "head for classes and hv",
    ),
    "three classes": (instead("sem.classifier.weight", OTHER_HEAD), "'sem.' gives neither 6 nor 2"),
    "no classifier": (without("hv.classifier.weight"), "'hv.' gives neither 6 nor 2"),
    "scalar": (instead("hv.classifier.weight", torch.tensor(1.0)), "'hv.' gives neither 6 nor 2"),
    "two class heads": (instead("hv.classifier.weight", torch.zeros(6, 9, 1, 1)), "several heads"),
    "no projection": (without("proj.2.weight"), "no projection of 24 to 12"),
    "wide head": (
        instead("sem.bottleneck.conv.weight", torch.zeros(9, 50, 3, 3)),
        "bottleneck.conv.weight",
    ),
    "nan in a buffer": (
        instead("hv.bottleneck.batch_norm.running_var", torch.full((9,), torch.nan)),
        "running_var",
    ),
    "half a head": (
        lambda s: [s.pop(k) for k in list(s) if k.startswith("hv.fpn_convs")],
        "hv.decode_head.fpn_convs",
    ),
    "half an encoder": (
        lambda s: [s.pop(k) for k in list(s) if k.startswith(("blocks.2", "blocks.3"))],
        "encoder.trunk.encoder.layer.2",
    ),
}


@pytest.mark.parametrize("kind", BAD_WHOLE)
def test_a_bad_model_is_refused_by_file_and_name(tmp_path, kind):
    change, words = BAD_WHOLE[kind]
    state = foreign(make_network(PLAIN, 1))
    change(state)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(make_network(PLAIN, 2), saved(tmp_path, state, "theirs.pt"))
    assert "theirs.pt" in str(error.value)
    assert words in str(error.value)


# ---- adopting


def probabilities(predictor, tile):
    return predictor.look(tile, Calibration(1.0, predictor.config.mpp))[1]


def test_an_adopted_model_loads_and_its_outputs_are_put_in_order(tmp_path):
    source = make_network(PLAIN, 1)
    file = saved(tmp_path, {"model": foreign(source, encoder="vit.")})
    order = (1, 2, 3, 4, 5, 0)  # background last
    plain, put = tmp_path / "plain.safetensors", tmp_path / "put.safetensors"
    assert _adopt(PLAIN, file, plain, ()).missing == ()
    _adopt(PLAIN, file, put, order)
    tile = Tile((torch.rand(56, 56, 3) * 255).byte().numpy())
    info = replace(INFO, working_mpp=PLAIN.inference.mpp)
    predictor = load_predictor(info, plain, "cpu")
    assert same_answers(predictor.network, source)
    maps = probabilities(predictor, tile)
    moved = probabilities(load_predictor(info, put, "cpu"), tile)
    for output, class_id in enumerate(order):
        assert (moved[class_id] == maps[output]).all()
    header = read_weights(put).header
    assert header["provenance"] == {"adopted": "uni2h.bin"}
    assert header["config"]["inference"]["class_order"] == list(order)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 1, 2, 3, 4, 4), (1, 2, 3, 4, 5, 6)])
def test_an_order_that_is_none_is_refused_before_anything_is_read(tmp_path, order):
    with pytest.raises(ModelError, match=", ".join(map(str, order))):
        _adopt(PLAIN, tmp_path / "nowhere.pt", tmp_path / "out.safetensors", order)
    with pytest.raises(ModelError, match=", ".join(map(str, order))):
        adopt_checkpoint(tmp_path / "nowhere.pt", tmp_path / "out.safetensors", order)


def test_nothing_is_written_of_a_file_that_does_not_fit(tmp_path):
    file = saved(tmp_path, uni2h())
    out = tmp_path / "out.safetensors"
    with pytest.raises(WeightsError, match=r"uni2h\.bin"):
        _adopt(PLAIN, file, out, ())
    assert not out.exists()
