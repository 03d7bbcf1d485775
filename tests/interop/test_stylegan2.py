"""StyleGAN2 as the published implementation computes it: outputs, R1, path lengths, and their gradients."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import StyleGAN2Config
from gan_jax.interop.layouts.stylegan2 import IGNORED, discriminator_links, generator_links, guess_config
from gan_jax.interop.links import ForeignLayoutError, export_tensors, import_tensors
from gan_jax.losses import path_lengths, squared_gradient
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, golden, golden_files, imported, nhwc, there_and_back, under

THEIRS = {"residual": "resnet", "skip": "skip", "orig": "orig"}


@pytest.fixture(params=golden_files("stylegan2_ada_*.npz", "stylegan2_ada_32_uncond.npz"), scope="module")
def case(request):
    arrays = golden(request.param)
    meta = json.loads(str(arrays["meta"]))
    config = guess_config(under(arrays, "G/"), under(arrays, "D/"))
    known = {name: meta[name] for name in ("resolution", "z_dim", "w_dim", "channel_base", "channel_max")}
    assert {name: getattr(config, name) for name in known} == known
    assert (config.num_classes, config.mapping_layers) == (meta["c_dim"], meta["num_mapping_layers"])
    assert THEIRS[config.discriminator] == meta["d_architecture"]
    config = dataclasses.replace(config, mbstd_group=meta["mbstd_group_size"])  # which no shape tells
    pair = build(config)
    g = imported(under(arrays, "G/"), generator_links(config), IGNORED, pair.g.specs())
    d = imported(under(arrays, "D/"), discriminator_links(config), IGNORED, pair.d.specs())
    labels = jnp.asarray(arrays["in/c"].argmax(1), jnp.int32) if meta["c_dim"] else None
    return arrays, pair, g, d, labels


def test_generator(case):
    arrays, pair, g, _, labels = case
    z = jnp.asarray(arrays["in/z"])
    ws = pair.g.parts["map"](g, z, labels)
    close(ws, arrays["out/ws"], 1e-5)
    synthesise = jax.jit(pair.g.parts["synthesise"], static_argnames="fixed")
    close(synthesise(g, ws), nhwc(arrays["out/img"]), 1e-5)
    close(synthesise(g, ws, fixed=False), nhwc(arrays["out/img_no_noise"]), 1e-5)
    close(synthesise(g, pair.g.parts["map"](g, z, labels, 0.7)), nhwc(arrays["out/img_psi0.7"]), 1e-5)
    close(jax.jit(pair.g.apply)(g, z, labels)[0], nhwc(arrays["out/img"]), 1e-5)


def test_discriminator_and_r1(case):
    arrays, pair, _, d, labels = case
    x = nhwc(arrays["in/x"])
    judge = lambda d, x: pair.d.apply(d, x, labels)[0]

    def loss(params):
        variables = {**d, "params": params}
        penalty = squared_gradient(lambda x: judge(variables, x), x)
        logits = judge(variables, x)
        return penalty.mean() / 2 + jax.nn.softplus(-logits).mean(), (logits, penalty)

    gradients, (logits, penalty) = jax.jit(jax.grad(loss, has_aux=True))(d["params"])
    close(logits, arrays["out/logits"][:, 0], 1e-4)
    close(penalty, arrays["out/r1"], 1e-4)
    expected = imported_gradients(arrays, "grad_d/", discriminator_links(pair.config))
    assert expected.keys() == flatten({"params": gradients}).keys()
    for path, gradient in flatten({"params": gradients}).items():
        close(gradient, expected[path], 1e-3)


def test_path_lengths(case):
    arrays, pair, g, _, labels = case
    noise = nhwc(arrays["in/pl_noise"])
    n = noise.shape[0]
    z, labels = jnp.asarray(arrays["in/z"][:n]), None if labels is None else labels[:n]

    def lengths(params):
        variables = {**g, "params": params}
        ws = pair.g.parts["map"](variables, z, labels)
        return path_lengths(lambda ws: pair.g.parts["synthesise"](variables, ws), ws, noise)

    found = lambda params: (2 * jnp.square(lengths(params) - 0.5).mean(), lengths(params))
    gradients, values = jax.jit(jax.grad(found, has_aux=True))(g["params"])
    close(values, arrays["out/pl_lengths"], 1e-4)
    expected = imported_gradients(arrays, "grad_g_pl/", generator_links(pair.config))
    assert expected.keys() <= flatten({"params": gradients}).keys()
    for path, gradient in flatten({"params": gradients}).items():
        if path in expected:
            close(gradient, expected[path], 1e-3)
        else:  # path lengths do not see it
            assert path.endswith("to_rgb/bias") and not np.asarray(gradient).any()


def imported_gradients(arrays, prefix, links):
    """By the paths of our leaves."""
    return {links[name].path: links[name].read(array) for name, array in under(arrays, prefix).items()}


def state(config, seed=0):
    """Tensors under their names, drawn."""
    rng, pair = np.random.default_rng(seed), build(config)
    links = {"g": generator_links(config), "d": discriminator_links(config)}
    return pair, {
        name: export_tensors({p: rng.standard_normal(s.shape).astype("f4") for p, s in flatten(net.specs()).items()}, l)
        for (name, l), net in zip(links.items(), (pair.g, pair.d))
    }, links  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"num_classes": 3, "discriminator": "skip"}, {"discriminator": "orig"}], ids=str
)
def test_there_and_back(options):
    config = StyleGAN2Config(
        resolution=16, z_dim=5, w_dim=6, mapping_layers=2, d_mapping_layers=2, channel_base=64, channel_max=8, **options
    )
    pair, tensors, links = state(config)
    guessed = guess_config(tensors["g"], tensors["d"])
    if not config.num_classes:  # then D has no mapping to count
        assert guessed.d_mapping_layers == StyleGAN2Config().d_mapping_layers
        guessed = type(config)(**{**vars(guessed), "d_mapping_layers": 2})
    assert guessed == config
    for name, net in (("g", pair.g), ("d", pair.d)):
        there_and_back(tensors[name], links[name], IGNORED, net.specs())


def test_what_does_not_fit_is_named():
    config = StyleGAN2Config(resolution=16, z_dim=5, w_dim=6, mapping_layers=2, channel_base=64, channel_max=8)
    pair, tensors, links = state(config)
    specs = flatten(pair.g.specs())
    read = lambda tensors: import_tensors(tensors, links["g"], IGNORED, specs, "x.pkl")
    with pytest.raises(ForeignLayoutError, match="x.pkl has a tensor 'mapping.fc9.weight'.*did you mean"):
        read({**tensors["g"], "mapping.fc9.weight": np.zeros((6, 6))})
    less = {k: v for k, v in tensors["g"].items() if k != "synthesis.b8.conv0.bias"}
    with pytest.raises(
        ForeignLayoutError, match="lacks 'synthesis.b8.conv0.bias', which leaf 'params/synthesis/b8/conv0"
    ):
        read(less)
    with pytest.raises(ForeignLayoutError, match="'mapping.fc0.weight' is .6, 7., which makes .7, 6. of leaf"):
        read({**tensors["g"], "mapping.fc0.weight": np.zeros((6, 7))})
    with pytest.raises(ForeignLayoutError, match="no tensors of a StyleGAN2 generator"):
        guess_config({"main.0.weight": np.zeros(3)})
