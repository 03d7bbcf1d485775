"""R3GAN as the published implementation computes it: outputs, R1, R2, relativistic losses, and all their gradients."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import R3GANConfig
from gan_jax.interop.layouts.r3gan import IGNORED, discriminator_links, generator_links, guess_config
from gan_jax.interop.links import ForeignLayoutError, export_tensors
from gan_jax.losses import LOSSES, squared_gradient
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, golden, golden_files, imported, nhwc, there_and_back, under

SMALL = R3GANConfig(
    resolution=16, z_dim=5, widths=(8, 8, 6), cardinality=(4, 2, 3), blocks=(2, 1, 2), expansion=3, d_embed=None
)


def close_gradients(found, arrays, prefix, links):
    """Every leaf, and every gradient of the file."""
    expected = {links[name].path: links[name].read(array) for name, array in under(arrays, prefix).items()}
    found = flatten({"params": found})
    assert found.keys() == expected.keys()
    for path, gradient in found.items():
        close(gradient, expected[path], 1e-3, path)


@pytest.fixture(params=golden_files("r3gan_*.npz", "r3gan_32_cond.npz"), scope="module")
def case(request):
    arrays = golden(request.param)
    meta = json.loads(str(arrays["meta"]))
    config = guess_config(under(arrays, "G/"), under(arrays, "D/"))
    embeds = {} if not meta["c_dim"] else {"g_embed": meta["c_embed"], "d_embed": meta["c_embed"]}
    defaults = {"g_embed": meta["z_dim"], "d_embed": meta["widths_low_to_high"][0]}
    assert config == R3GANConfig(
        resolution=meta["resolution"],
        num_classes=meta["c_dim"],
        z_dim=meta["z_dim"],
        widths=tuple(meta["widths_low_to_high"]),
        cardinality=tuple(meta["cardinality"]),
        blocks=tuple(meta["blocks"]),
        expansion=meta["expansion"],
        **{name: size for name, size in embeds.items() if size != defaults[name]},
    )
    pair = build(config)
    g = imported(under(arrays, "G/"), generator_links(config), IGNORED, pair.g.specs())
    d = imported(under(arrays, "D/"), discriminator_links(config), IGNORED, pair.d.specs())
    return arrays, meta, pair, g, d, jnp.asarray(arrays["in/c"].argmax(1), jnp.int32) if meta["c_dim"] else None


def test_discriminator_game(case):
    arrays, meta, pair, _, d, labels = case
    real, fake = nhwc(arrays["in/x"]), nhwc(arrays["out/img"])

    def loss(params):
        judge = lambda x: pair.d.apply({"params": params}, x, labels)[0]
        r1, r2 = squared_gradient(judge, real), squared_gradient(judge, fake)
        on_real, on_fake = judge(real), judge(fake)
        game = LOSSES["relativistic"](on_real, on_fake)[0] + meta["gamma"] / 2 * (r1 + r2)
        return game.mean(), {"logits_real": on_real, "logits_fake": on_fake, "r1": r1, "r2": r2, "loss_d": game}

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(d["params"])
    for name, value in found.items():
        close(value, arrays[f"out/{name}"], 1e-4, name)
    close_gradients(gradients, arrays, "grad_d/", discriminator_links(pair.config))


def test_generator_game(case):
    arrays, _, pair, g, d, labels = case

    def loss(params):
        images = pair.g.apply({"params": params}, jnp.asarray(arrays["in/z"]), labels)[0]
        judge = lambda x: pair.d.apply(d, x, labels)[0]
        game = LOSSES["relativistic"](judge(nhwc(arrays["in/x"])), judge(images))[1]
        return game.mean(), (images, game)

    gradients, (images, game) = jax.jit(jax.grad(loss, has_aux=True))(g["params"])
    close(images, nhwc(arrays["out/img"]), 1e-4)
    close(game, arrays["out/loss_g"], 1e-4)
    close_gradients(gradients, arrays, "grad_g/", generator_links(pair.config))


def drawn(config):
    """A pair, tensors under their names, and the links."""
    rng, pair = np.random.default_rng(0), build(config)
    links = {"g": generator_links(config), "d": discriminator_links(config)}
    leaves = lambda net: {p: rng.standard_normal(s.shape).astype("f4") for p, s in flatten(net.specs()).items()}
    return (
        pair,
        {"g": export_tensors(leaves(pair.g), links["g"]), "d": export_tensors(leaves(pair.d), links["d"])},
        links,
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"num_classes": 3}, {"num_classes": 3, "g_embed": 7, "d_embed": 9}, {"channels": 1, "blocks": (1, 3, 1)}],
    ids=str,
)
def test_there_and_back(options):
    config = dataclasses.replace(SMALL, **options)
    pair, tensors, links = drawn(config)
    assert guess_config(tensors["g"], tensors["d"]) == config
    for name, net in (("g", pair.g), ("d", pair.d)):
        there_and_back(tensors[name], links[name], IGNORED, net.specs())


def test_what_does_not_fit_is_named():
    _, tensors, _ = drawn(SMALL)
    g, d = tensors["g"], tensors["d"]
    with pytest.raises(ForeignLayoutError, match="no tensors of an R3GAN generator .no MainLayers.0.Layers.0.Basis"):
        guess_config({"main.0.weight": np.zeros(3)})
    deeper = {**d, "MainLayers.0.Layers.7.LinearLayer2.Layer.weight": np.zeros((18, 6, 3, 3))}
    with pytest.raises(ForeignLayoutError, match=r"G has \[2, 1, 2\] blocks from 4 px upwards, but D \[2, 1, 3\]"):
        guess_config(g, deeper)
    name = "MainLayers.0.Layers.2.LinearLayer2.Layer.weight"
    with pytest.raises(ForeignLayoutError, match=r"stage 0 of G has convolutions of \[1, 4\] groups"):
        guess_config({**g, name: np.zeros((24, 24, 3, 3))})
    with pytest.raises(ForeignLayoutError, match=r"G's blocks widen \[3, 6\] times"):
        guess_config({**g, name: np.zeros((48, 12, 3, 3))})
