"""Encoders from feature networks: layers that are folded compute what they did without their nonlinearities."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.metrics.networks import NETWORKS
from gan_jax.nets.conv import conv, conv_down, strided
from gan_jax.nets.features.perceptual import VGG16
from gan_jax.nets.features.steps import Conv, Pool, Residual, leaf_specs, run_steps
from gan_jax.surgery import make_plan, pair_notes, pair_rules
from gan_jax.surgery.families.features import ENCODERS, encoder, layers, roles
from gan_jax.surgery.ops import OPS, shape_of_steps
from gan_jax.surgery.ops import run_steps as run_operations
from gan_jax.surgery.ops.basic import OpError
from gan_jax.trees import flatten
from tests.nets.features.random import random_params
from tests.surgery.pairs import pair_of

UNET = UNetConfig(64, 3, 3, depth=6)
RESNET = TranslatorConfig(64, 3, 3, blocks=1)
draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
plain = lambda path, features, size=3, stride=1: Conv(
    path, features, (size, size), stride, (size // 2,) * 2, eps=1e-3, activation=None
)


def fold(steps, params, start, size, channels=3, **more):
    """The kernel of linear layers, by the description that the roles make."""
    described, leaves = [], []

    def describe(step):
        if isinstance(step, Residual):
            return ["add", [describe(inner) for inner in step.steps]]
        if isinstance(step, Pool):
            return ["mean", {"size": step.size, "stride": step.stride, "pad": step.padding}]
        at, layer = len(leaves), flatten(params)
        leaves.extend(np.asarray(layer[f"{step.path}/{name}"]) for name in ("kernel", "scale", "var"))
        names = {"kernel": at, "scale": at + 1, "var": at + 2, "depthwise": step.features is None}
        return ["conv", {**names, "stride": step.stride, "pad": step.padding[0], "eps": step.eps, **more}]

    described = [describe(step) for step in steps]
    args = {"layers": described, "channels": channels, "start": start, "size": size}
    assert shape_of_steps([("fold_convs", args)], [leaf.shape for leaf in leaves])[:3] == (size, size, channels)
    return run_operations([("fold_convs", args)], leaves, None)


def differences(function):
    """What a layer makes of the difference of two images, without what it adds to all."""
    x, y = jnp.asarray(draw(1, 16, 16, 3)), jnp.asarray(draw(2, 16, 16, 3)[:1])
    return (function(x) - function(y))[:, 3:-3, 3:-3]


BLOCK = (plain("expand", 6, 1), plain("depthwise", None), plain("project", 3, 1))
LAST = (plain("expand2", 6, 1), plain("depthwise2", None, stride=2), plain("project2", 4, 1))
CASES = {  # steps of an image of three channels -> the place and the size of all that they read
    "maxima count as means": ((plain("a", 4), Pool("mean", 2, 2), plain("b", 5)), -3, 8),
    "a depthwise layer first": ((plain("a", None), plain("b", 4, 1)), -1, 3),
    "blocks": ((*BLOCK, *LAST), -2, 5),
    "a block that adds to its input": ((Residual(BLOCK), *LAST), -2, 5),
    "one layer": ((plain("a", 4),), -1, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_linear_layers_and_their_fold_are_the_same(name):
    steps, start, size = CASES[name]
    params = random_params(leaf_specs(steps), 0)
    kernel = jnp.asarray(fold(steps, params, start, size))
    halves = any(getattr(step, "stride", 1) == 2 for step in steps)
    once = lambda x: strided(x, kernel, -start) if halves else conv(x, kernel, ((-start, -start),) * 2)
    np.testing.assert_allclose(differences(once), differences(lambda x: run_steps(params, steps, x)), atol=1e-4)


def test_what_lies_outside_goes_to_the_rim_and_flat_maps_stay():
    steps, start, size = CASES["blocks"]
    params = random_params(leaf_specs(steps), 0)
    whole, cut = fold(steps, params, start, size), fold(steps, params, -1, 4)
    np.testing.assert_allclose(cut.sum((0, 1)), whole.sum((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cut[1:3, 1:3], whole[2:4, 2:4], atol=1e-5)
    np.testing.assert_allclose(cut[0, 1], whole[0, 2] + whole[1, 2], atol=1e-5)


def test_a_nonlinearity_is_its_slope_and_a_norm_its_scale():
    """By hand: 2 * 3 / sqrt(3 + 1) * 0.5 = 1.5 of the first layer, times 5 * 1 / sqrt(15 + 1) * 0.5 = 0.625."""
    layer = lambda at: {"kernel": at, "scale": at + 1, "var": at + 2, "eps": 1.0, "stride": 1, "pad": 0, "slope": 0.5}
    args = {"layers": [["conv", layer(0)], ["conv", layer(3)]], "channels": 1, "start": 0, "size": 1}
    values = [np.full(shape, x, np.float32) for shape, x in
              (((1, 1, 1, 1), 2), ((1,), 3), ((1,), 3), ((1, 1, 1, 1), 5), ((1,), 1), ((1,), 15))]  # fmt: skip
    np.testing.assert_allclose(OPS["fold_convs"].apply(values, None, args), [[[[1.5 * 0.625]]]], rtol=1e-6)
    np.testing.assert_allclose(roles(encoder("vgg16"))["g"]["halve1"].gives[0][1]["layers"][0][1]["slope"], 0.5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([["conv", {"kernel": 0}], ["conv", {"kernel": 0}]], r"has 3 channels before a kernel \[3, 3, 2, 3\]"),
        ([["conv", {"kernel": 0, "depthwise": True}]], "has 2 channels before a depthwise kernel"),
        ([["conv", {"kernel": 0, "scale": 1, "var": 1}]], "a scale and a variance for each output"),
        ([["add", [["conv", {"kernel": 0}]]]], "cannot add layers that make 3 channels to the 2"),
        ([["maximum", {}]], "knows no layer 'maximum'"),
    ],
)
def test_layers_that_do_not_follow_each_other_are_refused(layers, message):
    args = {"layers": layers, "channels": 2, "start": 0, "size": 3}
    with pytest.raises(OpError, match=message):
        shape_of_steps([("fold_convs", args)], [(3, 3, 2, 3), (2,)])


def test_groups_of_layers_end_behind_each_halving():
    vgg = tuple(step for stage in VGG16 for step in stage)
    names = [[getattr(step, "path", "pool") for step in group] for group, _ in layers(vgg)]
    assert names == [
        ["conv0"],
        ["conv1", "pool", "conv2"],
        ["conv3", "pool", "conv4"],
        ["conv5", "conv6", "pool", "conv7"],
        ["conv8", "conv9", "pool", "conv10"],
    ]
    mobile = layers(encoder("mobilenetv2").steps)
    assert [width for _, width in mobile] == [3, 32, 24, 32, 64], "channels that each reads"
    ends = [group[-1].path for group, _ in mobile]
    assert ends == ["stem", "block1/project", "block3/project", "block6/project", "block13/project"]


def taken(net, name):
    target, source = {"g": pair_of(net).g.specs()}, {"e": {"params": NETWORKS[name].specs()}}
    rules = pair_rules(net, encoder(name), target, source, roots={"g": "e"})
    notes = pair_notes(net, encoder(name))
    plan = make_plan(target, source, rules, missing="init", unused="drop", shape="adapt", notes=notes)
    return plan, {entry.target: (entry.sources, entry.op) for entry in plan.entries if entry.sources}


def test_which_layers_a_translator_takes_from_vgg16_and_how():
    plan, entries = taken(RESNET, "vgg16")
    leaves = lambda *names: tuple(f"e/params/{name}/kernel" for name in names)
    assert entries == {
        "g/params/stem/conv/kernel": (leaves("conv0"), "fold_convs+mix+pad"),
        "g/params/down1/conv/kernel": (leaves("conv1", "conv2"), "fold_convs+mix+mix"),
        "g/params/down2/conv/kernel": (leaves("conv3", "conv4"), "fold_convs+mix+mix"),
        "g/params/block0/conv0/kernel": (leaves("conv5"), "fold_convs"),
        "g/params/block0/conv1/kernel": (leaves("conv6"), "fold_convs"),
    }
    assert plan.notes == (
        "VGG16 -> Translator: leaves are moved by their role and the function is not preserved; the shares say how much",
    )


def test_which_layers_a_unet_takes_from_mobilenet_and_how():
    _, entries = taken(UNET, "mobilenetv2")
    layer = lambda *names: tuple(f"e/params/{name}/{leaf}" for name in names for leaf in ("kernel", "scale", "var"))
    block = lambda i, *names: layer(*(f"block{i}/{name}" for name in names or ("expand", "depthwise", "project")))
    ops = {"g/params/down1/conv/kernel": "fold_convs+mix+widen"}
    sources = [
        layer("stem"),
        block(0, "depthwise", "project") + block(1),
        block(2) + block(3),
        block(4) + block(5) + block(6),
        tuple(leaf for i in range(7, 14) for leaf in block(i)),
    ]
    targets = [f"g/params/down{i}/conv/kernel" for i in range(1, 6)]
    assert entries == {
        path: (reads, ops.get(path, "fold_convs+widen")) for path, reads in zip(targets, sources, strict=True)
    }


@pytest.mark.parametrize("name", ["vgg16", "mobilenetv2", "efficientnet-lite0"])
def test_the_first_layer_sees_what_it_saw(name):
    """On images in [-1, 1]: as the network's own first layer on the pixels that it reads."""
    network, params = encoder(name), random_params(NETWORKS[name].specs(), 0)
    first = network.steps[0]
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(params).items()}
    linear = (Conv(first.path, first.features, first.size, first.stride, first.padding, first.eps, None),)
    pixels = {"vgg16": lambda x: x}.get(name, lambda x: NETWORKS[name].normalise((x + 1) * 127.5, ""))
    scale = jnp.asarray(network.scale if name == "vgg16" else (1.0,) * 3)[None, None, None]
    wanted = differences(lambda x: run_steps(params, linear, pixels(x) / scale))
    role = "read" if first.stride == 1 else "read_strided"
    part = roles(network)["g"][role]
    kernel = run_operations(part.gives, [leaves[path.removeprefix("params/")] for path in part.reads], None)
    layer = conv_down if first.stride == 2 else conv
    np.testing.assert_allclose(differences(lambda x: layer(x, jnp.asarray(kernel))), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_role_has_its_leaves(name):
    shapes = {f"params/{path}": leaf.shape for path, leaf in flatten(NETWORKS[name].specs()).items()}
    for role, part in roles(encoder(name))["g"].items():
        shape = shape_of_steps(part.gives, [shapes[path] for path in part.reads])
        assert shape[:2] in ((3, 3), (4, 4)) and len(shape) == 4, role


def test_unknown_networks_are_named_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no feature network 'vgg61'.*did you mean 'vgg19' or 'vgg16'.*there are vgg16, vgg19, mob"
    ):
        encoder("vgg61")
