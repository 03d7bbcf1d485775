"""RelGAN's pair (Nie et al., 2019): a relational memory (Santoro et al., 2018) that writes, and convolutions that judge.

The memory attends to itself and to the token that comes in; gates mix the result with what it was. D has several embeddings
of the tokens, each of which is scored by the same convolutions.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import RelGANConfig
from gan_jax.nets.attention import Cache, Heads, Norm, Table, attend
from gan_jax.nets.build import Pair, make_net
from gan_jax.nets.layers import Dense, at_least_float32
from gan_jax.nets.text_cnn import around_zero, read_by_filters
from gan_jax.nets.texts import Text, example_text

FORGET_BIAS = 1.0  # of the gate that keeps the memory, at the start


class Memory(nn.Module):
    """A relational memory: `(memory [B, S, M], token [B, E])` -> the next memory."""

    config: RelGANConfig

    @nn.compact
    def __call__(self, memory: jax.Array, x: jax.Array) -> jax.Array:
        c = self.config
        width = c.heads * c.head_size
        x = Dense(features=width, dtype=c.dtype, name="input")(x)[:, None]
        both = jnp.concatenate([memory, at_least_float32(x)], 1)
        parts = [Heads(c.heads, c.head_size, c.dtype, name=name)(both) for name in ("query", "key", "value")]
        joined = Norm(1e-6, name="norm0")(jnp.stack(parts, 2).reshape(*both.shape[:2], -1))  # one norm over all three
        query, key, value = jnp.moveaxis(joined.reshape(*both.shape[:2], 3, c.heads, c.head_size), 2, 0)
        attended = attend(query[:, : c.slots], key, value, jnp.ones((len(x), 1, c.slots, c.slots + 1), bool))
        h = Norm(1e-6, name="norm1")(memory + at_least_float32(attended.reshape(memory.shape)))
        mlp = h
        for i in range(c.mlp_layers):
            mlp = Dense(features=width, dtype=c.dtype, name=f"mlp{i}")(nn.relu(mlp) if i else mlp)
        h = Norm(1e-6, name="norm2")(h + at_least_float32(mlp))
        gates = Dense(features=2 * width, dtype=c.dtype, name="gate_input")(x)
        gates += Dense(features=2 * width, dtype=c.dtype, bias=False, name="gate_memory")(jnp.tanh(memory))
        take, keep = jnp.split(at_least_float32(gates), 2, -1)
        return nn.sigmoid(take) * jnp.tanh(h) + nn.sigmoid(keep + FORGET_BIAS) * memory


class Generator(nn.Module):
    """Texts `{"tokens": [B, T], "mask": [B, T]}` -> logits `[B, T, V]` float32 of the token after each of theirs."""

    config: RelGANConfig

    def setup(self) -> None:
        """Makes the parts."""
        c = self.config
        self.embed = Table(c.vocab, c.embedding, c.dtype, nn.initializers.normal(1.0))
        self.memory = Memory(c)
        self.head = Dense(features=c.vocab, dtype=c.dtype)

    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        memories, _ = self._read(text["tokens"], text["mask"], self._empty(len(text["mask"])))
        return self._logits(memories)

    def begin(self, text: Text, room: int) -> tuple[jax.Array, Cache]:
        """Reads prompts: the logits `[B, V]` of the token after each, and the memory, whatever the room."""
        _, memory = self._read(text["tokens"], text["mask"], self._empty(len(text["mask"])))
        return self._logits(memory), {"memory": memory}

    def go_on(self, tokens: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Reads one more token of each text, `[B]` ids or `[B, V]` probabilities: logits `[B, V]` and the memory."""
        memory = self.memory(cache["memory"], self.embed(tokens))
        return self._logits(memory), {"memory": memory}

    def _read(self, tokens: jax.Array, mask: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The memory after each token, `[B, T, S, M]`, and after the last; masked places leave it as it is."""

        def step(module: Memory, memory: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            x, kept = row
            memory = jnp.where(kept[:, None, None], module(memory, x), memory)
            return memory, memory

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        memory, memories = scan(self.memory, memory, (self.embed(tokens), mask))
        return memories, memory

    def _empty(self, batch: int) -> jax.Array:
        """The memory before the first token: slot i holds one in unit i, and zeros."""
        c = self.config
        start = jnp.eye(c.slots, c.heads * c.head_size, dtype=at_least_float32(self.embed.embedding).dtype)
        return jnp.broadcast_to(start, (batch, *start.shape))

    def _logits(self, memory: jax.Array) -> jax.Array:
        return at_least_float32(self.head(memory.reshape(*memory.shape[:-2], -1)))


class Discriminator(nn.Module):
    """Texts `{"tokens": [B, T] or [B, T, V], "mask": [B, T]}` -> scores `[B, d_representations]`, one by each embedding."""

    config: RelGANConfig

    @nn.compact
    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        c, init = self.config, nn.initializers.truncated_normal(0.1)
        x = Table(c.vocab, c.d_embedding, c.dtype, around_zero, name="embed")(text["tokens"])
        x = x.reshape(*x.shape[:2], c.d_representations, -1)
        h = read_by_filters(c, x, text["mask"], init, keys if train else None)
        h = Dense(features=c.d_hidden, init_kernel=init, dtype=c.dtype, name="hidden")(h)
        return Dense(features=1, init_kernel=init, name="head")(at_least_float32(h))[..., 0]


def make(config: RelGANConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration; there are no batch statistics."""
    text = (example_text(config), None)
    g = make_net(Generator(config), text, begin="begin", go_on="go_on")
    d = make_net(Discriminator(config), text, draws=True)
    inner = tuple(f"filters{size}" for size, _ in config.d_filters)
    return Pair(g, d, config, ("embed", *inner, "highway"), ("embed", "memory"), ("hidden", "head"))
