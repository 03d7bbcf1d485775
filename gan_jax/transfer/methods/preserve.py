"""Preservation of images: G is held to what it made of the same latents, or of the same images, at the start.

G's loss has the term `strength * mean |G(z) - G_start(z)|`. With `give_way` its gradient gives way to the adversarial one
where the two conflict (PCGrad; Yu et al., NeurIPS 2020).

The start is what the preparation leaves. Behind a fusion or a merge in a chain (`--method merge preserve`) it is the G that
the donors were made into, and what it has of each of them is preserved.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, PreserveConfig
from gan_jax.nets import Networks, Pair
from gan_jax.random_streams import Purpose
from gan_jax.tasks.inputs import reader
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Extras, Regulariser
from gan_jax.transfer.method import Method, networks_of


def make(config: PreserveConfig, nets: Networks) -> Method:
    """Everything is trained; every generator is held to the images of its start.

    Raises:
      ConfigError: G would be fresh.
    """
    if "g" not in networks_of(config.networks):
        raise ConfigError("transfer.networks d leaves a fresh G, whose images are worth nothing; use both or g")
    return Method(
        starts=tuple(networks_of(config.networks, nets)),
        constants=lambda variables: {name: variables[name] for name in nets.generators},
        extension=Extension(regularisers=preserved(nets, config.strength, config.give_way)),
    )


def preserved(nets: Networks, strength: float, give_way: bool, constant: str | None = None) -> tuple[Regulariser, ...]:
    """The terms: L1 between a generator's images and those of constant variables, mean over values.

    Args:
      nets: plain networks.
      strength: weight of the terms.
      give_way: whether their gradients give way to the target's.
      constant: name in `ctx.constants` of the variables, of several generators by name; None = the generators' own names.
    """
    if isinstance(nets, Pair):
        return (Regulariser("preserved", "g", _of_pair(nets, strength, constant or "g"), projected=give_way),)
    alone = len(nets.generators) == 1
    return tuple(
        Regulariser(
            "preserved" if alone else f"preserved_{name}", name, _of_generator(nets, name, strength, constant),
            projected=give_way,
        )
        for name in nets.generators
    )  # fmt: skip


def _of_pair(pair: Pair, strength: float, constant: str) -> Callable[[StepContext], tuple[jax.Array, Extras]]:
    """The distance of the samples of a step."""
    channels = pair.config.channels

    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        images, _ = ctx.task.generate(ctx.constants[constant], ctx.batch, ctx.latent_keys, True)
        distances = jnp.abs(ctx.fake - images)
        if pair.config.translates:  # a sample may hold the image that was translated too
            distances = distances[..., -channels:]
        return strength * distances.mean(), {}

    return value


def _of_generator(
    nets: Networks, name: str, strength: float, constant: str | None
) -> Callable[[StepContext], tuple[jax.Array, Extras]]:
    """The distance of a generator's translations of the batch, made for this term, with the step's draws."""
    read = reader(nets, name)

    def value(ctx: StepContext) -> tuple[jax.Array, Extras]:
        keys, held = ctx.step_keys(Purpose.G_LATENTS), ctx.constants if constant is None else ctx.constants[constant]
        x, net = read(ctx.batch, keys), ctx.task.nets[name]
        now, then = (net.apply(v, x, train=True, keys=keys)[0] for v in (ctx.nets[name], held[name]))
        return strength * jnp.abs(now - then).mean(), {}

    return value
