"""The metrics of a benchmark, with one evaluator for all trials of a target: reference features are computed once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.config import Config, ConfigError, DataConfig, NetConfig
from gan_jax.data import Images
from gan_jax.metrics import (
    Perceptual,
    Protocol,
    evaluate_intra_cluster,
    extract,
    load_perceptual,
    memorisation,
)
from gan_jax.nets import Pair, build
from gan_jax.tasks.sample import STATS_BATCH, make_restatistics, make_sampler
from gan_jax.train.state import Variables
from gan_jax.transfer.dataset import Dataset, load_dataset
from gan_jax.transfer.evaluation import Evaluator, lpips_protocol, make_evaluator

GRID_SAMPLES = 64  # samples of a trial that are kept for its grid


@dataclasses.dataclass
class Measures:
    """Data sets and evaluators of a benchmark, each made at its first use."""

    lpips: str | None
    datasets: dict[tuple[DataConfig, NetConfig], Dataset] = dataclasses.field(default_factory=dict)
    evaluators: dict[Any, Evaluator] = dataclasses.field(default_factory=dict)
    perceptual: Perceptual | None = None

    def __post_init__(self) -> None:
        """Loads LPIPS before hours of training, and raises MetricError where its weights are missing."""
        self.perceptual = load_perceptual(self.lpips) if self.lpips else None

    def dataset(self, config: Config) -> Dataset:
        """Images of a trial."""
        key = config.data, config.net
        if key not in self.datasets:
            self.datasets[key] = load_dataset(config)
            if not isinstance(self.datasets[key].train, Images):
                raise ConfigError("a benchmark needs few shots in memory; use data.pipeline device")
        return self.datasets[key]

    def evaluator(self, config: Config, pair: Pair | None = None) -> Evaluator:
        """The evaluator with a trial's reference, for the plain pair or for another pair of the same configuration."""
        dataset = self.dataset(config)
        key = config.evaluate, dataset.reference_hash
        if key not in self.evaluators:
            evaluator = make_evaluator(config.evaluate, build(config.net), dataset)
            assert evaluator is not None  # BenchmarkConfig.validate requires a feature network
            self.evaluators[key] = evaluator
        evaluator = self.evaluators[key]
        if pair is None:
            return evaluator
        return dataclasses.replace(
            evaluator, pair=pair, sampler=make_sampler(pair), restate=make_restatistics(pair, STATS_BATCH)
        )

    def end(self, evaluator: Evaluator, g_ema: Variables, config: Config) -> tuple[dict[str, Any], np.ndarray]:
        """All final metrics of a finished trial, with the ids of their protocols, and samples `[64, H, W, C]`."""
        dataset, images = self.dataset(config), evaluator.sample(g_ema)
        train = dataset.train
        assert isinstance(train, Images)
        fake = extract(evaluator.net, images)
        numbers: dict[str, Any] = dict(evaluator.numbers(fake))
        held_out = evaluator.reference.values if dataset.held_out else None
        memory = memorisation(fake.values, extract(evaluator.net, train.images).values, held_out)
        numbers |= {"memorisation": memory.ratio, "closer": memory.closer}
        if self.perceptual is not None:
            protocol = lpips_protocol(evaluator.protocol, self.perceptual, train.images, dataset.train_hash)
            numbers |= evaluate_intra_cluster(self.perceptual, images, train.images, protocol)
            numbers["lpips_protocol"] = protocol.id
        return numbers, images[:GRID_SAMPLES]


def protocol_facts(protocol: Protocol) -> dict[str, Any]:
    """The fields of a line that name the protocol of its numbers."""
    return {"protocol": protocol.id, "measured": protocol.label, "relative_only": protocol.relative_only}
