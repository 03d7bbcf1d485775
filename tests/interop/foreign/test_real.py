"""Files that others trained, and torch itself where it is installed: the same names, shapes and bits."""

from __future__ import annotations

import collections
import hashlib
import io
import pickle

import numpy as np
import pytest

from gan_jax.interop.foreign import read_foreign
from tests.conftest import extra_data

# name -> format, tensors, numbers in them, one tensor and its shape
FILES = {
    "dcgan-digiface64/weights.tar": ("torch zip", 25, 3_578_628, "netG_state_dict.main.0.weight", (100, 512, 4, 4)),
    "mnist-gan-pretrained/G--300.ckpt": ("torch legacy", 6, 283_920, "4.weight", (784, 256)),
    "mnist-gan-pretrained/D--300.ckpt": ("torch legacy", 6, 267_009, "0.weight", (256, 784)),
    "mnist-gan-pretrained/dcgan_netD_epoch_99.pth": ("torch legacy", 14, 662_018, "main.0.weight", (64, 1, 4, 4)),
    "mnist-gan-pretrained/lenet_acc0.991.pth": ("torch legacy", 10, 61_706, "convnet.c1.weight", (6, 1, 5, 5)),
    "cifar10-resnet20/resnet20-12fca82f.th": ("torch legacy", 97, 271_098, "state_dict.module.linear.weight", (10, 64)),
    "text/seqgan_target_params_py3.pkl": ("pickle", 15, 333_320, "0", (5000, 32)),
    "kmnist-test/kmnist-test-imgs.npz": ("npz", 1, 7_840_000, "arr_0", (10_000, 28, 28)),
}  # fmt: skip


@pytest.mark.weights
@pytest.mark.parametrize("name", FILES)
def test_real_files(name):
    path = extra_data(*name.split("/"))
    form, tensors, numbers, one, shape = FILES[name]
    found = read_foreign(path)
    assert (found.format, len(found.tensors), found.stubs) == (form, tensors, {})
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(array.size for array in found.tensors.values()) == numbers
    assert found.tensors[one].shape == shape
    for array in found.tensors.values():
        assert np.isfinite(array.astype(np.float64)).all()
        assert array.dtype.kind != "f" or 0 < np.abs(array).max() < 1e3, "weights, not bytes read in a wrong place"


@pytest.fixture(scope="module")
def torch():
    """Opt-in: torch is no dependency. `pip install torch`, then these run."""
    return pytest.importorskip("torch", reason="needs torch, which is no dependency: pip install torch")


def flat(torch, value, name=""):
    """`{dotted name: array}` of what torch.load gave."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous()
        return {name: raw.view(torch.uint8).numpy().tobytes() if raw.dtype == torch.bfloat16 else raw.numpy()}
    if isinstance(value, dict | list | tuple):
        found = {}
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            found |= flat(torch, child, f"{name}.{key}" if name else str(key))
        return found
    return {}


def agrees(torch, found, value):
    expected = flat(torch, value)
    assert list(found.tensors) == list(expected)
    for name, array in expected.items():
        if isinstance(array, bytes):
            assert found.tensors[name].tobytes() == array and found.tensors[name].dtype.name == "bfloat16"
        else:
            np.testing.assert_array_equal(found.tensors[name], array, strict=True)


@pytest.mark.weights
@pytest.mark.parametrize("name", [name for name, row in FILES.items() if row[0].startswith("torch")])
def test_real_files_as_torch_reads_them(torch, name):
    path = extra_data(*name.split("/"))
    agrees(torch, read_foreign(path), torch.load(path, map_location="cpu", weights_only=True))


def everything(torch):
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.randn(1, 2, 5, 5)).sum().backward()
    optimiser.step()
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    return {
        "net": net.state_dict(), "optimiser": optimiser.state_dict(), "epoch": 3, "x": x, "transposed": x.T,
        "slice": x[1:3, ::2], "expanded": x[:1].expand(5, 6), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(x[0]), "complex": torch.complex(x, -x),
        "kinds": [x.to(kind) for kind in (*floats, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)],
        "unsigned": torch.arange(3).to(torch.uint16),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves(torch, tmp_path, zipped):
    whole = everything(torch)
    if not zipped:
        del whole["unsigned"]
    torch.save(whole, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = read_foreign(tmp_path / "x.pt")
    agrees(torch, found, whole)
    assert found.values["epoch"] == 3 and found.values["optimiser.param_groups.0.betas"] == (0.9, 0.999)
    assert found.stubs == {}


def test_plain_pickles_of_tensors(torch, tmp_path):
    whole = collections.OrderedDict(everything(torch))
    del whole["unsigned"], whole["optimiser"]
    with open(tmp_path / "x.pkl", "wb") as file:
        pickle.dump(whole, file)
    agrees(torch, read_foreign(tmp_path / "x.pkl"), whole)


@pytest.mark.parametrize("save", ["torch.save", "pickle"])
def test_whole_modules(torch, tmp_path, save):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
    file = io.BytesIO()
    torch.save(net, file) if save == "torch.save" else pickle.dump(net, file)
    (tmp_path / "x.pkl").write_bytes(file.getvalue())
    found = read_foreign(tmp_path / "x.pkl")
    agrees(torch, found, net.state_dict())
    assert found.stubs["0"].cls == "torch.nn.modules.conv.Conv2d"
    assert found.stubs["0"].state["kernel_size"] == (3, 3)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_and_quantised_tensors_are_refused(torch, tmp_path):
    from gan_jax.interop.foreign import ForeignError

    for kind, value in (("sparse", torch.eye(3).to_sparse()), ("sparse", torch.eye(3).to_sparse_csr())):
        torch.save({"x": value}, tmp_path / "x.pt")
        with pytest.raises(ForeignError, match=f"a {kind} tensor"):
            read_foreign(tmp_path / "x.pt")
