"""Every bit of a seed counts, and small ones keep their streams."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax import config as c
from gan_jax.config import Config
from gan_jax.seeds import SeedError, check_seed, root_key, word_of

data = lambda key: np.asarray(jax.random.key_data(key)).tolist()


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31, 2**32 - 1])
def test_seeds_of_32_bits_are_what_they_were(seed):
    assert data(root_key(seed)) == data(jax.random.key(seed))
    assert word_of(seed) == seed


def test_all_bits_count():
    seeds = [0, 1, 2**31, *(2**n for n in range(32, 64)), 2**32 + 1, 2**64 - 1]
    assert len({tuple(data(root_key(seed))) for seed in seeds}) == len(seeds)
    words = [word_of(seed) for seed in seeds]
    assert len(set(words)) == len(seeds) and max(words) < 2**32
    assert data(root_key(2**32)) == data(jax.random.fold_in(jax.random.key(0), 1))  # so that it stays


@pytest.mark.parametrize(
    ("seed", "says"),
    [
        (-1, "--seed is -1; use a whole number from 0 to 2"),
        (2**64, "--seed is 18446744073709551616; use a whole number from 0"),
        pytest.param(10**5000, "--seed is a value of type int; use", id="digits"),
        (1.5, "--seed must be a whole number, not 1.5"),
        (True, "--seed must be a whole number, not True"),
    ],
)
def test_what_is_no_seed(seed, says):
    for use in (check_seed, root_key, word_of):
        with pytest.raises(SeedError, match=says):
            use(seed, "--seed")


@pytest.mark.parametrize("seed", [-1, 2**64, 10**20])
def test_a_configuration_with_such_a_seed_cannot_run(seed):
    with pytest.raises(c.ConfigError) as error:
        Config(
            train=c.TrainConfig(seed=seed), data=c.DataConfig(subset_seed=seed), evaluate=c.EvalConfig(seed=seed)
        ).validate()
    for name in ("train.seed", "data.subset_seed", "evaluate.seed"):
        assert f"{name} is {seed}; use a whole number from 0 to 2^64 - 1" in str(error.value)
    Config(train=c.TrainConfig(seed=2**64 - 1)).validate()


def test_weights_of_a_large_seed_are_others():
    from gan_jax.nets import build
    from gan_jax.transfer.weights import fresh_variables

    pair = build(c.MLPConfig(resolution=4, z_dim=2, g_widths=(4,), d_widths=(4,)))
    first = lambda seed: np.asarray(jax.tree.leaves(fresh_variables(pair, seed)["g"]["params"])[1])
    assert not np.array_equal(first(0), first(2**32))


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "x", "--out", "o"),
        ("merge", "a", "b", "--out", "o"),
        ("align", "a", "b", "--out", "o"),
        ("rank-sources", "a"),
        ("transplant", "embedded:fashion16", "--out", "o"),
    ],
)
def test_verbs_say_it_before_they_read_anything(words, capsys, monkeypatch, tmp_path):
    from gan_jax.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main([*words, "--seed", "-3"]) == 2
    assert "--seed is -3; use a whole number from 0 to 2^64 - 1" in capsys.readouterr().err
