"""Texts as networks read them: `{"tokens": [B, T] int32, "mask": [B, T] bool}`, padded on the left or on the right.

In place of ids, `tokens` may be probabilities `[B, T, V]`, as generators make them for discriminators (Gumbel-softmax,
straight-through). Further entries, which may be absent: `positions [B, T]`, in place of those that the mask counts, and `types
[B, T]`, the kinds of tokens that BERT tells apart. What stands at masked places changes nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import TextFamily

Text = Mapping[str, jax.Array]


def example_text(config: TextFamily) -> dict[str, jax.Array]:
    """A batch of two texts of one token, to make variables with."""
    return {"tokens": jnp.zeros((2, 1), jnp.int32), "mask": jnp.ones((2, 1), bool)}


def positions_of(text: Text) -> jax.Array:
    """The positions `[B, T]` int32 of the tokens, counted from the first that is not masked; 0 before it."""
    if "positions" in text:
        return text["positions"]
    return jnp.maximum(jnp.cumsum(text["mask"], 1, dtype=jnp.int32) - 1, 0)


def last_of(mask: jax.Array) -> jax.Array:
    """The index `[B]` of each text's last token."""
    return mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], 1)


def lengths_of(mask: jax.Array) -> jax.Array:
    """The number `[B]` int32 of each text's tokens."""
    return mask.sum(1, dtype=jnp.int32)


def right_padded(tokens: Any, lengths: Any) -> dict[str, jax.Array]:
    """The texts whose first `lengths [B]` of `tokens [B, T]` are theirs."""
    tokens = jnp.asarray(tokens)
    return {"tokens": tokens, "mask": jnp.arange(tokens.shape[1])[None] < jnp.asarray(lengths)[:, None]}


def left_padded(text: Text) -> dict[str, jax.Array]:
    """Texts with their tokens moved to the right end, padded on the left, `tokens` and `mask` alone.

    Args:
      text: ids `[B, T]`, padded on either side.
    """
    mask = text["mask"]
    size = mask.shape[1]
    places = jnp.arange(size)[None] - (size - 1 - last_of(mask))[:, None]  # where each comes from
    tokens = jnp.take_along_axis(text["tokens"], places % size, 1)
    return {"tokens": tokens, "mask": jnp.take_along_axis(mask, places % size, 1)}


def shifted_left(text: Text) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """What a generator reads of texts, and what it is to say next: all tokens but the last, and all but the first."""
    return (
        {name: values[:, :-1] for name, values in text.items()},
        {name: values[:, 1:] for name, values in text.items()},
    )
