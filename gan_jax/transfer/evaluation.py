"""Evaluation of a generator against a reference, under one protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import Protocol as Protocol_

import jax
import numpy as np

from gan_jax.config import Config, ConfigError, DataConfig, EvalConfig
from gan_jax.data import Images
from gan_jax.metrics import (
    FeatureNet,
    Features,
    Measured,
    Perceptual,
    Protocol,
    evaluate_features,
    evaluate_intra_cluster,
    extract,
    load_features,
    load_perceptual,
    make_protocol,
    unmeasurable,
)
from gan_jax.nets import Pair
from gan_jax.random_streams import SAMPLE_KEY, STATS_KEY
from gan_jax.seeds import root_key
from gan_jax.tasks.model import Model
from gan_jax.tasks.sample import STATS_BATCH, make_restatistics, make_sampler
from gan_jax.train.state import Variables
from gan_jax.transfer.dataset import Dataset, load_dataset


class Measures(Protocol_):
    """What measures the states of a run: generated images here, translated ones in `transfer.translation`."""

    @property
    def protocol(self) -> Protocol:
        """Protocol of the numbers."""
        ...

    @property
    def net(self) -> FeatureNet:
        """The feature network."""
        ...

    @property
    def reference(self) -> Features:
        """Features of the held-out images."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Log messages about the metrics that are left out, with reasons."""
        ...

    def standing(self, g_vars: Variables) -> Variables:
        """The variables of a generator with recalibrated batch statistics."""
        ...

    def measure_averages(self, ema: Mapping[str, Variables]) -> Measurement:
        """Measures the moving averages of a state, by generator."""
        ...

    def with_networks(self, networks: Any) -> Measures:
        """The same for other networks of the same configuration, such as those that a method wraps."""
        ...


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The numbers of a state, and the images and features that they were computed from.

    Attributes:
      numbers: metrics.
      samples: images made by the generator, uint8 `[N, H, W, C]`.
      features: of these images.
      protocols: metric -> its protocol, where that is not the evaluator's.
    """

    numbers: Measured
    samples: np.ndarray
    features: Features
    protocols: Mapping[str, Protocol] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A reference, a feature network and a protocol, ready for any number of generators of one pair.

    Attributes:
      net, protocol, reference: feature network, protocol, and features of the reference.
      config, pair: configuration of evaluations, and the networks.
      sampler, restate: draw images, and recalibrate batch statistics.
      unmeasured: metric -> reason, of metrics that so few images do not allow.
    """

    net: FeatureNet
    protocol: Protocol
    reference: Features
    config: EvalConfig
    pair: Pair
    sampler: Any
    restate: Any
    unmeasured: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Log messages about the metrics that are left out, with reasons."""
        return tuple(dict.fromkeys(self.unmeasured.values()))

    @property
    def sample_key(self) -> jax.Array:
        """PRNG key of the evaluated latents."""
        return jax.random.fold_in(root_key(self.config.seed), SAMPLE_KEY)

    def sample(self, g_vars: Variables) -> np.ndarray:
        """Draws the evaluated images: uint8 `[n_fake, H, W, C]`."""
        return self.sampler(self.standing(g_vars), self.sample_key, self.config.n_fake)

    def standing(self, g_vars: Variables) -> Variables:
        """The generator's variables with recalibrated batch statistics."""
        key = jax.random.fold_in(root_key(self.config.seed), STATS_KEY)
        return self.restate(g_vars, key, self.config.stats_batches)

    def measure_averages(self, ema: Mapping[str, Variables]) -> Measurement:
        """Measures the moving average of G."""
        samples = self.sample(ema["g"])
        features = extract(self.net, samples)
        return Measurement(self.numbers(features), samples, features)

    def with_networks(self, networks: Pair) -> Evaluator:
        """The same for another pair of the same configuration, such as one that a method wraps."""
        sampler, restate = make_sampler(networks), make_restatistics(networks, STATS_BATCH)
        return dataclasses.replace(self, pair=networks, sampler=sampler, restate=restate)

    def measure_images(self, images: np.ndarray) -> Measured:
        """Computes all metrics of the protocol for images of `sample`."""
        return self.numbers(extract(self.net, images))

    def numbers(self, fake: Features) -> Measured:
        """Computes all metrics of the protocol that the number of images allows, from features of generated images."""
        return evaluate_features(self.reference, fake, self.protocol)


FASHION = (
    "embedded:fashion",
    "idx:",
    "tfds:fashion_mnist",
)  # training data of fashion-v1; other feature networks were trained on photographs
MOST_CLUSTERS = 1000  # largest number of training images for intra-cluster LPIPS
NEIGHBOURS, SPLITS = Protocol.prdc_k, Protocol.is_splits  # fewer where there are not so many images


def make_evaluator(config: EvalConfig, pair: Pair, dataset: Dataset) -> Evaluator | None:
    """Makes an evaluator against the data set's reference; None where `evaluate.features` is None.

    Metrics that so few images do not allow are left out; the evaluator's `notes` name them.
    """
    if config.features is None:
        return None
    net = load_features(config.features)
    n = len(dataset.reference)
    stats = config.stats_batches if "batch_stats" in pair.g.specs() else 0
    few = min(n, config.n_fake)
    protocol = make_protocol(
        net, channels=pair.config.channels, n_real=n, n_fake=config.n_fake, reference_hash=dataset.reference_hash,
        seed=config.seed, stats_latents=stats * STATS_BATCH,
        far=net.name == "fashion-v1" and not dataset.reference.name.startswith(FASHION),
        seen=not dataset.held_out and (dataset.shots or n <= net.dim),  # other protocols had their ids before this field existed
        **({"prdc_k": few - 1} if 1 < few <= NEIGHBOURS else {}),
        **({"is_splits": config.n_fake} if config.n_fake < SPLITS else {}),
    )  # fmt: skip
    reference = extract(net, dataset.reference.images)
    return Evaluator(
        net, protocol, reference, config, pair, make_sampler(pair), make_restatistics(pair, STATS_BATCH),
        unmeasurable(protocol, net.dim),
    )  # fmt: skip


def evaluate_samples(model: Model, data: DataConfig, evaluate: EvalConfig, lpips: str | None = None) -> dict[str, Any]:
    """Measures a generator of images from latents; see `transfer.measuring.evaluate_model`."""
    g_vars = model.generator
    dataset = load_dataset(Config(data=data, net=model.config, evaluate=evaluate))
    around = _clusters(lpips, dataset) if lpips else None
    evaluator = make_evaluator(evaluate, model.pair, dataset)
    if evaluator is None:
        raise ConfigError("evaluate.features is None: there is nothing to measure with; use fashion-v1")
    images = evaluator.sample(g_vars)
    measured = evaluator.measure_images(images)
    parts: list[tuple[Protocol, Mapping[str, float]]] = [(evaluator.protocol, measured)]
    if around is not None:
        net, train = around
        stated = lpips_protocol(evaluator.protocol, net, train, dataset.train_hash)
        parts.append((stated, evaluate_intra_cluster(net, images, train, stated)))
    numbers: dict[str, Any] = {}
    for protocol, values in parts:
        numbers["protocol" if not numbers else "protocol of LPIPS"] = protocol.id
        numbers |= {protocol.title(name): value for name, value in values.items()}
    return numbers | noted(*dataset.notes, *evaluator.notes, *getattr(measured, "notes", ()))


def noted(*notes: str) -> dict[str, str]:
    """`{"note": text}` of different notes; empty without any."""
    return {"note": "; ".join(dict.fromkeys(notes))} if notes else {}


def lpips_protocol(protocol: Protocol, net: Perceptual, train: np.ndarray, train_hash: str) -> Protocol:
    """The protocol of intra-cluster LPIPS around training images, for images generated as in `protocol`."""
    return dataclasses.replace(
        protocol, extractor=net.name, weights_hash=net.weights_hash, resolution=None, resize="none",
        colour="grey-repeated" if train.shape[-1] == 1 else "rgb", n_real=len(train), reference_hash=train_hash,
        far=False,
    )  # fmt: skip


def _clusters(lpips: str, dataset: Dataset) -> tuple[Perceptual, np.ndarray]:
    """The LPIPS network and the training images, which are the centres of clusters."""
    train = dataset.train
    if not isinstance(train, Images) or len(train) > MOST_CLUSTERS:
        raise ConfigError(
            f"intra-cluster LPIPS is for few training images, but there are {len(train)}; set data.shots to what the run "
            f"had, at most {MOST_CLUSTERS}"
        )
    return load_perceptual(lpips), train.images
