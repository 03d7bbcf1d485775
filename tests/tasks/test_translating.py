"""Every task of images from images under every compiler, on several devices, resumed, averaged."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import OneSidedTask, PairedTask, UnpairedTask
from gan_jax.tasks.one_sided import one_sided_task
from gan_jax.tasks.paired import paired_task
from gan_jax.tasks.unpaired import unpaired_task
from gan_jax.train.checkpoint.manager import Checkpointer
from gan_jax.train.fit import Hooks
from tests.lanes import default_rows
from tests.tasks.lines import begin as start_of_lines
from tests.tasks.lines import config_of as line_config
from tests.tasks.lines import one_sided_nets, paired_nets, unpaired_nets
from tests.tasks.translating import BATCH, TASKS, begin, config_of, values
from tests.train.checkpoint_states import assert_same

COUNT = 4 * BATCH  # examples of a run


@pytest.mark.parametrize("name", default_rows(TASKS, ["one_sided"]))
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


@pytest.mark.parametrize("name, compiler", default_rows(ROWS, [("paired", "jit")]))
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


# ----------------------------------------------------------------------------------------------------------------------
# The same of networks of a few numbers.


LINES = {  # task -> its networks, what makes it, its loss, channels
    "paired": (PairedTask(), paired_nets(1.5, (0.7, 0.1)), paired_task, "non_saturating", 1),
    "unpaired": (UnpairedTask(pool=6), unpaired_nets(1.5, 0.5, (0.7, 0.1), (-0.4, 0.3)), unpaired_task, "hinge", 1),
    "one_sided": (OneSidedTask(layers=(0,), patches=9, pool=3), one_sided_nets(0.9, 0.5), one_sided_task, "hinge", 2),
}


@pytest.mark.parametrize("name, compiler", [("paired", "pmap"), ("unpaired", "pmap"), ("one_sided", "jit")])
def test_lines_on_two_devices_and_resumed(name, compiler, monkeypatch, tmp_path):
    task, networks, make_task, loss, channels = LINES[name]
    config = line_config(task, loss, channels, d_condition=name == "paired")
    train = dataclasses.replace(config.train, batch=BATCH, kimg=COUNT / 1000, steps_per_dispatch=2)
    checkpoint = dataclasses.replace(config.checkpoint, every_kimg=COUNT / 2000)
    rng = np.random.default_rng(0)
    data = {part: rng.uniform(-1, 1, (24, 4, 4, channels)).astype(np.float32) for part in ("input", "image")}
    states = []
    for devices in (1, 2):
        config = dataclasses.replace(
            config, checkpoint=checkpoint, train=dataclasses.replace(train, devices=devices, compile=compiler)
        )
        trainer, state = start_of_lines(config, networks, make_task, data, monkeypatch)
        programs = trainer.compile()
        with Checkpointer(tmp_path / str(devices)) as saver:
            hooks = Hooks(save=lambda images, state, saver=saver: saver.save(images, state))
            whole, _ = trainer.fit(jax.tree.map(jnp.copy, state), hooks, programs)
            saver.wait()
            half = saver.restore(jax.eval_shape(lambda state=state: state), images=COUNT // 2)
        assert half.images == COUNT // 2 and int(whole.images) == COUNT
        assert_same(trainer.fit(half.state, programs=programs)[0], whole)
        states.append((values(state), values(whole)))
    (before, want), (_, got) = states
    moved = {path for path, leaf in want.items() if "/params/" in path and (leaf != before[path]).any()}
    assert {path.split("/")[0] for path in moved} >= {*networks.generators, *networks.discriminators}
    for path, leaf in want.items():
        assert_allclose(got[path], leaf, rtol=1e-5, atol=1e-6, err_msg=path)
