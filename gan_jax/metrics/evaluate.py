"""All metrics of one protocol, from features."""

from __future__ import annotations

from collections.abc import Collection

from gan_jax.metrics.classes import class_kl
from gan_jax.metrics.features import Features
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kernel import kid
from gan_jax.metrics.neighbours import prdc
from gan_jax.metrics.protocol import Protocol
from gan_jax.metrics.statistics import MetricError, check_same_dim, summarise


def unmeasured(protocol: Protocol, dim: int) -> dict[str, str]:
    """What cannot be measured with so few images, as metric -> reason; `dim` is the number of features.

    `fd` wants more images than features on both sides, `kid` two images, `prdc` more than its neighbours, `is` as many as
    its splits.
    """
    sides = {"the reference": protocol.n_real, "the generator's sample": protocol.n_fake}
    few = lambda least: [f"{who} has {n:,}" for who, n in sides.items() if n < least]
    out = {}
    if not protocol.fd_allow_singular and (short := few(dim + 1)):
        out["fd"] = f"a Frechet distance wants more images than the {dim:,} features of {protocol.extractor}, and "
        out["fd"] += " and ".join(short)
    if short := few(2):
        out["kid"] = f"a kernel distance wants two images, and {' and '.join(short)}"
    if short := few(max(protocol.prdc_k, 1) + 1):
        out["prdc"] = f"{protocol.prdc_k} neighbours want {protocol.prdc_k + 1} images, and {' and '.join(short)}"
    if protocol.n_fake < protocol.is_splits:
        out["is"] = f"{protocol.is_splits} splits want as many images, and {protocol.n_fake} are generated"
    return out


def evaluate_features(
    real: Features, fake: Features, protocol: Protocol, *, without: Collection[str] = ()
) -> dict[str, float]:
    """Measures generated against real features.

    Args:
      real: features of the reference.
      fake: features of the generated images, in the order in which they were generated.
      protocol: says how; its `id` belongs beside the numbers, its `title` names them.
      without: what to leave out, as `unmeasured` names it: fd, kid, prdc, is.

    Returns:
      fd, kid, kid_std, precision, recall, density, coverage; with logits also is, is_std and class_kl.

    Raises:
      MetricError: features that are not what the protocol says, or that cannot be measured.
    """
    _check_identity(real, fake, protocol)
    check_same_dim(real.values.shape[1], fake.values.shape[1])
    numbers: dict[str, float] = {}
    if "fd" not in without:
        numbers["fd"] = frechet_distance(
            summarise(real.values, name="real features"),
            summarise(fake.values, name="fake features"),
            ddof=protocol.fd_ddof,
            allow_singular=protocol.fd_allow_singular,
        )
    if "kid" not in without:
        kernel = kid(
            real.values,
            fake.values,
            subsets=protocol.kid_subsets,
            subset_size=protocol.kid_subset_size,
            seed=protocol.seed,
        )
        numbers |= {"kid": kernel.mean, "kid_std": kernel.std}
    if "prdc" not in without:
        numbers |= prdc(real.values, fake.values, protocol.prdc_k)._asdict()
    if fake.logits is not None:
        if "is" not in without:
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
