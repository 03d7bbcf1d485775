"""Blocks of transformers: attention with several heads, an MLP, layer norms; and tables of embeddings.

Kernels of attention have an axis of heads: `query/kernel [W, H, S]`, `out/kernel [H, S, W]` for hidden states of width W and
H heads of size S.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.layers import Dense, Initializer, at_least_float32
from gan_jax.random_streams import DROPOUT_KEY

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_new": lambda x: nn.gelu(x, approximate=True),
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "relu": nn.relu,
}
DEVIATION = 0.02  # of new kernels and tables, in GPT-2 and BERT
Cache = dict[str, Any]


def dropped(x: jax.Array, rate: float, keys: jax.Array | None, layer: int) -> jax.Array:
    """`[B, ..]` with a share of the values at zero and the others scaled up, by the key of each example; None = as it is."""
    if keys is None or not rate:
        return x

    def one(key: jax.Array, row: jax.Array) -> jax.Array:
        kept = jax.random.bernoulli(jax.random.fold_in(key, DROPOUT_KEY + layer), 1 - rate, row.shape)
        return jnp.where(kept, row / (1 - rate), jnp.zeros((), row.dtype))

    return jax.vmap(one)(keys, x)


class Table(nn.Module):
    """A table `[rows, features]`: ids `[..] int32` -> its rows `[.., features]`, or probabilities `[.., rows]` -> their means."""

    rows: int
    features: int
    dtype: Any = None
    init_table: Initializer = nn.initializers.normal(DEVIATION)

    def setup(self) -> None:
        """Makes the table."""
        self.embedding = self.param("embedding", self.init_table, (self.rows, self.features))

    def _cast(self) -> jax.Array:
        return jnp.asarray(
            self.embedding, self.dtype or self.embedding.dtype
        )  # also of NumPy's, which tracers cannot index

    def __call__(self, ids: jax.Array) -> jax.Array:
        table = self._cast()
        if jnp.issubdtype(ids.dtype, jnp.floating):
            return ids.astype(table.dtype) @ table
        return table[ids]

    def scores(self, h: jax.Array) -> jax.Array:
        """Inner products of hidden states `[.., features]` with all rows, `[.., rows]`."""
        table = self._cast()
        return h.astype(table.dtype) @ table.T


class Heads(nn.Module):
    """`[B, T, W]` -> `[B, T, heads, size]`."""

    heads: int
    size: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(DEVIATION), (width, self.heads, self.size))
        bias = self.param("bias", nn.initializers.zeros, (self.heads, self.size))
        dtype = self.dtype or kernel.dtype
        y = x.astype(dtype) @ kernel.astype(dtype).reshape(width, -1)
        return y.reshape(*x.shape[:-1], self.heads, self.size) + bias.astype(dtype)[None, None]


class Merge(nn.Module):
    """`[B, T, heads, size]` -> `[B, T, features]`."""

    features: int
    dtype: Any = None
    init_kernel: Initializer = nn.initializers.normal(DEVIATION)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.init_kernel, (*x.shape[-2:], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        dtype = self.dtype or kernel.dtype
        y = x.reshape(*x.shape[:-2], -1).astype(dtype) @ kernel.astype(dtype).reshape(-1, self.features)
        return y + bias.astype(dtype)[None, None]


class Norm(nn.Module):
    """Normalises the last axis to mean 0 and variance 1, then scales and shifts it; at least float32."""

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        wide = at_least_float32(x)
        wide -= wide.mean(-1, keepdims=True)
        wide *= jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.epsilon)
        ones = (1,) * (x.ndim - 1)
        return (wide * scale.reshape(*ones, -1) + bias.reshape(*ones, -1)).astype(x.dtype)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention `[B, T, H, S]` of queries `[B, T, H, S]` to keys and values `[B, P, H, S]`, where `mask [B, 1, T, P]` is set."""
    if query.dtype == jnp.float64:  # JAX's own function has a softmax of float32
        scores = jnp.einsum("bthd,bphd->bhtp", query, key) / math.sqrt(query.shape[-1])
        shares = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
        return jnp.einsum("bhtp,bphd->bthd", shares, value)
    with jax.numpy_dtype_promotion("standard"):  # it promotes half precision inside
        return jax.nn.dot_product_attention(query, key, value, mask=mask)


def attend_one(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention `[B, H, S]` of one query each `[B, H, S]` to keys and values `[B, H, P, S]`, where `mask [B, P]` is set.

    With the heads before the places its products run over whole rows of memory: on CPUs it takes a tenth of the time of JAX's
    own attention.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bhs,bhps->bhp", query, key, preferred_element_type=wide) / math.sqrt(query.shape[-1])
    shares = jax.nn.softmax(jnp.where(mask[:, None], scores, jnp.finfo(wide).min)).astype(value.dtype)
    return jnp.einsum("bhp,bhps->bhs", shares, value, preferred_element_type=wide).astype(query.dtype)


class Block(nn.Module):
    """Attention and an MLP, each added to what it reads: `[B, T, W]`, mask `[B, 1, T, S]` -> `[B, T, W]`.

    Attributes:
      width, heads, size, mlp: of the hidden states, number and size of the heads, hidden units of the MLP.
      before: whether the norms are on what attention and MLP read (GPT-2), or on the sums (BERT).
      layer: number of the block.
      depth: number of blocks that add to each other, by which the kernels that add are smaller; 0 = they are not.
    """

    width: int
    heads: int
    size: int
    mlp: int
    activation: str
    epsilon: float
    before: bool
    layer: int
    depth: int = 0
    dropout: float = 0.0
    dtype: Any = None

    def setup(self) -> None:
        """Makes the parts."""
        self.query, self.key, self.value = (Heads(self.heads, self.size, self.dtype) for _ in range(3))
        small = nn.initializers.normal(DEVIATION / math.sqrt(2 * self.depth) if self.depth else DEVIATION)
        kernels = nn.initializers.normal(DEVIATION)
        self.out = Merge(self.width, self.dtype, small)
        self.up = Dense(features=self.mlp, init_kernel=kernels, dtype=self.dtype)
        self.down = Dense(features=self.width, init_kernel=small, dtype=self.dtype)
        self.norm1, self.norm2 = Norm(self.epsilon), Norm(self.epsilon)

    def __call__(self, x: jax.Array, mask: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        h = self.norm1(x) if self.before else x
        return self._rest(x, attend(self.query(h), self.key(h), self.value(h), mask), keys)

    def begin(self, x: jax.Array, mask: jax.Array, room: int) -> tuple[jax.Array, Cache]:
        """The same, and a cache of keys and values with places for further tokens: `{"key", "value": [B, H, T + room, size]}`."""
        h = self.norm1(x) if self.before else x
        key, value = self.key(h), self.value(h)
        whole = lambda part: jnp.pad(part.swapaxes(1, 2), ((0, 0), (0, 0), (0, room), (0, 0)))
        return self._rest(x, attend(self.query(h), key, value, mask), None), {"key": whole(key), "value": whole(value)}

    def go_on(self, x: jax.Array, mask: jax.Array, cache: Cache, place: jax.Array) -> tuple[jax.Array, Cache]:
        """The same for one more token of each text, which sees those in the cache.

        Args:
          x: `[B, W]`.
          mask: `[B, S]` over the places of the cache.
          cache: of `begin`.
          place: of the token.
        """
        h = (self.norm1(x) if self.before else x)[:, None]
        put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part.swapaxes(1, 2), place, 2)
        cache = {"key": put(cache["key"], self.key(h)), "value": put(cache["value"], self.value(h))}
        attended = attend_one(self.query(h)[:, 0], cache["key"], cache["value"], mask)
        return self._rest(x[:, None], attended[:, None], None)[:, 0], cache

    def _rest(self, x: jax.Array, attended: jax.Array, keys: jax.Array | None) -> jax.Array:
        drop = lambda h, i: dropped(h, self.dropout, keys, 2 * self.layer + i)
        x += drop(self.out(attended), 1)
        if not self.before:
            x = self.norm1(x)
        h = ACTIVATIONS[self.activation](self.up(self.norm2(x) if self.before else x))
        x += drop(self.down(h), 2)
        return x if self.before else self.norm2(x)
