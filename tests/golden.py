"""Reference values that other implementations returned: numbers only, not part of this repository.

They lie in `golden` beside the folder of the extra data (see `extra_data` in conftest.py).
"""

from __future__ import annotations

import numpy as np

from tests.conftest import extra_data


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a file; skips the test where the folder is absent."""
    with np.load(extra_data("..", "golden", name)) as file:
        return dict(file)


def under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
