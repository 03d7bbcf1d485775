"""Growth by copies, deeper, and with larger kernels; each broken on purpose is seen by the same test."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import Action, PlanError, make_plan, pair_rules
from gan_jax.surgery.families import layouts
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.ops.width import copies, duplicate, duplicate_shape
from gan_jax.trees import Rule, flatten, specs
from tests.surgery.pairs import QUICK, SMALL_DCGAN, compare, grow, make_pair
from tests.surgery.test_layout import permute

COPIES = {"width": {"g": "net2wider"}}


def exact(old, old_variables, new, grown, modes=(False, True), nets="gd"):
    for train in modes:
        for name, difference in compare(old, old_variables, new, grown, train, nets).items():
            assert difference.scale > 0.1, "the probes excite the net"
            assert difference.largest <= 1e-10, (name, train, str(difference))


def assert_found_again(config, **wider):
    """Channels that growth added are dropped again by importance, wherever they stand; not by their order."""
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, config)
        new, fresh = make_pair(1, config, **wider)
        grown, layout = grow(old, old_variables, new, fresh), layouts(new.config)
        mixed = {name: permute(layout[name], grown[name], 7) for name in ("g", "d")}
        fresh = make_pair(2, config)[1]
        exact(old, old_variables, old, grow(new, mixed, old, fresh, {"narrow": "strongest"}), (False,))
        worse = compare(old, old_variables, old, grow(new, mixed, old, fresh), False)
        assert worse["g"].largest > 1e-3 and worse["d"].largest > 1e-3, "the leading channels are others now"


def test_copies_preserve_every_net_without_spectral_norm():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0)
        new, fresh = make_pair(1, channel_max=9, resolution=32, z_dim=10)
        grown = grow(old, old_variables, new, fresh, COPIES)
        exact(old, old_variables, new, grown, nets="g")
        kernel = np.asarray(grown["g"]["params"]["b8"]["conv1"]["kernel"])
        source = np.asarray(old_variables["g"]["params"]["b8"]["conv1"]["kernel"])
        shares = kernel[:, :, :, :6] / source[:, :, [*range(6), 0, 0, 0]]
        assert not np.allclose(shares, shares[:, :, :, :1]), "copies are read with shares of their own by every reader"
        undivided = Action("fit", args={"copies": [{"axis": 2, "index": [*range(6), 0, 1, 2]}], "inputs": [2]})
        broken = grow(old, old_variables, new, fresh, COPIES | {"first": [Rule("g/params/b16/skip/kernel", undivided)]})
        assert compare(old, old_variables, new, broken, False, "g")["g"].largest > 1e-3
        old, old_variables = make_pair(0, SMALL_DCGAN)
        new, fresh = make_pair(1, SMALL_DCGAN, channel_max=9)
        exact(old, old_variables, new, grow(old, old_variables, new, fresh, {"width": "net2wider", "seed": 3}))


def test_copies_part_in_training():
    """The first gradients of two copies are no multiples of each other, which Adam would make equal."""
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, channel_max=12)
    grown = grow(old, old_variables, new, fresh, COPIES)["g"]
    entry = grown["params"]["b8"]["norm1"]["scale"]
    one = int(np.flatnonzero(np.asarray(entry)[:6] == np.asarray(entry)[6])[0])
    z = jax.random.normal(jax.random.key(0), (8, new.config.z_dim))
    loss = lambda p: jnp.square(new.g.apply({**grown, "params": p}, z, train=True)[0] - 0.3).mean()
    slopes = np.asarray(jax.jit(jax.grad(loss), compiler_options=QUICK)(grown["params"])["b8"]["conv0"]["kernel"])
    a, b = slopes[..., one].ravel(), slopes[..., 6].ravel()
    assert abs(a @ b) / np.sqrt((a @ a) * (b @ b)) < 0.999


def test_copies_are_refused_where_they_change_the_singular_value():
    old, _ = make_pair(0)
    new, _ = make_pair(1, channel_max=9)
    specs_of = lambda pair: {"g": pair.g.specs(), "d": pair.d.specs()}
    with pytest.raises(PlanError, match="d/params/.* singular value.* use width='silent' for 'd'"):
        pair_rules(new.config, old.config, specs_of(new), specs_of(old), width="net2wider")
    with pytest.raises(PlanError, match="width is 'wider'; use one of 'silent', 'net2wider'"):
        pair_rules(new.config, old.config, specs_of(new), specs_of(old), width="wider")  # pyright: ignore[reportArgumentType]
    pair_rules(old.config, old.config, specs_of(old), specs_of(old), width="net2wider")  # nothing grows


def test_duplicate_shares_sum_to_one():
    x = np.random.default_rng(0).standard_normal((3, 2))
    index = copies(3, 8, 1)
    assert index[:3] == [0, 1, 2] and copies(3, 5, 1) == index[:5] and copies(3, 8, 2) != index
    out = duplicate([x], None, {"axes": [{"axis": 0, "index": index, "seed": 5}]})
    sums = np.zeros_like(x)
    np.add.at(sums, index, out)
    np.testing.assert_allclose(sums, x, rtol=1e-12)
    fused = duplicate(
        [x.reshape(6)], None, {"axes": [{"axis": 1, "index": [0, 1, 1]}], "view": [[3, 2], [3, 3]], "shape": [9]}
    )
    np.testing.assert_array_equal(fused.reshape(3, 3), x[:, [0, 1, 1]])
    with pytest.raises(OpError, match="copy of 3 lies outside axis 0"):
        duplicate_shape([(3, 2)], {"axes": [{"axis": 0, "index": [3]}]})


DEEPER: dict[str, Any] = {"depth": 3, "kernel": 5, "channel_max": 8}


def test_deeper_with_larger_kernels_is_exact_and_so_is_the_way_back():
    with jax.enable_x64(True):
        old, old_variables = make_pair(0, num_classes=3)
        new, fresh = make_pair(1, num_classes=3, **DEEPER)
        grown = grow(old, old_variables, new, fresh)
        exact(old, old_variables, new, grown, (False,))
        for name, leaf in (("g", "b16/more1/conv1/kernel"), ("d", "b8/more0/conv1/kernel")):
            loud = {"first": [Rule(f"{name}/params/{leaf}", Action("init"))]}
            broken = grow(old, old_variables, new, fresh, loud)
            assert compare(old, old_variables, new, broken, False, name)[name].largest > 1e-3
        middle, fresh = make_pair(2, num_classes=3, kernel=5)
        with pytest.raises(PlanError, match="source leaf 'd/spectral/b16/more0/conv0/u'.*unused='drop'"):
            grow(new, grown, middle, fresh, {"narrow": "strongest"})
        back = grow(new, grown, middle, fresh, {"narrow": "strongest"}, unused="drop")
        exact(old, old_variables, middle, back, (False,))


def test_a_new_residual_of_the_discriminator_learns():
    old, old_variables = make_pair(0)
    new, fresh = make_pair(1, depth=2)
    grown = grow(old, old_variables, new, fresh)["d"]
    images = jax.random.uniform(jax.random.key(2), (4, 16, 16, 1), minval=-1.0)
    loss = lambda params: new.d.apply({**grown, "params": params}, images, train=True)[0].sum()
    slopes = jax.jit(jax.grad(loss), compiler_options=QUICK)(grown["params"])
    assert 1e-4 < np.abs(slopes["b16"]["more0"]["conv1"]["kernel"]).max() < 1e3


def test_smaller_kernels_keep_their_sum():
    old, old_variables = make_pair(0, kernel=5)
    new, fresh = make_pair(1)
    target, source = specs(fresh), specs(old_variables)
    plan = make_plan(target, source, pair_rules(new.config, old.config, target, source), shape="adapt")
    ops = {entry.target: entry.op for entry in plan.entries}
    assert ops["g/params/b8/conv0/kernel"] == "resize" and ops["d/spectral/b8/conv0/u"] == "singular_vector"
    grown = flatten(grow(old, old_variables, new, fresh))
    path = "g/params/b8/conv0/kernel"
    np.testing.assert_allclose(grown[path].sum((0, 1)), flatten(old_variables)[path].sum((0, 1)), atol=1e-5)
