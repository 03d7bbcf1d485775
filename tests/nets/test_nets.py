"""Networks behind their two functions: statistics of a batch, growing widths, what is asked for and not there."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from gan_jax.config import ConfigError, MLPConfig, StyleGAN2Config
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.nets.families import inputs, pair_of
from tests.nets.test_conformance import QUICK


def test_statistics_are_those_of_the_batch():
    """Evaluation with them is the training pass: with running averages it is not."""
    pair = pair_of("resnet", 16)
    z, _, _ = inputs(pair.config)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(key):
        variables = pair.g.init(key)
        exact = {**variables, "batch_stats": pair.g.statistics(variables, z)}
        return pair.g.apply(variables, z, train=True)[0], pair.g.apply(exact, z)[0], pair.g.apply(variables, z)[0]

    trained, exact, running = run(jax.random.key(0))
    np.testing.assert_allclose(exact, trained, atol=2e-4)
    assert np.abs(running - trained).max() > 1e-2


def test_a_pair_that_is_first_built_inside_a_trace_is_whole_outside_of_it():
    config = MLPConfig(resolution=4, channels=1, z_dim=3, g_widths=(2, 5), d_widths=(2,))  # of no other test
    inside = jax.eval_shape(lambda key: build(config).g.init(key), jax.random.key(0))
    assert jax.tree.structure(build(config).g.init(jax.random.key(0))) == jax.tree.structure(inside)


def test_a_pair_that_is_first_built_in_double_precision_is_the_usual_one_without_it():
    config = StyleGAN2Config(resolution=8, z_dim=3, w_dim=5, mapping_layers=1, channel_max=3)  # of no other test
    with jax.enable_x64(True):
        build(config)
    assert {leaf.dtype.name for leaf in flatten(build(config).g.specs()["params"]).values()} == {"float32"}


def test_widths_do_not_depend_on_the_final_size():
    """A pair of another resolution has the same blocks below, so that growing finds them."""
    small, large = (flatten({"g": pair_of("resnet", r).g.specs()}) for r in (16, 32))
    shared = {path for path in small if path.startswith(("g/params/b", "g/batch_stats/b"))}
    assert shared and all(large[path] == small[path] for path in shared)


@pytest.mark.parametrize("name", ["g", "d"])
def test_a_conditional_net_wants_labels(name):
    pair = pair_of("resnet-conditional", 16)
    net, x = getattr(pair, name), inputs(pair.config)["gd".index(name)]
    with pytest.raises(ValueError, match="needs labels .N. int32, one for each example; it was given none"):
        jax.eval_shape(lambda v: net.apply(v, x), net.specs())


def test_unknown_configuration():
    with pytest.raises(
        ConfigError,
        match="no network for int; the known ones are ResNetConfig, DCGANConfig, StyleGAN2Config, R3GANConfig",
    ):
        build(3)
