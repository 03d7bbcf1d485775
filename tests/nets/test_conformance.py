"""What every pair promises, for every family, resolution and compute dtype; leaf paths are public API.

The rows are in `families.py`. After a change that is meant: `python -m tests.nets.test_conformance` rewrites the golden
list.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import NETS
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.nets.families import CASES, FAMILIES, TEXTS, drawn, inputs, pair_of, seen, text_pair

QUICKLY = [name for name, row in FAMILIES.items() if row.quick]
GOLDEN = Path(__file__).parent / "golden" / "leaves.json"
SLOW = pytest.mark.slow
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run


def leaves(family: str, resolution: int) -> dict[str, list[int]]:
    pair = pair_of(family, resolution) if family in FAMILIES else text_pair(family)
    return {path: list(spec.shape) for path, spec in flatten({"g": pair.g.specs(), "d": pair.d.specs()}).items()}


@functools.cache
def started(family: str, resolution: int) -> tuple[dict, dict]:
    """Variables of G and D as they begin, which are float32 for any compute dtype; drawing them takes long to compile."""
    pair = pair_of(family, resolution)
    draw = jax.jit(lambda g, d: (pair.g.init(g), pair.d.init(d)), compiler_options=QUICK)
    return jax.tree.map(np.asarray, draw(jax.random.key(0), jax.random.key(1)))


def test_every_family_is_here():
    """Those of images in `FAMILIES`, those of texts in `TEXTS`, for `test_texts.py`."""
    images = {type(family.config) for family in FAMILIES.values()}
    assert images == {cls for cls in NETS.values() if not cls.writes}
    assert {type(config) for config in TEXTS.values()} == {cls for cls in NETS.values() if cls.writes}


NAMES = {f"{family}-{resolution}": (family, resolution) for family, resolution in CASES} | {n: (n, 0) for n in TEXTS}


@pytest.mark.parametrize("name", NAMES)
def test_leaf_paths_and_shapes_are_the_golden_ones(name):
    assert leaves(*NAMES[name]) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize(
    ("family", "resolution", "dtype"),
    [
        pytest.param(*row, dtype, marks=() if (dtype, row[1]) == ("bfloat16", 16) and FAMILIES[row[0]].quick else SLOW)
        for row in CASES
        for dtype in ("float32", "bfloat16")
    ],
)
def test_outputs(family, resolution, dtype):
    """Shapes and dtypes in both modes, without running anything; variables are float32 for any compute dtype."""
    pair = pair_of(family, resolution, dtype)
    for net in (pair.g, pair.d):
        assert {leaf.dtype for leaf in jax.tree.leaves(net.specs())} == {jnp.dtype("float32")}
    z, images, labels = inputs(pair.config)
    shown = seen(pair.config, z, images)
    for train in (False, True):
        made, g_collections = jax.eval_shape(lambda v, t=train: pair.g.apply(v, z, labels, t), pair.g.specs())
        logits, d_collections = jax.eval_shape(lambda v, t=train: pair.d.apply(v, shown, labels, t), pair.d.specs())
        assert (made.shape, made.dtype) == (images.shape, jnp.float32)
        ranks = (2, 4) if pair.config.translates else (1,)  # logits of patches, `[N, P]` or `[N, h, w, 1]`
        assert (logits.shape[0], logits.size > 3, logits.dtype) == (4, True, jnp.float32)
        assert len(logits.shape) in ranks
        for net, collections in ((pair.g, g_collections), (pair.d, d_collections)):
            expected = {k: v for k, v in net.specs().items() if k != "params"}
            assert jax.tree.map(lambda x: (x.shape, x.dtype), collections) == jax.tree.map(
                lambda x: (x.shape, x.dtype), expected
            )


# A step of SPADE is compiled by tests/tasks/test_layout.py.
@pytest.mark.parametrize("family", default_rows(QUICKLY, [name for name in QUICKLY if name != "spade"]))
def test_a_training_pass_of_what_trained_networks_hold(family):
    resolution, dtype = FAMILIES[family].quick
    pair = pair_of(family, resolution, dtype)
    assert_training_passes(family, pair, [drawn(net, "stylegan2" in family) for net in (pair.g, pair.d)])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "resolution"), CASES)
def test_a_training_pass_from_the_start(family, resolution, dtype):
    variables = started(family, resolution)
    if FAMILIES[family].sleeps:
        variables = jax.tree.map(lambda leaf: leaf if (leaf != 0).any() else np.full_like(leaf, 0.1), variables)
    assert_training_passes(family, pair_of(family, resolution, dtype), variables)


def assert_training_passes(family, pair, variables):
    """Range, liveliness, and a finite gradient in every leaf, through G and D together."""
    z, images, labels = inputs(pair.config)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(g, d):
        def loss(params):
            made, _ = pair.g.apply({**g, "params": params["g"]}, z, labels, True)
            both = jnp.concatenate(
                [seen(pair.config, z, y) for y in (made, images)]
            )  # one pass of D is compiled in less time than two
            twice = None if labels is None else jnp.concatenate([labels, labels])
            fake, real = jnp.split(pair.d.apply({**d, "params": params["d"]}, both, twice, True)[0], 2)
            # Not tanh, whose slope is 0 at the large logits of a sum over many pixels.
            return jnp.arcsinh(fake).sum() - 2 * jnp.arcsinh(real).sum(), (made, real)

        (_, outputs), gradients = jax.value_and_grad(loss, has_aux=True)({"g": g["params"], "d": d["params"]})
        return outputs, gradients

    (made, logits), gradients = run(*variables)
    assert np.asarray(made).std() > 1e-3
    assert np.abs(made).max() <= 1 or not FAMILIES[family].bounded
    assert np.asarray(logits).std() > 1e-4, "D tells images apart"
    for path, gradient in flatten(gradients).items():
        assert np.isfinite(gradient).all() and (np.abs(gradient) > 0).any(), path


@pytest.mark.parametrize("family", [pytest.param(name, marks=() if name == "mlp" else SLOW) for name in FAMILIES])
def test_compiled_is_eager(family):
    pair = pair_of(family, FAMILIES[family].resolutions[0])
    z, images, labels = inputs(pair.config, 2)
    for net, x in zip((pair.g, pair.d), (z, seen(pair.config, z, images))):
        variables = drawn(net, "stylegan2" in family)
        eager, fast = net.apply(variables, x, labels)[0], jax.jit(net.apply)(variables, x, labels)[0]
        np.testing.assert_allclose(fast, eager, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_d_are_its_layers_from_the_image_upwards(family):
    row, pair = FAMILIES[family], pair_of(family, 32)
    assert pair.d_blocks == row.d_blocks
    names = {name for name in pair.d.specs()["params"] if not name.startswith("norm")}
    assert names == {*row.d_blocks, *row.d_rest}
    sizes = [int(name[1:].partition("_")[0]) for name in row.d_blocks if name[0] == "b"]
    assert sizes == sorted(sizes, reverse=True)
    assert pair.d_head == tuple(sorted(row.d_rest, reverse=True)) or "stylegan2" in family
    params = pair.d.specs()["params"]
    assert all(functools.reduce(dict.__getitem__, name.split("/"), params) for name in pair.d_head)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_g_are_its_layers_from_the_latents_upwards(family):
    row, pair = FAMILIES[family], pair_of(family, 32)
    assert pair.g_blocks == row.g_blocks
    tree = pair.g.specs()["params"]
    synthesis = {f"synthesis/{name}" for name in tree.get("synthesis", {})}
    names = {name for name in {*tree, *synthesis} - {"synthesis"} if "norm" not in name}
    assert names == {*row.g_blocks, *row.g_rest}


if __name__ == "__main__":
    golden = {name: leaves(*case) for name, case in NAMES.items()}
    lines = [
        f'"{name}": {{\n' + ",\n".join(f'  "{path}": {json.dumps(shape)}' for path, shape in paths.items()) + "\n}"
        for name, paths in golden.items()
    ]
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
