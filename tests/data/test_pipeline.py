from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gan_jax.data import CursorError, DataError, from_arrays, make_pipeline, prepare, resize

pytest.importorskip("grain")


def numbered(n: int, labels: bool = True, size: int = 4):
    """Images that carry their position in the top left pixel; their left and right columns differ."""
    pixels = np.zeros((n, size, size, 1), np.uint8)
    pixels[:, :, 0, 0] = np.arange(n)[:, None]
    pixels[:, :, -1, 0] = 255
    return from_arrays(pixels, np.arange(n) if labels else None)


def take(pipeline, n: int) -> list[dict[str, np.ndarray]]:
    with pipeline:
        return list(itertools.islice(pipeline, n))


def assert_batches_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert_array_equal(x["image"], y["image"])
        assert_array_equal(x["label"], y["label"])


def test_every_epoch_shows_every_image_once_in_a_new_order():
    batches = take(make_pipeline(numbered(20), 8, seed=0), 10)
    assert batches[0]["image"].shape == (8, 4, 4, 1) and batches[0]["image"].dtype == np.uint8
    assert batches[0]["label"].shape == (8,) and batches[0]["label"].dtype == np.int32
    stream = np.concatenate([batch["label"] for batch in batches])
    epochs = stream.reshape(4, 20)
    assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(20), (4, 1)))
    assert len({bytes(epoch) for epoch in epochs}) == 4
    assert not (np.diff(epochs[0]) == 1).all()
    assert_array_equal(stream, np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches]))


def test_a_set_smaller_than_a_batch_goes_round():
    batch = take(make_pipeline(numbered(3), 8, seed=0), 1)[0]
    assert_array_equal(np.sort(batch["label"][:6]), [0, 0, 1, 1, 2, 2])
    assert_array_equal(take(make_pipeline(numbered(1), 2, seed=0), 1)[0]["label"], [0, 0])


def test_the_seed_decides():
    first, again, other = (take(make_pipeline(numbered(50), 8, seed=seed, mirror=True), 3) for seed in (1, 1, 2))
    assert_batches_equal(first, again)
    assert not np.array_equal(first[0]["label"], other[0]["label"])


def test_mirroring_flips_about_half_and_only_left_to_right():
    images = numbered(100)
    batches = take(make_pipeline(images, 100, seed=0, mirror=True), 4)
    flips = []
    for batch in batches:
        for pixels, label in zip(batch["image"], batch["label"], strict=True):
            original = images.images[label]
            flipped = not np.array_equal(pixels, original)
            assert not flipped or np.array_equal(pixels, original[:, ::-1])
            flips.append(flipped)
    assert 140 < sum(flips) < 260  # 200 expected, standard deviation 10
    assert (np.array(flips[:100]) != np.array(flips[100:200])).any()  # tossed anew each epoch


def test_labels_may_be_absent_and_images_are_brought_to_a_shape():
    images = numbered(5, labels=False, size=8)
    batch = take(make_pipeline(images, 4, seed=0, resolution=4, channels=3), 1)[0]
    assert batch["image"].shape == (4, 4, 4, 3)
    assert_array_equal(batch["label"], 0)
    expected = resize(images.images, 4)
    assert all(any(np.array_equal(pixels[..., :1], e) for e in expected) for pixels in batch["image"])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_each_batch_of_one(processes):
    whole = take(make_pipeline(numbered(30), 8, seed=3, mirror=True), 7)
    shares = [
        take(make_pipeline(numbered(30), 8, seed=3, mirror=True, process_index=i, process_count=processes), 7)
        for i in range(processes)
    ]
    for k, batch in enumerate(whole):
        parts = [share[k]["image"] for share in shares]
        assert {len(part) for part in parts} == {8 // processes}
        assert_array_equal(np.concatenate(parts), batch["image"])  # draws are keyed by an image's place in the batch


# -- cursors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 5, 40])
def test_a_restored_pipeline_goes_on_to_the_bit(at):
    make = lambda: make_pipeline(numbered(30), 8, seed=3, mirror=True)  # noqa: E731
    with make() as pipeline:
        for _ in range(at):
            next(pipeline)
        cursor = json.loads(json.dumps(pipeline.cursor()))
        expected = [next(pipeline) for _ in range(5)]
    restored = make()
    restored.restore(cursor)
    assert restored.cursor() == cursor
    assert_batches_equal(take(restored, 5), expected)


def test_a_used_pipeline_can_be_set_back_and_a_closed_one_goes_on():
    pipeline = make_pipeline(numbered(30), 8, seed=3)
    cursor = pipeline.cursor()
    first = take(pipeline, 3)
    assert pipeline.cursor()["batches"] == 3
    second = take(pipeline, 3)
    pipeline.restore(cursor)
    assert_batches_equal(take(pipeline, 6), first + second)


def test_prefetching_does_not_move_the_cursor():
    with make_pipeline(numbered(30), 8, seed=3) as pipeline:
        next(pipeline)
        next(pipeline)
        assert pipeline.cursor()["batches"] == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 4}, r"seed: 3 -> 4"),
        ({"batch": 4}, r"pipeline.batch: 8 -> 4"),
        ({"mirror": True}, r"pipeline.mirror: False -> True"),
        ({"resolution": 8}, r"pipeline.resolution: None -> 8"),
        ({"channels": 3}, r"pipeline.channels: None -> 3"),
        ({"source": numbered(29)}, r"source.images: 30 -> 29; source.fingerprint: '[0-9a-f]{64}' -> '[0-9a-f]{64}'"),
        ({"source": numbered(30, labels=False)}, r"\(source.fingerprint: '[0-9a-f]{64}' -> '[0-9a-f]{64}'\)"),
    ],
)
def test_a_cursor_of_another_pipeline_is_refused_by_what_differs(change, says):
    options = {"source": numbered(30), "batch": 8, "seed": 3}
    cursor = make_pipeline(**options).cursor() | {"batches": 7}
    other = make_pipeline(**(options | change))
    with pytest.raises(CursorError, match=f"belongs to another pipeline .*{says}"):
        other.restore(cursor)
    assert other.cursor()["batches"] == 0


def test_another_shuffle_with_the_same_settings_is_noticed(monkeypatch):
    """As another version of grain might bring."""
    cursor = make_pipeline(numbered(30), 8, seed=3).cursor()
    monkeypatch.setattr("gan_jax.data.pipeline._straight", lambda index, rng: np.array([29 - index, 0], np.int64))
    with pytest.raises(CursorError, match=r"\(order: '[0-9a-f]{16}' -> '[0-9a-f]{16}'\)"):
        make_pipeline(numbered(30), 8, seed=3).restore(cursor)


def test_the_same_images_under_another_name_are_the_same_source():
    a, b = numbered(9), from_arrays(numbered(9).images, np.arange(9), name="elsewhere")
    make_pipeline(b, 4, seed=0).restore(make_pipeline(a, 4, seed=0).cursor())


@pytest.mark.parametrize("cursor", [{}, {"version": 99}, None, {"next_index": 3}])
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(CursorError, match="not a data cursor of version 1"):
        make_pipeline(numbered(9), 4, seed=0).restore(cursor)
    pipeline = make_pipeline(numbered(9), 4, seed=0)
    for batches in (-1, 2.5, None, True):
        with pytest.raises(CursorError, match="not a number of batches"):
            pipeline.restore(pipeline.cursor() | {"batches": batches})


# -- TFDS sources and workers -----------------------------------------------------------------------


def test_a_tfds_source_gives_the_batches_of_the_same_images_in_memory(tmp_path):
    images = numbered(30, size=8)
    spec = f"tfds:{prepare(images, tmp_path, 'numbered')}"
    options = {"batch": 8, "seed": 3, "mirror": True, "resolution": 4}
    pipeline = make_pipeline(spec, **options)
    assert_batches_equal(take(pipeline, 6), take(make_pipeline(images, **options), 6))
    cursor = pipeline.cursor() | {"batches": 2}
    again = make_pipeline(spec, **options)
    again.restore(cursor)
    assert_batches_equal(take(again, 2), take(make_pipeline(images, **options), 4)[2:])
    with pytest.raises(CursorError, match="source.fingerprint"):
        make_pipeline(images, **options).restore(cursor)


@pytest.mark.slow
def test_worker_processes_change_nothing():
    images = numbered(30)
    expected = take(make_pipeline(images, 8, seed=3, mirror=True), 9)
    with make_pipeline(images, 8, seed=3, mirror=True, workers=2) as pipeline:
        batches = [next(pipeline) for _ in range(4)]
        cursor = pipeline.cursor()
    # Another number of workers goes on all the same.
    pipeline = make_pipeline(images, 8, seed=3, mirror=True, workers=1)
    pipeline.restore(cursor)
    assert_batches_equal(batches + take(pipeline, 5), expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": 0}, "batch of 0 cannot be divided"),
        ({"batch": 6, "process_count": 4}, "a batch of 6 cannot be divided over 4 processes"),
        ({"process_index": 2, "process_count": 2}, r"process_index 2 is outside 0 .. 1"),
        ({"seed": -1}, "data seed is -1; use a whole number"),
        ({"seed": 2**64}, "data seed is 18446744073709551616; use a whole number"),
        ({"channels": 2}, "cannot turn 1 channels into 2"),
    ],
)
def test_pipelines_that_cannot_be(options, says):
    with pytest.raises(DataError, match=says):
        make_pipeline(**{"source": numbered(9), "batch": 8, "seed": 0, **options})
