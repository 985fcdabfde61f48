"""Prompt encoder and mask decoder: SAM2's arithmetic, names and sizes."""

import re
from dataclasses import replace

import pytest
import torch
from sam2_oracle import HIGH_QUALITY, mask_decoder_oracle, prompt_encoder_oracle

from napari_nucleus.models.uninuc.config import DecoderConfig, UniNucConfig
from napari_nucleus.models.uninuc.crops import PromptBatch, tokens_of
from napari_nucleus.models.uninuc.encoder import ImageEncoder
from napari_nucleus.models.uninuc.mask_decoder import MaskDecoder
from napari_nucleus.models.uninuc.prompt_encoder import (
    NEGATIVE,
    PADDING,
    POSITIVE,
    PromptEncoder,
)

IMAGE, PATCH, DIM = 64, 8, 32
GRID = IMAGE // PATCH
PLAIN = DecoderConfig(
    dim=DIM,
    fine_dims=(DIM // 8, DIM // 4),
    heads=4,
    mlp_dim=48,
    hq_dim=8,
    iou_outputs=4,
)
NAN = float("nan")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    torch.manual_seed(0)
    return PromptEncoder(DIM).eval()


@pytest.fixture(scope="module")
def decoder() -> MaskDecoder:
    torch.manual_seed(1)
    return MaskDecoder(PLAIN, (DIM, DIM, DIM)).eval()


def prompts_of(points, labels, boxes=None, logits=None) -> PromptBatch:
    """Prompts of n objects that see all of a ``IMAGE`` px picture."""
    n = len(points)
    has = torch.full((n,), logits is not None)
    return PromptBatch(
        torch.tensor([[0.0, 0, IMAGE, IMAGE]]).expand(n, 4),
        torch.tensor(points, dtype=torch.float32).reshape(n, -1, 2),
        torch.tensor(labels).reshape(n, -1),
        torch.full((n, 4), NAN) if boxes is None else torch.tensor(boxes, dtype=torch.float32),
        torch.zeros(n, 4 * GRID, 4 * GRID) if logits is None else logits,
        has,
    )


def oracle_points(prompts: PromptBatch):
    """The same points as transformers takes them: x, y of pixel indices."""
    return (prompts.points_yx.flip(-1) - 0.5)[None], prompts.labels[None]


CLICKS = prompts_of(
    [[[10.5, 20.5], [3.25, 60.0]], [[32, 32], [0.5, 63.5]]],
    [[POSITIVE, NEGATIVE], [POSITIVE, POSITIVE]],
)
BOXES = prompts_of([[[0, 0]]] * 2, [[PADDING]] * 2, [[8, 10, 30.5, 41], [0, 0, 64, 64]])
BOTH = prompts_of(
    [[[10.5, 20.5]], [[32, 32]]], [[POSITIVE], [NEGATIVE]], [[8, 10, 30.5, 41], [0, 0, 64, 64]]
)


def real_tokens(encoder: PromptEncoder, prompts: PromptBatch):
    positions, labels, real = tokens_of(prompts)
    assert (real == real[:1]).all()
    return encoder.sparse(positions, labels)[:, real[0]]


def same_set(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two lists of tokens hold the same tokens; attention does not see their order."""
    distance = torch.cdist(a, b)
    return a.shape == b.shape and bool(
        (distance.amin(-1) < 1e-4).all() and (distance.amin(-2) < 1e-4).all()
    )


def test_clicks_become_the_tokens_of_sam2(encoder):
    oracle = prompt_encoder_oracle(encoder, DIM, IMAGE, PATCH)
    expected, dense = oracle(*oracle_points(CLICKS), None, None)
    assert torch.allclose(real_tokens(encoder, CLICKS), expected[0], **TOLERANCE)
    assert torch.allclose(encoder.dense(None, None, (GRID, GRID), 1), dense, **TOLERANCE)


def test_a_cell_is_encoded_as_the_point_at_its_centre(encoder):
    grid = encoder.pe_layer.of_grid((6, 10), torch.device("cpu"))
    assert grid.shape == (DIM, 6, 10)
    for r, c in ((0, 0), (5, 2), (3, 9)):
        centre = torch.tensor([(c + 0.5) / 10, (r + 0.5) / 6])
        assert torch.allclose(grid[:, r, c], encoder.pe_layer(centre), atol=1e-6)


def test_positions_keep_their_precision_under_autocast(encoder):
    positions = torch.rand(50, 2)
    exact = encoder.pe_layer(positions)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(encoder.pe_layer(positions).float(), exact, atol=1e-5)


def test_boxes_become_the_tokens_of_sam2(encoder):
    oracle = prompt_encoder_oracle(encoder, DIM, IMAGE, PATCH)
    boxes = BOXES.boxes[:, [1, 0, 3, 2]] - 0.5
    expected, _ = oracle(None, None, boxes[None], None)
    assert torch.allclose(real_tokens(encoder, BOXES), expected[0], **TOLERANCE)


def test_a_box_with_clicks_becomes_the_tokens_of_sam2(encoder):
    oracle = prompt_encoder_oracle(encoder, DIM, IMAGE, PATCH)
    boxes = BOTH.boxes[:, [1, 0, 3, 2]] - 0.5
    expected, _ = oracle(*oracle_points(BOTH), boxes[None], None)
    ours = real_tokens(encoder, BOTH)
    assert all(same_set(a, b) for a, b in zip(ours, expected[0], strict=True))


def test_previous_logits_become_the_dense_prompt_of_sam2(encoder):
    oracle = prompt_encoder_oracle(encoder, DIM, IMAGE, PATCH)
    logits = torch.randn(3, 1, 4 * GRID, 4 * GRID)
    _, expected = oracle(*oracle_points(CLICKS), None, logits)
    ours = encoder.dense(logits, None, (GRID, GRID), 3)
    assert torch.allclose(ours, expected, **TOLERANCE)
    some = encoder.dense(logits, torch.tensor([True, False, True]), (GRID, GRID), 3)
    assert torch.equal(some[0], ours[0])
    assert torch.equal(some[1], encoder.dense(None, None, (GRID, GRID), 1)[0])


@pytest.mark.parametrize("prompts", [CLICKS, BOXES, BOTH], ids=["clicks", "boxes", "both"])
@pytest.mark.parametrize("with_logits", [False, True])
def test_without_high_quality_weights_masks_are_those_of_sam2(
    encoder, decoder, prompts, with_logits
):
    oracle = mask_decoder_oracle(decoder, PLAIN)
    features = [torch.randn(1, DIM, (4 >> i) * GRID, (4 >> i) * GRID) for i in range(3)]
    projected = decoder.project(features)
    grid_pe = encoder.pe_layer.of_grid((GRID, GRID), torch.device("cpu"))
    logits = torch.randn(2, 1, 4 * GRID, 4 * GRID) if with_logits else None
    dense = encoder.dense(logits, None, (GRID, GRID), 2)
    positions, labels, real = tokens_of(prompts)
    sparse = encoder.sparse(positions, labels)
    expanded = tuple(f.expand(2, -1, -1, -1) for f in projected)
    with torch.inference_mode():
        out = decoder(expanded, grid_pe, sparse, dense, None, real)
        for i in range(2):
            answers = [
                oracle(
                    image_embeddings=features[2],
                    image_positional_embeddings=grid_pe[None],
                    sparse_prompt_embeddings=sparse[None, i : i + 1, real[i]],
                    dense_prompt_embeddings=dense[i : i + 1],
                    multimask_output=several,
                    high_resolution_features=[oracle.conv_s0(features[0]), projected[1]],
                )
                for several in (False, True)
            ]
            masks = torch.cat([a[0][0, 0] for a in answers])
            iou = torch.cat([a[1][0, 0] for a in answers])
            assert torch.allclose(out.logits[i], masks, **TOLERANCE)
            assert torch.allclose(out.iou[i], iou, **TOLERANCE)
            assert torch.allclose(out.object_score[i], answers[0][3][0, 0, 0], **TOLERANCE)


def decode(decoder: MaskDecoder, seed: int = 3):
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    features = [noise(2, DIM, (4 >> i) * GRID, (4 >> i) * GRID) for i in range(3)]
    projected = decoder.project(features)
    return decoder(projected, noise(DIM, GRID, GRID), noise(2, 3, DIM), noise(2, DIM, GRID, GRID))


@pytest.mark.parametrize("add_sam_feature", [True, False])
def test_the_high_quality_path_starts_silent_and_can_learn(add_sam_feature):
    config = replace(PLAIN, add_sam_feature=add_sam_feature)
    decoder = MaskDecoder(config, (DIM, DIM, DIM))
    before = decode(decoder).logits
    alone = MaskDecoder(replace(config, hq_sum=False), (DIM, DIM, DIM))
    alone.load_state_dict(decoder.state_dict())
    assert (decode(alone).logits == 0).all()

    (before - 1).pow(2).sum().backward()
    last = decoder.hf_mlp.layers[-1]
    assert last.weight.grad.abs().sum() > 0
    with torch.no_grad():
        last.weight -= 1e-3 * last.weight.grad
    decoder.zero_grad()
    after = decode(decoder).logits
    assert not torch.allclose(after, before, atol=1e-6)
    after.pow(2).sum().backward()
    # Once the last layer is not zero, everything behind it learns.
    reached = [n for n, p in decoder.hq.named_parameters() if p.grad is None or not p.grad.any()]
    assert reached == []


def test_the_high_quality_mask_is_added_or_stands_alone():
    decoder = MaskDecoder(PLAIN, (DIM, DIM, DIM))
    sam = decode(decoder).logits
    torch.nn.init.normal_(decoder.hf_mlp.layers[-1].weight)
    alone = MaskDecoder(replace(PLAIN, hq_sum=False), (DIM, DIM, DIM))
    alone.load_state_dict(decoder.state_dict())
    hq = decode(alone).logits
    assert torch.equal(hq[:, 0], hq[:, 3])
    assert torch.allclose(decode(decoder).logits, sam + hq, atol=1e-4)


def test_a_fifth_iou_output_judges_the_mask_of_clear_prompts():
    decoder = MaskDecoder(replace(PLAIN, iou_outputs=5), (DIM, DIM, DIM))
    with torch.no_grad():
        decoder.iou_prediction_head.layers[-1].weight.zero_()
        decoder.iou_prediction_head.layers[-1].bias.copy_(torch.arange(5.0))
    expected = torch.sigmoid(torch.tensor([4.0, 1, 2, 3]))
    assert torch.allclose(decode(decoder).iou, expected.expand(2, 4))


def test_a_lone_point_takes_the_best_hypothesis_and_others_the_single_mask():
    logits = torch.arange(4.0).reshape(1, 4, 1, 1).expand(2, 4, 1, 1)
    iou = torch.tensor([[0.9, 0.1, 0.3, 0.2]]).expand(2, 4)
    out = decode(MaskDecoder(PLAIN, (DIM, DIM, DIM)))._replace(logits=logits, iou=iou)
    mask, score = out.best(torch.tensor([True, False]))
    assert mask.flatten().tolist() == [2.0, 0.0]
    assert torch.allclose(score, torch.tensor([0.3, 0.9]))


def names(pattern: str) -> set[str]:
    """Expand ``{a,b}`` alternatives and ``{0-3}`` ranges of a name."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return {pattern}
    inner = found.group(1)
    span = re.fullmatch(r"(\d+)-(\d+)", inner)
    options = map(str, range(int(span[1]), int(span[2]) + 1)) if span else inner.split(",")
    return {
        n for o in options for n in names(pattern[: found.start()] + o + pattern[found.end() :])
    }


def test_the_prompt_encoder_has_the_names_of_sam2(encoder):
    expected = (
        {"pe_layer.positional_encoding_gaussian_matrix"}
        | names("point_embeddings.{0-3}.weight")
        | names("{not_a_point_embed,no_mask_embed}.weight")
        | names("mask_downscaling.{0,1,3,4,6}.{weight,bias}")
    )
    assert set(encoder.state_dict()) == expected


def test_the_mask_decoder_has_the_names_of_sam2(decoder):
    attention = "{q_proj,k_proj,v_proj,out_proj}.{weight,bias}"
    layer = "transformer.layers.{0,1}"
    expected = (
        names(
            f"{layer}.{{self_attn,cross_attn_token_to_image,cross_attn_image_to_token}}.{attention}"
        )
        | names(f"{layer}.mlp.layers.{{0,1}}.{{weight,bias}}")
        | names(f"{layer}.norm{{1-4}}.{{weight,bias}}")
        | names(f"transformer.final_attn_token_to_image.{attention}")
        | names("transformer.norm_final_attn.{weight,bias}")
        | names("{iou_token,mask_tokens,obj_score_token}.weight")
        | names("output_upscaling.{0,1,3}.{weight,bias}")
        | names("output_hypernetworks_mlps.{0-3}.layers.{0-2}.{weight,bias}")
        | names("{iou_prediction_head,pred_obj_score_head}.layers.{0-2}.{weight,bias}")
        | names("{conv_s0,conv_s1}.{weight,bias}")
    )
    own = {n for n in decoder.state_dict() if not n.startswith(HIGH_QUALITY)}
    assert own == expected
    extra = set(decoder.state_dict()) - own
    assert {"hf_token.weight"} | names("hf_mlp.layers.{0-2}.{weight,bias}") <= extra


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes_have_the_published_numbers_of_parameters():
    config = UniNucConfig()
    with torch.device("meta"):
        trunk = ImageEncoder(config.encoder)
        prompts = PromptEncoder(config.decoder.dim)
        masks = MaskDecoder(replace(config.decoder, iou_outputs=4), (256, 256, 256))
    assert count(trunk.trunk) == 68_675_712
    assert count(trunk.neck) == 431_104
    assert count(prompts) == 6_220
    sam = sum(p.numel() for n, p in masks.named_parameters() if not n.startswith(HIGH_QUALITY))
    assert sam == 4_215_109
