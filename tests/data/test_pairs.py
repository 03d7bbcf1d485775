from __future__ import annotations

import io
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.data import (
    DataError,
    Pairs,
    StreamedPairs,
    is_pair_spec,
    load,
    load_pairs,
    open_pairs,
    prepare,
    resize,
    split_pairs,
    to_channels,
)
from gan_jax.data.decode import encode_png
from gan_jax.data.label_maps import colour_labels, resize_nearest
from gan_jax.data.pair_overview import inspect_pairs, preview
from gan_jax.data.pair_pipeline import make_pair_pipeline
from gan_jax.data.pair_specs import split_pair_spec
from gan_jax.data.pairs import kind_of_pairs
from gan_jax.data.pipeline import CursorError

Image = pytest.importorskip("PIL.Image")


def pictures(n: int, size: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def write(folder: Path, images: np.ndarray, names: list[str] | None = None, ending: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(images):
        path = folder / f"{names[i] if names else f'{i:03d}'}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pixels))
    return folder


def write_map(path: Path, labels: np.ndarray, mode: str = "P") -> None:
    """A label map as a PNG: of a palette whose colours are unlike the numbers, or grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8), mode="L")
    if mode == "P":
        picture = Image.fromarray(labels.astype(np.uint8)).convert("L")
        picture.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
        assert picture.mode == "P"
    picture.save(path)


@pytest.fixture
def two(tmp_path):
    """Folders of five pairs, and their arrays."""
    inputs, images = pictures(5, channels=1), pictures(5, seed=1)
    write(tmp_path / "a", inputs), write(tmp_path / "b", images)
    return tmp_path, inputs, images


# -- pairs of files --------------------------------------------------------------------------------


def test_two_folders_are_matched_by_path_without_ending(tmp_path):
    inputs, images = pictures(3), pictures(3, seed=1)
    names = ["x/10", "x/9", "y"]
    write(tmp_path / "a", inputs, names), write(tmp_path / "b", images, names, ending="webp")
    (tmp_path / "a" / "readme.txt").write_text("not an image")
    pairs = load_pairs(f"pairs:{tmp_path}/a,{tmp_path}/b")
    assert pairs.kind == "paired" and pairs.names == ("x/10", "x/9", "y") and len(pairs) == 3
    assert_array_equal(pairs.inputs, inputs)
    assert_array_equal(pairs.images, images)


def test_each_side_keeps_its_channels_or_gets_those_asked_for(two):
    folder, inputs, images = two
    spec = f"pairs:{folder}/a,{folder}/b"
    assert load_pairs(spec).inputs.shape == (5, 8, 8, 1)
    pairs = load_pairs(spec, in_channels=3, channels=1, resolution=4)
    assert_array_equal(pairs.inputs, to_channels(resize(inputs, 4), 3))
    assert_array_equal(pairs.images, resize(to_channels(images, 1), 4))
    assert pairs.notes == (
        "inputs: images of 8 x 8 px become 4 x 4 px: 5 reduced",
        "images: images of 8 x 8 px become 4 x 4 px: 5 reduced",
        "images: colour becomes grey in all 5 images (data.channels 3 keeps it)",
    )


def test_zips_and_npz_are_sides_too(two):
    folder, inputs, images = two
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        for i, pixels in enumerate(images):
            archive.writestr(f"top/{i:03d}.png", encode_png(pixels))
    np.savez(folder / "a.npz", inputs)
    np.savez(folder / "b.npz", images=images)
    np.savez(folder / "named.npz", images=inputs[::-1], names=[f"{i:03d}" for i in range(5)][::-1])
    for a, b in [("a", "b.zip"), ("a.npz", "b.npz"), ("named.npz", "b")]:
        pairs = load_pairs(f"pairs:{folder}/{a},{folder}/{b}")
        assert_array_equal(pairs.inputs, inputs)
        assert_array_equal(pairs.images, images)
    with pytest.raises(DataError, match="a.npz has no array 'names' to match its rows with files by"):
        load_pairs(f"pairs:{folder}/a.npz,{folder}/b")
    np.savez(folder / "four.npz", images=images[:4])
    with pytest.raises(DataError, match="5 inputs and 4 images; rows without names are matched by position"):
        load_pairs(f"pairs:{folder}/a.npz,{folder}/four.npz")


def test_names_without_a_partner_are_said_in_both_directions_with_counts(two):
    folder, *_ = two
    for name in ("000", "001", "002", "003"):
        (folder / "b" / f"{name}.png").unlink()
    write(folder / "b", pictures(1), ["005"])
    with pytest.raises(DataError) as caught:
        load_pairs(f"pairs:{folder}/a,{folder}/b")
    message = str(caught.value)
    assert "4 of inputs without a partner in images: 000, 001, 002 and 1 more" in message
    assert "1 of images without a partner in inputs: 005" in message
    assert f"There are 5 inputs in {folder}/a, 2 images in {folder}/b" in message


def test_sizes_that_differ_are_refused_with_the_first_ones(two):
    folder, *_ = two
    write(folder / "b", pictures(4, size=6), ["000", "001", "003", "004"])
    with pytest.raises(DataError, match=r"4 of 5 have sides of different sizes: 000 \(inputs 8 x 8, images 6 x 6 px\)"):
        load_pairs(f"pairs:{folder}/a,{folder}/b", resolution=4)
    write(folder / "a", pictures(4, size=6, channels=1), ["000", "001", "003", "004"])
    assert load_pairs(f"pairs:{folder}/a,{folder}/b", resolution=4).images.shape == (5, 4, 4, 3)
    with pytest.raises(DataError, match="inputs 002 is 8 x 8 px with 1 .* but 000 is 6 x 6 px"):
        load_pairs(f"pairs:{folder}/a,{folder}/b")


def test_a_pair_with_a_file_that_cannot_be_read_is_left_out(two):
    folder, inputs, images = two
    (folder / "b" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    (folder / "a" / "003.png").write_bytes(b"")
    spec = f"pairs:{folder}/a,{folder}/b"
    pairs = load_pairs(spec)
    assert pairs.names == ("000", "002", "004")
    assert_array_equal(pairs.inputs, inputs[[0, 2, 4]])
    assert_array_equal(pairs.images, images[[0, 2, 4]])
    assert [path for path, _ in pairs.left_out] == [f"{folder}/a/003.png", f"{folder}/b/001.png"]
    assert pairs.notes[0].startswith(f"2 of 5 left out: {folder}/a/003.png is not a readable image: it is empty")
    with pytest.raises(DataError, match=r"a/003\.png is not .*b/001\.png is not"):
        load_pairs(spec, bad="fail")


def test_two_files_of_one_name_on_a_side(two):
    folder, *_ = two
    write(folder / "a", pictures(1), ["000"], ending="jpg")
    with pytest.raises(DataError, match=r"holds 000\.jpg and 000\.png: rows are matched by name without ending"):
        load_pairs(f"pairs:{folder}/a,{folder}/b")


def test_what_holds_no_image_is_said_with_its_content(two):
    folder, *_ = two
    (folder / "c").mkdir()
    with pytest.raises(DataError, match=r"c holds no images \(.*\); it holds no file"):
        load_pairs(f"pairs:{folder}/a,{folder}/c")
    for i in range(3):
        (folder / "c" / f"{i}.txt").write_text("text")
    (folder / "c" / "x.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"its 4 file\(s\) are 3 .txt, 1 .csv"):
        load_pairs(f"unpaired:{folder}/a,{folder}/c")
    with pytest.raises(DataError, match="000.png is a file; a side is a folder, a zip or an npz"):
        load_pairs(f"pairs:{folder}/a/000.png,{folder}/b")


# -- specs -----------------------------------------------------------------------------------------


def test_a_path_may_hold_commas_where_one_reading_exists(tmp_path):
    for name in ("a,b", "c"):
        (tmp_path / name).mkdir()
    spec = split_pair_spec(f"pairs:{tmp_path}/a,b,{tmp_path}/c")
    assert spec.paths == (f"{tmp_path}/a,b", f"{tmp_path}/c") and spec.text() == f"pairs:{tmp_path}/a,b,{tmp_path}/c"
    (tmp_path / "x").mkdir(), (tmp_path / "x" / "y").mkdir()
    with pytest.raises(DataError, match="must name 2 paths .* no way of cutting"):
        split_pair_spec(f"pairs:{tmp_path}/a,d,{tmp_path}/c")


def test_commas_that_can_be_read_in_two_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b,c", "a,b", "c"):
        Path(name).mkdir()
    with pytest.raises(DataError, match="can be read as 'a' and 'b,c' or 'a,b' and 'c'; rename"):
        split_pair_spec("pairs:a,b,c")
    with pytest.raises(DataError, match="can be read as"):
        split_pair_spec("layouts:a,b,c")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pair:a,b", "unknown source of pairs 'pair:a,b' .did you mean 'pairs'"),
        ("pairs:", "names nothing after the colon"),
        ("pairs:a", "must name 2 paths"),
        ("pairs:a,", "one of them is empty"),
        ("layouts:a,b", "a is absent; expected a folder"),
        ("joined:a:btoa", "ends in 'btoa'; the direction is AtoB or BtoA"),
    ],
)
def test_specs_that_are_wrong(spec, message):
    with pytest.raises(DataError, match=message):
        split_pair_spec(spec)


def test_options_that_are_wrong(two):
    folder, *_ = two
    spec = f"pairs:{folder}/a,{folder}/b"
    with pytest.raises(DataError, match="load_size 4 is smaller than the 8 px that are cut out of it"):
        load_pairs(spec, resolution=8, load_size=4)
    with pytest.raises(DataError, match="data.bad is 'ignore'"):
        load_pairs(spec, bad="ignore")  # pyright: ignore[reportArgumentType]
    assert load_pairs(spec, resolution=8, load_size=10).images.shape == (5, 10, 10, 3)


# -- side by side, unpaired ------------------------------------------------------------------------


def test_side_by_side_pictures_are_cut_in_two(tmp_path):
    left, right = pictures(3), pictures(3, seed=1)
    write(tmp_path / "j", np.concatenate([left, right], 2))
    for spec, inputs, images in [("j", left, right), ("j:AtoB", left, right), ("j:BtoA", right, left)]:
        pairs = load_pairs(f"joined:{tmp_path}/{spec}")
        assert pairs.kind == "paired" and pairs.names == ("000", "001", "002")
        assert_array_equal(pairs.inputs, inputs)
        assert_array_equal(pairs.images, images)
    write(tmp_path / "j", np.concatenate([left, right], 2)[:1, :, :-1], ["odd"])
    with pytest.raises(DataError, match=r"1 of 4 have an odd width.*: odd is 15 x 8 px"):
        load_pairs(f"joined:{tmp_path}/j")


def test_unpaired_sides_have_their_own_names_counts_and_sizes(tmp_path):
    write(tmp_path / "a", pictures(3, size=6), ["p", "q", "r"]), write(tmp_path / "b", pictures(5, seed=1))
    spec = f"unpaired:{tmp_path}/a,{tmp_path}/b"
    pairs = load_pairs(spec)
    assert (pairs.kind, len(pairs), len(pairs.images)) == ("unpaired", 3, 5)
    assert pairs.inputs.shape[1:3] == (6, 6) and pairs.images.shape[1:3] == (8, 8)
    assert pairs.names == ("p", "q", "r") and pairs.image_names == ("000", "001", "002", "003", "004")
    assert_array_equal(load_pairs(spec, resolution=4).inputs, resize(pictures(3, size=6), 4))


# -- layouts ---------------------------------------------------------------------------------------


def labels_of(n: int = 3, size: int = 8, count: int = 4) -> np.ndarray:
    labels = np.random.default_rng(2).integers(0, count, (n, size, size))
    labels[0, 0, 0] = count - 1
    return labels


def write_layouts(folder: Path, labels: np.ndarray, mode: str = "P") -> str:
    for i, row in enumerate(labels):
        write_map(folder / "l" / f"{i:03d}.png", row, mode)
    write(folder / "i", pictures(len(labels), size=labels.shape[1]))
    return f"layouts:{folder}/l,{folder}/i"


@pytest.mark.parametrize("mode", ["P", "L"])
def test_label_maps_are_the_numbers_that_the_files_store(tmp_path, mode):
    labels = labels_of()
    labels[1, 2, 3] = 255
    spec = write_layouts(tmp_path, labels, mode)
    pairs = load_pairs(spec)
    assert (pairs.kind, pairs.num_labels, pairs.dont_care, pairs.inputs.dtype) == ("layout", 4, True, np.uint8)
    assert_array_equal(pairs.inputs, np.where(labels == 255, 4, labels))
    assert_array_equal(pairs.images, pictures(3))
    assert pairs.notes == ("no classes.txt names the classes: 4, one more than the largest label",)
    assert load_pairs(spec, num_labels=7).inputs.max() == 7  # don't care is the label after the last


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_not_spread(tmp_path, bits):
    """A PNG written by hand: Pillow writes grey of 8 bits only, and spreads fewer bits when it reads."""
    import struct
    import zlib

    count = 2**bits
    labels = labels_of(1, 8, count)
    packed = np.packbits(((labels[0][..., None] >> np.arange(bits)[::-1]) & 1).reshape(8, -1).astype(np.uint8), axis=1)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))) + chunk(b"IEND", b"")
    spec = write_layouts(tmp_path, labels)
    (tmp_path / "l" / "000.png").write_bytes(data)
    assert_array_equal(load_pairs(spec).inputs, labels)


def test_labels_are_resized_by_the_nearest_pixel_as_pillow_does(tmp_path):
    labels = labels_of(size=9, count=200)
    for size in (4, 5, 13, 18):
        expected = [
            np.array(Image.fromarray(row.astype(np.uint8)).resize((size, size), Image.NEAREST)) for row in labels
        ]
        assert_array_equal(resize_nearest(labels, size), expected)
    pairs = load_pairs(write_layouts(tmp_path, labels), resolution=5)
    assert_array_equal(pairs.inputs, resize_nearest(labels, 5))
    assert set(np.unique(pairs.inputs)) <= set(np.unique(labels))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_maps_and_images_of_other_shapes_stay_aligned(tmp_path, fit):
    """The image is the map, drawn in grey: where both are enlarged by a whole factor the middles of pixels agree."""
    labels = np.random.default_rng(0).integers(0, 3, (2, 4, 6)) * 100
    for i, row in enumerate(labels):
        write_map(tmp_path / "l" / f"{i}.png", row)
    large = labels.repeat(8, 1).repeat(8, 2).astype(np.uint8)
    for i, row in enumerate(large):
        write_map(tmp_path / "big" / f"{i}.png", row)
    write(tmp_path / "i", large[..., None], ["0", "1"])
    pairs = load_pairs(f"layouts:{tmp_path}/big,{tmp_path}/i", resolution=24, fit=fit, num_labels=201)
    away = pairs.inputs != 201
    close = np.abs(pairs.images[..., 0].astype(int) - pairs.inputs) <= 40
    assert close[away].mean() > 0.6  # all but edges, which bicubic filters mix
    mirrored = np.abs(pairs.images[..., 0].astype(int) - pairs.inputs[:, :, ::-1]) <= 40
    assert close[away].mean() > mirrored[away].mean() + 0.15
    assert away.all() == (fit != "pad")


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_pairs_of_any_size_come_to_one_with_both_sides_alike(tmp_path, fit):
    """Label 1 to 4 left or right of a quarter, above or below three quarters; photographs lie on their sides."""
    sizes = [(40, 24), (24, 56), (64, 64), (136, 120)]

    def numbered_at(x: np.ndarray, y: np.ndarray, width: int, height: int) -> np.ndarray:
        return 1 + (x >= width / 4) + 2 * (y >= 3 * height / 4)[:, None]

    for i, (width, height) in enumerate(sizes):
        labels = numbered_at(np.arange(width), np.arange(height), width, height)
        write_map(tmp_path / "l" / f"{i}.png", labels)
        pixels = np.stack([labels * 60] * 3, -1).astype(np.uint8)
        write(tmp_path / "a", pixels[None], [str(i)])
        turned = Image.Exif()
        turned[0x0112] = 6  # the camera's top is at the right
        (tmp_path / "b").mkdir(exist_ok=True)
        picture = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
        picture.save(tmp_path / "b" / f"{i}.jpg", exif=turned, quality=100)
    options: dict = {"resolution": 16, "load_size": 20, "in_channels": 3, "channels": 3, "fit": fit}
    for spec in (f"pairs:{tmp_path}/a,{tmp_path}/b", f"layouts:{tmp_path}/l,{tmp_path}/b"):
        loaded = load_pairs(spec, **options)
        for i, (width, height) in enumerate(sizes):
            across, down = (min(width, height),) * 2 if fit == "crop" else (width, height)
            x, y = ((np.arange(20) + 0.5) * side / 20 + (n - side) / 2 for n, side in ((width, across), (height, down)))
            expected = numbered_at(x, y, width, height)
            if loaded.kind == "layout":
                assert_array_equal(loaded.inputs[i], expected)
            # but for the edges, at which filters mix
            clear = np.ix_(np.abs(y - 3 * height / 4) > down / 10, np.abs(x - width / 4) > across / 10)
            for array in (loaded.images, loaded.inputs)[: 2 if loaded.kind == "paired" else 1]:
                assert_allclose(array[i, ..., 0][clear].astype(float), 60 * expected[clear], atol=12)
        streamed = open_pairs(spec, **options)
        assert isinstance(streamed, StreamedPairs) and streamed.load().fingerprint == loaded.fingerprint
        streamed.close()
    write(tmp_path / "a", pictures(1, size=25), ["1"])
    with pytest.raises(
        DataError, match=r"1 of 4 have sides of different sizes: 1 \(inputs 25 x 25, images 24 x 56 px\)"
    ):
        load_pairs(f"pairs:{tmp_path}/a,{tmp_path}/b", **options)


def test_classes_are_named_by_a_file_beside_the_maps(tmp_path):
    spec = write_layouts(tmp_path, labels_of())
    (tmp_path / "l" / "classes.txt").write_text("sky\nsea \nland\ntree\n", encoding="utf-8")
    pairs = load_pairs(spec)
    assert pairs.class_names == ("sky", "sea", "land", "tree") and pairs.num_labels == 4 and not pairs.notes
    (tmp_path / "l" / "classes.txt").unlink()
    (tmp_path / "l" / "classes.json").write_text(
        json.dumps({"1": "sea", "0": "sky", "2": "land", "3": "tree", "4": "x"})
    )
    assert load_pairs(spec).class_names == ("sky", "sea", "land", "tree", "x")
    with pytest.raises(DataError, match="has the names of 5 classes, but the network has 4; use net.num_labels 5"):
        load_pairs(spec, num_labels=4)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "", "names no class"),
        ("classes.txt", "a\n\nb", "line 2 is empty"),
        ("classes.txt", "a\nb\na", "has the class 'a' twice"),
        ("classes.json", "{", "cannot be read"),
        ("classes.json", '{"0": "a", "2": "b"}', "with all numbers from 0 on"),
        ("classes.json", '"a"', "must hold"),
        ("labels.txt", "a", "names of classes are read from classes.txt"),
    ],
)
def test_class_files_that_are_wrong(tmp_path, name, text, message):
    spec = write_layouts(tmp_path, labels_of())
    (tmp_path / "l" / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load_pairs(spec)


def test_labels_beyond_the_classes_name_the_first_files(tmp_path):
    labels = labels_of(5)
    labels[1:, 0, 0] = 9
    spec = write_layouts(tmp_path, labels)
    (tmp_path / "l" / "classes.txt").write_text("a\nb\nc\nd")
    with pytest.raises(DataError) as caught:
        load_pairs(spec)
    assert (
        "4 of 5 label maps have labels beyond the 4 classes named (0 .. 3, and 255 is don't care): "
        "001 (9), 002 (9), 003 (9) and 1 more"
    ) in str(caught.value)
    with pytest.raises(DataError, match="beyond the 8 classes in num_labels"):
        (tmp_path / "l" / "classes.txt").unlink()
        load_pairs(spec, num_labels=8)


def test_coloured_and_lossy_label_maps_are_refused_with_the_remedy(tmp_path):
    spec = write_layouts(tmp_path, labels_of())
    write(tmp_path / "l", pictures(1), ["000"])
    Image.fromarray(labels_of(1)[0].astype(np.uint8)).save(tmp_path / "l" / "001.png", format="JPEG")
    with pytest.raises(DataError) as caught:
        load_pairs(spec)
    message = str(caught.value)
    assert "2 of 3 are no label maps" in message
    assert f"{tmp_path}/l/000.png stores colours (RGB)" in message
    assert f"{tmp_path}/l/001.png is a JPEG, whose compression changes numbers" in message
    assert "save label maps as PNG of a palette or grey" in message


def test_instances_are_numbers_of_16_bits(tmp_path):
    labels = labels_of()
    spec = write_layouts(tmp_path, labels)
    instances = np.random.default_rng(3).integers(0, 60_000, labels.shape)
    (tmp_path / "n").mkdir()
    for i, row in enumerate(instances):
        Image.fromarray(row.astype(np.uint16)).save(tmp_path / "n" / f"{i:03d}.png")
    pairs = load_pairs(f"{spec},{tmp_path}/n")
    assert pairs.instances is not None and pairs.instances.dtype == np.int32
    assert_array_equal(pairs.instances, instances)
    assert_array_equal(load_pairs(pairs, resolution=4).instances, resize_nearest(instances, 4))
    (tmp_path / "n" / "002.png").unlink()
    with pytest.raises(DataError, match="1 of inputs without a partner in instances: 002"):
        load_pairs(f"{spec},{tmp_path}/n")


# -- arrays, npz, TFDS -----------------------------------------------------------------------------


def test_arrays_and_npz(tmp_path):
    inputs, images = pictures(4, channels=12), pictures(4, seed=1)
    pairs = load_pairs((inputs, images))
    assert pairs.kind == "paired" and pairs.names is None
    assert_array_equal(pairs.inputs, inputs)
    assert load_pairs((inputs, images), in_channels=12, resolution=4).inputs.shape == (4, 4, 4, 12)
    labels = labels_of(4)
    np.savez(tmp_path / "x.npz", inputs=labels, images=images, class_names=["a", "b", "c", "d"], names=list("wxyz"))
    layout = load_pairs(f"npz:{tmp_path}/x.npz")
    assert layout.kind == "layout" and layout.class_names == ("a", "b", "c", "d") and layout.names == tuple("wxyz")
    assert_array_equal(layout.inputs, labels)
    np.savez(tmp_path / "y.npz", inputs=inputs)
    with pytest.raises(DataError, match="has no array 'images'; pairs are arrays inputs and images"):
        load_pairs(f"npz:{tmp_path}/y.npz")
    with pytest.raises(DataError, match="4 inputs and 3 images"):
        load_pairs((inputs, images[:3]))
    with pytest.raises(DataError, match="images must be uint8"):
        load_pairs((inputs, images.astype(np.float32)))


def test_pairs_check_themselves():
    inputs, images = pictures(4), pictures(3)
    with pytest.raises(DataError, match='4 inputs, but 3 images; inputs that belong to no image are kind="unpaired"'):
        Pairs(inputs, images)
    assert len(Pairs(inputs, images, "unpaired").images) == 3
    with pytest.raises(DataError, match="inputs are 8 x 8 px, but images 6 x 6 px"):
        Pairs(inputs, pictures(4, size=6))
    with pytest.raises(DataError, match="inputs must be integers .N, H, W. of a layout, not uint8.4, 8, 8, 3."):
        Pairs(inputs, pictures(4), "layout")
    with pytest.raises(DataError, match="label 5 is outside 0 .. 4"):
        Pairs(np.full((4, 8, 8), 5, np.uint8), pictures(4), "layout", num_labels=4)


def test_the_fingerprint_is_of_all_that_a_network_sees():
    inputs, images = pictures(4), pictures(4, seed=1)
    one = Pairs(inputs, images)
    prints = {
        one.fingerprint,
        Pairs(images, inputs).fingerprint,
        Pairs(inputs, images, "unpaired").fingerprint,
        one.take([1, 0, 2, 3]).fingerprint,
    }
    assert len(prints) == 4
    assert Pairs(inputs, images, name="other", notes=("x",)).fingerprint == one.fingerprint


def prepare_records(folder: Path, features: dict, examples: list[dict]) -> str:
    """A TFDS data set of any features, in array_record format."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    members = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "of_pairs",
        "__module__": __name__,
        "_info": info,
        "_split_generators": lambda self, manager: {"train": iter(enumerate(examples))},
        "_generate_examples": lambda self: iter(()),
    }
    kind = type(tfds.core.GeneratorBasedBuilder)
    builder = kind("Builder", (tfds.core.GeneratorBasedBuilder,), members, skip_registration=True)
    builder(data_dir=folder).download_and_prepare(file_format="array_record")
    return f"tfds:{folder}/of_pairs/1.0.0"


def test_tfds_with_two_features_of_images(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    first, second = pictures(3), pictures(3, seed=1)
    feature = tfds.features.Image(shape=(8, 8, 3), encoding_format="png")
    png = lambda pixels: io.BytesIO(encode_png(pixels))
    rows = [{"sketch": png(a), "photo": png(b)} for a, b in zip(first, second, strict=True)]
    spec = prepare_records(tmp_path, {"sketch": feature, "photo": feature}, rows)
    with pytest.raises(DataError, match=r"has the images .*; say which are the input and the image: tfds:.*@"):
        load_pairs(spec)
    pairs = load_pairs(f"{spec}:train@sketch,photo")
    assert_array_equal(pairs.inputs, first)
    assert_array_equal(pairs.images, second)
    assert_array_equal(load_pairs(f"{spec}@photo,sketch").inputs, second)
    with pytest.raises(DataError, match="no feature of images 'sketches' .did you mean 'sketch'"):
        load_pairs(f"{spec}@sketches,photo")
    assert is_pair_spec(f"{spec}@sketch,photo") and not is_pair_spec(spec)
    streamed = open_pairs(f"{spec}@sketch,photo", resolution=8, in_channels=3, channels=3)
    assert isinstance(streamed, StreamedPairs) and streamed.load().fingerprint == pairs.fingerprint


def test_tfds_with_label_maps(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    labels, images = labels_of().astype(np.uint8), pictures(3)
    features = {
        "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
        "segmentation_mask": tfds.features.Image(shape=(8, 8, 1), encoding_format="png", use_colormap=False),
    }
    png = lambda pixels: io.BytesIO(encode_png(pixels))
    rows = [{"image": png(b), "segmentation_mask": png(a[..., None])} for a, b in zip(labels, images, strict=True)]
    spec = prepare_records(tmp_path, features, rows)
    layout = load_pairs(spec, num_labels=4)
    assert layout.kind == "layout"
    assert_array_equal(layout.inputs, labels)
    assert load_pairs(spec).kind == "paired"


def test_tfds_with_one_feature_of_images(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    feature = tfds.features.Image(shape=(8, 8, 3), encoding_format="png")
    spec = prepare_records(tmp_path, {"image": feature}, [{"image": io.BytesIO(encode_png(pictures(1)[0]))}])
    with pytest.raises(DataError, match=r"has 1 feature\(s\) of images, and pairs need two; its features are image"):
        load_pairs(spec)


# -- parts -----------------------------------------------------------------------------------------


def numbered(n: int, m: int | None = None) -> Pairs:
    """Rows whose pixels are their position: of the inputs, and 100 more of the images."""
    row = lambda count, first: np.broadcast_to(
        np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1)
    ).copy()
    return Pairs(row(n, 0), row(m or n, 100), "paired" if m is None else "unpaired", names=tuple(map(str, range(n))))


def positions(array: np.ndarray) -> list[int]:
    return array[:, 0, 0, 0].tolist()


def test_shots_are_the_same_rows_on_both_sides():
    train, rest = split_pairs(numbered(20), shots=5, seed=3)
    assert rest is not None and len(train) == 5 and len(rest) == 15
    assert positions(train.images) == [100 + i for i in positions(train.inputs)]
    assert train.names == tuple(map(str, positions(train.inputs)))
    assert sorted(positions(train.inputs) + positions(rest.inputs)) == list(range(20))
    assert set(positions(train.inputs)) < set(positions(split_pairs(numbered(20), shots=9, seed=3).train.inputs))


def test_a_reference_does_not_depend_on_the_seed_or_the_shots():
    parts = [split_pairs(numbered(20), shots=shots, reference=6, seed=s) for shots, s in [(5, 0), (5, 1), (None, 2)]]
    assert len({tuple(positions(part.rest.inputs)) for part in parts if part.rest}) == 1
    assert all(not set(positions(p.train.inputs)) & set(positions(p.rest.inputs)) for p in parts if p.rest)
    assert [len(part.train) for part in parts] == [5, 5, 14]
    assert positions(parts[0].train.inputs) != positions(parts[1].train.inputs)


def test_sides_of_unpaired_sets_are_chosen_by_themselves():
    train, rest = split_pairs(numbered(20, 20), shots=8, seed=3)
    assert rest is not None and len(train.images) == 8 and len(rest.images) == 12
    assert positions(train.images) != [100 + i for i in positions(train.inputs)]
    assert sorted(positions(train.images) + positions(rest.images)) == list(range(100, 120))
    train, rest = split_pairs(numbered(20, 30), reference=4)
    assert rest is not None and (len(train), len(train.images), len(rest), len(rest.images)) == (16, 26, 4, 4)


def test_more_than_there_is():
    with pytest.raises(DataError, match="arrays, inputs: 9 to train on and 2 held out are more than the 10"):
        split_pairs(numbered(10), shots=9, reference=2)
    with pytest.raises(DataError, match="arrays, images: 7 to train on and 0 held out are more than the 6"):
        split_pairs(numbered(10, 6), shots=7)
    assert split_pairs(numbered(10)).rest is None


def test_positions_of_each_side():
    pairs = numbered(4, 6).take([1, 0], [5, 5, 2])
    assert positions(pairs.inputs) == [1, 0] and positions(pairs.images) == [105, 105, 102]
    with pytest.raises(DataError, match="only unpaired sets have positions for each side"):
        numbered(4).take([0], [1])


# -- pipelines -------------------------------------------------------------------------------------


def located(n: int = 6, size: int = 7, kind: str = "paired") -> Pairs:
    """Rows whose pixels say where they are and of which row: three channels of row, top and left."""
    rows = np.stack(np.meshgrid(np.arange(n), np.arange(size), np.arange(size), indexing="ij"), -1).astype(np.uint8)
    if kind == "layout":
        labels = (rows[..., 1] * size + rows[..., 2]).astype(np.uint8)
        return Pairs(labels, rows, "layout", rows[..., 0].astype(np.int32) * 1000, num_labels=size * size)
    return Pairs(rows, rows, kind)  # pyright: ignore[reportArgumentType]


def batches(pipeline, n: int) -> list[dict[str, np.ndarray]]:
    with pipeline:
        return list(itertools.islice(pipeline, n))


def test_a_pipeline_cuts_and_flips_both_sides_alike():
    pytest.importorskip("grain")
    rows = batches(make_pair_pipeline(located(), 12, 0, resolution=4, mirror=True), 20)
    crops = np.concatenate([np.concatenate([row["input"], row["image"]], -1) for row in rows])
    assert crops.shape == (240, 4, 4, 6) and crops.dtype == np.uint8
    assert_array_equal(crops[..., :3], crops[..., 3:])
    assert_array_equal(np.bincount(crops[:, 0, 0, 0]), [40] * 6)  # whole epochs
    down, right = np.diff(crops[..., 1].astype(int), axis=1), np.diff(crops[..., 2].astype(int), axis=2)
    assert (down == 1).all() and (np.abs(right) == 1).all()
    assert 80 < (right[:, 0, 0] < 0).sum() < 160  # 120 flips expected, standard deviation 8
    assert set(crops[:, 0, 0, 1]) == set(crops[..., 2].min((1, 2))) == {0, 1, 2, 3}  # all places


def test_a_pipeline_of_layouts_keeps_labels_and_instances_in_place():
    pytest.importorskip("grain")
    for batch in batches(make_pair_pipeline(located(kind="layout"), 6, 0, resolution=4, mirror=True), 3):
        assert batch["input"].dtype == batch["instance"].dtype == np.int32
        assert_array_equal(batch["input"], batch["image"][..., 1].astype(int) * 7 + batch["image"][..., 2])
        assert_array_equal(batch["instance"], batch["image"][..., 0].astype(int) * 1000)


def test_a_pipeline_draws_the_sides_of_unpaired_sets_by_themselves():
    pytest.importorskip("grain")
    rows = batches(make_pair_pipeline(located(kind="unpaired"), 12, 0, resolution=4, mirror=True), 20)
    first, second = (np.concatenate([batch[name] for batch in rows]) for name in ("input", "image"))
    assert_array_equal(np.bincount(first[:, 0, 0, 0]), [40] * 6)
    assert_array_equal(np.bincount(second[:, 0, 0, 0]), [40] * 6)
    for part in (first[:, 0, 0, 0] == second[:, 0, 0, 0], first[:, 0, 0, 1] == second[:, 0, 0, 1]):
        assert 0.05 < part.mean() < 0.5
    flipped = [np.diff(side[:, 0, :2, 2].astype(int)) < 0 for side in (first, second)]
    assert 0.3 < (flipped[0] == flipped[1]).mean() < 0.7


def test_a_restored_pipeline_of_pairs_goes_on_and_refuses_other_sets():
    pytest.importorskip("grain")
    make = lambda **options: make_pair_pipeline(located(), 4, 5, resolution=4, mirror=True, **options)
    pipeline = make()
    list(itertools.islice(pipeline, 3))
    cursor = json.loads(json.dumps(pipeline.cursor()))
    expected = batches(pipeline, 3)
    again = make()
    again.restore(cursor)
    for a, b in zip(batches(again, 3), expected, strict=True):
        assert_array_equal(a["input"], b["input"])
        assert_array_equal(a["image"], b["image"])
    with pytest.raises(CursorError, match="source.fingerprint"):
        make_pair_pipeline(located(5), 4, 5, resolution=4, mirror=True).restore(cursor)
    with pytest.raises(CursorError, match="pipeline.resolution: 4 -> 5"):
        make_pair_pipeline(located(), 4, 5, resolution=5, mirror=True).restore(cursor)


def test_processes_share_each_batch_of_pairs():
    pytest.importorskip("grain")
    whole = batches(make_pair_pipeline(located(), 4, 0, resolution=4), 2)
    parts = [
        batches(make_pair_pipeline(located(), 4, 0, resolution=4, process_index=i, process_count=2), 2) for i in (0, 1)
    ]
    for k in range(2):
        assert_array_equal(np.concatenate([part[k]["image"] for part in parts]), whole[k]["image"])


# -- descriptions ----------------------------------------------------------------------------------


def test_a_layout_is_described_with_the_share_of_each_class(tmp_path):
    labels = np.zeros((2, 4, 4), int)
    labels[0, :2] = 1
    labels[1, 0] = 255
    spec = write_layouts(tmp_path, labels)
    (tmp_path / "l" / "classes.txt").write_text("sky\nsea\ntree")
    facts, pairs = inspect_pairs(spec)
    assert facts["kind"] == "layout" and facts["num_labels"] == 3 and facts["dont_care"] == 4 / 32
    assert facts["labels"] == [  # 28 pixels have a class
        {"label": 0, "name": "sky", "share": 20 / 28, "maps": 2},
        {"label": 1, "name": "sea", "share": 8 / 28, "maps": 1},
        {"label": 2, "name": "tree", "share": 0.0, "maps": 0},
    ]
    assert facts["inputs"]["sizes"] == {"4 x 4": 2} and facts["images"]["channels"] == 3
    assert facts["fingerprint"] == pairs.fingerprint
    cells = preview(pairs)
    assert cells.shape == (4, 4, 4, 3)
    assert_array_equal(cells[1], pictures(2, size=4)[0])
    colours = colour_labels(np.arange(4), 3)
    assert len({tuple(colour) for colour in colours.tolist()}) == 4 and not colours[3].any()
    assert_array_equal(cells[0], colours[np.where(labels[0] == 255, 3, labels[0])])


def test_sets_of_several_sizes_are_described_by_their_files(tmp_path):
    for side in "ab":
        write(tmp_path / side, pictures(2, size=6), ["0", "1"]), write(tmp_path / side, pictures(1, size=9), ["2"])
    facts, pairs = inspect_pairs(f"unpaired:{tmp_path}/a,{tmp_path}/b")
    assert facts["inputs"] == {
        "count": 3, "height": None, "width": None, "channels": None, "sizes": {"6 x 6": 2, "9 x 9": 1},
        "modes": {"RGB": 3}, "kinds": {"PNG": 3},
    }  # fmt: skip
    assert facts["fingerprint"] is None and facts["notes"] == []
    assert preview(pairs).shape == (6, 64, 64, 3)


def test_a_source_of_pairs_is_no_source_of_images(two):
    folder, *_ = two
    with pytest.raises(DataError, match="holds an input with each image, for networks that translate"):
        load(f"pairs:{folder}/a,{folder}/b")


# -- read from files as needed ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """A spec of each kind of files, six rows of 12 px."""
    folder = tmp_path_factory.mktemp("sources")
    a, b = pictures(6, size=12), pictures(6, size=12, seed=1)
    write(folder / "a", a), write(folder / "b", b), write(folder / "j", np.concatenate([a, b], 2))
    for i in range(6):
        write_map(folder / "l" / f"{i:03d}.png", np.where(labels_of(6, 12)[i] == 2, 255, labels_of(6, 12)[i]))
        write_map(folder / "n" / f"{i:03d}.png", labels_of(6, 12, 200)[i], mode="L")
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        for i, pixels in enumerate(b):
            archive.writestr(f"{i:03d}.png", encode_png(pixels))
    return {
        "pairs": f"pairs:{folder}/a,{folder}/b.zip",
        "joined": f"joined:{folder}/j:BtoA",
        "unpaired": f"unpaired:{folder}/a,{folder}/b",
        "layouts": f"layouts:{folder}/l,{folder}/b,{folder}/n",
    }


OPTIONS: dict = {"resolution": 8, "load_size": 10, "in_channels": 1, "channels": 3}


@pytest.mark.parametrize("kind", ["pairs", "joined", "unpaired", "layouts"])
def test_rows_that_are_read_as_needed_are_those_of_memory(sources, kind):
    loaded, streamed = load_pairs(sources[kind], **OPTIONS), open_pairs(sources[kind], **OPTIONS)
    assert isinstance(streamed, StreamedPairs) and len(streamed) == streamed.image_count == 6
    assert streamed.load().fingerprint == loaded.fingerprint
    assert (streamed.num_labels, streamed.names) == (loaded.num_labels, loaded.names)
    parts = [split_pairs(pairs, shots=2, seed=1) for pairs in (loaded, streamed)]
    assert [part.fingerprint for part in parts[0]] == [part.load().fingerprint for part in parts[1]]
    assert parts[1].train.fingerprint != streamed.fingerprint == open_pairs(sources[kind], **OPTIONS).fingerprint
    streamed.close()


@pytest.mark.parametrize("kind", ["joined", "unpaired", "layouts"])
def test_batches_that_are_read_as_needed_are_those_of_memory(sources, kind):
    pytest.importorskip("grain")
    expected, rows = (
        batches(make_pair_pipeline(pairs, 4, 3, resolution=8, mirror=True), 3)
        for pairs in (load_pairs(sources[kind], **OPTIONS), open_pairs(sources[kind], **OPTIONS))
    )
    for a, b in zip(expected, rows, strict=True):
        assert set(a) == set(b) and a["image"].shape == (4, 8, 8, 3)
        for name in a:
            assert_array_equal(a[name], b[name])


def test_what_does_not_fit_is_known_before_a_row_is_read(tmp_path):
    write(tmp_path / "a", pictures(5)), write(tmp_path / "b", pictures(5, seed=1))
    (tmp_path / "b" / "001.png").write_bytes(b"")
    spec = f"pairs:{tmp_path}/a,{tmp_path}/b"
    streamed = open_pairs(spec, **OPTIONS)
    assert isinstance(streamed, StreamedPairs) and streamed.names == ("000", "002", "003", "004")
    assert streamed.notes[0].startswith(f"1 of 5 left out: {tmp_path}/b/001.png is not")
    with pytest.raises(DataError, match="b/001.png is not a readable image"):
        open_pairs(spec, bad="fail", **OPTIONS)
    write(tmp_path / "b", pictures(1, size=6), ["003"])
    with pytest.raises(DataError, match=r"1 of 5 have sides of different sizes: 003 \(8 x 8, 6 x 6 px\)"):
        open_pairs(spec, **OPTIONS)
    write(tmp_path / "b", np.zeros((1, 8, 9, 3), np.uint8), ["004"])
    with pytest.raises(DataError, match=r"1 of 5 have an odd width.*: 004 is 9 x 8 px"):
        open_pairs(f"joined:{tmp_path}/b", **OPTIONS)
    labels = write_layouts(tmp_path / "layout", labels_of())
    with pytest.raises(DataError, match="beyond the 2 classes in num_labels"):
        open_pairs(labels, num_labels=2, **OPTIONS)


# -- prepared as TFDS sets -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pairs", "joined", "unpaired", "layouts"])
def test_pairs_that_are_prepared_are_read_back_as_they_are(sources, kind, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    pairs = load_pairs(sources[kind])
    if kind == "unpaired":
        pairs = pairs.take([0, 3], [5, 1, 2, 4])  # the sides have other lengths
    if kind == "layouts":  # the last class is not in the maps, and instances need more than a byte
        assert pairs.instances is not None and pairs.dont_care
        names = ("sky", "sea", "land", "tree", "nowhere")
        pairs = Pairs(
            np.where(pairs.inputs == pairs.num_labels, 5, pairs.inputs).astype(np.uint8), pairs.images, "layout",
            pairs.instances * 300, 5, pairs.names, None, names,
        )  # fmt: skip
    spec = f"tfds:{prepare({'train': pairs, 'test': pairs.take([1, 0])}, tmp_path, 'set_of_pairs')}"
    again = load_pairs(spec)
    assert again.fingerprint == pairs.fingerprint
    for field in ("kind", "num_labels", "names", "image_names", "class_names"):
        assert getattr(again, field) == getattr(pairs, field), field
    assert load_pairs(f"{spec}:test").fingerprint == pairs.take([1, 0]).fingerprint
    assert is_pair_spec(spec) and kind_of_pairs(spec) == pairs.kind
    streamed = open_pairs(spec, **OPTIONS)
    assert isinstance(streamed, StreamedPairs)
    assert streamed.load().fingerprint == load_pairs(pairs, **OPTIONS).fingerprint
    assert inspect_pairs(spec)[0]["fingerprint"] == pairs.fingerprint
    if kind == "unpaired":
        with pytest.raises(DataError, match="a part of an unpaired set, whose sides have other lengths"):
            load_pairs(f"{spec}:train[:1]")
    else:
        assert load_pairs(f"{spec}:train[1:3]").fingerprint == pairs.take([1, 2]).fingerprint


def test_pairs_that_cannot_be_prepared(sources, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    images = pictures(2)
    five = Pairs(pictures(2, channels=4)[..., [0, 1, 2, 3, 3]], images)
    many = Pairs(np.full((2, 8, 8), 300, np.int32), images, "layout", num_labels=300)
    instances = Pairs(np.zeros((2, 8, 8), np.uint8), images, "layout", np.full((2, 8, 8), 70000, np.int32), 2)
    for source, options, says in [
        (sources["pairs"], {"crop": True}, "become square at a resolution only"),
        ({"train": sources["pairs"], "test": "embedded:fashion-mnist"}, {}, "train holds pairs, but split test images"),
        ({"train": sources["pairs"], "test": sources["unpaired"]}, {}, "differ in kind: paired and unpaired"),
        (five, {}, "inputs have 5 channels; files of images hold 1, 3 or 4"),
        (many, {}, "don't care is stored as 255, which is a class where there are 300"),
        (instances, {}, r"instances hold 70000, but files of maps 0 \.\. 65535"),
    ]:
        with pytest.raises(DataError, match=says):
            prepare(source, tmp_path, "x", **options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_file_of_prepared_pairs(sources, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    folder = prepare(sources["pairs"], tmp_path, "x")
    values = json.loads((folder / "pairs.json").read_text())
    counts = values["splits"]["train"]
    for changed, says in [
        ({**values, "kind": "odd"}, "kind is 'odd'; it is paired, unpaired or layout"),
        ({**values, "splits": {"train": {**counts, "images": 5}}}, "6 inputs and 5 images in 6 records of train"),
        ({**values, "splits": {"train": {**counts, "names": ["a"] * 6}}}, "names must be 6 different texts"),
    ]:
        (folder / "pairs.json").write_text(json.dumps(changed))
        with pytest.raises(DataError, match=f"pairs.json is damaged: {says}"):
            load_pairs(f"tfds:{folder}")
