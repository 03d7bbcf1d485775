"""The metrics of few-shot papers: distance to the full target set, and LPIPS within clusters around the few images.

    python experiments/papers/measure.py runs/cdc-babies --full folder:data/babies-full

The few images are the data of the run. FID has pytorch-fid's network and resizing and 5,000 samples; LPIPS is that of
VGG16, on the first 1,000 of them. Distances need more images in the full set than the network has features.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from gan_jax.cli.arguments import read_config
from gan_jax.config import Config, DataConfig, EvalConfig
from gan_jax.metrics import evaluate_intra_cluster, load_perceptual
from gan_jax.tasks.model import load
from gan_jax.transfer.dataset import Dataset, load_dataset
from gan_jax.transfer.evaluation import lpips_protocol, make_evaluator


def measure(run: Path, full: str, features: str, n_fake: int, lpips: str | None, n_lpips: int) -> dict[str, Any]:
    """All numbers, each under its protocol.

    Args:
      run: folder of a run.
      full: spec of the full target set.
      features: network of the distances.
      n_fake: samples for them.
      lpips: network of LPIPS; None = none.
      n_lpips: samples for it.
    """
    model, data = load(run), read_config(run).data
    few = load_dataset(Config(data=data, net=model.config)).train
    reference = load_dataset(Config(data=DataConfig(source=full), net=model.config)).reference
    dataset = Dataset(few, reference)
    evaluator = make_evaluator(EvalConfig(features=features, n_fake=n_fake), model.pair, dataset)
    assert evaluator is not None
    images = evaluator.sample(model.variables["g_ema"])
    numbers = {"protocol": evaluator.protocol.id}
    numbers |= {evaluator.protocol.title(k): v for k, v in evaluator.measure_images(images).items()}
    if lpips is None:
        return numbers
    net = load_perceptual(lpips)
    stated = lpips_protocol(evaluator.protocol, net, few.images, dataset.train_hash)
    stated = dataclasses.replace(stated, n_fake=min(n_fake, n_lpips))
    clusters = evaluate_intra_cluster(net, images[:n_lpips], few.images, stated)
    return numbers | {"protocol of LPIPS": stated.id} | {stated.title(k): v for k, v in clusters.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--full", required=True, help="the full target set, such as folder:data/babies-full")
    parser.add_argument("--features", default="inception-v3-fid:legacy-pytorch")
    parser.add_argument("--n-fake", type=int, default=5000)
    parser.add_argument("--lpips", default="vgg16", help="vgg16, alexnet or none")
    parser.add_argument("--n-lpips", type=int, default=1000)
    args = parser.parse_args()
    lpips = None if args.lpips == "none" else args.lpips
    numbers = measure(args.run, args.full, args.features, args.n_fake, lpips, args.n_lpips)
    print(json.dumps(numbers, indent=1, default=lambda value: value.item()))


if __name__ == "__main__":
    main()
