"""A disguised copy is recognised: by weights and by activations, to the last channel."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import MLPConfig, StyleGAN2Config
from gan_jax.nets import build
from gan_jax.surgery import align
from gan_jax.surgery.align import AlignError, canonical, inverse, match_activations, match_weights, permute
from gan_jax.surgery.align.apply import sizes_of
from gan_jax.surgery.align.matching import producers
from gan_jax.surgery.families import layouts
from gan_jax.trees import flatten
from tests.surgery.align.copies import NETS, disguised, name
from tests.surgery.pairs import QUICK, compiled, labels, latents, make_pair


def inputs(pair, net, n=8):
    if net == "g":
        return latents(pair, n)
    return jax.random.uniform(jax.random.key(1), (n, 16, 16, 1), jnp.result_type(float), minval=-1.0)


def activations(pair, net, trees, n=8):
    x = inputs(pair, net, n)
    run = jax.jit(lambda v: getattr(pair, net).activations(v, x, labels(pair, n)), compiler_options=QUICK)
    return [run(tree) for tree in trees]


@pytest.mark.parametrize("by", ["weights", "activations"])
@pytest.mark.parametrize(("family", "net"), NETS, ids=name)
def test_a_disguised_copy_is_recovered(family, net, by):
    with jax.enable_x64(True):
        pair, variables = make_pair(0, **family)
        layout, a = layouts(pair.config)[net], variables[net]
        b, hidden = disguised(layout, a)
        if by == "weights":
            match, itself = match_weights(layout, a, b), 1.0
        else:
            x, y = activations(pair, net, (a, b))
            match = match_activations(layout, x, y)
            itself = match_activations(layout, x, x).before  # below 1: a channel that is never positive
        assert match.before < 0.8 < itself and match.after == pytest.approx(itself)
        wanted = inverse(hidden)
        assert set(match.orders) == set(wanted)
        for group, order in match.orders.items():
            np.testing.assert_array_equal(order, wanted[group], err_msg=group)
        recovered = permute(layout, canonical(layout, b), match.orders)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10), recovered, canonical(layout, a))


def test_twelve_disguises_of_a_wider_pair():
    pair, variables = make_pair(0, channel_max=20)
    for seed in range(6):
        for net in ("g", "d"):
            layout = layouts(pair.config)[net]
            b, hidden = disguised(layout, variables[net], seed)
            match = match_weights(layout, variables[net], b, seed=seed)
            assert all(np.array_equal(order, inverse(hidden)[group]) for group, order in match.orders.items()), seed


def test_statistics_may_count():
    _, variables = make_pair(0)
    layout = layouts(make_pair(0)[0].config)["g"]
    b, _ = disguised(layout, variables["g"])
    assert match_weights(layout, variables["g"], b, statistics=True).after == pytest.approx(1, abs=1e-6)
    with_statistics, without = (
        match_weights(layout, variables["g"], make_pair(1)[1]["g"], statistics=s).before for s in (True, False)
    )
    assert with_statistics != without


def test_other_networks_come_closer_and_the_seed_decides():
    pair, variables = make_pair(0, channel_max=16)
    other = make_pair(1, channel_max=16)[1]
    for net in ("g", "d"):
        layout = layouts(pair.config)[net]
        first = match_weights(layout, variables[net], other[net], seed=5)
        again = match_weights(layout, variables[net], other[net], seed=5)
        assert first.after > first.before + 0.05
        assert all(np.array_equal(first.orders[group], again.orders[group]) for group in first.orders)
        a, b = (canonical(layout, tree)["params"] for tree in (variables[net], other[net]))
        moved = permute(layout, {"params": b}, first.orders)["params"]
        dot = lambda x, y: sum(float(np.vdot(u, v)) for u, v in zip(jax.tree.leaves(x), jax.tree.leaves(y)))
        cosine = dot(a, moved) / np.sqrt(dot(a, a) * dot(b, b))
        assert first.after == pytest.approx(cosine, abs=1e-5)


def test_no_single_exchange_is_better():
    pair, variables = make_pair(0)
    layout, other = layouts(pair.config)["d"], make_pair(1)[1]["d"]
    match = match_weights(layout, variables["d"], other)
    b = permute(layout, other, match.orders)
    for group, order in match.orders.items():
        for i, j in [(0, 1), (2, 5), (3, 4)]:
            swap = np.arange(len(order))
            swap[[i, j]] = swap[[j, i]]
            swapped = match_weights(layout, variables["d"], permute(layout, b, {group: swap}), max_sweeps=0)
            assert swapped.before <= match.after + 1e-9


def test_the_three_lines_of_the_package_work():
    pair, variables = make_pair(0)
    for net in ("g", "d"):
        layout = layouts(pair.config)[net]
        names = {**vars(align), "jax": jax, "layout": layout, "a": variables[net]}
        names["b"], _ = disguised(layout, variables[net])
        lines = [line.strip() for line in (align.__doc__ or "").splitlines() if line.startswith("    ")]
        exec("\n".join(lines), names)
        middle, wanted = names["middle"], canonical(layout, variables[net])
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), middle, wanted)


def test_a_residual_stream_is_matched_as_one():
    """Both writers of a block count: where one has no signal, the other decides."""
    pair, variables = make_pair(0)
    layout = layouts(pair.config)["g"]
    assert set(producers(layout)["b8"]) == {"b8/conv1", "b8/skip", "b16/norm0"}
    a = variables["g"]
    b, hidden = disguised(layout, a)
    x, y = activations(pair, "g", (a, b))
    silent = {name: out * 0 if name in ("b8/conv1", "b16/norm0") else out for name, out in y.items()}
    match = match_activations(layout, x, silent)
    np.testing.assert_array_equal(match.orders["b8"], inverse(hidden)["b8"])
    unread = {name: out * 0 if name in ("b8/skip", "b16/norm0") else out for name, out in y.items()}
    np.testing.assert_array_equal(match_activations(layout, x, unread).orders["b8"], inverse(hidden)["b8"])


def test_the_best_correlation_of_all_orders():
    pair, variables = make_pair(0)
    layout, other = layouts(pair.config)["g"], make_pair(1)[1]["g"]
    x, y = activations(pair, "g", (variables["g"], other))
    match = match_activations(layout, x, y)
    rows = lambda f, module: np.asarray(f[module], np.float64).reshape(-1, 6).T
    both = [(rows(x, module), rows(y, module)) for module in ("b16/conv0", "b16/norm1")]
    parts = [np.corrcoef(cut(u), cut(v))[:6, 6:] for u, v in both for cut in (lambda z: z, lambda z: np.maximum(z, 0))]
    mean = np.mean(parts, axis=0)
    scores = {order: mean[np.arange(6), list(order)].sum() for order in itertools.permutations(range(6))}
    assert tuple(match.orders["b16/conv0"]) == max(scores, key=lambda order: scores[order])
    values = [match.orders[group] for group in layout.groups]
    assert match.after > match.before and len(values) == 5


def test_a_channel_that_never_changes_correlates_with_nothing():
    pair, variables = make_pair(0)
    layout = layouts(pair.config)["g"]
    (x,) = activations(pair, "g", [variables["g"]])
    dead = {name: out.at[..., 0].set(7.0) if name != "to_rgb" else out for name, out in x.items()}
    match = match_activations(layout, dead, dead)
    assert np.isfinite(match.after) and match.after < 0.9
    assert all(np.array_equal(np.sort(order), np.arange(6)) for order in match.orders.values())


def test_other_widths_are_refused():
    pair, variables = make_pair(0)
    wider_pair, wider = make_pair(0, channel_max=8)
    layout = layouts(pair.config)["g"]
    with pytest.raises(AlignError, match=r"'.*' is \[.*\] in the first network, but .*transplant the narrower"):
        match_weights(layout, variables["g"], wider["g"])
    (x,) = activations(pair, "g", [variables["g"]])
    (y,) = activations(wider_pair, "g", [wider["g"]])
    with pytest.raises(AlignError, match=r"module 'stem' gives \[8, 96\] .* \[8, 128\].*transplant the narrower"):
        match_activations(layout, x, y)
    with pytest.raises(AlignError, match="first network's activations lack 'stem'"):
        match_activations(layout, {}, y)
    larger = make_pair(0, resolution=32)[1]["g"]
    with pytest.raises(AlignError, match="first network lacks leaf '.*b32"):
        match_weights(layout, variables["g"], larger)


@pytest.mark.parametrize(("family", "net"), NETS, ids=name)
def test_every_group_has_modules_that_write_it(family, net):
    pair, variables = make_pair(0, **family)
    found = {path: out.shape for path, out in activations(pair, net, [variables[net]])[0].items()}
    layout = layouts(pair.config)[net]
    sizes = sizes_of(layout, flatten(variables[net]))
    for group, modules in producers(layout).items():
        assert modules, group
        assert all(found[module][0] == 8 and found[module][-1] % sizes[group] == 0 for module in modules)


@pytest.mark.parametrize("train", [False, True])
def test_activations_are_those_of_the_function(train):
    pair, variables = make_pair(0)
    z = latents(pair, 8)
    found = jax.jit(lambda v: pair.g.activations(v, z, train=train), compiler_options=QUICK)(variables["g"])
    images = compiled(pair.config, "g", train)(variables["g"], z)[0]
    np.testing.assert_allclose(np.tanh(found["to_rgb"]), images, atol=1e-5)
    assert found["b8/conv0"].shape == (8, 8, 8, 6) and "" not in found


def test_a_narrow_copy_that_the_search_misses_is_found_from_the_inputs():
    """Seed 0 of this pair ends with two channels exchanged; the second start finds every one."""
    pair = build(MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 6), d_widths=(8,)))
    layout, a = layouts(pair.config)["g"], jax.jit(pair.g.init)(jax.random.key(0))
    b = permute(layout, a, {"fc0": np.arange(8)[::-1], "fc1": np.arange(6)[::-1]})
    assert match_weights(layout, a, b).after < 0.99
    match = match_weights(layout, a, b, from_inputs=True)
    assert match.after == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(match.orders["fc0"], np.arange(8)[::-1])
    np.testing.assert_array_equal(match.orders["fc1"], np.arange(6)[::-1])


def test_every_module_that_counts_for_a_group_gives_its_channels():
    config = StyleGAN2Config(
        resolution=8, channels=1, z_dim=4, w_dim=6, mapping_layers=1, channel_base=64, channel_max=8, mbstd_group=0
    )
    pair, found = build(config), layouts(config)
    examples = {"g": jnp.zeros((2, 4)), "d": jnp.zeros((2, 8, 8, 1))}
    for which, net in (("g", pair.g), ("d", pair.d)):
        given, sizes = (
            jax.eval_shape(net.activations, net.specs(), examples[which]),
            sizes_of(found[which], flatten(net.specs())),
        )
        for group, modules in producers(found[which]).items():
            assert {given[module].shape[-1] for module in modules} == {sizes[group]}, group
