"""Stacks of linear layers become fully connected pairs: any names with numbers, one file or two, and the real MNIST pair."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import gan_jax
from gan_jax.cli.main import main
from gan_jax.config import MLPConfig
from gan_jax.data import load
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts.mlp import discriminator_links, find, generator_links, names
from gan_jax.interop.links import export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.conftest import extra_data
from tests.golden import there_and_back

CONFIG = MLPConfig(resolution=3, channels=3, z_dim=4, g_widths=(6, 5), d_widths=(7,))
LINKS = {"g": generator_links, "d": discriminator_links}


def state(net: str, config: MLPConfig = CONFIG) -> dict[str, np.ndarray]:
    rng, specs = np.random.default_rng(0), flatten(getattr(build(config), net).specs())
    return export_tensors({p: rng.standard_normal(s.shape).astype("f4") for p, s in specs.items()}, LINKS[net](config))


def torch_forward(tensors: dict[str, np.ndarray], x: np.ndarray, slope: float) -> np.ndarray:
    """What the stack computes there, before the last activation."""
    numbers = sorted({int(name.partition(".")[0]) for name in tensors})
    for number in numbers:
        x = x @ tensors[f"{number}.weight"].T + tensors[f"{number}.bias"]
        x = np.where(x > 0, x, slope * x) if number != numbers[-1] else x
    return x


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_images_are_flattened_channels_first(tmp_path, slope):
    g, d = state("g"), state("d")
    save_file(g, tmp_path / "g.safetensors")
    save_file(d, tmp_path / "d.safetensors")
    layout = "mlp-leaky" if slope else "mlp"
    found = import_file(tmp_path / "g.safetensors", layout, tmp_path / "d.safetensors")
    assert found.config == dataclasses.replace(CONFIG, g_slope=slope)
    pair, z = build(found.config), np.random.default_rng(1).standard_normal((4, 4)).astype("f4")
    theirs = np.tanh(torch_forward(g, z, slope)).reshape(4, 3, 3, 3)  # [N, C, H, W]
    images = pair.g.apply(found.variables["g_ema"], jnp.asarray(z))[0]
    np.testing.assert_allclose(images, theirs.transpose(0, 2, 3, 1), atol=1e-5)
    logits = pair.d.apply(found.variables["d"], images)[0]
    np.testing.assert_allclose(logits, torch_forward(d, theirs.reshape(4, -1), 0.2)[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("net", ["g", "d"])
def test_there_and_back(net):
    there_and_back(state(net), LINKS[net](CONFIG), {}, getattr(build(CONFIG), net).specs())


def test_any_names_with_numbers(tmp_path):
    wanted = import_file(_save(tmp_path / "a.safetensors", state("g")), "mlp").variables
    other = {
        name.replace("0.", "fc1.").replace("2.", "fc2.").replace("4.", "fc3."): x for name, x in state("g").items()
    }
    found = import_file(_save(tmp_path / "b.safetensors", other))
    assert found.layout == "mlp" and len(found.account.used) == 6
    jax.tree.map(np.testing.assert_array_equal, found.variables, wanted)
    merged = {f"netG.model.{k}": x for k, x in state("g").items()} | {
        f"netD.main.{k}": x for k, x in state("d").items()
    }
    assert set(import_file(_save(tmp_path / "c.safetensors", merged)).variables) == {"g_ema", "d"}
    alone = import_file(_save(tmp_path / "d.safetensors", state("d")))
    assert isinstance(alone.config, MLPConfig) and set(alone.variables) == {"d"} and alone.config.d_widths == (7,)


def _save(path, tensors):
    save_file(tensors, path)
    return path


def test_the_real_pair_from_the_command_line(tmp_path, capsys):
    """Its G and D know digits: D says 0.60 of real ones and 0.30 of G's on average."""
    folder = extra_data("mnist-gan-pretrained")
    words = [str(folder / "G--300.ckpt"), "--d", str(folder / "D--300.ckpt"), "--out", str(tmp_path / "mnist")]
    assert main(["import", *words]) == 0
    said = capsys.readouterr().out
    assert "layout mlp" in said and "12 tensors used, 0 ignored" in said
    assert "g_ema: 283,920 parameters" in said and "d: 267,009 parameters" in said
    model = gan_jax.load(tmp_path / "mnist")
    digits = load(f"idx:{extra_data('mnist')}:test").images[:500]
    z = jax.random.normal(jax.random.key(0), (500, 64))
    made = model.pair.g.apply(model.variables["g_ema"], z)[0]
    believed = [
        float(jax.nn.sigmoid(model.pair.d.apply(model.variables["d"], jnp.asarray(x))[0]).mean())
        for x in (digits.astype("f4") / 127.5 - 1, made)
    ]
    np.testing.assert_allclose(believed, [0.60, 0.30], atol=0.03)


def test_what_cannot_be_imported():
    g, d = state("g"), state("d")
    under = lambda prefix, net: {prefix + name: x for name, x in net.items()}
    with pytest.raises(ForeignLayoutError, match="no numbered linear layers alone.*'step'"):
        find({**g, "step": np.zeros(())}, 0.0)
    with pytest.raises(ForeignLayoutError, match="layer 2 is no linear one with a weight"):
        find({**g, "2.weight": np.zeros((5, 6, 1))}, 0.0)
    with pytest.raises(ForeignLayoutError, match="layer 4 reads 5 numbers, but gets 9"):
        find({**g, "2.weight": np.zeros((9, 6))}, 0.0)
    with pytest.raises(ForeignLayoutError, match="two generators, under 'a.' and 'b.'"):
        find({**under("a.", g), **under("b.", g)}, 0.0)
    with pytest.raises(ForeignLayoutError, match="G makes 27 numbers, but D reads 16"):
        find({**under("g.", g), **under("d.", {**d, "0.weight": np.zeros((7, 16))})}, 0.0)
    with pytest.raises(ForeignLayoutError, match="26 numbers make no square image"):
        find({**g, "4.weight": np.zeros((26, 5)), "4.bias": np.zeros(26)}, 0.0)
    with pytest.raises(ForeignLayoutError, match="one linear layer under '' is no network"):
        find({name: x for name, x in g.items() if name.startswith("0.")}, 0.0)
    with pytest.raises(ForeignLayoutError, match="a conditional pair is no plain stack"):
        names(MLPConfig(num_classes=3), 0.0)
