"""The loop on the host: what it compiles, what it moves, and when it stops."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import FinetuneConfig
from gan_jax.tasks import task_of
from gan_jax.train import step
from gan_jax.train.checkpoint.storage import complete
from gan_jax.train.feed import resident_feed, streamed_feed
from gan_jax.train.fit import Hooks, NonFiniteError, is_due, total_images
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.run import run
from tests.lanes import default_rows
from tests.train.games import make_state
from tests.train.toy import build_toy, images, run_config


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


class Batches:
    """A host pipeline over the toy's images."""

    def __init__(self):
        self.at = 0

    def __next__(self):
        x, _ = images()
        self.at += 1
        return {"image": np.roll(x, self.at, 0)[:8]}

    def cursor(self):
        return {"at": self.at}

    def restore(self, cursor):
        self.at = cursor["at"]


def make_trainer(**options):
    """A trainer on resident images, and its state at the start."""
    config = run_config("unused", **options)
    trainer = Trainer(config, task_of(), resident_feed(images()[0], None, True))
    return trainer, make_state(trainer)


@pytest.mark.parametrize("compiler, streamed", default_rows([("jit", False), ("pmap", True)], [("jit", False)]))
def test_one_dispatch_compiles_and_no_other(compiler, streamed):
    trainer, state = make_trainer(compile=compiler, kimg=0.08)
    if streamed:
        trainer = trainer.replace(feed=streamed_feed(Batches()))
    compiled, seen = [], []

    def listen(event: str, seconds: float, **_) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    def row(at, metrics):
        seen.append((at, len(compiled)))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        # The last dispatch saves and is looked at; what it does beside training may compile.
        state, stopped = trainer.fit(state, Hooks(row=row))
    finally:
        # Older versions of JAX cannot; what stays then fills a list that nobody reads.
        getattr(jax.monitoring, "unregister_event_duration_listener", lambda _: None)(listen)
    assert not stopped and int(state.images) == 80
    assert [at for at, _ in seen] == [16, 32, 48, 64, 80]
    counts = [n for _, n in seen]
    assert counts[0] >= 1 and counts[0] == counts[-2], "a later dispatch compiled"


def test_a_host_transfer_inside_the_loop_would_be_an_error():
    trainer, state = make_trainer(kimg=0.032, devices=1)
    # Data that are not on the device would be copied in every dispatch; the guard does not let them.
    careless = {
        phases: dataclasses.replace(program, put_data=lambda data: data)
        for phases, program in trainer.compile().items()
    }
    with pytest.raises(Exception, match="(?i)disallowed host-to-device transfer"):
        trainer.fit(state, programs=careless)


def test_values_that_are_not_finite_stop_the_run_and_are_not_saved(tmp_path, monkeypatch):
    """NaN from step 15 on, in a dispatch that would be saved: the save after 64 images (step 8) stays the last."""
    original = step.learning_rate

    def poisoned(config, lr, total, seen):
        return original(config, lr, total, seen) * jnp.where(seen >= 120, jnp.nan, 1.0)

    monkeypatch.setattr(step, "learning_rate", poisoned)
    x, y = images()
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError) as caught:
        run(run_config(f"npz:{tmp_path / 'data.npz'}", devices=1), folder)
    text = str(caught.value)
    assert "in step 14 (128 images)" in text and "last good checkpoint: 64 images" in text
    assert "g/params/" in text and "optim.lr" in text
    assert complete(folder / "checkpoints") == [64]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [16, 32, 48, 64, 80, 96, 112]
    assert not (folder / "weights").exists()


def test_d_warms_up_and_then_both_train():
    trainer, state = make_trainer(kimg=0.064, devices=1)
    transfer = FinetuneConfig(networks="g", d_warmup_kimg=0.032)
    log = dataclasses.replace(trainer.config.log, grid_every_kimg=0.016)
    trainer = trainer.replace(config=dataclasses.replace(trainer.config, transfer=transfer, log=log))
    assert list(trainer.compile()) == [("d",), ("d", "g")]

    def of_g(state):
        leaves = jax.tree_util.tree_leaves((state.nets["g"], state.ema["g"], state.opt["g"]))
        return [np.asarray(leaf).tobytes() for leaf in leaves]

    g, seen, rows = of_g(state), [], []
    hooks = Hooks(
        grid=lambda at, state: seen.append((at, of_g(state) == g)),
        row=lambda at, row: rows.append((at, "loss_g" in row)),
    )
    trainer.fit(state, hooks)
    assert seen == [(16, True), (32, True), (48, False), (64, False)]
    assert rows == [(16, False), (32, False), (48, True), (64, True)]


def test_lengths_and_marks_are_whole_dispatches():
    """Dispatches of 16 images: a run of 100 has 7 of them; marks at 40, 80 and 120 are seen at the end of a dispatch, once."""
    config = run_config("unused", kimg=0.1)
    assert total_images(config) == 112
    ends = range(16, 129, 16)
    assert [end for end in ends if is_due(config, 0.04, end)] == [48, 80, 128]
    assert not any(is_due(config, None, end) for end in ends)
