"""LSTMs over the tokens of texts.

Kernels have an axis of the four gates, in the order input, forget, output, cell: `read [I, 4, H]` of what comes in, `again [H, 4,
H]` of the hidden state, `bias [4, H]`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.nets.layers import Initializer, at_least_float32

State = tuple[jax.Array, jax.Array]  # cell and hidden state, each [B, H] float32


class LSTM(nn.Module):
    """A layer of an LSTM: `[B, T, I]` -> hidden states `[B, T, features]`, float32. Masked places leave the state as it is."""

    features: int
    init_kernel: Initializer
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, state: State | None = None) -> jax.Array:
        return self.run(x, mask, state)[0]

    @nn.compact
    def run(self, x: jax.Array, mask: jax.Array, state: State | None = None) -> tuple[jax.Array, State]:
        """The hidden states, and the state after the last token."""
        width, h = x.shape[-1], self.features
        read = self.param("read", self.init_kernel, (width, 4, h))
        again = self.param("again", self.init_kernel, (h, 4, h))
        bias = self.param("bias", nn.initializers.zeros, (4, h))
        dtype = self.dtype or read.dtype
        read, again = read.astype(dtype).reshape(width, -1), again.astype(dtype).reshape(h, -1)
        gates = at_least_float32(x.astype(dtype) @ read) + bias.reshape(1, 1, -1)
        zeros = jnp.zeros((len(x), h), gates.dtype)

        def step(state: State, row: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            (cell, hidden), (gates, kept) = state, row
            gates += at_least_float32(hidden.astype(dtype) @ again)
            i, f, o, g = jnp.split(gates, 4, axis=-1)
            new = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            cell = jnp.where(kept[:, None], new, cell)
            hidden = jnp.where(kept[:, None], nn.sigmoid(o) * jnp.tanh(new), hidden)
            return (cell, hidden), hidden

        state, hidden = jax.lax.scan(step, (zeros, zeros) if state is None else state, (gates.swapaxes(0, 1), mask.T))
        return hidden.swapaxes(0, 1), state
