"""Encoders of texts as BERT and RoBERTa, with a head that scores a text or each of its tokens."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import TransformerConfig
from gan_jax.nets.attention import DEVIATION, Block, Norm, Table, dropped
from gan_jax.nets.layers import Dense, at_least_float32
from gan_jax.nets.texts import Text, positions_of


class Discriminator(nn.Module):
    """Texts `{"tokens": [B, T] or [B, T, V], "mask": [B, T]}` -> scores `[B, d_logits]`, or `[B, T, d_logits]`.

    A text is scored by the hidden state of its first token, through a layer with a tanh: the pooler of BERT, the inner layer of
    RoBERTa's classifier. It is padded on the right. With `train` and `keys [B]` a share of the values is dropped.
    """

    config: TransformerConfig

    def setup(self) -> None:
        """Makes the parts."""
        c = self.config
        size, mlp = c.d_sizes
        self.embed = Table(c.d_vocab or c.vocab, c.d_width, c.dtype)
        self.places = Table(c.d_positions, c.d_width, c.dtype)
        self.types = Table(c.d_types, c.d_width, c.dtype)
        self.norm = Norm(c.d_epsilon)
        self.blocks = [
            Block(
                c.d_width, c.d_heads, size, mlp, c.d_activation, c.d_epsilon, before=False, layer=i, dropout=c.d_dropout,
                dtype=c.dtype, name=f"block{i}",
            )
            for i in range(c.d_layers)
        ]  # fmt: skip
        kernels = nn.initializers.normal(DEVIATION)
        if not c.d_per_token:
            self.pool = Dense(features=c.d_width, init_kernel=kernels, dtype=c.dtype)
        self.head = Dense(features=c.d_logits, init_kernel=kernels)

    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        keys = keys if train else None
        h = self.hidden(text, keys)
        drop = lambda values, i: dropped(values, self.config.d_dropout, keys, 2 * self.config.d_layers + i)
        if self.config.d_per_token:
            return self.head(at_least_float32(drop(h, 1)))
        h = h[:, 0] if self.config.d_kind == "bert" else drop(h[:, 0], 1)
        return self.head(at_least_float32(drop(nn.tanh(self.pool(h)), 2)))

    def hidden(self, text: Text, keys: jax.Array | None = None) -> jax.Array:
        """The last hidden states `[B, T, W]`."""
        places = positions_of(text) + (0 if "positions" in text else self.config.d_first)
        types = text.get("types", jnp.zeros(text["mask"].shape, jnp.int32))
        h = self.norm(self.embed(text["tokens"]) + self.places(places) + self.types(types))
        h = dropped(h, self.config.d_dropout, keys, 0)
        for block in self.blocks:
            h = block(h, text["mask"][:, None, None, :], keys)
        return h
