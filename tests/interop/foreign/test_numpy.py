"""Pickles of NumPy arrays, npz, npy and safetensors: to the bit, and only numbers."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict

import ml_dtypes
import numpy as np
import pytest

from gan_jax.interop.foreign import ForeignError, read_foreign

RNG = np.random.default_rng(0)
ARRAYS = {
    "f": RNG.standard_normal((3, 4)).astype(np.float32),
    "fortran": np.asfortranarray(RNG.standard_normal((3, 4))),
    "big": np.arange(5, dtype=">i4"),
    "view": np.arange(24, dtype=np.int16).reshape(4, 6)[::2, 1::2],
    "complex": np.array([1 + 2j, 3], np.complex64),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float16),
    "zero_d": np.array(2.5),
    "latin": np.frombuffer(bytes(range(256)), np.uint8),
}


@pytest.fixture
def read(tmp_path):
    def inner(data: bytes):
        path = tmp_path / "weights"
        path.write_bytes(data)
        return read_foreign(path)

    return inner


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array.astype(array.dtype.newbyteorder("=")), strict=True)
        assert found[name].flags.c_contiguous and not found[name].flags.writeable


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays(read, protocol):
    bf16 = np.arange(4).astype(ml_dtypes.bfloat16)
    counts = defaultdict(list, {"a": [1, 2]})
    values = {
        "number": 3, "huge": -(2**70), "float": 0.1, "complex_number": 1 + 2j, "text": "Grüße\n'\"\\", "raw": b"\0\xff",
        "yes": True, "none": None, "list": [1, 2.5, "x"], "scalar": np.float32(0.5), "set": {1, 2}, "frozen": frozenset("a"),
        "words": np.array(["ab", "c"]), "nothing": {}, "bytes_array": bytearray(b"ab"),
    }  # fmt: skip
    nested = [OrderedDict(ARRAYS), {"counts": counts, "counter": Counter("aab"), **values, "bf16": bf16}]
    found = read(pickle.dumps(nested, protocol))
    assert found.format == "pickle"
    same(found.tensors, {**{f"0.{name}": array for name, array in ARRAYS.items()}, "1.bf16": bf16})
    expected = {
        "counts.a": [1, 2],
        "counter.a": 2,
        "counter.b": 1,
        **values,
        "words": ["ab", "c"],
        "bytes_array": b"ab",
    }
    assert found.values == {f"1.{name}": value for name, value in expected.items()}
    assert [type(v) for v in found.values.values()] == [type(v) for v in expected.values()]


def test_a_pickle_of_python_2(read):
    """Strings of bytes, and an array whose bytes are one; written by hand as Python 2 did."""
    text = (
        b"(dp0\nS'w\\xe9'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\n"
        b"tp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\n"
        b"I-1\nI0\ntp14\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs"
        b"S'n'\nL12L\nsS'f'\nF0.5\nsV\\u20ac\nI01\ns."
    )
    found = read(text)
    same(found.tensors, {"w\xe9": np.array([1, -2], np.float32)})
    assert found.values == {"n": 12, "f": 0.5, "€": True}


def saved(save, *args, **kwargs) -> bytes:
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(read, save):
    found = read(saved(save, **ARRAYS, words=np.array(["a", "bc"])))
    assert found.format == "npz" and found.values == {"words": ["a", "bc"]}
    same(found.tensors, ARRAYS)


@pytest.mark.parametrize("name", ARRAYS)
def test_npy(read, name):
    found = read(saved(np.save, ARRAYS[name]))
    assert found.format == "npy"
    same(found.tensors, {"arr_0": ARRAYS[name]})


def test_safetensors(read):
    from safetensors.numpy import save

    arrays = {
        "b.w": ARRAYS["f"],
        "a": np.arange(3).astype(ml_dtypes.bfloat16),
        "i": np.arange(4),
        "zero": np.zeros((0, 2)),
    }
    data = save(arrays, metadata={"format": "pt"})
    found = read(data)
    assert found.format == "safetensors" and found.values == {"__metadata__.format": "pt"}
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    same(found.tensors, {name: arrays[name] for name in header if name != "__metadata__"})


def header(**entries) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(32)


def entry(begin: int, end: int, shape=None, dtype="F32", **more) -> dict:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
        **more,
    }


SAFETENSORS = {
    "overlap": (header(a=entry(0, 16), b=entry(8, 32)), "'b' overlaps another"),
    "outside": (header(a=entry(0, 64)), "bytes 0 to 64 of 32"),
    "before": (header(a=entry(-8, 32)), "bytes -8 to 32"),
    "backwards": (header(a=entry(16, 8, [2])), "bytes 16 to 8"),
    "gap": (header(a=entry(0, 8), b=entry(16, 32)), "'b' leaves a gap"),
    "rest": (header(a=entry(0, 8)), "32 bytes for 8 of tensors"),
    "shape": (header(a=entry(0, 32, [9])), "for float32[9]"),
    "negative": (header(a=entry(0, 32, [-1, -8])), "has no shape but a list"),
    "huge shape": (header(a=entry(0, 32, [2**40, 2**40])), "32 bytes for"),
    "type": (header(a=entry(0, 32, dtype="O")), "of type 'O'"),
    "float offsets": (header(a={"dtype": "F32", "shape": [8], "data_offsets": [0.0, 32.0]}), "without two data_offsets"),
    "twice": (struct.pack("<Q", 15) + b'{"a":{},"a":{}}', "names a tensor twice"),
    "no JSON": (struct.pack("<Q", 4) + b"{abc", "that is no JSON"),
    "deep JSON": (struct.pack("<Q", 200_002) + b'{"' + b"a" * 8 + b'":' + b"[" * 199_990 + b"}", "no JSON"),
    "cut": (header(a=entry(0, 32))[:-1], "of 31"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors_that_are_refused(read, case):
    data, message = SAFETENSORS[case]
    with pytest.raises(ForeignError) as caught:
        read(data)
    assert message in str(caught.value)


RECORDS = np.zeros(2, [("a", "f4"), ("b", "O")])
OBJECTS = np.array([{}, print], object)
NUMPY = {
    "objects in npz": (saved(np.savez, a=OBJECTS), "'a.npy': an array of Python objects"),
    "objects in npy": (saved(np.save, OBJECTS), "an array of Python objects"),
    "objects in a pickle": (pickle.dumps({"a": OBJECTS}), "an array of Python objects|by which code is run"),
    "records": (saved(np.save, RECORDS[["a"]].copy(), allow_pickle=True), "no plain array of numbers"),
    "dates": (pickle.dumps(np.zeros(2, "M8[s]")), "array of the type 'M8'"),
    "bfloat16 without its type": (saved(np.save, np.zeros(2, ml_dtypes.bfloat16)), "loses the type of bfloat16"),
    "cut npy": (saved(np.save, ARRAYS["f"])[:-1], "of 47 bytes, which needs 48"),
    "a huge shape": (saved(np.save, ARRAYS["f"]).replace(b"(3, 4)", b"(3,4000000)"), "which needs"),
    "a call in the header": (saved(np.save, ARRAYS["f"]).replace(b"(3, 4), }", b"exit(3),}"), "no plain array"),
}


@pytest.mark.parametrize("case", NUMPY)
def test_numpy_files_that_are_refused(read, case):
    data, message = NUMPY[case]
    with pytest.raises(ForeignError, match=message):
        read(data)


def test_other_archives_are_refused(read):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("picture.png", b"")
    with pytest.raises(ForeignError, match="zip archive of none of the known kinds"):
        read(file.getvalue())


def test_files_that_are_no_weights_are_named(tmp_path):
    for text, message in [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n", "a pointer of Git LFS"),
        ("<!DOCTYPE html><html>Virus scan warning</html>", "a web page, not the weights"),
        ('{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}', "weights in several files"),
    ]:
        (tmp_path / "x.pt").write_text(text)
        with pytest.raises(ForeignError, match=message):
            read_foreign(tmp_path / "x.pt")


def test_too_little_memory_is_no_damage(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    np.savez(tmp_path / "x.npz", a=np.ones(3))
    monkeypatch.setattr("gan_jax.interop.foreign.read._read", full)
    with pytest.raises(ForeignError, match="too little memory to read its [0-9,]+ bytes, which may be whole"):
        read_foreign(tmp_path / "x.npz")
