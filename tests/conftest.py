"""What every test runs under: eight CPU devices, no silent rank or dtype promotion, warnings as errors (pyproject)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests are for CPUs unless told otherwise: JAX_PLATFORMS=cuda pytest -m gpu
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

# Before the first device is asked for. A config value, not XLA_FLAGS: child processes must not inherit it.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

REPO = Path(__file__).resolve().parent.parent


def extra_data(*parts: str) -> Path:
    """A file or folder of the extra data, `extra_data("mnist", "t10k.gz")`; skips the test where it is absent.

    The data is what this repository does not ship: $GAN_JAX_DATA names its folder, else `shared/data` beside the clone.
    """
    root = Path(os.environ.get("GAN_JAX_DATA") or REPO.parent / "shared" / "data")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(
            f"needs {'/'.join(parts) or 'the extra data'}, which is not in {root}; name its folder in GAN_JAX_DATA"
        )
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if "gpu" in item.keywords]
    if marked and jax.default_backend() == "cpu":  # asked only when needed: it starts the backend
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: JAX_PLATFORMS=cuda pytest -m gpu"))


@pytest.fixture(autouse=True)
def _no_stray_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not change what a test sees."""
    for name in ("GAN_JAX_DEBUG", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _cheap_compiles(request: pytest.FixtureRequest):
    """Whole steps and networks are compiled in these tests, and compiling is what they wait for."""
    rooms = ("augment", "tasks", "train", "fusion", "transfer")
    room = request.path.relative_to(REPO / "tests").parts[0]  # in whatever folder of it
    cheap = room in rooms or request.path.stem in ("test_conformance", "test_nets")
    jax.config.update("jax_disable_most_optimizations", cheap)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
