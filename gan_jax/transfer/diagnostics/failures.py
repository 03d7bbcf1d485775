"""Failures of a transfer, each with its measure, limit and advice: collapse, overfitting, memorisation, negative transfer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import ConfigError, DiagnoseConfig
from gan_jax.data.convert import to_float
from gan_jax.documents import escaped, field_of
from gan_jax.metrics import Memorisation, memorisation
from gan_jax.nets import Pair
from gan_jax.nets.inside import logits_in_groups
from gan_jax.train.rows import read_rows
from gan_jax.train.state import Variables

# ----------------------------------------------------------------------------------------------------------------------
# A check of a diagnosis: a number, its limit, and advice.

Row = Mapping[str, Any]  # of evaluations.jsonl


@dataclasses.dataclass(frozen=True)
class Check:
    """A number that was compared with its limit.

    Attributes:
      name: of the failure that the number shows.
      what: what the number is, in words.
      value: the number.
      limit: beyond which the check warns.
      below: whether it warns below the limit, and not above.
      advice: a sentence with the numbers and what to do.
    """

    name: str
    what: str
    value: float
    limit: float
    below: bool
    advice: str

    @property
    def warns(self) -> bool:
        """Whether the value is beyond its limit."""
        return self.value < self.limit if self.below else self.value > self.limit

    @property
    def note(self) -> str:
        """The log message of the warning."""
        return f"{self.name}: {self.advice}"


# ----------------------------------------------------------------------------------------------------------------------
# Mode collapse: generated images become similar to each other, measured by their features.

LITTLE = 0.02  # the least coverage of the best evaluation from which a fall is checked


def measure_collapse(fake: Any, real: Any) -> dict[str, float]:
    """The `spread`: the distance between generated images over the distance between images of the reference.

    The distance is the root of the mean squared distance of pairs. It equals the root of twice the trace of the
    covariance, so that no pair is computed.

    Args:
      fake: features [N, D] of generated images.
      real: features [M, D] of the reference.
    """
    real_variance = _total_variance(real)
    return {"spread": float(np.sqrt(_total_variance(fake) / real_variance))} if real_variance > 0 else {}


def _total_variance(features: Any) -> float:
    """The trace of the covariance of features [N, D]."""
    return float(np.asarray(features, np.float64).var(0, ddof=1).sum())


def collapse_checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row, compared with the rows before it."""
    first: Any = rows[0]
    now: Any = rows[-1]
    todo = "use an earlier checkpoint, a smaller optim.lr, or a method that keeps the source (l2_sp, ewc, cdc)"
    before = rows[:-1]
    if "spread" in now:
        yield Check(
            "mode collapse",
            "distance between generated images over that of the reference's",
            now["spread"],
            limits.least_spread,
            True,
            f"generated images lie {now['spread']:.2f} times as far apart as real ones: G makes few kinds of images; {todo}; "
            "at the beginning of a run from fresh weights wait for the next evaluation",
        )
    if before and first.get("spread", 0) > 0 and "spread" in now:
        share = now["spread"] / first["spread"]
        yield Check(
            "falling diversity",
            "distance between generated images over that at the first evaluation",
            share,
            limits.spread,
            True,
            f"generated images lie {share:.2f} times as far apart as at the first evaluation ({first['images']:,} images): "
            f"G forgets kinds of images; {todo}",
        )
    best = max((row["coverage"] for row in before if "coverage" in row), default=0.0)
    if best > LITTLE and "coverage" in now:
        share = now["coverage"] / best
        yield Check(
            "falling coverage",
            "coverage over the best one before",
            share,
            limits.coverage,
            True,
            f"coverage fell from {best:.2f} to {now['coverage']:.2f}: G leaves out kinds of images that it made before; {todo}",
        )


# ----------------------------------------------------------------------------------------------------------------------
# Discriminator overfitting: D on images that it was trained on, against D on real images that it never saw.
#
# ADA (Karras et al., 2020) has two heuristics: r_v = (E D(train) - E D(held out)) / (E D(train) - E D(generated)) and
# r_t = E sign D(train). Both go from 0 (no overfitting) to 1. r_v moves with the tails of the logits, so the warning is
# about the difference of two shares, and r_v is logged with it. Here D sees images without augmentation.

BOUNDED = ("non_saturating", "hinge")  # losses whose D has its boundary at 0

LogitsFn = Callable[..., np.ndarray]


def make_logits_fn(pair: Pair) -> LogitsFn:
    """Makes `logits_fn(d_vars, images uint8 [N, H, W, C], labels [N] or None, at_most=None) -> logits [N]`.

    In evaluation mode, in whole groups of different images where D compares images (`nets.inside.logits_in_groups`).
    """
    apply = jax.jit(lambda d_vars, images, labels: pair.d.apply(d_vars, to_float(images), labels)[0])

    def logits_fn(
        d_vars: Variables, images: np.ndarray, labels: np.ndarray | None, at_most: int | None = None
    ) -> np.ndarray:
        return logits_in_groups(apply, d_vars, images, labels, group=pair.d_group, at_most=at_most)

    return logits_fn


def measure_discriminator(
    loss: str, train: np.ndarray, held_out: np.ndarray | None, fake: np.ndarray
) -> dict[str, float]:
    """D's answers on three sets as numbers, from its logits.

    Args:
      loss: adversarial loss; where its D has no boundary at 0, the boundary is half-way between the means of training
        and generated images.
      train: `[N]` logits of training images.
      held_out: `[M]` of real images that were not trained on; None = there are none.
      fake: `[K]` of generated images.

    Returns:
      d_train, d_held_out and d_fake: the shares that D takes for real; r_v, where it is defined; r_t, where the boundary
      is at 0.
    """
    train, fake = np.asarray(train, np.float64), np.asarray(fake, np.float64)
    bounded = loss in BOUNDED
    boundary = 0.0 if bounded else (train.mean() + fake.mean()) / 2
    share = lambda logits: float((logits > boundary).mean())
    out = {"d_train": share(train), "d_fake": share(fake)}
    if bounded:
        out["r_t"] = float(np.sign(train).mean())
    if held_out is not None:
        held_out = np.asarray(held_out, np.float64)
        out["d_held_out"] = share(held_out)
        apart = train.mean() - fake.mean()
        if apart > 1e-6 * (1 + abs(train.mean())):  # else D does not tell generated images from real ones at all
            out["r_v"] = float((train.mean() - held_out.mean()) / apart)
    return out


def discriminator_checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row."""
    row: Any = rows[-1]
    if "d_held_out" in row:
        train, held_out = row["d_train"], row["d_held_out"]
        yield Check(
            "discriminator overfitting",
            "share of training minus share of held-out images that D takes for real",
            train - held_out,
            limits.d_gap,
            False,
            f"D tells training images ({train:.2f} taken for real) from held-out ones ({held_out:.2f}) apart: it overfits; "
            "use augment.policy, augment.ada, --method freeze_d or fewer images shown (train.kimg)",
        )
    if "r_t" in row:
        yield Check(
            "discriminator too sure",
            "r_t, mean sign of D on training images",
            row["r_t"],
            limits.d_sign,
            False,
            f"D takes {row['d_train']:.0%} of the training images for real (r_t {row['r_t']:.2f}, healthy is about 0.6), so "
            "that G learns little from it; use augment.policy or augment.ada, loss.r1_gamma or a smaller optim.d_lr",
        )


# ----------------------------------------------------------------------------------------------------------------------
# Memorisation: the distance of generated images to the training images, compared with that of new real images.

MOST = 2000  # training images; a run does not memorise a larger set, and the search would take long


def measure_memory(fake: Any, train: Any, held_out: Any) -> dict[str, float]:
    """`memory`, `memory_closer`, and `occupied`: the share of training images that are nearest to a generated image.

    Args:
      fake: features [N, D] of generated images.
      train: of the training images, [M, D].
      held_out: of real images that were not trained on, [K, D]; None = the training images' distances among
        themselves.

    Returns:
      An empty dict where there are too few images, or most of them are equal.
    """
    if len(train) < 2:
        return {}
    result = memorisation_of(fake, train, held_out)
    if result is None:
        return {}
    occupied = len(np.unique(result.indices)) / min(len(train), len(fake))
    return {"memory": result.ratio, "memory_closer": result.closer, "occupied": occupied}


def memorisation_of(fake: Any, train: Any, held_out: Any) -> Memorisation | None:
    """The memorisation metric; None where most distances to compare with are 0."""
    from gan_jax.metrics import MetricError

    try:
        return memorisation(fake, train, held_out)
    except MetricError:
        return None


def memory_checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row."""
    row: Any = rows[-1]
    if "memory" in row:
        yield Check(
            "memorisation",
            "distance to the nearest training image over that of new real images",
            row["memory"],
            limits.memory,
            True,
            f"generated images lie {row['memory']:.2f} times as far from the nearest training image as new real images do: "
            "G copies its training images; use more of them (data.shots), data.mirror, an earlier checkpoint, or a method "
            "that trains less (freeze_g, scale_shift, fsgan, lora)",
        )


# ----------------------------------------------------------------------------------------------------------------------
# Negative transfer: a run is worse than another run, usually from scratch, after the same number of images.

METRIC = "kid"  # unbiased at any number of images
AGAINST = "kid_against"


def read_against(folder: str | Path, protocol: str, name: str = "evaluations.jsonl") -> list[dict[str, Any]]:
    """Reads the evaluations of another run to compare with.

    Raises:
      ConfigError: there are none, or they were measured under another protocol.
    """
    rows = read_rows(Path(folder) / name)
    if not rows:
        raise ConfigError(f"--against {folder}: there is no evaluation ({name}) of a run; train it first")
    for number, row in enumerate(rows, 1):
        for field, kind in {"protocol": str, "images": int}.items():
            field_of(row, field, kind, f"{Path(folder) / name}, row {number},", ConfigError)
        if type(row.get(METRIC, 0.0)) not in (int, float):  # null where it was not finite
            del row[METRIC]
    if protocols := sorted({row["protocol"] for row in rows} - {protocol}):
        raise ConfigError(
            f"--against {folder} was measured under {escaped(protocols[0], 200)}, and this run under {protocol}: give both "
            "the same data.source, data.classes, data.shots, data.subset_seed and evaluate"
        )
    return rows


def value_at(rows: Sequence[Row], images: int, metric: str = METRIC) -> float | None:
    """A metric after `images` images, linearly interpolated between evaluations; None outside of their range."""
    points = sorted((row["images"], row[metric]) for row in rows if metric in row)
    for (a, at_a), (b, at_b) in zip(points, points[1:] or points, strict=False):
        if a <= images <= b:
            return at_a if a == b else at_a + (at_b - at_a) * (images - a) / (b - a)
    return None


def measure_negative(images: int, numbers: Row, against: Sequence[Row]) -> dict[str, float]:
    """`kid_against`: KID over that of another run after as many images; empty where either is not above 0."""
    other = value_at(against, images)
    if other is None or other <= 0 or numbers.get(METRIC, 0) <= 0:
        return {}
    return {AGAINST: numbers[METRIC] / other}


def negative_checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
    """The checks of the last row, where there is a run to compare with."""
    row: Any = rows[-1]
    if AGAINST in row:
        yield Check(
            "negative transfer",
            "KID over that of the other run after as many images",
            row[AGAINST],
            limits.worse,
            False,
            f"KID is {row[AGAINST]:.2f} times that of the other run after as many images: this source does not help; choose one "
            "of higher recall (gan-jax rank-sources), train more of the networks (finetune), or train from scratch",
        )
