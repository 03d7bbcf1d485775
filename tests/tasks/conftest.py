"""Features for the perceptual term of layouts, in place of a published network's."""

from __future__ import annotations

import jax.numpy as jnp
import pytest


@pytest.fixture(autouse=True)
def _tiny_features(monkeypatch):
    """Five maps, each the image times a stored factor."""
    factors = jnp.arange(1.0, 6.0)
    monkeypatch.setattr(
        "gan_jax.tasks.layout.published_features",
        lambda network: ({"factors": factors}, lambda params, images: [images * f for f in params["factors"]]),
    )
