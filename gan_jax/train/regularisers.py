"""Regularisers, further loss terms of a network, and the table of those that `LossConfig` turns on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError, LossConfig
from gan_jax.losses import gradient_penalty, lecam, orthogonal_penalty, squared_gradient
from gan_jax.random_streams import Purpose
from gan_jax.train.context import Sample, StepContext

# ----------------------------------------------------------------------------------------------------------------------
# The type of a regulariser, one further loss term of a network.

Extras = dict[str, Any]
Network = str  # the name of a network: "g" and "d" of the usual pair


def _always(loss: LossConfig) -> int:
    return 1


def _everywhere(loss: LossConfig) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class Regulariser:
    """One loss term of one network.

    Attributes:
      name: of its metric.
      network: of the loss; the term belongs to the phase that trains this network.
      value: `ctx -> (penalty [], changed extras)`; the penalty is over this device's examples.
      is_on: whether a configuration turns it on.
      interval: updates of the network between two penalties. Above 1, the penalty has updates of its own and is multiplied
        by the interval (lazy regularisation, Karras et al., 2020).
      extras: names of its running values in the state, float32 scalars that start at 0.
      projected: whether its gradient is projected where it conflicts with that of all else (`train.conflict`); not if lazy.
    """

    name: str
    network: Network
    value: Callable[[StepContext], tuple[jax.Array, Extras]]
    is_on: Callable[[LossConfig], bool] = _everywhere
    interval: Callable[[LossConfig], int] = _always
    extras: tuple[str, ...] = ()
    projected: bool = False


# ----------------------------------------------------------------------------------------------------------------------
# Consistency (bCR, zCR: Zhao et al., 2021): D's logits of similar images are similar, and G's images vary.
#
# bCR varies D's inputs after their augmentation; zCR varies the latents.


def _balanced(ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.logits is not None
    loss = ctx.loss
    vary = lambda sample, purpose: ctx.task.vary(loss.bcr_policy, ctx.keys(purpose), sample)
    distance = lambda a, b: jnp.square(a - b).mean()
    real = lambda: vary(ctx.x_real, Purpose.VARY_REAL)
    fake = lambda: vary(ctx.x_fake, Purpose.VARY_FAKE)
    if loss.bcr_real > 0 and loss.bcr_fake > 0:
        of_real, of_fake, _ = ctx.discriminate(real(), fake())
        terms = loss.bcr_real * distance(ctx.logits[0], of_real.logits)
        terms += loss.bcr_fake * distance(ctx.logits[1], of_fake.logits)
    elif loss.bcr_real > 0:
        terms = loss.bcr_real * distance(ctx.logits[0], ctx.logits_of(real()))
    else:
        terms = loss.bcr_fake * distance(ctx.logits[1], ctx.logits_of(fake()))
    return terms, {}


def _near(ctx: StepContext) -> Sample:
    if ctx.task.near is None:
        raise ValueError("loss.zcr_d and loss.zcr_g need a generator of latents; use 0")
    return ctx.task.near(ctx.g, ctx.batch, ctx.latent_keys, ctx.keys(Purpose.NEAR), ctx.loss.zcr_sigma)


def _latent(ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.logits is not None
    near = ctx.augmented(jax.lax.stop_gradient(_near(ctx)), Purpose.AUGMENT_FAKE)
    return ctx.loss.zcr_d * jnp.square(ctx.logits[1] - ctx.logits_of(near)).mean(), {}


def _diversity(ctx: StepContext) -> tuple[jax.Array, Extras]:
    squares = jax.tree_util.tree_map(lambda a, b: jnp.square(a - b).sum(), ctx.fake, _near(ctx))
    total = sum(jax.tree_util.tree_leaves(squares), start=jnp.zeros(()))
    return -ctx.loss.zcr_g * total / len(ctx.index), {}


BCR = Regulariser(name="bcr", network="d", is_on=lambda loss: max(loss.bcr_real, loss.bcr_fake) > 0, value=_balanced)
ZCR_D = Regulariser(name="zcr_d", network="d", is_on=lambda loss: loss.zcr_d > 0, value=_latent)
ZCR_G = Regulariser(name="zcr_g", network="g", is_on=lambda loss: loss.zcr_g > 0, value=_diversity)


# ----------------------------------------------------------------------------------------------------------------------
# Gradient penalties of D: R1, R2 and WGAN-GP.


def _gradient_penalty(ctx: StepContext) -> tuple[jax.Array, Extras]:
    loss, task = ctx.loss, ctx.task

    # Gradients are by the image before ADA, as published; without ADA, D sees the image without DiffAugment.
    def critic(x: Sample) -> jax.Array:
        """D's logits in evaluation mode."""
        x = x if ctx.augment_p is None else ctx.augmented(x, Purpose.AUGMENT_REAL)
        return task.discriminate(ctx.d, x, ctx.batch, False)[0]

    terms = jnp.zeros(ctx.index.shape)
    if loss.r1_gamma > 0:
        terms += ctx.annealed("gamma", loss.r1_gamma) / 2 * squared_gradient(critic, ctx.real)
    if loss.r2_gamma > 0:
        terms += ctx.annealed("gamma", loss.r2_gamma) / 2 * squared_gradient(critic, ctx.fake)
    if loss.gp_lambda > 0:
        mix = jax.vmap(jax.random.uniform)(ctx.keys(Purpose.MIX))
        terms += loss.gp_lambda * gradient_penalty(critic, ctx.real, ctx.fake, mix)
    return terms.mean(), {}


GRADIENT_PENALTY = Regulariser(
    name="penalty",
    network="d",
    is_on=lambda loss: max(loss.r1_gamma, loss.r2_gamma, loss.gp_lambda) > 0,
    value=_gradient_penalty,
    interval=lambda loss: loss.penalty_interval,
)


# ----------------------------------------------------------------------------------------------------------------------
# LeCam regularisation, with moving averages of D's mean logits as anchors.

NAMES = ("lecam_real", "lecam_fake")  # running sums of means, which start at 0


def _lecam_value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.logits is not None
    decay = ctx.loss.lecam_decay
    means = jax.lax.stop_gradient(ctx.sync([logits.mean() for logits in ctx.logits]))
    sums = {k: decay * ctx.extras[k] + (1 - decay) * mean for k, mean in zip(NAMES, means, strict=True)}
    weight = 1 - decay ** (ctx.update_count + 1).astype(
        means[0].dtype
    )  # sum of the weights so far: `sums / weight` is an average from the first update on
    anchors = (sums[name] / weight for name in NAMES)
    return ctx.loss.lecam * lecam(*ctx.logits, *anchors).mean(), sums


LECAM = Regulariser(name="lecam", network="d", is_on=lambda loss: loss.lecam > 0, value=_lecam_value, extras=NAMES)


# ----------------------------------------------------------------------------------------------------------------------
# Orthogonal regularisation of the filters of each kernel (BigGAN).

ORTHOGONAL_G = Regulariser(
    name="orthogonal_g",
    network="g",
    is_on=lambda loss: loss.orthogonal_g > 0,
    value=lambda ctx: (ctx.loss.orthogonal_g * orthogonal_penalty(ctx.g["params"]), {}),
)
ORTHOGONAL_D = Regulariser(
    name="orthogonal_d",
    network="d",
    is_on=lambda loss: loss.orthogonal_d > 0,
    value=lambda ctx: (ctx.loss.orthogonal_d * orthogonal_penalty(ctx.d["params"]), {}),
)


# ----------------------------------------------------------------------------------------------------------------------
# Path length regularisation (StyleGAN2): equal steps in style space move the image equally far.


def _path_length_value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    loss, measure = ctx.loss, ctx.task.path_lengths
    if measure is None:
        raise ValueError("loss.path_length needs a generator with styles (StyleGAN2); use 0")
    shrink = loss.path_length_shrink
    # Every `shrink`-th example of the global batch, on any number of devices. A device whose part does not divide
    # computes all of its examples and counts some.
    divides = len(ctx.index) % shrink == 0
    chosen = slice(None, None, shrink if divides else 1)
    batch = jax.tree_util.tree_map(lambda x: x[chosen], ctx.batch)
    keys, noise = ctx.keys(Purpose.PATH_LATENTS)[chosen], ctx.keys(Purpose.PATH_NOISE)[chosen]
    lengths = measure(ctx.g, batch, keys, noise)
    counts = (ctx.index[chosen] % shrink == 0).astype(lengths.dtype)
    counts /= ctx.sync(counts.mean())
    old = ctx.extras["path_length"]
    # The gradient flows through the mean too, as published.
    mean = old + loss.path_length_decay * (ctx.sync((counts * lengths).mean()) - old)
    penalty = loss.path_length * (counts * jnp.square(lengths - mean)).mean()
    return penalty, {"path_length": jax.lax.stop_gradient(mean)}


PATH_LENGTH = Regulariser(
    name="path_penalty",
    network="g",
    is_on=lambda loss: loss.path_length > 0,
    value=_path_length_value,
    interval=lambda loss: loss.path_length_interval,
    extras=("path_length",),
)


# ----------------------------------------------------------------------------------------------------------------------
# The table of regularisers that `LossConfig` turns on.

REGULARISERS = (GRADIENT_PENALTY, LECAM, BCR, ZCR_D, ORTHOGONAL_D, PATH_LENGTH, ZCR_G, ORTHOGONAL_G)


class Allows(Protocol):
    """The part of a task that lists the regularisers it can have."""

    @property
    def regularisers(self) -> tuple[str, ...] | None:
        """Names; None = all."""
        ...


def regularisers_of(
    loss: LossConfig, task: Allows, networks: Sequence[str], further: Sequence[Regulariser] = ()
) -> list[Regulariser]:
    """The regularisers of a phase that trains these networks: those of a configuration, then further ones."""
    able = [term for term in REGULARISERS if task.regularisers is None or term.name in task.regularisers]
    return [term for term in (*(t for t in able if t.is_on(loss)), *further) if term.network in networks]


def check_regularisers(loss: LossConfig, task: Allows) -> None:
    """Raises ConfigError where a configuration has a regulariser that a task cannot have."""
    if task.regularisers is None:
        return
    refused = [term.name for term in REGULARISERS if term.is_on(loss) and term.name not in task.regularisers]
    if refused:
        able = f"it can have {', '.join(task.regularisers)}" if task.regularisers else "it can have none of them"
        raise ConfigError(f"loss turns on {', '.join(refused)}, which this task cannot have ({able}); use 0")


def init_extras(loss: LossConfig, task: Allows) -> Extras:
    """The initial running values of a configuration's regularisers."""
    able = [term for term in REGULARISERS if task.regularisers is None or term.name in task.regularisers]
    return {name: jnp.zeros((), jnp.float32) for term in able if term.is_on(loss) for name in term.extras}
