"""The task of two domains without pairs (CycleGAN; Zhu et al., 2017).

Both generators are updated first and together: adversarial loss, cycle loss, identity loss. Both discriminators follow, with
half of their loss, on the translations from before that update, which pass a pool for each domain. Those that the generators'
loss is made of are kept in the state's extras (`shown_a`, `shown_b`, over all devices); while only D is trained, a phase of
their own makes them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import Config, UnpairedTask
from gan_jax.nets import NamedNets, build
from gan_jax.random_streams import Purpose
from gan_jax.tasks.pool import empty_pool, own_rows, shown
from gan_jax.tasks.translation import adapting, augmented, d_value, g_value, logits_metrics, no_capture, vary
from gan_jax.train.context import DOutput, LossOutput, StepContext
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import init_augment
from gan_jax.train.state import Networks, Variables
from gan_jax.train.task import Extras, Phase, Task

GENERATORS, DISCRIMINATORS = ("g_ab", "g_ba"), ("d_a", "d_b")


def unpaired_networks(config: Config, axis_name: str | None = None) -> NamedNets:
    """Makes `g_ab`, `g_ba`, and the judges of each domain, `d_a` and `d_b`, of one configuration.

    Domain A has `in_channels`, domain B `channels`.
    """
    net: Any = config.net
    there = build(net, axis_name)
    back = build(net.reversed, axis_name)
    nets = {"g_ab": there.g, "g_ba": back.g, "d_a": back.d, "d_b": there.d}
    return NamedNets(
        nets, GENERATORS, DISCRIMINATORS, net, there.g_blocks, there.d_blocks, there.d_head,
        judges={"g_ab": "d_b", "g_ba": "d_a"}, reads={"g_ab": "input", "g_ba": "image"},
        axis_name=axis_name,
    )  # fmt: skip


def distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """The mean absolute difference `[]` of images."""
    return jnp.abs(a - b).mean()


def nothing(ctx: StepContext) -> LossOutput:
    """The loss of a phase that trains no network."""
    return LossOutput(jnp.zeros(()), ctx, {}, {})


def unpaired_task(networks: NamedNets, config: Config, extension: Extension = NO_EXTENSION) -> Task:
    """Makes the task of `unpaired_networks`.

    Batches are `{"input": [B, H, W, in_channels], "image": [B, H, W, C]}`, float in [-1, 1], of domains A and B, drawn
    independently of each other.
    """
    options = config.task
    assert isinstance(options, UnpairedTask)
    no_capture(extension, "unpaired")
    nets, net, batch = networks.nets, config.net, config.train.batch

    def translate(ctx: StepContext, name: str, x: jax.Array, draws: Purpose) -> tuple[jax.Array, StepContext]:
        """A generator's images, and the context with its running statistics. A step's draws are of dropout."""
        image, collections = nets[name].apply(ctx.nets[name], x, train=True, keys=ctx.step_keys(draws))
        return image, ctx.with_nets(**{name: {**ctx.nets[name], **collections}})

    def kept(ctx: StepContext, fake_b: jax.Array, fake_a: jax.Array) -> Extras:
        """The extras with the translations that D will be shown."""
        extras = {}
        for side, image, draws in (("b", fake_b, Purpose.POOL), ("a", fake_a, Purpose.POOL_BACK)):
            pool = ctx.extras.get(f"pool_{side}", {})
            pool, extras[f"shown_{side}"] = shown(ctx, batch, pool, jax.lax.stop_gradient(image), draws)
            if pool:
                extras[f"pool_{side}"] = pool
        return extras

    def translations(ctx: StepContext) -> tuple[StepContext, Networks]:
        """Translates for D while G is not updated; no network changes."""
        fake_b, _ = translate(ctx, "g_ab", ctx.batch["input"], Purpose.G_LATENTS)
        fake_a, _ = translate(ctx, "g_ba", ctx.batch["image"], Purpose.G_LATENTS)
        return ctx.replace(extras=ctx.extras | kept(ctx, fake_b, fake_a)), {}

    def judge(ctx: StepContext, name: str, sample: jax.Array, side: Purpose) -> tuple[DOutput, Variables]:
        sample = augmented(config.augment, ctx.keys(side), sample, ctx.augment_p)
        logits, collections = nets[name].apply(ctx.nets[name], sample, train=True)
        return DOutput(logits, {}), collections

    def collections_of(ctx: StepContext) -> Networks:
        return {name: {k: v for k, v in ctx.nets[name].items() if k != "params"} for name in GENERATORS}

    def g_loss(ctx: StepContext) -> LossOutput:
        a, b = ctx.batch["input"], ctx.batch["image"]
        adversarial, total = jnp.zeros(()), jnp.zeros(())
        if not extension.adversarial:
            return LossOutput(total, ctx, collections_of(ctx), {"loss_g": adversarial})
        terms: dict[str, jax.Array] = {}
        if options.cycle * options.identity > 0:
            same_b, ctx = translate(ctx, "g_ab", b, Purpose.IDENTITY_LATENTS)
            same_a, ctx = translate(ctx, "g_ba", a, Purpose.IDENTITY_LATENTS)
            terms["identity"] = distance(same_a, a) + distance(same_b, b)
            total += options.cycle * options.identity * terms["identity"]
        fake_b, ctx = translate(ctx, "g_ab", a, Purpose.G_LATENTS)
        fake_a, ctx = translate(ctx, "g_ba", b, Purpose.G_LATENTS)
        if options.cycle > 0:
            again_a, ctx = translate(ctx, "g_ba", fake_b, Purpose.CYCLE_LATENTS)
            again_b, ctx = translate(ctx, "g_ab", fake_a, Purpose.CYCLE_LATENTS)
            terms["cycle"] = distance(again_a, a) + distance(again_b, b)
            total += options.cycle * terms["cycle"]
        for name, fake in (("g_ab", fake_b), ("g_ba", fake_a)):
            output, _ = judge(ctx, networks.judges[name], fake, Purpose.AUGMENT_FAKE)
            value = g_value(ctx, config, extension, output)
            adversarial += value
            total += value * extension.weight(ctx, name)
        extras = kept(ctx, fake_b, fake_a)
        return LossOutput(total, ctx, collections_of(ctx), {"loss_g": adversarial, **terms}, extras)

    def d_loss(ctx: StepContext) -> LossOutput:
        collections, total, metrics = {}, jnp.zeros(()), []
        for side, image in (("a", ctx.batch["input"]), ("b", ctx.batch["image"])):
            name = f"d_{side}"
            real, changed = judge(ctx, name, image, Purpose.AUGMENT_REAL)
            after = ctx.with_nets(**{name: {**ctx.nets[name], **changed}})
            fake, collections[name] = judge(
                after, name, own_rows(ctx, ctx.extras[f"shown_{side}"]), Purpose.AUGMENT_FAKE
            )
            value = d_value(ctx, config, extension, real, fake, name, 0.5)
            total += value
            metrics.append(logits_metrics(value, real.logits, fake.logits))
        mean = jax.tree_util.tree_map(lambda a, b: (a + b) / 2, *metrics)
        return LossOutput(total, ctx, collections, mean)

    def init_extras() -> Extras:
        sides = {"a": net.in_channels, "b": net.channels}  # type: ignore[attr-defined]
        extras: Extras = init_augment(config.augment)
        for side, channels in sides.items():
            shape = (net.resolution, net.resolution, channels)
            extras[f"shown_{side}"] = jnp.zeros((batch, *shape), jnp.float32)
            if options.pool:
                extras[f"pool_{side}"] = empty_pool(options.pool, shape)
        return extras

    judged_until = None if extension.adversarial else 0.0
    warmup = config.d_warmup_kimg
    return Task(
        nets=dict(nets),
        phases=(
            Phase("translate", (), nothing, translations, end_kimg=warmup if extension.adversarial else 0.0),
            Phase("g", GENERATORS, g_loss, start_kimg=warmup),
            Phase(
                "d", DISCRIMINATORS, d_loss, counts=True, lr=config.optim.d_lr, post_update=adapting(config),
                end_kimg=judged_until,
            ),
        ),
        averaged=GENERATORS,
        regularisers=(),
        init_extras=init_extras,
        generate=lambda g_vars, batch, keys, train: nets["g_ab"].apply(g_vars, batch["input"], train=train, keys=keys),
        discriminate=lambda d_vars, sample, batch, train: nets["d_b"].apply(d_vars, sample, train=train),
        g_intermediates=lambda g_vars, batch, keys: nets["g_ab"].activations(g_vars, batch["input"]),
        d_intermediates=lambda d_vars, sample, batch: nets["d_b"].activations(d_vars, sample),
        real=lambda batch: batch["image"],
        augment=lambda keys, sample, p: augmented(config.augment, keys, sample, p),
        vary=vary,
        examples_mix=net.batch_norm_in_d,
    )  # fmt: skip
