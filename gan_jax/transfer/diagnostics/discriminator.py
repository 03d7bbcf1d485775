"""Discriminator overfitting: D on images that it was trained on, against D on real images that it never saw.

ADA (Karras et al., 2020) has two heuristics: r_v = (E D(train) - E D(held out)) / (E D(train) - E D(generated)) and
r_t = E sign D(train). Both go from 0 (no overfitting) to 1. r_v moves with the tails of the logits, so the warning is
about the difference of two shares, and r_v is logged with it. Here D sees images without augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from gan_jax.config import DiagnoseConfig
from gan_jax.data.convert import to_float
from gan_jax.nets import Pair
from gan_jax.nets.grouped import logits_in_groups
from gan_jax.train.state import Variables
from gan_jax.transfer.diagnostics.check import Check, Row

BOUNDED = ("non_saturating", "hinge")  # losses whose D has its boundary at 0

LogitsFn = Callable[..., np.ndarray]


def make_logits_fn(pair: Pair) -> LogitsFn:
    """Makes `logits_fn(d_vars, images uint8 [N, H, W, C], labels [N] or None, at_most=None) -> logits [N]`.

    In evaluation mode, in whole groups of different images where D compares images (`nets.grouped`).
    """
    apply = jax.jit(lambda d_vars, images, labels: pair.d.apply(d_vars, to_float(images), labels)[0])

    def logits_fn(
        d_vars: Variables, images: np.ndarray, labels: np.ndarray | None, at_most: int | None = None
    ) -> np.ndarray:
        return logits_in_groups(apply, d_vars, images, labels, group=pair.d_group, at_most=at_most)

    return logits_fn


def measure(loss: str, train: np.ndarray, held_out: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
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


def checks(rows: Sequence[Row], limits: DiagnoseConfig) -> Iterator[Check]:
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
