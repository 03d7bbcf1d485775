"""torch's files, made by hand: what is in them comes out to the bit, and what is not whole is refused."""

from __future__ import annotations

import hashlib
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest

from gan_jax.interop.foreign import ForeignError, Recorded, read_foreign
from tests.interop.foreign.make import (
    ORDERED,
    Call,
    Global,
    Persistent,
    dumps,
    module,
    plain_tensor,
    storage,
    tensor,
    torch_legacy,
    torch_zip,
)

X = np.arange(24, dtype=np.float32)


@pytest.fixture
def read(tmp_path):
    def inner(data: bytes):
        path = tmp_path / "weights.tar"  # whatever its name
        path.write_bytes(data)
        return read_foreign(path)

    return inner


def test_a_zip_file(read):
    store = storage("0", "Float", 24)
    whole = {
        "epoch": 3,
        "best": 0.5,
        "net": Call(ORDERED, pairs={
            "b.weight": tensor(store, (2, 3, 4)),
            "a.weight": tensor(store, (4, 3), (1, 4), offset=12),
            "a.bias": Call(Global("torch._utils", "_rebuild_parameter"), (tensor(store, (3,), offset=21), True, {})),
            "empty": tensor(storage("1", "Float", 0), (0, 5)),
            "one": tensor(store, (), offset=7),
        }, state={"_metadata": {"": {"version": 1}}}),
        "history": [tensor(store, (2,)), "text", None],
        "betas": (0.0, 0.99),
    }  # fmt: skip
    data = torch_zip(whole, {"0": X.tobytes(), "1": b""})
    found = read(data)
    assert found.format == "torch zip" and found.sha256 == hashlib.sha256(data).hexdigest() and not found.stubs
    expected = {
        "net.b.weight": X.reshape(2, 3, 4),
        "net.a.weight": X[12:].reshape(3, 4).T,
        "net.a.bias": X[21:],
        "net.empty": np.zeros((0, 5), np.float32),
        "net.one": X[7],
        "history.0": X[:2],
    }
    assert list(found.tensors) == list(expected), "in the order of the file"
    for name, array in expected.items():
        np.testing.assert_array_equal(found.tensors[name], array)
        assert found.tensors[name].dtype == np.float32 and found.tensors[name].flags.c_contiguous
        assert not found.tensors[name].flags.writeable
    assert found.values == {"epoch": 3, "best": 0.5, "history.1": "text", "history.2": None, "betas": (0.0, 0.99)}


KINDS = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": ml_dtypes.bfloat16, "Long": "i8", "Int": "i4",
    "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "?", "ComplexFloat": "c8",
}  # fmt: skip


@pytest.mark.parametrize("order", ["little", "big", None])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_in_either_byte_order(read, kind, order):
    values = np.array([0, 1, 1, 0, 1]).astype(KINDS[kind]) * np.array(3).astype(KINDS[kind])
    raw = values.tobytes()
    if order == "big":
        width = values.itemsize // 2 if values.dtype.kind == "c" else values.itemsize
        raw = values.view(f"u{width}").byteswap().tobytes()
    found = read(torch_zip({"x": tensor(storage("a", kind, 5), (5,))}, {"a": raw}, folder="any name", order=order))
    np.testing.assert_array_equal(found.tensors["x"], values)
    assert found.tensors["x"].dtype == values.dtype


def test_untyped_storages(read):
    untyped = Persistent(("storage", Global("torch.storage", "UntypedStorage"), "0", "cpu", 6))
    args = (untyped, 1, (2,), (1,), False, Call(ORDERED), Global("torch", "uint16"))
    found = read(torch_zip({"x": Call(Global("torch._utils", "_rebuild_tensor_v3"), args)}, {"0": b"\1\0\2\0\3\1"}))
    np.testing.assert_array_equal(found.tensors["x"], np.array([2, 259], np.uint16), strict=True)


def test_numpy_values_beside_tensors(read):
    whole = {"x": tensor(storage("0", "Float", 24), (24,)), "array": X[::2], "mean": np.float64(0.25)}
    found = read(
        torch_zip(dumps({**whole, "names": {"b", "a"}, "type": Global("torch", "float16")}), {"0": X.tobytes()})
    )
    np.testing.assert_array_equal(found.tensors["array"], X[::2])
    assert found.values == {"mean": 0.25, "names": {"a", "b"}, "type": "torch.float16"}


def test_a_legacy_file_with_views(read):
    whole = storage("5", "Float", 24, legacy=True)
    part = storage("5", "Float", 24, legacy=True, part=("6", 20, 4))
    names = {"x": tensor(whole, (4, 6)), "part": tensor(part, (2,), offset=1)}
    found = read(torch_legacy(names, {"5": (24, X.tobytes())}))
    assert found.format == "torch legacy"
    np.testing.assert_array_equal(found.tensors["x"], X.reshape(4, 6))
    np.testing.assert_array_equal(found.tensors["part"], X[21:23])


def test_a_plain_pickle_of_tensors(read):
    found = read(dumps({"x": plain_tensor(X)}))
    assert found.format == "pickle"
    np.testing.assert_array_equal(found.tensors["x"], X)


def test_a_whole_module_by_the_names_of_its_state_dict(read):
    """Not only a state dict was saved but the object: its class becomes a record, nothing of it is imported."""
    x = lambda: tensor(storage("0", "Float", 24), (24,))
    inner = Call(
        Global("models", "Inner"), state=module("", {"weight": x(), "bias": None}, buffers={"mean": x()}, stride=(2, 2))
    )
    outer = Call(Global("models", "Net"), state=module("", {"gain": x()}, {"conv": inner, "act": None}, ch=8))
    found = read(torch_zip(outer, {"0": X.tobytes()}))
    assert list(found.tensors) == ["gain", "conv.weight", "conv.mean"]
    assert found.stubs == {
        "": Recorded("models.Net", state={"training": False, "ch": 8}),
        "conv": Recorded("models.Inner", state={"training": False, "stride": (2, 2)}),
    }
    assert "models" not in sys.modules


def test_other_objects_become_records_and_their_tensors_stay(read):
    x = tensor(storage("0", "Float", 24), (24,))
    settings = Call(Global("argparse", "Namespace"), state={"lr": 0.1, "kept": {"x": x}})
    device = Call(Global("torch", "device"), ("cpu",))
    found = read(torch_zip({"args": settings, "device": device}, {"0": X.tobytes()}))
    assert found.stubs == {
        "args": Recorded("argparse.Namespace", state={"lr": 0.1}),
        "device": Recorded("torch.device", ("cpu",)),
    }
    assert list(found.tensors) == ["args.kept.x"] and not found.values


SHORT = tensor(storage("0", "Float", 24), (5, 5))
REFUSED = {
    "a storage shorter than the view": (SHORT, "reaches to value 24 of storage '0', which has 24"),
    "an offset beyond it": (tensor(storage("0", "Float", 24), (1,), offset=24), "reaches to value 24"),
    "a negative stride": (tensor(storage("0", "Float", 24), (2,), (-1,)), "has no shape"),
    "a negative offset": (tensor(storage("0", "Float", 24), (2,), (1,), -1), "offset -1"),
    "strides that overflow": (tensor(storage("0", "Float", 24), (2**40, 2**40), (1, 1)), "larger than any memory"),
    "a huge view of one value": (tensor(storage("0", "Float", 24), (2**40,), (0,)), "file's size explains"),
    "a storage that is announced longer": (tensor(storage("0", "Float", 99), (2,)), "99 values of 4 are announced"),
    "a storage that is not there": (tensor(storage("7", "Float", 24), (2,)), "without 'archive/data/7'"),
    "a storage outside the folder": (tensor(storage("../data.pkl", "Float", 24), (2,)), "without 'archive/data/../data"),
    "no storage": (tensor("x", (2,)), "a tensor over 'x' and no storage"),
    "a quantised tensor": (Call(Global("torch._utils", "_rebuild_qtensor"), (1, 2)), "a quantised tensor"),
    "a quantised storage": (tensor(storage("0", "QInt8", 24), (2,)), "a quantised tensor"),
    "a sparse tensor": (Call(Global("torch._utils", "_rebuild_sparse_tensor"), (1, 2)), "a sparse tensor"),
    "an unknown storage": (tensor(storage("0", "Odd", 24), (2,)), "storage of the type 'torch.OddStorage'"),
    "another kind of reference": (Persistent(("file", "/etc/passwd")), "that is no storage"),
    "a bare storage": ([storage("0", "Float", 24)], "bare storage"),
    "two tensors of one name": (
        {"a.b": tensor(storage("0", "Float", 24), (2,)), "a": {"b": tensor(storage("0", "Float", 24), (2,))}},
        "are called 'x.a.b'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(read, case):
    whole, message = REFUSED[case]
    with pytest.raises(ForeignError, match="weights.tar: ") as caught:
        read(torch_zip({"x": whole}, {"0": X.tobytes()}))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_legacy_files_that_are_refused(read):
    x = {"x": tensor(storage("5", "Float", 24, legacy=True), (24,))}
    with pytest.raises(ForeignError, match="big-endian machine"):
        read(torch_legacy(x, {"5": (24, X.tobytes())}, little=False))
    with pytest.raises(ForeignError, match="ends too early"):
        read(torch_legacy(x, {"5": (2**59, X.tobytes())}))
    with pytest.raises(ForeignError, match="bytes follow after its end"):
        read(torch_legacy(x, {"5": (24, X.tobytes())}) + b"more")
    with pytest.raises(ForeignError, match="without the values of storage '5'"):
        read(torch_legacy(x, {}))
    with pytest.raises(ForeignError, match="of no tensor, or twice"):
        read(torch_legacy(x, {"5": (24, X.tobytes()), "6": (0, b"")}))
    with pytest.raises(ForeignError, match="byte order b'middle'"):
        read(torch_zip({"x": SHORT}, {"0": X.tobytes()}, order="middle"))
    with pytest.raises(ForeignError, match="holds no tensor at all"):
        read(torch_zip({"epoch": 3}, {}))
    with pytest.raises(ForeignError, match="a tar archive"):
        read(b"sys_info".ljust(257, b"\0") + b"ustar" + b"\0" * 250)
    with pytest.raises(ForeignError, match="bytes follow after its end"):
        read(pickle.dumps({"x": X}) + pickle.dumps({"y": X}))


@pytest.mark.parametrize(("key", "word"), [("neg", "negated"), ("conj", "conjugated")])
def test_values_that_are_turned_when_they_are_read(read, key, word):
    """A view of other values: the storage alone has the wrong sign."""
    view = tensor(storage("0", "Float", 24), (4, 6))
    view.args = (*view.args, {key: True})
    with pytest.raises(ForeignError, match=rf"are to be {word} when they are read; save it with resolve_{key}"):
        read(torch_zip({"w": view}, {"0": X.tobytes()}))
