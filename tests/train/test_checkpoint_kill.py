"""A process that only saves is killed again and again; what is there is always a state that it saved, whole."""

from __future__ import annotations

import random
import subprocess
import sys
import time

from gan_jax.train.checkpoint.manager import read
from gan_jax.train.checkpoint.storage import complete, unfinished
from tests.conftest import REPO
from tests.train.checkpoint_states import assert_same, make_state, make_template

SAVER = """
import sys
from tests.train.checkpoint_states import make_state, make_template
from gan_jax.train.checkpoint.manager import Checkpointer
checkpointer = Checkpointer(sys.argv[1], keep_last=2)
start = 0
if checkpointer.latest() is not None:
    start = int(checkpointer.restore(make_template()).state.step)
print("ready", flush=True)
for number in range(start + 1, start + 1000):
    checkpointer.save(number * 100, make_state(number), cursor={"position": number})
    print(number - 1, flush=True)  # the one before is on disk
"""


def test_killed_while_saving(tmp_path):
    draw = random.Random(0)
    torn = 0
    for _ in range(5):
        command = [sys.executable, "-c", SAVER, tmp_path]
        with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True) as saver:
            assert saver.stdout is not None and saver.stdout.readline() == "ready\n"
            while saver.stdout.readline() and draw.random() < 0.7:
                pass
            time.sleep(draw.uniform(0, 0.08))
            saver.kill()
            committed = [int(line) for line in saver.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        left = unfinished(tmp_path)
        torn += bool(left)
        if not complete(tmp_path):
            assert not any(committed)
            continue
        restored = read(tmp_path, make_template())
        number = restored.images // 100
        assert_same(restored.state, make_state(number))
        assert restored.cursor == {"position": number}
        assert number >= max(committed, default=0)
        assert all(any(name in note for note in restored.notes) for name in left)
    assert torn, "no kill fell into a save"
    for images in complete(tmp_path):
        assert_same(read(tmp_path, make_template(), images=images).state, make_state(images // 100))
