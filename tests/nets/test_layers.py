"""Spectral norm against the singular values, batch norm against NumPy, on one device and on several."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nets.layers import MOMENTUM, Conv, Dense, Embed, Norm


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def top_singular_value(kernel) -> float:
    return np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


LAYERS = {
    "conv": (Conv(features=5, spectral=True), draw(2, 4, 4, 3)),
    "pointwise": (Conv(features=5, size=1, spectral=True), draw(2, 4, 4, 3)),
    "dense": (Dense(features=5, spectral=True), draw(2, 7)),
    "embed": (Embed(num_classes=4, features=5, spectral=True), jnp.array([0, 3], jnp.int32)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_spectral_norm_tends_to_the_largest_singular_value(name):
    layer, x = LAYERS[name]
    variables = dict(layer.init(jax.random.key(0), x))
    (kernel,) = (v for k, v in variables["params"].items() if k != "bias")
    step = jax.jit(lambda v: layer.apply(v, x, train=True, mutable=["spectral"])[1])
    for _ in range(60):
        variables = {**variables, **step(variables)}
    u = np.asarray(variables["spectral"]["u"])
    np.testing.assert_allclose(np.linalg.norm(u), 1.0, rtol=1e-5)
    plain = layer.clone(spectral=False).apply({"params": variables["params"]}, x)
    np.testing.assert_allclose(layer.apply(variables, x), plain / top_singular_value(kernel), rtol=2e-4, atol=1e-5)


def test_u_changes_in_training_only_and_one_iteration_at_a_time():
    layer, x = LAYERS["dense"]
    variables = layer.init(jax.random.key(0), x)
    u, kernel = (np.asarray(variables[c][n], np.float64) for c, n in (("spectral", "u"), ("params", "kernel")))
    _, kept = layer.apply(variables, x, train=False, mutable=["spectral"])
    np.testing.assert_array_equal(kept["spectral"]["u"], variables["spectral"]["u"])
    out, updated = layer.apply(variables, x, train=True, mutable=["spectral"])
    v = kernel @ u / np.linalg.norm(kernel @ u)
    right = v @ kernel / np.linalg.norm(v @ kernel)
    np.testing.assert_allclose(updated["spectral"]["u"], right, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out, np.asarray(x) @ kernel / (v @ kernel @ right), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.apply(variables, x), np.asarray(x) @ kernel / (v @ kernel @ u), rtol=1e-4)


def test_gradient_goes_through_the_singular_value_but_not_through_its_vectors():
    """At the fixed point, y = x k / s has no slope along k itself: scaling the kernel changes nothing."""
    layer, x = LAYERS["dense"]
    variables = dict(layer.init(jax.random.key(0), x))
    step = jax.jit(lambda v: layer.apply(v, x, train=True, mutable=["spectral"])[1])
    for _ in range(60):
        variables |= step(variables)
    loss = lambda params: jnp.sin(layer.apply({**variables, "params": params}, x)).sum()
    slope = jax.jit(jax.grad(loss))(variables["params"])["kernel"]
    assert np.abs(slope).max() > 1e-2
    np.testing.assert_allclose((slope * variables["params"]["kernel"]).sum(), 0.0, atol=1e-4)


def test_singular_vectors_are_constants_of_the_gradient_while_they_still_move():
    """Away from the fixed point a gradient through the vectors is another one."""
    layer, x = LAYERS["dense"]
    variables = layer.init(jax.random.key(0), x)
    kernel, u = (np.asarray(variables[c][n]) for c, n in (("params", "kernel"), ("spectral", "u")))
    v = kernel @ u / np.linalg.norm(kernel @ u)
    right = v @ kernel / np.linalg.norm(v @ kernel)

    def loss(kernel):
        params = {**variables["params"], "kernel": kernel}
        return jnp.sin(layer.apply({**variables, "params": params}, x, train=True, mutable=["spectral"])[0]).sum()

    by_hand = lambda kernel: jnp.sin(x @ kernel / (v @ kernel @ right)).sum()
    slopes = [jax.jit(jax.grad(of))(kernel) for of in (loss, by_hand)]
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-5)


def test_layers_against_numpy():
    x, dense = draw(3, 4), Dense(features=2)
    params = {"kernel": draw(4, 2, seed=1), "bias": jnp.array([1.0, -2.0])}
    np.testing.assert_allclose(
        dense.apply({"params": params}, x), x @ params["kernel"] + np.array([[1, -2]], np.float32), rtol=1e-5, atol=1e-6
    )
    table = draw(4, 3, seed=2)
    embed = Embed(num_classes=4, features=3)
    np.testing.assert_array_equal(
        embed.apply({"params": {"embedding": table}}, jnp.array([3, 0, 3], jnp.int32)), table[np.array([3, 0, 3])]
    )


def test_a_gain_of_zero_silences_a_table_and_still_learns():
    layer, labels = Embed(num_classes=4, features=3, spectral=True, gain=True), jnp.array([3, 1], jnp.int32)
    variables = layer.init(jax.random.key(0), labels)
    np.testing.assert_array_equal(variables["params"]["gain"], 1.0)
    plain = layer.clone(gain=False).apply(
        {**variables, "params": {"embedding": variables["params"]["embedding"]}}, labels
    )
    np.testing.assert_array_equal(layer.apply(variables, labels), plain)
    silent = {**variables["params"], "gain": jnp.float32(0)}
    total = lambda p: layer.apply({**variables, "params": p}, labels).sum()
    out, slope = jax.jit(jax.value_and_grad(total))(silent)
    assert out == 0 and np.isclose(slope["gain"], plain.sum(), rtol=1e-5) and np.abs(slope["gain"]) > 1e-2


@pytest.mark.parametrize(
    "layer", [Conv(features=2, dtype="bfloat16"), Conv(features=2, spectral=True, dtype="bfloat16")]
)
def test_half_precision_computes_with_wide_parameters(layer):
    variables = layer.init(jax.random.key(0), draw(1, 4, 4, 3))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert layer.apply(variables, draw(1, 4, 4, 3)).dtype == jnp.bfloat16


def norm_variables(features: int) -> dict:
    return {
        "params": {"scale": jnp.linspace(0.5, 1.5, features), "bias": jnp.linspace(-1, 1, features)},
        "batch_stats": {"mean": jnp.full(features, 0.25), "var": jnp.full(features, 4.0)},
    }


def test_norm_of_a_batch_and_its_running_average():
    x, variables = 3 + 2 * draw(4, 5, 5, 3), norm_variables(3)
    mean, var = np.asarray(x).mean((0, 1, 2)), np.asarray(x).var((0, 1, 2))
    scale, bias = (np.asarray(variables["params"][k]) for k in ("scale", "bias"))
    spread = lambda v: np.asarray(v)[None, None, None, :]
    out, updated = jax.jit(lambda v, x: Norm().apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    expected = (x - spread(mean)) / spread(np.sqrt(var + 1e-5)) * spread(scale) + spread(bias)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], MOMENTUM * 0.25 + (1 - MOMENTUM) * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], MOMENTUM * 4 + (1 - MOMENTUM) * var, rtol=1e-5)
    out = jax.jit(Norm().apply)(variables, x)
    np.testing.assert_allclose(out, (x - 0.25) / np.sqrt(4 + 1e-5) * spread(scale) + spread(bias), rtol=1e-4, atol=1e-5)


def test_norm_of_every_class():
    x, labels = draw(4, 2, 2, 3), jnp.array([1, 0, 1, 2], jnp.int32)
    layer = Norm(num_classes=3)
    variables = layer.init(jax.random.key(0), x, labels, train=True)
    assert variables["params"]["scale"].shape == (3, 3)
    params = {"scale": draw(3, 3, seed=1), "bias": draw(3, 3, seed=2)}
    out, plain = jax.jit(layer.apply)({**variables, "params": params}, x, labels), jax.jit(Norm().apply)
    for i, c in enumerate(np.asarray(labels)):
        alone = {**variables, "params": {k: v[c] for k, v in params.items()}}
        np.testing.assert_allclose(out[i], plain(alone, x[i : i + 1])[0], rtol=1e-5, atol=1e-6)


def test_norm_over_devices_is_that_of_the_whole_batch():
    """Values, running statistics and gradients; without the axis name each device would go its own way."""
    x, variables = 1 + draw(8, 3, 3, 2), norm_variables(2)
    weight = draw(8, 3, 3, 2, seed=1)

    def objective(axis_name, variables, x, weight):
        out, updated = Norm(axis_name=axis_name).apply(variables, x, train=True, mutable=["batch_stats"])
        value = (out * weight).sum()
        return value if axis_name is None else jax.lax.psum(value, axis_name), (out, updated)

    alone = jax.jit(jax.grad(functools.partial(objective, None), argnums=1, has_aux=True))
    whole, (out, updated) = alone(variables, x, weight)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("batch",))
    spec, everywhere = jax.sharding.PartitionSpec("batch"), jax.sharding.PartitionSpec()
    apply = lambda axis_name: jax.jit(
        jax.shard_map(
            lambda v, x, w: objective(axis_name, v, x, w)[1],
            mesh=mesh,
            in_specs=(everywhere, spec, spec),
            out_specs=(spec, everywhere),
            check_vma=False,
        )
    )
    parts, statistics = apply("batch")(variables, x, weight)
    np.testing.assert_allclose(parts, out, rtol=1e-5, atol=1e-5)
    for name, value in updated["batch_stats"].items():
        np.testing.assert_allclose(statistics["batch_stats"][name], value, rtol=1e-5)
    alone, _ = apply(None)(variables, x, weight)
    assert np.abs(alone - out).max() > 1e-2, "the same test sees batches that are not synchronised"
    gradient = jax.jit(
        jax.shard_map(
            jax.grad(lambda v, x, w: objective("batch", v, x, w)[0], argnums=1),
            mesh=mesh,
            in_specs=(everywhere, spec, spec),
            out_specs=spec,
        )
    )(variables, x, weight)
    np.testing.assert_allclose(gradient, whole, rtol=1e-3, atol=1e-4)


def test_norm_keeps_wide_statistics_of_half_precision():
    x = (100 + draw(16, 8, 8, 2)).astype(jnp.bfloat16)
    out, updated = Norm().apply(norm_variables(2), x, train=True, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16 and updated["batch_stats"]["mean"].dtype == jnp.float32
    mean = np.asarray(x, np.float64).mean((0, 1, 2))
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.225 + 0.1 * mean, rtol=1e-4)


def far_channels() -> np.ndarray:
    """Means of 0, 3, 10 and 3,000 beside deviations of 1, 0.01, 0.003 and 1."""
    rng, scale, mean = np.random.default_rng(0), np.float32([1, 0.01, 0.003, 1]), np.float32([0, 3, 10, 3000])
    parts = [rng.standard_normal((64, 16, 16, channels)) for channels in (3, 1)]
    return np.concatenate(parts, axis=-1).astype(np.float32) * scale + mean


def test_norm_of_channels_whose_mean_is_far_beyond_their_deviation():
    """Values, running statistics and gradients against float64."""
    x, weight = far_channels(), np.asarray(draw(64, 16, 16, 4, seed=1))
    wide = x.astype(np.float64)
    mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    expected = (wide - mean) / np.sqrt(var + 1e-5)
    variables = Norm().init(jax.random.key(0), x)

    def objective(x):
        out, updated = Norm().apply(variables, x, train=True, mutable=["batch_stats"])
        return (out * weight).sum(), (out, updated["batch_stats"])

    slope, (out, updated) = jax.jit(jax.grad(objective, has_aux=True))(x)
    np.testing.assert_allclose(out.std((0, 1, 2)), expected.std((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(out.std((0, 1, 2))[2], 0.6924, atol=1e-4)
    np.testing.assert_allclose(out, expected, atol=2e-3)  # a digit of float32 is 2.4e-4 at 3,000
    np.testing.assert_allclose(updated["mean"], (1 - MOMENTUM) * mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(updated["var"], MOMENTUM + (1 - MOMENTUM) * var, rtol=1e-5)
    inner = lambda a: (a * expected).mean((0, 1, 2))
    whole = (weight - weight.mean((0, 1, 2)) - expected * inner(weight)) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(slope, whole, rtol=1e-3, atol=1e-3 / np.sqrt(var.min()))


def test_norm_of_far_channels_over_devices_and_over_a_population():
    x = far_channels()
    x[32:] += np.float32([1, 0.01, 0.003, 1])  # halves of unlike means: the variance between devices counts
    wide = x.astype(np.float64)
    expected = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)
    variables = Norm().init(jax.random.key(0), x)
    apply = lambda v, x: Norm(axis_name="batch").apply(v, x, train=True, mutable=["batch_stats"])[0]
    mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("batch",)), jax.sharding.PartitionSpec("batch")
    parts = jax.jit(jax.shard_map(apply, mesh=mesh, in_specs=(jax.sharding.PartitionSpec(), spec), out_specs=spec))
    np.testing.assert_allclose(parts(variables, x), expected, atol=2e-3)
    several = jax.jit(jax.vmap(lambda x: Norm().apply(variables, x, train=True, mutable=["batch_stats"])[0]))
    np.testing.assert_allclose(several(np.stack([x, 2 * x]))[0], expected, atol=2e-3)
