"""Exported files: what is imported from them is what was written, to the bit, in every layout and container."""

import json
import re
from typing import Any

import h5py
import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from gan_jax.config import (
    BigGANConfig,
    DCGANConfig,
    MLPConfig,
    NetConfig,
    R3GANConfig,
    ResNetConfig,
    SNGANConfig,
    StyleGAN2Config,
    UNetConfig,
    net_to_dict,
)
from gan_jax.interop.exporters import WRITERS, ExportError, export_file, tensors_of
from gan_jax.interop.foreign import read_foreign
from gan_jax.interop.importers import LAYOUTS, ForeignLayoutError, import_file
from gan_jax.interop.layouts.r3gan import INSIDE
from gan_jax.nets import build
from gan_jax.trees import flatten, unflatten
from tests.conftest import extra_data
from tests.golden import golden, under
from tests.interop.foreign.make import ORDERED, Call, storage, tensor, torch_legacy

STYLED = StyleGAN2Config(resolution=8, z_dim=5, w_dim=5, mapping_layers=1, channel_base=32, channel_max=6)
SMALL: dict[type, NetConfig] = {
    StyleGAN2Config: STYLED,
    R3GANConfig: R3GANConfig(resolution=8, z_dim=5, widths=(8, 6), cardinality=(4, 2), blocks=(2, 1), num_classes=3),
    DCGANConfig: DCGANConfig(resolution=16, channels=1, z_dim=7, channel_base=64, channel_max=16),
    ResNetConfig: ResNetConfig(resolution=16, channel_base=64, channel_max=4, z_dim=3),
    SNGANConfig: SNGANConfig(z_dim=5, g_widths=(4, 4, 4, 4), d_widths=(4, 4), d_rest=(4, 4)),
    BigGANConfig: BigGANConfig(resolution=16, width=4, z_dim=9, num_classes=2, shared_dim=4, attention=(8,)),
    UNetConfig: UNetConfig(8, width=2, depth=3, d_width=2, d_layers=1),
}
SEVERAL: dict[str, type] = {"translation": UNetConfig}  # of a layout of several classes, the one that is written here
# where a layout stands for more than its networks' class: nothing in such a file tells it
OF_LAYOUT: dict[str, NetConfig] = {"mlp-leaky": MLPConfig(g_slope=0.2)}


def config_of(layout: str) -> NetConfig:
    known = LAYOUTS[layout].config
    cls = known if isinstance(known, type) else SEVERAL.get(layout, ResNetConfig)
    return OF_LAYOUT.get(layout) or SMALL.get(cls) or cls()  # another layout's defaults


def drawn(config, seed=0):
    rng, pair = np.random.default_rng(seed), build(config)
    draw = lambda net: {
        p: np.asarray(np.abs(rng.standard_normal(s.shape)), s.dtype) for p, s in flatten(net.specs()).items()
    }
    return {"g_ema": unflatten(draw(pair.g)), "d": unflatten(draw(pair.d))}


def same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for path, leaf in a.items():
        np.testing.assert_array_equal(b[path], leaf, strict=True, err_msg=path)


def same_files(a, b, constants=()):
    """To the bit; constants to rounding, for programs compute them in their own way."""
    a, b = read_foreign(a).tensors, read_foreign(b).tensors
    assert a.keys() == b.keys()
    for name, array in a.items():
        if name in constants:
            np.testing.assert_allclose(b[name], array, rtol=1e-6, err_msg=name)
            continue
        np.testing.assert_array_equal(b[name], array, strict=True, err_msg=name)


@pytest.mark.parametrize("layout", [name for name, entry in LAYOUTS.items() if entry.beside is None])
def test_round_trip_is_the_identity(layout, tmp_path):
    """Out, in, and out again: every leaf and every tensor of the file, constants included; the layout is guessed."""
    config = config_of(layout)
    variables = drawn(config)
    export_file(tmp_path / "a.safetensors", config, variables, layout)
    found = import_file(tmp_path / "a.safetensors", layout if layout in OF_LAYOUT else None)
    assert (found.layout, found.config, found.computed) == (layout, config, {})
    same(variables, found.variables)
    export_file(tmp_path / "b.safetensors", found.config, found.variables, layout)
    same_files(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    for name in ("a.pt", "b.pt"):
        export_file(tmp_path / name, found.config, found.variables, layout)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes(), "no dates, no chance"


@pytest.mark.parametrize("layout", [n for n, entry in LAYOUTS.items() if n != "gan_jax" and not entry.beside])
def test_every_container(layout, tmp_path):
    """What one container holds, all hold; Keras' and torch's legacy one are only read."""
    config = config_of(layout)
    variables = drawn(config)
    tensors = {k: v for part in tensors_of(config, variables, layout)[0].values() for k, v in part.items()}
    files = [export_file(tmp_path / f"x{end}", config, variables, layout)[0] for end in (".npz", ".pt", ".safetensors")]
    files += [legacy(tmp_path / "x.pth", tensors), keras(tmp_path / "x.h5", tensors)]
    formats = []
    for file in files:
        found = import_file(file, layout)
        assert found.config == config
        same(variables, found.variables)
        formats.append(found.files[""].format)
    assert formats == ["npz", "torch zip", "safetensors", "torch legacy", "hdf5"]


def legacy(path, tensors):
    stores, entries = {}, {}
    for i, (name, array) in enumerate(tensors.items()):
        kind = {"float32": "Float", "int64": "Long"}[str(array.dtype)]
        stores[str(i)] = (array.size, array.tobytes())
        entries[name] = tensor(storage(str(i), kind, array.size, legacy=True), array.shape)
    path.write_bytes(torch_legacy(Call(ORDERED, pairs=entries), stores))
    return path


def keras(path, tensors):
    with h5py.File(path, "w") as file:
        for name, array in tensors.items():
            file[name] = array
    return path


@pytest.mark.parametrize("layout", ["stylegan2-ada", "rosinality", "r3gan", "dcgan", "gan_jax"])
def test_a_file_for_each_network(layout, tmp_path):
    config = config_of(layout)
    variables = drawn(config)
    export_file(tmp_path / "g.safetensors", config, variables, layout, d=tmp_path / "d.safetensors")
    found = import_file(tmp_path / "g.safetensors", d=tmp_path / "d.safetensors")
    assert (found.layout, found.config) == (layout, config)
    same(variables, found.variables)
    if layout != "gan_jax":
        alone = import_file(tmp_path / "g.safetensors")
        assert set(alone.variables) == {"g_ema"}
        same(variables["g_ema"], alone.variables["g_ema"])


def test_views_are_saved_as_they_look(tmp_path):
    """The memory of a transposed view is in another order than its values."""
    config, variables = STYLED, drawn(STYLED)
    turned = jax.tree.map(lambda leaf: leaf.T.copy(order="C").T, variables)
    assert not turned["d"]["params"]["b4"]["fc"]["kernel"].flags.c_contiguous
    for end in (".safetensors", ".npz", ".pt"):
        for layout in ("gan_jax", "stylegan2-ada"):
            if (end, layout) != (".npz", "gan_jax") and (end, layout) != (".pt", "gan_jax"):
                export_file(tmp_path / f"x{end}", config, turned, layout)
                same(variables, import_file(tmp_path / f"x{end}").variables)


def test_what_goes_along(tmp_path):
    """Configuration, history and licence lie in safetensors' metadata; what is empty is left out."""
    about = {"history": [{"kind": "train", "date": "2026-01-01", "images": 3}], "licence": "MIT", "more": None}
    variables = {**drawn(STYLED), "g": drawn(STYLED, 1)["g_ema"]}
    export_file(tmp_path / "x.safetensors", STYLED, variables, about=about)
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        said = file.metadata()
        assert set(file.keys()) == set(flatten(variables))
    assert json.loads(said["history"]) == about["history"] and said["licence"] == "MIT" and "more" not in said
    assert json.loads(said["net"]) == net_to_dict(STYLED) and said["layout"] == "gan_jax"
    found = import_file(tmp_path / "x.safetensors")
    same(drawn(STYLED), found.variables)
    assert any("another copy" in why for why in found.account.ignored.values())


def test_a_damaged_history(tmp_path):
    for text in ("[", "{}", '[{"kind": "magic", "date": "x"}]', "[3]"):
        facts = {"net": json.dumps(net_to_dict(STYLED)), "history": text}
        save_file(flatten(drawn(STYLED)), tmp_path / "x.safetensors", metadata=facts)
        with pytest.raises(ForeignLayoutError, match="history in the file's metadata is damaged"):
            import_file(tmp_path / "x.safetensors")
    save_file(flatten(drawn(STYLED)), tmp_path / "x.safetensors", metadata={"net": '{"kind": "GANConfig"}'})
    with pytest.raises(ForeignLayoutError, match="configuration in the file's metadata cannot be used: .*'GANConfig'"):
        import_file(tmp_path / "x.safetensors")


def test_our_names_of_another_program(tmp_path):
    """Without metadata the user says which networks these are; dots between the parts are as good as slashes."""
    variables = drawn(STYLED)
    np.savez(tmp_path / "x.npz", **{path.replace("/", "."): leaf for path, leaf in flatten(variables).items()})
    with pytest.raises(ForeignLayoutError, match="leaf paths of ours without a configuration .*--net"):
        import_file(tmp_path / "x.npz", "gan_jax")
    same(variables, import_file(tmp_path / "x.npz", net=STYLED).variables)
    with pytest.raises(ForeignLayoutError, match="layout dcgan tells its configuration itself"):
        import_file(tmp_path / "x.npz", "dcgan", net=STYLED)
    other = DCGANConfig(resolution=16)
    with pytest.raises(ForeignLayoutError, match="x.npz has a tensor '.*' .* that no rule knows"):
        import_file(tmp_path / "x.npz", "gan_jax", net=other)


def test_only_what_there_is(tmp_path):
    variables = {"g_ema": drawn(STYLED)["g_ema"]}
    export_file(tmp_path / "x.pt", STYLED, variables, "rosinality")
    assert {name.split(".")[0] for name in read_foreign(tmp_path / "x.pt").tensors} == {"g_ema", "latent_avg"}
    same(variables, import_file(tmp_path / "x.pt").variables)
    with pytest.raises(ExportError, match="a file of its own for D needs both networks"):
        export_file(tmp_path / "x.pt", STYLED, variables, "rosinality", d=tmp_path / "d.pt")
    with pytest.raises(ExportError, match="d.bin has none of the known endings"):  # before G's is written
        export_file(tmp_path / "y.pt", STYLED, drawn(STYLED), "rosinality", d=tmp_path / "d.bin")
    assert not (tmp_path / "y.pt").exists()


@pytest.mark.parametrize(
    ("name", "layout", "says"),
    [
        ("x.pt", "rosinalty", "no layout 'rosinalty' (did you mean 'rosinality'"),
        (
            "x.pt",
            "dcgan",
            "layout 'dcgan' is of other networks; StyleGAN2Config can be written as stylegan2-ada, rosin",
        ),
        ("x.pkl", "stylegan2-ada", "holds the source code of its networks, and none is written; write .pt"),
        ("x.bin", "rosinality", f"none of the known endings {', '.join(WRITERS)}"),
    ],
)
def test_what_cannot_be_written(name, layout, says, tmp_path):
    with pytest.raises(ExportError, match=re.escape(says)):
        export_file(tmp_path / name, STYLED, drawn(STYLED), layout)
    assert not list(tmp_path.iterdir())


def test_activations_that_a_file_would_not_tell(tmp_path):
    with pytest.raises(ForeignLayoutError, match="slopes 0.0 in G and 0.2 in D; this pair has 0.2 and 0.2: write the"):
        export_file(tmp_path / "x.pt", MLPConfig(g_slope=0.2), drawn(MLPConfig()), "mlp")


def test_torch_reads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch: pip install torch")
    variables = drawn(STYLED)
    export_file(tmp_path / "x.pt", STYLED, variables, "rosinality")
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    assert set(state) == {"g_ema", "d", "latent_avg"}
    named = {
        name: value for part in tensors_of(STYLED, variables, "rosinality")[0].values() for name, value in part.items()
    }
    for name, value in named.items():
        first, _, rest = name.partition(".")
        found = state[first][rest] if rest else state[first]
        np.testing.assert_array_equal(found.numpy(), value, strict=True)


@pytest.mark.parametrize(
    ("file", "layout"),
    [
        ("stylegan2_ada_32_uncond.npz", "stylegan2-ada"),
        ("stylegan2_ada_64_cond.npz", "stylegan2-ada"),
        ("r3gan_32_cond.npz", "r3gan"),
        ("biggan_64.npz", "biggan"),
    ],
)
def test_state_dicts_of_the_references_come_back_whole(file, layout, tmp_path):
    """Nothing lacks that a strict `load_state_dict` asks for, and nothing is too much."""
    arrays = golden(file)
    inside = INSIDE if layout == "r3gan" else ""
    places = {"G/": f"G_ema.{inside}", "D/": f"D.{inside}"}
    theirs: dict[str, Any] = {
        new + name: array for old, new in places.items() for name, array in under(arrays, old).items()
    }
    np.savez(tmp_path / "a.npz", **theirs)
    found = import_file(tmp_path / "a.npz")
    assert found.layout == layout
    export_file(tmp_path / "b.npz", found.config, found.variables, layout)
    same_files(tmp_path / "a.npz", tmp_path / "b.npz", constants=LAYOUTS[layout].constants(found.config))


def test_a_real_file_comes_back_whole(tmp_path):
    found = import_file(extra_data("dcgan-digiface64", "weights.tar"))
    export_file(tmp_path / "b.pt", found.config, found.variables, "dcgan")
    a, b = read_foreign(extra_data("dcgan-digiface64", "weights.tar")).tensors, read_foreign(tmp_path / "b.pt").tensors
    assert a.keys() == b.keys()
    for name, array in a.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(b[name], array, strict=True)
