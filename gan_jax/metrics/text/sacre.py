"""BLEU of a corpus as sacreBLEU 2.6.0 computes it (Post 2018), on a scale of 0 to 100, with its tokenisation and smoothings.

It differs from nltk's (`metrics.text.bleu`): a hypothesis of fewer than k tokens has no k-grams, and where no hypothesis has one
the order has precision 0, smoothed or not, unless `effective_order` ends the mean before it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from gan_jax.metrics.statistics import MetricError
from gan_jax.metrics.text.bleu import brevity_penalty
from gan_jax.metrics.text.matches import own_matches
from gan_jax.metrics.text.ngrams import check_order
from gan_jax.metrics.text.tokens import read_texts

SacreSmoothing = Literal["exp", "floor", "add-k", "none"]
DEFAULTS = {"exp": None, "floor": 0.1, "add-k": 1.0, "none": None}  # smoothing -> its value


@dataclasses.dataclass(frozen=True)
class SacreBleu:
    """BLEU of a corpus and what it is made of.

    Attributes:
      score: 0 to 100.
      precisions: of the orders 1 .. n, smoothed, 0 to 100.
      brevity_penalty: 0 to 1.
      counts: matched n-grams; `add-k` has added to those of orders above 1.
      totals: n-grams of the hypotheses, likewise.
      hypothesis_length: tokens of all hypotheses.
      reference_length: tokens of the closest reference of each.
      signature: the settings as sacreBLEU writes them, without its version.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    counts: tuple[float, ...]
    totals: tuple[float, ...]
    hypothesis_length: int
    reference_length: int
    signature: str


def sacre_bleu(
    hypotheses: Any,
    references: Any,
    n: int = 4,
    *,
    tokenisation: str | None = None,
    lowercase: bool = False,
    smoothing: SacreSmoothing = "exp",
    value: float | None = None,
    effective_order: bool = False,
) -> SacreBleu:
    """The sacreBLEU of all hypotheses together, each with its own references.

    Args:
      hypotheses: strings, or lists of tokens.
      references: for each hypothesis a list of such texts.
      n: largest order of n-grams.
      tokenisation: of strings; None = `13a`. `whitespace` is sacreBLEU's `none`. `characters` also has spaces, unlike `char`.
      lowercase: compare in lower case.
      smoothing: `exp` halves the precision of each further order without a match, `floor` puts `value` for no match, `add-k`
        adds `value` to matches and totals above order 1.
      value: of `floor` (0.1) and `add-k` (1).
      effective_order: take the mean over the orders that the hypotheses have, for single sentences.

    Raises:
      MetricError: bad texts or options, or a hypothesis without references.
    """
    n = check_order(n)
    value = _check_value(smoothing, value)
    tokenisation = tokenisation or "13a"
    if lowercase:
        hypotheses, references = _lower(hypotheses), _lower(references)
    texts = read_texts(hypotheses, tokenisation, "hypotheses")
    own = own_matches(texts, references, n, tokenisation)
    counts, totals = ([float(x) for x in array.sum(0)] for array in (own.matched, own.totals))
    length, closest = int(own.lengths.sum()), int(own.closest.sum())
    penalty = 1.0 if length >= closest else float(brevity_penalty(np.array(length), np.array(closest)))
    precisions, used = [0.0] * n, n
    if any(counts):
        halvings = 0
        for i in range(n):
            if smoothing == "add-k" and i > 0:
                counts[i] += value
                totals[i] += value
            if totals[i] == 0:
                break
            if effective_order:
                used = i + 1
            matches = counts[i]
            if matches == 0 and smoothing == "exp":
                halvings += 1
                matches = 0.5**halvings
            elif matches == 0 and smoothing == "floor":
                matches = value
            precisions[i] = 100 * matches / totals[i]
    positive = all(p > 0 for p in precisions[:used])
    score = penalty * math.exp(sum(map(math.log, precisions[:used])) / used) if positive else 0.0
    numbers = {len(own_references) for own_references in references}
    signature = "|".join((
        f"nrefs:{numbers.pop() if len(numbers) == 1 else 'var'}",
        f"case:{'lc' if lowercase else 'mixed'}",
        f"eff:{'yes' if effective_order else 'no'}",
        f"tok:{tokenisation if texts.of_strings and tokenisation != 'whitespace' else 'none'}",
        f"smooth:{smoothing}" + (f"[{value:.2f}]" if DEFAULTS[smoothing] is not None else ""),
    ))  # fmt: skip
    return SacreBleu(score, tuple(precisions), penalty, tuple(counts), tuple(totals), length, closest, signature)


def _check_value(smoothing: Any, value: Any) -> float:
    if smoothing not in DEFAULTS:
        raise MetricError(f"no smoothing {smoothing!r}; there are {', '.join(DEFAULTS)}")
    if value is None:
        return DEFAULTS[smoothing] or 0.0
    if DEFAULTS[smoothing] is None:
        raise MetricError(f"smoothing {smoothing} has no value; leave it out, or use floor or add-k")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < np.inf:
        raise MetricError(f"value is {value!r}; that of {smoothing} is a number from 0")
    return float(value)


def _lower(texts: Any) -> Any:
    """Texts, or lists of them, in lower case. Anything else stays, for the error that follows."""
    if isinstance(texts, str):
        return texts.lower()
    return [_lower(entry) for entry in texts] if isinstance(texts, (list, tuple)) else texts
