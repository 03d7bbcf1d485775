"""NVlabs' network pickles, made by hand: tensors by name, what networks were made with, and their source left out."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from gan_jax.interop.foreign import ForeignError, Recorded, read_foreign
from tests.interop.foreign.make import Call, Global, dumps, module, persistent_network, plain_tensor

RNG = np.random.default_rng(0)
A, B, C, D = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (2,), (5, 1, 3, 3), (4, 4)))
SOURCE = "import os\nos.system('touch /canary')\nclass Generator: pass\n"


@pytest.fixture
def read(tmp_path):
    def inner(data: bytes):
        path = tmp_path / "network.pkl"
        path.write_bytes(data)
        return read_foreign(path)

    return inner


def easy_dict(entries: dict) -> Call:
    return Call(Global("dnnlib.util", "EasyDict"), pairs=entries)


def torch_file() -> bytes:
    conv = module("", {"weight": plain_tensor(C)}, buffers={"resample_filter": plain_tensor(D)}, up=2)
    layer = persistent_network("SynthesisLayer", conv, SOURCE, {"up": 2, "conv_clamp": None})
    synthesis = persistent_network(
        "SynthesisNetwork", module("", {}, {"b4": layer}, block_resolutions=[4, 8]), SOURCE, {"w_dim": 4}
    )
    mapping = persistent_network(
        "MappingNetwork", module("", {"w": plain_tensor(A)}, buffers={"w_avg": plain_tensor(B)}), SOURCE
    )
    kwargs = {
        "z_dim": 64,
        "img_resolution": 32,
        "synthesis_kwargs": easy_dict({"channel_base": 512, "num_fp16_res": 0}),
    }
    g = persistent_network(
        "Generator", module("", {}, {"synthesis": synthesis, "mapping": mapping}, c_dim=0), SOURCE, kwargs
    )
    return dumps({
        "training_set_kwargs": {"path": "data.zip", "use_labels": False},
        "G": None,
        "augment_pipe": persistent_network("AugmentPipe", module("", {}, buffers={"p": plain_tensor(B)}), SOURCE),
        "G_ema": g,
    })  # fmt: skip


def test_torch_networks(read):
    found = read(torch_file())
    assert found.format == "stylegan torch pickle"
    expected = {
        "augment_pipe.p": B, "G_ema.synthesis.b4.weight": C, "G_ema.synthesis.b4.resample_filter": D,
        "G_ema.mapping.w": A, "G_ema.mapping.w_avg": B,
    }  # fmt: skip
    assert list(found.tensors) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found.tensors[name], array, strict=True)
    assert found.values == {"training_set_kwargs.path": "data.zip", "training_set_kwargs.use_labels": False, "G": None}
    digest = hashlib.sha256(SOURCE.encode()).hexdigest()
    made_with = {"z_dim": 64, "img_resolution": 32, "synthesis_kwargs": {"channel_base": 512, "num_fp16_res": 0}}
    assert found.stubs["G_ema"] == Recorded("Generator", (), made_with, {"training": False, "c_dim": 0}, digest)
    assert found.stubs["G_ema.synthesis"].state["block_resolutions"] == [4, 8]
    layer = found.stubs["G_ema.synthesis.b4"]
    assert (layer.cls, layer.kwargs, layer.state["up"]) == ("SynthesisLayer", {"up": 2, "conv_clamp": None}, 2)
    assert "canary" not in repr(found), "the source is nowhere in what was read"


def tf_network(name: str, variables: list, components: dict | None = None) -> Call:
    state = {
        "version": 4, "name": name, "static_kwargs": {"resolution": 32, "fmap_base": 512},
        "components": components or {}, "build_module_src": SOURCE, "build_func_name": f"{name}_stylegan2",
        "variables": variables,
    }  # fmt: skip
    return Call(Global("dnnlib.tflib.network", "Network"), state=state)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_tensorflow_networks(read, protocol):
    synthesis = tf_network("G_synthesis", [("4x4/Const/const", A), ("noise0", C)])
    trio = tuple(
        tf_network(name, [("lod", np.float32(0)), ("dlatent_avg", B)], {"synthesis": synthesis}) if name != "D"
        else tf_network("D", [("4x4/Dense0/weight", D)])
        for name in ("G", "D", "Gs")
    )  # fmt: skip
    found = read(dumps(trio, protocol))
    assert found.format == "stylegan tf pickle"
    names = [
        f"{g}.{name}" for g in ("G", "Gs") for name in ("dlatent_avg", "synthesis.4x4/Const/const", "synthesis.noise0")
    ]
    assert list(found.tensors) == [*names[:3], "D.4x4/Dense0/weight", *names[3:]]
    np.testing.assert_array_equal(found.tensors["Gs.synthesis.4x4/Const/const"], A, strict=True)
    np.testing.assert_array_equal(found.tensors["Gs.dlatent_avg"], B, strict=True)
    record = found.stubs["Gs.synthesis"]
    assert (record.cls, record.kwargs["resolution"]) == ("G_synthesis_stylegan2", 32)
    assert record.source_sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert record.state == {"version": 4, "name": "G_synthesis", "build_func_name": "G_synthesis_stylegan2"}
    assert "canary" not in repr(found)


def test_networks_that_are_not_whole(read):
    broken = Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), ({"state": {}},))
    with pytest.raises(ForeignError, match="network without its class name or state"):
        read(dumps({"x": A, "G": broken}))
    with pytest.raises(ForeignError, match=r"no \(name, array\) pairs"):
        read(dumps({"x": A, "G": tf_network("G", [A])}))
