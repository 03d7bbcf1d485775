"""All metrics of one protocol, from features."""

from __future__ import annotations

from gan_jax.metrics.classes import class_kl
from gan_jax.metrics.features import Features
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel import kid
from gan_jax.metrics.neighbours import prdc
from gan_jax.metrics.protocol import Protocol
from gan_jax.metrics.statistics import MetricError, check_same_dim, summarise


def evaluate_features(real: Features, fake: Features, protocol: Protocol) -> dict[str, float]:
    """Measures generated against real features.

    Args:
      real: features of the reference.
      fake: features of the generated images, in the order in which they were generated.
      protocol: says how; its `id` belongs beside the numbers, its `title` names them.

    Returns:
      fd, kid, kid_std, precision, recall, density, coverage; with logits also is, is_std and class_kl.

    Raises:
      MetricError: features that are not what the protocol says, or that cannot be measured.
    """
    _check_identity(real, fake, protocol)
    check_same_dim(real.values.shape[1], fake.values.shape[1])
    distance = frechet_distance(
        summarise(real.values, name="real features"),
        summarise(fake.values, name="fake features"),
        ddof=protocol.fd_ddof,
        allow_singular=protocol.fd_allow_singular,
    )
    kernel = kid(
        real.values,
        fake.values,
        subsets=protocol.kid_subsets,
        subset_size=protocol.kid_subset_size,
        seed=protocol.seed,
    )
    manifold = prdc(real.values, fake.values, protocol.prdc_k)
    numbers = {"fd": distance, "kid": kernel.mean, "kid_std": kernel.std, **manifold._asdict()}
    if fake.logits is not None:
        score = inception_score(fake.logits, protocol.is_splits)
        numbers |= {"is": score.mean, "is_std": score.std}
        if real.logits is not None:
            numbers["class_kl"] = class_kl(real.logits, fake.logits)
    return numbers


def _check_identity(real: Features, fake: Features, protocol: Protocol) -> None:
    """The protocol's name must be true: sizes and extractor as it says."""
    for features, name, wanted in ((real, "real", protocol.n_real), (fake, "fake", protocol.n_fake)):
        if len(features) != wanted:
            raise MetricError(f"{len(features)} {name} features, but protocol {protocol.id} says n_{name} = {wanted}")
        stated = f"{protocol.extractor}@{protocol.weights_hash[:12]}"
        if features.extractor and features.extractor != stated:
            raise MetricError(
                f"the {name} features come from {features.extractor}, but protocol {protocol.id} says {stated}"
            )
