"""Evaluation of generated texts: quality against references, diversity, copies of the training texts, features.

Every number stands under the id of its protocol.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError, check_features, frechet_distance, summarise
from gan_jax.metrics.text.bleu import EPSILON, Smoothing, check_smoothing, check_weights, scores
from gan_jax.metrics.text.copies import copies
from gan_jax.metrics.text.distinct import distinct, length_distance, unique_share
from gan_jax.metrics.text.matches import pool_matches, self_matches
from gan_jax.metrics.text.mauve import RESTARTS, SCALING, VARIANCE, default_clusters, mauve
from gan_jax.metrics.text.ngrams import check_order
from gan_jax.metrics.text.protocol import TextProtocol
from gan_jax.metrics.text.tokens import Texts, read_alike
from gan_jax.trees import digest

POOL = 500  # references of BLEU, and samples of self-BLEU: Texygen's numbers
DISTINCT = (1, 2)  # orders of distinct-n


@dataclasses.dataclass(frozen=True)
class TextEvaluation:
    """Metrics of a set of samples.

    Attributes:
      values: metric -> value: bleu2 .., self_bleu2 .., distinct1 .., unique, length, length_distance; with training texts
        copy_mean, copy_longest, copied, copied_whole; with features fd, mauve, mauve_star, frontier_integral(_star).
      protocols: metric -> its protocol; `protocols[name].title(name)` is its title.
      notes: a sentence for each metric that these samples do not allow, and for what numbers do not show.
    """

    values: dict[str, float]
    protocols: dict[str, TextProtocol]
    notes: tuple[str, ...] = ()


def evaluate_texts(
    samples: Any,
    references: Any,
    *,
    training: Any = None,
    n: int = 5,
    pool: int | None = POOL,
    smoothing: Smoothing = "method1",
    epsilon: float = EPSILON,
    tokenisation: str | None = None,
    sample_features: Any = None,
    reference_features: Any = None,
    extractor: str = "",
    seed: int = 0,
) -> TextEvaluation:
    """Measures generated texts by Texygen's protocol, and what it leaves out.

    Args:
      samples: generated texts: strings, or lists of tokens.
      references: held-out texts in the same form. BLEU uses the first `pool` of them, lengths all.
      training: training texts in the same form, for copies; None = these are not measured.
      n: largest order of BLEU and self-BLEU; orders from 2 on are measured, for n = 1 that alone.
      pool: references of BLEU, and samples of self-BLEU; None = all.
      smoothing: of BLEU, `method1` or `none`.
      epsilon: of `method1`.
      tokenisation: how strings are split (`whitespace`, `13a`, `characters`), or the name of what made the tokens.
      sample_features: `[N, D]` of a language model, for the Frechet distance and MAUVE; None = neither.
      reference_features: `[M, D]` of the references.
      extractor: `name@hash` of that model.
      seed: of MAUVE's clusters.

    Raises:
      MetricError: bad texts, features or options.
    """
    n = check_order(n)
    check_smoothing(smoothing, epsilon)
    if pool is not None:
        _check_pool(pool)
    if (sample_features is None) != (reference_features is None):
        raise MetricError("features of one side only; give both sample_features and reference_features")
    lists = {"samples": samples, "references": references} | ({} if training is None else {"training": training})
    first, second, *rest = read_alike(lists, tokenisation)
    parts = [
        _bleu(first, second.first(pool), n, smoothing, epsilon),
        _self_bleu(first, pool, n, smoothing, epsilon),
        _of_set(first, second),
    ]
    if rest:
        parts.append(_copies(first, rest[0]))
    if sample_features is not None:
        parts.append(_features(sample_features, reference_features, extractor, seed))
    return TextEvaluation(
        {name: value for part in parts for name, value in part.values.items()},
        {name: protocol for part in parts for name, protocol in part.protocols.items()},
        tuple(note for part in parts for note in part.notes),
    )


def text_protocol(
    metric: str,
    samples: Texts,
    references: Texts | None = None,
    *,
    order: int = 0,
    weights: Any = None,
    smoothing: str | None = None,
    epsilon: float = EPSILON,
) -> TextProtocol:
    """The protocol of a metric of tokens: `bleu-v1-n4-r500-f10000-1f0c9a3e`.

    Args:
      metric: the variant and its version, `bleu-v1`.
      samples: that were measured.
      references: that they were compared with.
      order: n of n-grams.
      weights: of the orders 1 .. n; None = 1 / n each.
      smoothing: of BLEU, or the signature of sacreBLEU.
      epsilon: of `method1`; another than the published is part of the name.
    """
    shares = () if weights is None else tuple(map(float, check_weights(order or None, weights)))
    unpublished = smoothing == "method1" and epsilon != EPSILON
    return TextProtocol(
        metric,
        0 if references is None else len(references),
        len(samples),
        "" if references is None else references.digest,
        samples.tokenisation,
        order=order,
        weights=shares,
        smoothing=f"{smoothing or ''}{f' ({epsilon:g})' if unpublished else ''}",
    )


def _check_pool(pool: Any) -> None:
    if isinstance(pool, bool) or not isinstance(pool, (int, np.integer)) or pool < 1:
        raise MetricError(f"pool is {pool!r}; give a number of references from 1, or None for all")


def _bleu(samples: Texts, references: Texts, n: int, smoothing: Smoothing, epsilon: float) -> TextEvaluation:
    matches = pool_matches(samples, references, n)
    values, protocols = {}, {}
    for order in range(min(2, n), n + 1):
        values[f"bleu{order}"] = float(scores(matches, order, smoothing=smoothing, epsilon=epsilon).mean())
        protocols[f"bleu{order}"] = text_protocol(
            "bleu-v1", samples, references, order=order, smoothing=smoothing, epsilon=epsilon
        )
    return TextEvaluation(values, protocols)


def _self_bleu(samples: Texts, pool: int | None, n: int, smoothing: Smoothing, epsilon: float) -> TextEvaluation:
    filled = samples.filled()
    empty, filled = len(samples) - len(filled), filled.first(pool)
    notes = [f"{empty} of {len(samples)} samples are empty: 0 in BLEU, left out of self-BLEU"] if empty else []
    if len(filled) < 2:
        notes.append(f"no self-BLEU: it compares samples with each other, and {len(filled)} can be; give at least 2")
        return TextEvaluation({}, {}, tuple(notes))
    matches = self_matches(filled, n)
    values, protocols = {}, {}
    for order in range(min(2, n), n + 1):
        values[f"self_bleu{order}"] = float(scores(matches, order, smoothing=smoothing, epsilon=epsilon).mean())
        protocol = text_protocol("self-bleu-v1", filled, order=order, smoothing=smoothing, epsilon=epsilon)
        protocols[f"self_bleu{order}"] = dataclasses.replace(protocol, n_references=len(filled) - 1)
    return TextEvaluation(values, protocols, tuple(notes))


def _of_set(samples: Texts, references: Texts) -> TextEvaluation:
    """Distinct n-grams, unique samples, lengths."""
    ratios = {order: distinct(samples, order).over_ngrams for order in DISTINCT}
    present = [order for order in DISTINCT if not np.isnan(ratios[order])]
    values = {f"distinct{order}": ratios[order] for order in present}
    protocols = {f"distinct{order}": text_protocol("distinct-v1", samples, order=order) for order in present}
    values |= {"unique": unique_share(samples), "length": float(samples.lengths.mean())}
    protocols |= dict.fromkeys(("unique", "length"), text_protocol("set-v1", samples))
    values["length_distance"] = length_distance(samples, references)
    protocols["length_distance"] = text_protocol("lengths-v1", samples, references)
    absent = [order for order in DISTINCT if order not in present]
    return TextEvaluation(values, protocols, tuple(f"no distinct-{n}: no sample has {n} token(s)" for n in absent))


def _copies(samples: Texts, training: Texts) -> TextEvaluation:
    copied = copies(samples, training)
    values = {
        "copy_mean": copied.mean,
        "copy_longest": float(copied.longest),
        "copied": copied.inside,
        "copied_whole": copied.whole,
    }
    return TextEvaluation(values, dict.fromkeys(values, text_protocol("copies-v1", samples, training)))


def _features(samples: Any, references: Any, extractor: str, seed: int) -> TextEvaluation:
    samples, references = check_features(samples, "sample_features"), check_features(references, "reference_features")
    least, dim = min(len(samples), len(references)), samples.shape[1]
    score = mauve(references, samples, seed=seed)
    values = {name: getattr(score, name) for name in ("mauve", "mauve_star", *FRONTIERS)}
    settings = {
        "clusters": default_clusters(len(references), len(samples)),
        "variance": VARIANCE,
        "scaling": SCALING,
        "restarts": RESTARTS,
        "seed": seed,
    }
    of_distance = TextProtocol(
        "fd-v1", len(references), len(samples), digest(references), extractor=extractor or "features"
    )
    protocol = dataclasses.replace(of_distance, metric="mauve-v1", settings=tuple(settings.items()))
    protocols, notes = dict.fromkeys(values, protocol), []
    if least > dim:
        values["fd"] = frechet_distance(summarise(references), summarise(samples))
        protocols["fd"] = of_distance
    else:
        notes.append(
            f"no Frechet distance: it needs more texts than features, {dim + 1} of each side or more, and there are {least}"
        )
    if least < MAUVE_TEXTS:
        notes.append(f"MAUVE of {least} texts depends much on the clusters; use {MAUVE_TEXTS:,} of each side or more")
    return TextEvaluation(values, protocols, tuple(notes))


FRONTIERS = ("frontier_integral", "frontier_integral_star")
MAUVE_TEXTS = 1000  # of each side; the authors use 5000
