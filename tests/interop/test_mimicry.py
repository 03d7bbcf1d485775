"""SNGAN of mimicry: there and back in both forms of spectral norm, and against the package itself where it is installed.

The package: `pip install --no-deps torch-mimicry` into a Python that has torch; its networks need nothing else.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from gan_jax.config import SNGANConfig
from gan_jax.interop.exporters import export_file
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts.mimicry import IGNORED, discriminator_links, find, generator_links, names
from gan_jax.interop.links import export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, nhwc, there_and_back

SMALL: dict[int, SNGANConfig] = {
    32: SNGANConfig(32, z_dim=5, g_widths=(8,) * 4, d_widths=(6, 6), d_rest=(6, 6)),
    48: SNGANConfig(48, z_dim=5, g_widths=(16, 8, 4, 2), d_widths=(1, 2, 4, 8), d_rest=(16,)),
    64: SNGANConfig(64, z_dim=5, g_widths=(16, 8, 4, 2, 1), d_widths=(1, 2, 4, 8, 16), d_rest=()),
    128: SNGANConfig(128, z_dim=5, g_widths=(16, 16, 8, 4, 2, 1), d_widths=(1, 2, 4, 8, 16), d_rest=(16,)),
}
CASES = [(r, estimate) for r in SMALL for estimate in ("refined", "stored")]
LINKS = {"g": generator_links, "d": discriminator_links}
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


def config_of(r: int, estimate) -> SNGANConfig:
    return dataclasses.replace(SMALL[r], estimate=estimate)


def state(net: str, config: SNGANConfig) -> dict[str, np.ndarray]:
    rng, specs = np.random.default_rng(0), flatten(getattr(build(config), net).specs())
    return export_tensors({p: rng.standard_normal(s.shape).astype("f4") for p, s in specs.items()}, LINKS[net](config))


@pytest.mark.parametrize(("r", "estimate"), CASES)
def test_there_and_back(r, estimate, tmp_path):
    config = config_of(r, estimate)
    g, d = state("g", config), state("d", config)
    for net, tensors in (("g", g), ("d", d)):
        there_and_back(tensors, LINKS[net](config), IGNORED, getattr(build(config), net).specs())
    save_file({f"model_state_dict.{k}": x for k, x in g.items()}, tmp_path / "g.safetensors")
    adam = {"optimizer_state_dict.state.0.exp_avg": np.zeros(3, "f4")}
    save_file({**{f"model_state_dict.{k}": x for k, x in d.items()}, **adam}, tmp_path / "d.safetensors")
    found = import_file(tmp_path / "g.safetensors", d=tmp_path / "d.safetensors")
    assert (found.layout, found.config) == ("mimicry", config)
    assert list(found.account.ignored.values()) == ["state of an optimiser"]
    alone = import_file(tmp_path / "d.safetensors").config
    keep = ("resolution", "d_widths", "d_rest", "estimate", "channels")
    assert all(getattr(alone, name) == getattr(config, name) for name in keep)
    export_file(tmp_path / "h.safetensors", config, found.variables, "mimicry")
    again = import_file(tmp_path / "h.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again.variables, found.variables)


def test_what_cannot_be_imported():
    g, d = (state(net, SMALL[32]) for net in "gd")
    with pytest.raises(ForeignLayoutError, match="a conditional generator .there is block2.b1.embed.weight"):
        find({"block2.b1.embed.weight": np.zeros((3, 8))})
    with pytest.raises(ForeignLayoutError, match="further head for classes or rotations"):
        find({**d, "l_y.weight": np.zeros((4, 6))})
    with pytest.raises(ForeignLayoutError, match="a discriminator without spectral norm"):
        find({name: x for name, x in d.items() if not name.endswith("sn_u")})
    with pytest.raises(ForeignLayoutError, match="should have 'c5.weight'"):
        find({name: x for name, x in g.items() if name != "c5.weight"})
    with pytest.raises(ForeignLayoutError, match="D is one for 48 px .l5 after 5 blocks., but G makes 32 px"):
        d48 = {f"d.{name}": x for name, x in state("d", SMALL[48]).items()}
        find({**{f"g.{name}": x for name, x in g.items()}, **d48})
    with pytest.raises(ForeignLayoutError, match="SNGAN of mimicry is unconditional"):
        names(SNGANConfig(num_classes=3))


def mimicry(r: int):
    """The package's module for a resolution, without what else it would import."""
    pytest.importorskip("torch", reason="needs torch")
    if "torch_mimicry" not in sys.modules:  # whose __init__ imports metrics, which want TensorFlow
        spec = importlib.util.find_spec("torch_mimicry")
        if spec is None or not spec.submodule_search_locations:
            pytest.skip("needs torch-mimicry: pip install --no-deps torch-mimicry")
        root = types.ModuleType("torch_mimicry")
        root.__path__ = list(spec.submodule_search_locations)
        sys.modules["torch_mimicry"] = root
    return importlib.import_module(f"torch_mimicry.nets.sngan.sngan_{r}")


@pytest.mark.parametrize("r", [32, 48, 64, 128])
def test_parity_with_the_package(r, tmp_path):
    """Both networks of random weights, after two passes in training; and their modules take what is exported."""
    theirs = mimicry(r)
    import torch

    torch.manual_seed(0)
    g = getattr(theirs, f"SNGANGenerator{r}")(nz=5, ngf=16)
    d = getattr(theirs, f"SNGANDiscriminator{r}")(ndf=16)
    z = torch.randn(4, 5)
    with torch.no_grad():
        for tensor in [*g.parameters(), *d.parameters()]:
            tensor += 0.05 * torch.randn_like(tensor)
        for _ in range(2):
            d(g(z))
        for tensor in d.parameters():  # as a step of training does, after which stored vectors are a little off
            tensor += 0.02 * torch.randn_like(tensor)
        g.eval(), d.eval()
        images = g(z)
        logits = d(images)[:, 0]
    for name, net in (("g", g), ("d", d)):
        torch.save({"model_state_dict": net.state_dict(), "global_step": 3}, tmp_path / f"{name}.pth")
    found = import_file(tmp_path / "g.pth", d=tmp_path / "d.pth")
    assert found.layout == "mimicry" and found.config.resolution == r
    pair = build(found.config)
    made = jax.jit(pair.g.apply, compiler_options=QUICK)(found.variables["g_ema"], jnp.asarray(z.numpy()))[0]
    close(made, np.asarray(nhwc(images.numpy())), 1e-4)
    judge = jax.jit(pair.d.apply, compiler_options=QUICK)
    close(judge(found.variables["d"], nhwc(images.numpy()))[0], logits.numpy(), 1e-4)
    export_file(tmp_path / "G.pt", found.config, found.variables, "mimicry", d=tmp_path / "D.pt")
    for name, net in (("G", g), ("D", d)):
        net.load_state_dict(torch.load(tmp_path / f"{name}.pt"))


def test_the_other_form_of_spectral_norm(tmp_path):
    """mimicry's own layers, whose evaluation iterates once more, in place of PyTorch's."""
    mimicry(32)
    import torch

    module = importlib.import_module("torch_mimicry.modules.spectral_norm")
    config = dataclasses.replace(SMALL[32], estimate="refined")
    tensors, pair = state("d", config), build(config)
    layer = module.SNConv2d(6, 6, 3, 1, 1).eval()
    wanted = {key: torch.from_numpy(tensors[f"block2.c1.{key}"]) for key in ("weight", "bias", "sn_u")}
    layer.load_state_dict({**wanted, "sn_sigma": torch.ones(1)})
    save_file(tensors, tmp_path / "d.safetensors")
    d = import_file(tmp_path / "d.safetensors").variables["d"]
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    seen = pair.d.activations(d, images)
    before = np.maximum(np.asarray(seen["b32"]), 0).transpose(0, 3, 1, 2)
    with torch.no_grad():
        theirs = layer(torch.from_numpy(before)).numpy()
    close(seen["b16/conv0"], np.asarray(nhwc(theirs)), 1e-4)
