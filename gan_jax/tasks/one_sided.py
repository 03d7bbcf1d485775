"""The task of one direction without pairs (CUT and FastCUT; Park et al., 2020).

D is updated first, with half of its loss, on the translations that G's update then makes again. G and `f`, the network of
patches' features, are updated together: the adversarial loss, and a contrast by which each patch of a translation is to be
recognised among patches of its image. CUT also translates and contrasts images of the target domain, which are to stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from gan_jax.config import Config, OneSidedTask
from gan_jax.losses import patch_nce
from gan_jax.nets import NamedNets, build
from gan_jax.nets.patch_features import make_patch_mlp, sample_patches
from gan_jax.nets.translator import feature_widths
from gan_jax.random_streams import Purpose
from gan_jax.tasks.pool import empty_pool, gathered, own_rows, shown
from gan_jax.tasks.translation import fooling, judging, pair_functions
from gan_jax.train.context import Batch, LossOutput, StepContext
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import init_augment
from gan_jax.train.state import Networks
from gan_jax.train.task import Extras, Phase, Task

POOL = "pool"


def one_sided_networks(config: Config, axis_name: str | None = None) -> NamedNets:
    """Makes `g`, `d`, and `f`, an MLP for each contrasted map of G's encoder."""
    options, net = cast(OneSidedTask, config.task), cast(Any, config.net)
    pair = build(net, axis_name)
    f = make_patch_mlp(feature_widths(pair.g, net, options.layers), options.mlp)
    nets = {"g": pair.g, "d": pair.d, "f": f}
    return NamedNets(
        nets, ("g",), ("d",), net, pair.g_blocks, pair.d_blocks, pair.d_head, judges={"g": "d"}, axis_name=axis_name
    )  # fmt: skip


def one_sided_task(networks: NamedNets, config: Config, extension: Extension = NO_EXTENSION) -> Task:
    """Makes the task of `one_sided_networks`.

    Batches are `{"input": [B, H, W, C], "image": [B, H, W, C]}`, float in [-1, 1], of the two domains, drawn independently
    of each other.
    """
    options = config.task
    assert isinstance(options, OneSidedTask)
    net, batch, (g, f) = config.net, config.train.batch, (networks.nets["g"], networks.nets["f"])
    same_draws = lambda ctx: ctx.step_keys(Purpose.G_LATENTS)
    features = g.parts["features"]

    def turned(ctx: StepContext) -> tuple[Batch, jax.Array | None]:
        """The batch as it is translated, and which examples are mirrored; None = there are none."""
        if not options.flip:
            return ctx.batch, None
        flips = jax.vmap(jax.random.bernoulli)(ctx.step_keys(Purpose.FLIP))
        return {**ctx.batch, "input": mirrored(ctx.batch["input"], flips)}, flips

    def inputs(ctx: StepContext) -> tuple[StepContext, Networks]:
        fake, _ = ctx.task.generate(ctx.g, turned(ctx)[0], ctx.latent_keys, True)
        fake = jax.lax.stop_gradient(fake)
        if options.pool:
            pool, images = shown(ctx, batch, ctx.extras[POOL], fake, Purpose.POOL)
            ctx, fake = ctx.replace(extras={**ctx.extras, POOL: pool}), own_rows(ctx, images)
        return ctx.replace(fake=fake), {}

    def contrast(
        ctx: StepContext, sources: jax.Array, images: jax.Array, flips: jax.Array | None, draws: Purpose
    ) -> jax.Array:
        """The contrast `[]` of translated images with their sources, over layers and places."""
        maps = features(ctx.g, images, options.layers, train=True, keys=ctx.latent_keys)
        maps = [values if flips is None else mirrored(values, flips) for values in maps]
        source_maps = features(jax.lax.stop_gradient(ctx.g), sources, options.layers, train=True, keys=ctx.latent_keys)
        keys = ctx.keys(draws, jnp.arange(len(maps)))
        ids = [places(key, values.shape[1] * values.shape[2], options.patches) for key, values in zip(keys, maps)]
        queries = f.apply(ctx.nets["f"], [sample_patches(*pair) for pair in zip(maps, ids)])[0]
        targets = f.apply(
            jax.lax.stop_gradient(ctx.nets["f"]), [sample_patches(*pair) for pair in zip(source_maps, ids)]
        )[0]
        return sum((nce(ctx, q, k).mean() for q, k in zip(queries, targets)), start=jnp.zeros(())) / len(maps)

    def nce(ctx: StepContext, queries: jax.Array, keys: jax.Array) -> jax.Array:
        if not options.all_negatives or batch == len(ctx.index):
            return patch_nce(queries, keys, options.temperature, options.all_negatives)
        every = jnp.zeros((batch, *queries.shape[1:]), queries.dtype).at[ctx.index].set(queries)
        keys = gathered(ctx, batch, jax.lax.stop_gradient(keys))  # negatives are of the images of all devices
        return patch_nce(every, keys, options.temperature, True)[ctx.index]

    def g_loss(ctx: StepContext) -> LossOutput:
        changed, flips = turned(ctx)
        a, b, identity = changed["input"], ctx.batch["image"], options.nce_identity and options.nce > 0
        x, keys = a, ctx.latent_keys
        if identity:
            x = jnp.concatenate([a, b if flips is None else mirrored(b, flips)])
            keys = jnp.concatenate([keys, ctx.step_keys(Purpose.IDENTITY_LATENTS)])
        images, collections = g.apply(ctx.g, x, train=True, keys=keys)
        fake, same = images[: len(a)], images[len(a) :]
        ctx = ctx.replace(fake=fake, g_collections=collections)
        if not extension.adversarial:
            return LossOutput(jnp.zeros(()), ctx, {"g": collections}, {"loss_g": jnp.zeros(())})
        adversarial, ctx = fooling(ctx, config, extension, fake)
        terms = {}
        if options.nce > 0:
            terms["nce"] = contrast(ctx, ctx.batch["input"], fake, flips, Purpose.PATCHES)
        if identity:
            terms["nce_identity"] = contrast(ctx, b, same, flips, Purpose.PATCHES_IDENTITY)
        mean = sum(terms.values(), start=jnp.zeros(())) / max(len(terms), 1)
        value = adversarial * extension.weight(ctx, "g") + options.nce * mean
        return LossOutput(value, ctx, {"g": collections}, {"loss_g": adversarial, **terms})

    def init_extras() -> Extras:
        shape = (net.resolution, net.resolution, net.channels)
        return init_augment(config.augment) | ({POOL: empty_pool(options.pool, shape)} if options.pool else {})

    return Task(
        nets=dict(networks.nets),
        phases=(
            judging(config, extension, inputs, same_draws),
            Phase("g", ("g", "f"), g_loss, latent_keys=same_draws, start_kimg=config.d_warmup_kimg),
        ),
        init_extras=init_extras,
        **pair_functions(networks, config),
    )


def mirrored(x: jax.Array, flips: jax.Array) -> jax.Array:
    """Mirrors some of the images or maps `[B, H, W, C]` left to right, those where `flips [B]`."""
    return jnp.where(flips[:, None, None, None], x[:, :, ::-1], x)


def places(key: jax.Array, count: int, most: int) -> jax.Array:
    """Draws different places of a map of `count`, `[min(count, most)]`."""
    return jax.random.permutation(key, count)[:most]


__all__: Sequence[str] = ("one_sided_networks", "one_sided_task")
