"""Parity with packages that others keep: the same numbers from the same features, weights and images.

Not part of `make test`: `make test-peers` makes an environment of its own, with `requirements.txt` beside this file.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gan_jax.metrics.networks import is_there
from gan_jax.trees import unflatten

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.peers)
            item.add_marker(pytest.mark.filterwarnings("ignore"))  # theirs are not ours to mend


@pytest.fixture
def peer() -> Callable[[str], ModuleType]:
    """`peer("pytorch_fid.inception")` imports a module of another package, or skips the test and says why."""

    def load(name: str) -> ModuleType:
        package = name.split(".")[0]
        for needed in ("torch", package):
            if importlib.util.find_spec(needed) is None:
                pytest.skip(f"compares with {package}, but {needed} is not installed: make test-peers")
        with warnings.catch_warnings(action="ignore"):
            if importlib.util.find_spec("torchvision"):
                import_torchvision()
            return importlib.import_module(name)

    return load


def import_torchvision() -> None:
    """Imports torchvision, also a build for GPUs beside a torch without: what fails there are operators of detectors."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # a second time
                torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
        importlib.import_module("torchvision")


def published(name: str) -> None:
    """Skips the test where the weights of a network are not in the cache."""
    if not is_there(name):
        pytest.skip(f"needs the weights of {name}: gan-jax weights get {name}")


def photograph(name: str, side: int) -> np.ndarray:
    """One of scikit-image's, its middle, uint8 [1, side, side, 3]; skips the test where the package is absent."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("needs the photographs in scikit-image: make test-peers")
    from PIL import Image

    picture = Image.open(Path(found.origin).parent / "data" / name).convert("RGB")
    width, height = picture.size
    half = min(width, height) // 2
    middle = (width // 2 - half, height // 2 - half, width // 2 + half, height // 2 + half)
    return np.asarray(picture.crop(middle).resize((side, side), Image.Resampling.BICUBIC))[None]


def pictures(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures: noise at three scales, uint8 [n, side, side, 3]."""
    from gan_jax.data import resize

    rng = np.random.default_rng(seed)
    layers = [resize(rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8), side) for size in (3, 9, side)]
    return np.mean(layers, axis=0).astype(np.uint8)


def planes(images: Any) -> Any:
    """Ours as torch has them: [N, 3, H, W]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2)))


def randomise(module: Any) -> Any:
    """Weights of a torch module under which activations keep their size and every statistic counts; seeded."""
    import torch

    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.3)
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
    return module.eval().requires_grad_(False)


def params_of(name: str, module: Any, path: Path) -> Any:
    """A torch module's weights as the tree of one of our networks, through a file as it would be published."""
    import torch

    from gan_jax.interop.feature_weights import read_weights

    torch.save(module.state_dict(), path)
    return unflatten(read_weights(name, path))


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Relative to the largest value."""
    expected = np.asarray(expected)
    assert np.asarray(found).shape == expected.shape
    assert np.abs(np.asarray(found) - expected).max() <= tolerance * np.abs(expected).max()
