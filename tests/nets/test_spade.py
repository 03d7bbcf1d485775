"""SPADE as published: golden values of both networks, parameters as many as published, and the maps that they read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import Config, LayoutTask, SPADEConfig
from gan_jax.interop.layouts.spade import IGNORED, discriminator_links, generator_links, guess_config
from gan_jax.losses.adversarial import hinge
from gan_jax.losses.matching import feature_matching, mean_over_scales
from gan_jax.nets import build
from gan_jax.nets.spade import SpadeNorm, instance_edges, layer_name, one_hot, semantics
from gan_jax.trees import count, flatten
from tests.golden import close, golden, imported, nhwc, under

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
CONFIG = SPADEConfig(64, num_labels=4, width=2, d_width=8)


def theirs(tree: Any, links: Any, root: str) -> dict[str, np.ndarray]:
    """Leaves of a collection under their names and axes."""
    leaves = flatten({root: tree})
    return {name: link.write(np.asarray(leaves[link.path])) for name, link in links.items() if link.path in leaves}


def compare_gradients(arrays: Any, case: str, gradients: dict[str, np.ndarray], zero: Any = ()) -> None:
    """All gradients of a case; those that are exactly zero there are small beside the largest here."""
    largest = max(np.abs(x).max() for x in gradients.values())
    stored = {}  # name -> every which element, the elements
    for key in arrays:
        kind, _, name = key.partition(f"/{case}/")
        if name and kind in ("grad", "grad_every7", "grad_every11"):
            stored[name] = int(kind.removeprefix("grad_every")) if kind != "grad" else 1, arrays[key]
    assert stored.keys() | set(zero) == gradients.keys()
    for name, gradient in gradients.items():
        if name in zero:
            assert np.abs(gradient).max() < 1e-5 * largest, name
        else:
            step, values = stored[name]
            close(gradient.reshape(-1)[::step], values.reshape(-1), 1e-3, name)


def compare_input(found: np.ndarray, expected: np.ndarray) -> None:
    """99.9 % of the elements: a ReLU within rounding of zero moves a few pixels."""
    wrong = np.abs(found.transpose(0, 3, 1, 2).reshape(-1)[:: -(-found.size // expected.size)] - expected)
    assert (wrong <= 1e-3 * np.abs(expected).max()).mean() >= 0.999


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_generator_is_the_published_one(train):
    arrays, case = golden("spade_g.npz"), "train" if train else "eval"
    state = under(arrays, "G/")
    config = dataclasses.replace(guess_config(state), resolution=64, num_labels=4, dont_care=True, edges=True)
    assert dataclasses.replace(config, d_width=8) == CONFIG
    net, links = build(config).g, generator_links(config)
    variables = imported(state, links, IGNORED, net.specs())
    labels, instance = (jnp.asarray(arrays[f"in/{name}"][:, 0]) for name in ("label", "instance"))
    maps = semantics(config, labels, instance)
    np.testing.assert_array_equal(maps, nhwc(arrays["in/semantics"]))
    cot = nhwc(arrays["in/cot"])

    @jax.jit
    def run(params, maps):
        images, after = net.apply({**variables, "params": params}, maps, train=train)
        return (images * cot).sum(), (images, after)

    (_, (images, after)), (gradients, d_maps) = jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))(
        variables["params"], maps
    )
    close(images, nhwc(arrays[f"out/{case}/img"]), 1e-4)
    stored = under(arrays, f"after/{case}/")
    found = theirs(after["spectral"], links, "spectral") | theirs(after["batch_stats"], links, "batch_stats")
    assert {name for name in stored if "tracked" not in name} == (found.keys() if train else set())
    for name in found if train else ():
        close(found[name], stored[name], 1e-4, name)
    zero = set(json.loads(str(arrays["meta"]))["zero_grad"].get(case, []))
    compare_gradients(arrays, case, theirs(gradients, links, "params"), zero)
    key = next(key for key in arrays if key.startswith("grad_in") and key.endswith(f"/{case}/semantics"))
    compare_input(np.asarray(d_maps), arrays[key].reshape(-1))


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_discriminator_is_the_published_one(train):
    arrays, mode = golden("spade_d.npz"), "train" if train else "eval"
    state = under(arrays, "D/")
    config = dataclasses.replace(guess_config(None, state), resolution=64, num_labels=4, dont_care=True, edges=True)
    assert config == dataclasses.replace(CONFIG, width=64)
    net, links = build(config).d, discriminator_links(config)
    variables = imported(state, links, IGNORED, net.specs())
    maps, real, fake = (nhwc(arrays[f"in/{name}"]) for name in ("semantics", "real", "fake"))

    def features(params, fake):
        joined = jnp.concatenate([jnp.concatenate([maps, x], -1) for x in (fake, real)])
        scales, after = net.parts["features"](
            {**variables, "params": params}, joined, None, train, mutable=["spectral"]
        )
        halves = [[x[:2] for x in scale] for scale in scales], [[x[2:] for x in scale] for scale in scales]
        return *halves, after

    @jax.jit
    def run(params, fake):
        def g_loss(fake):
            made, kept, after = features(params, fake)
            gan = mean_over_scales([hinge(scale[-1], scale[-1])[1] for scale in made]).mean()
            matching = 10 * feature_matching(made, kept).mean()
            return gan + matching, (gan, matching, made, kept, after)

        def d_loss(params):
            made, kept, _ = features(params, fake)
            sides = [
                mean_over_scales([jax.nn.relu(1 + s * scale[-1]) for scale in x]).mean()
                for s, x in ((1, made), (-1, kept))
            ]
            both = mean_over_scales([hinge(b[-1], a[-1])[0] for a, b in zip(made, kept)]).mean()
            return both, sides

        return jax.grad(g_loss, has_aux=True)(fake), jax.value_and_grad(d_loss, has_aux=True)(params)

    (d_fake, (gan, matching, made, kept, after)), ((both, sides), gradients) = run(variables["params"], fake)
    out = under(arrays, f"out/g_{mode}/")
    close(gan, out["GAN"][0], 1e-4)
    close(matching, out["GAN_Feat"][0], 1e-4)
    compared = 0
    for side, scales in (("fake", made), ("real", kept)):
        for scale, maps_of_scale in enumerate(scales):
            for i, x in enumerate(maps_of_scale):
                if (name := f"{side}/scale{scale}_layer{i}") in out:
                    close(x, nhwc(out[name]), 1e-4, name)
                    compared += 1
    assert compared == (20 if train else 4)
    found = theirs(after["spectral"], links, "spectral")
    if train:
        assert found.keys() == under(arrays, f"after/g_{mode}/").keys()
        for name, array in under(arrays, f"after/g_{mode}/").items():
            close(found[name], array, 1e-4, name)
    for scale in range(2):
        for i in range(1, 4):
            name = layer_name(scale, i)
            kernel, vectors = variables["params"][name]["conv"]["kernel"], after["spectral"][name]["conv"]
            sigma = vectors["v"] @ kernel.reshape(-1, kernel.shape[-1]) @ vectors["u"]
            effective = np.asarray(kernel / sigma).transpose(3, 2, 0, 1)
            close(effective, out[f"sn_weight/discriminator_{scale}.model{i}.0.0"], 1e-4, name)
    key = next(key for key in arrays if key.startswith("grad_in") and key.endswith(f"/g_{mode}/fake"))
    compare_input(np.asarray(d_fake), arrays[key].reshape(-1))
    losses = under(arrays, f"out/d_{mode}/")
    close(sides[0], losses["D_Fake"][0], 1e-4)
    close(sides[1], losses["D_real"][0], 1e-4)
    np.testing.assert_allclose(both, sum(sides), rtol=1e-5)
    compare_gradients(arrays, f"d_{mode}", theirs(gradients, links, "params"))


@pytest.mark.parametrize(
    ("options", "g", "d"),
    [
        ({}, 97_480_899, 5_904_514),
        ({"num_labels": 150, "edges": False}, 96_492_483, 5_836_930),
        ({"num_labels": 35, "dont_care": False, "ups": "more"}, 93_048_003, 5_601_410),
    ],
    ids=["coco", "ade20k", "cityscapes"],
)
def test_as_many_parameters_as_published(options, g, d):
    config = SPADEConfig(**options)
    Config(net=config, task=LayoutTask()).validate()
    pair = build(config)
    assert (count(pair.g.specs()["params"]), count(pair.d.specs()["params"])) == (g, d)


def test_labels_and_edges_by_hand():
    labels = jnp.asarray([[[0, 1], [2, 255]]])
    np.testing.assert_array_equal(
        one_hot(labels, 3, True)[0], [[[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]]]
    )
    np.testing.assert_array_equal(one_hot(labels, 3, False)[0, 1, 1], [0, 0, 0])
    instance = jnp.asarray([[[5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 9]]])
    np.testing.assert_array_equal(instance_edges(instance)[0, ..., 0], [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]])
    config = dataclasses.replace(CONFIG, edges=True)
    with pytest.raises(ValueError, match="net.edges reads the edges of instances"):
        semantics(config, labels)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_what_modulates_a_norm_by_hand(norm):
    """One channel of labels; gamma is 2 and beta 1 where the label is, 0 elsewhere, at the reduced size of the maps."""
    layer: Any = SpadeNorm(dataclasses.replace(CONFIG, norm=norm), None)
    labels = np.zeros((2, 4, 4, 1), "f4")
    labels[:, :2, :2] = 1  # of 2 x 2 px the first; the rest of that square is not read
    labels[:, 1, 1] = 0
    x = np.asarray([[[1, 2], [3, 4]], [[5, 6], [7, 10]]], "f4")[..., None]
    specs = jax.eval_shape(lambda key: layer.init(key, x, labels, True), jax.random.key(0))
    params = jax.tree.map(lambda spec: np.zeros(spec.shape, "f4"), specs["params"])
    params["shared"]["kernel"][1, 1, 0, 0] = 1
    params["gamma"]["kernel"][1, 1, 0, 0], params["beta"]["kernel"][1, 1, 0, 0] = 2, 1
    statistics = {"batch_stats": {"mean": np.zeros(1, "f4"), "var": np.ones(1, "f4")}} if norm == "batch" else {}
    y, _ = layer.apply({"params": params, **statistics}, x, labels, True, mutable=["batch_stats"])
    axes = (0, 1, 2) if norm == "batch" else (1, 2)
    normed = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    at = np.asarray([[1, 0], [0, 0]], "f4")[None, :, :, None]
    np.testing.assert_allclose(y, normed * (1 + 2 * at) + at, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("ups", "size"), [("more", 64), ("most", 128)])
def test_sizes(ups, size):
    """Maps twice as high as wide; `most` ends with half the width; other sizes are refused."""
    net = build(SPADEConfig(size, num_labels=4, width=2, ups=ups, norm="instance")).g
    spec = lambda h, w: jax.ShapeDtypeStruct((1, h, w, 6), jnp.float32)
    outputs = jax.eval_shape(net.activations, net.specs(), spec(2 * size, size))
    assert outputs["stem"].shape == (1, 2, 1, 32)
    assert outputs["to_rgb"].shape == (1, 2 * size, size, 3)
    assert outputs["up4" if ups == "most" else "up3"].shape == (1, 2 * size, size, 1 if ups == "most" else 2)
    assert "batch_stats" not in net.specs()
    with pytest.raises(ValueError, match=f"needs multiples of {size}"):
        jax.eval_shape(net.apply, net.specs(), spec(size, size + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "net.resolution is 48; net.ups 'normal' needs a multiple of 32"),
        ({"resolution": 96, "ups": "most"}, "net.resolution is 96; net.ups 'most' needs a multiple of 128"),
        ({"num_labels": 0}, "net.num_labels is 0"),
        ({"resolution": 128, "ups": "most", "width": 1}, "net.width is 1; net.ups 'most' ends with half"),
    ],
)
def test_what_cannot_be_built(changes, message):
    with pytest.raises(ValueError, match=message):
        Config(net=SPADEConfig(**changes)).validate()
