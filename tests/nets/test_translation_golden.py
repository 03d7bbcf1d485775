"""U-Net, ResNets, PatchGANs and PatchNCE as the published code computes them: outputs, statistics, all gradients."""

from __future__ import annotations

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import TranslatorConfig, UNetConfig
from gan_jax.interop.layouts.translation import (
    IGNORED,
    constants,
    find,
    mlp_links,
)
from gan_jax.interop.links import export_tensors
from gan_jax.losses import patch_nce
from gan_jax.nets import build
from gan_jax.nets.conv import upsample_linear
from gan_jax.nets.patch_features import make_patch_mlp, sample_patches
from gan_jax.nets.resample import halve_smoothly
from gan_jax.nets.translator import NCE_LAYERS, feature_widths
from gan_jax.trees import flatten, unflatten
from tests.golden import close, golden, imported, nhwc, there_and_back, under

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
PIX = {"norm": "batch", "d_width": 8}
CYCLE = {"width": 8, "d_width": 8}
NETWORKS = {  # file -> (whether it is of G, configuration)
    "unet_128": ("g", UNetConfig(128, width=8, depth=7, norm="batch")),
    "resnet_6blocks": ("g", TranslatorConfig(128, width=8, blocks=6)),
    "resnet_9blocks_affine": ("g", TranslatorConfig(width=8, affine=True)),
    "cut_resnet_9blocks": ("g", TranslatorConfig(width=8, antialias=True, init="xavier")),
    "patchgan_70_batch": ("d", TranslatorConfig(norm="batch", d_width=8, d_condition=True)),
    "patchgan_70_instance": ("d", TranslatorConfig(d_width=8)),
    "cut_patchgan": ("d", TranslatorConfig(d_width=8, antialias=True, init="xavier")),
    "pixel_d_batch": ("d", TranslatorConfig(norm="batch", d_width=8, d_kind="pixel", d_condition=True)),
    "pixel_d_instance": ("d", TranslatorConfig(d_width=8, d_kind="pixel", d_condition=True)),
}


def close_gradients(gradients, arrays, meta, case, links):
    """Each gradient of the file: whole or every 7th element, and those that are rounding noise are small."""
    tensors = export_tensors(flatten({"params": gradients}), {n: l for n, l in links.items() if "params" in l.path})
    whole, thin = under(arrays, f"grad/{case}/"), under(arrays, f"grad_every7/{case}/")
    zero = meta["zero_grad"].get(case, [])
    largest = max(np.abs(g).max() for g in (*whole.values(), *thin.values()))
    assert {*whole, *thin} >= {*zero}
    for name, gradient in tensors.items():
        if name in zero:
            assert np.abs(gradient).max() < 1e-5 * largest, name
        elif name in thin:
            close(gradient.ravel()[::7], thin[name], 1e-3, name)
        elif name in whole:
            close(gradient, whole[name], 1e-3, name)
        else:
            assert not gradient.any(), name
    assert tensors.keys() >= {*whole, *thin}


def close_input_gradient(gradient, arrays, case, name="x"):
    """All but one element in a thousand: a ReLU's input within rounding of zero moves a few pixels."""
    theirs = np.asarray(gradient).transpose(0, 3, 1, 2)
    thin = f"grad_in_every7/{case}/{name}"
    ours, expected = (
        (theirs.ravel()[::7], arrays[thin]) if thin in arrays else (theirs, arrays[f"grad_in/{case}/{name}"])
    )
    off = np.abs(ours - expected) > 1e-3 * np.abs(expected).max()
    assert off.mean() <= 1e-3, (case, name, off.mean())


def pulled_back(function, x, cot):
    """`(function(x), its gradient for the cotangent)`."""
    y, back = jax.vjp(function, x)
    return y, back(cot)[0]


@functools.cache
def network(name):
    """(arrays, meta, network, variables, links) of a file, whose configuration is read from its shapes."""
    arrays = golden(f"{name}.npz")
    kind, expected = NETWORKS[name]
    tensors = under(arrays, "net/") or under(arrays, f"{kind.upper()}/")
    foreign = find(tensors)
    root = "g_ema" if kind == "g" else "d"
    assert foreign.config == expected and [*foreign.parts] == [root]
    pair = build(foreign.config)
    net, part = getattr(pair, kind), foreign.parts[root]
    variables = imported(dict(part.tensors), part.links, IGNORED, net.specs())
    written = export_tensors(flatten(variables), part.links)
    prefix = "netG." if kind == "g" else "netD."
    written |= {n.removeprefix(prefix): v for n, v in constants(foreign.config).items() if n.startswith(prefix)}
    assert written.keys() == tensors.keys()
    for key, values in written.items():
        if not key.endswith("num_batches_tracked"):
            assert_allclose(values, tensors[key], rtol=1e-6, err_msg=key)
    return arrays, json.loads(str(arrays["meta"])), net, variables, part.links


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_statistics_and_gradients(name):
    arrays, meta, net, variables, links = network(name)
    x, cot = nhwc(arrays["in/x"]), nhwc(arrays["in/cot"])
    rest = {k: v for k, v in variables.items() if k != "params"}

    @functools.partial(jax.jit, static_argnums=2, compiler_options=QUICK)
    def run(params, x, train):
        def loss(params, x):
            y, after = net.apply({**rest, "params": params}, x, train=train)
            return (y * cot).sum(), (y, after)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    for case in [case for case in meta["cases"] if case != "feats"]:
        (gradients, of_x), (y, after) = run(variables["params"], x, case == "train")
        close(y, nhwc(arrays[f"out/{case}/y"]), 1e-4, case)
        close_gradients(gradients, arrays, meta, case, links)
        close_input_gradient(of_x, arrays, case)
        expected = {links[n].path: v for n, v in under(arrays, f"after/{case}/").items() if n in links}
        assert bool(expected) == ("batch" in name or name == "unet_128") or case != "train"
        for path, leaf in flatten(after).items():
            if expected:
                close(leaf, expected[path], 1e-4, path)


def test_features_of_the_encoder():
    arrays, _, net, variables, _ = network("cut_resnet_9blocks")
    x = nhwc(arrays["in/x"])[:1]
    maps = jax.jit(net.parts["features"], compiler_options=QUICK)(variables, x)
    for layer, features in zip(NCE_LAYERS, maps, strict=True):
        close(features, nhwc(arrays[f"out/feats/feat_{layer}"]), 1e-4, str(layer))


@pytest.mark.parametrize("case", ["8x8", "7x10"])
def test_filters(case):
    arrays = golden("cut_blur.npz")
    x = nhwc(arrays[f"in/{case}/x"])
    for name, function in (("down", halve_smoothly), ("up", upsample_linear)):
        y, gradient = jax.jit(functools.partial(pulled_back, function))(x, nhwc(arrays[f"in/{case}/cot_{name}"]))
        close(y, nhwc(arrays[f"out/{case}/{name}"]), 1e-5, name)
        close(gradient, nhwc(arrays[f"grad_in/{case}/x_{name}"]), 1e-5, name)


@pytest.fixture(scope="module")
def nce():
    arrays = golden("cut_nce.npz")
    foreign = find(under(arrays, "G/"))
    g, links = build(foreign.config).g, foreign.parts["g_ema"].links
    params = imported(dict(foreign.parts["g_ema"].tensors), links, IGNORED, g.specs())["params"]
    widths = feature_widths(g, foreign.config)
    assert widths == (3, 16, 32, 32, 32)
    f = make_patch_mlp(widths, 64)
    f_state = under(arrays, "F/")
    there_and_back(f_state, mlp_links(5), {}, f.specs())
    mlp = imported(f_state, mlp_links(5), {}, f.specs())["params"]
    return arrays, g, params, links, f, mlp


@pytest.mark.parametrize("case", ["own_image", "all_negatives"])
def test_patch_nce(nce, case):
    arrays, g, params, links, f, mlp = nce
    meta = json.loads(str(arrays["meta"]))
    ids = [arrays[f"in/patch_ids_{layer}"].astype(np.int32) for layer in NCE_LAYERS]

    moved = dict(zip(NCE_LAYERS[1:], ("down1/conv", "down2/conv", "block0", "block4")))  # gradients there are asked for

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(g_params, f_params, source, target):
        encode = lambda image, changes=None: g.parts["features"]({"params": g_params}, image, changes=changes)
        keys = encode(source)

        def loss(f_params, g_params, target, moves):
            changes = {moved[layer]: (lambda y, move=move: y + move) for layer, move in moves.items()}
            queries = g.parts["features"]({"params": g_params}, target, changes=changes)
            pool = lambda maps: f.apply({"params": f_params}, [*map(sample_patches, maps, ids)])[0]
            q, k = pool(queries), pool(keys)
            losses = [patch_nce(a, b, 0.07, case == "all_negatives") for a, b in zip(q, k)]
            return sum(values.mean() for values in losses) / len(losses), (q, k, losses, queries)

        moves = {layer: jnp.zeros_like(y) for layer, y in zip(NCE_LAYERS, keys) if layer in moved}
        (value, aux), gradients = jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(
            f_params, g_params, target, moves
        )
        return value, *aux, keys, gradients

    value, q, k, losses, queries, keys, (of_f, of_g, of_target, of_features) = run(
        params, mlp, nhwc(arrays["in/src"]), nhwc(arrays["in/tgt"])
    )
    close(value, arrays[f"out/{case}/loss"], 1e-4)
    for i, layer in enumerate(NCE_LAYERS):
        close(losses[i].ravel(), arrays[f"out/{case}/nce_{layer}"], 1e-4, str(layer))
        for name, vectors in (("q", q), ("k", k)):
            if f"out/{case}/pool_{name}_{layer}" in arrays:
                close(vectors[i].reshape(-1, 64), arrays[f"out/{case}/pool_{name}_{layer}"], 1e-4, f"{name}{layer}")
        for name, maps in (("q", queries), ("k", keys)):
            if f"in/feat_{name}_{layer}" in arrays:
                close(maps[i], nhwc(arrays[f"in/feat_{name}_{layer}"]), 1e-4, f"{name}{layer}")
        if layer in moved:
            close_input_gradient(of_features[layer], arrays, case, f"feat_q_{layer}")
    close_input_gradient(of_target, arrays, case, "tgt")
    named = {f"G.{n}": link for n, link in links.items()} | {f"F.{n}": link for n, link in mlp_links(5).items()}
    named = {n: type(l)(l.path.replace("params/", f"params/{n[0]}/"), l.kind) for n, l in named.items()}
    close_gradients({"G": of_g, "F": of_f}, arrays, meta, case, named)


# ----------------------------------------------------------------------------------------------------------------------
# Networks at their published size, by shapes alone.


def count(net):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(net.specs()["params"]))


@pytest.mark.parametrize(
    ("net", "config", "parameters"),
    [
        ("g", UNetConfig(), 54_413_955),
        ("g", UNetConfig(norm="instance"), 54_409_603),
        ("g", UNetConfig(128, depth=7), 41_828_995),
        ("g", TranslatorConfig(), 11_378_179),
        ("g", TranslatorConfig(norm="batch"), 11_383_427),
        ("g", TranslatorConfig(affine=True), 11_388_675),
        ("g", TranslatorConfig(blocks=6), 7_837_699),
        ("g", TranslatorConfig(antialias=True), 11_378_179),
        ("d", UNetConfig(), 2_768_705),
        ("d", UNetConfig(norm="instance"), 2_767_809),
        ("d", TranslatorConfig(norm="batch"), 2_765_633),
        ("d", TranslatorConfig(), 2_764_737),
        ("d", TranslatorConfig(antialias=True), 2_764_737),
        ("d", UNetConfig(d_kind="pixel"), 9_024),
        ("d", UNetConfig(d_kind="pixel", d_norm="instance"), 8_897),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:60] if not isinstance(value, str) else value,
)
def test_numbers_of_parameters(net, config, parameters):
    assert count(getattr(build(config), net)) == parameters


def test_number_of_parameters_of_the_patch_mlp():
    assert count(make_patch_mlp((3, 128, 256, 256, 256))) == 560_384


@pytest.mark.parametrize(("antialias", "field"), [(False, 70), (True, 84)])
def test_what_a_logit_sees(antialias, field):
    """Of 256 px there are 30 x 30 logits; the gradient of one has this support."""
    d = build(TranslatorConfig(d_width=1, norm="none", channels=1, antialias=antialias)).d
    variables = unflatten({path: np.ones(leaf.shape, np.float32) for path, leaf in flatten(d.specs()).items()})
    image, of_one = np.ones((1, 256, 256, 1), np.float32), np.zeros((1, 30, 30, 1), np.float32)
    of_one[0, 15, 15] = 1.0
    gradient = jax.jit(lambda x, cot: pulled_back(lambda x: d.apply(variables, x)[0], x, cot))(image, of_one)[1]
    rows, columns = np.nonzero(np.asarray(gradient)[0, :, :, 0])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (field, field)
