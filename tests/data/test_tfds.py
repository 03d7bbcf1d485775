from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gan_jax.data import DataError, Images, from_arrays, load, open_source, prepare, resize
from gan_jax.data.convert import Shape
from gan_jax.data.tfds_writer import _load_splits

pytest.importorskip("tensorflow_datasets")


def some_images(n: int = 9, channels: int = 3, labels: bool = True, names: bool = True) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 8, 8, channels), dtype=np.uint8)
    return from_arrays(pixels, np.arange(n) % 3 if labels else None, class_names=("a", "b", "c d") if names else None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A prepared set with two splits."""
    out = tmp_path_factory.mktemp("tfds")
    return prepare({"train": some_images(), "test": some_images(4)}, out, "little_set")


# -- preparing and reading back ---------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_prepared_is_read_back_equal(tmp_path, channels):
    images = some_images(channels=channels)
    folder = prepare(images, tmp_path, "back_again", version="2.1.0")
    assert folder == tmp_path / "back_again" / "2.1.0"
    assert [path.name for path in folder.parent.iterdir()] == ["2.1.0"]  # nothing unfinished is left
    again = load(f"tfds:{folder}")
    assert again.fingerprint == images.fingerprint
    assert again.class_names == images.class_names


def test_tfds_itself_reads_it_by_name(prepared):
    import tensorflow_datasets as tfds

    data = tfds.data_source("little_set", data_dir=prepared.parents[1], split="train", download=False)
    assert len(data) == 9
    assert_array_equal(data[5]["image"], some_images().images[5])
    assert data[5]["label"] == 2
    assert data.dataset_info.features["label"].names == ["a", "b", "c d"]


def test_names_splits_versions_and_slices(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared.parents[1]))
    everything = some_images()
    for spec, n in {"little_set": 9, "little_set:test": 4, "little_set:1.0.0": 9, "little_set:train[2:5]": 3}.items():
        assert len(load(f"tfds:{spec}")) == n, spec
    assert_array_equal(load("tfds:little_set:train[2:5]").images, everything.images[2:5])
    assert_array_equal(load(f"tfds:{prepared}:test").images, some_images(4).images)


def test_a_name_that_tfds_knows_is_read_in_the_newest_version_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for version, n in {"1.9.0": 3, "1.10.0": 5}.items():
        prepare(some_images(n), tmp_path, "mnist", version=version)
    assert len(load("tfds:mnist")) == 5
    assert len(load("tfds:mnist:1.9.0")) == 3


def test_folders_zips_npz_and_idx_can_be_prepared(tmp_path):
    images = load("embedded:fashion-mnist").take(range(5))
    np.savez(tmp_path / "x.npz", images=images.images, labels=images.labels)
    folder = prepare(f"npz:{tmp_path / 'x.npz'}", tmp_path, "from_npz", resolution=16, channels=3)
    again = load(f"tfds:{folder}")
    assert_array_equal(again.images, np.repeat(resize(images.images, 16), 3, axis=-1))
    assert_array_equal(again.labels, images.labels)
    assert again.class_names is None


def test_unlabelled_sets_stay_unlabelled(tmp_path):
    again = load(f"tfds:{prepare(some_images(labels=False, names=False), tmp_path, 'bare')}")
    assert again.labels is None and again.class_names is None


def test_an_existing_set_is_replaced_only_when_asked(tmp_path):
    folder = prepare(some_images(), tmp_path, "once")
    with pytest.raises(DataError, match="once/1.0.0 is there already"):
        prepare(some_images(4), tmp_path, "once")
    assert len(load(f"tfds:{folder}")) == 9
    assert len(load(f"tfds:{prepare(some_images(4), tmp_path, 'once', overwrite=True)}")) == 4


def test_a_failed_preparation_leaves_the_old_set(tmp_path, monkeypatch):
    folder = prepare(some_images(), tmp_path, "kept")
    monkeypatch.setattr("gan_jax.data.tfds_writer.encode_png", lambda pixels: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(some_images(4), tmp_path, "kept", overwrite=True)
    assert len(load(f"tfds:{folder}")) == 9
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "Big Set"}, "name 'Big Set' must be small letters"),
        ({"version": "1"}, "version '1' must be three numbers"),
        ({"sources": {"my split": "x"}}, "split name 'my split' must be letters"),
        ({"sources": {}}, "no split to prepare"),
        ({"sources": "folder:/no/such"}, "/no/such is absent"),
    ],
)
def test_what_cannot_be_prepared(tmp_path, options, says):
    with pytest.raises(DataError, match=says):
        prepare(**{"sources": some_images(), "out_dir": tmp_path, "name": "x", **options})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_splits_must_be_of_one_kind():
    for other, says in (
        (some_images(channels=1), r"train and test differ in image shape: \(8, 8, 3\) and \(8, 8, 1\)"),
        (some_images(labels=False), "differ in labels"),
        (some_images(names=False), "differ in class names"),
    ):
        with pytest.raises(DataError, match=says):
            _load_splits({"train": some_images(), "test": other})


def test_preparing_and_reading_need_no_tensorflow(tmp_path):
    code = f"""
import sys
from gan_jax.data import load, prepare
images = load("embedded:fashion-mnist").take(range(3))
assert load(f"tfds:{{prepare(images, {str(tmp_path)!r}, 'no_tf')}}").fingerprint == images.fingerprint
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "torch")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # TFDS announces no download


# -- reading at random ------------------------------------------------------------------------------


def test_random_access_decodes_only_what_is_asked_for(prepared, monkeypatch):
    decoded = []
    from gan_jax.data import tfds_source

    real = tfds_source.decode_file
    monkeypatch.setattr(tfds_source, "decode_file", lambda data, where: decoded.append(where) or real(data, where))
    source = open_source(f"tfds:{prepared}")
    assert len(source) == 9 and source.fingerprint and decoded == []
    assert_array_equal(source.labels, np.arange(9) % 3)
    assert decoded == []
    images, labels = source.fetch([7, 2], Shape(resolution=4, channels=1))  # type: ignore[union-attr]
    assert images.shape == (2, 4, 4, 1) and images.dtype == np.uint8
    assert_array_equal(labels, [1, 2])
    assert [where.rpartition("record ")[2] for where in decoded] == ["7", "2"]


def test_take_and_of_classes_are_views(prepared):
    source = open_source(f"tfds:{prepared}")
    chosen = source.of_classes(["b", 2]).take([0, 1, 5])
    assert_array_equal(chosen.load().images, some_images().images[[1, 2, 8]])  # type: ignore[union-attr]
    assert_array_equal(chosen.labels, [1, 2, 2])
    assert len({source.fingerprint, source.take(range(9)).fingerprint, chosen.fingerprint}) == 3
    with pytest.raises(DataError, match="no class 'bb'"):
        source.of_classes(["bb"])
    with pytest.raises(DataError, match="no image of class 9; it has 0, 1, 2"):
        source.of_classes([9])


def test_fingerprints_tell_sets_apart_wherever_they_lie(prepared, tmp_path):
    same = prepare({"train": some_images(), "test": some_images(4)}, tmp_path, "little_set")
    other = prepare(some_images(channels=1), tmp_path, "other_set")
    prints = [open_source(f"tfds:{path}").fingerprint for path in (prepared, same, other, f"{prepared}:test")]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


# -- what is not there or damaged -------------------------------------------------------------------


def test_sets_that_are_not_there(tmp_path, prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for spec in ("no_such_set", f"{tmp_path}/none", f"{prepared}:validation"):
        with pytest.raises(
            DataError, match=f"tfds:{spec} cannot be opened in /.*must be prepared as array_record first"
        ):
            load(f"tfds:{spec}")
    with pytest.raises(DataError, match=r"Should be one of \['train', 'test'\]"):
        load(f"tfds:{prepared}:validation")


def builder_of(tmp_path: Path, features: dict, examples: list[dict]) -> str:
    """A TFDS set that others might have made."""
    import tensorflow_datasets as tfds

    class Foreign(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = "foreign"

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": enumerate(examples)}

        def _generate_examples(self):
            return iter(())

    tfds.disable_progress_bar()
    builder = Foreign(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    return f"tfds:{tmp_path}/foreign/1.0.0"


def test_a_corrupt_image_in_a_record_is_named(tmp_path):
    import tensorflow_datasets as tfds

    spec = builder_of(tmp_path, {"image": tfds.features.Image()}, [{"image": io.BytesIO(b"no image")}])
    with pytest.raises(DataError, match=f"{spec}, record 0 is not a readable image"):
        load(spec)


def test_a_palette_image_in_a_record_has_its_colours(tmp_path):
    """TFDS's own decoder without OpenCV gives palette indices here."""
    import tensorflow_datasets as tfds
    from PIL import Image

    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    spec = builder_of(
        tmp_path, {"image": tfds.features.Image(shape=(None, None, 3))}, [{"image": io.BytesIO(stream.getvalue())}]
    )
    assert_array_equal(load(spec).images[0, 0, 0], [10, 20, 30])


def test_a_set_without_images_says_what_it_has(tmp_path):
    import tensorflow_datasets as tfds

    spec = builder_of(tmp_path, {"audio": tfds.features.Scalar(np.int32)}, [{"audio": 3}])
    with pytest.raises(DataError, match="has no feature 'image'; it has audio"):
        load(spec)


def test_a_damaged_record_file_is_an_error_that_names_the_set(tmp_path):
    folder = prepare(some_images(), tmp_path, "hurt")
    file = next(folder.glob("*array_record*"))
    data = bytearray(file.read_bytes())
    for i in range(200, min(len(data), 3000)):
        data[i] ^= 0xA5
    file.write_bytes(data)
    with pytest.raises(DataError, match=f"tfds:{folder}"):
        load(f"tfds:{folder}")
