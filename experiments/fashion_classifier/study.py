"""Does the metric mean anything? Distances of fashion-v1 where the answer is known beforehand.

    python experiments/fashion_classifier/study.py

The reference is one half of the 1,000 ankle boots of the test split (500 images). It is compared with 500 images each of:
the other half, the other half with more and more noise or blur, with fewer and fewer different images, and other classes.
Ten random halvings; prints a table of means and standard deviations and writes study.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan_jax.data import load, resize
from gan_jax.metrics import Protocol, evaluate_features, extract, load_features, make_protocol

HALF, REPEATS = 500, 10
BOOT, SNEAKER, SANDAL, COAT = 9, 7, 5, 4
METRICS = ("fd", "kid", "precision", "recall", "density", "coverage")


def noisy(sigma: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Adds Gaussian noise; sigma in grey levels of 255."""
    return lambda x, rng: np.clip(x + rng.normal(0, sigma, x.shape), 0, 255).astype(np.uint8)


def blurred(size: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Shrinks to `size` px and back."""
    return lambda x, rng: resize(resize(x, size), x.shape[1])


def repeated(n: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Keeps n different images and repeats them: a generator that lost modes."""
    return lambda x, rng: x[rng.choice(len(x), n, replace=False)][np.arange(len(x)) % n]


CASES: dict[str, tuple[int, Callable[[np.ndarray, np.random.Generator], np.ndarray]]] = {
    "the other half of the boots": (BOOT, lambda x, rng: x),
    **{f"boots, noise of {s} grey levels": (BOOT, noisy(s)) for s in (4, 8, 16, 32)},
    **{f"boots, blurred through {s} px": (BOOT, blurred(s)) for s in (24, 16, 8)},
    **{f"boots, {n} different images": (BOOT, repeated(n)) for n in (250, 100, 25)},
    "sneakers": (SNEAKER, lambda x, rng: x),
    "sandals": (SANDAL, lambda x, rng: x),
    "coats": (COAT, lambda x, rng: x),
}


def main() -> None:
    net = load_features("fashion-v1")
    data = {
        label: load("embedded:fashion-mnist", classes=[label], resolution=32) for label in (BOOT, SNEAKER, SANDAL, COAT)
    }
    reference_hash = data[BOOT].fingerprint
    protocol: Protocol = make_protocol(net, channels=1, n_real=HALF, n_fake=HALF, reference_hash=reference_hash)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for repeat in range(REPEATS):
        rng = np.random.default_rng(repeat)
        order = rng.permutation(2 * HALF)
        real = extract(net, data[BOOT].images[order[:HALF]], batch=HALF)
        for name, (label, change) in CASES.items():
            images = change(data[label].images[order[HALF:]], rng)
            rows[name].append(evaluate_features(real, extract(net, images, batch=HALF), protocol))
    table = {
        name: {
            m: {"mean": float(np.mean([r[m] for r in numbers])), "std": float(np.std([r[m] for r in numbers]))}
            for m in METRICS
        }
        for name, numbers in rows.items()
    }
    print("\n".join(protocol.describe()), "\n")
    print("| 500 boots against | FD | KID | precision | recall | density | coverage |\n|---|---|---|---|---|---|---|")
    for name, row in table.items():
        cells = [f"{row[m]['mean']:.3g} ± {row[m]['std']:.1g}" for m in METRICS]
        print(f"| {name} | {' | '.join(cells)} |")
    out = {"protocol": protocol.id, "repeats": REPEATS, "table": table}
    Path(__file__).with_name("study.json").write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
