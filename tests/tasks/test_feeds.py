from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gan_jax.config import Config, DataConfig, ResNetConfig, TrainConfig
from gan_jax.data import DataError, Pairs, load_pairs, open_pairs
from gan_jax.data.convert import to_float
from gan_jax.data.decode import encode_png
from gan_jax.tasks.feeds import pair_feed, resident_pairs
from gan_jax.train.feed import Feed, resident_feed

SIZE, CROP, ROWS = 20, 16, 5


def located(kind: str = "paired") -> Pairs:
    """Rows whose pixels say where they are and of which row: three channels of row, top and left."""
    rows = np.stack(np.meshgrid(np.arange(ROWS), np.arange(SIZE), np.arange(SIZE), indexing="ij"), -1).astype(np.uint8)
    if kind == "layout":
        labels = rows[..., 1].astype(np.int32) * SIZE + rows[..., 2]
        return Pairs(labels, rows, "layout", labels + 1000 * rows[..., 0].astype(np.int32), num_labels=SIZE * SIZE)
    return Pairs(rows, rows, kind)  # pyright: ignore[reportArgumentType]


def config(pipeline: str = "device", mirror: bool = True) -> Config:
    data = DataConfig(load_size=SIZE, mirror=mirror, pipeline=pipeline)  # pyright: ignore[reportArgumentType]
    return Config(data=data, net=ResNetConfig(resolution=CROP), train=TrainConfig(batch=8))


def keys_of(n: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), n)


def on_device(feed: Feed) -> dict[str, jax.Array]:
    return jax.tree_util.tree_map(jnp.asarray, feed.resident)


def drawn(pairs: Pairs, n: int = 64, **options) -> dict[str, np.ndarray]:
    """A batch of a feed on the device, with pixels as whole numbers again."""
    feed = pair_feed(pairs, config(**options))
    batch = jax.tree_util.tree_map(np.asarray, jax.jit(lambda keys: feed.draw(on_device(feed), keys, 0))(keys_of(n)))
    return {name: np.rint((x + 1) * 127.5).astype(int) if x.dtype == np.float32 else x for name, x in batch.items()}


def test_both_sides_have_the_same_crop_and_flip():
    batch = drawn(located())
    x = batch["input"]
    assert x.shape == (64, CROP, CROP, 3) and set(batch) == {"input", "image", "index"}
    assert_array_equal(x, batch["image"])
    assert_array_equal(x[..., 0], np.broadcast_to(batch["index"][:, None, None], x.shape[:3]))
    assert (np.diff(x[..., 1], axis=1) == 1).all() and (np.diff(x[..., 1], axis=2) == 0).all()
    steps = np.diff(x[..., 2], axis=2)
    assert (np.abs(steps) == 1).all() and (steps == steps[:, :1, :1]).all()
    assert set(x[:, 0, 0, 1]) == set(x[..., 2].min((1, 2))) == set(range(SIZE - CROP + 1))
    assert 16 < (steps[:, 0, 0] < 0).sum() < 48  # 32 expected, standard deviation 4
    assert (np.diff(drawn(located(), mirror=False)["image"][..., 2], axis=2) == 1).all()


def test_labels_and_instances_stay_whole_and_in_place():
    pairs = located("layout")
    batch = drawn(pairs)
    assert batch["input"].dtype == batch["instance"].dtype == np.int32
    assert_array_equal(batch["input"], batch["image"][..., 1] * SIZE + batch["image"][..., 2])
    assert_array_equal(batch["instance"] - batch["input"], 1000 * batch["image"][..., 0])


def test_the_sides_of_unpaired_sets_are_drawn_by_themselves():
    pairs = located("unpaired")
    batch = drawn(dataclasses.replace(pairs, images=pairs.images[:4]), n=200)
    first, second = batch["input"], batch["image"]
    assert set(first[:, 0, 0, 0]) == set(range(5)) and set(second[:, 0, 0, 0]) == set(range(4))
    assert_array_equal(second[:, 0, 0, 0], batch["image_index"])
    same = [
        first[:, 0, 0, 0] == second[:, 0, 0, 0],
        first[:, 0, 0, 1] == second[:, 0, 0, 1],
        first[..., 2].min((1, 2)) == second[..., 2].min((1, 2)),
    ]
    assert all(0.1 < part.mean() < 0.3 for part in same), [part.mean() for part in same]  # 1/5, standard deviation 0.03
    flips = [np.diff(x[:, 0, :2, 2])[:, 0] < 0 for x in (first, second)]
    assert 0.35 < (flips[0] == flips[1]).mean() < 0.65


def test_without_crops_rows_are_those_of_the_feed_of_images():
    """What a run of images would draw: the same positions and flips of the same keys."""
    pairs = located()
    feed, other = resident_pairs(pairs, SIZE, True), resident_feed(pairs.images, None, True)
    ours, theirs = (f.draw(on_device(f), keys_of(16), 0) for f in (feed, other))
    assert_array_equal(ours["index"], theirs["index"])
    assert_array_equal(ours["image"], theirs["image"])


@pytest.mark.parametrize("kind", ["paired", "unpaired", "layout"])
def test_a_batch_is_the_same_on_one_device_and_on_eight(kind):
    feed = pair_feed(located(kind), config())
    assert jax.device_count() == 8
    data = jax.random.key_data(keys_of(16))
    draw = lambda data: feed.draw(on_device(feed), jax.random.wrap_key_data(data), 0)
    single, several = jax.jit(draw)(data), jax.pmap(draw)(data.reshape(8, 2, *data.shape[1:]))
    assert set(single) == set(several)
    for name, values in several.items():
        assert_array_equal(np.asarray(values).reshape(single[name].shape), single[name])


def test_a_streamed_feed_goes_on_from_its_cursor():
    pytest.importorskip("grain")
    first, again = (pair_feed(located("layout"), config("grain")) for _ in range(2))
    assert first.resident is None and first.cursor is not None and again.restore is not None
    first.stack(2, 1)
    again.restore(json.loads(json.dumps(first.cursor())))
    rows, expected = again.stack(2, 1), first.stack(2, 1)
    assert set(rows) == {"input", "image", "instance"}
    for name, values in expected.items():
        assert_array_equal(rows[name], values)
    batch = first.draw({name: values[0] for name, values in rows.items()}, keys_of(8), 0)
    assert batch["image"].shape == (8, CROP, CROP, 3) and batch["input"].dtype == np.int32
    image = rows["image"][0, 0]
    assert_array_equal(batch["image"], to_float(image))
    assert_array_equal(batch["input"], image[..., 1].astype(int) * SIZE + image[..., 2])


def test_rows_of_another_size_are_refused():
    with pytest.raises(DataError, match="inputs are 20 x 20 px, but data.load_size and net.resolution need 24 x 24"):
        pair_feed(located(), dataclasses.replace(config(), data=DataConfig(load_size=24)))


def test_folders_are_loaded_at_the_size_that_crops_are_drawn_from(tmp_path):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for i in range(3):
            (tmp_path / side / f"{i}.png").write_bytes(encode_png(located().images[i]))
    pairs = load_pairs(f"pairs:{tmp_path}/a,{tmp_path}/b", resolution=CROP, load_size=18)
    feed = pair_feed(pairs, dataclasses.replace(config(), data=DataConfig(load_size=18)))
    batch = feed.draw(on_device(feed), keys_of(4), 0)
    assert batch["input"].shape == (4, CROP, CROP, 3)
    assert_array_equal(batch["input"], batch["image"])


def test_files_are_read_while_training(tmp_path):
    pytest.importorskip("grain")
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for i in range(3):
            (tmp_path / side / f"{i}.png").write_bytes(encode_png(located().images[i]))
    options = {"resolution": CROP, "load_size": SIZE, "in_channels": 3, "channels": 3}
    streamed = open_pairs(f"pairs:{tmp_path}/a,{tmp_path}/b", **options)
    feed = pair_feed(streamed, config("auto"))
    assert feed.resident is None
    rows = feed.stack(1, 1)
    assert_array_equal(rows["input"], rows["image"])
    assert set(rows["input"][0, 0, :, 0, 0, 0]) <= {0, 1, 2} and rows["image"].shape == (1, 1, 8, CROP, CROP, 3)
    feed.batches.close()  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    with pytest.raises(DataError, match="is read from its files; load it"):
        pair_feed(streamed, config("device"))
