"""Real processes, killed at random moments and started again by the same command, end where an unkilled one ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gan_jax.config import to_dict
from gan_jax.train.checkpoint.storage import complete, unfinished
from tests.conftest import REPO
from tests.train.toy import images, run_config

TRAIN = """
import sys
from tests.train import toy
toy.install()
from gan_jax.cli.main import main
file, folder, *options = sys.argv[1:]
sys.exit(main(["train", file, "--out", folder, *options]))
"""


@pytest.fixture
def begin(tmp_path):
    x, y = images()
    np.savez(tmp_path / "data.npz", images=x, labels=y)
    # Saves so often that a kill falls into one: every 2nd of 100 dispatches.
    config = run_config(f"npz:{tmp_path / 'data.npz'}", kimg=1.6, devices=1)
    config_file = tmp_path / "config.json"
    values = to_dict(config)
    values["checkpoint"]["every_kimg"] = 0.032
    config_file.write_text(json.dumps(values))
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def start(folder, *options):
        command = [sys.executable, "-c", TRAIN, str(config_file), str(folder), *options]
        return subprocess.Popen(
            command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return start


def finish(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out[-2000:]
    return out


def wait_for(condition, process, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()[-2000:]
        assert time.monotonic() < end, "the run did not get that far"
        time.sleep(0.002)


def result(folder):
    """Digests of the last checkpoint, the weights' bytes, and the rows without their times."""
    (manifest,) = (folder / "checkpoints" / "1600").rglob("*manifest*.json*")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_s")} for line in lines]
    leaves = json.loads(manifest.read_text())["leaves"]
    return rows, leaves, (folder / "weights" / "weights.safetensors").read_bytes()


def kill_and_finish(begin, folder, kills, seed):
    """Kills a run as often as the numbers of `kills` say, the odd ones in the middle of a save."""
    draw = random.Random(seed)
    checkpoints = folder / "checkpoints"
    for i in kills:
        with begin(folder) as process:
            if i % 2:  # in the middle of a save
                wait_for(lambda: checkpoints.is_dir() and unfinished(checkpoints), process)
            else:
                done = max(complete(checkpoints), default=0) if checkpoints.is_dir() else 0
                later = lambda done=done: checkpoints.is_dir() and max(complete(checkpoints), default=0) > done
                wait_for(later, process)
                time.sleep(draw.uniform(0, 0.1))
            process.kill()
    with begin(folder) as process:
        assert "done" in finish(process)


@pytest.mark.slow
def test_killed_runs_end_where_an_unkilled_one_ends(tmp_path, begin):
    whole = begin(tmp_path / "whole")
    kill_and_finish(begin, tmp_path / "killed", [1], seed=0)
    finish(whole)
    got, want = result(tmp_path / "killed"), result(tmp_path / "whole")
    assert got[0] == want[0] and len(want[0]) == 100
    assert got[1] == want[1] and got[2] == want[2]


@pytest.mark.slow
def test_sigterm_saves_exits_with_75_and_goes_on(tmp_path, begin):
    whole, folder = begin(tmp_path / "whole"), tmp_path / "stopped"
    with begin(folder) as process:
        wait_for(lambda: complete(folder / "checkpoints") if (folder / "checkpoints").is_dir() else [], process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 75, out[-2000:]
        assert "the same command goes on" in " ".join(out.split())
    with begin(folder) as process:
        finish(process)
    finish(whole)
    assert result(folder) == result(tmp_path / "whole")


@pytest.mark.slow
def test_many_kills(tmp_path, begin):
    whole = begin(tmp_path / "whole")
    kill_and_finish(begin, tmp_path / "killed", range(5), seed=1)
    finish(whole)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


@pytest.mark.slow
def test_adaptive_augmentation_goes_on_from_its_strength(tmp_path, begin):
    """`gan-jax train --augment.ada bgc`, with a p that moves: a change is a tenth of its range."""
    options = ("--augment.ada", "bgc", "--augment.ada-p", "0.5", "--augment.ada-kimg", "0.32", "--optim.lr", "0.01")
    ada = lambda folder: begin(folder, *options, "--augment.ada-target", "0.3")
    whole = ada(tmp_path / "whole")
    kill_and_finish(ada, tmp_path / "killed", 2, seed=2)
    finish(whole)
    got, want = result(tmp_path / "killed"), result(tmp_path / "whole")
    assert got == want
    p = np.array([row["ada_p"] for row in want[0]])
    assert abs(p[0] - 0.5) < 1e-6 and np.unique(p.round(3)).size > 3, p
