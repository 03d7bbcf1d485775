"""What runs and models are measured with: samples of a generator of latents, or translations of held-out inputs."""

from __future__ import annotations

from typing import Any

from gan_jax.config import Config, ConfigError, DataConfig, EvalConfig
from gan_jax.nets import Networks, Pair
from gan_jax.transfer.dataset import Dataset, load_dataset
from gan_jax.transfer.evaluation import Measures, evaluate_samples, make_evaluator
from gan_jax.transfer.models import load
from gan_jax.transfer.translation import evaluate_translations, load_pair_dataset, make_translation_evaluator


def read_dataset(config: Config) -> Dataset:
    """Reads, resizes and splits the data of a configuration: images, or pairs for networks that translate."""
    return load_pair_dataset(config) if config.net.translates else load_dataset(config)


def make_measures(config: Config, networks: Networks, dataset: Dataset) -> Measures | None:
    """Makes what measures the states of these networks; None where `evaluate.features` is None."""
    if config.net.translates:
        return make_translation_evaluator(config, networks, dataset)
    assert isinstance(networks, Pair)
    return make_evaluator(config.evaluate, networks, dataset)


def evaluate_model(path: str, data: DataConfig, evaluate: EvalConfig, lpips: str | None = None) -> dict[str, Any]:
    """Measures a run, a weights folder or an embedded pair against data; the protocol id stands with the numbers.

    "note", where present, names images and metrics that were left out, and reasons why numbers mean little (one image
    only, copies).

    Args:
      path: the model; of a run and of weights, the moving average is measured.
      data: training images and reference; of networks that translate, pairs.
      evaluate: configuration of the evaluation.
      lpips: "vgg16" or "alexnet": also intra-cluster LPIPS around the training images, under its own protocol.
    """
    model = load(path)
    if not model.config.translates:
        return evaluate_samples(model, data, evaluate, lpips)
    if lpips is not None:
        raise ConfigError(
            f"lpips {lpips} is of samples around training images, and {path} translates; leave it out: the LPIPS of pairs "
            "is measured wherever its network is in the cache (gan-jax weights get vgg16)"
        )
    return evaluate_translations(model, data, evaluate)
