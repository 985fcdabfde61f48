from __future__ import annotations

from hypothesis import settings

# A test says what must hold, not how fast: a busy machine must not fail it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
