from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from gan_jax.data import DataError, load
from gan_jax.data.decode import decode, encode_png

Files = dict[str, bytes]


def png(value: int = 0, size: tuple[int, int] = (6, 6), channels: int = 3) -> bytes:
    return encode_png(np.full((*size, channels), value, np.uint8))


def write_folder(path: Path, files: Files) -> str:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return f"folder:{path}"


def write_zip(path: Path, files: Files) -> str:
    with zipfile.ZipFile(path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return f"zip:{path / 'x.zip'}"


both = pytest.mark.parametrize("write", [write_folder, write_zip])


# -- what is read -----------------------------------------------------------------------------------


@both
def test_images_are_read_in_the_order_of_their_names(tmp_path, write):
    spec = write(
        tmp_path, {"b.png": png(2), "a.PNG": png(1), "sub/c.png": png(3), "notes.txt": b"", ".hidden.png": b""}
    )
    with pytest.raises(DataError, match="beside the class folder 'sub'"):
        load(spec)
    spec = write(
        tmp_path / "2" if write is write_folder else tmp_path, {"b.png": png(2), "a.PNG": png(1), "n.txt": b""}
    )
    images = load(spec)
    assert_array_equal(images.images[:, 0, 0, 0], [1, 2])
    assert images.images.shape == (2, 6, 6, 3) and images.labels is None


def test_a_run_inside_the_folder_is_no_data(tmp_path):
    """Else its sample grids would be a class, and the data would have changed when it goes on."""
    spec = write_folder(tmp_path, {"a.png": png(1), "b.png": png(2)})
    before = load(spec)
    write_folder(tmp_path / "runs" / "r", {"samples/000000016.png": png(3), "config.json": b"{}", ".lock": b""})
    assert load(spec).fingerprint == before.fingerprint and load(spec).labels is None
    assert len(load(f"folder:{tmp_path / 'runs' / 'r'}")) == 1


@both
def test_subfolders_are_classes(tmp_path, write):
    files = {"dog/1.png": png(1), "dog/deep/2.png": png(2), "cat/3.png": png(3), "__MACOSX/cat/._3.png": b"junk"}
    if write is write_folder:
        del files["__MACOSX/cat/._3.png"]
    images = load(write(tmp_path, files))
    assert images.class_names == ("cat", "dog")
    assert_array_equal(images.images[:, 0, 0, 0], [3, 1, 2])
    assert_array_equal(images.labels, [0, 1, 1])


LABELS = {
    "labels.csv": b"file,label\na.png,2\nb.png,0\n",
    "labels.json": b'{"b.png": 0, "a.png": 2}',
    "dataset.json": b'{"labels": [["a.png", 2], ["b.png", 0]]}',
}


@both
@pytest.mark.parametrize("name", LABELS)
def test_label_files(tmp_path, write, name):
    images = load(write(tmp_path, {"a.png": png(1), "b.png": png(2), name: LABELS[name]}))
    assert_array_equal(images.labels, [2, 0])
    assert images.class_names is None


@both
def test_a_label_file_counts_before_subfolders_and_labels_may_be_names(tmp_path, write):
    # With a byte order mark, as spreadsheets write it.
    csv = b"\xef\xbb\xbf00/a.png, owl\r\n01/b.png,cat\r\n01/c.png,owl\r\n"
    images = load(write(tmp_path, {"00/a.png": png(), "01/b.png": png(), "01/c.png": png(), "labels.csv": csv}))
    assert images.class_names == ("cat", "owl")
    assert_array_equal(images.labels, [1, 0, 1])


def test_dataset_json_may_say_that_there_are_no_labels(tmp_path):
    spec = write_zip(tmp_path, {"00000/a.png": png(), "00001/b.png": png(), "dataset.json": b'{"labels": null}'})
    assert load(spec).labels is None


def test_one_folder_around_everything_in_a_zip_is_no_class(tmp_path):
    assert load(write_zip(tmp_path, {"all/a.png": png(), "all/b.png": png(), "readme.md": b""})).labels is None
    images = load(write_zip(tmp_path, {"all/x/a.png": png(), "all/y/b.png": png()}))
    assert images.class_names == ("x", "y")


def test_images_of_any_size_are_brought_to_a_resolution(tmp_path):
    files = {"a.png": png(9, (6, 6)), "b.png": png(9, (10, 10), 1), "c.png": png(9, (8, 12), 4)}
    spec = write_folder(tmp_path, files)
    with pytest.raises(DataError, match=r"b.png is 10 x 10 px with 1 channel.*a.png is 6 x 6 px with 3 .*a resolution"):
        load(spec)
    images = load(spec, resolution=4, channels=1).images
    assert images.shape == (3, 4, 4, 1)
    assert_array_equal(images[:2], 9)
    with pytest.raises(DataError, match=r"b.png is .* 1 channel\(s\).*give channels"):
        load(spec, resolution=4)


def test_linked_folders_are_followed_once(tmp_path):
    write_folder(tmp_path / "real", {"a.png": png(1)})
    set_ = tmp_path / "set"
    write_folder(set_, {"x/b.png": png(2)})
    os.symlink(tmp_path / "real", set_ / "y")
    os.symlink(set_, set_ / "x" / "round")
    images = load(f"folder:{set_}")
    assert images.class_names == ("x", "y") and len(images) == 2


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 4), ("P", 3), ("RGB", 3), ("RGBA", 4), ("CMYK", 3)],
)
def test_every_usual_mode_is_decoded(mode, channels):
    stream = io.BytesIO()
    Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode).save(stream, "TIFF" if mode == "CMYK" else "PNG")
    pixels = decode(stream.getvalue(), "x")
    assert pixels.shape == (3, 5, channels)
    assert_array_equal(pixels, 255)


def test_a_palette_with_transparency_becomes_rgba():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=1)
    assert_array_equal(decode(stream.getvalue(), "x")[0, 0], [10, 20, 30, 0])


def test_the_camera_orientation_is_applied():
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    assert_array_equal(decode(stream.getvalue(), "x")[..., 0], np.rot90(np.arange(6).reshape(2, 3), -1))


# -- what is refused, by name -----------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def declared(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing."""
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def deep_float() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((6, 6), np.float32)).save(stream, "TIFF")
    return stream.getvalue()


noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@both
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a readable image"),
        (b"not an image at all", "not a readable image"),
        (encode_png(noise)[:1000], "not a readable image"),
        (flipped(encode_png(noise), 1000), "not a readable image"),
        (declared(9000, 9000), "is 9000 x 9000 px; more than"),
        (declared(60000, 60000), "not a readable image: .*decompression bomb"),
        (deep_float(), "more than 8 bits a channel"),
    ],
    ids=["empty", "text", "cut", "flipped", "large", "bomb", "deep"],
)
def test_a_bad_image_is_named(tmp_path, write, data, says):
    spec = write(tmp_path, {"a.png": png(), "cats/b.png": data, "labels.csv": b"a.png,0\ncats/b.png,0"})
    with pytest.raises(DataError, match=f"cats/b.png .*{says}"):
        load(spec, bad="fail")
    images = load(spec)
    assert len(images) == 1 and [name for name, _ in images.left_out] == ["cats/b.png"]
    assert "1 of 2 files left out: cats/b.png " in images.notes[0]


@both
def test_nothing_to_read_is_an_error(tmp_path, write):
    with pytest.raises(DataError, match="holds no images .*png"):
        load(write(tmp_path, {"readme.txt": b"", "labels.csv": b""}))


BAD_LABELS = {
    "missing": ("labels.csv", b"a.png,0", "labels.csv has no label for 'b.png'.*; 1 image.s. without one"),
    "extra": ("labels.csv", b"a.png,0\nb.png,1\nbb.png,1", "labels 'bb.png', which is not there .did you mean 'b.png'"),
    "twice": ("labels.csv", b"a.png,0\nb.png,1\na.png,1", "labels.csv labels 'a.png' twice"),
    "columns": ("labels.csv", b"a.png,0\nb.png", "labels.csv, line 2: 1 columns"),
    "empty": ("labels.csv", b"", "labels.csv has no label for 'a.png'"),
    "negative": ("labels.csv", b"a.png,0\nb.png,-1", "the label of 'b.png' is -1"),
    "text": ("labels.csv", b"\xff\xfe", "labels.csv cannot be read"),
    "json": ("labels.json", b"{", "labels.json cannot be read"),
    "list": ("labels.json", b"[0, 1]", "labels.json must hold"),
    "float": ("labels.json", b'{"a.png": 0.5, "b.png": 1}', "the label of 'a.png' is 0.5"),
    "mixture": ("labels.json", b'{"a.png": "cat", "b.png": 1}', "the label of 'a.png' is 'cat'; use whole numbers"),
    "vector": ("dataset.json", b'{"labels": [["a.png", [1]], ["b.png", [2]]]}', r"the label of 'a.png' is \[1\]"),
    "no labels": ("dataset.json", b"{}", "dataset.json must hold"),
    "triple": ("dataset.json", b'{"labels": [["a.png", 1, 2]]}', "dataset.json: entry 0 must be"),
    "number": ("dataset.json", b'{"labels": 7}', "dataset.json: entry 0 must be"),
}


@both
@pytest.mark.parametrize("case", BAD_LABELS)
def test_a_label_file_that_does_not_match_is_named(tmp_path, write, case):
    name, content, says = BAD_LABELS[case]
    with pytest.raises(DataError, match=says):
        load(write(tmp_path, {"a.png": png(), "b.png": png(), name: content}))


def test_two_label_files_are_one_too_many(tmp_path):
    files = {"a.png": png(), "labels.csv": b"a.png,0", "labels.json": json.dumps({"a.png": 0}).encode()}
    with pytest.raises(DataError, match="holds labels.csv and labels.json; keep one"):
        load(write_folder(tmp_path, files))


# -- hostile zips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png"])
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="x.zip holds '.*evil.png', a name that leaves the archive; refused"):
        load(write_zip(tmp_path, {"a.png": png(), name: png()}))
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def test_an_entry_that_declares_too_much_is_refused_before_it_is_unpacked(tmp_path):
    load(spec := write_zip(tmp_path, {"a.png": png()}))
    path = tmp_path / "x.zip"
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    data[at : at + 4] = struct.pack("<I", 0xFFFF0000)
    path.write_bytes(data)
    with pytest.raises(DataError, match="x.zip/a.png declares 4294901760 bytes"):
        load(spec)


def test_an_entry_that_declares_less_than_it_holds_is_not_unpacked_whole(tmp_path):
    spec = write_zip(tmp_path, {"a.png": bytes(10_000_000)})
    path = tmp_path / "x.zip"
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    with pytest.raises(DataError, match="x.zip/a.png cannot be unpacked: Bad CRC"):
        load(spec)


def test_damaged_and_odd_zips(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="x.zip cannot be read as a zip file"):
        load(f"zip:{path}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.png", png())
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match="x.zip/a.png cannot be unpacked: Bad CRC"):
        load(f"zip:{path}")
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.png", png())
        archive.writestr("a.png", png())
    with pytest.raises(DataError, match="x.zip holds 'a.png' twice"):
        load(f"zip:{path}")
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="x.zip/a.png is not a readable image"):
        load(f"zip:{path}")


# -- numbers and names of classes -----------------------------------------------------------------------


def grey_levels(images) -> list[int]:
    return sorted(set((images.images[:, 0, 0, 0] // 20).tolist()))


@both
def test_class_folders_that_are_numbers_are_these_labels(tmp_path, write):
    spec = write(tmp_path, {f"{k}/{i}.png": png(20 * k, channels=1) for k in range(12) for i in range(2)})
    images = load(spec)
    assert images.class_names == tuple(map(str, range(12)))
    assert_array_equal(images.labels, images.images[:, 0, 0, 0] // 20)
    assert not images.notes
    for chosen in (2, "2", "02"):
        assert grey_levels(load(spec, classes=(chosen,))) == [2]
    assert grey_levels(load(spec, classes=(10, "11"))) == [10, 11]
    with pytest.raises(DataError, match="class 2 is named twice"):
        load(spec, classes=(2, "2"))
    with pytest.raises(DataError, match="no class called 12; its classes are 0, 1,"):
        load(spec, classes=(12,))


def test_class_folders_from_one_say_how_they_map_and_are_chosen_by_their_names(tmp_path):
    spec = write_folder(tmp_path, {f"{k}/a.png": png(20 * k, channels=1) for k in (1, 2, 10)})
    images = load(spec)
    assert images.class_names == ("1", "2", "10")
    assert images.notes == (
        "the class folders are whole numbers, but not 0 .. 2: their labels are 1 -> 0, 2 -> 1, 10 -> 2",
    )
    assert grey_levels(load(spec, classes=(2,))) == [2] and grey_levels(load(spec, classes=(10,))) == [10]


def test_names_with_numbers_in_them_are_in_natural_order(tmp_path):
    images = load(write_folder(tmp_path, {f"cat{k}/a.png": png() for k in (10, 9, 1)}))
    assert images.class_names == ("cat1", "cat9", "cat10")


LABEL_TEXTS = {
    "csv": ("labels.csv", lambda k: f"{k}"),
    "floats in csv": ("labels.csv", lambda k: f"{k}.0"),
    "padded": ("labels.csv", lambda k: f"{k:03}"),
    "json strings": ("labels.json", str),
    "json floats": ("labels.json", float),
    "json": ("labels.json", int),
    "dataset": ("dataset.json", str),
    "windows": ("dataset.json", float),
    "spreadsheet": ("labels.csv", lambda k: f"{k}"),
}


@both
@pytest.mark.parametrize("case", LABEL_TEXTS)
def test_label_files_mean_the_same_number_however_it_is_written(tmp_path, write, case):
    name, text = LABEL_TEXTS[case]
    files = {f"x/{k:02}.png": png(20 * k, channels=1) for k in range(12)}
    rows = [(file.replace("/", "\\") if case == "windows" else file, text(k)) for k, file in enumerate(files)]
    if name == "labels.csv":
        mark = ";" if case == "spreadsheet" else ","
        content = "\ufeffName,Class\n".replace(",", mark) + "".join(f"{file}{mark}{label}\n" for file, label in rows)
    else:
        content = json.dumps({"labels": rows} if name == "dataset.json" else dict(rows))
    spec = write(tmp_path, {**files, name: content.encode()})
    if write is write_zip:  # one folder around all images would go, but the label file lies beside it
        assert "x/" in next(iter(files))
    assert_array_equal(load(spec).labels, range(12))
    assert grey_levels(load(spec, classes=(2, 10))) == [2, 10]


@both
def test_a_label_file_in_the_one_folder_around_everything_is_read(tmp_path, write):
    images = load(
        write(tmp_path, {"photos/a.png": png(), "photos/b.png": png(), "photos/labels.csv": b"a.png,1\nb.png,0"})
    )
    assert_array_equal(images.labels, [1, 0])


def test_odd_class_folders_are_said(tmp_path):
    pixels = {f"{split}/{kind}/a.png": png() for split in ("train", "test") for kind in ("cat", "dog")}
    (note,) = load(write_folder(tmp_path / "1", pixels)).notes
    assert (
        "the class folders test, train look like splits" in note
        and "/1/test to have the folders in it as classes" in note
    )
    parts = {f"{part}/img{part}.png": png() for part in ("00000", "00001")}
    (note,) = load(write_folder(tmp_path / "parts", parts)).notes
    assert "the folders 00000 .. 00001 are named like parts of one set" in note
    assert not load(write_folder(tmp_path / "numbers", {"0/a.png": png(), "1/a.png": png()})).notes
    (note,) = load(write_folder(tmp_path / "2", {"set/cat/a.png": png(), "set/dog/a.png": png()})).notes
    assert "all images lie below the one folder 'set'" in note
    files = {"a/1.png": png(), "b/1.png": png(), "c/1.heic": b"\0\0\0\x18ftypheic", "a/labels.csv": b"1.png,3"}
    notes = load(write_folder(tmp_path / "3", files)).notes
    assert notes[1:] == (
        "a/labels.csv lies in a subfolder and is not read; labels stand in one file beside all folders",
        "no image of the folder(s) c can be read: they are no classes",
    )


HOSTILE_LABELS = {
    "one-hot": ("labels.json", b'{"a.png": [1, 0]}', r"is \[1, 0\]; use whole numbers.*one-hot"),
    "null": ("labels.json", b'{"a.png": null}', "is None; use whole numbers"),
    "true": ("labels.json", b'{"a.png": true}', "is True; use whole numbers"),
    "endless": ("labels.json", b'{"a.png": 1e999}', "is inf; use whole numbers"),
    "long": ("labels.json", b'{"a.png": ' + b"7" * 400 + b"}", "is a number of 1329 bits"),
    "longer": ("labels.json", b'{"a.png": ' + b"7" * 5000 + b"}", "labels.json cannot be read"),
    "deep": ("labels.json", b"[" * 100_000, "labels.json cannot be read: it is nested too deeply"),
    "field": ("labels.csv", b"a.png," + b"x" * 200_000, "labels.csv cannot be read: field larger"),
    "utf-16": ("labels.csv", "a.png,0".encode("utf-16"), "it is not UTF-8 .*save it as UTF-8"),
}


@pytest.mark.parametrize("case", HOSTILE_LABELS)
def test_hostile_label_files_are_a_sentence(tmp_path, case):
    name, content, says = HOSTILE_LABELS[case]
    with pytest.raises(DataError, match=says) as caught:
        load(write_folder(tmp_path, {"a.png": png(), name: content}))
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


# -- bounds ---------------------------------------------------------------------------------------------


def test_a_zip_that_unpacks_to_far_more_than_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_jax.data.decode.MAX_UNPACKED_BYTES", 100_000)
    with pytest.raises(
        DataError, match=r"x.zip has [0-9,]+ bytes and unpacks to 3,000,000; the limit is 100,000 bytes or 100"
    ):
        load(write_zip(tmp_path, {f"{i}.bmp": bytes(1_000_000) for i in range(3)}))


def test_a_zip_that_lists_too_much_is_refused_before_the_list_is_read(tmp_path, monkeypatch):
    spec = write_zip(tmp_path, {"a.png": png()})
    path = tmp_path / "x.zip"
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\5\6") + 12
    data[at : at + 4] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(data)
    with pytest.raises(DataError, match="x.zip lists more files than a zip file may hold"):
        load(spec)
    spec = write_zip(tmp_path, {f"{i}.png": png() for i in range(3)})
    monkeypatch.setattr("gan_jax.data.files.MAX_ENTRIES", 2)
    with pytest.raises(DataError, match="x.zip lists more files"):
        load(spec)
