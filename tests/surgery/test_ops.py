"""Every operation: its declared shape, the same values from NumPy and under jit, and what it promises of them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.surgery import OPS, OpError
from gan_jax.surgery.ops import lookup, run_steps, shape_of_steps, values_kept
from gan_jax.surgery.ops.equalised import STRENGTH

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # to compile, not to run
draw = lambda *shape: np.random.default_rng(math.prod(shape)).standard_normal(shape).astype(np.float32)

# operation: (source shapes, arguments, shape that it makes)
CASES = {
    "copy": ([(2, 3)], {}, (2, 3)),
    "init": ([], {"shape": [4]}, (4,)),
    "zero": ([], {"shape": [2, 2]}, (2, 2)),
    "identity": ([], {"shape": [3, 3, 2, 4]}, (3, 3, 2, 4)),
    "slice": ([(5, 32)], {"shape": [3, 12], "view": [[5, 4, 8], [3, 4, 3]]}, (3, 12)),
    "widen": ([(1, 1, 2, 3)], {"shape": [1, 1, 4, 5], "inputs": [2]}, (1, 1, 4, 5)),
    "pad": ([(3, 3, 2, 2)], {"shape": [5, 5, 2, 3], "centre": [0, 1]}, (5, 5, 2, 3)),
    "tile": ([(3,)], {"axis": 0, "repeats": 4}, (4, 3)),
    "mean": ([(4, 3)], {"axis": 0}, (3,)),
    "gather": ([(4, 3)], {"axis": 0, "index": [2, -1, 0, 2, 1]}, (5, 3)),
    "colour_in": ([(1, 1, 3, 2)], {"axis": 2, "matrix": [[1, 1, 1]]}, (1, 1, 1, 2)),
    "colour_out": ([(1,)], {"axis": 0, "matrix": [[1], [1], [1], [0]], "offset": [0, 0, 0, 4]}, (4,)),
    "resize": ([(5, 5, 2, 3)], {"shape": [3, 4, 2, 3]}, (3, 4, 2, 3)),
    "cast": ([(2, 3)], {"dtype": "bfloat16"}, (2, 3)),
    "widen_spectral": ([(3, 3, 2, 3)], {"shape": [3, 3, 4, 5], "inputs": [2]}, (3, 3, 4, 5)),
    "colour_spectral": ([(1, 1, 1, 4)], {"shape": [1, 1, 3, 6]}, (1, 1, 3, 6)),
    "mute": ([], {"shape": [3, 3, 2, 4]}, (3, 3, 2, 4)),
    "ballast": ([], {"shape": [3, 3, 4, 2]}, (3, 3, 4, 2)),
    "one_hot": ([], {"shape": [4], "index": -1}, (4,)),
    "duplicate": ([(3, 2)], {"axes": [{"axis": 0, "index": [0, 1, 2, 1], "seed": 5}]}, (4, 2)),
    "important": (
        [(4, 6), (4, 6), (6, 1)],
        {
            "axes": [{"axis": 1, "group": "a", "keep": 3}],
            "layout": [None, [0, "z -> a"], [1, "a -> logit"]],
            "sweeps": 2,
        },
        (4, 3),
    ),
    "regain": ([(1,), (5,), (3, 3, 4, 5)], {"steps": [["slice", {"shape": [3, 3, 3, 4]}]]}, (1,)),
    "fill": ([], {"shape": [2, 2], "value": 0.5}, (2, 2)),
    "mix": ([(3, 2)], {"axis": 0, "matrix": [[1, 0.5, 1], [0, 1, 0]]}, (2, 2)),
    "carry": ([(4, 4, 2, 1)], {"shape": [4, 4, 2, 3], "axis": 3, "value": 0.5}, (4, 4, 2, 3)),
    "carry_on": (
        [],
        {"shape": [4, 4, 2, 3], "reads": "pairs", "writes": "plain", "channels": 1, "value": 0.5},
        (4, 4, 2, 3),
    ),
    "fold_head": ([(4, 4, 2, 3), (3,), (3,), (4, 4, 3, 1)], {"side": "out", "epsilon": 10.0}, (4, 4, 2, 1)),
    "fold_linear": ([(1, 1, 2, 3), (3, 4), (1, 1, 4, 1)], {}, (1, 1, 2, 1)),
    "top_vector": ([(3, 3, 4, 5)], {}, (5,)),
    "permute": ([(2, 12)], {"axis": 2, "index": [2, 0, 1], "shape": [2, 12], "view": [[2, 4, 3]] * 2}, (2, 12)),
    "strongest": (
        [(3, 20), (5, 2)],
        {
            "axes": [{"axis": 2, "keep": 2, "scores": [[1, 0], [0, 2]]}, {"axis": 0, "keep": 2, "scores": [[0, 0]]}],
            "shape": [2, 8],
            "view": [[3, 4, 5], [2, 4, 2]],
        },
        (2, 8),
    ),
    "concatenate": ([(2, 3), (2, 1), (2, 2)], {"axis": 1}, (2, 6)),
    "stack": ([(2, 3), (2, 3)], {"axis": -1}, (2, 3, 2)),
    "split": ([(2, 6)], {"axis": 1, "sizes": [1, 3, 2], "index": 1}, (2, 3)),
    "unstack": ([(2, 3, 4)], {"axis": 1, "index": 2}, (2, 4)),
    "transpose": ([(2, 3, 4)], {"axes": [2, 0, 1]}, (4, 2, 3)),
    "reshape": ([(2, 6)], {"shape": [3, 4]}, (3, 4)),
    "average": ([(2, 3), (2, 3), (2, 3)], {"weights": [0.5, 0.3, 0.2]}, (2, 3)),
    "resize_constant": ([(1, 4, 4, 3)], {"shape": [1, 8, 6, 3], "method": "cubic"}, (1, 8, 6, 3)),
    "resize_positions": ([(5, 3)], {"shape": [10, 3], "grid": [[2, 2], [3, 3]], "prefix": 1}, (10, 3)),
    "fuse_up": ([(3, 3, 2, 3)], {"shape": [4, 4, 2, 3]}, (4, 4, 2, 3)),
    "fuse_down": ([(4, 4, 2, 3)], {"shape": [3, 3, 2, 3]}, (3, 3, 2, 3)),
    "fold_convs": (
        [(3, 3, 1, 2), (2,), (2,), (3, 3, 2, 4)],
        {
            "layers": [
                ["conv", {"kernel": 0, "depthwise": True, "stride": 1, "pad": 1, "slope": 0.5}],
                ["mean", {"size": 2, "stride": 2, "pad": 0}],
                ["conv", {"kernel": 3, "stride": 1, "pad": 1}],
            ],
            "channels": 2,
            "start": -1,
            "size": 4,
        },
        (4, 4, 2, 4),
    ),
    "noise": ([(2, 3)], {"std": 0.1, "seed": 0, "salt": "g/b8/kernel"}, (2, 3)),
    "scale": ([(2, 3)], {"factor": 0.5}, (2, 3)),
    "modulated": ([(3, 3, 2, 3), (2,)], {"demodulated": True, "gain": 2.0}, (3, 3, 2, 3)),
    "unit_rms": ([(4, 4, 3)], {}, (4, 4, 3)),
    "flip": ([(3, 3, 2, 3)], {}, (3, 3, 2, 3)),
    "spread": ([(3, 2), (4, 4, 1, 3)], {"side": "last"}, (48, 2)),
    "rank_one": ([(5, 48)], {"side": "first", "part": "weights"}, (5, 3)),
    "fold_residual": ([(1, 1, 2, 4), (3, 3, 2, 4), (1, 1, 4, 2)], {}, (3, 3, 2, 2)),
    "shift": ([(3,), (3, 3, 2, 3), (3,)], {"factor": -1.0, "channels": 1}, (3,)),
    "resample": ([(5, 4)], {"axis": 1, "size": 6, "side": "in"}, (5, 6)),
    "pass_on": ([], {"shape": [3, 5], "reads": "plain", "writes": "pairs", "units": 2, "value": 0.5}, (3, 5)),
    "in_pairs": ([(3, 2)], {"axis": 0, "value": 0.5}, (6, 2)),
    "fold_dense": ([(4, 1), (2, 3), (3, 4)], {"axis": 0, "value": 0.6}, (2, 1)),
    "unit": ([(3, 3, 2, 3)], {}, (3, 3, 2, 3)),
    "equalise": ([(4, 3)], {"old": 4, "new": 6}, (4, 3)),
    "parts": (
        [(1, 1, 5, 2)],
        {
            "shape": [1, 1, 7, 3],
            "axis": 2,
            "old": [3, 2],
            "new": [4, 3],
            "factors": [1.0, 2.0],
            "loud": [False, True],
        },
        (1, 1, 7, 3),
    ),
    "carry_centre": (
        [],
        {"shape": [3, 3, 2, 5], "reads": "pairs", "writes": "pairs", "channels": 1, "value": 0.5},
        (3, 3, 2, 5),
    ),
    "carry_head": ([(1, 1, 2, 3)], {"shape": [3, 3, 5, 4], "value": 0.5}, (3, 3, 5, 4)),
    "fold_rgb": ([(1, 1, 1, 4), (3, 3, 4, 5), (3, 3, 5, 3)], {"value": 0.5}, (1, 1, 1, 3)),
    "nested": (
        [(2, 3), (4, 2)],
        {
            "op": "concatenate",
            "args": {"axis": 0},
            "inputs": [
                {"sources": [0], "steps": [["scale", {"factor": 2.0}]]},
                {"sources": [1], "steps": [["transpose", {"axes": [1, 0]}], ["slice", {"shape": [2, 3]}]]},
            ],
        },
        (4, 3),
    ),
    "singular_vector": ([(5,), (3, 3, 4, 5)], {"steps": [["slice", {"shape": [3, 3, 3, 4]}]]}, (4,)),
}


def strongest(keep=2, scores=((0, 0),)):
    return "strongest", {"axes": [{"axis": 0, "keep": keep, "scores": scores}]}


def test_every_operation_has_a_case():
    assert CASES.keys() == OPS.keys()
    assert all(op.effect for op in OPS.values())
    assert {op.moments for op in OPS.values()} - {None} <= OPS.keys()


step_of = lambda name: (name, CASES[name][1])


def apply(name, xp=np):
    shapes, args, made = CASES[name]
    return OPS[name].apply([xp.asarray(draw(*s)) for s in shapes], xp.asarray(draw(*made)), args)


@pytest.fixture(scope="module")
def traced():
    """Operation -> what it makes inside of one compiled program that has them all."""
    leaves = {name: ([draw(*s) for s in shapes], draw(*made)) for name, (shapes, _, made) in CASES.items()}
    run = lambda leaves: {name: OPS[name].apply(*arrays, CASES[name][1]) for name, arrays in leaves.items()}
    return jax.jit(run, compiler_options=QUICK)(leaves)


@pytest.mark.parametrize("name", OPS)
def test_shape_effect_and_jit(name, traced):
    shapes, args, made = CASES[name]
    assert shape_of_steps([(name, args)], shapes) == made
    sources, fresh = [draw(*s) for s in shapes], draw(*made)
    kept = [np.array(x) for x in (*sources, fresh)]
    out = OPS[name].apply(sources, fresh, args)
    assert isinstance(out, np.ndarray) and out.shape == made, "NumPy stays NumPy"
    for before, after in zip(kept, (*sources, fresh)):
        np.testing.assert_array_equal(before, after, "inputs are not changed")
    compiled = traced[name]
    assert compiled.shape == made and compiled.dtype == out.dtype
    up_to_sign = np.abs if name in ("singular_vector", "top_vector") else lambda x: x
    np.testing.assert_allclose(*(up_to_sign(np.asarray(x, np.float32)) for x in (compiled, out)), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OPS)
def test_half_precision(name):
    shapes, args, made = CASES[name]
    half = lambda *shape: draw(*shape).astype(jnp.bfloat16)
    run = lambda sources, fresh: OPS[name].apply(sources, fresh, args)
    leaves = [half(*s) for s in shapes], half(*made)
    for out in (run(*leaves), jax.eval_shape(run, *leaves)):
        assert out.shape == made and out.dtype == jnp.bfloat16


def test_without_sources_there_is_no_source():
    for name, (shapes, _, _) in CASES.items():
        assert OPS[name].sources == len(shapes) or (OPS[name].many and OPS[name].sources <= len(shapes)), name
        assert (OPS[name].keeps == "fresh") == (not shapes), name


def test_widen_feeds_old_outputs_with_zero_and_new_ones_with_fresh():
    x, fresh = draw(1, 1, 2, 3), draw(1, 1, 4, 5)
    out = apply("widen")
    np.testing.assert_array_equal(out[:, :, :2, :3], x)
    np.testing.assert_array_equal(out[:, :, 2:, :3], 0)
    np.testing.assert_array_equal(out[..., 3:], fresh[..., 3:])


def test_slice_of_a_view_keeps_each_pixel_its_channels():
    x = draw(5, 32).reshape(5, 4, 8)
    np.testing.assert_array_equal(apply("slice").reshape(3, 4, 3), x[:3, :, :3])


def test_pad_in_the_middle_is_the_same_filter():
    x, out = draw(3, 3, 2, 2), apply("pad")
    np.testing.assert_array_equal(out[1:4, 1:4, :, :2], x)
    assert np.abs(out).sum() == pytest.approx(np.abs(x).sum(), rel=1e-6)


def test_identity_passes_images_on():
    x = jnp.asarray(draw(1, 6, 6, 2))
    y = jax.lax.conv_general_dilated(x, apply("identity"), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_array_equal(y[..., :2], x)
    np.testing.assert_array_equal(y[..., 2:], 0)


def test_gather_takes_rows_and_their_mean():
    x = draw(4, 3)
    np.testing.assert_allclose(apply("gather"), np.stack([x[2], x.mean(0), x[0], x[2], x[1]]), rtol=1e-6)


def test_tile_and_mean_are_inverse():
    np.testing.assert_allclose(apply("tile").mean(0), draw(3), rtol=1e-6)
    np.testing.assert_allclose(apply("mean"), draw(4, 3).mean(0), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3), (7, 7), (4, 2), (1, 1), (5, 5)])
def test_resize_keeps_the_gain_on_a_constant_image(shape):
    x = draw(5, 5, 2, 3)
    out = OPS["resize"].apply([x], None, {"shape": [*shape, 2, 3]})
    np.testing.assert_allclose(out.sum((0, 1)), x.sum((0, 1)), atol=1e-5)
    if shape == (5, 5):
        np.testing.assert_allclose(out, x, atol=1e-6)


def test_resize_of_a_smooth_kernel_stays_smooth():
    x = np.ones((3, 3, 1, 1), np.float32)
    np.testing.assert_allclose(OPS["resize"].apply([x], None, {"shape": [5, 5, 1, 1]}), 9 / 25, rtol=1e-6)
    ramp = x * np.array([-1, 0, 1], np.float32)[:, None, None, None]  # what has no gain becomes as much smaller
    wide = OPS["resize"].apply([ramp], None, {"shape": [5, 5, 1, 1]})
    np.testing.assert_allclose(wide[:, 0, 0, 0], 9 / 25 * np.array([-1, -0.6, 0, 0.6, 1]), atol=1e-6)


matrix = lambda kernel: np.reshape(kernel, (-1, kernel.shape[-1]))
top = lambda kernel: np.linalg.norm(matrix(kernel), 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((3, 3, 2, 3), (3, 3, 4, 5)),
        ((3, 3, 2, 3), (3, 3, 2, 5)),
        ((1, 1, 3, 3), (1, 1, 5, 6)),
        ((1, 1, 3, 3), (1, 1, 5, 3)),
    ],
)
def test_widen_spectral_keeps_the_singular_value_and_vector(old, new):
    x, fresh = draw(*old), draw(*new)
    out = OPS["widen_spectral"].apply([x], fresh, {"shape": new, "inputs": [2]})
    np.testing.assert_array_equal(out[:, :, : old[2], : old[3]], x)
    np.testing.assert_array_equal(out[:, :, old[2] :, : old[3]], 0)
    np.testing.assert_allclose(top(out), top(x), rtol=1e-5)
    u = draw(old[3])  # any vector, converged or not, goes the same way through a power iteration
    iterate = lambda w, u: matrix(w).T @ (matrix(w) @ u)
    longer = iterate(out, np.pad(u, (0, new[3] - old[3])))
    np.testing.assert_allclose(longer, np.pad(iterate(x, u), (0, new[3] - old[3])), atol=1e-4)
    if new[3] > old[3]:
        np.testing.assert_allclose(np.linalg.norm(matrix(out)[:, old[3] :], 2), STRENGTH * top(x), rtol=1e-4)


def test_widen_spectral_writes_zero_where_old_outputs_fill_the_space():
    x, fresh = draw(1, 1, 1, 4), draw(1, 1, 1, 6)
    out = OPS["widen_spectral"].apply([x], fresh, {"shape": [1, 1, 1, 6], "inputs": [2]})
    np.testing.assert_array_equal(out[..., :4], x)
    np.testing.assert_array_equal(out[..., 4:], 0, "not rounding errors, blown up")


@pytest.mark.parametrize("outputs", [4, 5, 6])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_spectral_reads_grey_as_before_at_the_same_norm(outputs, channels):
    x = draw(1, 1, 1, 4)
    out = OPS["colour_spectral"].apply([x], None, {"shape": [1, 1, channels, outputs]})
    np.testing.assert_allclose(top(out), top(x), rtol=1e-5)
    kernel, grey, colour = (
        matrix(out),
        np.ones(channels, np.float32),
        np.array([1, -0.5, 0.2, 0.7][:channels], np.float32),
    )
    np.testing.assert_allclose((grey @ kernel)[:4], x[0, 0, 0], atol=1e-6)
    np.testing.assert_allclose((grey @ kernel)[4:], 0, atol=1e-6)
    assert np.linalg.matrix_rank(kernel) == 3, "both chroma axes are seen"
    if outputs == 6:
        np.testing.assert_allclose((colour @ kernel)[:4], colour[:3].mean() * x[0, 0, 0], atol=1e-6)
    if channels == 4:
        np.testing.assert_array_equal(kernel[3], 0)


def test_ballast_is_heard_by_nobody():
    muted, ballast = apply("mute"), OPS["ballast"].apply([], draw(3, 3, 4, 2), {"shape": [3, 3, 4, 2]})
    assert top(ballast) == 1
    x = jnp.asarray(draw(1, 6, 6, 2))
    conv = lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    hidden = jax.nn.relu(conv(x, muted))
    assert hidden.max() > 0
    np.testing.assert_array_equal(conv(hidden, ballast), 0)


def test_singular_vector_is_what_the_kernel_stretches_most():
    kernel = draw(3, 3, 4, 5)[:, :, :3, :4]
    np.testing.assert_allclose(np.linalg.norm(matrix(kernel) @ apply("singular_vector")), top(kernel), rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "shapes", "message"),
    [
        ([("slcie", {})], [(3,)], r"no operation 'slcie' \(did you mean 'slice'"),
        ([("widen", {"shape": [2]})], [(3,)], r"\[3\] does not fit inside \[2\]; use slice"),
        ([("slice", {"shape": [4]})], [(3,)], r"\[4\] is no part of \[3\]; use widen"),
        ([("slice", {"shape": [4], "view": [[2, 2], [2, 2]]})], [(3,)], r"view .* does not hold"),
        ([("identity", {"shape": [2, 2, 3, 3]})], [], "odd sizes"),
        ([("gather", {"axis": 0, "index": [5]})], [(3,)], "index 5 lies outside axis 0"),
        ([("colour_in", {"axis": 0, "matrix": [[1, 1]]})], [(3,)], "mixture of 2 channels does not fit"),
        ([("resize", {"shape": [3, 3, 4, 4]})], [(3, 3, 2, 2)], "two leading axes"),
        ([("colour_spectral", {"shape": [1, 1, 2, 4]})], [(1, 1, 1, 4)], "needs"),
        ([("singular_vector", {"steps": []})], [(3,)], "reads 2 or more source leaves, but 1 are named"),
        ([("tile", {"axis": 0})], [(3,)], "tile needs the argument 'repeats'"),
        ([("copy", {})], [(3,), (3,)], "copy reads 1 source leaves, but 2 are named"),
        ([("slice", {"shape": [2], "starts": [2]})], [(3,)], r"\[2\] from \[2\] on lies outside \[3\]"),
        ([("permute", {"axis": 0, "index": [0, 0, 1]})], [(3,)], r"\[0, 0, 1\] is no permutation: each of 0 to 2 once"),
        ([("permute", {"axis": 2, "index": [0]})], [(3,)], r"there is no axis 2 in \[3\]; use 0 to 0"),
        ([strongest(keep=4)], [(3, 2)], r"keep 4 of the 3 channels along axis 0"),
        ([strongest(scores=[])], [(3, 2)], "axis 0 has no scores"),
        ([strongest(scores=[[1, 0]])], [(3, 2)], "scores name source 1, but there are 1; the leaf itself is 0"),
        ([strongest(scores=[[1, 1]])], [(3, 2), (3, 2)], r"axis 1 of source 1 \[3, 2\] does not number the 3 channels"),
        ([("strongest", {"axes": [], "view": [[4], [2]], "shape": [2]})], [(3,)], r"view \[4\] does not hold \[3\]"),
        ([("strongest", {"axes": [], "view": [[3], [2]], "shape": [2]})], [(3,)], r"this makes \[3\], not view \[2\]"),
        ([("concatenate", {"axis": 0})], [(3, 2), (3, 1)], r"\[3, 2\] and \[3, 1\] differ in more than axis 0"),
        ([("concatenate", {"axis": 0})], [(3, 2)], "concatenate reads 2 or more source leaves, but 1 are named"),
        ([("stack", {"axis": 0})], [(3,), (2,)], r"the sources are \[3\] and \[2\]; they must have one shape"),
        ([("stack", {"axis": 3})], [(3,), (3,)], "there is no axis 3 among 2; use 0 to 1"),
        ([("split", {"axis": 0, "parts": 2, "index": 0})], [(3,)], "no 2 equal parts; give their sizes"),
        ([("split", {"axis": 0, "sizes": [1, 1], "index": 0})], [(3,)], r"parts of \[1, 1\] do not make up axis 0"),
        ([("split", {"axis": 0, "parts": 3, "index": 3})], [(3,)], "there is no part 3 of 3; use 0 to 2"),
        ([("unstack", {"axis": 0, "index": 3})], [(3, 2)], r"there is no part 3 along axis 0 of \[3, 2\]"),
        ([("transpose", {"axes": [0, 0]})], [(3, 2)], r"\[0, 0\] is no order of the 2 axes"),
        ([("reshape", {"shape": [5]})], [(3, 2)], r"\[3, 2\] does not reshape to \[5\]"),
        ([("average", {})], [(3,), (2,)], "must have one shape"),
        ([("average", {"weights": [1]})], [(3,), (3,)], "1 weights for 2 source leaves"),
        ([("resize_constant", {"shape": [8, 8, 3]})], [(4, 4, 2)], "with the same C"),
        ([("resize_constant", {"shape": [8, 8, 2], "method": "area"})], [(4, 4, 2)], "no method 'area'; use 'linear'"),
        ([("resize_positions", {"shape": [4, 3]})], [(4, 2)], "with the same d"),
        ([("resize_positions", {"shape": [9, 2], "grid": [[2, 2], [3, 3]]})], [(5, 2)], "hold 4 -> 9 positions, but"),
        ([("fuse_up", {"shape": [5, 5, 1, 1]})], [(3, 3, 1, 1)], "the smaller size must be odd and the larger even"),
        ([("fuse_up", {"shape": [4, 4, 1, 1]})], [(5, 5, 1, 1)], "the smaller size must be odd and the larger even"),
        ([("top_vector", {})], [(3,)], r"needs a kernel \[.., I, O\], not \[3\]"),
        ([("fuse_down", {"shape": [4, 4, 1, 2]})], [(3, 3, 1, 1)], "of the same I and O"),
        ([("noise", {"std": 0.1, "seed": 0})], [(3,)], "noise needs the argument 'salt'"),
        ([("noise", {"std": -1, "seed": 0, "salt": ""})], [(3,)], "std is -1; use 0 or more"),
        ([("scale", {"factor": math.inf})], [(3,)], "factor is inf; use a finite number"),
        ([("unit", {})], [(3,)], "needs a kernel"),
        (
            [
                (
                    "nested",
                    {"op": "copy", "args": {}, "inputs": [{"sources": [0], "steps": [["widen", {"shape": [4]}]]}]},
                )
            ],
            [(3,)],
            "widen reads the target's fresh value, which nothing nested has",
        ),
    ],
)
def test_what_does_not_fit_says_so(steps, shapes, message):
    with pytest.raises(OpError, match=message):
        shape_of_steps(steps, shapes)


def test_chains_and_what_they_keep():
    steps = [("slice", {"shape": [2, 3]}), ("widen", {"shape": [4, 3]})]
    out = run_steps(steps, [draw(2, 5)], draw(4, 3))
    np.testing.assert_array_equal(out, np.concatenate([draw(2, 5)[:, :3], draw(4, 3)[2:]]))
    assert values_kept(steps, [(2, 5)]) == (6, 0)
    assert values_kept([("colour_out", CASES["colour_out"][1]), ("pad", {"shape": [6]})], [(1,)]) == (0, 4)
    assert values_kept([("tile", {"axis": 0, "repeats": 4})], [(3,)]) == (12, 0)
    assert values_kept([("init", {"shape": [4]})], []) == (0, 0)
    assert values_kept([("gather", {"axis": 0, "index": [0, 1, 1]})], [(2, 3)]) == (9, 0)
    assert values_kept([("concatenate", {"axis": 0}), ("pad", {"shape": [9]})], [(3,), (4,)]) == (7, 0)
    assert values_kept([step_of("strongest")], CASES["strongest"][0]) == (16, 0)
    assert values_kept([step_of("nested")], CASES["nested"][0]) == (0, 12)
    assert lookup("copy") is OPS["copy"]
