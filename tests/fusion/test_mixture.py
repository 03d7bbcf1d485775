"""What every fusion in the space of weights must keep, for every family of networks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.fusion.attention import TEMPERATURE, Attention, annealed_temperature
from gan_jax.fusion.gradient import Coefficients, distance, entropy
from gan_jax.fusion.mixture import Mixture, align_donor, aligned, fused, grouping, mix, spatial_kernels
from gan_jax.surgery.align import AlignError, canonical_factors, match_weights, permute, rescale
from gan_jax.surgery.align.apply import scale_sizes
from gan_jax.surgery.families import layouts
from gan_jax.trees import TreeError, flatten, unflatten
from tests.lanes import default_rows
from tests.nets.families import FAMILIES, pair_of

NAMES = [name for name in FAMILIES if not name.endswith("-deep")]
GRAINS = ("global", "tensor", "channel")
DESCRIBED = np.asarray([[1.0, -0.5, 0.3], [-1.0, 0.25, 0.7], [0.5, 0.25, -1.0]], np.float32)
ATTENTIONS = (
    Attention(2, gate=0.5),
    Attention(1, gate=0.5, with_source=True),
    Attention(2, gate=0.5, with_source=True, descriptors=DESCRIBED),
)


def pair(name):
    return pair_of(name, FAMILIES[name].resolutions[0])


def drawn(net, seed):
    """Variables of a network's shapes, of NumPy: they are mixed on the host, where nothing is compiled."""
    draw = np.random.default_rng(seed)
    fill = lambda leaf: np.asarray(draw.uniform(0.2, 1.0, leaf.shape) * draw.choice([-1, 1]), leaf.dtype)
    flat = flatten(net.specs())
    return unflatten({p: np.abs(fill(x)) if p.endswith("/var") else fill(x) for p, x in flat.items()}, like=net.specs())


def make(name, gate, grain="block", network="g", count=2, aligner=False):
    made = pair(name)
    net, blocks = getattr(made, network), getattr(made, f"{network}_blocks")
    mixture = Mixture(gate, grouping(grain, blocks), grain == "channel", aligner=aligner)
    target, *donors = (drawn(net, seed)["params"] for seed in range(count + 1))
    return mixture, target, donors, mixture.attach(target, jax.random.key(0), donors)


def with_gate(params, change):
    """Every leaf of the gate changed: `change(path, leaf)`."""
    branch = params["adapter"]
    gate = {path: change(path, leaf) for path, leaf in flatten(branch["gate"]).items()}
    return {**params, "adapter": {**branch, "gate": unflatten(gate)}}


def same(tree, other, **close):
    a, b = flatten(tree), flatten(other)
    assert list(a) == list(b)
    for path in a:
        assert_allclose(a[path], b[path], err_msg=path, **close) if close else assert_array_equal(
            a[path], b[path], path
        )


ROWS = [*((name, "block") for name in NAMES), *((name, grain) for name in ("mlp", "stylegan2") for grain in GRAINS)]
ROWS = [(*row, aligner) for row in ROWS for aligner in (False, True)]


@pytest.mark.parametrize(
    "name, grain, aligner",
    default_rows(
        ROWS,
        [
            row
            for row in ROWS
            if row[2] == (row[:2] == ("stylegan2", "block")) and (row[0] == "mlp" or row[1] == "block")
        ],
    ),
)
def test_no_share_is_the_target_and_a_whole_share_is_that_donor(name, grain, aligner):
    """An aligner is the identity at first, whose donors are as they are."""
    mixture, target, donors, params = make(name, Coefficients(2, "box", 0.0), grain, aligner=aligner)
    same(mixture.bake(params), target)
    one = with_gate(params, lambda path, leaf: leaf.at[1].set(1.0))
    same(mixture.bake(one), donors[1], rtol=1e-6)
    for gate in (Attention(2), Attention(2, with_source=True), Attention(2, descriptors=DESCRIBED[:2])):
        mixture, target, _, params = make(name, gate, grain, aligner=aligner)
        same(mixture.bake(params), target)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_donors_are_only_names(name):
    mixture, target, (a, b), params = make(name, Coefficients(2, "free", 0.0))
    params = with_gate(params, lambda path, leaf: jnp.asarray([0.7, -0.2]))
    turned = with_gate(mixture.attach(target, jax.random.key(0), [b, a]), lambda path, leaf: jnp.asarray([-0.2, 0.7]))
    same(mixture.bake(params), mixture.bake(turned), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_identical_donors_are_the_donor_whatever_the_shares(name):
    for gate in (Coefficients(3, "simplex"), Attention(3, gate=1.0), Attention(3, gate=1.0, with_source=True)):
        made = pair(name)
        mixture, target = Mixture(gate, grouping("tensor", made.g_blocks)), drawn(made.g, 0)["params"]
        params = mixture.attach(target, jax.random.key(0), [target] * 3)
        params = with_gate(
            params,
            lambda path, leaf: (
                leaf if path == TEMPERATURE else leaf + jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape)
            ),
        )
        if isinstance(gate, Attention):
            params = with_gate(params, lambda path, leaf: jnp.ones_like(leaf) if path.startswith("open/") else leaf)
        same(mixture.bake(params), target, rtol=2e-6, atol=1e-6)


GATES = {
    "simplex": Coefficients(2, "simplex"),
    "box": Coefficients(2, "box", 0.3),
    **dict(zip(("free keys", "source", "descriptors"), ATTENTIONS, strict=True)),
}
TRAINED = [("mlp", False), ("stylegan2", False), ("stylegan2", True), ("r3gan", True)]
TRAINED = [(*row, gate) for row in TRAINED for gate in GATES]


@pytest.mark.parametrize(
    "name, aligner, gate",
    default_rows(TRAINED, [row for row in TRAINED if row[0] == "mlp"]),
)
def test_every_trained_number_has_a_gradient(name, aligner, gate):
    gate = GATES[gate]
    mixture, _, _, params = make(name, gate, count=gate.count, aligner=aligner)
    params = jax.tree.map(jnp.asarray, params)
    weigh = {path: np.random.default_rng(7).normal(size=leaf.shape).astype(leaf.dtype) for path, leaf in
             flatten(mixture.bake(params)).items()}  # fmt: skip
    branch = params["adapter"]
    beside = {name: tree for name, tree in branch.items() if name != "donors"}

    def value(beside):
        baked = flatten(mixture.bake({**params, "adapter": {**branch, **beside}}))
        return sum((leaf * weigh[path]).sum() for path, leaf in baked.items())

    for path, slope in flatten(jax.jit(jax.grad(value))(beside)).items():
        assert np.isfinite(slope).all(), path
        if mixture.trains(f"adapter/{path}"):
            assert (np.asarray(slope) != 0).all(), path


@pytest.mark.parametrize("network", ["g", "d"])
@pytest.mark.parametrize("name", NAMES)
def test_aligners_are_of_spatial_kernels_whose_outputs_are_last(name, network):
    made = pair(name)
    params, layout = getattr(made, network).specs()["params"], layouts(made.config)[network]
    paths = spatial_kernels(params)
    assert bool(paths) == (not name.startswith("mlp") and (name, network) != ("unet-pixel", "d"))
    for path, text in layout.text.items():
        read, _, written = text.partition("->")
        place = path.removeprefix("params/")
        kernel = read.split()[:2] == ["h", "w"] and place.endswith("/kernel")
        spatial = kernel and max(flatten(params)[place].shape[:2]) > 1
        assert (place in paths) == spatial, path
        if spatial:
            assert written.strip() and (written.count(")") == 1 or len(written.split()) == 1), path


def test_an_aligner_by_hand():
    donors = np.random.default_rng(0).normal(size=(2, 3, 3, 4, 2)).astype(np.float32)
    maps = np.random.default_rng(1).normal(size=(2, 2, 2)).astype(np.float32)
    a = np.eye(2) + maps / 2
    want = np.stack([one @ by for one, by in zip(donors, a, strict=True)])
    for array in (np.asarray, jnp.asarray):
        assert_allclose(aligned(array(donors), array(maps)), want, rtol=1e-5, atol=1e-6)
        assert_array_equal(aligned(array(donors), array(np.zeros_like(maps))), donors)
        leaf, shares = array(donors[0] + 1), array(np.asarray([0.25, 0.5], np.float32))
        assert_allclose(mix(leaf, array(donors), shares, array(maps)), 0.25 * leaf + 0.25 * want[0] + 0.5 * want[1],
                        rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("channels", [None, 5])
def test_who_is_alike_has_the_same_share_and_numbers_are_only_names(channels):
    rows = jnp.asarray(DESCRIBED)[jnp.asarray([0, 1, 0, 2])]
    gate = Attention(3, gate=1.0, temperature=0.3, with_source=True, descriptors=rows)
    tree = gate.init(jax.random.key(0), {"all": channels})
    shares = gate.shares(tree)["all"]
    assert_allclose(gate.attention(tree)["all"][0], shares[1], rtol=1e-6)  # the source and donor 2
    assert (np.abs(np.asarray(shares[0] - shares[1])) > 0.01).all()
    turned = {**tree, "descriptors": rows[jnp.asarray([0, 3, 1, 2])]}
    assert_allclose(gate.shares(turned)["all"], shares[jnp.asarray([2, 0, 1])], rtol=1e-6)
    assert not gate.trains("descriptors") and gate.trains("key/all")
    with pytest.raises(ValueError, match="3 descriptors are not one for each of 4 slots"):
        dataclasses.replace(gate, descriptors=rows[:3]).init(jax.random.key(0), {"all": None})


def test_a_shut_gate_moves_first_and_alone():
    """ReZero: nothing else has a gradient before the gate has opened."""
    mixture, _, _, params = make("mlp", Attention(2, gate=0.0))
    params = jax.tree.map(jnp.asarray, params)
    weigh = flatten(drawn(pair("mlp").g, 9)["params"])

    def value(gate_leaves):
        baked = flatten(mixture.bake({**params, "adapter": {**params["adapter"], "gate": gate_leaves}}))
        return sum((leaf * weigh[path]).sum() for path, leaf in baked.items())

    slopes = flatten(jax.jit(jax.grad(value))(params["adapter"]["gate"]))
    for path, slope in slopes.items():
        assert (np.asarray(slope) != 0).all() == path.startswith("open/"), path


@pytest.mark.parametrize(
    "name, aligner, network",
    default_rows(
        [(*row, network) for row in (("resnet", True), ("mlp-conditional", False)) for network in "gd"],
        [("mlp-conditional", False, "g"), ("mlp-conditional", False, "d")],
    ),
)
def test_the_fused_network_computes_with_the_baked_weights(name, aligner, network):
    made = pair(name)
    net = getattr(made, network)
    group = grouping("block", getattr(made, f"{network}_blocks"))
    mixture = Mixture(Coefficients(2, "simplex"), group, aligner=aligner)
    target, *donors = (jax.jit(net.init)(jax.random.key(seed)) for seed in range(3))
    variables = {
        **target,
        "params": mixture.attach(target["params"], jax.random.key(0), [one["params"] for one in donors]),
    }
    if aligner:  # moved, or it would be the identity
        branch = variables["params"]["adapter"]
        branch["align"] = jax.tree.map(
            lambda x: x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape) / x.size, branch["align"]
        )
    baked = {**target, "params": mixture.bake(variables["params"])}
    config = made.config
    x = jax.random.normal(
        jax.random.key(1), (2, config.z_dim) if network == "g" else (2, config.resolution, config.resolution, 3)
    )
    labels = jnp.arange(2, dtype=jnp.int32) if config.num_classes else None
    got = jax.jit(fused(net, mixture).apply)(variables, x, labels)[0]
    assert_allclose(got, jax.jit(net.apply)(baked, x, labels)[0], rtol=1e-5, atol=1e-5)
    specs = flatten(fused(net, mixture).specs())
    assert {path: leaf.shape for path, leaf in specs.items()} == {
        path: leaf.shape for path, leaf in flatten(variables).items()
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", ["g", "d"])
def test_a_permuted_rescaled_copy_fuses_exactly(name, network):
    """Aligned, it is the target again, so that any mixture of the two is."""
    net, layout = getattr(pair(name), network), layouts(pair(name).config)[network]
    target = jax.device_get(drawn(net, 0))
    draw = np.random.default_rng(3)
    order = {group: draw.permutation(len(kept)) for group, kept in match_weights(layout, target, target).orders.items()}
    sizes = scale_sizes(layout, flatten(target))
    factors = {scale: np.exp(draw.normal(0, 0.2, n)) for scale, n in sizes.items() if scale in layout.free}
    copy = permute(layout, rescale(layout, target, factors), order)
    assert canonical_factors(layout, copy).keys() == factors.keys()
    back = align_donor(layout, target, copy)
    assert back.after is not None and back.before is not None and back.after >= back.before
    assert_allclose(back.after, 1.0, rtol=1e-6)
    loose = ("batch_stats/", "spectral/")  # variances are exact up to the norm's epsilon, vectors u up to their sign
    keep = lambda tree: {path: leaf for path, leaf in flatten(tree).items() if not path.startswith(loose)}
    for path, leaf in keep(target).items():
        assert_allclose(flatten(back.variables)[path], leaf, rtol=2e-5, atol=1e-6, err_msg=path)


def test_shares_are_where_they_may_be():
    gate = Coefficients(3, "simplex")
    shares = gate.shares(gate.init(jax.random.key(0), {"all": None, "each": 5}))
    assert_allclose(shares["all"], [0.25] * 3, rtol=1e-6)
    assert shares["each"].shape == (3, 5)
    box = Coefficients(2, "box", 0.5)
    assert_array_equal(box.clamp("alpha/all", jnp.asarray([-0.1, 1.2])), [0.0, 1.0])
    free = Coefficients(2, "free", -0.5)
    assert_array_equal(free.clamp("alpha/all", jnp.asarray([-3.0, 4.0])), [-3.0, 4.0])
    stated = Coefficients(2, "simplex", starts={"all": jnp.asarray([0.2, 0.5])})
    assert_allclose(stated.shares(stated.init(jax.random.key(0), {"all": None}))["all"], [0.2, 0.5], rtol=1e-5)


def test_attention_by_hand():
    gate = {"temperature": jnp.float32(2.0), "query": {"all": jnp.asarray([1.0, 3.0])},
            "key": {"all": jnp.asarray([[0.5, 0.0], [0.0, 1.0]])}, "open": {"all": jnp.asarray(0.4)}}  # fmt: skip
    scores = np.asarray([0.5, 3.0]) / (2 * np.sqrt(2))
    a = np.exp(scores) / np.exp(scores).sum()
    assert_allclose(Attention(2, width=2).shares(gate)["all"], 0.4 * a, rtol=1e-6)
    assert_allclose(Attention(1, width=2, with_source=True).shares(gate)["all"], 0.4 * a[1:], rtol=1e-6)
    assert_allclose(
        [annealed_temperature(30.0, 1.0, jnp.float32(p)) for p in (0.0, 0.5, 1.0, 2.0)],
        [30, np.sqrt(30), 1, 1],
        rtol=1e-5,
    )


def test_mixtures_distances_and_entropies_by_hand():
    leaf, donors = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[[3.0, 0.0]], [[5.0, 4.0]]])
    assert_allclose(mix(leaf, donors, jnp.asarray([0.5, 0.25])), [[0.25 + 1.5 + 1.25, 0.5 + 1.0]], rtol=1e-6)
    assert_allclose(mix(leaf, donors, jnp.asarray([[1.0, 0.0], [0.0, 0.5]])), [[3.0, 3.0]], rtol=1e-6)
    assert_allclose(mix(jnp.float32(1), jnp.asarray([3.0, 5.0]), jnp.asarray([0.5, 0.5])), 4.0)
    shares = {"a": jnp.asarray([0.25, 0.25]), "b": jnp.asarray([0.0, 1.0])}
    assert_allclose(distance(shares, {k: jnp.zeros(2) for k in shares}), 0.125 + 1.0, rtol=1e-6)
    assert_allclose(entropy(shares), (0.5 * np.log(2) + 0.5 * np.log(4)) / 2, rtol=1e-4)


def test_donors_in_bfloat16_are_half_the_size_and_mixed_in_the_targets_precision():
    made = pair("mlp")
    target, donor = (drawn(made.g, seed)["params"] for seed in range(2))
    mixture = Mixture(Coefficients(1, "box", 0.5), grouping("global", ()), dtype=jnp.bfloat16)
    params = mixture.attach(target, jax.random.key(0), [donor])
    for path, leaf in flatten(params["adapter"]["donors"]).items():
        assert leaf.dtype == jnp.bfloat16, path
    for path, leaf in flatten(mixture.bake(params)).items():
        assert leaf.dtype == jnp.float32
        assert_allclose(leaf, (flatten(target)[path] + flatten(donor)[path]) / 2, rtol=0.01, atol=0.005)


def test_leaves_share_by_their_place():
    blocks = ("mapping", "synthesis/b4", "synthesis/b8")
    group = grouping("block", blocks)
    places = {"mapping/fc0/kernel": "mapping", "synthesis/b8/conv0/kernel": "synthesis/b8", "to_rgb/bias": "to_rgb"}
    assert {path: group(path) for path in places} == places
    assert {grouping("global", blocks)(path) for path in places} == {"all"}
    assert all(grouping("tensor", blocks)(path) == path for path in places)


def test_what_cannot_be_mixed_is_named():
    mixture, target, donors, params = make("mlp", Coefficients(2))
    with pytest.raises(TreeError, match="has mixing weights for 2 donors, but there are 1"):
        mixture.attach(target, jax.random.key(0), donors[:1])
    with pytest.raises(TreeError, match="bake it before"):
        mixture.attach(params, jax.random.key(0), donors)
    with pytest.raises(TreeError, match="nothing to bake"):
        mixture.bake(target)
    other = {**donors[0], "fc0": {**donors[0]["fc0"], "kernel": jnp.zeros((5, 9))}}
    with pytest.raises(TreeError, match=r"donor 2 has fc0/kernel \(5, 9\), but the target \(5, 8\)"):
        mixture.attach(target, jax.random.key(0), [donors[0], other])
    with pytest.raises(TreeError, match="donor 1 has no leaf fc0/"):
        mixture.attach(target, jax.random.key(0), [{k: v for k, v in donors[0].items() if k != "fc0"}, donors[1]])
    with pytest.raises(TreeError, match="donor 1 has a leaf more"):
        mixture.attach(target, jax.random.key(0), [{**donors[0], "more": jnp.zeros(1)}, donors[1]])


def test_networks_of_other_shapes_are_not_aligned():
    made = pair("mlp")
    layout, target = layouts(made.config)["g"], jax.device_get(drawn(made.g, 0))
    wrong = {**target, "params": {**target["params"], "fc0": {**target["params"]["fc0"], "kernel": np.zeros((5, 9))}}}
    with pytest.raises(AlignError, match="fc0/kernel"):
        align_donor(layout, target, wrong)
    with pytest.raises(ValueError, match="activations"):
        align_donor(layout, target, target, by="activations")
