"""Reference values that other implementations returned, where they are: numbers only, not part of this repository.

They lie in `$GAN_JAX_GOLDEN`, or in `shared/golden` beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(os.environ.get("GAN_JAX_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a file; skips the test where the folder is absent."""
    if not FOLDER.is_dir():
        pytest.skip(f"no reference values at {FOLDER}; set GAN_JAX_GOLDEN")
    with np.load(FOLDER / name) as file:
        return dict(file)


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
