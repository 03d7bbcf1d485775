"""What BLEU counts: n-grams of hypotheses that their references have, too, and lengths.

An n-gram counts at most as often as in the one reference that has it most often (clipping). References are of three kinds: a
list for each hypothesis, one pool for all, or all other hypotheses. The last needs no pass for each hypothesis: of each n-gram
the two largest counts in a text are enough, since leaving out a text that has the largest one leaves the second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sized
from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError
from gan_jax.metrics.text.ngrams import check_order, count_pairs, join, ngrams
from gan_jax.metrics.text.tokens import Texts, read_alike, read_texts


@dataclasses.dataclass(frozen=True)
class Matches:
    """Counts of N hypotheses, of n-grams of orders 1 .. n.

    Attributes:
      matched: int64 `[N, n]`, n-grams of each hypothesis that its references have, clipped.
      totals: int64 `[N, n]`, its n-grams.
      lengths: int64 `[N]`, its tokens.
      closest: int64 `[N]`, tokens of the reference whose length is closest; of two the shorter.
    """

    matched: np.ndarray
    totals: np.ndarray
    lengths: np.ndarray
    closest: np.ndarray

    @property
    def order(self) -> int:
        return self.matched.shape[1]


def own_matches(hypotheses: Any, references: Any, n: int = 4, tokenisation: str | None = None) -> Matches:
    """Matches of each hypothesis with its own references.

    Args:
      hypotheses: texts, see `tokens.read_texts`.
      references: for each hypothesis a list of texts.
      n: largest order.
      tokenisation: how strings are split.

    Raises:
      MetricError: bad texts, or a hypothesis without references.
    """
    n = check_order(n)
    first = read_texts(hypotheses, tokenisation, "hypotheses")
    lists = list(references) if isinstance(references, Iterable) and not isinstance(references, str) else []
    if len(lists) != len(first):
        raise MetricError(
            f"{len(lists)} lists of references for {len(first)} hypotheses; give a list for each hypothesis"
        )
    flat: list[list[Any]] = []
    groups: list[int] = []
    for i, texts in enumerate(lists):
        if isinstance(texts, str):
            raise MetricError(f"references[{i}] is a string; give a list of references for each hypothesis")
        if texts is None or (isinstance(texts, Sized) and len(texts) == 0):
            raise MetricError(f"hypothesis {i} has no references; give at least one")
        _, own = read_alike({"hypotheses": first, f"references[{i}]": texts}, tokenisation)
        flat += own.tokens
        groups += [i] * len(own)
    return _matches(first.tokens, flat, np.arange(len(first)), np.array(groups), n)


def pool_matches(hypotheses: Any, pool: Any, n: int = 4, tokenisation: str | None = None) -> Matches:
    """Matches of each hypothesis with all references of one pool.

    Args:
      hypotheses: texts, see `tokens.read_texts`.
      pool: texts, the references of every hypothesis.
      n: largest order.
      tokenisation: how strings are split.
    """
    n = check_order(n)
    first, second = read_alike({"hypotheses": hypotheses, "references": pool}, tokenisation)
    groups, pool_groups = np.zeros(len(first), np.int64), np.zeros(len(second), np.int64)
    return _matches(first.tokens, second.tokens, groups, pool_groups, n)


def self_matches(samples: Any, n: int = 4, tokenisation: str | None = None) -> Matches:
    """Matches of each sample with all other samples.

    Args:
      samples: at least two texts, see `tokens.read_texts`.
      n: largest order.
      tokenisation: how strings are split.
    """
    n = check_order(n)
    texts: Texts = read_texts(samples, tokenisation, "samples")
    if len(texts) < 2:
        raise MetricError("there is one sample, and no other to compare it with; give at least 2")
    joined = join(texts.tokens)
    matched = np.zeros((len(texts), n), np.int64)
    for order, (owners, numbers) in enumerate(ngrams(joined, n)):
        grams, owners, counts = count_pairs(numbers, owners)
        by_count = np.lexsort((counts, grams))  # the largest count of each n-gram comes last
        sorted_grams, sorted_counts = grams[by_count], counts[by_count]
        last = np.flatnonzero(np.diff(sorted_grams, append=-1))
        kinds, largest, second = sorted_grams[last], sorted_counts[last], np.zeros(len(last), np.int64)
        several = np.diff(last, prepend=-1) > 1
        second[several] = sorted_counts[last[several] - 1]
        kind = np.searchsorted(kinds, grams)
        np.add.at(matched[:, order], owners, np.where(counts == largest[kind], second[kind], counts))
    lengths = texts.lengths
    return Matches(matched, _totals(lengths, n), lengths, _closest_other(lengths))


def _matches(
    hypotheses: list[list[Any]], references: list[list[Any]], groups: np.ndarray, reference_groups: np.ndarray, n: int
) -> Matches:
    """Matches of hypotheses with the references of the same group."""
    joined, n_hypotheses = join(hypotheses, references), len(hypotheses)
    text_groups = np.concatenate([groups, reference_groups])
    matched = np.zeros((n_hypotheses, n), np.int64)
    for order, (owners, numbers) in enumerate(ngrams(joined, n)):
        # n-grams of another group are other n-grams
        grams = numbers * (int(text_groups.max()) + 1) + text_groups[owners]
        grams = np.unique(grams, return_inverse=True)[1].astype(np.int64)
        grams, owners, counts = count_pairs(grams, owners)
        of_hypothesis = owners < n_hypotheses
        largest = np.zeros(int(grams.max(initial=0)) + 1, np.int64)
        np.maximum.at(largest, grams[~of_hypothesis], counts[~of_hypothesis])
        clipped = np.minimum(counts, largest[grams])[of_hypothesis]
        np.add.at(matched[:, order], owners[of_hypothesis], clipped)
    lengths, reference_lengths = (np.fromiter(map(len, t), np.int64, len(t)) for t in (hypotheses, references))
    closest = _closest(lengths, groups, reference_lengths, reference_groups)
    return Matches(matched, _totals(lengths, n), lengths, closest)


def _totals(lengths: np.ndarray, n: int) -> np.ndarray:
    return np.maximum(lengths[:, None] - np.arange(n), 0)


def _closest(
    lengths: np.ndarray, groups: np.ndarray, reference_lengths: np.ndarray, reference_groups: np.ndarray
) -> np.ndarray:
    """The closest of the lengths in the same group; of two the smaller. Groups are numbers from 0, none without references."""
    width = int(max(lengths.max(initial=0), reference_lengths.max(initial=0))) + 1
    known = np.unique(reference_groups * width + reference_lengths)  # sorted by group, then length
    known_groups, known_lengths = known // width, known % width
    at = np.searchsorted(
        known, groups * width + lengths
    )  # the first one of at least this length, maybe of the next group
    above, below = np.minimum(at, len(known) - 1), np.maximum(at - 1, 0)
    far = 2 * width  # stands for a length that the group does not have
    longer = np.where((at < len(known)) & (known_groups[above] == groups), known_lengths[above] - lengths, far)
    shorter = np.where((at > 0) & (known_groups[below] == groups), lengths - known_lengths[below], far)
    return np.where(shorter <= longer, known_lengths[below], known_lengths[above])


def _closest_other(lengths: np.ndarray) -> np.ndarray:
    """For each length the closest of all others; of two the smaller."""
    known, kind, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    far = 2 * int(known[-1]) + 2
    longer = np.append(np.diff(known), far)[kind]
    shorter = np.append(far, np.diff(known))[kind]
    neighbour = np.where(shorter <= longer, lengths - shorter, lengths + longer)
    return np.where(counts[kind] > 1, lengths, neighbour)
