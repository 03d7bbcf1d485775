from __future__ import annotations

import errno
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.train.checkpoint.manager import CheckpointError, cut_rows
from gan_jax.train.rows import append_row, read_rows

ROWS = b'{"images": 100, "loss": 1.5}\n{"note": "no images"}\n{"images": 200}\n{"images": 300}\n'


def test_rows_are_in_the_file_at_once_and_come_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_row(path, {"images": 32, "d": jnp.float32(0.5), "n": np.int64(3), "v": np.array([1, 2]), "name": "x"})
    assert json.loads(path.read_text()) == {"images": 32, "d": 0.5, "n": 3, "v": [1, 2], "name": "x"}
    append_row(path, {"images": 64})
    assert [row["images"] for row in read_rows(path)] == [32, 64]


def test_what_is_not_finite_is_null_and_noted(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_row(path, {"d": float("nan"), "by": {"g": [1.0, jnp.float32(-jnp.inf)]}, "ok": 1.0})
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert read_rows(path) == [
        {"d": None, "by": {"g": [1.0, None]}, "ok": 1.0, "not_finite": {"d": "nan", "by.g[1]": "-inf"}}
    ]


def test_a_torn_last_line_is_not_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"images": 1}\n{"images": 2, "d": 0.')
    assert read_rows(path) == [{"images": 1}]


@pytest.mark.parametrize(
    ("before", "images", "after", "cut"),
    [
        (ROWS, 200, ROWS[:-16], 1),
        (ROWS, 300, ROWS, 0),
        (ROWS, 0, b'{"note": "no images"}\n', 3),
        (ROWS + b'{"images": 3', 300, ROWS, 1),  # torn within a line
        (ROWS[:-1], 300, ROWS, 0),  # torn before the line's end
        (b'{"ima', 300, b"", 1),
        (b"", 300, b"", 0),
    ],
)
def test_rows_past_the_checkpoint_are_cut(tmp_path, before, images, after, cut):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before)
    assert cut_rows(path, images) == cut
    assert path.read_bytes() == after
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_an_untouched_file_is_not_rewritten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(ROWS)
    inode = path.stat().st_ino
    cut_rows(path, 300)
    assert path.stat().st_ino == inode


def test_an_absent_file_is_fine(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []
    assert cut_rows(tmp_path / "metrics.jsonl", 100) == 0


@pytest.mark.parametrize("line", [b"nonsense", b"3", b"\xff"])
def test_a_broken_line_in_the_middle_is_told(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"images": 1}\n' + line + b"\n" + ROWS)
    with pytest.raises(CheckpointError, match="metrics.jsonl, line 2 is not a JSON object"):
        cut_rows(path, 100)
    with pytest.raises(CheckpointError, match="metrics.jsonl, line 2 is not a JSON object"):
        read_rows(path)
    assert path.read_bytes().endswith(ROWS)


@pytest.mark.parametrize("row", [b'{"images": "7"}', b'{"images": 7, "seconds": null}', b"[" * 100_000])
def test_a_row_of_other_types_is_told_with_the_way_out(tmp_path, row):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"images": 1}\n' + row + b"\n" + ROWS)
    for act in (read_rows, lambda path: cut_rows(path, 5)):
        with pytest.raises(CheckpointError, match="metrics.jsonl, line 2 is .*: remove that line, or the file"):
            act(path)


def test_a_full_disk_names_the_file(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        append_row(tmp_path / "metrics.jsonl", {"images": 1})
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "metrics.jsonl")
