"""Keras' HDF5 files, written by h5py in the layouts that Keras has; and HDF5 files that are none, or lead elsewhere."""

from __future__ import annotations

import io
import sys
import zipfile

import numpy as np
import pytest

from gan_jax.interop.foreign import ForeignError, Limits, read_foreign

RNG = np.random.default_rng(0)
A, B, C = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 3, 1, 4), (4,), (4, 2)))


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py", reason="needs h5py: pip install 'gan_jax[h5]'")


@pytest.fixture
def write(h5py, tmp_path):
    """Writes a file by a function of its root group, and gives its path."""

    def inner(fill, name="weights.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            fill(file)
        return tmp_path / name

    return inner


def legacy(root):
    """`save_weights` of Keras 2: the order is in attributes, the groups are sorted by name."""
    root.attrs["layer_names"] = [b"z_conv", b"a_dense"]
    root.attrs["keras_version"] = "2.11.0"
    for layer, weights in (("z_conv", {"kernel:0": A, "bias:0": B}), ("a_dense", {"kernel:0": C})):
        group = root.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/{name}".encode() for name in weights]
        for name, value in weights.items():
            group.create_dataset(f"{layer}/{name}", data=value, compression="gzip")


def test_keras_2(write):
    found = read_foreign(write(legacy))
    assert found.format == "hdf5"
    expected = {"z_conv/z_conv/kernel:0": A, "z_conv/z_conv/bias:0": B, "a_dense/a_dense/kernel:0": C}
    assert list(found.tensors) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)
    assert found.values == {"layer_names": ["z_conv", "a_dense"], "keras_version": "2.11.0"}


def keras_3(root):
    for i in range(11):
        root[f"layers/conv2d/vars/{i}"] = B + i
    root.create_group("_empty")
    root["steps"] = np.arange(3)
    root["note"] = "text"


def test_keras_3(write):
    path = write(keras_3)
    found = read_foreign(path)
    assert list(found.tensors) == [*(f"layers/conv2d/vars/{i}" for i in range(11)), "steps"]
    np.testing.assert_array_equal(found.tensors["layers/conv2d/vars/10"], B + 10, strict=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("config.json", "{}")
        out.write(path, "model.weights.h5")
    whole = path.with_suffix(".keras")
    whole.write_bytes(archive.getvalue())
    again = read_foreign(whole)
    assert again.format == "keras archive" and list(again.tensors) == list(found.tensors)


def refused(h5py, tmp_path):
    """What is wrong, how to write it, and the message."""
    link = lambda kind, *args: lambda root: (legacy(root), root.__setitem__("more", kind(*args)))
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(16))

    def external(root):
        legacy(root)
        root.create_dataset("e", (4,), "f4", external=[(str(other), 0, 16)])

    def virtual(root):
        legacy(root)
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (4,))
        root.create_virtual_dataset("v", layout)

    def plug_in(root):
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4,))
        creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        h5py.h5d.create(root.id, b"zstd", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), creation)

    def cycle(root):
        legacy(root)
        root["z_conv/again"] = root["z_conv"]

    def images(root):
        root["images"] = np.zeros((5, 8, 8), np.uint8)
        root["names"] = [b"a", b"b"]

    def huge(root, shape, chunks):
        root.create_dataset("x", shape, "f4", chunks=chunks, maxshape=(None, None))

    return {
        "images": (images, "an HDF5 file without arrays of floats"),
        "empty": (lambda root: None, "an HDF5 file without arrays of floats"),
        "an external link": (link(h5py.ExternalLink, str(other), "/x"), "'more' is a link to another place or file"),
        "a soft link": (link(h5py.SoftLink, "/z_conv"), "'more' is a link"),
        "values elsewhere": (external, "'e' keeps its values in another file"),
        "a virtual array": (virtual, "'v' keeps its values in another file"),
        "a filter": (plug_in, "packed by filter 32015, a plug-in"),
        "a group in itself": (cycle, "is in the file twice"),
        "an array that is not there": (lambda root: huge(root, (2**20, 2**20), (1, 64)), "file's size"),
        "a huge chunk": (lambda root: huge(root, (1, 1), (2**14, 2**14)), "file's size"),
    }  # fmt: skip


CASES = ["images", "empty", "an external link", "a soft link", "values elsewhere", "a virtual array", "a filter",
         "a group in itself", "an array that is not there", "a huge chunk"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(write, h5py, tmp_path, case):
    cases = refused(h5py, tmp_path)
    assert list(cases) == CASES
    fill, message = cases[case]
    with pytest.raises(ForeignError) as caught:
        read_foreign(write(fill))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_deep_groups(write):
    with pytest.raises(ForeignError, match="nested deeper than"):
        read_foreign(write(lambda root: root.create_dataset("/".join("a" * 100), data=A)))
    with pytest.raises(ForeignError, match="more than 3 items"):
        read_foreign(write(keras_3), Limits(items=3))


def test_cut(write):
    path = write(legacy)
    data = path.read_bytes()
    for cut in np.random.default_rng(0).choice(len(data), 60, replace=False):
        path.write_bytes(data[:cut])
        with pytest.raises(ForeignError):
            read_foreign(path)


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ImportError, match=r"HDF5 files need h5py: pip install 'gan_jax\[h5\]'"):
        read_foreign(tmp_path / "x.h5")


def test_numbers_of_ml_dtypes(h5py, tmp_path):
    """h5py writes bfloat16 and float8 as raw bytes; Keras says beside them what they are."""
    import ml_dtypes

    values = np.arange(6, dtype="f4").reshape(2, 3)
    for name in ("bfloat16", "float8_e4m3fn"):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("k", data=values.astype(getattr(ml_dtypes, name))).attrs["dtype"] = name
            file["b"] = np.ones(3, "f4")
        found = read_foreign(tmp_path / "x.h5").tensors
        assert found["k"].dtype.name == name and [*found] == ["b", "k"]
        np.testing.assert_array_equal(found["k"].astype("f4"), values)
        with h5py.File(tmp_path / "x.h5", "r+") as file:
            del file["k"].attrs["dtype"]
        with pytest.raises(
            ForeignError, match=r"'k' is of raw bytes, [12] for each value, as h5py writes (bfloat16|float8)"
        ):
            read_foreign(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["a"], file["b"] = np.ones(3, "f4"), np.ones(3, np.longdouble)
    with pytest.raises(ForeignError, match="'b' is of float128, which no weights are"):
        read_foreign(tmp_path / "y.h5")


def test_no_other_file_is_opened(write, tmp_path, monkeypatch):
    """HDF5's driver for images in memory opens a file of the current folder that has the image's name."""
    path = write(lambda file: file.create_dataset("a", data=np.ones(3, "f4")))
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        (tmp_path / f"file_image_{i}").write_bytes(b"no HDF5")
    opened = []
    hook = lambda event, args: opened.append(args[0]) if recording and event == "open" else None
    recording = True
    sys.addaudithook(hook)
    assert [*read_foreign(path).tensors] == ["a"]
    recording = False
    assert [str(name) for name in opened if "file_image" in str(name)] == []
