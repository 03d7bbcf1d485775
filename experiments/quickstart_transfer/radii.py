"""Why recall disagrees with every other number: the distances between generated images.

    python experiments/quickstart_transfer/radii.py --out runs/quickstart

Recall counts real images inside a ball around some generated image, whose radius is the distance to that image's fifth
neighbour among the generated ones. Coverage counts real images whose own ball holds a generated image. A generator
that scatters far from the data has large balls, and so a high recall. Reads the runs of `run.py`, writes radii.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from gan_jax.metrics import extract, prdc
from gan_jax.nets import build
from gan_jax.report.table import interval
from gan_jax.tasks.model import load, run_config
from gan_jax.transfer.dataset import load_dataset
from gan_jax.transfer.evaluation import make_evaluator

K = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in range(args.seeds):
        for method in ("adapted", "scratch"):
            folder = args.out / f"boot-{method}-{seed}"
            config = run_config(folder)
            evaluator = make_evaluator(config.evaluate, build(config.net), load_dataset(config))
            assert evaluator is not None
            images = evaluator.sampler(load(folder).variables["g_ema"], evaluator.sample_key, config.evaluate.n_fake)
            fake, real = extract(evaluator.net, images).values, evaluator.reference.values
            rows.setdefault(method, {}).setdefault("radius", []).append(float(np.median(kth_distance(fake))))
            rows[method].setdefault("coverage", []).append(prdc(real, fake, K).coverage)
            if method == "adapted":  # the reference is the same for both
                rows.setdefault("real", {}).setdefault("radius", []).append(float(np.median(kth_distance(real))))
    summary = {name: {key: interval(values) for key, values in row.items()} for name, row in rows.items()}
    text = json.dumps({"summary": summary, "values": rows}, indent=1)
    (Path(__file__).parent / "radii.json").write_text(text + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))


def kth_distance(x: np.ndarray) -> np.ndarray:
    """The distance of every row to its K-th neighbour."""
    square = (x**2).sum(1)
    distances = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * x @ x.T, 0))
    return np.partition(distances, K, axis=1)[:, K]


if __name__ == "__main__":
    main()
