"""Classes chosen, merged, found by prototypes and fitted; where each class starts from one, both nets are exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import PlanError
from gan_jax.surgery.families.classes import class_steps, fit_classes, nearest_classes
from gan_jax.surgery.ops.basic import OpError
from tests.surgery.pairs import QUICK, grow, latents, make_pair


def test_every_chosen_class_keeps_its_images_and_its_logits():
    """Also where the table's singular value changes, which the gain makes up for."""
    with jax.enable_x64(True):
        chosen = (3, 0, 3, 1, 0)
        old, old_variables = make_pair(0, num_classes=4)
        new, fresh = make_pair(1, num_classes=5, channel_max=7)
        grown = grow(old, old_variables, new, fresh, {"classes": chosen})
        assert grown["d"]["params"]["embed"]["gain"] != old_variables["d"]["params"]["embed"]["gain"]
        z, labels = latents(old, 5), jnp.arange(5)
        images = jax.random.uniform(jax.random.key(0), (5, 16, 16, 1), jnp.float64, minval=-1.0)
        apply = lambda net, v, x, y: jax.jit(lambda v: net.apply(v, x, y)[0], compiler_options=QUICK)(v)
        run = lambda pair, v, y: (apply(pair.g, v["g"], z, y), apply(pair.d, v["d"], images, y))
        for before, after in zip(run(old, old_variables, jnp.array(chosen)), run(new, grown, labels)):
            np.testing.assert_allclose(after, before, atol=1e-10)


def test_merged_and_mixed_classes_are_combinations_of_rows():
    old, old_variables = make_pair(0, num_classes=4)
    new, fresh = make_pair(1, num_classes=3)
    grown = grow(old, old_variables, new, fresh, {"classes": ([0, 2], -1, [0.5, 0.75, 0.0, -0.25])})
    matrix = np.array([[0.5, 0, 0.5, 0], [0.25] * 4, [0.5, 0.75, 0, -0.25]])
    for path in (("g", "b8", "norm0", "scale"), ("d", "embed", "embedding")):
        table, made = old_variables[path[0]]["params"], grown[path[0]]["params"]
        for name in path[1:]:
            table, made = table[name], made[name]
        np.testing.assert_allclose(made, matrix @ np.asarray(table), atol=1e-6)
    with pytest.raises(PlanError, match="of sum 1"):
        grow(old, old_variables, new, fresh, {"classes": (0, 1, [0.5, 0.0, 0.0, 0.0])})
    with pytest.raises(PlanError, match=r"\[0, 4\] is no start for a class: use indices from 0 to 3"):
        grow(old, old_variables, new, fresh, {"classes": (0, 1, [0, 4])})


def test_prototypes():
    rng = np.random.default_rng(0)
    old = rng.standard_normal((4, 9))
    assert nearest_classes(old, old[[2, 0]] + 0.1) == [2, 0]
    wanted = np.array([[0.5, 0.5, 0, 0], [0, 0, -0.5, 1.5]])
    fitted = np.array(fit_classes(old, wanted @ old, ridge=0))
    np.testing.assert_allclose(fitted, wanted, atol=1e-8)
    shy = np.array(fit_classes(old, wanted @ old, ridge=1e6))
    np.testing.assert_allclose(shy, 0.25, atol=1e-3)
    np.testing.assert_allclose(np.array(fit_classes(old, rng.standard_normal((3, 9)))).sum(1), 1.0)
    ((name, args),) = class_steps(fit_classes(old, old), 4, 4)
    assert name == "mix" and len(args["matrix"]) == 4
    ((name, args),) = class_steps(nearest_classes(old, old[::-1]), 4, 4)
    assert (name, args["index"]) == ("gather", [3, 2, 1, 0])
    assert class_steps([0, 1, 2, 3], 4, 4) == []
    with pytest.raises(OpError, match="of the same features"):
        nearest_classes(old, old[:, :3])


def test_a_source_from_before_the_gain_has_the_gain_one():
    old, old_variables = make_pair(0, num_classes=3)
    del old_variables["d"]["params"]["embed"]["gain"]
    new, fresh = make_pair(1, num_classes=3)
    fresh["d"]["params"]["embed"]["gain"] = jnp.float32(7)
    assert grow(old, old_variables, new, fresh)["d"]["params"]["embed"]["gain"] == 1
