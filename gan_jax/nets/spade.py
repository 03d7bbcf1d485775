"""SPADE (Park et al., 2019): images from label maps, by norms that the labels modulate at every place.

G reads the labels as one-hot maps `[N, H, W, in_channels]` and at each norm again, at the size of the norm's maps; sizes
are reduced to the nearest pixel. D sees labels and image at several scales, and every layer of it is compared between
images made and real (`Net.parts["features"]`). Nothing depends on the size of an image: G runs at every one that its
doublings divide.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import SPADEConfig
from gan_jax.nets.build import Pair, make_net
from gan_jax.nets.conv import upsample_nearest
from gan_jax.nets.features.steps import mean_pool
from gan_jax.nets.layers import Conv, InstanceNorm, at_least_float32, gan_init, standardised

HIDDEN = 128  # channels between the labels and what modulates a norm
XAVIER = gan_init("xavier")

# ----------------------------------------------------------------------------------------------------------------------
# Label maps as the networks read them.


def one_hot(labels: jax.Array, num: int, dont_care: bool) -> jax.Array:
    """Labels `[N, H, W]` -> `[N, H, W, num (+ 1)]` float32 of zeros and ones.

    Labels outside 0 .. num - 1, such as the usual 255, are the last channel if `dont_care`, else no channel.
    """
    known = (labels >= 0) & (labels < num)
    return jax.nn.one_hot(jnp.where(known, labels, num), num + dont_care, dtype=jnp.float32)


def instance_edges(instance: jax.Array) -> jax.Array:
    """Instances `[N, H, W]` -> `[N, H, W, 1]` float32: 1 where one of the four neighbours is of another instance."""
    edges = jnp.zeros(instance.shape, bool)
    for axis in (1, 2):
        n = instance.shape[axis]
        pixels = lambda start, stop, axis=axis: jax.lax.slice_in_dim(instance, start, stop, axis=axis)
        differs = pixels(1, n) != pixels(0, n - 1)
        for before in ((1, 0), (0, 1)):
            edges |= jnp.pad(differs, [before if i == axis else (0, 0) for i in range(3)])
    return edges[..., None].astype(jnp.float32)


def semantics(config: SPADEConfig, labels: jax.Array, instance: jax.Array | None = None) -> jax.Array:
    """Labels `[N, H, W]`, and instances if there are edges -> what G reads, `[N, H, W, in_channels]` float32.

    Raises:
      ValueError: edges without instances.
    """
    maps = one_hot(labels, config.num_labels, config.dont_care)
    if not config.edges:
        return maps
    if instance is None:
        raise ValueError("net.edges reads the edges of instances; give a map of instances, or set net.edges False")
    return jnp.concatenate([maps, instance_edges(instance)], axis=-1)


# ----------------------------------------------------------------------------------------------------------------------
# The generator.


def doublings(config: SPADEConfig) -> int:
    """Returns how often G doubles the size of its first maps."""
    return {"normal": 5, "more": 6, "most": 7}[config.ups]


def widths(config: SPADEConfig) -> dict[str, int]:
    """Returns the channels that G's blocks write, in the order in which data pass them."""
    ups = (8, 4, 2, 1)
    multiples = {"first": 16, "middle0": 16, "middle1": 16, **{f"up{i}": n for i, n in enumerate(ups)}}
    out = {name: n * config.width for name, n in multiples.items()}
    return out | {"up4": config.width // 2} if config.ups == "most" else out


class SpadeNorm(nn.Module):
    """Batch or instance norm with a gain 1 + gamma and an offset beta from the labels at each place.

    Maps `[N, H, W, C]` and semantics `[N, H', W', K]`, H' a multiple of H -> `[N, H, W, C]`.
    """

    config: SPADEConfig
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array, train: bool) -> jax.Array:
        c = self.config
        conv = lambda name, features: Conv(features=features, init_kernel=XAVIER, dtype=c.dtype, name=name)
        h = nn.relu(conv("shared", HIDDEN)(nearest(labels, x.shape[1])))
        gamma, beta = conv("gamma", x.shape[-1])(h), conv("beta", x.shape[-1])(h)
        if c.norm == "batch":
            normed = standardised(self, x, train, self.axis_name, unbiased=True)
        else:
            normed = InstanceNorm()(at_least_float32(x))
        return (normed * (1 + at_least_float32(gamma)) + at_least_float32(beta)).astype(x.dtype)


class GBlock(nn.Module):
    """SPADE-lrelu-conv-SPADE-lrelu-conv plus a shortcut, SPADE-conv1x1 where the width changes: `[N, H, W, I]` -> features."""

    features: int
    config: SPADEConfig
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array, train: bool) -> jax.Array:
        c, read = self.config, x.shape[-1]
        norm = lambda name, h: SpadeNorm(c, self.axis_name, name=name)(h, labels, train)
        options: dict[str, Any] = {"spectral": True, "stored": True, "init_kernel": XAVIER, "dtype": c.dtype}
        conv = lambda name, features, **more: Conv(features=features, name=name, **more, **options)
        h = conv("conv0", min(read, self.features))(nn.leaky_relu(norm("norm0", x), 0.2), train)
        h = conv("conv1", self.features)(nn.leaky_relu(norm("norm1", h), 0.2), train)
        if read == self.features:
            return x + h
        return conv("skip", self.features, size=1, bias=False)(norm("norm_skip", x), train) + h


class Generator(nn.Module):
    """Semantics `[N, H, W, in_channels]` -> images `[N, H, W, channels]` float32 in [-1, 1]."""

    config: SPADEConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, maps = self.config, x.astype(self.config.dtype)
        step = 2 ** doublings(c)
        if x.shape[1] % step or x.shape[2] % step:
            raise ValueError(
                f"label maps of {x.shape[1]} x {x.shape[2]} px; net.ups {c.ups!r} needs multiples of {step}"
            )
        h = Conv(features=16 * c.width, init_kernel=XAVIER, dtype=c.dtype, name="stem")(
            nearest(maps, x.shape[1] // step)
        )
        for name, features in widths(c).items():
            if name not in ("first", "middle1") or (name == "middle1" and c.ups != "normal"):
                h = upsample_nearest(h)
            h = GBlock(features, c, self.axis_name, name=name)(h, maps, train)
        h = Conv(features=c.channels, init_kernel=XAVIER, dtype=c.dtype, name="to_rgb")(nn.leaky_relu(h, 0.2))
        return jnp.tanh(at_least_float32(h))


def nearest(maps: jax.Array, height: int) -> jax.Array:
    """Reduces maps `[N, H, W, K]` to a height that divides theirs, to the first pixel of each square."""
    step = maps.shape[1] // height
    return jax.lax.slice(maps, (0, 0, 0, 0), maps.shape, (1, step, step, 1))


# ----------------------------------------------------------------------------------------------------------------------
# The discriminator.


class PatchLayer(nn.Module):
    """A 4x4 convolution with zeros of 2 px around, in the middle of D spectral and normalised, and but for the last lrelu."""

    features: int
    stride: int
    normed: bool
    last: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        options: dict[str, Any] = {"spectral": self.normed, "stored": self.normed, "bias": not self.normed}
        options |= {"features": self.features, "size": 4, "stride": self.stride, "pad": 2, "dtype": self.dtype}
        h = Conv(init_kernel=XAVIER, name="conv", **options)(x, train)
        h = InstanceNorm()(h) if self.normed else h
        return at_least_float32(h) if self.last else nn.leaky_relu(h, 0.2)


class Discriminator(nn.Module):
    """Semantics and images, joined `[N, H, W, in_channels + channels]` -> logits `[N, P]` float32; above 0 means real.

    The P logits are those of all patches, scale by scale; `features` gives them apart.
    """

    config: SPADEConfig

    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        logits = [maps[-1] for maps in self.features(images, labels, train)]
        return jnp.concatenate([x.reshape(x.shape[0], -1) for x in logits], axis=1)

    @nn.compact
    def features(
        self, images: jax.Array, labels: jax.Array | None = None, train: bool = False
    ) -> list[list[jax.Array]]:
        """For each scale the output of every layer `[N, h, w, C]`, the last one its logits `[N, h, w, 1]` float32."""
        c, scales = self.config, []
        x = images.astype(c.dtype)
        for scale in range(c.d_scales):
            x = mean_pool(x, 3, 2, 1) if scale else x
            h, maps = x, []
            for i, (features, stride) in enumerate(layers(c)):
                last = i == c.d_layers
                layer = PatchLayer(features, stride, 0 < i < c.d_layers, last, c.dtype, name=layer_name(scale, i))
                h = layer(h, train)
                maps.append(h)
            scales.append(maps)
        return scales


def layers(config: SPADEConfig) -> list[tuple[int, int]]:
    """Returns (channels, stride) of the layers of D at each scale, from the image on; the last makes the logits."""
    n = config.d_layers
    return [(min(config.d_width * 2**i, max(512, config.d_width)), 1 if i == n - 1 > 0 else 2) for i in range(n)] + [
        (1, 1)
    ]


def layer_name(scale: int, layer: int) -> str:
    """Returns the name of a layer of D."""
    return f"scale{scale}_layer{layer}"


def make(config: SPADEConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis.

    `d.parts["features"]` takes `(variables, joined images, labels=None, train=False)` and returns lists of maps, a list
    for each scale. In training mode it also takes `mutable=["spectral"]`, and then returns `(lists, {"spectral": tree})`.
    """
    r = 2 ** doublings(config)  # no parameter depends on the size, and the smallest is the quickest
    maps = lambda channels: (jnp.zeros((2, r, r, channels)), None)
    g = make_net(Generator(config, axis_name), maps(config.in_channels))
    d = make_net(Discriminator(config), maps(config.in_channels + config.channels), features="features")
    by_layer = [tuple(layer_name(scale, i) for scale in range(config.d_scales)) for i in range(config.d_layers + 1)]
    d_blocks = tuple(name for names in by_layer[:-1] for name in names)
    return Pair(g, d, config, d_blocks, ("stem", *widths(config)), by_layer[-1][::-1])
