"""Detector: deformable attention, anchors, query selection, query groups."""

from dataclasses import replace

import pytest
import torch
from transformers import DeformableDetrConfig
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrMultiscaleDeformableAttention,
)
from uninuc_helpers import TINY

from napari_nucleus.models.uninuc.config import DetectorConfig
from napari_nucleus.models.uninuc.deformable import DeformableAttention, sine_embedding
from napari_nucleus.models.uninuc.detector import Detector, move_boxes

SHARED = TINY.detector
CONVNEXT = DetectorConfig(
    convnext_dims=(4, 8, 12, 16),
    convnext_depths=(1, 1, 1, 1),
    convnext_patch=2,
    levels=(1, 2, 3),
    dim=16,
    heads=2,
    layers=2,
    ffn_dim=32,
    cross_heads=4,
    points=2,
    c2f_blocks=1,
    queries=20,
    query_area=64 * 64,
    groups=2,
    base_size=10.0,
    reference_px=64.0,
    slot_queries=True,
)
N_CLASSES = 5


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(SHARED, TINY.encoder, N_CLASSES).eval()


def features(h: int = 64, w: int = 96, batch: int = 1) -> list[torch.Tensor]:
    strides, dims = TINY.encoder.strides, TINY.encoder.neck_dims
    return [torch.randn(batch, d, h // s, w // s) for s, d in zip(strides, dims, strict=True)]


# ---- deformable attention


def test_deformable_attention_is_that_of_deformable_detr():
    torch.manual_seed(0)
    dim, heads, points, shapes = 16, 4, 3, [(12, 10), (6, 5)]
    ours = DeformableAttention(dim, heads, len(shapes), points).eval()
    torch.nn.init.normal_(ours.sampling_offsets.weight)
    torch.nn.init.normal_(ours.attention_weights.weight)
    theirs = DeformableDetrMultiscaleDeformableAttention(
        DeformableDetrConfig(d_model=dim, num_feature_levels=2, disable_custom_kernels=True),
        heads,
        points,
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    memory = [torch.randn(2, dim, *s) for s in shapes]
    query = torch.randn(2, 7, dim)
    # Inputs of 80 x 96 pixels, with queries up to and over the border.
    size = torch.tensor([80.0, 96.0])
    fractions = torch.rand(2, 7, 4)
    boxes = fractions * torch.cat([size, size / 2])
    reference = (boxes / size.repeat(2))[:, :, None].expand(-1, -1, 2, -1)
    with torch.inference_mode():
        out = ours(query, boxes, memory, size)
        expected, _ = theirs(
            query,
            encoder_hidden_states=torch.cat([m.flatten(2).transpose(1, 2) for m in memory], 1),
            reference_points=reference,
            spatial_shapes=torch.tensor(shapes),
            spatial_shapes_list=shapes,
            level_start_index=torch.tensor([0, 120]),
        )
    assert torch.allclose(out, expected, atol=1e-5)


def test_attention_looks_where_the_box_is_and_tells_x_from_y():
    attention = DeformableAttention(8, 1, 1, 1).eval()
    with torch.no_grad():
        attention.sampling_offsets.bias.zero_()
        for layer in (attention.value_proj, attention.output_proj):
            layer.weight.copy_(torch.eye(8))
            layer.bias.zero_()
    memory = torch.zeros(1, 8, 16, 24)
    memory[0, 0, 3, 17] = 1.0
    # The cell of row 3, column 17 at stride 4.
    box = torch.tensor([[[17.5 * 4, 3.5 * 4, 8.0, 8.0], [3.5 * 4, 17.5 * 4, 8, 8]]])
    out = attention(torch.zeros(1, 2, 8), box, [memory], torch.tensor([96.0, 64.0]))
    assert float(out[0, 0, 0]) == pytest.approx(1.0, abs=1e-5)
    assert out[0, 1].abs().sum() == 0


def test_attention_under_autocast_keeps_its_aim():
    attention = DeformableAttention(8, 1, 1, 1).eval()
    with torch.no_grad():
        attention.sampling_offsets.bias.zero_()
        attention.value_proj.weight.copy_(torch.eye(8))
        attention.output_proj.weight.copy_(torch.eye(8))
        attention.value_proj.bias.zero_()
        attention.output_proj.bias.zero_()
    memory = torch.zeros(1, 8, 144, 144)
    memory[0, 0, 100, 129] = 1.0
    box = torch.tensor([[[129.5 * 4, 100.5 * 4, 8.0, 8.0]]])
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(torch.zeros(1, 1, 8), box, [memory], torch.tensor([576.0, 576.0]))
    assert float(out[0, 0, 0]) == pytest.approx(1.0, abs=1e-2)


def test_boxes_that_differ_have_embeddings_that_differ():
    boxes = torch.tensor([[0.1, 0.2, 0.05, 0.05], [0.2, 0.1, 0.05, 0.05], [0.1, 0.2, 0.05, 0.1]])
    embedded = sine_embedding(boxes, 16)
    assert embedded.shape == (3, 32)
    assert torch.cdist(embedded, embedded)[~torch.eye(3, dtype=torch.bool)].min() > 0.01


# ---- anchors and proposals


def test_anchors_sit_on_the_centres_of_cells_and_double_with_the_level(detector):
    memory = detector.memory(None, features(32, 48))
    anchors = detector.anchors(memory)
    assert detector.strides == [4, 8]
    fine, coarse = anchors[: 8 * 12].reshape(8, 12, 4), anchors[8 * 12 :].reshape(4, 6, 4)
    assert torch.equal(fine[3, 5], torch.tensor([22.0, 14.0, 12.0, 12.0]))
    assert torch.equal(coarse[1, 2], torch.tensor([20.0, 12.0, 24.0, 24.0]))
    assert anchors[:, 0].max() < 48
    assert anchors[:, 1].max() < 32


def test_at_first_proposals_and_refined_boxes_are_the_anchors(detector):
    memory = detector.memory(None, features())
    anchors = detector.anchors(memory)
    for group in range(SHARED.groups):
        assert torch.equal(detector.propose(memory, group).boxes[0], anchors)
    proposals = detector.propose(memory)
    index = detector.select(proposals, 10)
    query, boxes = detector.queries(proposals, index)
    assert torch.equal(boxes[0], anchors[index[0]])
    out = detector.decode(memory, query, boxes)
    assert out.boxes.shape == (SHARED.layers, 1, 10, 4)
    assert all(torch.equal(layer[0], boxes[0]) for layer in out.boxes)
    # Few cells are nuclei.
    assert out.logits.sigmoid().mean() < 0.05


def test_deltas_move_by_the_box_and_scale_exponentially():
    reference = torch.tensor([[10.0, 20, 4, 8]])
    moved = move_boxes(reference, torch.tensor([[0.5, -0.25, 0.6931472, 0.0]]))
    assert torch.allclose(moved, torch.tensor([[12.0, 18.0, 8.0, 8.0]]))
    huge = move_boxes(reference, torch.full((1, 4), 50.0))
    assert torch.isfinite(huge).all()


def test_the_likeliest_proposals_become_queries(detector):
    memory = detector.memory(None, features())
    proposals = detector.propose(memory)
    logits = torch.full_like(proposals.logits, -5)
    logits[0, 7, 2], logits[0, 100, 4], logits[0, 31, 0] = 3.0, 5.0, 4.0
    index = detector.select(proposals._replace(logits=logits), 3)
    assert index.tolist() == [[100, 31, 7]]


def test_no_gradient_goes_from_the_decoder_into_the_proposals(detector):
    memory = [m.detach() for m in detector.memory(None, features())]
    proposals = detector.propose(memory)
    query, boxes = detector.queries(proposals, detector.select(proposals, 5))
    out = detector.decode(memory, query, boxes)
    (out.logits.sum() + out.boxes.sum()).backward()
    assert all(p.grad is None for p in detector.proposal_heads.parameters())


# ---- groups


def test_groups_do_not_see_each_other(detector):
    memory = detector.memory(None, features())
    torch.manual_seed(1)
    query = torch.randn(1, 12, SHARED.dim)
    boxes = torch.rand(1, 12, 4) * 60 + 4
    with torch.inference_mode():
        before = detector.decode(memory, query, boxes, [7, 5])
        changed = query.clone()
        changed[:, 8] += 1
        after = detector.decode(memory, changed, boxes, [7, 5])
        mixed = detector.decode(memory, changed, boxes)
    assert torch.equal(before.logits[:, :, :7], after.logits[:, :, :7])
    assert not torch.allclose(before.logits[:, :, 7:], after.logits[:, :, 7:])
    assert not torch.allclose(mixed.logits[:, :, :7], after.logits[:, :, :7])


def test_a_group_alone_answers_as_it_does_beside_others(detector):
    memory = detector.memory(None, features())
    query, boxes = torch.randn(1, 12, SHARED.dim), torch.rand(1, 12, 4) * 60 + 4
    with torch.inference_mode():
        together = detector.decode(memory, query, boxes, [7, 5])
        alone = detector.decode(memory, query[:, :7], boxes[:, :7])
    assert torch.allclose(together.logits[:, :, :7], alone.logits, atol=1e-5)


# ---- inference


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (64, 128)])
def test_the_number_of_queries_follows_the_area(detector, shape):
    memory = detector.memory(None, features(*shape))
    expected = round(SHARED.queries * shape[0] * shape[1] / SHARED.query_area)
    probability, boxes = detector.detect(memory)
    assert probability.shape == (expected, N_CLASSES)
    assert boxes.shape == (expected, 4)


def test_proposals_below_the_threshold_do_not_become_queries():
    torch.manual_seed(0)
    config = replace(SHARED, query_threshold=0.5)
    detector = Detector(config, TINY.encoder, N_CLASSES).eval()
    memory = detector.memory(None, features())
    probability, _ = detector.detect(memory)
    assert len(probability) == 1  # never none, because layers need something to work on
    head = detector.proposal_heads[0].class_embed
    with torch.no_grad():
        head.weight.mul_(20)
        head.bias.zero_()
    score = detector.propose(memory).logits[0].amax(-1).sigmoid()
    expected = min(int((score > 0.5).sum()), 60)
    assert expected > 1
    assert len(detector.detect(memory)[0]) == expected


def test_one_group_is_used_at_inference(detector):
    memory = detector.memory(None, features())
    before = detector.detect(memory)
    with torch.no_grad():
        for parameter in detector.proposal_heads[1].parameters():
            parameter.normal_()
        detector.query_feat.weight[1:].normal_()
    after = detector.detect(memory)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_learned_slots_give_their_number_of_queries_whatever_the_area():
    torch.manual_seed(0)
    detector = Detector(CONVNEXT, TINY.encoder, N_CLASSES).eval()
    with torch.inference_mode():
        memory = detector.memory(torch.rand(1, 3, 64, 96), None)
    assert detector.strides == [4, 8, 16]
    assert [m.shape[-2:] for m in memory] == [(16, 24), (8, 12), (4, 6)]
    assert {m.shape[1] for m in memory} == {CONVNEXT.dim}
    assert len(detector.detect(memory)[0]) == CONVNEXT.queries
    assert detector.query_feat.weight.shape[0] == CONVNEXT.groups * CONVNEXT.queries


def test_without_a_backbone_features_must_be_given(detector):
    with pytest.raises(ValueError, match="features"):
        detector.memory(torch.rand(1, 3, 64, 64), None)
