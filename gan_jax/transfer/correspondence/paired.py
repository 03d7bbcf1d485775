"""Features of the source's generator and of its adapted copy, on the same latents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from gan_jax.config import ConfigError, FinetuneConfig
from gan_jax.random_streams import Purpose
from gan_jax.train.context import Batch, StepContext
from gan_jax.train.state import Variables


def check_source(config: FinetuneConfig, name: str) -> None:
    """Checks that G starts from the source, whose behaviour a method preserves.

    Raises:
      ConfigError: G does not start from the source.
    """
    if config.networks == "d":
        raise ConfigError(f"{name} keeps what the source's G does, but transfer.networks is d; use both or g")


def paired_features(
    ctx: StepContext, paths: Iterable[str], z: jax.Array | None = None, labels: jax.Array | None = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Features `{path: [B, ...]}` of G now and of its start, on the same latents, noise and labels, in evaluation mode.

    Evaluation mode has no style mixing and no drawn noise, and batch norm takes its running averages: an example's
    features depend on its own latent alone.

    Args:
      ctx: with the start of G as `constants["g"]`.
      paths: of modules of G.
      z: `[B, z_dim]` latents; None = drawn, other ones than those of the adversarial loss.
      labels: `[B]` of the latents; None = the batch's.
    """
    options: dict[str, Any] = {"z": z, "label": labels}
    batch: Batch = {name: x for name, x in ctx.batch.items() if name not in ("z", "mixing")}
    batch |= {name: x for name, x in options.items() if x is not None}
    paths, keys = tuple(paths), ctx.keys(Purpose.PAIRED_LATENTS)

    def features(g: Variables) -> dict[str, jax.Array]:
        intermediates = ctx.task.g_intermediates(g, batch, keys)
        return {path: intermediates[path] for path in paths}

    return features(ctx.g), jax.lax.stop_gradient(features(ctx.constants["g"]))
