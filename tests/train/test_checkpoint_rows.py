from __future__ import annotations

import pytest

from gan_jax.train.checkpoint import CheckpointError, cut_rows

ROWS = b'{"images": 100, "loss": 1.5}\n{"note": "no images"}\n{"images": 200}\n{"images": 300}\n'


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
    assert cut_rows(tmp_path / "metrics.jsonl", 100) == 0


@pytest.mark.parametrize("line", [b"nonsense", b"3", b"\xff"])
def test_a_broken_line_in_the_middle_is_told(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"images": 1}\n' + line + b"\n" + ROWS)
    with pytest.raises(CheckpointError, match="metrics.jsonl, line 2 is not a JSON object"):
        cut_rows(path, 100)
    assert path.read_bytes().endswith(ROWS)
