"""`gan-jax diff`: codes as of diff(1), a table of what differs, and no reading of what is equal."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from gan_jax.config import Config, to_dict
from gan_jax.interop import save_weights
from gan_jax.interop.weights import WEIGHTS

A = {"g_ema": {"params": {
    "same": np.arange(6, dtype=np.float32), "moved": np.array([1, -4, 2], np.float32), "gone": np.ones(2, np.float32),
    "wide": np.ones((2, 3), np.float32), "count": np.array([3], np.int32), "typed": np.ones(2, np.float32),
}}}  # fmt: skip
B = {"g_ema": {"params": {
    "same": np.arange(6, dtype=np.float32), "moved": np.array([1, -4, 4], np.float32), "new": np.ones(1, np.float32),
    "wide": np.ones((2, 4), np.float32), "count": np.array([1], np.int32), "typed": np.ones(2, np.float16),
}}}  # fmt: skip


@pytest.fixture
def pair(tmp_path):
    return save_weights(tmp_path / "a", A, {}), save_weights(tmp_path / "b", B, {})


def test_every_kind_of_difference(cli, pair):
    assert cli("diff", *pair) == 1
    lines = {line.split()[0]: line.split()[1:] for line in cli.out.splitlines()}
    assert lines["g_ema/params/moved"] == ["of", "other", "values", "float32[3]", "2", "0.5"]
    assert lines["g_ema/params/count"] == ["of", "other", "values", "int32[1]", "2", "0.667"]
    assert lines["g_ema/params/gone"] == ["only", "in", "A", "float32[2]"]
    assert lines["g_ema/params/new"] == ["only", "in", "B", "float32[1]"]
    assert lines["g_ema/params/wide"][-2:] == ["float32[2,3]", "float32[2,4]"]
    assert lines["g_ema/params/typed"][-2:] == ["float32[2]", "float16[2]"]
    assert "g_ema/params/same" not in lines
    assert cli.out.splitlines()[-1] == (
        "7 leaves: 1 only in A, 1 only in B, 2 of another shape or dtype, 2 of other values, 1 equal"
    )


def test_equal_and_matched(cli, pair):
    assert cli("diff", pair[0], pair[0]) == 0 and cli.out == "6 leaves: 6 equal\n"
    assert cli("diff", *pair, "--match", "**/same") == 0
    assert cli("diff", *pair, "--match", "g_ema/params/sam") == 2
    assert "no leaf is covered by 'g_ema/params/sam' (did you mean 'g_ema/params/same'" in cli.err
    assert cli("diff", pair[0], "nowhere") == 2 and "no weights at nowhere" in cli.err


def test_equal_leaves_are_not_read_and_damaged_ones_are_told(cli, pair):
    file = pair[0] / WEIGHTS
    data = bytearray(file.read_bytes())
    for values, code in ((A["g_ema"]["params"]["same"], 1), (A["g_ema"]["params"]["moved"], 2)):
        at = data.find(values.tobytes())
        assert at > 0
        data[at] ^= 1
        file.write_bytes(data)
        assert cli("diff", *pair) == code
    assert "leaf 'g_ema/params/moved'" in cli.err and "damaged" in cli.err


def test_a_run_its_checkpoint_and_its_weights(cli, tmp_path):
    from gan_jax.train.checkpoint.manager import Checkpointer

    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"config": to_dict(Config())}))
    with Checkpointer(run / "checkpoints") as checkpointer:
        for images in (64, 128):
            state = A["g_ema"]["params"] | {"moved": np.full(3, images, np.float32)}
            checkpointer.save(images, {"g_ema": {"params": state}, "key": jax.random.key(images)})
    one = run / "checkpoints" / "64"
    assert cli("diff", run, run / "checkpoints" / "128") == 0, "the newest"
    assert cli("diff", one, run) == 1
    assert cli.out.splitlines()[2].split()[-2:] == ["64", "1"] and "key<fry>[]" in cli.out
    save_weights(run / "weights", A, {})
    assert cli("diff", run, one) == 1
    assert cli.out.splitlines()[-1] == "7 leaves: 1 only in B, 1 of other values, 5 equal"
