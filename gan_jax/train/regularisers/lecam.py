"""LeCam regularisation, with moving averages of D's mean logits as anchors."""

from __future__ import annotations

import jax

from gan_jax.losses import lecam
from gan_jax.train.regularisers.regulariser import Extras, Regulariser
from gan_jax.train.turn import Turn

NAMES = ("lecam_real", "lecam_fake")  # sums of means, which begin at 0


def _value(turn: Turn) -> tuple[jax.Array, Extras]:
    assert turn.logits is not None
    decay = turn.loss.lecam_decay
    means = jax.lax.stop_gradient(turn.sync([logits.mean() for logits in turn.logits]))
    sums = {k: decay * turn.extras[k] + (1 - decay) * mean for k, mean in zip(NAMES, means, strict=True)}
    weight = 1 - decay ** (turn.done + 1).astype(
        means[0].dtype
    )  # of all means so far: an average from the first update on
    anchors = (sums[name] / weight for name in NAMES)
    return turn.loss.lecam * lecam(*turn.logits, *anchors).mean(), sums


LECAM = Regulariser(name="lecam", network="d", wanted=lambda loss: loss.lecam > 0, value=_value, extras=NAMES)
