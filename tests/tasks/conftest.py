from __future__ import annotations

import jax
import pytest


@pytest.fixture(autouse=True)
def _cheap_compiles():
    """Biases are added to batches in the nets, the one promotion of ranks there is; compiling is what tests wait for."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.numpy_rank_promotion("allow"):
        yield
    jax.config.update("jax_disable_most_optimizations", False)
