"""StyleGAN2 (Karras et al., 2020) and its ADA version."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import StyleGAN2Config
from gan_jax.nets.build import Pair, example_inputs, make_net
from gan_jax.nets.conv import conv
from gan_jax.nets.layers import NORMAL, EqualisedConv, EqualisedDense, at_least_float32, lrelu, needed, unit_rms
from gan_jax.nets.resample import conv_up3, downsample, upsample
from gan_jax.random_streams import MIXING_KEY, NOISE_KEY, SECOND_LATENT_KEY
from gan_jax.reserved import MINED

# ----------------------------------------------------------------------------------------------------------------------
# The generator: mapping and skip synthesis.
#
# Blocks and their leaves are named by resolution. The style scales the activations before the convolution, and the
# demodulation scales them after it. So all examples share one kernel: the result equals that of a kernel per example, by a
# plain convolution on every accelerator.

W_AVG_BETA = 0.995  # of the moving average of w, for each update; the value of the ADA code


def widths(config: StyleGAN2Config) -> dict[int, int]:
    """Returns the channels at every resolution from 4 px: `min(channel_base / r, channel_max)`."""
    sizes = [2**i for i in range(2, config.resolution.bit_length())]
    return {r: min(config.channel_base // r, config.channel_max) for r in sizes}


def num_ws(config: StyleGAN2Config) -> int:
    """Returns the number of style vectors of an image: one for each convolution, one for the last to_rgb."""
    return 2 * len(widths(config))


def dtype_at(config: StyleGAN2Config, r: int) -> str:
    """Returns the compute dtype at a resolution: the configuration's at the highest resolutions, else float32.

    At 4 px it is float32. A configured dtype of at least float32 is used everywhere.
    """
    lower = jnp.dtype(config.dtype).itemsize < 4
    return "float32" if lower and r <= max(4, config.resolution >> config.low_precision) else config.dtype


class Mapping(nn.Module):
    """Latents `[N, z_dim]` (or none) and labels `[N]` -> `w [N, features]`."""

    features: int
    layers: int
    num_classes: int = 0
    lr_mul: float = 0.01
    w_avg: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array | None, labels: jax.Array | None, train: bool = False) -> jax.Array:
        parts = [] if z is None else [unit_rms(at_least_float32(z))]
        if self.num_classes:
            rows = jax.nn.one_hot(needed(labels), self.num_classes)
            parts.append(unit_rms(EqualisedDense(self.features, name="embed")(rows)))
        w = jnp.concatenate(parts, axis=-1)
        for i in range(self.layers):
            w = EqualisedDense(self.features, self.lr_mul, activate=True, name=f"fc{i}")(w)
        if self.w_avg:
            average = self.variable("moving", "w_avg", jnp.zeros, (self.features,))
            if train and not self.is_initializing():
                mean = jax.lax.stop_gradient(w).mean(0)
                mean = mean if self.axis_name is None else jax.lax.pmean(mean, self.axis_name)
                average.value = mean + W_AVG_BETA * (average.value - mean)
        return w


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: `[N, H, W, I]`, `w [N, w_dim]` -> `[N, H', W', features]`."""

    features: int
    up: bool
    clamp: float | None
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, noise: jax.Array | None) -> jax.Array:
        styles = EqualisedDense(x.shape[-1], bias_init=1.0, name="affine")(w)
        kernel = self.param("kernel", NORMAL, (3, 3, x.shape[-1], self.features))
        if self.dtype == "bfloat16":  # the demodulation cancels any scale per filter and per image
            peak = jnp.abs(kernel).max((0, 1, 2), keepdims=True) * math.sqrt(kernel[..., 0].size)
            kernel, styles = kernel / peak, styles / jnp.abs(styles).max(-1, keepdims=True)
        demodulation = jax.lax.rsqrt(jnp.square(styles) @ jnp.square(kernel).sum((0, 1)) + 1e-8)
        y = x.astype(self.dtype) * styles.astype(self.dtype)[:, None, None, :]
        y = conv_up3(y, kernel.astype(self.dtype)) if self.up else conv(y, kernel.astype(self.dtype))
        y = y * demodulation.astype(self.dtype)[:, None, None, :]
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        constant = self.variable("constants", "noise", self._draw, y.shape[1:3])
        grid = constant.value[None] if noise is None else noise
        y += (grid * strength).astype(self.dtype)[..., None]
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return lrelu(y + bias.astype(self.dtype)[None, None, None, :], clamp=self.clamp)

    def _draw(self, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(self.make_rng("params"), shape)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation: `[N, H, W, I]`, `w` -> `[N, H, W, channels]` float32."""

    channels: int
    clamp: float | None
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        styles = EqualisedDense(x.shape[-1], bias_init=1.0, name="affine")(w) / math.sqrt(x.shape[-1])
        kernel = self.param("kernel", NORMAL, (1, 1, x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        y = conv(x.astype(self.dtype) * styles.astype(self.dtype)[:, None, None, :], kernel.astype(self.dtype))
        y += bias.astype(self.dtype)[None, None, None, :]
        return at_least_float32(y if self.clamp is None else jnp.clip(y, -self.clamp, self.clamp))


class Block(nn.Module):
    """All layers of a resolution: features and image of the previous one -> features and image at this one."""

    config: StyleGAN2Config
    r: int

    @nn.compact
    def __call__(
        self, x: jax.Array | None, image: jax.Array | None, ws: jax.Array, noise: list[jax.Array | None]
    ) -> tuple[jax.Array, jax.Array]:
        c, features = self.config, widths(self.config)[self.r]
        styled = lambda name, up: StyledConv(features, up, c.clamp, dtype_at(c, self.r), name=name)
        if x is None:
            const = self.param("const", NORMAL, (4, 4, features))[None]
            const = const + self.get_variable(MINED, "const") if self.has_variable(MINED, "const") else const
            x = jnp.broadcast_to(const, (ws.shape[0], 4, 4, features))
        else:
            x = styled("conv0", True)(x, ws[:, 0], noise[0])
        x = styled("conv1", False)(x, ws[:, -2], noise[-1])
        rgb = ToRGB(c.channels, c.clamp, dtype_at(c, self.r), name="to_rgb")(x, ws[:, -1])
        return x, rgb if image is None else upsample(image) + rgb


class Synthesis(nn.Module):
    """Styles `[N, num_ws, w_dim]` -> images `[N, r, r, channels]` float32, unbounded: about [-1, 1].

    Noise: with `keys [N]` it is drawn for each example; with `fixed` the stored noise is used; with neither it is zero.
    """

    config: StyleGAN2Config

    @nn.compact
    def __call__(self, ws: jax.Array, keys: jax.Array | None = None, fixed: bool = True) -> jax.Array:
        x, image = None, None
        for i, r in enumerate(widths(self.config)):
            layers = range(max(0, 2 * i - 1), 2 * i + 1)
            noise = [_noise(keys, layer, r, fixed) for layer in layers]
            x, image = Block(self.config, r, name=f"b{r}")(x, image, ws[:, layers[0] : 2 * i + 2], noise)
        assert image is not None
        return image


class Generator(nn.Module):
    """Latents `z [N, z_dim]`, labels `[N]` or None -> images `[N, r, r, channels]` float32."""

    config: StyleGAN2Config
    axis_name: str | None = None

    def setup(self) -> None:
        c = self.config
        self.mapping = Mapping(c.w_dim, c.mapping_layers, c.num_classes, axis_name=self.axis_name)
        self.synthesis = Synthesis(c)

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        keys: jax.Array | None = None,
        mixing: jax.Array | None = None,
    ) -> jax.Array:
        """Generates images; with `train` and `keys [N]` it draws noise and mixes styles with the configured probability.

        `mixing [N]` bool: where False, the image's styles are not mixed.
        """
        keys = keys if train else None
        return self.synthesis(self.styles(z, labels, keys, train, mixing), keys)

    def styles(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        keys: jax.Array | None = None,
        train: bool = False,
        mixing: jax.Array | None = None,
    ) -> jax.Array:
        """Computes `ws [N, num_ws, w_dim]` as in training: mixed if there are `keys [N]`; `train` updates the average w."""
        ws = broadcast(self.mapping(z, labels, train), num_ws(self.config))
        if keys is None or not self.config.style_mixing:
            return ws
        second = lambda key: jax.random.normal(jax.random.fold_in(key, SECOND_LATENT_KEY), z.shape[1:], z.dtype)
        other = broadcast(self.mapping(jax.vmap(second)(keys), labels), ws.shape[1])
        mix = lambda a, b, key: _mixed(a, b, jax.random.fold_in(key, MIXING_KEY), self.config.style_mixing)
        mixed = jax.vmap(mix)(ws, other, keys)
        return mixed if mixing is None else jnp.where(mixing[:, None, None], mixed, ws)

    def map(
        self, z: jax.Array, labels: jax.Array | None = None, psi: float = 1.0, cutoff: int | None = None
    ) -> jax.Array:
        """Computes `ws [N, num_ws, w_dim]`, the first `cutoff` truncated towards the average w by `psi`."""
        ws = broadcast(self.mapping(z, labels), num_ws(self.config))
        average = self.variables["moving"]["mapping"]["w_avg"][None, None]
        near = average + psi * (ws - average)
        return near if cutoff is None else jnp.concatenate([near[:, :cutoff], ws[:, cutoff:]], axis=1)

    def synthesise(self, ws: jax.Array, keys: jax.Array | None = None, fixed: bool = True) -> jax.Array:
        """Generates images from styles; see `Synthesis`."""
        return self.synthesis(ws, keys, fixed)


def broadcast(w: jax.Array, n: int) -> jax.Array:
    """Repeats w for n layers: `[N, w_dim]` -> `[N, n, w_dim]`."""
    return jnp.broadcast_to(w[:, None], (w.shape[0], n, w.shape[1]))


def _mixed(ws: jax.Array, other: jax.Array, key: jax.Array, share: float) -> jax.Array:
    """Mixes styles `[num_ws, w_dim]`: with probability `share`, the other's from a random layer on."""
    chance, where = jax.random.split(key)
    n = ws.shape[0]
    cut = jnp.where(jax.random.uniform(chance) < share, jax.random.randint(where, (), 1, n), n)
    return jnp.where((jnp.arange(n) < cut)[:, None], ws, other)


def _noise(keys: jax.Array | None, layer: int, r: int, fixed: bool) -> jax.Array | None:
    """Returns drawn noise `[N, r, r]`, zeros `[1, r, r]`, or None for the stored noise."""
    if keys is not None:
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, NOISE_KEY + layer), (r, r)))(keys)
    return None if fixed else jnp.zeros((1, r, r))


def make(config: StyleGAN2Config, axis_name: str | None) -> Pair:
    """The pair of a configuration, batch statistics synchronised over the axis."""
    g, d = example_inputs(config)
    generator = make_net(
        Generator(config, axis_name), g, draws=True, map="map", styles="styles", synthesise="synthesise"
    )
    discriminator = make_net(Discriminator(config, axis_name), d)
    blocks = tuple(f"b{r}" for r in reversed(widths(config)))
    g_blocks = ("mapping", *(f"synthesis/{name}" for name in reversed(blocks)))
    head = ("b4/out", "mapping") if config.num_classes else ("b4/out",)
    mixes, group = config.mbstd_group > 0, max(1, config.mbstd_group)
    return Pair(generator, discriminator, config, blocks, g_blocks, head, examples_mix=mixes, d_group=group)


# ----------------------------------------------------------------------------------------------------------------------
# The discriminators: residual (the default), skip, and plain ("orig").

HALF = math.sqrt(0.5)


class DBlock(nn.Module):
    """Features (None in the first block) and image at a resolution -> features at half of it."""

    config: StyleGAN2Config
    r: int

    @nn.compact
    def __call__(self, x: jax.Array | None, images: jax.Array | None) -> jax.Array:
        c, width = self.config, widths(self.config)
        dtype = dtype_at(c, self.r)
        conv = lambda name, features, **options: EqualisedConv(
            features, clamp=c.clamp, dtype=dtype, name=name, **options
        )
        if images is not None:
            rgb = conv("from_rgb", width[self.r], size=1)(images)
            x = rgb if x is None else x + rgb
        assert x is not None
        h = conv("conv0", width[self.r])(x)
        if c.discriminator != "residual":
            return conv("conv1", width[self.r // 2], down=True)(h)
        skip = conv("skip", width[self.r // 2], size=1, down=True, bias=False, activate=False)(x, HALF)
        return skip + conv("conv1", width[self.r // 2], down=True)(h, HALF)


class Epilogue(nn.Module):
    """Features at 4 px -> `[N, features]`, or the logit `[N, 1]` of an unconditional network."""

    config: StyleGAN2Config
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, images: jax.Array | None) -> jax.Array:
        c, features = self.config, widths(self.config)[4]
        x = at_least_float32(x)
        if images is not None:
            x += EqualisedConv(features, size=1, clamp=c.clamp, name="from_rgb")(images)
        if c.mbstd_group:
            x = jnp.concatenate([x, minibatch_stddev(x, c.mbstd_group, self.axis_name)], axis=-1)
        x = EqualisedConv(features, clamp=c.clamp, name="conv")(x)
        x = EqualisedDense(features, activate=True, name="fc")(x.reshape(x.shape[0], -1))
        return EqualisedDense(features if c.num_classes else 1, name="out")(x)


class Discriminator(nn.Module):
    """Images `[N, r, r, channels]` in [-1, 1], labels `[N]` or None -> logits `[N]` float32; above 0 means real."""

    config: StyleGAN2Config
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c, width = self.config, widths(self.config)
        skip, x = c.discriminator == "skip", None
        for r in list(reversed(width))[:-1]:
            x = DBlock(c, r, name=f"b{r}")(x, images if skip or x is None else None)
            images = downsample(images) if skip else images
        assert x is not None
        out = Epilogue(c, self.axis_name, name="b4")(x, images if skip else None)
        if not c.num_classes:
            return out[:, 0]
        embedded = Mapping(width[4], c.d_mapping_layers, c.num_classes, w_avg=False, name="mapping")(None, labels)
        return (out * embedded).sum(-1) / math.sqrt(width[4])


def minibatch_stddev(x: jax.Array, group: int, axis_name: str | None = None) -> jax.Array:
    """`[N, H, W, C]` -> `[N, H, W, 1]`: the deviation of each feature within the example's group, averaged over features.

    With N examples in n = N / group groups, examples i and i + n are in one group, as in the ADA code. Over a mapped axis
    the groups are those of the global batch.
    """
    batch = x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)
    size = min(group, batch.shape[0])
    if batch.shape[0] % size:
        raise ValueError(f"a batch of {batch.shape[0]} does not fall into groups of {size}; change train.batch")
    grouped = batch.reshape(size, -1, *batch.shape[1:])
    spread = jnp.sqrt(jnp.square(grouped - grouped.mean(0, keepdims=True)).mean(0) + 1e-8)
    value = jnp.tile(spread.mean((1, 2, 3)), size)
    if axis_name is not None:
        value = jax.lax.dynamic_slice_in_dim(value, jax.lax.axis_index(axis_name) * x.shape[0], x.shape[0])
    return jnp.broadcast_to(value[:, None, None, None], (*x.shape[:3], 1))
