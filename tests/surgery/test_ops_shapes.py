"""Operations that join, part, choose and resample: what they promise of the values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.nets.conv import conv, conv_down, conv_up, downsample_mean, upsample_nearest
from gan_jax.surgery import OPS, Action, make_plan, transplant_state
from gan_jax.surgery.ops.grids import resize_matrix
from gan_jax.surgery.ops.join import shifted
from gan_jax.trees import Rule

draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def run(name, *sources, **args):
    return OPS[name].apply(list(sources), None, args)


def test_concatenate_and_split_are_inverse_and_so_are_stack_and_unstack():
    parts = [draw(2, n, 3) for n in (1, 3, 2)]
    joined = run("concatenate", *parts, axis=1)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(run("split", joined, axis=1, sizes=[1, 3, 2], index=i), part)
    np.testing.assert_array_equal(run("split", joined, axis=-2, parts=3, index=2), joined[:, 4:])
    same = [draw(2, 3), draw(2, 3) + 1]
    for axis in (0, 1, -1):
        stacked = run("stack", *same, axis=axis)
        np.testing.assert_array_equal(stacked, np.stack(same, axis))
        np.testing.assert_array_equal(run("unstack", stacked, axis=axis, index=1), same[1])


def test_average():
    a, b, c = draw(3), draw(3) + 1, draw(3) ** 2
    np.testing.assert_allclose(run("average", a, b, c), (a + b + c) / 3, rtol=1e-5)
    np.testing.assert_allclose(run("average", a, b, weights=[2, -1]), 2 * a - b, rtol=1e-5)


def test_slice_from_an_offset_in_a_view():
    x = draw(3, 20)
    out = run("slice", x, shape=[2, 8], view=[[3, 4, 5], [2, 4, 2]], starts=[1, 0, 3])
    np.testing.assert_array_equal(out.reshape(2, 4, 2), x.reshape(3, 4, 5)[1:, :, 3:])


def test_permute_and_its_inverse():
    x, order = draw(2, 12), [2, 0, 1]
    view = {"axis": 2, "shape": [2, 12], "view": [[2, 4, 3], [2, 4, 3]]}
    there = run("permute", x, index=order, **view)
    np.testing.assert_array_equal(there.reshape(2, 4, 3), x.reshape(2, 4, 3)[..., order])
    np.testing.assert_array_equal(run("permute", there, index=np.argsort(order).tolist(), **view), x)


def test_strongest_keeps_the_same_channels_in_every_leaf_of_a_group():
    """A dense layer and its reader: what is kept is chosen by both together, in the order in which it was."""
    w, b, out = draw(4, 6), draw(6), draw(6, 3)
    w[:, 1], b[1], out[1] = 9, 0, 0  # strong in one leaf
    w[:, 4], b[4], out[4] = 0, 0, 8  # strong in the other
    w[:, 2], b[2], out[2] = 0, 7, 0
    choose = lambda axis, *scores: {"axes": [{"axis": axis, "keep": 3, "scores": list(scores)}]}
    np.testing.assert_array_equal(run("strongest", w, b, out, **choose(1, [0, 1], [1, 0], [2, 0])), w[:, [1, 2, 4]])
    np.testing.assert_array_equal(run("strongest", b, w, out, **choose(0, [1, 1], [0, 0], [2, 0])), b[[1, 2, 4]])
    np.testing.assert_array_equal(run("strongest", out, b, w, **choose(0, [2, 1], [1, 0], [0, 0])), out[[1, 2, 4]])
    fused = run("strongest", draw(5, 24), w, shape=[5, 12], view=[[5, 4, 6], [5, 4, 3]], **choose(2, [1, 1]))
    kept = np.sort(np.argsort(-np.square(w).sum(0))[:3])
    np.testing.assert_array_equal(fused.reshape(5, 4, 3), draw(5, 24).reshape(5, 4, 6)[..., kept])
    view = {"views": {"1": [5, 4, 6]}}
    np.testing.assert_array_equal(
        run("strongest", b, draw(5, 24), **choose(0, [1, 2]), **view),
        b[np.sort(np.argsort(-np.square(draw(5, 24).reshape(20, 6)).sum(0))[:3])],
    )


def test_a_moment_keeps_what_its_leaf_keeps():
    args = {"axes": [{"axis": 2, "keep": 3, "scores": [[0, 2]]}], "shape": [5, 12], "view": [[5, 4, 6], [5, 4, 3]]}
    leaf = draw(5, 24)
    moment = np.arange(120, dtype=np.float32).reshape(5, 24)
    kept = np.sort(np.argsort(-np.square(leaf.reshape(20, 6)).sum(0))[:3])
    out = OPS["strongest"].apply([moment, leaf], None, shifted(args))
    np.testing.assert_array_equal(out.reshape(5, 4, 3), moment.reshape(5, 4, 6)[..., kept])


def test_the_moving_average_keeps_the_channels_that_g_keeps():
    """The scores are g's also for g_ema, whose own norms would choose otherwise; so do the moments."""
    w, other = np.diag([1.0, 5.0, 3.0, 4.0]).astype(np.float32), np.diag([9.0, 1.0, 8.0, 1.0]).astype(np.float32)
    grow = {"params": {"w": w, "v": w.T}}
    source = {"g": grow, "g_ema": {"params": {"w": other, "v": other}}, "opt_g": {"mu": {"w": other, "v": other}}}
    target = jax.tree.map(lambda x: np.zeros((4, 2), np.float32), source)
    keep = lambda axis, *scores: {"axes": [{"axis": axis, "keep": 2, "scores": list(scores)}]}
    rules = [
        Rule("g/params/w", Action("strongest", ("g/params/w", "g/params/v"), keep(1, [0, 1], [1, 0]))),
        Rule("g/params/v", Action("strongest", ("g/params/v", "g/params/w"), keep(1, [0, 0], [1, 1]))),
    ]
    plan = make_plan({"g": target["g"]}, {"g": source["g"]}, rules)
    state, _, _ = transplant_state(plan, source, target)
    np.testing.assert_array_equal(state["g"]["params"]["w"], w[:, [1, 3]])
    for moved in (state["g_ema"]["params"], state["opt_g"]["mu"]):
        np.testing.assert_array_equal(moved["w"], other[:, [1, 3]])
        np.testing.assert_array_equal(moved["v"], other[:, [1, 3]])


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 3), (5, 5), (3, 4)])
def test_interpolation_is_that_of_images(method, old, new):
    x = draw(old, 2)
    np.testing.assert_allclose(resize_matrix(new, old, method) @ x, jax.image.resize(x, (new, 2), method), atol=1e-5)


def test_constants_and_positions_keep_values_where_kernels_keep_sums():
    ones = np.ones((4, 4, 2), np.float32)
    np.testing.assert_allclose(run("resize_constant", ones, shape=[8, 8, 2]), 1, rtol=1e-6)
    np.testing.assert_allclose(run("resize", ones[..., None], shape=[8, 8, 2, 1]), 1 / 4, rtol=1e-6)
    x = draw(4, 4, 2)
    np.testing.assert_allclose(
        run("resize_constant", x, shape=[8, 8, 2]), jax.image.resize(x, (8, 8, 2), "linear"), atol=1e-5
    )
    table = draw(1, 17, 3)
    out = run("resize_positions", table, shape=[1, 37, 3], grid=[[4, 4], [6, 6]], prefix=1)
    np.testing.assert_array_equal(out[:, :1], table[:, :1])
    image = jax.image.resize(table[0, 1:].reshape(4, 4, 3), (6, 6, 3), "cubic")
    np.testing.assert_allclose(out[0, 1:], np.reshape(image, (36, 3)), atol=1e-5)
    line = run("resize_positions", table, shape=[1, 9, 3])
    np.testing.assert_allclose(line[0], jax.image.resize(table[0], (9, 3), "cubic"), atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_a_kernel_beside_a_resampling_is_one_kernel(size):
    kernel, x = draw(size, size, 3, 5), jnp.asarray(draw(2, 8, 8, 3))
    up = run("fuse_up", kernel, shape=[4, 4, 3, 5])
    np.testing.assert_allclose(conv_up(x, up), conv(upsample_nearest(x), jnp.asarray(kernel)), atol=1e-4)
    down = run("fuse_down", kernel, shape=[4, 4, 3, 5])
    np.testing.assert_allclose(conv_down(x, down), downsample_mean(conv(x, jnp.asarray(kernel))), atol=1e-4)
    np.testing.assert_allclose(run("fuse_up", up, shape=kernel.shape), kernel, atol=1e-5)
    np.testing.assert_allclose(run("fuse_down", down, shape=kernel.shape), kernel, atol=1e-5)


def test_noise_is_repeatable_and_differs_by_leaf_and_seed():
    x = np.zeros((200, 50), np.float32)
    make = lambda **args: run("noise", x, **{"std": 0.3, "seed": 1, "salt": "a", **args})
    np.testing.assert_array_equal(make(), make())
    for other in ({"seed": 2}, {"salt": "b"}):
        assert abs(np.corrcoef(make().ravel(), make(**other).ravel())[0, 1]) < 0.05
    np.testing.assert_allclose((make().mean(), make().std()), (0, 0.3), atol=0.01)
    np.testing.assert_array_equal(make(std=0), x)
    wide = run("noise", 5 * draw(300, 40), std=0.02, seed=0, salt="", relative=True) - 5 * draw(300, 40)
    np.testing.assert_allclose(wide.std(), 0.1, rtol=0.05)


def test_unit_and_scale():
    x = draw(3, 3, 4, 5)
    top = np.linalg.norm(x.reshape(-1, 5), 2)
    np.testing.assert_allclose(run("unit", x), x / top, rtol=1e-5)
    np.testing.assert_array_equal(run("unit", 0 * x), 0 * x)
    np.testing.assert_allclose(run("scale", x, factor=np.sqrt(2.0)), x * np.sqrt(2.0), rtol=1e-6)
