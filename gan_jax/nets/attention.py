"""Self-attention over the positions of a feature map."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.layers import Conv, Initializer, at_least_float32


class Attention(nn.Module):
    """Computes x + gamma * attention over all positions: `[N, H, W, C]` -> the same (Zhang et al., SAGAN, 2019).

    Keys and values are max-pooled to half the height and width. Scores are not divided by the root of the key size.
    """

    spectral: bool
    init_kernel: Initializer
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        n, h, w, c = x.shape
        options = {"spectral": self.spectral, "init_kernel": self.init_kernel, "dtype": self.dtype}
        conv = lambda name, features: Conv(features=features, size=1, bias=False, refine=True, name=name, **options)

        def pooled(y: jax.Array) -> jax.Array:
            return y.reshape(n, h // 2, 2, w // 2, 2, -1).max((2, 4)).reshape(n, h * w // 4, -1)

        key_size, value_size = attention_widths(c)
        query = conv("theta", key_size)(x, train).reshape(n, h * w, -1)
        key = pooled(conv("phi", key_size)(x, train))
        value = pooled(conv("g", value_size)(x, train))
        logits = jnp.einsum("nqc,nkc->nqk", at_least_float32(query), at_least_float32(key))
        attended = jnp.einsum("nqk,nkc->nqc", jax.nn.softmax(logits, axis=-1).astype(value.dtype), value)
        y = conv("o", c)(attended.reshape(n, h, w, -1), train)
        return x + self.param("gamma", nn.initializers.zeros, ()).astype(x.dtype) * y


def attention_widths(features: int) -> tuple[int, int]:
    """Returns the widths (keys, values): an eighth and a half of the channels, at least one."""
    return max(1, features // 8), max(1, features // 2)
