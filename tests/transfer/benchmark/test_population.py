"""A replica of a population is the run that it would be by itself."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import EvalConfig
from gan_jax.transfer.benchmark.config import trial_config, trials
from gan_jax.transfer.benchmark.population import STRATEGIES, Stopped, make_setup
from gan_jax.transfer.benchmark.runner import Measures
from gan_jax.transfer.run import run
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.transfer.benchmark.benches import make_bench

RATES = (1e-3, 4e-3)
UNSEEN = EvalConfig(features=None)  # a run is the same whether it is measured or not


@pytest.fixture
def bench(tmp_path):
    return make_bench(tmp_path, lrs=RATES)


def replicas_of(bench, method):
    configs = [trial_config(bench, trial) for trial in trials(bench) if trial.method == method]
    measures, setup = Measures(None), make_setup(configs[0], 6, scaled=True)
    return configs, setup, [setup.replica(one, measures.dataset(one)) for one in configs]


def nothing(*_):
    pass


@pytest.mark.parametrize("way", default_rows(STRATEGIES, ["population"]))
def test_members_are_runs(way, bench, tmp_path):
    """Three replicas, so that one of two devices has one more: other weights, images and learning rates each."""
    configs, setup, replicas = replicas_of(bench, "freeze_d")
    seen = []
    trained = STRATEGIES[way](setup, replicas[:3], lambda i, images, *_: seen.append((i, images)), lambda: False)
    assert sorted(seen) == [(i, images) for i in range(3) for images in (32, 64)]
    for i in (2,):
        alone = run(dataclasses.replace(configs[i], evaluate=UNSEEN), tmp_path / f"alone{i}").state
        networks = lambda state: flatten({"nets": state.nets, "ema": state.ema})
        want, got = networks(alone), networks(trained.states[i])
        for path, value in want.items():
            assert_allclose(got[path], value, rtol=2e-4, atol=2e-6, err_msg=f"{configs[i].optim.lr} {path}")
    first, other = trained.states[0], trained.states[2]  # one seed, two learning rates
    kernel = lambda state: state.nets["g"]["params"]["fc0"]["kernel"]
    assert np.abs(kernel(first) - kernel(other)).max() > 1e-3


def test_populations_see_their_own_images(bench):
    _, _, replicas = replicas_of(bench, "scratch")
    assert (replicas[0].feed.resident["image"] != replicas[1].feed.resident["image"]).any()


@pytest.mark.parametrize("way", default_rows(STRATEGIES, ["population"]))
def test_a_member_that_breaks_leaves_the_others(way, bench):
    _, setup, replicas = replicas_of(bench, "scratch")
    d = replicas[0].state.nets["d"]
    broken = jax.tree_util.tree_map(lambda x: x * np.nan, d["params"])
    state = replicas[0].state.with_nets(d={**d, "params": broken})
    trained = STRATEGIES[way](
        setup, [dataclasses.replace(replicas[0], state=state), replicas[1]], nothing, lambda: False
    )
    assert list(trained.failures) == [0] and "not finite" in trained.failures[0]
    assert trained.states[0] is None and np.isfinite(trained.states[1].nets["g"]["params"]["fc0"]["kernel"]).all()


@pytest.mark.parametrize("way", default_rows(STRATEGIES, ["population"]))
def test_stopped(way, bench):
    _, setup, replicas = replicas_of(bench, "scratch")
    with pytest.raises(Stopped):
        STRATEGIES[way](setup, replicas[:2], nothing, lambda: True)
