"""Real processes that train one run together: what they read, save, resume and end with is what one process does."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import AugmentConfig, LossConfig, OptimConfig, to_dict
from gan_jax.train.checkpoint.storage import complete
from tests.conftest import REPO
from tests.train.toy import images, run_config

# Runs the command line, and writes down which images were read and the state that training ended with.
WORKER = """
import os, sys
import numpy as np
import optax
from tests.train import toy
toy.install()
from gan_jax.cli.main import main
from gan_jax.train import feed, update
from gan_jax.transfer import run as runs

out, *argv = sys.argv[1:]
update.make_adam = lambda *_: optax.identity()
read, stack, fit = [], feed.Feed.stack, runs.fit

def stack_and_note(self, *args):
    batches = stack(self, *args)
    read.append(batches["image"])
    return batches

def fit_and_note(*args):
    state, stopped = fit(*args)
    values = {p: np.asarray(v) for p, v in runs.flatten(state).items() if p != "key"}
    np.savez(out, **{p.replace("/", ":"): v for p, v in values.items()}, read=np.stack(read) if read else np.zeros(0))
    return state, stopped

from gan_jax.trees import flatten
runs.flatten, feed.Feed.stack, runs.fit = flatten, stack_and_note, fit_and_note
sys.exit(main(argv))
"""
TIMEOUT_S = 240


@pytest.fixture
def start(tmp_path):
    """`start(folder, processes)`: the processes of a run, and the files they write at its end; killed after the test."""
    x, y = images()
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    config = run_config(f"npz:{tmp_path / 'data.npz'}")
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, pipeline="grain", mirror=True),
        # A game in which real and generated images are paired and each has draws of its own: places in a batch matter.
        loss=LossConfig("relativistic", r1_gamma=0.5),
        augment=AugmentConfig(("color", "translation")),
        optim=OptimConfig(lr=0.05),
    )
    config_file = tmp_path / "config.json"
    config_file.write_text(json.dumps(to_dict(config)))
    started, names = [], iter(range(100))

    def begin(folder, processes, *options):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        outs = [tmp_path / f"out{next(names)}.npz" for _ in range(processes)]
        workers = []
        for rank, out in enumerate(outs):
            environment = os.environ | {
                "JAX_PLATFORMS": "cpu",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                "JAX_NUM_CPU_DEVICES": str(2 // processes),
                "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(rank),
            }
            argv = ["train", str(config_file), "--out", str(folder), *options]
            argv += ["--distributed"] if processes > 1 else []
            command = [sys.executable, "-c", WORKER, str(out), *argv]
            with open(f"{out}.log", "w") as log:  # not a pipe, which would be full while the other is waited for
                workers.append(subprocess.Popen(command, cwd=REPO, env=environment, stdout=log, stderr=log))
        started.extend(workers)
        return workers, outs

    yield begin
    for worker in started:
        worker.kill()
        worker.wait()


def log_of(out):
    return Path(f"{out}.log").read_text()


def finish(run, code=0):
    """Waits for the processes, and gives what each wrote."""
    workers, outs = run
    end = time.monotonic() + TIMEOUT_S
    while any(worker.poll() is None for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    said = "\n".join(f"{out}:\n{log_of(out)[-3000:]}" for out in outs)
    assert [worker.poll() for worker in workers] == [code] * len(workers), said
    written = []
    for out in outs:
        with np.load(out) as file:
            written.append(dict(file))
    return [one.pop("read") for one in written], written


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path, start):
    (read,), (one,) = finish(start(tmp_path / "one", 1))
    reads, (first, second) = finish(start(tmp_path / "two", 2))
    for path, value in one.items():
        assert_array_equal(first[path], second[path], err_msg=path)
        assert_allclose(first[path], value, rtol=2e-4, atol=2e-6, err_msg=path)
    # [dispatches, steps, d_steps, images]: each process reads its half of every batch, and together they read it all.
    assert [r.shape[3] for r in reads] == [4, 4] and len(read) == 12
    assert_array_equal(np.concatenate(reads, axis=3), read)
    rows = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["images"] for row in rows] == list(range(16, 193, 16)), "only one process writes"

    reads, again = finish(start(tmp_path / "two", 2, "--at", "128"))  # goes on from the middle
    assert [len(r) for r in reads] == [4, 4]
    for path, value in first.items():
        for other in again:
            assert other[path].tobytes() == value.tobytes(), path


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_all(tmp_path, start):
    folder = tmp_path / "stopped"
    run = start(folder, 2)
    end = time.monotonic() + TIMEOUT_S
    while not ((folder / "checkpoints").is_dir() and complete(folder / "checkpoints")) and time.monotonic() < end:
        assert all(worker.poll() is None for worker in run[0])
        time.sleep(0.002)
    run[0][1].send_signal(signal.SIGTERM)
    _, stopped = finish(run, 75)
    (at,) = {int(one["images"]) for one in stopped}
    assert at < 192 and max(complete(folder / "checkpoints")) == at
    _, (first, second) = finish(start(folder, 2))
    assert int(first["images"]) == 192
    for path in first:
        assert_array_equal(first[path], second[path], err_msg=path)


@pytest.mark.slow
def test_what_ends_the_first_process_ends_the_others(tmp_path, start):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": to_dict(run_config("npz:other"))}))
    workers, outs = start(folder, 2)
    assert [worker.wait(TIMEOUT_S) for worker in workers] == [2, 2]
    for out in outs:
        assert "holds a run of another configuration" in log_of(out)
