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
        check_order_of_pool(pool)
    if (sample_features is None) != (reference_features is None):
        raise MetricError("features of one side only; give both sample_features and reference_features")
    lists = {"samples": samples, "references": references} | ({} if training is None else {"training": training})
    first, second, *rest = read_alike(tokenisation, **lists)
    evaluation = TextEvaluation({}, {})
    _measure_bleu(evaluation, first, second.first(pool), n, smoothing, epsilon)
    notes = _measure_self_bleu(evaluation, first, pool, n, smoothing, epsilon)
    notes += _measure_sets(evaluation, first, second)
    if rest:
        _measure_copies(evaluation, first, rest[0])
    if sample_features is not None:
        notes += _measure_features(evaluation, sample_features, reference_features, extractor, seed)
    return dataclasses.replace(evaluation, notes=tuple(notes))


def text_protocol(
    metric: str,
    samples: Texts,
    references: Texts | None = None,
    *,
    order: int = 0,
    weights: Any = None,
    smoothing: Smoothing | None = None,
    epsilon: float = EPSILON,
) -> TextProtocol:
    """The protocol of a metric of tokens: `bleu-v1-n4-r500-f10000-1f0c9a3e`.

    Args:
      metric: the variant and its version, `bleu-v1`.
      samples: that were measured.
      references: that they were compared with.
      order: n of n-grams.
      weights: of the orders 1 .. n; None = 1 / n each.
      smoothing: of BLEU.
      epsilon: of `method1`; another than the published is part of the name.
    """
    shares = () if weights is None else tuple(map(float, check_weights(None, weights)))
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


def check_order_of_pool(pool: Any) -> None:
    if isinstance(pool, bool) or not isinstance(pool, (int, np.integer)) or pool < 1:
        raise MetricError(f"pool is {pool!r}; give a number of references from 1, or None for all")


def _measure_bleu(
    evaluation: TextEvaluation, samples: Texts, references: Texts, n: int, smoothing: Smoothing, epsilon: float
) -> None:
    matches = pool_matches(samples, references, n)
    for order in range(min(2, n), n + 1):
        values = scores(matches, order, smoothing=smoothing, epsilon=epsilon)
        evaluation.values[f"bleu{order}"] = float(values.mean())
        evaluation.protocols[f"bleu{order}"] = text_protocol(
            "bleu-v1", samples, references, order=order, smoothing=smoothing, epsilon=epsilon
        )


def _measure_self_bleu(
    evaluation: TextEvaluation, samples: Texts, pool: int | None, n: int, smoothing: Smoothing, epsilon: float
) -> list[str]:
    filled = samples.filled().first(pool)
    empty = len(samples) - len(samples.filled())
    notes = [f"{empty} of {len(samples)} samples are empty: 0 in BLEU, left out of self-BLEU"] if empty else []
    if len(filled) < 2:
        return [*notes, f"no self-BLEU: {len(filled)} sample(s) that are not empty, and it compares at least 2"]
    matches = self_matches(filled, n)
    for order in range(min(2, n), n + 1):
        values = scores(matches, order, smoothing=smoothing, epsilon=epsilon)
        evaluation.values[f"self_bleu{order}"] = float(values.mean())
        protocol = text_protocol("self-bleu-v1", filled, order=order, smoothing=smoothing, epsilon=epsilon)
        evaluation.protocols[f"self_bleu{order}"] = dataclasses.replace(protocol, n_references=len(filled) - 1)
    return notes


def _measure_sets(evaluation: TextEvaluation, samples: Texts, references: Texts) -> list[str]:
    notes = []
    for order in DISTINCT:
        value = distinct(samples, order).over_ngrams
        if np.isnan(value):
            notes.append(f"no distinct-{order}: no sample has {order} token(s)")
            continue
        evaluation.values[f"distinct{order}"] = value
        evaluation.protocols[f"distinct{order}"] = text_protocol("distinct-v1", samples, order=order)
    evaluation.values["unique"] = unique_share(samples)
    evaluation.values["length"] = float(samples.lengths.mean())
    evaluation.protocols |= dict.fromkeys(("unique", "length"), text_protocol("set-v1", samples))
    evaluation.values["length_distance"] = length_distance(samples, references)
    evaluation.protocols["length_distance"] = text_protocol("lengths-v1", samples, references)
    return notes


def _measure_copies(evaluation: TextEvaluation, samples: Texts, training: Texts) -> None:
    copied = copies(samples, training)
    numbers = {
        "copy_mean": copied.mean,
        "copy_longest": float(copied.longest),
        "copied": copied.inside,
        "copied_whole": copied.whole,
    }
    evaluation.values.update(numbers)
    evaluation.protocols.update(dict.fromkeys(numbers, text_protocol("copies-v1", samples, training)))


def _measure_features(
    evaluation: TextEvaluation, samples: Any, references: Any, extractor: str, seed: int
) -> list[str]:
    samples, references = check_features(samples, "sample_features"), check_features(references, "reference_features")
    notes, dim = [], samples.shape[1]
    protocol = TextProtocol(
        "fd-v1", len(references), len(samples), digest(references), extractor=extractor or "features"
    )
    if min(len(samples), len(references)) > dim:
        evaluation.values["fd"] = frechet_distance(summarise(references), summarise(samples))
        evaluation.protocols["fd"] = protocol
    else:
        notes.append(
            f"no Frechet distance: it needs more texts than the {dim} features, and there are {len(samples)} samples and "
            f"{len(references)} references"
        )
    score = mauve(references, samples, seed=seed)
    k = default_clusters(len(references), len(samples))
    if min(len(samples), len(references)) < MAUVE_TEXTS:
        notes.append(f"MAUVE of fewer than {MAUVE_TEXTS} texts a side is uncertain, and too high for most seeds")
    settings = {"clusters": k, "variance": VARIANCE, "scaling": SCALING, "restarts": RESTARTS, "seed": seed}
    protocol = dataclasses.replace(protocol, metric="mauve-v1", settings=tuple(settings.items()))
    for name in ("mauve", "mauve_star", "frontier_integral", "frontier_integral_star"):
        evaluation.values[name] = getattr(score, name)
        evaluation.protocols[name] = protocol
    return notes


MAUVE_TEXTS = 1000  # of each side; the authors use 5000
