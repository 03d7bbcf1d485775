from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def lenient() -> Iterator[None]:
    """The nets add biases by rank promotion, and compute parts in single precision whatever their dtype."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
