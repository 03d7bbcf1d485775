"""Small states to save: real structure (optax, typed key, several dtypes), values that follow from a number."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import trees
from gan_jax.train.state import GanState


def make_state(number: int, width: int = 8) -> GanState:
    """A state whose every value depends on `number`."""
    draw = np.random.default_rng(number)
    kernel = lambda *shape: jnp.asarray(draw.standard_normal(shape), jnp.float32)
    g = {
        "params": {"b8": {"conv0": {"kernel": kernel(3, 3, width, width)}}, "to_rgb": {"bias": kernel(1)}},
        "batch_stats": {"b8": {"norm0": {"mean": kernel(width)}}},
    }
    d = {"params": {"b8": {"conv0": {"kernel": kernel(3, 3, 1, width)}}}, "spectral": {"b8": {"u": kernel(width)}}}
    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3, b1=0.5))
    opt_g, opt_d = (jax.tree.map(lambda x: x + x.dtype.type(number), adam.init(n["params"])) for n in (g, d))
    extras = {"ada_p": jnp.asarray(number / 7, jnp.float32), "half": kernel(5).astype(jnp.bfloat16)}
    g_ema = jax.tree.map(lambda x: x * 0.5, g)
    step, images = jnp.asarray(number, jnp.int32), jnp.asarray(number * 100, jnp.int32)
    key = jax.random.fold_in(jax.random.key(1), number)
    return GanState(step, images, {"g": g, "d": d}, {"g": g_ema}, {"g": opt_g, "d": opt_d}, extras, key)


def make_template(**options: int) -> GanState:
    return jax.eval_shape(lambda: make_state(0, **options))


def assert_same(got: GanState, want: GanState) -> None:
    """Bit for bit, structure and dtypes included."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    pairs = trees.flatten(want)
    for path, leaf in trees.flatten(got).items():
        assert isinstance(leaf, jax.Array) and leaf.dtype == pairs[path].dtype, path
        assert not getattr(leaf, "weak_type", False)
        bits = [jax.random.key_data(x) if path == "key" else x for x in (leaf, pairs[path])]
        assert np.asarray(bits[0]).tobytes() == np.asarray(bits[1]).tobytes(), path
