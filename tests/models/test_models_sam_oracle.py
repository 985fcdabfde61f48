"""The original programs themselves, in a process of their own: same weights in, same masks out.

Skipped without ``.venv-oracle``; ``make oracle`` makes it and runs these tests. The smallest real
models take gigabytes and minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sam_helpers import PRESETS, kept
from sam_oracle import answered, clicks, picture, prompts
from test_models_sam_network import TOLERANCE, ask

from napari_nucleus.models.sam import live_info
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.convert import load_checkpoint
from napari_nucleus.models.sam.network import SamNetwork
from napari_nucleus.models.sam.predictor import SamSegmenter
from napari_nucleus.models.sam.presets import PRESETS as PUBLISHED

PACKAGES = Path(__file__).parents[2] / ".venv-oracle"

pytestmark = pytest.mark.skipif(not PACKAGES.is_dir(), reason="make oracle")


@dataclass(frozen=True)
class Oracle:
    """What the original made, and our network with its weights."""

    name: str
    found: dict[str, np.ndarray]
    live: dict[str, np.ndarray]
    network: SamNetwork


@pytest.fixture(scope="module", params=["tiny-sam", "tiny-sam2", "sam-vit-b", "sam2.1-tiny"])
def oracle(request, tmp_path_factory) -> Oracle:
    name, folder = request.param, tmp_path_factory.mktemp("oracle")
    script = Path(__file__).with_name("sam_oracle.py")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), name, str(folder)],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    network = SamNetwork((PRESETS.get(name) or PUBLISHED[name]).config).eval()
    checkpoint = folder / "checkpoint.pt"
    assert load_checkpoint(network, checkpoint).missing == ()
    checkpoint.unlink()
    found, live = (dict(np.load(folder / f"{n}.npz")) for n in (name, "live"))
    return Oracle(name, found, live, network)


def far(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """The largest difference."""
    assert ours.shape == theirs.shape
    return float((ours - torch.from_numpy(theirs)).abs().max())


@torch.inference_mode()
def test_embeddings_logits_and_iou_are_those_of_the_original(oracle, record_property):
    network = oracle.network
    seen = network.see(picture(network.size))
    worst = {"seen": max(far(m, oracle.found[f"seen_{i}"]) for i, m in enumerate(seen))}
    for i, prompt in enumerate(prompts(network.size, network.grid)):
        logits, iou = ask(network, seen, prompt)
        # SAM2's predictor clips what it returns.
        logits = logits.clamp(-32, 32) if network.family == "sam2" else logits
        worst[f"logits {i}"] = far(logits, oracle.found[f"logits_{i}"])
        worst[f"iou {i}"] = far(iou, oracle.found[f"iou_{i}"])
    for what, difference in worst.items():
        record_property(what, difference)
    assert max(worst.values()) < TOLERANCE["atol"], worst


def test_the_predictor_when_adapted_answers_as_the_adopted_weights_do(oracle):
    ours = answered(SamSegmenter(oracle.network, live_info(), "digest", SamInference()))
    for i in range(len(clicks())):
        # SAM's predictor rounds the colours of the picture that it stretches.
        assert oracle.live[f"iou_{i}"] == pytest.approx(ours[f"iou_{i}"], abs=1e-2)
        assert (oracle.live[f"mask_{i}"] != ours[f"mask_{i}"]).mean() < 0.01


def test_the_kept_answers_are_those_of_the_original(oracle):
    if oracle.name not in PRESETS:
        pytest.skip("kept of models in small alone")
    expected = kept(oracle.name)
    assert expected.keys() == oracle.found.keys()
    assert str(expected["shapes"]) == str(oracle.found["shapes"])
    for name in expected.keys() - {"shapes"}:
        np.testing.assert_allclose(expected[name], oracle.found[name], atol=1e-4)
