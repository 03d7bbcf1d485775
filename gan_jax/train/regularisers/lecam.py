"""LeCam regularisation, with moving averages of D's mean logits as anchors."""

from __future__ import annotations

import jax

from gan_jax.losses import lecam
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers.regulariser import Extras, Regulariser

NAMES = ("lecam_real", "lecam_fake")  # running sums of means, which start at 0


def _value(ctx: StepContext) -> tuple[jax.Array, Extras]:
    assert ctx.logits is not None
    decay = ctx.loss.lecam_decay
    means = jax.lax.stop_gradient(ctx.sync([logits.mean() for logits in ctx.logits]))
    sums = {k: decay * ctx.extras[k] + (1 - decay) * mean for k, mean in zip(NAMES, means, strict=True)}
    weight = 1 - decay ** (ctx.update_count + 1).astype(
        means[0].dtype
    )  # sum of the weights so far: `sums / weight` is an average from the first update on
    anchors = (sums[name] / weight for name in NAMES)
    return ctx.loss.lecam * lecam(*ctx.logits, *anchors).mean(), sums


LECAM = Regulariser(name="lecam", network="d", is_on=lambda loss: loss.lecam > 0, value=_value, extras=NAMES)
