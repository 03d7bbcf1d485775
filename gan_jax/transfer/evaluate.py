"""Evaluation of a model by its name: samples of a generator of latents, translations of held-out pairs."""

from __future__ import annotations

from typing import Any

from gan_jax.config import ConfigError, DataConfig, EvalConfig
from gan_jax.transfer.evaluation import evaluate_samples
from gan_jax.transfer.models import load
from gan_jax.transfer.translation import evaluate_translations


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
