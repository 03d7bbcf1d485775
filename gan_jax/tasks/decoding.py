"""How the next token is chosen of a generator's logits: temperature, filters, and the draw itself.

The filters come in this order: penalty of repetitions, temperature, top-k, top-p on what top-k left, min-p. What they drop has
the logit -inf, and so a probability of exactly zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How the next token is chosen.

    Attributes:
      temperature: what logits are divided by; below 1 likely tokens become likelier.
      top_k: only so many of the likeliest tokens can be chosen, and those as likely as the last of them; None = all.
      top_p: only the smallest set of tokens whose probabilities sum to at least this (nucleus sampling, Holtzman et al.,
        2020); of equally likely ones at its end those with the lowest ids; None = all.
      min_p: only tokens at least this many times as likely as the likeliest; None = all.
      repetition_penalty: logits of tokens that the text has already are divided by this where positive, and multiplied where
        negative (Keskar et al., 2019); 1 = none.
      greedy: whether the likeliest token is always chosen.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    greedy: bool = False

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
          ValueError: names all that are wrong.
        """
        if problems := [*self.problems()]:
            raise ValueError("; ".join(problems))

    def problems(self) -> Iterator[str]:
        """Yields a sentence for each value that is none."""
        for name in ("temperature", "repetition_penalty"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                also = "; for the likeliest token use greedy" if name == "temperature" and value == 0 else ""
                yield f"{name} is {value:g}; use a number above 0{also}"
        if self.top_k is not None and self.top_k < 1:
            yield f"top_k is {self.top_k}; use at least 1, or None for all tokens"
        if self.top_p is not None and not 0 < self.top_p <= 1:
            yield f"top_p is {self.top_p:g}; use a share above 0 and up to 1, or None for all tokens"
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            yield f"min_p is {self.min_p:g}; use a share from 0 to 1, or None for all tokens"

    @property
    def remembers(self) -> bool:
        """Whether it matters which tokens a text has already."""
        return self.repetition_penalty != 1


def filtered(logits: jax.Array, decoding: Decoding, seen: jax.Array | None = None) -> jax.Array:
    """Logits `[B, V]` after temperature and filters: -inf where a token cannot be chosen.

    Args:
      logits: `[B, V]`, at least float32.
      decoding: the filters.
      seen: `[B, V]` bool, which tokens a text has already; only for the penalty of repetitions.
    """
    if decoding.remembers and seen is not None:
        penalised = jnp.where(logits > 0, logits / decoding.repetition_penalty, logits * decoding.repetition_penalty)
        logits = jnp.where(seen, penalised, logits)
    if decoding.temperature != 1:
        logits = logits / decoding.temperature
    if decoding.top_k is not None and decoding.top_k < logits.shape[-1]:
        last = jax.lax.top_k(logits, decoding.top_k)[0][:, -1:]
        logits = _kept(logits, logits >= last)
    if decoding.top_p is not None and decoding.top_p < 1:
        logits = _kept(logits, in_nucleus(logits, decoding.top_p))
    if decoding.min_p:
        logits = _kept(logits, logits >= logits.max(-1, keepdims=True) + math.log(decoding.min_p))
    return logits


def _kept(logits: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.where(mask, logits, jnp.array(-jnp.inf, logits.dtype))


def in_nucleus(logits: jax.Array, share: float) -> jax.Array:
    """Whether each token `[B, V]` is in the smallest set whose probabilities sum to at least a share, 0 < share < 1.

    The smallest probability of the set is found by halving the interval of the numbers that a float can be. That takes 32
    sums, which are many times faster on CPUs than the order of a large vocabulary.
    """
    weights = jnp.exp((logits - logits.max(-1, keepdims=True)).astype(jnp.float32))  # the likeliest has 1
    bits = jax.lax.bitcast_convert_type(weights, jnp.int32)  # the order of floats from 0 up is that of their bits
    need = share * weights.sum(-1)
    mass = lambda least: jnp.where(bits >= least[:, None], weights, 0.0).sum(-1)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends  # the set from `low` on is large enough, that from `high` on is not
        middle = low + (high - low) // 2
        enough = mass(middle) >= need
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    one = jnp.full(need.shape, jax.lax.bitcast_convert_type(jnp.float32(1), jnp.int32))
    last, _ = jax.lax.fori_loop(0, 31, halve, (jnp.zeros_like(one), one + 1))
    last = last[:, None]
    tied = bits == last
    above = jnp.where(bits > last, weights, 0.0).sum(-1)
    value = jax.lax.bitcast_convert_type(last[:, 0], jnp.float32)
    count = jnp.ceil((need - above) / jnp.maximum(value, jnp.finfo(jnp.float32).tiny))
    # the order among ties, only where there are more than needed: a sum over the vocabulary is slow
    first = lambda: tied & (jnp.cumsum(tied, -1, dtype=jnp.int32) <= count.astype(jnp.int32)[:, None])
    many = (tied.sum(-1, dtype=jnp.int32).astype(jnp.float32) > count).any()
    return (bits > last) | jax.lax.cond(many, first, lambda: tied)


def drawn(logits: jax.Array, keys: jax.Array) -> jax.Array:
    """One token `[B]` int32 of each row of logits `[B, V]`, by its own key.

    A group of tokens is drawn first, by the mass of each, and then one of the group's, each by the Gumbel-max trick: the
    probabilities are exactly those of the logits, and few numbers are drawn.
    """
    vocab = logits.shape[-1]
    size = max(math.isqrt(vocab), 1)
    rest = -vocab % size
    groups = jnp.pad(logits, ((0, 0), (0, rest)), constant_values=-jnp.inf).reshape(len(logits), -1, size)
    masses = jax.nn.logsumexp(groups, -1)

    def one(key: jax.Array, masses: jax.Array, groups: jax.Array) -> jax.Array:
        noise = jax.random.gumbel(key, (masses.size + size,), masses.dtype)
        group = jnp.argmax(masses + noise[: masses.size]).astype(jnp.int32)
        return group * size + jnp.argmax(groups[group] + noise[masses.size :]).astype(jnp.int32)

    return jax.vmap(one)(keys, masses, groups)
