"""Saving and going on: bit-identical, kept and removed as asked, never silently elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import trees
from gan_jax.report.run.folder import folder_bytes
from gan_jax.train.checkpoint import storage
from gan_jax.train.checkpoint.manager import Checkpointer, CheckpointError, read, remove_leftovers
from tests.conftest import REPO
from tests.train.checkpoint_states import assert_same, make_state, make_template


def saved(folder: Path, *numbers: int, **options) -> None:
    with Checkpointer(folder, **({"keep_last": 9} | options)) as checkpointer:
        for number in numbers:
            checkpointer.save(number * 100, make_state(number), cursor={"position": number})


def test_restores_to_the_bit(tmp_path):
    saved(tmp_path, 3)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest() == 300
        restored = checkpointer.restore(make_template())
    assert_same(restored.state, make_state(3))
    said = storage.read_manifest(tmp_path / "300")["versions"]
    assert said.keys() == {"gan_jax", "jax", "numpy", "orbax-checkpoint"} and said["jax"] == jax.__version__
    assert (restored.cursor, restored.images, restored.notes) == ({"position": 3}, 300, ())
    draw = lambda state: jax.random.normal(state.key, (3,))
    np.testing.assert_array_equal(draw(restored.state), draw(make_state(3)))


def test_values_survive_donation(tmp_path):
    next_of = lambda state: jax.tree.map(lambda x: x if x.dtype == state.key.dtype else x + x.dtype.type(1), state)
    step = jax.jit(next_of, donate_argnums=0)
    state, want = step(make_state(1, width=32)), next_of(make_state(1, width=32))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(100, state)
        for _ in range(20):
            state = step(state)
        jax.block_until_ready(state)
        checkpointer.wait()
        got = checkpointer.restore(make_template(width=32)).state
    assert_same(got, want)


def test_leaves_go_to_the_shardings_of_the_template(tmp_path):
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("batch",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    saved(tmp_path, 2)
    template = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=everywhere), make_template())
    restored = read(tmp_path, template)
    assert_same(restored.state, make_state(2))
    assert all(leaf.sharding == everywhere for leaf in jax.tree.leaves(restored.state))
    with Checkpointer(tmp_path) as checkpointer:  # and from there to disk again
        checkpointer.save(300, restored.state)
        checkpointer.wait()
    assert_same(read(tmp_path, make_template()).state, make_state(2))


def test_restored_leaves_can_be_donated(tmp_path):
    saved(tmp_path, 1)
    state = read(tmp_path, make_template()).state
    leaf = state.nets["g"]["params"]["b8"]["conv0"]["kernel"]
    jax.jit(lambda x: x + 1, donate_argnums=0)(leaf)
    assert leaf.is_deleted()


def test_keeps_the_last_and_the_best(tmp_path):
    with Checkpointer(tmp_path, keep_last=2, keep_best=True, best_mode="min") as checkpointer:
        for number, metric in enumerate([5.0, 1.0, 3.0, float("nan"), None, 4.0], 1):
            checkpointer.save(number * 100, make_state(number), metric=metric)
    assert storage.complete(tmp_path) == [200, 500, 600]
    with Checkpointer(
        tmp_path, keep_last=1, keep_best=True, best_mode="max"
    ) as checkpointer:  # metrics outlive a process
        checkpointer.save(700, make_state(7), metric=2.0)
    assert storage.complete(tmp_path) == [600, 700]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["600", "700"]


def test_refuses_to_save_under_newer_ones(tmp_path):
    saved(tmp_path, 1, 3)
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(CheckpointError, match="holds a checkpoint of 300"):
        checkpointer.save(200, make_state(2))


def test_going_on_from_an_older_one_moves_newer_ones_aside(tmp_path):
    saved(tmp_path, 1, 2, 3)
    with Checkpointer(tmp_path, keep_last=9) as checkpointer:
        restored = checkpointer.restore(make_template(), images=100)
        assert_same(restored.state, make_state(1))
        assert len(restored.notes) == 1 and "moved newer checkpoints 200, 300" in restored.notes[0]
        assert checkpointer.latest() == 100
        checkpointer.save(200, make_state(20))
    (aside,) = tmp_path.glob("aside-*")
    assert sorted(p.name for p in aside.iterdir()) == ["200", "300"]
    assert_same(read(tmp_path, make_template()).state, make_state(20))
    assert_same(read(aside, make_template()).state, make_state(3))  # nothing was lost


def test_reading_an_older_one_moves_nothing(tmp_path):
    saved(tmp_path, 1, 2)
    assert_same(read(tmp_path, make_template(), images=100).state, make_state(1))
    assert storage.complete(tmp_path) == [100, 200]
    with pytest.raises(CheckpointError, match="no checkpoint of 150 images.*there are 100, 200"):
        read(tmp_path, make_template(), images=150)


def test_the_same_images_are_saved_once(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(100, make_state(1))
        checkpointer.save(100, make_state(1))  # SIGTERM right after a periodic save
    assert storage.complete(tmp_path) == [100]
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.restore(make_template())
        checkpointer.save(100, make_state(1))
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(CheckpointError, match="cannot save 100"):
        checkpointer.save(100, make_state(2))  # not known to be the same


def test_unfinished_saves_are_ignored_and_said(tmp_path):
    from orbax.checkpoint._src.path import atomicity_types

    assert storage.UNFINISHED == atomicity_types.TMP_DIR_SUFFIX
    saved(tmp_path, 1)
    old, busy = (tmp_path / f"{images}{storage.UNFINISHED}" for images in (200, 300))
    for path in (old, busy):
        (path / "state").mkdir(parents=True)
        for made in (path / "state", path):
            os.utime(made, (1, 1))
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.unfinished() == [old.name, busy.name]
        restored = checkpointer.restore(make_template())
        assert restored.images == 100 and old.name in restored.notes[0] and busy.name in restored.notes[0]
        assert old.is_dir()
        (busy / "chunk").write_text("somebody still writes here")
        os.utime(busy / "chunk", (time.time() + 10,) * 2)
        checkpointer.save(400, make_state(4))
        checkpointer.wait()
        assert checkpointer.unfinished() == [busy.name]
    with pytest.raises(CheckpointError, match="no complete checkpoint.*ignored unfinished save 200.orbax"):
        (tmp_path / "empty" / old.name).mkdir(parents=True)
        read(tmp_path / "empty", make_template())


def test_an_asynchronous_failure_is_raised_at_the_next_check(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    async def full(*_):
        raise OSError(28, "No space left on device")

    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(100, make_state(1))
        checkpointer.wait()
        with monkeypatch.context() as patch:
            patch.setattr(ocp.JsonCheckpointHandler, "_save_fn", full)
            checkpointer.save(200, make_state(2))  # returns: the failure comes later
            with pytest.raises(CheckpointError, match="200 images.*No space left.*last complete checkpoint has 100"):
                while True:
                    checkpointer.check()
        checkpointer.check()  # said once
        assert checkpointer.unfinished() == ["200.orbax-checkpoint-tmp"]
        time.sleep(0.2)  # the other writes of that save
        checkpointer.save(200, make_state(2))  # space was made
        checkpointer.wait()
        assert checkpointer.unfinished() == []
    assert_same(read(tmp_path, make_template()).state, make_state(2))


def test_a_failure_is_raised_by_close_and_by_the_next_save(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    async def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "_save_fn", full)
    with pytest.raises(CheckpointError, match="No checkpoint is complete"), Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(100, make_state(1))
    checkpointer = Checkpointer(tmp_path / "again")
    checkpointer.save(100, make_state(1))
    with pytest.raises(CheckpointError, match="saving 100 images"):
        checkpointer.save(200, make_state(2))
    checkpointer.close()


def test_files_that_go_while_a_folder_is_looked_at_belong_to_a_save_under_way(tmp_path, monkeypatch):
    """The lock of a write in the background is listed, and gone when its time is asked."""
    save = tmp_path / "100.orbax-checkpoint-tmp"
    save.mkdir()
    monkeypatch.setattr(type(save), "rglob", lambda self, pattern: [self / "manifest.ocdbt.__lock"])
    busy = remove_leftovers(tmp_path, {save.name: time.time() + 60})
    assert set(busy) == {save.name} and save.is_dir()
    monkeypatch.undo()
    assert remove_leftovers(tmp_path, {save.name: time.time() + 60}) == {} and not save.exists()
    monkeypatch.setattr(type(save), "rglob", lambda self, pattern: [self / "gone"])
    assert folder_bytes(tmp_path) == 0


def test_a_full_disk(tmp_path):
    """A real one: a file system of 1 MB, where this process may mount one."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("may not mount a small file system")
    try:
        with Checkpointer(tmp_path) as checkpointer:
            checkpointer.save(100, make_state(1))
            checkpointer.wait()
            checkpointer.save(200, make_state(2, width=256))
            with pytest.raises(CheckpointError, match="No space left on device"):
                checkpointer.wait()
            # Orbax's other threads may write to it for a while; a save after that frees what the failed one had taken.
            for images in range(300, 900, 100):
                time.sleep(0.2)
                checkpointer.save(images, make_state(3))
                checkpointer.wait()
                if not checkpointer.unfinished():
                    break
        assert storage.complete(tmp_path) == [images - 100 if images > 300 else 100, images]
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(map(str, storage.complete(tmp_path)))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (3.0, "leaf 'extras/bad' is of type float"),
        (jnp.zeros((0, 2)), "leaf 'extras/bad' has no values"),
        (jnp.asarray(1.0), "leaf 'extras/bad' is weakly typed"),
    ],
)
def test_leaves_that_cannot_come_back_are_refused(tmp_path, leaf, message):
    state = trees.flatten(make_state(1)) | {"extras/bad": leaf}
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(CheckpointError, match=message):
        checkpointer.save(100, trees.unflatten(state))


@pytest.mark.parametrize("cursor", [{"at": (1, 2)}, {1: 2}, {"at": {1, 2}}])
def test_a_cursor_that_json_changes_is_refused(tmp_path, cursor):
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(CheckpointError, match="data cursor"):
        checkpointer.save(100, make_state(1), cursor=cursor)


def test_without_orbax_the_extra_is_named_at_once(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("orbax")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "orbax", None)
    with pytest.raises(ImportError, match=r"checkpoints need orbax-checkpoint.*pip install 'gan_jax\[checkpoint\]'"):
        Checkpointer(tmp_path)
    (tmp_path / "100" / "manifest").mkdir(parents=True)
    with pytest.raises(ImportError, match="pip install"):
        storage.orbax()


def test_orbax_loads_with_the_first_save_only(tmp_path):
    code = "import sys; from gan_jax.train.checkpoint.manager import Checkpointer; c = Checkpointer(sys.argv[1]); "
    code += "c.check(); c.latest(); c.close(); print(any(name.startswith('orbax.checkpoint') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_bad_options(tmp_path):
    with pytest.raises(ValueError, match="keep_last=0 must be at least 1"):
        Checkpointer(tmp_path, keep_last=0)


def test_a_state_is_saved_first_and_scored_later(tmp_path):
    """What is kept is what it would be if the metric had been known before the save."""
    metric = lambda images: storage.read_manifest(tmp_path / str(images))["metric"]
    with Checkpointer(tmp_path, keep_last=1, keep_best=True) as checkpointer:
        for number, score in ((1, 5.0), (2, 3.0), (3, 4.0)):
            checkpointer.save(number * 100, make_state(number))
            checkpointer.score(number * 100, score)
            checkpointer.score(number * 100 + 50, 0.0)  # of a state that nobody saved
            checkpointer.score(number * 100, None)
        checkpointer.wait()
        assert storage.complete(tmp_path) == [200, 300] and (metric(200), metric(300)) == (3.0, 4.0)
        checkpointer.score(300, 2.0)
        assert storage.complete(tmp_path) == [300] and metric(300) == 2.0
        assert_same(checkpointer.restore(make_template()).state, make_state(3))
        checkpointer.score(300, 1.0)  # of the state that was restored
    assert metric(300) == 1.0
    assert_same(read(tmp_path, make_template()).state, make_state(3))


def test_what_a_killed_save_left_is_gone_when_a_run_is_over(tmp_path):
    saved(tmp_path, 1)
    left = tmp_path / f"200{storage.UNFINISHED}"
    left.mkdir()
    os.utime(left, (0, 0))
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.unfinished() == [left.name]
        checkpointer.restore(make_template())
    assert not left.exists()


def test_a_score_that_cannot_be_compared_any_more_is_forgotten(tmp_path):
    with Checkpointer(tmp_path, keep_last=1, keep_best=True) as checkpointer:
        for number, score in ((1, 3.0), (2, 4.0)):
            checkpointer.save(number * 100, make_state(number))
            checkpointer.score(number * 100, score)
        checkpointer.wait()
        assert checkpointer.forget({100, 150}) == [100] and checkpointer.forget({100}) == []
        assert len(list(tmp_path.glob("aside-*/100"))) == 1
        checkpointer.save(300, make_state(3))
        checkpointer.score(300, 5.0)
    assert storage.complete(tmp_path) == [200, 300]
    assert_same(read(tmp_path, make_template(), images=200).state, make_state(2))
