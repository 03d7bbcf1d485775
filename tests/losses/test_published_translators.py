"""Losses of translators and the gradient penalty of a PatchGAN as the published code computes them."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.interop.layouts.translation import IGNORED, find
from gan_jax.losses import gradient_penalty, whole
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, golden, imported, nhwc, under
from tests.nets.test_translation_golden import QUICK, close_gradients

NAMES = {"vanilla": "non_saturating", "lsgan": "least_squares", "wgangp": "wasserstein"}


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_of_a_map_of_logits(name):
    arrays = golden("gan_losses.npz")
    logits, loss = nhwc(arrays["in/logits"]), whole(NAMES[name])
    taken_for_real = lambda x: loss(x, x)[1].mean()  # what G minimises is D's loss of real images
    sides = {"real": taken_for_real, "fake": lambda x: loss(jax.lax.stop_gradient(x), x)[0].mean()}
    real, slope = jax.value_and_grad(taken_for_real)(logits)
    assert_allclose(real, arrays[f"out/{name}_real/loss"], rtol=1e-5)
    close(slope, nhwc(arrays[f"grad_in/{name}_real/logits"]), 1e-5)
    both, slope = jax.value_and_grad(sides["fake"])(logits)
    assert_allclose(both - real, arrays[f"out/{name}_fake/loss"], rtol=1e-5)
    close(slope, nhwc(arrays[f"grad_in/{name}_fake/logits"]), 1e-5)


@functools.cache
def discriminator():
    arrays = golden("gan_losses.npz")
    foreign = find(under(arrays, "D/"))
    part, d = foreign.parts["d"], build(foreign.config).d
    return arrays, d, imported(dict(part.tensors), part.links, IGNORED, d.specs()), part.links


@pytest.mark.parametrize("case, share", [("mixed", None), ("real", 1.0), ("fake", 0.0)])
def test_gradient_penalty_and_its_gradients(case, share):
    arrays, d, variables, links = discriminator()
    real, fake = nhwc(arrays["in/real"]), nhwc(arrays["in/fake"])
    mix = jnp.asarray(arrays["in/alpha"][:, 0]) if share is None else jnp.full((len(real),), share)

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.value_and_grad
    def penalty(params):
        critic = lambda x: d.apply({"params": params}, x, train=True)[0]
        return 10 * gradient_penalty(critic, real, fake, mix).mean()

    value, gradients = penalty(variables["params"])
    assert_allclose(value, arrays[f"out/gp_{case}/penalty"], rtol=1e-4)
    meta = json.loads(str(arrays["meta"]))
    head = [path for path in flatten(gradients) if path.startswith("head")]
    assert head and np.isfinite(np.asarray(flatten(gradients)[head[0]])).all()
    close_gradients(gradients, arrays, meta, f"gp_{case}", links)
