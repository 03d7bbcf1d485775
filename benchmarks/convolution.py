"""The convolution of gan_jax/nets/conv.py against XLA's own, outside and inside control flow.

On CPU the backward convolutions that autodiff derives run many times slower inside `scan` and `cond`. Run it again with
every new JAX: where the ratio is 1, the remedy can be removed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._timing import best_ms
from gan_jax.nets.conv import _plain_conv, conv

TITLE = "Two gradient steps of two 3x3 convolutions, 32 images of 16 px, 32 channels"
STEPS = 2
Step = Callable[[jax.Array], jax.Array]


def run() -> list[dict[str, Any]]:
    """One row for each place: ms with XLA's own form and with ours, and their ratio."""
    x = jax.random.normal(jax.random.key(0), (32, 16, 16, 32))
    w = jax.random.normal(jax.random.key(1), (3, 3, 32, 32)) / 17
    plain = lambda x, w: _plain_conv(x, w, ((1, 1), (1, 1)), 1)
    rows = []
    for place, loop in PLACES.items():
        compiled = {
            name: jax.jit(lambda w, f=form, loop=loop: loop(_step(f, x), w))
            for name, form in (("xla", plain), ("ours", conv))
        }
        ms = best_ms({name: lambda f=f: f(w) for name, f in compiled.items()})
        rows.append(
            {"place": place, "xla_ms": ms["xla"], "ours_ms": ms["ours"], "xla_over_ours": ms["xla"] / ms["ours"]}
        )
    return rows


def _step(form: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array) -> Step:
    loss = lambda w: jnp.square(form(jnp.tanh(form(x, w)), w)).mean()
    return lambda w: w - 0.1 * jax.grad(loss)(w)


def _unrolled(step: Step, w: jax.Array) -> jax.Array:
    for _ in range(STEPS):
        w = step(w)
    return w


def _scan(step: Step, w: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda w, _: (step(w), None), w, None, length=STEPS)[0]


def _cond(step: Step, w: jax.Array) -> jax.Array:
    return jax.lax.cond(w.sum() < 1e9, lambda w: _unrolled(step, w), lambda w: w, w)


PLACES = {"unrolled": _unrolled, "scan": _scan, "cond": _cond}
