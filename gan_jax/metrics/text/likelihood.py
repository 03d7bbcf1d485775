"""Negative log-likelihoods of tokens under a language model, summed up: per token, per sequence, perplexity.

With a model trained on samples and tokens of real texts this is reverse perplexity; with tokens of samples and the oracle of
SeqGAN it is NLL_oracle, whose published numbers are per token: the mean over tokens and sequences, in nats.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of sequences, in nats.

    Attributes:
      per_token: mean over all tokens of all sequences; a long sequence counts more.
      per_sequence: mean over sequences of their sums.
      mean_of_sequences: mean over sequences of their means; a long sequence counts like a short one.
      tokens: number of tokens.
      sequences: number of sequences.
    """

    per_token: float
    per_sequence: float
    mean_of_sequences: float
    tokens: int
    sequences: int

    @property
    def perplexity(self) -> float:
        """Exponential of the mean over all tokens, as language models report it."""
        try:
            return math.exp(self.per_token)
        except OverflowError:
            return math.inf


def likelihood(token_nll: Any, mask: Any = None) -> Likelihood:
    """Sums up NLLs of tokens.

    Args:
      token_nll: -log p of each token, natural logarithm: `[N, T]`, or a list of arrays `[T_i]`. Of an impossible token inf.
      mask: `[N, T]`, true or 1 where a token counts; what stands elsewhere is not read. Rows without a token, which fill up a
        last batch, are no sequences. None = all count.

    Raises:
      MetricError: other shapes, NaN, NLLs below 0 (log p instead of -log p?), or no token at all.
    """
    rows = _rows(token_nll, mask)
    lengths = np.array([len(row) for row in rows])
    if not lengths.sum():
        raise MetricError("there is no token; give at least one sequence with one, and a mask that is true there")
    rows = [row for row in rows if len(row)]
    lengths = lengths[lengths > 0]
    flat = np.concatenate(rows)
    if np.isnan(flat).any():
        raise MetricError(f"{int(np.isnan(flat).sum())} of {len(flat)} NLLs are NaN; look at the model's logits")
    if flat.min() < -ROUNDING:
        raise MetricError(
            f"an NLL is {flat.min():.6g}, but -log p of a token is not below 0; give -log p instead of log p"
        )
    sums = np.array([math.fsum(row) for row in rows])
    total = math.fsum(sums)
    return Likelihood(total / len(flat), total / len(rows), math.fsum(sums / lengths) / len(rows), len(flat), len(rows))


ROUNDING = 1e-3  # by which -log p of a certain token may be below 0


def _rows(token_nll: Any, mask: Any) -> list[np.ndarray]:
    """The NLLs that count, float64 `[T_i]` for each sequence."""
    if isinstance(token_nll, (list, tuple)):
        arrays = [np.asarray(row, np.float64) for row in token_nll]
        if any(row.ndim != 1 for row in arrays):
            raise MetricError("a sequence's NLLs are no list of numbers; give [N, T], or a list of arrays [T_i]")
        if mask is None:
            return arrays
        if len({len(row) for row in arrays}) > 1:
            raise MetricError("sequences of several lengths and a mask; leave out the tokens that do not count")
        token_nll = np.array(arrays)
    nll = np.asarray(token_nll, np.float64)
    if nll.ndim != 2:
        raise MetricError(f"NLLs have shape {list(nll.shape)}; give [sequences, tokens]")
    if mask is None:
        return list(nll)
    counted = np.asarray(mask)
    if counted.shape != nll.shape or not np.isin(counted, (0, 1)).all():
        raise MetricError(
            f"the mask has shape {list(counted.shape)}, NLLs {list(nll.shape)}; give a mask of the same shape, of 0 and 1"
        )
    return [row[chosen] for row, chosen in zip(nll, counted.astype(bool))]
