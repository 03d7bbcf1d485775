"""A linear probe of each feature network, and the effect of noise on a Frechet distance.

Run from the repository:
    python experiments/feature_networks/probe.py PATH/cifar10-first4000 [NETWORK ...]

Data: PNG sheets of 4,000 CIFAR-10 images (one row of a sheet is one 32x32 image) and `labels.txt`. 600 images train a
logistic regression on the features, 300 others test it. The distances are between 450 images and 450 others, and the
same others with Gaussian noise of 30 grey levels, in a random projection to 64 dimensions.
Writes probe.json beside itself, network by network.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from gan_jax.metrics import extract, frechet_distance, load_features, summarise  # noqa: E402

NETWORKS = ("mobilenetv2", "mobilenetv2:224", "efficientnet-lite0", "vgg16", "alexnet")


def main() -> None:
    """Measures the networks that are named, or all."""
    folder, *names = sys.argv[1:]
    images, labels = read(Path(folder))
    path = HERE / "probe.json"
    record = json.loads(path.read_text()) if path.exists() else {"networks": {}}
    record |= {"cores": os.cpu_count(), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    for name in names or NETWORKS:
        record["networks"][name] = measure(name, images, labels)
        print(name, record["networks"][name], flush=True)
        path.write_text(json.dumps(record, indent=1) + "\n")


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first 900 images, uint8 [900, 32, 32, 3], and their labels."""
    from PIL import Image

    sheets = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    images = np.concatenate([sheet.reshape(-1, 32, 32, 3) for sheet in sheets])
    labels = np.loadtxt(folder / "labels.txt", dtype=int)
    return images[:900], labels[:900]


def measure(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Probe, distances and time of one network."""
    net = load_features(name)
    extract(net, images[: net.batch])  # compiles
    start = time.perf_counter()
    features = extract(net, images).values
    elapsed = time.perf_counter() - start
    noise = np.random.default_rng(1).normal(0, 30, images[450:].shape)
    noisy = extract(net, (images[450:] + noise).clip(0, 255).astype(np.uint8)).values
    projection = np.random.default_rng(2).normal(size=(net.dim, 64)) / 8
    parts = [summarise(x @ projection) for x in (features[:450], features[450:], noisy)]
    return {
        "accuracy": accuracy(features, labels),
        "frechet_others": frechet_distance(parts[0], parts[1]),
        "frechet_noisy": frechet_distance(parts[0], parts[2]),
        "ms_per_image": 1000 * elapsed / len(images),
        "weights": net.weights_hash[:12],
    }


def accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Test accuracy of a logistic regression, L2 1e-2, on standardised features: 600 train, 300 test."""
    x = jnp.asarray((features - features[:600].mean(0)) / (features[:600].std(0) + 1e-6))
    y = jnp.asarray(labels)
    weights = (jnp.zeros((x.shape[1], 10)), jnp.zeros(10))

    def loss(weights: Any) -> jax.Array:
        logits = x[:600] @ weights[0] + weights[1]
        fit = optax.softmax_cross_entropy_with_integer_labels(logits, y[:600]).mean()
        return fit + 1e-2 * (weights[0] ** 2).sum()

    optimiser = optax.lbfgs()
    state = optimiser.init(weights)
    value_and_grad = optax.value_and_grad_from_state(loss)

    @jax.jit
    def step(weights: Any, state: Any) -> tuple[Any, Any]:
        value, slope = value_and_grad(weights, state=state)
        updates, state = optimiser.update(slope, state, weights, value=value, grad=slope, value_fn=loss)
        return optax.apply_updates(weights, updates), state

    for _ in range(100):
        weights, state = step(weights, state)
    predicted = (x[600:] @ weights[0] + weights[1]).argmax(1)
    return float((predicted == y[600:]).mean())


if __name__ == "__main__":
    main()
