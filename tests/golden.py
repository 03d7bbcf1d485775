"""Reference values that other implementations returned, and what networks imported from them are compared by.

Numbers only, not part of this repository: they lie in `golden` beside the folder of the extra data (see `extra_data`
in conftest.py).
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.interop.links import Links, export_tensors, import_tensors
from gan_jax.trees import Tree, flatten, unflatten
from tests.conftest import extra_data

Tensors = dict[str, np.ndarray]


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a file; skips the test where the folder is absent."""
    with np.load(extra_data("..", "golden", name)) as file:
        return dict(file)


def golden_files(kind: str, one: str) -> list[str]:
    """Names of all files of a kind, `r3gan_*.npz`; where the folder is absent `one`, whose test then skips."""
    try:
        folder = extra_data("..", "golden")
    except pytest.skip.Exception:
        return [one]
    return sorted(file.name for file in folder.glob(kind)) or [one]


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def nhwc(images: np.ndarray) -> np.ndarray:
    """`[N, C, H, W]` as ours."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def close(found: Any, expected: Any, tolerance: float, what: str = "") -> None:
    """Relative to the largest value."""
    expected = np.asarray(expected)
    assert np.abs(np.asarray(found) - expected).max() <= tolerance * np.abs(expected).max(), what


def imported(state: Tensors, links: Links, ignored: dict[str, str], specs: Tree) -> Tree:
    """The variables of a state, every tensor of which is accounted for."""
    leaves, account = import_tensors(state, links, ignored, flatten(specs), "golden")
    assert len(account.used) + len(account.ignored) == len(state)
    return jax.device_put(unflatten(leaves))  # jnp.asarray compiles a program for each shape


def there_and_back(state: Tensors, links: Links, ignored: dict[str, str], specs: Tree) -> None:
    """Import and export are inverse to the bit, and fill every leaf."""
    leaves, _ = import_tensors(state, links, ignored, flatten(specs), "copy")
    assert leaves.keys() == flatten(specs).keys()
    back = export_tensors(leaves, links)
    assert back.keys() == state.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name])
