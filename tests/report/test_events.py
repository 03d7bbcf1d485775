from __future__ import annotations

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.report.events import EventWriter, JsonlWriter, cut_jsonl, read_jsonl


def test_rows_are_on_disk_when_write_returns(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    with JsonlWriter(path) as writer:
        writer.write({"images": 32, "d": jnp.float32(0.5), "n": np.int64(3), "v": np.array([1, 2]), "name": "x"})
        assert json.loads(path.read_text()) == {"images": 32, "d": 0.5, "n": 3, "v": [1, 2], "name": "x"}
    with JsonlWriter(path) as writer:
        writer.write({"images": 64})
    assert [row["images"] for row in read_jsonl(path)] == [32, 64], "opening again appends"


def test_what_is_not_finite_is_null_and_noted(tmp_path):
    path = tmp_path / "m.jsonl"
    with JsonlWriter(path) as writer:
        writer.write({"d": float("nan"), "by": {"g": [1.0, jnp.float32(-jnp.inf)]}, "ok": 1.0})
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert read_jsonl(path) == [
        {"d": None, "by": {"g": [1.0, None]}, "ok": 1.0, "not_finite": {"d": "nan", "by.g[1]": "-inf"}}
    ]


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"images": 1}\n{"images": 2, "d": 0.')
    assert read_jsonl(path) == [{"images": 1}]
    with JsonlWriter(path) as writer:
        writer.write({"images": 2})
    assert path.read_text() == '{"images": 1}\n{"images": 2}\n'


@pytest.mark.parametrize("line", ["{bad", "[1]"])
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_text('{"images": 1}\n' + line + '\n{"images": 3}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl, line 2 is not"):
        read_jsonl(path)


def test_rows_past_a_restored_step_are_cut(tmp_path):
    path = tmp_path / "m.jsonl"
    assert cut_jsonl(path, 100) == 0, "no file, nothing to cut"
    with JsonlWriter(path) as writer:
        for images in (50, 100, 150, 200):
            writer.write({"images": images, "d": 0.1})
    assert cut_jsonl(path, 100) == 2 and cut_jsonl(path, 100) == 0
    assert path.read_text() == '{"images": 50, "d": 0.1}\n{"images": 100, "d": 0.1}\n'


def test_events_hold_scalars_and_pictures(tmp_path, images):
    pytest.importorskip("tensorboardX")
    with EventWriter(tmp_path / "tensorboard") as writer:
        assert not (tmp_path / "tensorboard").exists(), "no file before there is something to write"
        writer.scalars(32, {"d": jnp.float32(0.5), "g": np.nan, "note": "x", "none": None, "v": np.zeros(2)}, "train/")
        writer.image(32, "samples", images(1, 8, 3)[0])
        writer.image(64, "samples", images(1, 8, 1)[0])
    scalars, pictures = read_events(tmp_path / "tensorboard")
    assert scalars[0] == ("train/d", 32, 0.5) and scalars[1][0] == "train/g" and np.isnan(scalars[1][2])
    assert [p[:2] for p in pictures] == [("samples", 32), ("samples", 64)] and pictures[0][2].startswith(b"\x89PNG")
    assert len(scalars) == 2


def read_events(folder):
    """Scalars and pictures of the event file in a folder: records are length, crc, bytes, crc."""
    from tensorboardX.proto.event_pb2 import Event

    data, scalars, pictures = next(folder.iterdir()).read_bytes(), [], []
    while data:
        n = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + n])
        for value in event.summary.value:
            if value.HasField("image"):
                pictures.append((value.tag, event.step, value.image.encoded_image_string))
            else:
                scalars.append((value.tag, event.step, value.simple_value))
        data = data[16 + n :]
    return scalars, pictures


def test_without_a_writer_one_note_and_nothing_else(tmp_path, monkeypatch, images, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # importing it fails
    monkeypatch.setattr(EventWriter, "_noted", False)
    notes = []
    for folder in ("a", "b"):
        with EventWriter(tmp_path / folder, note=notes.append) as writer:
            assert not writer.enabled
            writer.scalars(1, {"d": 1.0})
            writer.image(1, "x", images(1)[0])
    assert len(notes) == 1 and "gan_jax[report]" in notes[0] and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(EventWriter, "_noted", False)
    EventWriter(tmp_path)
    assert "tensorboardX is not installed" in capsys.readouterr().err
