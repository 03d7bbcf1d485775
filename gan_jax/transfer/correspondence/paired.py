"""What the source's generator and its adapted copy make of the same latents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from gan_jax.config import ConfigError, FinetuneConfig
from gan_jax.random_streams import Purpose
from gan_jax.train.context import Batch, StepContext
from gan_jax.train.state import Variables


def wants_source(config: FinetuneConfig, name: str) -> None:
    """Checks that there is something to keep.

    Raises:
      ConfigError: G does not start from the source.
    """
    if config.networks == "d":
        raise ConfigError(f"{name} keeps what the source's G does, but transfer.networks is d; use both or g")


def paired_features(
    ctx: StepContext, paths: Iterable[str], z: jax.Array | None = None, labels: jax.Array | None = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Features `{path: [B, ...]}` of G now and as it was, of the same latents, noise and labels, in evaluation mode.

    Evaluation mode has no style mixing and no drawn noise, and batch norm takes its running averages: an example's
    features depend on its own latent alone.

    Args:
      ctx: with the start of G as `kept["g"]`.
      paths: of modules of G.
      z: `[B, z_dim]` latents; None = drawn, apart from the game's.
      labels: `[B]` of them; None = the batch's.
    """
    given: dict[str, Any] = {"z": z, "label": labels}
    batch: Batch = {name: x for name, x in ctx.batch.items() if name not in ("z", "mixing")}
    batch |= {name: x for name, x in given.items() if x is not None}
    paths, keys = tuple(paths), ctx.keys(Purpose.PAIRED_LATENTS)

    def inside(g: Variables) -> dict[str, jax.Array]:
        found = ctx.task.g_intermediates(g, batch, keys)
        return {path: found[path] for path in paths}

    return inside(ctx.g), jax.lax.stop_gradient(inside(ctx.constants["g"]))
