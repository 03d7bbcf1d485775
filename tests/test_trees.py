from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax import trees
from gan_jax.trees import Rule, TreeError

TREE = {
    "params": {
        "b8": {"conv0": {"kernel": np.zeros((3, 3, 2, 4), np.float32)}, "norm0": {"scale": np.ones(4, np.float32)}},
        "b16": {"conv0": {"kernel": np.zeros((3, 3, 4, 4), np.float32)}},
    },
    "count": np.int32(3),
}

# -- paths ------------------------------------------------------------------------------------------


def test_flatten_names_every_leaf():
    assert set(trees.flatten(TREE)) == {
        "params/b8/conv0/kernel",
        "params/b8/norm0/scale",
        "params/b16/conv0/kernel",
        "count",
    }


def test_flatten_knows_tuples_namedtuples_and_dataclasses():
    opt = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam()).init({"w": jnp.zeros(2)})
    paths = set(trees.flatten({"opt": opt, "pair": (1, [2])}))
    assert {"opt/1/count", "opt/1/mu/w", "opt/1/nu/w", "pair/0", "pair/1/0"} == paths


def test_unflatten_inverts_flatten():
    back = trees.unflatten(trees.flatten(TREE))
    assert jax.tree_util.tree_structure(back) == jax.tree_util.tree_structure(TREE)
    assert all(a is b for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(TREE), strict=True))


def test_flatten_refuses_two_leaves_of_one_path():
    with pytest.raises(TreeError, match="two leaves have the path 'a/b'"):
        trees.flatten({"a/b": 1, "a": {"b": 2}})


def test_unflatten_like_keeps_the_structure():
    opt = optax.scale_by_adam().init({"w": jnp.zeros(2)})
    back = trees.unflatten(trees.flatten(opt), like=opt)
    assert jax.tree_util.tree_structure(back) == jax.tree_util.tree_structure(opt)


def test_unflatten_like_names_the_leaf_that_is_missing_or_too_much():
    like = {"kernel": 0, "bias": 0}
    with pytest.raises(TreeError, match=r"no value for leaf 'bias' \(did you mean 'biass'\?\)"):
        trees.unflatten({"kernel": 1, "biass": 2}, like=like)
    with pytest.raises(TreeError, match=r"no leaf 'kernels' in the tree \(did you mean 'kernel'\?\)"):
        trees.unflatten({"kernel": 1, "bias": 1, "kernels": 2}, like=like)


@pytest.mark.parametrize("flat", [{"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}])
def test_unflatten_refuses_a_leaf_that_is_also_a_folder(flat):
    with pytest.raises(TreeError, match="'a"):
        trees.unflatten(flat)


names = st.text("abcxyz0189_", min_size=1, max_size=4)
dict_trees = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(names, inner, min_size=1, max_size=4), max_leaves=12
)


@given(st.dictionaries(names, dict_trees, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_flatten_and_partition_lose_nothing(tree):
    flat = trees.flatten(tree)
    assert trees.unflatten(flat) == tree
    inside, outside = trees.partition(tree, lambda path: "a" in path)
    assert all("a" in path for path in trees.flatten(inside))
    assert not any("a" in path for path in trees.flatten(outside))
    assert trees.flatten(trees.merge(inside, outside)) == flat


def test_map_with_path():
    out = trees.map_with_path(lambda path, a, b: f"{path}:{a + b}", {"x": 1, "y": {"z": 2}}, {"x": 10, "y": {"z": 20}})
    assert out == {"x": "x:11", "y": {"z": "y/z:22"}}


# -- patterns and rules -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("g/b8/kernel", "g/b8/kernel", True),
        ("g/*/kernel", "g/b8/kernel", True),
        ("g/*/kernel", "g/b8/conv0/kernel", False),
        ("g/**/kernel", "g/b8/conv0/kernel", True),
        ("g/**/kernel", "g/kernel", True),
        ("**/kernel", "kernel", True),
        ("**/kernel", "g/b8/kernel", True),
        ("**/kernel", "g/mykernel", False),
        ("g/**", "g", True),
        ("g/**", "g/a/b", True),
        ("g/**", "gg/a", False),
        ("**", "anything/at/all", True),
        ("g/b?/*", "g/b8/x", True),
        ("g/b?/*", "g/b16/x", False),
        ("g/b{8,16}/*", "g/b16/x", True),
        ("g/b{8,16}/*", "g/b32/x", False),
        ("g/b8", "g/b8/kernel", False),  # a pattern covers whole paths
        ("a.b", "axb", False),  # a point is a point
        ("re:g/b(8|16)/.*", "g/b16/x/y", True),
        ("re:b8", "g/b8", False),
    ],
)
def test_match(pattern, path, expected):
    assert trees.match(pattern, path) is expected


def test_a_bad_regular_expression_is_our_error():
    with pytest.raises(TreeError, match=r"'re:\(' is no regular expression"):
        trees.match("re:(", "a")


PATHS = ["d/b32/kernel", "d/b16/kernel", "d/head/bias"]


def test_assign_takes_the_first_rule():
    rules = [Rule("d/b32/**", "freeze"), Rule("**/bias", "zero"), Rule("**", "train")]
    assert trees.assign(rules, PATHS) == {"d/b32/kernel": "freeze", "d/b16/kernel": "train", "d/head/bias": "zero"}


def test_assign_names_an_uncovered_leaf():
    with pytest.raises(TreeError, match=r"no rule covers leaf 'd/b16/kernel'; the rules are 'd/b32/\*\*'"):
        trees.assign([Rule("d/b32/**", 1)], PATHS)
    with pytest.raises(TreeError, match="the rules are none"):
        trees.assign([], PATHS)


def test_assign_refuses_a_dead_rule_unless_told():
    rules = [Rule("d/b64/kernel", 1), Rule("**", 2)]
    with pytest.raises(TreeError, match=r"rule 'd/b64/kernel' covers no leaf \(did you mean 'd/b16/kernel'"):
        trees.assign(rules, PATHS)
    assert set(trees.assign(rules, PATHS, dead_ok=True).values()) == {2}


def test_assign_refuses_a_shadowed_rule():
    with pytest.raises(TreeError, match="rule 'd/head/bias' never wins"):
        trees.assign([Rule("**", 1), Rule("d/head/bias", 2)], PATHS)


def test_merge_refuses_one_leaf_twice():
    with pytest.raises(TreeError, match="leaf 'a/b' is in two"):
        trees.merge({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}})


# -- words about trees ----------------------------------------------------------------------------------


def test_did_you_mean():
    assert trees.did_you_mean("kernl", ["kernel", "bias"]) == " (did you mean 'kernel'?)"
    assert trees.did_you_mean("zzz", ["kernel", "bias"]) == ""


def test_shape_of_and_count_and_specs():
    tree = {"a": np.zeros((3, 3, 1, 24), np.float32), "b": jnp.zeros((), jnp.int32)}
    assert {k: trees.shape_of(v) for k, v in tree.items()} == {"a": "float32[3,3,1,24]", "b": "int32[]"}
    assert trees.count(tree) == 217
    assert trees.specs(tree)["a"] == jax.ShapeDtypeStruct((3, 3, 1, 24), np.float32)
    assert trees.count(trees.specs(tree)) == 217


def test_digest_sees_values_shapes_and_dtypes_but_not_layout():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert trees.digest(a) == hashlib.sha256(b"float32[2, 3]" + a.tobytes()).hexdigest()
    assert trees.digest(a) == trees.digest(jnp.asarray(a)) == trees.digest(np.asfortranarray(a))
    flipped = a.copy()
    flipped[1, 2] = np.nextafter(flipped[1, 2], 9)
    different = {trees.digest(x) for x in (a, flipped, a.reshape(3, 2), a.astype(np.float64), a.T)}
    assert len(different) == 5
    assert trees.digest(np.float32(0.0)) != trees.digest(np.float32(-0.0))  # bit-identical, not just equal
    assert trees.digest(np.zeros((1, 0))) != trees.digest(np.zeros((0, 1)))


def test_digest_of_bfloat16():
    assert trees.digest(jnp.ones(2, jnp.bfloat16)) != trees.digest(jnp.ones(2, jnp.float16))
