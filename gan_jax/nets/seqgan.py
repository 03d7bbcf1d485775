"""SeqGAN's pair: an LSTM that writes, and convolutions, or an LSTM as ScratchGAN's, that judge.

(Yu et al., 2017; de Masson d'Autume et al., 2019.)
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.config import SeqGANConfig
from gan_jax.nets.attention import Cache, Norm, Table, dropped
from gan_jax.nets.build import Pair, make_net
from gan_jax.nets.layers import Dense, at_least_float32
from gan_jax.nets.recurrent import LSTM
from gan_jax.nets.text_cnn import around_zero, read_by_filters
from gan_jax.nets.texts import Text, example_text


class Generator(nn.Module):
    """Texts `{"tokens": [B, T], "mask": [B, T]}` -> logits `[B, T, V]` float32 of the token after each of theirs."""

    config: SeqGANConfig

    def setup(self) -> None:
        """Makes the parts."""
        c = self.config
        init = nn.initializers.normal(c.deviation)
        self.embed = Table(c.vocab, c.embedding, c.dtype, init)
        self.lstm = [LSTM(c.width, init, c.dtype, name=f"lstm{i}") for i in range(c.layers)]
        self.head = Dense(features=c.vocab, init_kernel=init, dtype=c.dtype)

    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        h = self.embed(text["tokens"])
        for layer in self.lstm:
            h = layer(h, text["mask"])
        return at_least_float32(self.head(h))

    def begin(self, text: Text, room: int) -> tuple[jax.Array, Cache]:
        """Reads prompts: the logits `[B, V]` of the token after each, and the states, whatever the room."""
        return self._read(self.embed(text["tokens"]), text["mask"], [None] * len(self.lstm))

    def go_on(self, tokens: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Reads one more token of each text, `[B]` ids or `[B, V]` probabilities: logits `[B, V]` and the states."""
        return self._read(self.embed(tokens)[:, None], jnp.ones((len(tokens), 1), bool), cache["states"])

    def _read(self, h: jax.Array, mask: jax.Array, states: list) -> tuple[jax.Array, Cache]:
        new = []
        for layer, state in zip(self.lstm, states):
            h, state = layer.run(h, mask, state)
            new.append(state)
        return at_least_float32(self.head(new[-1][1])), {"states": new}


class TextCNN(nn.Module):
    """Texts `{"tokens": [B, T] or [B, T, V], "mask": [B, T]}` -> scores `[B, d_logits]`."""

    config: SeqGANConfig

    @nn.compact
    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        c, init = self.config, nn.initializers.truncated_normal(0.1)
        x = Table(c.vocab, c.d_embedding, c.dtype, around_zero, name="embed")(text["tokens"])
        h = read_by_filters(c, x, text["mask"], init, keys if train else None)
        return Dense(features=c.d_logits, init_kernel=init, name="head")(at_least_float32(h))


class TokenJudge(nn.Module):
    """Texts `{"tokens": [B, T] or [B, T, V], "mask": [B, T]}` -> scores `[B, T, d_logits]`, each of the text up to there."""

    config: SeqGANConfig

    @nn.compact
    def __call__(
        self, text: Text, labels: jax.Array | None = None, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        c, init = self.config, nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        keys = keys if train else None
        h = dropped(Table(c.vocab, c.d_embedding, c.dtype, name="embed")(text["tokens"]), c.d_dropout, keys, 0)
        for i in range(c.d_layers):
            h = LSTM(c.d_width, init, c.dtype, name=f"lstm{i}")(h, text["mask"])
            h = dropped(Norm(1e-5, name=f"norm{i}")(h), c.d_dropout, keys, i + 1)
        return Dense(features=c.d_logits, init_kernel=init, name="head")(h)


def make(config: SeqGANConfig, axis_name: str | None) -> Pair:
    """The pair of a configuration; there are no batch statistics."""
    text = (example_text(config), None)
    g = make_net(Generator(config), text, begin="begin", go_on="go_on")
    judge, inner = {
        "cnn": (TextCNN, (*(f"filters{size}" for size, _ in config.d_filters), "highway")),
        "lstm": (TokenJudge, tuple(f"{part}{i}" for i in range(config.d_layers) for part in ("lstm", "norm"))),
    }[config.d_kind]
    d = make_net(judge(config), text, draws=True)
    return Pair(g, d, config, ("embed", *inner), ("embed", *(f"lstm{i}" for i in range(config.layers))), ("head",))
