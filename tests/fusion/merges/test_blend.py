"""Layer swapping: where every leaf of every family is, and what the two kinds of transition make of it."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.merges.averages import blend, position, positions
from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.trees import flatten, unflatten
from tests.conftest import REPO
from tests.fusion.merges.cases import close, draw, leaf

GOLDEN = json.loads((REPO / "tests" / "nets" / "golden" / "leaves.json").read_text())


def leaves(case, network):
    return [path[2:] for path in GOLDEN[case] if path[0] == network]


def of(case, network="g", collection="params"):
    """Position of every module that owns a leaf."""
    found = positions(path for path in leaves(case, network) if path.startswith(collection))
    return {path.removeprefix(f"{collection}/").rpartition("/")[0]: at for path, at in found.items()}


def test_position():
    assert [position(4), position(4, 1), position(8), position(256, 1)] == [0, 1, 2, 13]


@pytest.mark.parametrize("case", GOLDEN)
@pytest.mark.parametrize("network", ["g", "d"])
def test_every_leaf_of_every_family_has_its_place(case, network):
    """Alone or in its collection, the same; a block's leaves are at its resolution."""
    found = positions(leaves(case, network))
    for path, at in found.items():
        assert (at is None) == (path.split("/")[1] in ("mapping", "embed", "shared")), path
        for part in path.split("/"):
            if part[0] == "b" and part[1:].isdigit():
                assert position(int(part[1:])) <= at <= position(int(part[1:]), 1), path
    inside = [path.partition("/")[2] for path in found if path.startswith("params/")]
    assert positions(inside) == {path: found[f"params/{path}"] for path in inside}


def test_places_in_stylegan2():
    """As the published code has them: conv0 and const first, conv1 and to_rgb second."""
    at = of("stylegan2-16")
    assert at["mapping/fc0"] is None
    assert {name: at[f"synthesis/{name}"] for name in ("b4", "b4/conv1", "b4/to_rgb/affine", "b8/conv0", "b16/conv1/affine")} == {
        "b4": 0, "b4/conv1": 1, "b4/to_rgb/affine": 1, "b8/conv0": 2, "b16/conv1/affine": 5
    }  # fmt: skip
    at = of("stylegan2-16", "d")
    assert [at[name] for name in ("b4/out", "b4/fc", "b4/conv", "b8/skip", "b8/conv1", "b8/conv0", "b16/from_rgb")] == [
        0, 0, 1, 2, 2, 3, 5
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "network", "order"),
    [
        (
            "resnet-16",
            "g",
            ["stem=1", "b8/norm0=2", "b8/skip=2", "b8/conv1=3", "b16/conv0=4", "to_rgb_norm=5", "to_rgb=5"],
        ),
        ("resnet-16", "d", ["head=-1", "b4/conv1=0", "b4/conv0=1", "b16/skip=4", "b16/conv0=5", "from_rgb=5"]),
        ("dcgan-16", "g", ["b4=0", "norm4=0", "b8=2", "norm8=2", "to_rgb=3"]),
        ("dcgan-16", "d", ["head=-1", "b4=0", "norm4=0", "from_rgb=1"]),
        ("r3gan-16", "g", ["stem=-1", "b4/res0/conv1=0", "b8/res0/conv0=2", "b8/res1/conv2=3", "to_rgb=5"]),
        ("biggan-conditional-16", "g", ["stem=1", "b8/norm0/gain=2", "b8/attention/theta=3", "b16/norm1/bias=5"]),
        ("sngan-16", "d", ["head=-1", "b4_more0/conv0=0", "b4/conv0=1", "b16/conv0=5"]),
        ("mlp-16", "g", ["fc0=0", "fc1=1", "to_rgb=2"]),
        ("mlp-conditional-16", "d", ["head=-1", "fc1=0", "fc0=1"]),
        ("unet-16", "g", ["down3/conv=0", "up3/norm=0", "down2/norm=1", "up2/skip=1", "down1/conv=2", "to_rgb/conv=2"]),
        ("unet-16", "d", ["head=-1", "layer2/norm=0", "layer1/conv=1", "from_rgb/input=2"]),
        (
            "translator-16",
            "g",
            ["block1/conv0=0", "down2/conv=1", "up2/norm=1", "up1/conv=2", "stem/conv=3", "to_rgb=3"],
        ),
        (
            "spade-32",
            "g",
            ["stem=-1", "first/conv0=0", "middle1/norm0/gamma=2", "up0/skip=3", "up3/conv1=6", "to_rgb=7"],
        ),
        ("spade-32", "d", ["scale1_layer2/conv=-1", "scale0_layer1/conv=0", "scale1_layer0/conv=1"]),
    ],
)
def test_places_in_other_families(case, network, order):
    at = of(case, network)
    assert [f"{name}={at[name]:g}" for name in (entry.partition("=")[0] for entry in order)] == order


def small(seed):
    shapes = {"mapping/fc0": (2,)} | {f"synthesis/b{r}/conv{i}/kernel": (2,) for r in (4, 8, 16) for i in (0, 1)}
    return draw(seed, shapes)


def test_transitions_by_hand():
    one, other = (flatten(small(seed)) for seed in (0, 1))
    at = {path: value for path, value in positions(one).items() if value is not None}
    hard = flatten(blend([small(0), small(1)], mid=position(8)))  # positions from 4 on are the second's
    soft = flatten(blend([small(0), small(1)], mid=position(8), width=0.5))
    assert sorted(at.values()) == [0, 1, 2, 3, 4, 5]
    for path, value in at.items():
        assert_array_equal(hard[path], (other if value >= 4 else one)[path])
        y = 1 / (1 + np.exp(-(value - 2) / 0.5))
        assert_allclose(soft[path], (1 - y) * one[path] + y * other[path], rtol=1e-12)
    for merged in (hard, soft):
        assert_array_equal(merged["mapping/fc0"], one["mapping/fc0"])


def test_what_must_hold():
    one, other = small(0), small(1)
    close(blend([one, one], mid=2, width=1.0), one)
    close(blend([one, other], mid=1e6, width=1.0), one)
    far = blend([one, other], mid=-1e6, width=1.0)
    close(far["synthesis"], other["synthesis"])
    close(far["mapping"], one["mapping"])
    steep = blend([one, other], mid=2.5, width=1e-9)
    close(steep["synthesis"]["b8"]["conv0"], one["synthesis"]["b8"]["conv0"])
    close(steep["synthesis"]["b8"]["conv1"], other["synthesis"]["b8"]["conv1"])


def test_whole_variables():
    """Collections go with the layers to which they belong."""
    whole = lambda value: unflatten({path: np.full(1, value) for path in leaves("stylegan2-16", "g")})
    merged = flatten(blend([whole(1.0), whole(2.0)], mid=position(4)))
    assert merged["moving/mapping/w_avg"] == merged["constants/synthesis/b4/conv1/noise"] == 1
    assert merged["constants/synthesis/b16/conv0/noise"] == merged["params/synthesis/b16/conv0/kernel"] == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: blend([small(0)] * 3, mid=2), "between two donors, but there are 3"),
        (lambda: blend([small(0)] * 2, mid=2, width=0), "width is 0; it must be above zero"),
        (lambda: blend([{"tail": leaf(1.0), "b4": leaf(1.0)}] * 2, mid=2), "leaf 'tail/x' has no place .* b4, b8"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(MergeError, match=says):
        make()
