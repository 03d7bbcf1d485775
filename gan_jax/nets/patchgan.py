"""PatchGAN (Isola et al., 2017), which judges patches of an image by a map of logits, and its variant for pixels.

`d_layers` layers halve the size, and two more 4x4 convolutions follow: with 3 a logit sees 70 px. In CUT's version (Park
et al., 2020) the layers convolve at full size and filters halve it: there a logit sees 84 px.
"""

from __future__ import annotations

import flax.linen as nn
import jax

from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.nets.layers import ConvNorm, PaddedConv, at_least_float32, gan_init

LARGEST = 8  # times the width
SLOPE = 0.2  # of the activations below zero


def widths(config: TranslatorConfig | UNetConfig) -> list[int]:
    """Returns the channels of D's maps: of `from_rgb`, then of `layer1`, `layer2`, .."""
    if config.d_kind == "pixel":
        return [config.d_width, 2 * config.d_width]
    return [config.d_width * min(2**i, LARGEST) for i in range(config.d_layers + 1)]


def blocks(config: TranslatorConfig | UNetConfig) -> tuple[str, ...]:
    """Returns the names of D's layers from the image upwards, without `head`."""
    return ("from_rgb", *(f"layer{i}" for i in range(1, len(widths(config)))))


class Discriminator(nn.Module):
    """Images `[N, H, W, C]`, or both images joined, in [-1, 1] -> a map of logits `[N, h, w, 1]` float32.

    `from_rgb` has a bias and no norm, and all other layers but `head` have a norm, and a bias before instance norm only.
    Of joined images the first `in_channels` are read by `from_rgb/input`, and the image that is judged by `from_rgb/conv`.
    """

    config: TranslatorConfig | UNetConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array | None = None, train: bool = False) -> jax.Array:
        c = self.config
        norm, init = c.d_norm or c.norm, gan_init(c.init)
        patch, smooth = c.d_kind == "patch", isinstance(c, TranslatorConfig) and c.antialias and c.d_kind == "patch"
        size, pad = (4, 1) if patch else (1, 0)
        x, h = None, images
        if images.shape[-1] != (both := c.channels + (c.in_channels if c.d_condition else 0)):
            what = (
                f"{c.in_channels} of what goes in, then {c.channels}" if c.d_condition else "those of the image alone"
            )
            raise ValueError(f"D reads {both} channels, {what}; it was given {images.shape[-1]}")
        if c.d_condition:
            x, h = images[..., : c.in_channels], images[..., c.in_channels :]
        for i, (name, features) in enumerate(zip(blocks(c), widths(c))):
            halves, parts = patch and i < c.d_layers, c.d_condition and i == 0
            whole = gan_init(c.init, size**2, images.shape[-1] + features)
            h = ConvNorm(
                features, size, 2 if halves else 1, pad, norm=norm if i else "none", affine=c.affine, slope=SLOPE,
                smooth=smooth and halves, init_kernel=whole if parts else init, dtype=c.dtype,
                axis_name=self.axis_name, bias=None if i else True, beside="input", name=name,
            )(h, train, x if parts else None)  # fmt: skip
        head = PaddedConv(1, size, 1, pad, bias=patch or norm == "instance", init_kernel=init, name="head")
        return head(at_least_float32(h))
