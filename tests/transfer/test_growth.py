"""The options of growth reach a run's start and the transplant verb; norms of new layers are calibrated."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import Config, DCGANConfig, FinetuneConfig, ResNetConfig
from gan_jax.nets import build
from gan_jax.surgery import PlanError, resize_images
from gan_jax.tasks.model import save
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import make_start, plan_transfer
from gan_jax.transfer.weights import fresh_variables

SMALL = DCGANConfig(resolution=16, channels=1, z_dim=8, channel_base=64, channel_max=6)


def test_options_reach_the_plan():
    plan = lambda net, **options: plan_transfer(Config(net=net, transfer=FinetuneConfig(**options)))
    wider = ResNetConfig(resolution=16, channel_max=26)
    made = plan(wider, width="net2wider", d_width="silent")
    assert made.notes[:2] == ("d: function preserved", "g: function preserved")
    ops = {entry.target: entry.op for entry in made.entries}
    assert ops["g/params/b8/conv0/kernel"] == "duplicate" and ops["d/params/b8/conv0/kernel"] == "widen_spectral"
    with pytest.raises(PlanError, match="use width='silent' for 'd'"):
        plan(wider, width="net2wider")
    made = plan(ResNetConfig(resolution=16, channel_max=8), narrow="strongest")
    assert {entry.op for entry in made.entries if entry.target.endswith("b8/conv0/kernel")} == {"important"}
    assert max(map(len, str(made).splitlines()[:-3])) < 200, "sources that are only looked at are counted"
    made = plan(ResNetConfig(resolution=16, channel_max=24, num_classes=2))
    assert made.notes[:2] == ("d: function preserved", "g: function preserved")


def test_a_run_starts_with_calibrated_norms(tmp_path):
    """After growth to twice the size, G in training mode still makes the donor's images."""
    old, new = build(SMALL), build(dataclasses.replace(SMALL, resolution=32))
    variables = fresh_variables(old, 0)
    save(tmp_path / "w", SMALL, {"g_ema": variables["g"], "d": variables["d"]}, {})
    config = Config(net=new.config, transfer=FinetuneConfig(source=str(tmp_path / "w")))
    start = make_start(config, new, make_method(config.transfer, new))
    assert start.differences and all(found.relative < 1e-5 for found in start.differences.values())
    assert start.plan and all("in evaluation mode" in note for note in start.plan.notes[:2])
    z = jax.random.normal(jax.random.key(3), (64, 8))
    images = lambda pair, v: np.asarray(jax.jit(lambda v: pair.g.apply(v, z, train=True)[0])(v))
    donor = np.asarray(resize_images(jnp.asarray(images(old, variables["g"])), 32, 1))
    stale = jax.tree.map(lambda x: x, start.nets["g"])
    stale["params"]["norm16"] = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    error = lambda v: np.abs(images(new, v) - donor).max() / np.abs(donor).max()
    assert error(start.nets["g"]) < 0.5 * error(stale), (error(start.nets["g"]), error(stale))
