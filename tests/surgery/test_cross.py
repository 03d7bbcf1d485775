"""Between families: every role that both have is moved, the rest is said to be fresh or unused."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import DCGANConfig, ResNetConfig, TranslatorConfig, UNetConfig, has_field
from gan_jax.nets.conv import conv, conv_down, conv_up, downsample_mean, upsample_nearest
from gan_jax.surgery import PlanError, make_plan, pair_notes, pair_rules, transplant
from gan_jax.surgery.families.cross import KINDS, across, across_vector, roles_of
from gan_jax.surgery.ops import run_steps
from gan_jax.trees import count, flatten
from tests.surgery.pairs import (
    BASE,
    SMALL_DCGAN,
    SMALL_R3GAN,
    SMALL_STYLEGAN2,
    compiled,
    labels,
    latents,
    make_pair,
    shapes,
)

draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
PAIRS = {
    "equal": {},
    "wider, more latents, colour": {"channel_max": 9, "z_dim": 11, "channels": 3},
    "narrower": {"channel_max": 4, "z_dim": 5},
    "higher": {"resolution": 32},
    "lower": {"resolution": 8},
    "all at once": {"channel_max": 9, "z_dim": 11, "channels": 3, "resolution": 32},
}
OPTIONS = {"missing": "init", "unused": "drop", "shape": "adapt"}


def configs(direction, changes):
    """(target, source)."""
    target, source = (SMALL_DCGAN, BASE) if direction == "to dcgan" else (BASE, SMALL_DCGAN)
    if changes.get("resolution") == 8:
        return target, dataclasses.replace(source, resolution=32)
    return dataclasses.replace(target, **changes), source


def plan_of(new, old, **options):
    target, source = shapes(new), shapes(old)
    rules = pair_rules(new, old, target, source)
    return make_plan(target, source, rules, **{**OPTIONS, **options}, notes=pair_notes(new, old))


def parts_of(config):
    """Net and role -> what plays it."""
    return {f"{net} {name}": part for net, roles in roles_of(config).items() for name, part in roles.items()}


FAMILIES = {"resnet": BASE, "dcgan": SMALL_DCGAN, "stylegan2": SMALL_STYLEGAN2, "r3gan": SMALL_R3GAN}
DIRECTIONS = list(itertools.permutations(FAMILIES, 2))
MORE = [
    dataclasses.replace(BASE, resolution=32, num_classes=3),
    dataclasses.replace(SMALL_STYLEGAN2, discriminator="skip", num_classes=3, mbstd_group=0),
    dataclasses.replace(SMALL_R3GAN, num_classes=3, blocks=(0, 2)),
    UNetConfig(16, 1, 1, width=2, depth=4, d_width=2, d_layers=1),
    UNetConfig(16, 1, 1, width=2, depth=2, norm="none", d_width=2, d_kind="pixel"),
    TranslatorConfig(16, 1, 1, width=2, blocks=0, affine=True, antialias=True, d_width=2, d_layers=2),
]


@pytest.mark.parametrize("config", [*FAMILIES.values(), *MORE])
def test_every_role_is_a_leaf(config):
    leaves = set(flatten(shapes(config)))
    for role, part in parts_of(config).items():
        assert {f"{role[0]}/{path}" for path in (*part.reads, *part.fills)} <= leaves, role
    filled = [f"{role[0]}/{path}" for role, part in parts_of(config).items() for path in part.fills]
    assert len(set(filled)) > 5 and all(filled.count(path) <= 2 for path in filled)


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
@pytest.mark.parametrize(
    "change",
    [
        "all at once",
        "lower",
        *(
            pytest.param(c, marks=pytest.mark.slow)
            for c in ("equal", "wider, more latents, colour", "higher", "conditional")
        ),
    ],
)
def test_shared_roles_are_moved_and_all_else_is_accounted_for(source, target, change):
    new, old = FAMILIES[target], FAMILIES[source]
    if change in ("conditional", "all at once"):
        new, old = (c if c is SMALL_DCGAN else dataclasses.replace(c, num_classes=3) for c in (new, old))
    if change == "lower":
        old = dataclasses.replace(old, resolution=32)
    elif change != "conditional":
        new = dataclasses.replace(new, **{k: v for k, v in PAIRS[change].items() if has_field(new, k)})
    plan, specs = plan_of(new, old), shapes(old)
    wanted, given = parts_of(new), parts_of(old)
    kernels = {e.target: e.sources for e in plan.entries if e.sources and "/spectral/" not in e.target}
    for path, reads in kernels.items():
        roles = [role for role, part in wanted.items() if path in (f"{role[0]}/{p}" for p in part.fills)]
        read = [tuple(f"{role[0]}/{p}" for p in given[role].reads) for role in roles if role in given]
        assert reads in read, path
    for role, part in wanted.items():
        if role in given and part.fills:
            read = {f"{role[0]}/{path}" for path in given[role].reads} & set(plan.needed)
            assert read or {f"{role[0]}/{path}" for path in part.fills} <= kernels.keys(), role
    assert set(plan.needed) | set(plan.unused) == set(flatten(specs)) and not set(plan.needed) & set(plan.unused)
    assert {entry.op for entry in plan.entries if not entry.sources} == {"init"}
    assert sum(plan.totals.values()) == count(shapes(new)) and plan.totals["copied"] + plan.totals["adapted"] > 100
    if target == "resnet":
        vectors = {entry.target for entry in plan.entries if entry.sources} - kernels.keys()
        assert {p.replace("spectral", "params").removesuffix("u") + "kernel" for p in vectors} == {
            path for path in kernels if path.startswith("d/")
        }, "each moved kernel of D brings its singular vector"
    assert "is not preserved" in str(plan).splitlines()[-1]


LEAVES = {  # (source, target) -> how many leaves of g and d are filled, singular vectors included
    ("resnet", "dcgan"): (11, 3),
    ("resnet", "stylegan2"): (6, 8),
    ("resnet", "r3gan"): (4, 4),
    ("dcgan", "resnet"): (11, 6),
    ("dcgan", "stylegan2"): (2, 2),
    ("dcgan", "r3gan"): (3, 3),
    ("stylegan2", "resnet"): (6, 18),
    ("stylegan2", "dcgan"): (2, 3),
    ("stylegan2", "r3gan"): (3, 4),
    ("r3gan", "resnet"): (5, 12),
    ("r3gan", "dcgan"): (2, 2),
    ("r3gan", "stylegan2"): (6, 5),
}


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_how_many_leaves_are_moved(source, target):
    plan = plan_of(FAMILIES[target], FAMILIES[source])
    moved = [entry.target[0] for entry in plan.entries if entry.sources]
    assert (moved.count("g"), moved.count("d")) == LEAVES[source, target]


def test_which_leaves_are_moved_and_how():
    """Beside a transition, which stands for the skip of others, blocks are only given: none can be made of one kernel."""
    moved = lambda plan: {entry.target: (entry.sources[0], entry.op) for entry in plan.entries if entry.sources}
    styled = "g/params/synthesis/b16"
    assert moved(plan_of(SMALL_R3GAN, SMALL_STYLEGAN2)) == {
        "g/params/stem/basis": ("g/params/synthesis/b4/const", "unit_rms"),
        "g/params/b16/transition/kernel": (f"{styled}/conv0/kernel", "modulated+flip+resize+slice"),
        "g/params/to_rgb/kernel": (f"{styled}/to_rgb/kernel", "modulated+slice"),
        "d/params/from_rgb/kernel": ("d/params/b16/from_rgb/kernel", "scale+slice"),
        "d/params/b16/transition/kernel": ("d/params/b16/skip/kernel", "scale+slice"),
        "d/params/head/basis": ("d/params/b4/fc/kernel", "nested+rank_one"),
        "d/params/head/kernel": ("d/params/b4/fc/kernel", "nested+rank_one"),
    }
    back = moved(plan_of(SMALL_STYLEGAN2, SMALL_R3GAN))
    assert back["g/params/synthesis/b8/conv1/kernel"] == ("g/params/b8/res0/conv0/kernel", "fold_residual+unit_rms")
    assert back["d/params/b16/skip/kernel"] == ("d/params/b16/transition/kernel", "scale+widen")
    plan = plan_of(BASE, SMALL_STYLEGAN2)
    with pytest.raises(PlanError, match=r"'d/params/b16/conv0/bias' \[6\] comes from '.* as ResNet has it', which the"):
        plan_of(BASE, SMALL_STYLEGAN2, missing="error")
    assert next(e for e in plan.entries if e.target == "d/params/b16/conv0/bias").op == "init", (
        "the name alone is shared"
    )


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_each_transplanted_pair_runs(source, target):
    _, variables = make_pair(0, FAMILIES[source])
    pair, fresh = make_pair(1, FAMILIES[target])
    filled, report = transplant(plan := plan_of(FAMILIES[target], FAMILIES[source]), variables, fresh)
    assert report.follows(plan)
    images = compiled(pair.config, "g", False)(filled["g"], latents(pair, 3))[0]
    logits = compiled(pair.config, "d", False)(filled["d"], images)[0]
    assert images.shape == (3, 16, 16, 1) and logits.shape == (3,) and np.isfinite(images).all()
    assert np.isfinite(logits).all() and 1e-3 < np.std(images) < 1e3, "neither silent nor out of hand"


@pytest.mark.parametrize("direction", ["to dcgan", "to resnet"])
def test_the_transplanted_pair_runs_and_the_vectors_are_those_of_the_kernels(direction):
    new, old = configs(direction, PAIRS["wider, more latents, colour"])
    _, source = make_pair(0, old)
    pair, fresh = make_pair(1, new)
    filled, report = transplant(plan := plan_of(new, old), source, fresh)
    assert report.follows(plan)
    images = compiled(pair.config, "g", False)(filled["g"], latents(pair, 2))[0]
    logits = compiled(pair.config, "d", False)(filled["d"], images)[0]
    assert images.shape == (2, 16, 16, 3) and np.isfinite(logits).all() and labels(pair, 2) is None
    for path in (entry.target for entry in plan.entries if entry.sources):
        if "/spectral/" in path:
            kernel = flatten(filled)[path.replace("spectral", "params").removesuffix("u") + "kernel"]
            matrix, u = np.reshape(kernel, (-1, kernel.shape[-1])), flatten(filled)[path]
            np.testing.assert_allclose(np.linalg.norm(matrix @ u), np.linalg.norm(matrix, 2), rtol=1e-4)


def run(shape, target, source, **args):
    _, steps = across([shape], target, args)
    return run_steps(steps, [source], np.zeros(target, np.float32)), [name for name, _ in steps]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_layers_beside_a_resampling_keep_their_function(size):
    kernel, x = draw(size, size, 2, 3), jnp.asarray(draw(1, 8, 8, 2))
    up, steps = run(kernel.shape, (4, 4, 2, 3), kernel, inputs=[2], resample="fuse_up")
    down, _ = run(kernel.shape, (4, 4, 2, 3), kernel, inputs=[2], resample="fuse_down")
    back, _ = run((4, 4, 2, 3), kernel.shape, up, inputs=[2], resample="fuse_up")
    if size == 5:  # does not fit: its rim is cut off
        assert steps == ["fuse_up", "slice"] and back.shape == kernel.shape
        return
    np.testing.assert_allclose(conv_up(x, up), conv(upsample_nearest(x), jnp.asarray(kernel)), atol=1e-4)
    np.testing.assert_allclose(conv_down(x, down), downsample_mean(conv(x, jnp.asarray(kernel))), atol=1e-4)
    np.testing.assert_allclose(back, kernel, atol=1e-5)


def test_a_head_over_sums_is_the_same_head_at_every_position():
    head, maps = draw(6, 1), draw(2, 4, 4, 6)
    everywhere = {"gives": parts_of(BASE)["d head"].gives, **KINDS["head"]}
    by_position, steps = run((6, 1), (96, 1), head, **everywhere)
    assert steps == ["tile", "reshape"]
    np.testing.assert_allclose(maps.reshape(2, -1) @ by_position, maps.sum((1, 2)) @ head, atol=1e-4)
    back, _ = run((96, 1), (6, 1), by_position, inputs=[0], heads="mean")
    np.testing.assert_allclose(back, head, rtol=1e-5)
    wider, _ = run((6, 1), (16 * 8, 1), head, **everywhere)
    np.testing.assert_array_equal(wider.reshape(16, 8)[:, 6:], 0, "new channels are silent")
    np.testing.assert_array_equal(wider.reshape(16, 8)[3, :6], head[:, 0])


def test_a_normalised_kernel_moves_as_what_it_computes_with():
    kernel = draw(3, 3, 2, 3)
    out, steps = run(kernel.shape, (4, 4, 2, 3), kernel, inputs=[2], resample="fuse_down", unit=True)
    plain, _ = run(kernel.shape, (4, 4, 2, 3), kernel, inputs=[2], resample="fuse_down")
    assert steps == ["unit", "fuse_down"]
    np.testing.assert_allclose(out, plain / np.linalg.norm(kernel.reshape(-1, 3), 2), rtol=1e-4, atol=1e-6)
    _, steps = across_vector([(4, 4, 2, 3)], (5,), {"shape": (3, 3, 2, 5), "inputs": [2], "resample": "fuse_down"})
    assert [name for name, _ in steps] == ["fuse_down", "top_vector", "pad"], "widening keeps it, so zeros extend it"


def test_permissions_are_asked_for():
    new, old = configs("to dcgan", {})
    with pytest.raises(
        PlanError, match=r"'d/params/b4/kernel' is \[4, 4, 6, 6\].*allow unit \+ fuse_down with shape='adapt'"
    ):
        plan_of(new, old, shape="error")
    with pytest.raises(PlanError, match="which the source lacks.*missing='init'"):
        plan_of(new, old, missing="error")
    with pytest.raises(PlanError, match="source leaf 'd/params/.*is read by nothing.*unused='drop'"):
        plan_of(new, old, unused="error")
    plan = plan_of(new, old, shape=("fuse_up", "tile", "reshape", "unit", "fuse_down"))
    assert plan.policies["shape"] == "fuse_up,tile,reshape,unit,fuse_down"


def test_classes_and_roots():
    conditional = dataclasses.replace(BASE, num_classes=3)
    source, target = {"g_ema": shapes(conditional)["g"]}, {"g": shapes(SMALL_DCGAN)["g"]}
    rules = pair_rules(SMALL_DCGAN, conditional, target, source)
    ops = {entry.target: (entry.sources, entry.op) for entry in make_plan(target, source, rules, **OPTIONS).entries}
    assert ops["g/params/norm4/scale"] == (("g_ema/params/b8/norm0/scale",), "mean"), "the mean over classes"
    rules = pair_rules(conditional, SMALL_DCGAN, {"g_ema": source["g_ema"]}, target)
    back = {entry.target: entry.op for entry in make_plan(source, target, rules, **OPTIONS).entries}
    assert back["g_ema/params/b8/norm0/bias"] == "tile" and back["g_ema/params/to_rgb_norm/bias"] == "init"
    with pytest.raises(PlanError, match="'g' should come from 'h', but the source has g_ema"):
        pair_rules(SMALL_DCGAN, conditional, target, source, roots={"g": "h"})
    with pytest.raises(PlanError, match="no roles for 'x'; a pair has g, g_ema, d"):
        pair_rules(SMALL_DCGAN, conditional, {"x": target["g"]}, source)


def test_what_works_within_a_family_only_is_refused():
    for option in ({"width": "net2wider"}, {"narrow": {"g": "strongest"}}):
        with pytest.raises(PlanError, match="works within a family only: .*from ResNetConfig to DCGANConfig"):
            pair_rules(SMALL_DCGAN, BASE, {}, {}, **option)
    with pytest.raises(
        PlanError, match="no rules from int to DCGANConfig; .*within each of .* and between ResNetConfig, DC"
    ):
        pair_rules(SMALL_DCGAN, 3, {}, {})  # pyright: ignore[reportArgumentType]


def test_within_a_family_there_is_nothing_to_note():
    assert pair_notes(ResNetConfig(), ResNetConfig(resolution=64)) == ()
    assert pair_notes(DCGANConfig(), ResNetConfig())[0].startswith("ResNet -> DCGAN: ")
