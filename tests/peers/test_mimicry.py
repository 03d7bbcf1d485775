"""SNGAN of mimicry against the package itself, on random weights.

The package wants TensorFlow, its networks do not: `make test-peers` installs it without what it depends on.
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

from gan_jax.interop.exporters import export_file
from gan_jax.interop.importers import import_file
from gan_jax.nets import build
from tests.golden import close, nhwc
from tests.interop.test_mimicry import SMALL, state

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


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
