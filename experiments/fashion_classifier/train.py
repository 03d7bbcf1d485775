"""Trains the feature network fashion-v1: a classifier of all ten classes of Fashion-MNIST.

    python experiments/fashion_classifier/train.py --data tfds:fashion_mnist:train --test embedded:fashion-mnist --out DIR

Writes DIR/weights.safetensors and DIR/manifest.json (what gan_jax.metrics.load_features reads) and results.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax.data import Images, load
from gan_jax.data.convert import to_float
from gan_jax.nets.features.classifiers import apply_small_conv, calibrate, init_small_conv, set_units
from gan_jax.trees import flatten


@dataclasses.dataclass(frozen=True)
class Config:
    resolution: int = 32  # px, what the demo's target has
    epochs: int = 12  # passes over the training images
    batch: int = 128  # images
    lr: float = 8e-3  # peak Adam step size, then cosine to 0
    warmup: int = 200  # steps
    weight_decay: float = 0.02  # of AdamW, on kernels
    shift: int = 1  # px, random shifts in each direction; flips always
    ema: float = 0.998  # decay per step of the weights that are kept
    seed: int = 0


def config() -> Config:
    return Config()


def augment(images: np.ndarray, shift: int, rng: np.random.Generator) -> np.ndarray:
    """Random flips and shifts (zeros move in) of [N, H, W, 1] uint8."""
    n, size = len(images), images.shape[1]
    padded = np.pad(images[..., 0], ((0, 0), (shift, shift), (shift, shift)))
    rows = rng.integers(0, 2 * shift + 1, n)[:, None] + np.arange(size)
    columns = rng.integers(0, 2 * shift + 1, n)[:, None] + np.arange(size)
    columns = np.where(rng.random(n)[:, None] < 0.5, columns[:, ::-1], columns)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][..., None]


def train(cfg: Config, data: Images, test: Images) -> tuple[Any, list[dict[str, float]]]:
    """Returns the averaged parameters and one row per epoch."""
    assert data.labels is not None
    per_epoch = len(data) // cfg.batch
    total = cfg.epochs * per_epoch
    schedule = optax.warmup_cosine_decay_schedule(0.0, cfg.lr, min(cfg.warmup, total // 2), total)
    decayed = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # noqa: E731
    learned = lambda params: {name: "fixed" if name == "units" else "learned" for name in params}  # noqa: E731
    adam = optax.adamw(schedule, weight_decay=cfg.weight_decay, mask=decayed)
    optimiser = optax.multi_transform({"learned": adam, "fixed": optax.set_to_zero()}, learned)

    def loss_of(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = apply_small_conv(params, to_float(images))[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit  # one step per call: convolutions inside a compiled loop are 20 to 40 times slower on CPU
    def step(
        params: Any, ema: Any, state: Any, images: jax.Array, labels: jax.Array
    ) -> tuple[Any, Any, Any, jax.Array]:
        loss, grads = jax.value_and_grad(loss_of)(params, images, labels)
        updates, state = optimiser.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        ema = jax.tree.map(lambda e, p: e + (1 - cfg.ema) * (p - e), ema, params)
        return params, ema, state, loss

    params = init_small_conv(jax.random.key(cfg.seed), channels=1, num_classes=10)
    params = calibrate(params, to_float(jnp.asarray(data.images[:500])))
    ema, state, rng, history, began = params, optimiser.init(params), np.random.default_rng(cfg.seed), [], time.time()
    for epoch in range(cfg.epochs):
        order = rng.permutation(len(data))
        losses = []
        for i in range(per_epoch):
            rows = order[i * cfg.batch : (i + 1) * cfg.batch]
            images = augment(data.images[rows], cfg.shift, rng)
            params, ema, state, loss = step(params, ema, state, images, data.labels[rows])
            losses.append(loss)
        row = {"epoch": epoch + 1, "loss": float(jnp.stack(losses).mean()), "test_accuracy": accuracy(ema, test)}
        row["seconds"] = round(time.time() - began, 1)
        history.append(row)
        print(row, flush=True)
    return ema, history


forward = jax.jit(lambda params, images: apply_small_conv(params, to_float(images)))


def outputs(params: Any, data: Images, batch: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of a whole set, as float64."""
    parts = [forward(params, data.images[i : i + batch]) for i in range(0, len(data), batch)]
    values, logits = (np.concatenate([np.asarray(part[i], np.float64) for part in parts]) for i in (0, 1))
    return values, logits


def accuracy(params: Any, data: Images) -> float:
    assert data.labels is not None
    return float((outputs(params, data)[1].argmax(1) == data.labels).mean())


def save(params: Any, manifest: dict[str, Any], out: Path) -> dict[str, Any]:
    """Writes weights and manifest; every array is made contiguous, since safetensors writes views wrongly."""
    from safetensors.numpy import save as pack

    raw = pack({path: np.ascontiguousarray(leaf, np.float32) for path, leaf in sorted(flatten(params).items())})
    manifest = {**manifest, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "weights.safetensors").write_bytes(raw)
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the 60,000 training images, e.g. tfds:fashion_mnist:train")
    parser.add_argument("--test", default="embedded:fashion-mnist", help="the 10,000 test images")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights.safetensors and manifest.json")
    parser.add_argument("--epochs", type=int, default=config().epochs)
    parser.add_argument("--seed", type=int, default=config().seed)
    args = parser.parse_args()
    cfg = dataclasses.replace(config(), epochs=args.epochs, seed=args.seed)
    data, test = (load(spec, resolution=cfg.resolution, channels=1) for spec in (args.data, args.test))
    began = time.time()
    params, history = train(cfg, data, test)
    params = set_units(params, outputs(params, data)[0])
    results = {
        "config": dataclasses.asdict(cfg),
        "train_images": len(data),
        "train_accuracy": accuracy(params, data),
        "test_accuracy": accuracy(params, test),
        "seconds": round(time.time() - began, 1),
        "device": f"{jax.devices()[0].device_kind} ({platform.machine()})",
        "versions": {module.__name__: module.__version__ for module in (jax, optax, np)}
        | {"python": platform.python_version()},
        "history": history,
    }
    manifest = {
        "name": "fashion-v1",
        "what": "classifier of the ten classes of Fashion-MNIST; features are its pooled penultimate layer",
        "dim": 64,
        "num_classes": 10,
        "resolution": cfg.resolution,
        "channels": 1,
        "test_accuracy": results["test_accuracy"],
        "trained_on": {
            "data": "Fashion-MNIST, 60,000 training images, all ten classes",
            "licence": "MIT",
            "fingerprint": data.fingerprint,
        },
        "licence": "Apache-2.0",
        "made_by": "experiments/fashion_classifier/train.py",
    }
    results["weights"] = save(params, manifest, args.out)["sha256"]
    Path(__file__).with_name("results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
