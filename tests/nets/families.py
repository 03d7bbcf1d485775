"""The networks that conformance is checked on, small: a row for each kind of each family. A new one is a new row."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    R3GANConfig,
    RelGANConfig,
    ResNetConfig,
    SeqGANConfig,
    SNGANConfig,
    SPADEConfig,
    StyleGAN2Config,
    TransformerConfig,
    TranslatorConfig,
    UNetConfig,
)
from gan_jax.nets import Net, Pair, build
from gan_jax.trees import map_with_path

UPWARDS = ("from_rgb", "b32", "b16", "b8", "b4")


@dataclasses.dataclass(frozen=True)
class Family:
    """A row.

    Attributes:
      config: of any resolution; images have three channels.
      quick: resolution and compute dtype whose training pass is run in every test run; None where a row of the same
        family stands for this one in all that costs much.
      d_blocks: D's layers from the image upwards, at 32 px.
      d_rest: D's other modules, norms left out.
      g_blocks: G's layers from the latents upwards, at 32 px.
      g_rest: G's other modules, norms left out.
      resolutions: px.
      bounded: whether images end in [-1, 1].
      sleeps: whether some parameters are zero at first, so that others have no gradient.
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


SMALL = {"channels": 3, "z_dim": 5, "channel_base": 64, "channel_max": 8}
CLASSES = frozenset({"head", "embed"})
AT_8 = ("b32", "b16", "b8", "b8_more0")
STYLES = {
    "d_blocks": ("b32", "b16", "b8", "b4"),
    "g_blocks": ("mapping", "synthesis/b4", "synthesis/b8", "synthesis/b16", "synthesis/b32"),
    "g_rest": frozenset(),
    "bounded": False,
}
PATCHES = ("from_rgb", "layer1", "layer2")
TRANSLATOR = ("stem", "down1", "down2", "block0", "block1", "up2", "up1")
_biggan = functools.partial(BigGANConfig, z_dim=12, width=1)
FAMILIES = {
    "resnet": Family(ResNetConfig(**SMALL), None),
    "resnet-conditional": Family(ResNetConfig(num_classes=3, **SMALL), (8, "float32"), d_rest=CLASSES),
    "dcgan": Family(DCGANConfig(**SMALL), (16, "float32"), ("from_rgb", "b8", "b4"), g_blocks=("b4", "b8", "b16")),
    "stylegan2": Family(
        StyleGAN2Config(w_dim=6, mapping_layers=2, **SMALL),
        (8, "bfloat16"), d_rest=frozenset(), **STYLES,
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
        None, g_blocks=("stem", "b4", "b8", "b16", "b32"), bounded=False, sleeps=True,
    ),
    "r3gan-conditional": Family(
        R3GANConfig(z_dim=5, num_classes=3, widths=(6,), cardinality=(2,), blocks=(1,), expansion=1),
        (8, "bfloat16"), d_rest=CLASSES, bounded=False, sleeps=True,
        g_blocks=("stem", "b4", "b8", "b16", "b32"), g_rest=frozenset({"to_rgb", "embed"}),
    ),
    "mlp": Family(
        MLPConfig(channels=3, z_dim=5, g_widths=(8, 6), d_widths=(6,)),
        None, ("fc0",), g_blocks=("fc0", "fc1"),
    ),
    "mlp-conditional": Family(
        MLPConfig(channels=3, z_dim=5, num_classes=3, g_widths=(8,), d_widths=(8, 6)),
        (16, "float32"), ("fc0", "fc1"), CLASSES, ("fc0",), frozenset({"to_rgb", "embed"}),
    ),
    "biggan": Family(_biggan(attention=(16,)), None, AT_8, sleeps=True),
    "biggan-conditional": Family(
        _biggan(num_classes=3, shared_dim=4, attention=(8,), d_gain=True),
        (16, "float32"), AT_8, CLASSES, g_rest=frozenset({"to_rgb", "shared"}), sleeps=True,
    ),
    "biggan-tables": Family(
        BigGANConfig(
            *(16, 3, 3, 5, 1), hierarchical=False, shared_dim=0, attention=(), d_wide=False, g_spectral=False
        ),
        None, AT_8, CLASSES, resolutions=(16,), sleeps=True,
    ),
    "sngan": Family(
        SNGANConfig(z_dim=5, g_widths=(8, 6, 4), d_widths=(4, 6), d_rest=(6, 8), estimate="stored"),
        None, AT_8, g_blocks=("stem", "b16", "b32"),
    ),
    "sngan-conditional": Family(
        SNGANConfig(z_dim=5, num_classes=3, g_widths=(8, 6), d_widths=(4, 6), d_rest=(6, 5), upsample="nearest"),
        (16, "float32"), AT_8, CLASSES, ("stem", "b32"),
    ),
    "unet": Family(
        UNetConfig(in_channels=2, width=4, depth=3, d_width=4, d_layers=2),
        (16, "float32"), PATCHES, g_blocks=("down1", "down2", "down3", "up3", "up2"),
    ),
    "unet-pixel": Family(
        UNetConfig(width=2, depth=2, norm="instance", d_kind="pixel", d_width=4, d_norm="batch", d_condition=False),
        None, PATCHES[:2], g_blocks=("down1", "down2", "up2"), resolutions=(16,),
    ),
    "translator": Family(
        TranslatorConfig(in_channels=2, width=4, blocks=2, affine=True, d_width=4, d_layers=2),
        (16, "float32"), PATCHES, g_blocks=TRANSLATOR,
    ),
    "translator-antialias": Family(
        TranslatorConfig(width=4, blocks=2, antialias=True, dropout=True, d_width=4, d_layers=2, init="xavier"),
        None, PATCHES, g_blocks=TRANSLATOR, resolutions=(16,),
    ),
    "spade": Family(
        SPADEConfig(num_labels=2, width=1, d_width=4, d_layers=2),
        (32, "float32"), ("scale0_layer0", "scale1_layer0", "scale0_layer1", "scale1_layer1"),
        frozenset({"scale0_layer2", "scale1_layer2"}),
        ("stem", "first", "middle0", "middle1", "up0", "up1", "up2", "up3"), resolutions=(32,),
    ),
}  # fmt: skip
# The families of texts, small: what `test_texts.py` asks of all of them. Vocabularies of 11, of which 9 is the start.
_TOKENS = {"vocab": 11, "length": 6, "bos": 9, "eos": 10, "pad": 10}
TEXTS: dict[str, Any] = {
    "transformer": TransformerConfig(
        **_TOKENS, width=8, layers=2, heads=2, positions=16, d_width=8, d_layers=1, d_heads=2, d_mlp=12, d_positions=16
    ),
    "transformer-untied": TransformerConfig(
        **_TOKENS, width=6, layers=1, heads=2, head_size=4, mlp=5, positions=9, tied=False, d_kind="roberta", d_vocab=13,
        d_pad=1, d_width=6, d_layers=2, d_heads=3, d_positions=12, d_types=1, d_per_token=True,
    ),
    "seqgan": SeqGANConfig(**_TOKENS, embedding=4, width=5, layers=2, d_embedding=4, d_filters=((1, 6), (2, 5))),
    "seqgan-lstm": SeqGANConfig(**_TOKENS, embedding=4, width=5, d_kind="lstm", d_embedding=4, d_width=6, d_layers=2),
    "relgan": RelGANConfig(
        **_TOKENS, embedding=4, slots=2, heads=2, head_size=3, d_representations=2, d_embedding=4, d_filters=((2, 3),),
        d_hidden=5,
    ),
}  # fmt: skip
CASES = [(name, r) for name, family in FAMILIES.items() for r in family.resolutions]
# Every family; in every test run a row of each.
EVERY = [pytest.param(name, marks=() if row.quick else pytest.mark.slow) for name, row in FAMILIES.items()]


@functools.cache
def text_pair(name: str, dtype: str = "float32") -> Pair:
    return build(dataclasses.replace(TEXTS[name], dtype=dtype))


@functools.cache
def pair_of(family: str, resolution: int, dtype: str = "float32") -> Pair:
    return build(dataclasses.replace(FAMILIES[family].config, resolution=resolution, dtype=dtype))


def drawn(net: Net, equalised: bool = False) -> dict[str, Any]:
    """Variables such as trained networks have, drawn by NumPy: drawing those of the start takes long to compile.

    Args:
      net: the network.
      equalised: whether its kernels are stored with a deviation of 1, as StyleGAN2's are.
    """

    def draw(path: str, spec: Any) -> np.ndarray:
        x = np.random.default_rng(zlib.crc32(path.encode())).standard_normal(spec.shape)
        name = path.rpartition("/")[2]
        if equalised and name in ("kernel", "bias"):
            x = x if name == "kernel" else 0.2 * x + path.endswith("affine/bias")
            x = x * (100 if "/mapping/fc" in path else 1)  # whose rate of learning is a hundredth
        elif name in ("kernel", "embedding"):
            x = x / np.sqrt(np.prod(spec.shape[:-1]))
        elif name in ("u", "v"):
            x = x / np.linalg.norm(x)
        else:
            x = {"var": 0.5 + x**2, "scale": 1 + 0.2 * x, "basis": x, "const": x}.get(name, 0.2 * x)
        return x.astype(spec.dtype)

    return map_with_path(draw, net.specs())


def inputs(config: Any, n: int = 4) -> tuple:
    """Latents, or what a translator reads; images; and, of a conditional pair, labels."""
    r = config.resolution
    images = jax.random.uniform(jax.random.key(2), (n, r, r, 3), minval=-1.0)
    if config.translates:
        return jax.random.uniform(jax.random.key(1), (n, r, r, config.in_channels), minval=-1.0), images, None
    z = jax.random.normal(jax.random.key(1), (n, config.z_dim))
    return z, images, jnp.arange(n, dtype=jnp.int32) % 3 if config.num_classes else None


def seen(config: Any, x: jax.Array, images: jax.Array) -> jax.Array:
    """What D sees of images, made from x: the images, behind what they were made from where D is shown both."""
    return jnp.concatenate([x, images], -1) if config.translates and config.d_condition else images
