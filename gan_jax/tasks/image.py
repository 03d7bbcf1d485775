"""The task of images from latents, unconditional or class-conditional."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.augment import ada, diff_augment
from gan_jax.config import Config, NetConfig
from gan_jax.losses import path_lengths
from gan_jax.nets import Pair
from gan_jax.nets.fronts import Styled
from gan_jax.train.context import Batch
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import init_augment
from gan_jax.train.state import Variables
from gan_jax.train.step import d_phase, g_phase
from gan_jax.train.task import Task


def draw_latents(keys: jax.Array, z_dim: int, threshold: float | None = None) -> jax.Array:
    """Draws standard normal latents `[B, z_dim]`, one for each key `[B]`, the same on any number of devices.

    With a `threshold`, the distribution is truncated at +- it (the truncation trick of Brock et al., BigGAN, 2019): a
    smaller threshold gives better images that are more alike.
    """
    if threshold is None:
        return jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(keys)
    return jax.vmap(lambda key: jax.random.truncated_normal(key, -threshold, threshold, (z_dim,)))(keys)


def probes(config: NetConfig, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array | None]:
    """Draws latents `[n, z_dim]` to probe a generator with, and its classes in turn, `[n]`; None without classes."""
    classes = config.num_classes
    z = jax.random.normal(key, (n, config.z_dim))
    return z, jnp.arange(n, dtype=jnp.int32) % classes if classes else None


def image_task(pair: Pair, config: Config, extension: Extension = NO_EXTENSION) -> Task:
    """Makes the task of images from latents, with a generator `g` and a discriminator `d`.

    Batches are `{"image": [B, H, W, C] float in [-1, 1], "label": [B] int32 where conditional}`.

    Generated images have the labels of the batch, so that both sides have the same class frequencies, and its latents
    `z [B, z_dim]` where it has any; otherwise latents are drawn. `mixing [B]` bool, where a batch has it, says which
    images of a generator with styles may have styles of a second latent too.
    """
    augment = config.augment
    conditional = pair.config.num_classes > 0
    labels = lambda batch: batch["label"] if conditional else None

    def latents(batch: Batch, keys: jax.Array) -> jax.Array:
        return batch["z"] if "z" in batch else draw_latents(keys, pair.config.z_dim)

    def generate(g_vars: Variables, batch: Batch, keys: jax.Array, train: bool) -> tuple[jax.Array, Variables]:
        styled = {"mixing": batch["mixing"]} if "mixing" in batch and "styles" in pair.g.parts else {}
        return pair.g.apply(g_vars, latents(batch, keys), labels(batch), train=train, keys=keys, **styled)

    def near(g_vars: Variables, batch: Batch, keys: jax.Array, noise: jax.Array, sigma: float) -> jax.Array:
        z = latents(batch, keys) + sigma * draw_latents(noise, pair.config.z_dim)
        return pair.g.apply(g_vars, z, labels(batch), train=True, keys=keys)[0]

    def lengths(g_vars: Variables, batch: Batch, keys: jax.Array, noise: jax.Array) -> jax.Array:
        r, channels = pair.config.resolution, pair.config.channels
        y = jax.vmap(lambda key: jax.random.normal(key, (r, r, channels)))(noise) / r
        ws = pair.g.parts["styles"](g_vars, draw_latents(keys, pair.config.z_dim), labels(batch), keys)
        along = (lambda new: ws._replace(ws=new)) if isinstance(ws, Styled) else lambda new: new
        synthesise = lambda new: pair.g.parts["synthesise"](g_vars, along(new), keys)
        return path_lengths(synthesise, ws.ws if isinstance(ws, Styled) else ws, y)

    def discriminate(d_vars: Variables, sample: jax.Array, batch: Batch, train: bool) -> tuple[jax.Array, Variables]:
        return pair.d.apply(d_vars, sample, labels(batch), train=train)

    def augmented(keys: jax.Array, sample: jax.Array, p: jax.Array | None) -> jax.Array:
        if augment.ada is not None:
            return ada(augment.ada, augment.ada_p if p is None else p, keys, sample)
        return diff_augment(augment.policy, keys, sample)

    return Task(
        nets={"g": pair.g, "d": pair.d},
        phases=(d_phase(config, extension), g_phase(config, extension)),
        init_extras=lambda: init_augment(augment),
        generate=generate,
        discriminate=discriminate,
        g_intermediates=lambda g, batch, keys: pair.g.activations(g, latents(batch, keys), labels(batch)),
        d_intermediates=lambda d, sample, batch: pair.d.activations(d, sample, labels(batch)),
        discriminate_capturing=lambda d, sample, batch, train: pair.d.apply_with_intermediates(
            d, sample, labels(batch), train=train
        ),
        real=lambda batch: batch["image"],
        augment=augmented,
        vary=diff_augment,
        near=near,
        path_lengths=lengths if "styles" in pair.g.parts else None,
        examples_mix=pair.examples_mix,
        d_group=pair.d_group,
    )
