"""Damaged, truncated, foreign or other checkpoints: one readable line, and never wrong values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import trees
from gan_jax.train.checkpoint import storage
from gan_jax.train.checkpoint.manager import Checkpointer, CheckpointError, DamagedError, read
from tests.train.checkpoint_states import assert_same, make_state, make_template


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    with Checkpointer(folder) as checkpointer:
        for number in (1, 2):
            checkpointer.save(number * 100, make_state(number), cursor={"position": number})
    return folder


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "checkpoints"))


def message(folder: Path, kind: type[Exception] = DamagedError, **options) -> str:
    with pytest.raises(kind) as error:
        read(folder, options.pop("template", make_template()), **options)
    text = str(error.value)
    assert "\n" not in text and len(text) < 900 and str(folder / "200") in text
    return text


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in (folder / "200").rglob("*") if p.is_file())


def test_a_flipped_byte_in_a_chunk_names_the_leaf(folder):
    """Orbax alone restores it without a word."""
    import orbax.checkpoint as ocp

    path = max((p for p in files_of(folder) if p.parent.name == "d"), key=lambda p: p.stat().st_size)  # of chunks
    whole, want, silent = path.read_bytes(), trees.flatten(make_state(2)), 0
    for position in range(500, len(whole), 250):
        flip(path, position)
        try:
            assert_same(read(folder, make_template()).state, make_state(2))  # a part that nothing refers to
            text = ""
        except DamagedError as error:
            text = str(error)
        if "are not those that were saved" in text:
            leaf = text.split("leaf '")[1].split("'")[0]
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
                wrong = trees.flatten(reader.restore(folder / "200" / "state"))[leaf]
            assert np.any(np.asarray(wrong) != np.asarray(want[leaf]))
            silent += 1
        path.write_bytes(whole)
    assert silent >= 3


def test_a_flipped_byte_anywhere_is_told_or_harmless(folder):
    draw = np.random.default_rng(0)
    told = 0
    for path in files_of(folder):
        whole = path.read_bytes()
        for position in draw.integers(0, len(whole), size=4):
            flip(path, position)
            try:
                assert_same(read(folder, make_template(), images=200).state, make_state(2))
            except DamagedError:
                told += 1
            path.write_bytes(whole)
    assert told > 10


@pytest.mark.parametrize("harm", ["truncate", "empty", "delete"])
def test_truncated_and_deleted_files(folder, harm):
    for path in files_of(folder):
        whole = path.read_bytes()
        if harm == "delete":
            path.unlink()
        else:
            path.write_bytes(whole[: len(whole) // 2] if harm == "truncate" else b"")
        try:
            assert_same(read(folder, make_template(), images=200).state, make_state(2))
        except DamagedError as error:
            assert "\n" not in str(error) and "200" in str(error)
        path.write_bytes(whole)


def test_missing_arrays_name_a_leaf(folder):
    shutil.rmtree(folder / "200" / "state")
    assert "is damaged: leaf 'step' is unreadable" in message(folder)


def test_foreign_folders(folder):
    import orbax.checkpoint as ocp

    shutil.rmtree(folder / "200")
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(folder / "200", args=ocp.args.PyTreeSave({"step": np.zeros(3)}))
    assert "is foreign or damaged: no readable manifest.json" in message(folder)
    (folder / "200" / "manifest").mkdir()
    manifest = folder / "200" / "manifest" / "manifest.json"
    manifest.write_text('{"format": "other"}')
    assert "foreign or damaged: its manifest is not that of" in message(folder)
    manifest.write_text("[]")
    assert "its manifest is damaged: it must be a mapping, not []" in message(folder)
    manifest.write_text("{")
    assert "not JSON" in message(folder)
    manifest.write_bytes(b"\xff\xfe{}")
    assert "not text" in message(folder)


def test_an_edited_manifest_is_told(folder):
    path = folder / "200" / "manifest" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["cursors"] = [{"position": 3}]
    path.write_text(json.dumps(manifest))
    assert "its manifest was changed" in message(folder)


def test_a_renamed_checkpoint_is_told(folder):
    shutil.rmtree(folder / "200")
    (folder / "100").rename(folder / "200")
    assert "holds the checkpoint of 100 images" in message(folder)


def test_an_older_one_is_used_only_if_asked(folder):
    shutil.rmtree(folder / "200" / "state")
    assert "One of 100 images is there; it is used if asked for" in message(folder)
    restored = read(folder, make_template(), fallback=True)
    assert_same(restored.state, make_state(1))
    assert restored.cursor == {"position": 1}
    assert "using that of 100 images, as asked" in restored.notes[0] and "damaged" in restored.notes[0]
    with Checkpointer(folder) as checkpointer:  # going on from there keeps the damaged one, out of the way
        assert len(checkpointer.restore(make_template(), fallback=True).notes) == 2
        checkpointer.save(200, make_state(2))
    assert_same(read(folder, make_template()).state, make_state(2))
    assert len(list(folder.glob("aside-*/200"))) == 1


def test_no_older_one_is_left(folder):
    shutil.rmtree(folder / "200" / "state")
    shutil.rmtree(folder / "100")
    assert "There is no older checkpoint" in message(folder, fallback=True)


def test_another_shape_names_the_leaf_and_both_shapes(folder):
    text = message(folder, CheckpointError, template=make_template(width=16), fallback=True)  # not a case for fallback
    assert "leaf 'g/batch_stats/b8/norm0/mean' is float32[8] in the checkpoint and float32[16] in the run" in text
    assert "more leaves do not fit" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "missing",
            "the run has leaf 'extras/ada_q' float32[], which the checkpoint lacks (nearest: 'extras/ada_p' float32[]",
        ),
        ("extra", "the checkpoint has leaf 'extras/half' bfloat16[5], which the run lacks"),
        ("dtype", "leaf 'extras/half' is bfloat16[5] in the checkpoint and float32[5] in the run"),
        ("key", "leaf 'key' is key<fry>[] in the checkpoint and key<rbg>[] in the run"),
    ],
)
def test_another_state_names_the_leaf(folder, change, words):
    import dataclasses

    template = make_template()
    extras = dict(template.extras)
    if change == "missing":
        extras["ada_q"] = extras.pop("ada_p")
    elif change == "extra":
        del extras["half"]
    elif change == "dtype":
        extras["half"] = jax.ShapeDtypeStruct((5,), jnp.float32)
    else:
        template = dataclasses.replace(template, key=jax.eval_shape(lambda: jax.random.key(0, impl="rbg")))
    text = message(folder, CheckpointError, template=dataclasses.replace(template, extras=extras))
    assert words in text


def test_nothing_there(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        assert storage.complete(folder) == []
        with pytest.raises(CheckpointError, match="no complete checkpoint in"):
            read(folder, make_template())
