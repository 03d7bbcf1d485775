"""The networks that conformance is checked on, small: a row for each kind of each family. A new one is a new row."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
)
from gan_jax.nets import Pair, build

UPWARDS = ("from_rgb", "b32", "b16", "b8", "b4")


@dataclasses.dataclass(frozen=True)
class Family:
    """A row.

    Attributes:
      config: of any resolution; images have three channels.
      quick: resolution and compute dtype whose training pass is run in every test run; the others are slow tests, all of
        them where it is None.
      d_blocks: D's layers from the image upwards, at 32 px.
      d_rest: D's other modules, norms left out.
      g_blocks: G's layers from the latents upwards, at 32 px.
      g_rest: G's other modules, norms left out.
      resolutions: px.
      bounded: whether images end in [-1, 1].
      sleeps: whether some parameters are zero at first, so that others have no gradient.
      eager: whether compiled and eager passes are compared in every test run.
    """

    config: Any
    quick: tuple[int, str] | None
    d_blocks: tuple[str, ...] = UPWARDS
    d_rest: frozenset[str] = frozenset({"head"})
    g_blocks: tuple[str, ...] = ("stem", "b8", "b16", "b32")
    g_rest: frozenset[str] = frozenset({"to_rgb"})
    resolutions: tuple[int, ...] = (16, 32)
    bounded: bool = True
    sleeps: bool = False
    eager: bool = False


SMALL = {"channels": 3, "z_dim": 5, "channel_base": 64, "channel_max": 8}
CLASSES = frozenset({"head", "embed"})
AT_8 = ("b32", "b16", "b8", "b8_more0")
STYLES = {
    "d_blocks": ("b32", "b16", "b8", "b4"),
    "g_blocks": ("mapping", "synthesis/b4", "synthesis/b8", "synthesis/b16", "synthesis/b32"),
    "g_rest": frozenset(),
    "bounded": False,
}
_biggan = functools.partial(BigGANConfig, z_dim=12, width=1)
FAMILIES = {
    "resnet": Family(ResNetConfig(**SMALL), (16, "float32"), eager=True),
    "resnet-conditional": Family(ResNetConfig(num_classes=3, **SMALL), (16, "bfloat16"), d_rest=CLASSES),
    "dcgan": Family(DCGANConfig(**SMALL), (16, "float32"), ("from_rgb", "b8", "b4"), g_blocks=("b4", "b8", "b16"), eager=True),
    "stylegan2": Family(
        StyleGAN2Config(w_dim=6, mapping_layers=2, **SMALL),
        (16, "bfloat16"), d_rest=frozenset(), eager=True, **STYLES,
    ),
    "stylegan2-conditional": Family(
        StyleGAN2Config(w_dim=6, num_classes=3, discriminator="skip", **SMALL),
        None, d_rest=frozenset({"mapping"}), **STYLES,
    ),
    "resnet-deep": Family(
        ResNetConfig(depth=3, kernel=5, num_classes=3, **SMALL),
        None, d_rest=CLASSES, resolutions=(16,),
    ),
    "r3gan": Family(
        R3GANConfig(z_dim=5, widths=(8, 8, 6), cardinality=(4, 2), blocks=(1, 2, 1)),
        (16, "bfloat16"), g_blocks=("stem", "b4", "b8", "b16", "b32"), bounded=False, sleeps=True, eager=True,
    ),
    "r3gan-conditional": Family(
        R3GANConfig(z_dim=5, num_classes=3, widths=(6,), cardinality=(2,), blocks=(1,), expansion=1),
        (16, "float32"), d_rest=CLASSES, bounded=False, sleeps=True,
        g_blocks=("stem", "b4", "b8", "b16", "b32"), g_rest=frozenset({"to_rgb", "embed"}),
    ),
    "mlp": Family(
        MLPConfig(channels=3, z_dim=5, g_widths=(8, 6), d_widths=(6,)),
        (32, "bfloat16"), ("fc0",), g_blocks=("fc0", "fc1"), eager=True,
    ),
    "mlp-conditional": Family(
        MLPConfig(channels=3, z_dim=5, num_classes=3, g_widths=(8,), d_widths=(8, 6)),
        (16, "float32"), ("fc0", "fc1"), CLASSES, ("fc0",), frozenset({"to_rgb", "embed"}),
    ),
    "biggan": Family(_biggan(attention=(16,)), None, AT_8, sleeps=True),
    "biggan-conditional": Family(
        _biggan(num_classes=3, shared_dim=4, attention=(8,), d_gain=True),
        (16, "bfloat16"), AT_8, CLASSES, g_rest=frozenset({"to_rgb", "shared"}), sleeps=True,
    ),
    "biggan-tables": Family(
        BigGANConfig(
            *(16, 3, 3, 5, 1), hierarchical=False, shared_dim=0, attention=(), d_wide=False, g_spectral=False
        ),
        None, AT_8, CLASSES, resolutions=(16,), sleeps=True,
    ),
    "sngan": Family(
        SNGANConfig(z_dim=5, g_widths=(8, 6, 4), d_widths=(4, 6), d_rest=(6, 8), estimate="stored"),
        (16, "bfloat16"), AT_8, g_blocks=("stem", "b16", "b32"), eager=True,
    ),
    "sngan-conditional": Family(
        SNGANConfig(z_dim=5, num_classes=3, g_widths=(8, 6), d_widths=(4, 6), d_rest=(6, 5), upsample="nearest"),
        (16, "float32"), AT_8, CLASSES, ("stem", "b32"),
    ),
}  # fmt: skip
CASES = [(name, r) for name, family in FAMILIES.items() for r in family.resolutions]


@functools.cache
def pair_of(family: str, resolution: int, dtype: str = "float32") -> Pair:
    return build(dataclasses.replace(FAMILIES[family].config, resolution=resolution, dtype=dtype))


def inputs(config: Any, n: int = 4) -> tuple:
    """Latents, images and, of a conditional pair, labels."""
    z = jax.random.normal(jax.random.key(1), (n, config.z_dim))
    images = jax.random.uniform(jax.random.key(2), (n, config.resolution, config.resolution, 3), minval=-1.0)
    return z, images, jnp.arange(n, dtype=jnp.int32) % 3 if config.num_classes else None
