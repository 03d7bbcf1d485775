"""Transformers of texts: a decoder as GPT-2 for G, and an encoder as BERT or RoBERTa for D.

(Radford et al., 2019; Devlin et al., 2018; Liu et al., 2019.) The encoder and its head are in `nets.encoder`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import TransformerConfig
from gan_jax.nets import encoder
from gan_jax.nets.attention import DEVIATION, Block, Cache, Norm, Table, dropped
from gan_jax.nets.build import Pair, example_inputs, make_net
from gan_jax.nets.layers import Dense, at_least_float32
from gan_jax.nets.texts import Text, last_of, positions_of


class Generator(nn.Module):
    """Texts `{"tokens": [B, T], "mask": [B, T]}` -> logits `[B, T, V]` float32 of the token after each of theirs.

    With `train` and `keys [B]`, a share of the values behind the embeddings, attention and MLPs is dropped.
    """

    config: TransformerConfig

    def setup(self) -> None:
        """Makes the parts."""
        c = self.config
        size, mlp = c.g_sizes
        self.embed = Table(c.vocab, c.width, c.dtype)
        self.places = Table(c.positions, c.width, c.dtype, nn.initializers.normal(DEVIATION / 2))
        self.blocks = [
            Block(
                c.width, c.heads, size, mlp, c.activation, c.epsilon, before=True, layer=i, depth=c.layers,
                dropout=c.dropout, dtype=c.dtype, name=f"block{i}",
            )
            for i in range(c.layers)
        ]  # fmt: skip
        self.norm = Norm(c.epsilon)
        if not c.tied:
            self.head = Dense(
                features=c.vocab, bias=False, init_kernel=nn.initializers.normal(DEVIATION), dtype=c.dtype
            )

    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        keys = keys if train else None
        mask = text["mask"]
        places = jnp.arange(mask.shape[1])
        seen = (places[None, :] <= places[:, None])[None, None] & mask[:, None, None, :]
        h = dropped(self.embed(text["tokens"]) + self.places(positions_of(text)), self.config.dropout, keys, 0)
        for block in self.blocks:
            h = block(h, seen, keys)
        return self._logits(h)

    def begin(self, text: Text, room: int) -> tuple[jax.Array, Cache]:
        """Reads prompts: the logits `[B, V]` of the token after each, and a cache with room for further tokens.

        Args:
          text: of at least one token each.
          room: most tokens that follow.
        """
        mask, positions = text["mask"], positions_of(text)
        length = mask.shape[1]
        whole = jnp.pad(mask, ((0, 0), (0, room)))
        places = jnp.arange(length)
        seen = (places[None, :] <= places[:, None])[None, None] & mask[:, None, None, :]
        h, caches = self.embed(text["tokens"]) + self.places(positions), []
        for block in self.blocks:
            h, cache = block.begin(h, seen, room)
            caches.append(cache)
        last = last_of(mask)
        h = jnp.take_along_axis(h, last[:, None, None], 1)
        following = jnp.take_along_axis(positions, last[:, None], 1)[:, 0] + 1
        return self._logits(h)[:, 0], {"blocks": caches, "mask": whole, "next": following, "place": jnp.int32(length)}

    def go_on(self, tokens: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Reads one more token of each text, `[B]` ids or `[B, V]` probabilities: logits `[B, V]` and the cache."""
        place, following = cache["place"], cache["next"]
        mask = cache["mask"].at[:, place].set(True)
        h, caches = self.embed(tokens) + self.places(following), []
        for block, old in zip(self.blocks, cache["blocks"]):
            h, new = block.go_on(h, mask, old, place)
            caches.append(new)
        return self._logits(h), {"blocks": caches, "mask": mask, "next": following + 1, "place": place + 1}

    def _logits(self, h: jax.Array) -> jax.Array:
        h = self.norm(h)
        return at_least_float32(self.embed.scores(h) if self.config.tied else self.head(h))


def make(config: TransformerConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration; there are no batch statistics."""
    of_g, of_d = example_inputs(config)
    g = make_net(Generator(config), of_g, draws=True, begin="begin", go_on="go_on")
    d = make_net(encoder.Discriminator(config), of_d, draws=True, hidden="hidden")
    d_blocks = ("embed", *(f"block{i}" for i in range(config.d_layers)))
    g_blocks = ("embed", *(f"block{i}" for i in range(config.layers)))
    return Pair(g, d, config, d_blocks, g_blocks, ("head",) if config.d_per_token else ("pool", "head"))
