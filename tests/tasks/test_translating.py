"""Every task of images from images under every compiler, on several devices, resumed, averaged."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.train.checkpoint.manager import Checkpointer
from gan_jax.train.fit import Hooks
from tests.lanes import default_rows
from tests.tasks.translating import BATCH, TASKS, begin, config_of, values
from tests.train.checkpoint_states import assert_same

COUNT = 4 * BATCH  # examples of a run


@pytest.mark.parametrize("name", TASKS)
def test_a_run_resumes_to_the_bit(name, tmp_path):
    config = config_of(name)
    trainer, state = begin(config)
    before, rows = values(state.nets), []
    with Checkpointer(tmp_path) as saver:
        saved = dataclasses.replace(config, checkpoint=dataclasses.replace(config.checkpoint, every_kimg=COUNT / 2000))
        hooks = Hooks(
            save=lambda images, state: saver.save(images, state), row=lambda images, row: rows.append(row)
        )  # fmt: skip
        programs = trainer.compile()
        whole, _ = trainer.replace(config=saved).fit(jax.tree.map(jnp.copy, state), hooks, programs)
        saver.wait()
        half = saver.restore(jax.eval_shape(lambda: begin(config)[1]), images=COUNT // 2)
    assert half.images == COUNT // 2 and int(whole.images) == COUNT
    assert_same(trainer.fit(half.state, programs=programs)[0], whole)
    after = values(whole.nets)
    still = [p for p, leaf in before.items() if "/params/" in p and (after[p] == leaf).all()]
    assert not still
    assert all(np.isfinite(leaf).all() for leaf in after.values())
    assert {"loss_g", "loss_d", "logits_real"} <= set(rows[-1])
    for average in trainer.task.averaged:
        path = next(p for p in before if p.startswith(f"{average}/params") and p.endswith("kernel"))
        mean = values(whole.ema)[path]
        assert (mean != before[path]).any() and (mean != after[path]).any()


ROWS = [(name, compiler) for name in TASKS for compiler in ("jit", "pmap")]


@pytest.mark.parametrize(
    "name, compiler", default_rows(ROWS, [*((name, "jit") for name in TASKS), ("unpaired", "pmap")])
)
def test_two_devices_compute_what_one_does(name, compiler):
    """Three steps, in which pools get full and give images back."""
    config = config_of(name)
    # Tiny networks amplify rounding, from step to step, where they divide by next to nothing: SPADE's batch norm in first
    # maps of 1 px, and CUT's MLP of 8 channels in patches whose channels are all negative.
    if name == "layout":
        config = dataclasses.replace(config, net=dataclasses.replace(config.net, resolution=64))
    if name == "one_sided":
        config = dataclasses.replace(config, task=dataclasses.replace(config.task, mlp=32))
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, kimg=3 * BATCH / 1000, steps_per_dispatch=3)
    )
    trainer, state = begin(config)
    want = values(trainer.fit(jax.tree.map(jnp.copy, state))[0])
    train = dataclasses.replace(config.train, compile=compiler, devices=2)
    other, state = begin(dataclasses.replace(config, train=train))
    got = values(other.fit(state)[0])
    for path, leaf in want.items():
        if "opt_" not in path:
            assert_allclose(got[path], leaf, rtol=1e-5, atol=1e-5, err_msg=path)
