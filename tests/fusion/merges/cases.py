"""Small trees for merges: what donors are made of, and how results are compared."""

import jax
import numpy as np
from numpy.testing import assert_allclose

SHAPES = {"b8/conv0/kernel": (3, 3, 2, 4), "b8/conv0/bias": (4,), "head/kernel": (5, 3), "gain": ()}


def nested(flat):
    out = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = out
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    return out


def draw(seed, shapes=SHAPES, scale=1.0, dtype=np.float64):
    """A tree of normal values."""
    rng = np.random.default_rng(seed)
    return nested({path: (scale * rng.normal(size=shape)).astype(dtype) for path, shape in shapes.items()})


def positive(seed, shapes=SHAPES):
    """A tree of squares, as Fisher information is."""
    return jax.tree.map(lambda x: x**2 + 0.1, draw(seed, shapes))


def close(got, want, rtol=1e-12, atol=1e-12):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=rtol, atol=atol), got, want)
    jax.tree.map(lambda a, b: np.testing.assert_equal(np.asarray(a).dtype, np.asarray(b).dtype), got, want)


def leaf(*values):
    """A tree of one leaf."""
    return {"x": np.array(values, np.float64)}
