"""Runs with regularisers: the same on any number of devices, and after a stop; lazy ones come when they are due."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from gan_jax.config import AugmentConfig, LossConfig
from gan_jax.transfer.run import Callbacks, run
from tests.lanes import default_rows
from tests.train.checkpoint_states import assert_same
from tests.train.games import assert_parity, dispatches, make_config, make_state, make_trainer
from tests.train.toy import STYLED, build_styled, images, run_config

PATHS = {"path_length": 2.0, "path_length_interval": 2}
LOSSES = {
    "all": LossConfig(
        "non_saturating", r1_gamma=1.0, penalty_interval=2, lecam=0.3, bcr_real=10.0, bcr_fake=10.0, zcr_d=5.0,
        zcr_g=0.5, orthogonal_g=1e-2, orthogonal_d=1e-2, **PATHS,
    ),
    "running values": LossConfig("non_saturating", lecam=0.3, **PATHS),
    "path length": LossConfig(**PATHS),
    "path length, eager": LossConfig(path_length=2.0, path_length_interval=1, path_length_shrink=3),
    "lecam": LossConfig(lecam=0.3),
    "bcr": LossConfig(bcr_real=10.0, bcr_fake=10.0),
    "bcr, real alone": LossConfig(bcr_real=10.0),
    "zcr": LossConfig(zcr_d=5.0, zcr_g=0.5, zcr_sigma=0.1),
    "orthogonal": LossConfig(orthogonal_g=1e-2, orthogonal_d=1e-2),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.stylegan2.make", build_styled)


@pytest.mark.parametrize("name", default_rows(LOSSES, ["running values"]))
def test_every_number_of_devices_computes_the_same(name):
    config = make_config(LOSSES[name], ("translation",), net=STYLED)
    if name == "running values":  # with ADA, whose p is one, too
        config = dataclasses.replace(config, augment=AugmentConfig(ada="color", ada_kimg=0.064, ada_p=0.7))
    assert_parity(config, [("jit", 8)])


def test_lazy_path_lengths_come_in_every_kth_update_of_g():
    trainer = make_trainer(make_config(LossConfig(path_length=2.0, path_length_interval=3), net=STYLED))
    rows = list(itertools.islice(dispatches(trainer, make_state(trainer)), 5))
    means = [float(leaves["extras/path_length"]) for leaves, _ in rows]
    assert [float(metrics["path_penalty"]) > 0 for _, metrics in rows] == [True, False, False, True, False]
    assert 0 < means[0] == means[1] == means[2] < means[3] == means[4]
    assert rows[-1][0]["opt_g/count"] == 5 + 2


class Broken(RuntimeError):
    pass


class Fails(Callbacks):
    def row(self, row):
        if row["images"] == 112:
            raise Broken


@pytest.mark.slow
def test_stopped_and_resumed_is_never_stopped(tmp_path):
    """Saved at 64 of 192 images, between two path lengths, with all running values."""
    x, y = images()
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    config = run_config(f"npz:{tmp_path / 'data.npz'}", steps_per_dispatch=1)
    loss = dataclasses.replace(LOSSES["all"], path_length_interval=3, penalty_interval=5)
    config = dataclasses.replace(config, net=STYLED, loss=loss)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(Broken):
        run(config, tmp_path / "stopped", Fails())
    resumed = run(config, tmp_path / "stopped")
    assert resumed.start is None
    assert_same(resumed.state, whole.state)
    kept = {name: float(value) for name, value in resumed.state.extras.items()}
    assert set(kept) == {"path_length", "lecam_real", "lecam_fake"} and all(kept.values())
