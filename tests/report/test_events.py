from __future__ import annotations

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.report.watch import EventWriter


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
