"""These merges are arithmetic, which is checked in float64."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64():
        yield
