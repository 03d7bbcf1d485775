"""SNGAN of mimicry: there and back in both forms of spectral norm; `tests/peers` compares with the package itself."""

from __future__ import annotations

import dataclasses

import jax
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
from tests.golden import there_and_back

SMALL: dict[int, SNGANConfig] = {
    32: SNGANConfig(32, z_dim=5, g_widths=(8,) * 4, d_widths=(6, 6), d_rest=(6, 6)),
    48: SNGANConfig(48, z_dim=5, g_widths=(16, 8, 4, 2), d_widths=(1, 2, 4, 8), d_rest=(16,)),
    64: SNGANConfig(64, z_dim=5, g_widths=(16, 8, 4, 2, 1), d_widths=(1, 2, 4, 8, 16), d_rest=()),
    128: SNGANConfig(128, z_dim=5, g_widths=(16, 16, 8, 4, 2, 1), d_widths=(1, 2, 4, 8, 16), d_rest=(16,)),
}
CASES = [(r, estimate) for r in SMALL for estimate in ("refined", "stored")]
LINKS = {"g": generator_links, "d": discriminator_links}


def config_of(r: int, estimate) -> SNGANConfig:
    return dataclasses.replace(SMALL[r], estimate=estimate)


def state(net: str, config: SNGANConfig) -> dict[str, np.ndarray]:
    rng, specs = np.random.default_rng(0), flatten(getattr(build(config), net).specs())
    return export_tensors(
        {p: np.abs(rng.standard_normal(s.shape)).astype("f4") for p, s in specs.items()}, LINKS[net](config)
    )


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
