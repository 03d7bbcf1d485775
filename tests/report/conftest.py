from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def images():
    """Distinct uint8 images of a size and number of channels."""

    def make(n=6, size=4, channels=1, seed=0):
        return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)

    return make
