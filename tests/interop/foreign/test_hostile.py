"""Files made to do harm: each is one line of error, at once, in little memory, and nothing of it runs."""

from __future__ import annotations

import codecs
import copyreg
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from gan_jax.interop.foreign import Foreign, ForeignError, Limits, read_foreign
from tests.interop.foreign.make import (
    ORDERED,
    Call,
    Global,
    dumps,
    persistent_network,
    plain_tensor,
    storage,
    tensor,
    torch_legacy,
    torch_zip,
)

X = np.arange(24, dtype=np.float32)
CANARY = "/tmp/gan_jax_canary_that_must_not_exist"  # every payload below would make it
TOUCH = f"touch {CANARY}"
WATCHED = ("import", "exec", "compile", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "shutil.", "marshal.")
_seen: list[str] | None = None


def _watch(event: str, args: tuple) -> None:
    if _seen is not None and (event.startswith(WATCHED) or event == "open"):
        _seen.append(f"{event} {tuple(map(str, args[:1]))}")


@pytest.fixture(scope="module", autouse=True)
def _hook():
    for name in ("cp437", "raw_unicode_escape"):  # Python's own, imported when first used
        codecs.lookup(name)
    sys.addaudithook(_watch)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a file while Python tells of every import, call of the system, compilation and opened file."""

    def inner(data: bytes) -> Foreign:
        global _seen
        path = tmp_path / "weights.pt"
        path.write_bytes(data)
        before, _seen = set(sys.modules), []
        try:
            return read_foreign(path)
        finally:
            seen, _seen = _seen, None
            assert set(seen) <= {f"open {(str(path),)}"}
            assert set(sys.modules) == before
            assert not os.path.exists(CANARY)

    return inner


def good(extra: dict | None = None) -> dict:
    return {"x": tensor(storage("0", "Float", 24), (24,)), **(extra or {})}


class Evil:
    def __init__(self, function, *args):
        self.reduction = (function, args)

    def __reduce__(self):
        return self.reduction


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


SYSTEM = Call(Global("os", "system"), (TOUCH,))
GETATTR = Call(Global("builtins", "getattr"), (Global("builtins", "object"), "__subclasses__"))
PAYLOADS = {
    "os.system": SYSTEM,
    "posix.system": Call(Global("posix", "system"), (TOUCH,)),
    "subprocess": Call(Global("subprocess", "check_call"), (TOUCH.split(),)),
    "eval": Call(Global("builtins", "eval"), (f"__import__('os').system({TOUCH!r})",)),
    "exec of Python 2": Call(Global("__builtin__", "execfile"), (CANARY,)),
    "a chain of getattr": Call(GETATTR, ()),
    "a dotted name": Call(Global("torch", "os.system"), (TOUCH,)),
    "import_module": Call(Global("importlib", "import_module"), ("antigravity",)),
    "pickle.loads": Call(Global("pickle", "loads"), (dumps(SYSTEM),)),
    "copyreg.add_extension": Call(Global("copyreg", "add_extension"), ("os", "system", 1)),
    "operator.attrgetter": Call(Call(Global("operator", "attrgetter"), ("system",)), (Global("os", "system"),)),
    "the result of a stub, called": Call(Call(Global("numpy.f2py.diagnose", "run_command"), ("x",)), (TOUCH,)),
    "an array, called": Call(np.zeros(3), ()),
    "setstate of a number": Call(Global("numpy", "ndarray"), ()),
}


@pytest.mark.parametrize("wrap", ["pickle", "zip", "legacy", "network"])
@pytest.mark.parametrize("case", PAYLOADS)
def test_calls(read, case, wrap):
    payload = {"x": PAYLOADS[case]}
    if wrap == "pickle":
        data = dumps({"w": plain_tensor(X), **payload})
    elif wrap == "zip":
        data = torch_zip(good(payload), {"0": X.tobytes()})
    elif wrap == "legacy":
        data = torch_legacy(
            {"w": tensor(storage("0", "Float", 24, legacy=True), (24,)), **payload}, {"0": (24, X.tobytes())}
        )
    else:
        data = dumps({"G": persistent_network("G", {"_parameters": {}, "w": plain_tensor(X), **payload}, "")})
    with pytest.raises(ForeignError, match="attack|made up") as caught:
        read(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


STUBBED = {
    "a function of an installed package": Call(
        Global("numpy.testing._private.utils", "runstring"), (f"open({CANARY!r}, 'w')", {})
    ),
    "a class with __setstate__": Call(Global("logging", "Handler"), (), state={"level": 3}),
    "a class with __setitem__": Call(Global("collections", "UserDict"), (), pairs={"a": 1}),
    "torch.load": Call(Global("torch", "load"), (CANARY,)),
    "a partial": Call(
        Global("functools", "partial"), (Global("numpy.f2py", "compile"),), state=(Global("x", "y"), (TOUCH,), {}, None)
    ),
}


@pytest.mark.parametrize("case", STUBBED)
def test_other_names_are_records(read, case):
    """What has no dangerous name is not refused: it still is only written down."""
    found = read(torch_zip(good({"other": STUBBED[case]}), {"0": X.tobytes()}))
    assert list(found.tensors) == ["x"]
    function = STUBBED[case].function
    assert found.stubs["other"].cls == f"{function.module}.{function.name}"


def test_a_source_in_a_network_is_not_run(read):
    found = read(dumps({"G": persistent_network("G", {"w": plain_tensor(X)}, f"import os\nos.system({TOUCH!r})")}))
    np.testing.assert_array_equal(found.tensors["G.w"], X)


def test_a_pickle_in_a_storage_is_bytes(read):
    raw = pickle.dumps(Evil(print, "x")).ljust(96, b"\0")
    found = read(torch_zip({"x": tensor(storage("0", "Byte", 96), (96,))}, {"0": raw}))
    assert found.tensors["x"].tobytes() == raw


def test_setstate_and_reduce_ex(read, tmp_path):
    with pytest.raises(ForeignError, match="attack"):
        read(pickle.dumps({"x": X, "y": Evil(exec, f"open({CANARY!r}, 'w')")}, 4))
    found = read(pickle.dumps({"x": X, "y": Evil(Recalled, tmp_path.name)}, 4))
    assert found.stubs["y"].args == (tmp_path.name,)


class Recalled:
    def __init__(self, name):
        raise AssertionError("it was made")

    def __setstate__(self, state):
        raise AssertionError("it was set")


def test_the_extension_registry(read):
    code = next(code for code in range(200, 256) if code not in copyreg._inverted_registry)  # pyright: ignore
    copyreg.add_extension("os", "system", code)
    try:
        for data in (bytes([0x82, code]), b"\x83" + struct.pack("<H", code), b"\x84" + struct.pack("<i", code)):
            with pytest.raises(ForeignError, match="extension registry"):
                read(opcodes(data, b"(X", struct.pack("<I", 1), b"xtR"))
    finally:
        copyreg.remove_extension("os", "system", code)


def laughs(levels: int, opening: bytes, add: bytes) -> bytes:
    """A container of ten times the one before it, ten times.. : small in the file, endless when flattened."""
    parts = [b"]K\x01a\x94" if opening == b"]" else b"K\x01\x85\x94"]
    for level in range(levels):
        inner = b"h" + bytes([level])
        parts.append(opening + (b"(" if opening == b"]" else b"(") + inner * 10 + add + b"\x94")
    return b"".join(parts)


def int_key(value: int) -> bytes:
    return b"\x8a\x20" + value.to_bytes(32, "little", signed=True)


BOMBS: dict[str, Callable[[], tuple[bytes, str]]] = {  # made when they are asked for: they take seconds
    "lists of lists": lambda: (opcodes(laughs(30, b"]", b"e")), "nested containers hold more than"),
    "tuples of tuples": lambda: (opcodes(laughs(30, b"", b"t")), "nested containers hold more than"),
    "tuples of tuples as a key": lambda: (opcodes(laughs(30, b"", b"t"), b"}h\x1eNs"), "has a tuple as a key"),
    "a list in itself": lambda: (opcodes(b"]\x94h\x00a"), "holds itself"),
    "a dict in itself": lambda: (opcodes(b"}\x94X\x01\0\0\0ah\x00s"), "holds itself"),
    "lists 200,000 deep": lambda: (opcodes(b"]" * 200_000, b"a" * 199_999), "file's size explains|nested deeper"),
    "tuples 400,000 deep": lambda: (opcodes(b")" + b"\x85" * 400_000), "nested deeper"),
    "a million empty lists": lambda: (opcodes(b"(" + b"]" * 1_500_000, b"t"), "file's size explains|instructions"),
    "a million marks": lambda: (opcodes(b"(" * 3_000_000), "file's size explains|instructions"),
    "a million values": lambda: (opcodes(b"(" + b"N" * 3_000_000, b"t"), "more than 500,000 instructions"),
    "a string of 2**60 bytes": lambda: (opcodes(b"\x8d", struct.pack("<Q", 2**60), b"abc"), "1,152,921,504,606,846,976 bytes"),
    "bytes of 2**60": lambda: (opcodes(b"\x8e", struct.pack("<Q", 2**60)), "ends too early"),
    "a bytearray of 2**60": lambda: (opcodes(b"\x96", struct.pack("<Q", 2**60)), "ends too early"),
    "a string of -1 bytes": lambda: (opcodes(b"T", struct.pack("<i", -1)), "ends too early"),
    "an integer of 2**31 bytes": lambda: (opcodes(b"\x8b", struct.pack("<i", 2**31 - 1)), "integer of 2,147,483,647 bytes"),
    "an integer of a megabyte": lambda: (
        opcodes(b"\x8b", struct.pack("<i", 10**6), b"\x7f" * 10**6), "integer of 1,000,000 bytes"),
    "an integer of many digits": lambda: (opcodes(b"I", b"7" * 60_000, b"\n"), "integer of 60,000 digits"),
    "a memo of 2**32": lambda: (opcodes(b"Nr\xff\xff\xff\xff", b"j\xff\xff\xff\x7f"), "refers to its value"),
    "a memo of 10**18": lambda: (opcodes(b"Np999999999999999999\n"), "holds no tensor"),
    "huge keys": lambda: (opcodes(b"}", int_key((2**61 - 1) * 2**100), b"Ns"), "as a key"),
    "keys that are compared for hours": lambda: (
        opcodes(b"X", struct.pack("<I", 10**6), b"k" * 10**6, b"\x94}\x94h\x00Ns"), "a key of 1,000,000 characters"),
    "names that grow": lambda: (
        opcodes(b"X", struct.pack("<I", 4000), b"k" * 4000, b"\x94N\x94", *(
            b"}h\x00h" + bytes([i + 1]) + b"sX\x01\0\0\0b" + b"h" + bytes([i + 1]) + b"s\x94" for i in range(40))),
        "names of more than"),
    "bytes copied from one string": lambda: (
        b"\x80\x02c_codecs\nencode\nq\x00X" + struct.pack("<I", 10**5) + b"k" * 10**5 + b"q\x01X\6\0\0\0latin1q\x02("
        + b"h\x00h\x01h\x02\x86R" * 20_000 + b"t.", "its bytes would take"),
    "persistent ids in a plain pickle": lambda: (b"\x80\x02" + dumps(storage("0", "Float", 3))[2:], "outside itself"),
    "a persistent line": lambda: (b"(Pos.system\nt.", "outside itself"),
    "arguments without end": lambda: (
        b"\x80\x04ccollections\nOrderedDict\n\x94(" + b"N" * 10**5 + b"t\x94(" + b"h\0h\1R" * 10**5 + b"t.",
        "arguments that do not fit"),
    "a long name asked for again and again": lambda: (
        opcodes(b"X", struct.pack("<I", 10**6), b"k" * 10**6, b"\x94(", b"h\0h\0\x93" * 10**5, b"t"), "no name of a class"),
    "one state of many objects": lambda: (
        opcodes(b"(" + b"N" * 10**5 + b"]t\x94}X\1\0\0\0ah\0s\x94cm\nn\n\x94)\x94(", b"h\2h\3Rh\1b" * 5 * 10**4, b"t"),
        "hold more than 200,000 items"),
    "one source of many networks": lambda: (
        opcodes(b"}(X\x0a\0\0\0class_nameX\1\0\0\0cX\x0a\0\0\0module_srcX", struct.pack("<I", 10**6), b"k" * 10**6,
                b"X\5\0\0\0state}K\1K\1su\x85\x94ctorch_utils.persistence\n_reconstruct_persistent_obj\n\x94(",
                b"h\1h\0R" * 10**4, b"t"), "the sources of its networks"),
    "one text of many arrays": lambda: (
        b"\x80\2cnumpy._core.multiarray\nscalar\nq\0cnumpy\ndtype\nX\6\0\0\0S60000\x85Rq\1X" + struct.pack("<I", 60_000)
        + b"k" * 60_000 + b"\x86q\2(" + b"h\0h\2R" * 10**5 + b"t.", "its arrays would take"),
    "objects 60,000 deep": lambda: (opcodes(b"cm\nn\n\x94", b"h\0" * 60_000, b")", b"R\x85" * 60_000), "nested deeper than"),
    "calls of calls 30,000 deep": lambda: (
        opcodes(b"ctorch._tensor\n_rebuild_from_type_v2\n\x94)\x94",
                *(b"(h\0Nj" + struct.pack("<I", i + 1) + b"Nt\x94" for i in range(30_000)),
                b"h\0j" + struct.pack("<I", 30_001) + b"R"), "a kind of tensor that"),
    "lines that are looked through": lambda: (b"(" + b"Va\n" * 200_000 + b"t.", "holds no tensor|more than 200,000 items"),
    "a buffer out of band": lambda: (opcodes(b"\x97"), "a buffer outside itself"),
    "protocol 200": lambda: (b"\x80\xc8N.", "protocol 200"),
    "a stack that is empty": lambda: (opcodes(b"0"), "lacks a mark|empty stack"),
    "an unknown instruction": lambda: (opcodes(b"\xff"), "is no instruction"),
    "a class of strange letters": lambda: (opcodes(b"c\x1b[31m\nos\x07\n"), "no name of a class"),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_bombs(read, case):
    data, message = BOMBS[case]()
    cost_and_refusal(read, data, message)


def peak_memory(reset: bool = False) -> int:
    """The most memory that this process had at once, in bytes, since it was reset; 0 where the system cannot say."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return 0
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def cost_and_refusal(read, data: bytes, message: str) -> None:
    took = []
    while not took or (took[-1] >= 2.0 and len(took) < 3):  # again, should others have had the machine
        before, started = peak_memory(reset=True), time.process_time()
        with pytest.raises(ForeignError, match=message) as caught:
            read(data)
        took.append(time.process_time() - started)
        assert peak_memory() - before < 250 * 2**20, "bytes of memory"
        assert str(caught.value).isprintable()
    assert took[-1] < 2.0, "seconds of CPU"


def test_memory_is_measured():
    before = peak_memory(reset=True)
    del_me = bytearray(300 * 2**20)
    assert len(del_me) and (not before or peak_memory() - before > 290 * 2**20)


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, raw in members:
            out.writestr(zipfile.ZipInfo(name), raw, method)
    return file.getvalue()


ZEROS = bytes(200 * 2**20)


def lying(data: bytes, old: int, new: int) -> bytes:
    return data.replace(struct.pack("<L", old), struct.pack("<L", new))


def directory_of(count: int) -> bytes:
    """The directory of an archive with this many empty members, whose entries are all one."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    body = entry * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(body), 0, 0)
    return b"PK\3\4" + body + end


def overlapping() -> bytes:
    """An archive whose storages are all the same bytes of it."""
    count, raw = 300, bytes(10**6)
    tensors = [tensor(storage(f"{i:04}", "Byte", len(raw)), (len(raw),)) for i in range(count)]
    names = [f"archive/data/{i:04}" for i in range(count)]
    data = archive(("archive/data.pkl", dumps(tensors)), (names[0], raw))
    start, end = data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")
    entries = b"".join(data[start:end].replace(names[0].encode(), name.encode()) for name in names)
    first = data.index(b"PK\1\2")
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count + 1, count + 1, start - first + len(entries), first, 0)
    return data[:start] + entries + tail


PICKLE = dumps(good())
ZIPS: dict[str, Callable[[], tuple[bytes, str]]] = {
    "../ in a name": lambda: (archive(("archive/data.pkl", PICKLE), ("../../evil", b"x")), "leads out of its folder"),
    "an absolute name": lambda: (archive(("archive/data.pkl", PICKLE), ("/etc/evil", b"x")), "leads out of its folder"),
    "a drive": lambda: (archive(("archive/data.pkl", PICKLE), ("C:evil", b"x")), "leads out of its folder"),
    "backslashes": lambda: (archive(("archive/data.pkl", PICKLE), ("a\\..\\evil", b"x")), "leads out of its folder"),
    "a pickle of zeros": lambda: (archive(("archive/data.pkl", ZEROS), method=zipfile.ZIP_DEFLATED), "file's size explains"),
    "a storage of zeros": lambda: (
        archive(("archive/data.pkl", dumps({"x": tensor(storage("0", "Float", 50 * 2**20), (50 * 2**20,))})),
                ("archive/data/0", ZEROS), method=zipfile.ZIP_DEFLATED), "file's size explains"),
    "an npz of zeros": lambda: (archive(("a.npy", ZEROS), method=zipfile.ZIP_DEFLATED), "file's size explains"),
    "a size of 4 GB": lambda: (lying(archive(("archive/data.pkl", PICKLE)), len(PICKLE), 0xFFFFFFF0), "ends too early|damaged"),
    "a smaller size than it has": lambda: (
        lying(archive(("archive/data.pkl", bytes(10**6)), method=zipfile.ZIP_DEFLATED), 10**6, 100), "has not the 100 bytes"),
    "two members of one name": lambda: (archive(("archive/data.pkl", PICKLE)) .replace(b"a", b"a") and archive(
        ("archive/data.pkl", PICKLE), ("archive/data.pkL", PICKLE)).replace(b"data.pkL", b"data.pkl"), "twice"),
    "two pickles": lambda: (archive(("a/data.pkl", PICKLE), ("b/data.pkl", PICKLE)), "none of the known kinds"),
    "a million members": lambda: (directory_of(1_000_000), "a zip archive with a directory of"),
    "40,000 members of one name": lambda: (directory_of(40_000), "twice"),
    "another method": lambda: (archive(("archive/data.pkl", PICKLE), method=zipfile.ZIP_LZMA), "packed by method 14"),
    "a wrong checksum": lambda: (torch_zip(good(), {"0": X.tobytes()}).replace(X.tobytes(), X[::-1].tobytes()), "its checksum"),
    "members that overlap": lambda: (overlapping(), "file's size explains"),
    "a directory only": lambda: (archive(("archive/data.pkl", PICKLE))[len(PICKLE):], "damaged|none of|no file of"),
}  # fmt: skip


@pytest.mark.parametrize("case", ZIPS)
def test_archives(read, case):
    cost_and_refusal(read, *ZIPS[case]())


def test_no_more_is_unpacked_than_was_announced(read):
    data = lying(archive(("archive/data.pkl", bytes(10**7)), method=zipfile.ZIP_DEFLATED), 10**7, 100)
    tracemalloc.start()
    try:
        with pytest.raises(ForeignError, match="has not the 100 bytes"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 5 * 10**6
    finally:
        tracemalloc.stop()


def test_limits_can_be_raised(tmp_path):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, a=np.zeros(2**25, np.float32))
    with pytest.raises(ForeignError, match=r"pass Limits\(expansion=..\)"):
        read_foreign(path)
    assert read_foreign(path, Limits(spare_bytes=2**29)).tensors["a"].shape == (2**25,)
    with pytest.raises(ForeignError, match=r"pass Limits\(file_bytes=..\)"):
        read_foreign(path, Limits(file_bytes=100))


def valid() -> dict[str, bytes]:
    """A small good file of every kind."""
    from safetensors.numpy import save

    npz = io.BytesIO()
    np.savez_compressed(npz, a=X, b=X > 3)
    names = {"x": tensor(storage("0", "Float", 24, legacy=True), (24,)), "epoch": 3}
    network = persistent_network("G", {"w": plain_tensor(X), "n": 3}, "source", {"res": 8})
    return {
        "zip": torch_zip(good({"n": 3, "y": Call(ORDERED, pairs={"a": 1})}), {"0": X.tobytes()}),
        "deflated": torch_zip(good(), {"0": X.tobytes()}, compression=zipfile.ZIP_DEFLATED),
        "legacy": torch_legacy(names, {"0": (24, X.tobytes())}),
        "network": dumps({"G": network}),
        "pickle 0": pickle.dumps({"x": X, "l": [1, 2.5, "x", b"y"]}, 0),
        "pickle 5": pickle.dumps({"x": X, "l": [1, 2.5, "x", b"y"]}, 5),
        "npz": npz.getvalue(),
        "safetensors": save({"a": X, "b": X[:3].astype(np.float16)}),
    }


@pytest.mark.parametrize("kind", list(valid()))
def test_truncated_anywhere(read, kind):
    """Never anything but our error; and a file without its end is never read as if it were whole."""
    data = valid()[kind]
    read(data)
    cuts = np.random.default_rng(zlib.crc32(kind.encode())).choice(len(data), min(len(data), 150), replace=False)
    for cut in (*cuts.tolist(), 0, 1, len(data) - 1):
        with pytest.raises(ForeignError):
            read(data[:cut])


@pytest.mark.parametrize("kind", list(valid()))
def test_damaged_anywhere(read, kind):
    """Bytes changed at random give another value, or our error."""
    data, rng = valid()[kind], np.random.default_rng(zlib.crc32(kind.encode()))
    for _ in range(200):
        changed = bytearray(data)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        try:
            read(bytes(changed))
        except ForeignError as error:
            assert str(error).isprintable()


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ForeignError, match="no regular file"):
        read_foreign(tmp_path / "fifo")
    with pytest.raises(ForeignError, match="a folder without model.safetensors"):
        read_foreign(tmp_path)
    with pytest.raises(ForeignError, match="No such file"):
        read_foreign(tmp_path / "absent")
    (tmp_path / "empty").touch()
    with pytest.raises(ForeignError, match="it is empty"):
        read_foreign(tmp_path / "empty")
