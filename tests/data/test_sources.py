from __future__ import annotations

import gzip
import lzma
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gan_jax.data import DataError, from_arrays, load, resize
from tests.conftest import extra_data


def write_idx(
    folder: Path, split: str = "train", n: int = 5, suffix: str = "", labels: int | None = None
) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 6, 4), dtype=np.uint8)
    n_labels = n if labels is None else labels
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    images = bytes([0, 0, 8, 3]) + struct.pack(">3I", n, 6, 4) + pixels.tobytes()
    folder.joinpath(f"{split}-images-idx3-ubyte{suffix}").write_bytes(pack(images))
    text = bytes([0, 0, 8, 1]) + struct.pack(">I", n_labels) + bytes(range(n_labels))
    folder.joinpath(f"{split}-labels-idx1-ubyte{suffix}").write_bytes(pack(text))
    return pixels


# -- specs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("folders:/x", "unknown data source 'folders:/x' .did you mean 'folder'.*; a source is one of embedded:"),
        ("/x/y", "unknown data source '/x/y'"),
        ("npz", "unknown data source 'npz' .did you mean 'npz'"),
        ("zip:", "names nothing after the colon"),
        ("embedded:fashion_mnist", "no embedded data set 'fashion_mnist' .did you mean 'fashion-mnist'"),
        ("folder:/no/such", "/no/such is absent; expected a folder"),
        ("zip:/no/such.zip", "/no/such.zip is absent; expected a file"),
        ("npz:/", "/ is not a file; expected a file"),
    ],
)
def test_specs_that_mean_nothing(spec, says):
    with pytest.raises(DataError, match=says):
        load(spec)


def test_arrays_pairs_and_images_are_sources_too():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    assert_array_equal(load(pixels).images[..., 0], pixels)
    pair = load((pixels, [3, 1, 1, 2]), classes=[1])
    assert_array_equal(pair.images[..., 0], pixels[1:3])
    assert load(pair) is pair
    changed = load(pixels, resolution=4, channels=3)
    assert_array_equal(changed.images, np.repeat(resize(pixels[..., None], 4), 3, axis=-1))


def test_images_that_are_not_square_are_cropped_padded_or_stretched():
    wide = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)
    assert load(wide).resolution == (4, 6)
    cropped = load(wide, resolution=4)
    assert_array_equal(cropped.images[..., 0], wide[:, :, 1:5])
    assert cropped.notes == (
        "all 2 images are not square: cut to the centre (data.fit pad or stretch keeps all of it)",
    )
    assert_array_equal(load(wide, crop=True).images, cropped.images)
    padded = load(wide, resolution=6, fit="pad").images[..., 0]
    assert_array_equal(padded[:, 1:5], wide)
    assert not padded[:, [0, 5]].any()
    assert_array_equal(load(wide, resolution=4, fit="stretch").images, resize(wide[..., None], 4))
    with pytest.raises(DataError, match="data.fit is 'squash'; use crop, pad or stretch"):
        load(wide, fit="squash")  # type: ignore[arg-type]


# -- embedded ---------------------------------------------------------------------------------------


def test_embedded_fashion_mnist_is_the_test_split():
    images = load("embedded:fashion-mnist")
    assert images.images.shape == (10_000, 28, 28, 1)
    assert_array_equal(np.bincount(images.labels), [1000] * 10)  # type: ignore[arg-type]
    assert images.class_names == FASHION
    assert images.labels[:5].tolist() == [9, 2, 1, 1, 6]  # type: ignore[index]
    assert images.fingerprint == "330d3485634aa592c8857ebbc44dab769ba96c2766b76e99d8340da819a1e1b6"


def test_embedded_emoji_are_the_indexed_cells_of_the_sheet():
    images = load("embedded:emoji")
    assert images.images.shape == (1911, 64, 64, 4)
    counts = dict(zip(images.class_names or (), np.bincount(images.labels), strict=True))  # type: ignore[arg-type]
    assert counts["Smileys & Emotion"] == 169 and counts["Animals & Nature"] == 159 and counts["Food & Drink"] == 131
    assert (images.images[..., 3].reshape(1911, -1).max(1) > 0).all()  # no cell is empty
    grey = load("embedded:emoji", resolution=32, channels=1, classes=["Food & Drink"])
    assert grey.images.shape == (131, 32, 32, 1)
    assert grey.images[:, 0, 0].mean() > 250  # corners are the white that transparency is laid on


@pytest.mark.weights
def test_embedded_emoji_equal_the_original_sheet():
    from PIL import Image

    folder = extra_data("emoji-64")
    rows = [row.split("\t") for row in (folder / "index.tsv").read_text().splitlines()[1:]]
    sheet = np.asarray(Image.open(folder / "sheet_google_64.png").convert("RGBA"))
    cells = np.stack([sheet[66 * int(y) + 1 :, 66 * int(x) + 1 :][:64, :64] for _, x, y, *_ in rows])
    images = load("embedded:emoji")
    assert_array_equal(images.images[..., 3], cells[..., 3])
    visible = cells[..., 3] > 0
    assert_array_equal(images.images[visible], cells[visible])
    assert [images.class_names[i] for i in images.labels] == [row[3] for row in rows]  # type: ignore[index, union-attr]


def test_every_embedded_set_stays_small_and_carries_its_licence():
    root = Path(__file__).parents[2] / "gan_jax" / "data" / "embedded"
    for name in ("fashion-mnist", "emoji"):
        files = list((root / name).iterdir())
        assert {"LICENSE", "README.md"} <= {file.name for file in files}
        assert sum(file.stat().st_size for file in files) < 4 * 2**20


# -- idx --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_idx_files_plain_and_compressed(tmp_path, suffix):
    pixels = write_idx(tmp_path, suffix=suffix)
    write_idx(tmp_path, "t10k", n=2, suffix=suffix)
    images = load(f"idx:{tmp_path}")
    assert_array_equal(images.images[..., 0], pixels)
    assert_array_equal(images.labels, range(5))
    assert len(load(f"idx:{tmp_path}:test")) == 2
    assert load(f"idx:{tmp_path}:train").fingerprint == images.fingerprint


def test_idx_class_names_stand_beside(tmp_path):
    write_idx(tmp_path, n=2)
    tmp_path.joinpath("classes.txt").write_text("no\nyes\n")
    assert load(f"idx:{tmp_path}").class_names == ("no", "yes")


def test_idx_files_that_are_damaged(tmp_path):
    with pytest.raises(DataError, match="no idx file train-images-idx3-ubyte"):
        load(f"idx:{tmp_path}")
    write_idx(tmp_path, labels=4)
    with pytest.raises(DataError, match="5 train images but 4 labels"):
        load(f"idx:{tmp_path}")
    write_idx(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for content, says in (
        (whole[:-1], r"declares 120 bytes \[5, 6, 4\], the file holds 119"),
        (whole + b"x", "the file holds more"),
        (b"\x89PNG" + whole[4:], "not an idx file of 3-dimensional bytes: it begins with '89 50 4e 47'"),
        (b"", "not an idx file"),
        (whole[:4] + b"\xff" * 12, "the file holds 0"),  # 2^96 bytes declared: nothing of the kind is allocated
    ):
        images.write_bytes(content)
        with pytest.raises(DataError, match=f"train-images-idx3-ubyte.*{says}"):
            load(f"idx:{tmp_path}")
    images.unlink()
    tmp_path.joinpath("train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz cannot be read"):
        load(f"idx:{tmp_path}")


def test_a_folder_of_idx_files_says_how_to_read_it(tmp_path):
    write_idx(tmp_path)
    with pytest.raises(DataError, match="holds idx files; read it as idx:"):
        load(f"folder:{tmp_path}")


@pytest.mark.weights
def test_the_official_mnist_files():
    folder = extra_data("mnist")
    images = load(f"idx:{folder}:test")
    assert images.images.shape == (10_000, 28, 28, 1)
    assert images.labels[:3].tolist() == [7, 2, 1]  # type: ignore[index]


# -- npz --------------------------------------------------------------------------------------------


def test_npz_with_and_without_labels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "both.npz", images=pixels, labels=np.arange(4))
    both = load(f"npz:{tmp_path / 'both.npz'}")
    assert_array_equal(both.images, pixels)
    assert_array_equal(both.labels, range(4))
    np.savez(tmp_path / "one.npz", pixels[..., 0])
    assert_array_equal(load(f"npz:{tmp_path / 'one.npz'}").images, pixels[..., :1])


def test_npz_files_that_do_not_fit(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, pictures=np.zeros(3), labels=np.zeros(3))
    with pytest.raises(DataError, match="x.npz has no array 'images'; it holds 'pictures', 'labels'"):
        load(f"npz:{path}")
    np.savez(path, images=np.zeros((3, 4, 4), np.float32))
    with pytest.raises(DataError, match="x.npz: images must be uint8"):
        load(f"npz:{path}")
    np.savez(path, images=np.zeros((3, 4, 4), np.uint8), labels=np.zeros(2, int))
    with pytest.raises(DataError, match="x.npz: 2 labels for 3 images"):
        load(f"npz:{path}")
    np.savez(path, images=np.array([object()]))
    with pytest.raises(DataError, match="x.npz holds an array of Python objects, .* save one array of uint8"):
        load(f"npz:{path}")
    np.savez(path, images=np.zeros((3, 64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="x.npz cannot be read as npz"):
        load(f"npz:{path}")
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "x.npy").rename(path)
    with pytest.raises(DataError, match="is not an npz archive"):
        load(f"npz:{path}")


def test_a_loaded_set_keeps_its_fingerprint_through_npz(tmp_path):
    original = load("embedded:fashion-mnist").take(range(10))
    np.savez(tmp_path / "x.npz", images=original.images, labels=original.labels)
    assert load(f"npz:{tmp_path}/x.npz").fingerprint == original.fingerprint
    assert from_arrays(original.images, original.labels).fingerprint == original.fingerprint


FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def test_what_unpacks_to_far_more_than_it_is_is_refused_by_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_jax.data.decode.MAX_UNPACKED_BYTES", 100_000)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.zeros((100, 100, 100), np.uint8))
    with pytest.raises(
        DataError, match=r"x.npz has [0-9,]+ bytes and unpacks to 1,000,128; the limit is 100,000 bytes or 100"
    ):
        load(f"npz:{path}")
    np.savez(path, images=np.zeros((100, 100, 100), np.uint8))  # as large as it is
    assert len(load(f"npz:{path}")) == 100
    body = bytes([0, 0, 8, 3]) + struct.pack(">3I", 100, 100, 100) + bytes(1_000_000)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(body))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 100) + bytes(100))
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz has .* and unpacks to 1,000,000; the limit is"):
        load(f"idx:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="train-images-idx3-ubyte is not a regular file"):
        load(f"idx:{tmp_path}")


def test_npz_labels_as_tables_have_them(tmp_path):
    path, pixels = tmp_path / "x.npz", np.zeros((3, 4, 4), np.uint8)
    for labels, expected in (
        (np.array([2.0, 0, 10]), [2, 0, 10]),
        (np.array(["2", "0", "10"]), [2, 0, 10]),
        (np.array([b"b", b"a", b"b"]), [1, 0, 1]),
    ):
        np.savez(path, images=pixels, labels=labels)
        assert_array_equal(load(f"npz:{path}").labels, expected)
    assert load(f"npz:{path}").class_names == ("a", "b")
    np.savez(path, images=pixels, labels=np.eye(3))
    with pytest.raises(
        DataError, match=r"labels must be integers \[N\], not float64\[3, 3\]; one-hot labels are turned"
    ):
        load(f"npz:{path}")
    np.savez(path, images=np.zeros((3, 3, 8, 8), np.uint8))
    with pytest.raises(DataError, match="images have 8 channels.*if they are channels first"):
        load(f"npz:{path}")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("photos", "a data source begins with its kind; use folder:photos"),
        ("a.zip", "a data source begins with its kind; use zip:a.zip"),
        ("folder:phtos", r"phtos is absent \(did you mean 'photos'\?\); expected a folder"),
        ("npz:b.zip", r"b.zip is absent \(did you mean 'a.zip'\?\); expected a file"),
    ],
)
def test_a_source_that_is_nearly_right_is_named(tmp_path, monkeypatch, word, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.zip").touch()
    with pytest.raises(DataError, match=said):
        load(word)


def test_labels_of_arrays_with_gaps_are_said(tmp_path):
    images = np.zeros((4, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "gaps.npz", images=images, labels=[0, 1, 3, 5])
    (note,) = load(f"npz:{tmp_path / 'gaps.npz'}").notes
    assert "the labels are 0, 1, 3, 5: not 0 .. 3" in note
    np.savez(tmp_path / "whole.npz", images=images, labels=[0, 1, 2, 3])
    assert load(f"npz:{tmp_path / 'whole.npz'}").notes == ()
