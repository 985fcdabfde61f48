"""SAM and SAM2 of transformers: with the originals' weights they compute what the originals do.

What the originals compute in small is kept in ``sam_answers``; ``sam_oracle.py`` makes it.
"""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file
from sam_helpers import PRESETS, kept, make_network, state_of, write_checkpoint
from sam_oracle import picture, prompts
from torch import Tensor

from napari_nucleus.errors import WeightsError
from napari_nucleus.models.sam.convert import load_checkpoint, renamed
from napari_nucleus.models.sam.network import SamNetwork
from napari_nucleus.models.sam.presets import PRESETS as PUBLISHED

BOTH = ("tiny-sam", "tiny-sam2")
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


@pytest.fixture(scope="module", params=BOTH)
def network(request, tmp_path_factory) -> SamNetwork:
    return make_network(request.param, tmp_path_factory.mktemp("sam")).eval()


def name_of(network: SamNetwork) -> str:
    return f"tiny-{network.family}"


def ask(network: SamNetwork, seen, prompt) -> tuple[Tensor, Tensor]:
    points, labels = prompt.get("points", (None, None))
    logits, iou = network(
        seen,
        None if points is None else points[None],
        None if labels is None else labels[None],
        prompt["box"][None] if "box" in prompt else None,
        prompt.get("logits"),
        prompt.get("several", False),
    )
    return logits[0], iou[0]


@torch.inference_mode()
def test_what_is_seen_is_what_the_original_sees(network):
    seen = network.see(picture(network.size))
    expected = [v for k, v in sorted(kept(name_of(network)).items()) if k.startswith("seen")]
    assert len(seen) == len(expected)
    for ours, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(theirs), **TOLERANCE)


@pytest.mark.parametrize("i", range(7))
@torch.inference_mode()
def test_points_boxes_and_masks_are_answered_as_by_the_original(network, i):
    prompt = prompts(network.size, network.grid)[i]
    logits, iou = ask(network, network.see(picture(network.size)), prompt)
    expected = kept(name_of(network))
    # SAM2's predictor clips what it returns.
    logits = logits.clamp(-32, 32) if network.family == "sam2" else logits
    torch.testing.assert_close(logits, torch.from_numpy(expected[f"logits_{i}"]), **TOLERANCE)
    torch.testing.assert_close(iou, torch.from_numpy(expected[f"iou_{i}"]), **TOLERANCE)


def test_among_the_kept_answers_are_masks_that_sam2_takes_from_elsewhere():
    def stability(logits) -> float:
        return float((logits > 0.05).sum() / (logits > -0.05).sum())

    single = [stability(kept("tiny-sam2")[f"logits_{i}"]) for i in (1, 2, 3, 4, 6)]
    assert min(single) < 0.98 < max(single)


@torch.inference_mode()
def test_prompts_are_answered_alike_alone_and_together(network):
    seen = network.see(picture(network.size))
    points = torch.tensor([[[20.0, 30.0]], [[50.0, 60.0]], [[70.0, 10.0]]])
    labels = torch.ones((3, 1), dtype=torch.long)
    boxes = torch.tensor([[10.0, 10, 40, 50], [30, 40, 80, 90], [50, 0, 90, 30]])
    logits, iou = network(seen, points, labels, boxes, None, False)
    for i in range(3):
        one = slice(i, i + 1)
        alone = network(seen, points[one], labels[one], boxes[one], None, False)
        torch.testing.assert_close(logits[one], alone[0], **TOLERANCE)
        torch.testing.assert_close(iou[one], alone[1], **TOLERANCE)


# ---- names


def names(pattern: str) -> set[str]:
    """Expand ``{a,b}`` alternatives and ``{0-3}`` ranges of a name."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return {pattern}
    span = re.fullmatch(r"(\d+)-(\d+)", found[1])
    options = map(str, range(int(span[1]), int(span[2]) + 1)) if span else iter(found[1].split(","))
    before, after = pattern[: found.start()], pattern[found.end() :]
    return {n for option in options for n in names(before + option + after)}


WB = "{weight,bias}"
HEADS = (
    names(f"prompt.mask_downscaling.{{0,1,3,4,6}}.{WB}")
    | names("prompt.{point_embeddings.0,point_embeddings.1,point_embeddings.2}.weight")
    | names("prompt.{point_embeddings.3,not_a_point_embed,no_mask_embed}.weight")
    | {"prompt.pe_layer.positional_encoding_gaussian_matrix"}
    | names(f"mask.transformer.layers.{{0,1}}.norm{{1-4}}.{WB}")
    | names(
        "mask.transformer.layers.{0,1}.{self_attn,cross_attn_token_to_image,"
        f"cross_attn_image_to_token}}.{{q,k,v,out}}_proj.{WB}"
    )
    | names(f"mask.transformer.final_attn_token_to_image.{{q,k,v,out}}_proj.{WB}")
    | names(f"mask.transformer.norm_final_attn.{WB}")
    | names("mask.{iou_token,mask_tokens}.weight")
    | names(f"mask.output_upscaling.{{0,1,3}}.{WB}")
    | names(f"mask.output_hypernetworks_mlps.{{0-3}}.layers.{{0-2}}.{WB}")
    | names(f"mask.iou_prediction_head.layers.{{0-2}}.{WB}")
)
"""What the prompt encoders and mask decoders of both originals have, by their names there."""


def names_of_sam(depth: int) -> set[str]:
    blocks = f"image_encoder.blocks.{{0-{depth - 1}}}"
    heads = {re.sub(r"^(prompt|mask)\.", r"\1_", n) for n in HEADS}
    heads = {re.sub("^prompt_", "prompt_encoder.", n) for n in heads}
    heads = {re.sub("^mask_", "mask_decoder.", n) for n in heads}
    return (
        heads
        | names(f"mask_decoder.transformer.layers.{{0,1}}.mlp.lin{{1,2}}.{WB}")
        | {"image_encoder.pos_embed"}
        | names(f"image_encoder.patch_embed.proj.{WB}")
        | names(f"{blocks}.{{norm1,norm2,attn.qkv,attn.proj,mlp.lin1,mlp.lin2}}.{WB}")
        | names(f"{blocks}.attn.rel_pos_{{h,w}}")
        | names("image_encoder.neck.{0,2}.weight")
        | names(f"image_encoder.neck.{{1,3}}.{WB}")
    )


def names_of_sam2(stages: list[int]) -> set[str]:
    blocks = f"image_encoder.trunk.blocks.{{0-{sum(stages) - 1}}}"
    ends = {sum(stages[: i + 1]) for i in range(3)}
    heads = {re.sub(r"^prompt\.", "sam_prompt_encoder.", n) for n in HEADS}
    heads = {re.sub(r"^mask\.", "sam_mask_decoder.", n) for n in heads}
    return (
        heads
        | names(f"sam_mask_decoder.transformer.layers.{{0,1}}.mlp.layers.{{0,1}}.{WB}")
        | {"sam_mask_decoder.obj_score_token.weight", "no_mem_embed"}
        | names(f"sam_mask_decoder.{{conv_s0,conv_s1}}.{WB}")
        | names(f"sam_mask_decoder.pred_obj_score_head.layers.{{0-2}}.{WB}")
        | names("image_encoder.trunk.{pos_embed,pos_embed_window}")
        | names(f"image_encoder.trunk.patch_embed.proj.{WB}")
        | names(f"{blocks}.{{norm1,norm2,attn.qkv,attn.proj}}.{WB}")
        | names(f"{blocks}.mlp.layers.{{0,1}}.{WB}")
        | {n for i in ends for n in names(f"image_encoder.trunk.blocks.{i}.proj.{WB}")}
        | names(f"image_encoder.neck.convs.{{0-3}}.conv.{WB}")
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_of_a_published_layout_has_its_place(name):
    with torch.device("meta"):
        network = SamNetwork(PUBLISHED[name].config)
    vision = network.sam.config.vision_config
    if network.family == "sam":
        theirs = names_of_sam(vision.num_hidden_layers)
    else:
        theirs = names_of_sam2(vision.backbone_config.blocks_per_stage)
    ours = set(network.sam.state_dict()) - {
        "prompt_encoder.shared_embedding.positional_embedding"  # once more
    }
    told = renamed(theirs, network.family)
    points = {f"prompt_encoder.point_embed.{i}.weight" for i in range(4)}
    if network.family == "sam2":
        assert points <= set(told.values())
        ours = (ours - {"prompt_encoder.point_embed.weight"}) | points
    assert set(told.values()) == ours
    assert len(set(told.values())) == len(told)


@pytest.mark.parametrize(
    ("name", "count", "keys"),
    [
        ("sam-vit-b", 93_735_472, 314),
        ("sam-vit-l", 312_342_832, 482),
        ("sam-vit-h", 641_090_608, 594),
        ("medsam", 93_735_472, 314),
        # Trunk, neck, prompt encoder, mask decoder, and the embedding of no memory.
        ("sam2.1-base-plus", 68_675_712 + 431_104 + 6_220 + 4_215_109 + 256, None),
    ],
)
def test_published_sizes_have_the_published_numbers_of_parameters(name, count, keys):
    with torch.device("meta"):
        network = SamNetwork(PUBLISHED[name].config)
    positions = {"shared_image_embedding.positional_embedding"}
    positions |= {"prompt_encoder.shared_embedding.positional_embedding"}
    own = {k: v.numel() for k, v in network.sam.state_dict().items() if k not in positions}
    assert sum(own.values()) == count
    assert keys is None or len(own) + 1 == keys


def test_a_configuration_of_another_family_is_refused():
    with pytest.raises(ValueError, match="sam3"):
        SamNetwork({"model_type": "sam3"})


# ---- checkpoints


def same(a: SamNetwork, b: SamNetwork) -> bool:
    own, other = a.sam.state_dict(), b.sam.state_dict()
    return all(torch.equal(own[k], other[k]) for k in own)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"plain": None},
        {"model": ""},
        {"model_state": "", "decoder_state": {"encoder.block.weight": torch.ones(2)}},
        {"model_state": "sam."},
        {"state_dict": "module.sam."},
    ],
    ids=lambda w: " ".join(f"{k}:{v}" for k, v in w.items() if isinstance(v, str)) or "plain",
)
def test_wrappers_and_prefixes_do_not_matter(tmp_path, wrapped):
    expected = make_network("tiny-sam", tmp_path)
    state = state_of("tiny-sam")
    content = {
        k: {f"{v}{n}": t for n, t in state.items()} if isinstance(v, str) else v
        for k, v in wrapped.items()
    }
    torch.save(state if "plain" in wrapped else content, tmp_path / "theirs.pth")
    network = SamNetwork(PRESETS["tiny-sam"].config)
    report = load_checkpoint(network, tmp_path / "theirs.pth")
    assert same(network, expected)
    assert report.missing == report.unexpected == report.reshaped == ()
    assert "vision_encoder.layers.1.attn.rel_pos_h" in report.loaded


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("all_positions", [True, False])
def test_the_librarys_own_layout_is_taken_as_well(tmp_path, name, all_positions):
    expected = make_network(name, tmp_path)
    state = expected.tensors()
    if not all_positions:
        state.pop("prompt_encoder.shared_embedding.positional_embedding")
    state["memory_encoder.projection.weight"] = torch.ones(2)
    save_file(state, tmp_path / "model.safetensors")
    network = SamNetwork(PRESETS[name].config)
    report = load_checkpoint(network, tmp_path / "model.safetensors")
    assert same(network, expected)
    assert report.unexpected == ("memory_encoder.projection.weight",)


def test_what_follows_objects_through_videos_is_told_and_left(tmp_path):
    network = SamNetwork(PRESETS["tiny-sam2"].config)
    report = load_checkpoint(network, write_checkpoint("tiny-sam2", tmp_path))
    assert report.missing == ()
    assert {"maskmem_tpos_enc", "no_obj_ptr", "mask_downsample.weight"} <= set(report.unexpected)
    assert all(n.startswith(("mask", "no_", "obj_ptr")) for n in report.unexpected)


def test_the_other_family_is_refused(tmp_path):
    network = SamNetwork(PRESETS["tiny-sam2"].config)
    with pytest.raises(WeightsError, match=r"tiny-sam\.pt: .*another model's"):
        load_checkpoint(network, write_checkpoint("tiny-sam", tmp_path))


def test_another_size_is_refused_by_its_shapes(tmp_path):
    network = SamNetwork(PRESETS["tiny-sam"].config)
    file = write_checkpoint(
        "tiny-sam", tmp_path, **{"image_encoder.pos_embed": torch.ones(1, 6, 6, 48)}
    )
    with pytest.raises(WeightsError, match=r"pos_embed is \(1, 6, 6, 48\).*another model's"):
        load_checkpoint(network, file)


def test_half_an_encoder_is_refused_by_its_numbers(tmp_path):
    network = SamNetwork(PRESETS["tiny-sam"].config)
    encoder = [n for n in state_of("tiny-sam") if n.startswith("image_encoder.")]
    half = dict.fromkeys(encoder[::2])
    file = write_checkpoint("tiny-sam", tmp_path, **half)
    count = f"holds {len(encoder) - len(half)} of the {len(encoder)} tensors"
    with pytest.raises(WeightsError, match=f"{count}.*vision_encoder"):
        load_checkpoint(network, file)


def test_a_whole_model_but_for_one_tensor_is_refused_by_its_name(tmp_path):
    network = SamNetwork(PRESETS["tiny-sam"].config)
    gone = "image_encoder.blocks.1.attn.rel_pos_h"
    with pytest.raises(WeightsError, match=r"vision_encoder\.layers\.1\.attn\.rel_pos_h"):
        load_checkpoint(network, write_checkpoint("tiny-sam", tmp_path, **{gone: None}))
