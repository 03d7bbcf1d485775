"""What a benchmark measures, by one evaluator for all cells of a target: features of the reference are taken once."""

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

SHOWN = 64  # samples of a cell that are kept for its grid


@dataclasses.dataclass
class Measures:
    """Data sets and evaluators of a benchmark, each made when it is first asked for."""

    lpips: str | None
    datasets: dict[tuple[DataConfig, NetConfig], Dataset] = dataclasses.field(default_factory=dict)
    evaluators: dict[Any, Evaluator] = dataclasses.field(default_factory=dict)
    perceptual: Perceptual | None = None

    def __post_init__(self) -> None:
        """Raises MetricError where the weights of LPIPS are not there: before hours of training, not after."""
        self.perceptual = load_perceptual(self.lpips) if self.lpips else None

    def dataset(self, config: Config) -> Dataset:
        """Images of a cell."""
        key = config.data, config.net
        if key not in self.datasets:
            self.datasets[key] = load_dataset(config)
            if not isinstance(self.datasets[key].train, Images):
                raise ConfigError("a benchmark wants few shots in memory; use data.pipeline device")
        return self.datasets[key]

    def evaluator(self, config: Config, pair: Pair | None = None) -> Evaluator:
        """The evaluator of a cell's reference, of the plain pair or of another that shares its configuration."""
        dataset = self.dataset(config)
        key = config.evaluate, dataset.reference_hash
        if key not in self.evaluators:
            made = make_evaluator(config.evaluate, build(config.net), dataset)
            assert made is not None  # BenchmarkConfig.validate wants a feature network
            self.evaluators[key] = made
        plain = self.evaluators[key]
        if pair is None:
            return plain
        return dataclasses.replace(
            plain, pair=pair, sampler=make_sampler(pair), restate=make_restatistics(pair, STATS_BATCH)
        )

    def end(self, evaluator: Evaluator, g_ema: Variables, config: Config) -> tuple[dict[str, Any], np.ndarray]:
        """All measures of a finished cell, with the ids of their protocols; and samples `[64, H, W, C]`."""
        dataset, images = self.dataset(config), evaluator.sample(g_ema)
        train = dataset.train
        assert isinstance(train, Images)
        fake = extract(evaluator.net, images)
        numbers: dict[str, Any] = dict(evaluator.numbers(fake))
        held_out = evaluator.reference.values if dataset.held_out else None
        memory = memorisation(fake.values, extract(evaluator.net, train.images).values, held_out)
        numbers |= {"memorisation": memory.ratio, "closer": memory.closer}
        if self.perceptual is not None:
            stated = lpips_protocol(evaluator.protocol, self.perceptual, train.images, dataset.train_hash)
            numbers |= evaluate_intra_cluster(self.perceptual, images, train.images, stated)
            numbers["lpips_protocol"] = stated.id
        return numbers, images[:SHOWN]


def protocol_facts(protocol: Protocol) -> dict[str, Any]:
    """How a line says what its numbers were measured under."""
    return {"protocol": protocol.id, "measured": protocol.label, "relative_only": protocol.relative_only}
