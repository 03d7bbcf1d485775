"""All metrics of one protocol, from features, and the reasons why some cannot be measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gan_jax.metrics.features import Features
from gan_jax.metrics.inception_score import class_kl, inception_score
from gan_jax.metrics.kernel import KID_SUBSET, kid
from gan_jax.metrics.neighbours import empty_balls, prdc_and_empty
from gan_jax.metrics.protocol import Protocol
from gan_jax.metrics.statistics import MetricError, Statistics, check_same_dim, frechet_distance, summarise

COLLAPSED = 1e-8  # variance of generated features over that of real ones: all but one image


class Measured(dict[str, float]):
    """Numbers by name. A metric that cannot be measured has no key; a sentence in `notes` says why.

    Attributes:
      notes: a sentence for each metric left out, and for each thing that the numbers do not show.
    """

    def __init__(self, numbers: dict[str, float], notes: Sequence[str] = ()) -> None:
        super().__init__(numbers)
        self.notes = tuple(notes)


def evaluate_features(real: Features, fake: Features, protocol: Protocol) -> Measured:
    """Measures generated against real features.

    Args:
      real: features of the reference.
      fake: features of the generated images, in the order in which they were generated.
      protocol: of the measurement; report its `id` with the numbers, its `title` names them.

    Returns:
      fd, kid, kid_std, precision, recall, density, coverage; with logits also is, is_std and class_kl, without those
      that `unmeasurable` names. `notes` names these, and says if the generator makes one image only.

    Raises:
      MetricError: features that are not what the protocol says, are not finite, or leave nothing to measure.
    """
    _check_identity(real, fake, protocol)
    check_same_dim(real.values.shape[1], fake.values.shape[1])
    of_real, of_fake = summarise(real.values, name="real features"), summarise(fake.values, name="fake features")
    left_out = unmeasurable(protocol, of_real.dim)
    notes = list(dict.fromkeys(left_out.values()))
    numbers: dict[str, float] = {}
    if "fd" not in left_out:
        ddof, singular = protocol.fd_ddof, protocol.fd_allow_singular
        numbers["fd"] = frechet_distance(of_real, of_fake, ddof=ddof, allow_singular=singular)
    if "kid" not in left_out:
        kernel = kid(
            real.values,
            fake.values,
            subsets=protocol.kid_subsets,
            subset_size=protocol.kid_subset_size,
            seed=protocol.seed,
        )
        numbers |= {"kid": kernel.mean, "kid_std": kernel.std}
    collapsed = _is_collapsed(of_real, of_fake)
    if collapsed:
        notes.append(f"mode collapse: all {len(fake)} generated images have the same features")
    if "precision" not in left_out:
        manifold, *empty = prdc_and_empty(real.values, fake.values, protocol.prdc_k)
        numbers |= manifold._asdict()
        for count, n, name in zip(empty, (len(real), len(fake)), ("real", "generated")):
            if count and not (collapsed and name == "generated"):
                notes.append(empty_balls(count, n, name, protocol.prdc_k))
    if fake.logits is not None:
        if "is" not in left_out:
            score = inception_score(fake.logits, protocol.is_splits)
            numbers |= {"is": score.mean, "is_std": score.std}
        if real.logits is not None:
            numbers["class_kl"] = class_kl(real.logits, fake.logits)
    if not numbers:
        raise MetricError(f"nothing can be measured of {len(real)} real and {len(fake)} generated images: {notes[0]}")
    return Measured(numbers, notes)


def unmeasurable(protocol: Protocol, dim: int) -> dict[str, str]:
    """The metrics that the protocol's numbers of images do not allow, each with the reason.

    No images are needed, so that a run can name them before it trains.

    Args:
      protocol: with its numbers of images, subsets, neighbours and splits.
      dim: features of an image.
    """
    out: dict[str, str] = {}
    counts = {"real": protocol.n_real, "generated": protocol.n_fake}
    name, least = min(counts.items(), key=lambda item: item[1])
    if least <= (1 if protocol.fd_allow_singular else dim):
        needed = 2 if protocol.fd_allow_singular else dim + 1
        remedy = (
            f"there are {least:,} {name} ones; use KID, which is unbiased at any size, or a network of fewer features"
        )
        out["fd"] = (
            f"no Frechet distance: it needs more images than features, {needed:,} of each side or more, and "
            + (remedy if least > 1 else f"there is {least} {name} image, which is no distribution")
        )
    size = min(least, KID_SUBSET) if protocol.kid_subset_size is None else protocol.kid_subset_size
    if not 2 <= size <= least:
        reason = (
            f"no KID: subsets of {size:,} images cannot be drawn from {least:,} {name} ones; use kid_subset_size None"
        )
        out |= dict.fromkeys(("kid", "kid_std"), reason if least > 1 else f"no KID: there is {least} {name} image")
    if protocol.prdc_k >= least:
        reason = (
            f"no precision, recall, density and coverage: {least:,} {name} images have no {protocol.prdc_k} neighbours"
        )
        out |= dict.fromkeys(("precision", "recall", "density", "coverage"), reason)
    if protocol.is_splits > protocol.n_fake:
        reason = f"no score: {protocol.n_fake} generated images do not fall into {protocol.is_splits} splits"
        out |= dict.fromkeys(("is", "is_std"), reason)
    return out


def _is_collapsed(real: Statistics, fake: Statistics) -> bool:
    """Whether generated features hardly vary while real ones do."""
    spread = lambda stats: float(np.trace(stats.scatter)) / max(stats.n - 1, 1)
    return fake.n > 1 and spread(real) > 0 and spread(fake) <= COLLAPSED * spread(real)


def _check_identity(real: Features, fake: Features, protocol: Protocol) -> None:
    """Raises MetricError where the numbers of features or the extractor are not the protocol's."""
    for features, name, n in ((real, "real", protocol.n_real), (fake, "fake", protocol.n_fake)):
        if len(features) != n:
            raise MetricError(f"{len(features)} {name} features, but protocol {protocol.id} says n_{name} = {n}")
        stated = f"{protocol.extractor}@{protocol.weights_hash[:12]}"
        if features.extractor and features.extractor != stated:
            raise MetricError(
                f"the {name} features come from {features.extractor}, but protocol {protocol.id} says {stated}"
            )
