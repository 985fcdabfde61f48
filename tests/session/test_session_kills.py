"""A killed program loses nothing that it had shown: for real, with a child process."""

import multiprocessing
import os

import numpy as np
import pytest
from kill_helpers import kill_once

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)


KILLS = int(os.environ.get("NUCLEUS_KILLS", "12"))
"""``NUCLEUS_KILLS=200 pytest tests/session/test_session_kills.py`` looks longer."""


def test_every_edit_that_was_shown_survives_a_kill(tmp_path):
    rng = np.random.default_rng(0)
    shown = [kill_once(tmp_path, seed, float(rng.uniform(0, 0.3))) for seed in range(KILLS)]
    assert max(shown) > 5
