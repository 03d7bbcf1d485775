"""Measuring a generator against a reference, under one protocol."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, ConfigError, DataConfig, EvalConfig
from gan_jax.metrics import FeatureNet, Features, Protocol, evaluate_features, extract, load_features, make_protocol
from gan_jax.nets import Pair
from gan_jax.tasks.model import load
from gan_jax.tasks.sample import make_restatistics, make_sampler
from gan_jax.tasks.task import Variables
from gan_jax.transfer.dataset import Dataset, load_dataset

STATS_KEY, SAMPLE_KEY = 0, 1  # what the evaluation's key is folded with


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A reference, a feature network and a protocol, ready for any number of generators of one pair."""

    net: FeatureNet
    protocol: Protocol
    reference: Features
    config: EvalConfig
    pair: Pair
    sampler: Any
    restate: Any

    @property
    def sample_key(self) -> jax.Array:
        """The key of the latents that are measured."""
        return jax.random.fold_in(jax.random.key(self.config.seed), SAMPLE_KEY)

    def sample(self, g_vars: Variables) -> np.ndarray:
        """The images that are measured: uint8 `[n_fake, H, W, C]`."""
        return self.sampler(self.standing(g_vars), self.sample_key, self.config.n_fake)

    def standing(self, g_vars: Variables) -> Variables:
        """The generator with batch statistics of its weights as they are."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), STATS_KEY)
        return self.restate(g_vars, key, self.config.stats_batches)

    def measure(self, g_vars: Variables) -> dict[str, float]:
        """All metrics of the protocol."""
        return evaluate_features(self.reference, extract(self.net, self.sample(g_vars)), self.protocol)


FASHION = (
    "embedded:fashion",
    "idx:",
    "tfds:fashion_mnist",
)  # what fashion-v1 was trained on; the others know photographs
STATS_BATCH = 128  # latents in each batch that statistics are re-estimated on


def make_evaluator(config: EvalConfig, pair: Pair, dataset: Dataset) -> Evaluator | None:
    """An evaluator against the data set's reference; None where `evaluate.features` is None.

    Raises:
      ConfigError: a reference too small to be measured against, said before training and not after.
    """
    if config.features is None:
        return None
    net = load_features(config.features)
    n = len(dataset.reference)
    if n <= net.dim:
        raise ConfigError(
            f"the reference has {n} images, but {net.name} has {net.dim} features: a distance wants more images than "
            f"features. Use fewer data.shots, more data, or evaluate.features None"
        )
    stats = config.stats_batches if "batch_stats" in pair.g.specs() else 0
    protocol = make_protocol(
        net, channels=pair.config.channels, n_real=n, n_fake=config.n_fake, reference_hash=dataset.reference_hash,
        seed=config.seed, stats_latents=stats * STATS_BATCH,
        far=net.name == "fashion-v1" and not dataset.reference.name.startswith(FASHION),
    )  # fmt: skip
    reference = extract(net, dataset.reference.images)
    return Evaluator(net, protocol, reference, config, pair, make_sampler(pair), make_restatistics(pair, STATS_BATCH))


def evaluate_model(path: str, data: DataConfig, evaluate: EvalConfig) -> dict[str, Any]:
    """Measures a run, a weights folder or an embedded pair against data; the protocol id stands with the numbers."""
    model = load(Path(path) if not path.startswith("embedded:") else path)
    config = Config(data=data, net=model.config, evaluate=evaluate)
    evaluator = make_evaluator(evaluate, model.pair, load_dataset(config))
    if evaluator is None:
        raise ConfigError("evaluate.features is None: there is nothing to measure with; use fashion-v1")
    numbers = evaluator.measure(model.variables["g_ema"])
    return {"protocol": evaluator.protocol.id, **{evaluator.protocol.title(k): v for k, v in numbers.items()}}
