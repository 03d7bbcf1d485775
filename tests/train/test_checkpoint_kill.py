"""A process that only saves is killed again and again; what is there is always a state that it saved, whole."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from gan_jax.train.checkpoint.manager import read
from gan_jax.train.checkpoint.storage import complete, unfinished
from tests.conftest import REPO
from tests.train.checkpoint_states import assert_same, make_state, make_template

SAVER = """
import os, sys
from tests.train.checkpoint_states import make_state, make_template
from gan_jax.train.checkpoint.manager import Checkpointer
from gan_jax.train.checkpoint.storage import orbax
say = lambda text: os.write(1, f"{text}\\n".encode())  # whole lines
orbax()  # what takes long to import is there before each process that saves is forked
while sys.stdin.readline():
    child = os.fork()
    if not child:
        break
    os.waitpid(child, 0)
    say("gone")
else:
    sys.exit()
checkpointer = Checkpointer(sys.argv[1], keep_last=2)
start = 0
if checkpointer.latest() is not None:
    start = int(checkpointer.restore(make_template()).state.step)
say(os.getpid())
for number in range(start + 1, start + 1000):
    checkpointer.save(number * 100, make_state(number), cursor={"position": number})
    say(number - 1)  # the one before is on disk
"""


@contextlib.contextmanager
def saving(parent: subprocess.Popen) -> Iterator[list[int]]:
    """A process that saves until the end of the block, where it is killed: then the numbers that it said are on disk."""
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write("\n")
    parent.stdin.flush()
    child, committed = int(parent.stdout.readline()), []
    try:
        yield committed
    finally:
        os.kill(child, signal.SIGKILL)
        committed.extend(map(int, iter(parent.stdout.readline, "gone\n")))


def test_killed_while_saving(tmp_path):
    draw = random.Random(0)
    torn = 0
    command = [sys.executable, "-c", SAVER, tmp_path]
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        for _ in range(5):
            with saving(parent) as committed:
                while parent.stdout.readline() and draw.random() < 0.7:
                    pass
                time.sleep(draw.uniform(0, 0.08))
            torn += bool(assert_whole(tmp_path, committed))
        parent.stdin.close()
    assert torn, "no kill fell into a save"
    for images in complete(tmp_path):
        assert_same(read(tmp_path, make_template(), images=images).state, make_state(images // 100))


def assert_whole(folder, committed):
    """What is there is a state that was saved, and no older than what was said to be there; returns what is torn."""
    left = unfinished(folder)
    if not complete(folder):
        assert not any(committed)
        return left
    restored = read(folder, make_template())
    number = restored.images // 100
    assert_same(restored.state, make_state(number))
    assert restored.cursor == {"position": number}
    assert number >= max(committed, default=0)
    assert all(any(name in note for note in restored.notes) for name in left)
    return left
