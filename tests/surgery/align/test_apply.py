"""Orders and scales leave the function as it is; what does not fit is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.surgery import Plan, transplant, transplant_state
from gan_jax.surgery.align import AlignError, canonical, in_scales_of, inverse, permute, plan_permute, rescale
from gan_jax.surgery.align.apply import EPSILON
from gan_jax.surgery.families import layouts
from gan_jax.trees import flatten
from tests.surgery.align.copies import FAMILIES, NETS, disguised, name, random_factors, random_orders
from tests.surgery.pairs import SMALL_DCGAN, SMALL_R3GAN, compiled, latents, make_pair, pair_of


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def made(family, net):
    pair, variables = make_pair(0, **family)
    return pair, layouts(pair.config)[net], variables[net]


def function(pair, net, train=False):
    images = lambda: jax.random.uniform(jax.random.key(1), (6, 16, 16, 1), jnp.float64, minval=-1.0)
    x = latents(pair, 6) if net == "g" else images()
    return lambda variables: np.asarray(compiled(pair.config, net, train)(variables, x)[0])


def differ(a, b):
    """How many leaves are not the same."""
    return sum(not np.array_equal(x, y) for x, y in zip(flatten(a).values(), flatten(b).values(), strict=True))


@pytest.mark.parametrize(("family", "net"), NETS, ids=name)
def test_the_function_stays(family, net):
    pair, layout, variables = made(family, net)
    apply = function(pair, net)
    expected = apply(variables)
    moved = permute(layout, variables, random_orders(layout, variables))
    copy, _ = disguised(layout, variables)
    other = make_pair(1, **family)[1][net]
    for tree in (moved, copy, canonical(layout, variables), in_scales_of(layout, copy, other)):
        assert differ(tree, variables) > 5
        np.testing.assert_allclose(apply(tree), expected, rtol=0, atol=1e-10)
    trained = function(pair, net, train=True)
    np.testing.assert_allclose(trained(moved), trained(variables), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("family", "net"), NETS, ids=name)
def test_there_and_back(family, net):
    _, layout, variables = made(family, net)
    orders = random_orders(layout, variables)
    back = permute(layout, permute(layout, variables, orders), inverse(orders))
    assert differ(back, variables) == 0
    if layout.free:
        factors = random_factors(layout, variables)
        there = rescale(layout, variables, factors)
        assert differ(there, variables) > 5
        back = rescale(layout, there, {scale: 1 / c for scale, c in factors.items()})
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), back, variables)


@pytest.mark.parametrize(("family", "net"), NETS, ids=name)
def test_one_canonical_form_for_all_copies(family, net):
    _, layout, variables = made(family, net)
    form = canonical(layout, variables)
    copy = rescale(layout, variables, random_factors(layout, variables))
    if layout.spectral:
        copy["params"]["head"]["kernel"] = copy["params"]["head"]["kernel"] * 7.0
    assert differ(copy, variables) >= 1
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), canonical(layout, copy), form)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), canonical(layout, form), form)
    as_before = in_scales_of(layout, copy, variables)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), as_before, variables)


def test_canonical_means_unit_rms_and_unit_singular_value():
    _, layout, variables = made({}, "g")
    params = canonical(layout, variables)["params"]
    rows = np.concatenate([params["b8"][m][l].reshape(-1, 6) for m in ("conv1", "skip") for l in ("kernel", "bias")])
    np.testing.assert_allclose(np.sqrt((rows**2).mean(0)), 1, rtol=1e-12)
    norm = params["b8"]["norm1"]
    np.testing.assert_allclose((norm["scale"] ** 2 + norm["bias"] ** 2) / 2, 1, rtol=1e-12)
    _, layout, variables = made({"num_classes": 3}, "d")
    form = canonical(layout, variables)
    table = form["params"]["embed"]["embedding"]
    np.testing.assert_allclose(np.linalg.norm(table, 2), 1, rtol=1e-12)
    assert differ(form["spectral"], variables["spectral"]) == 0


def test_a_stream_with_residuals_is_measured_where_it_starts():
    pair, layout, variables = made({"base": SMALL_R3GAN}, "g")
    params = canonical(layout, variables)["params"]
    np.testing.assert_allclose(np.sqrt((np.asarray(params["stem"]["basis"]) ** 2).mean((0, 1))), 1, rtol=1e-12)
    block = params["b4"]["res0"]
    written = np.concatenate([np.reshape(block["conv1"][leaf], (-1, 12)) for leaf in ("kernel", "bias")])
    np.testing.assert_allclose(np.sqrt((written**2).mean(0)), 1, rtol=1e-12, err_msg="each channel of every group")
    assert np.abs(np.sqrt((np.asarray(block["conv2"]["kernel"]) ** 2).mean((0, 1, 2))) - 1).max() > 0.1
    pair, layout, variables = made({"depth": 2}, "d")
    apply = function(pair, "d")
    np.testing.assert_allclose(apply(canonical(layout, variables)), apply(variables), atol=1e-10)


def test_a_silent_channel_keeps_its_scale():
    pair, layout, variables = made({"base": SMALL_DCGAN}, "g")
    for leaf in ("scale", "bias"):
        variables["params"]["norm4"][leaf][2] = 0
    apply = function(pair, "g")
    np.testing.assert_allclose(apply(canonical(layout, variables)), apply(variables), atol=1e-10)


def test_training_mode_differs_by_the_epsilon_of_batch_norm():
    pair, layout, variables = made({"base": SMALL_DCGAN}, "g")
    c = np.geomspace(0.1, 10, 6)
    scaled = rescale(layout, variables, {"b4": c})
    z = latents(pair, 32)
    features = jax.jit(lambda v: pair.g.activations(v, z, train=True))
    before, after = (np.asarray(features(v)["norm4"]) for v in (variables, scaled))
    v = np.asarray(features(variables)["b4"]).reshape(-1, 6).var(axis=0)
    ratio = np.sqrt((v + EPSILON) / (v + EPSILON / c**2))
    bias = np.asarray(variables["params"]["norm4"]["bias"])
    np.testing.assert_allclose(after - bias[None, None, None], (before - bias[None, None, None]) * ratio, atol=1e-10)
    assert np.abs(ratio - 1).max() > 1e-5  # the formula is not vacuous
    assert np.abs(ratio - 1).max() <= EPSILON * np.abs(1 - c**-2.0).max() / v.min()
    moved = function(pair, "g", train=True)
    assert 1e-9 < np.abs(moved(scaled) - moved(variables)).max() < 10 * np.abs(ratio - 1).max()


@pytest.mark.parametrize("family", FAMILIES, ids=name)
def test_orders_as_a_plan(family):
    pair, variables = make_pair(0, **family)
    found = layouts(pair.config)
    orders = {net: random_orders(found[net], variables[net]) for net in ("g", "d")}
    tree = {**variables, "g_ema": make_pair(1, **family)[1]["g"]}
    plan = plan_permute(found, tree, orders)
    assert Plan.from_json(plan.to_json()) == plan
    new, report = transplant(plan, tree, tree)
    assert report.follows(plan)
    expected = {root: permute(found[net], tree[root], orders[net]) for root, net in [*zip("gd", "gd"), ("g_ema", "g")]}
    assert differ(new, expected) == 0 and differ(new, tree) > 10


def test_moments_follow_a_plan():
    pair, variables = make_pair(0)
    found = layouts(pair.config)
    orders = {net: random_orders(found[net], variables[net]) for net in ("g", "d")}
    plan = plan_permute(found, variables, orders)
    state = dict(variables)
    for net in ("g", "d"):
        params = variables[net]["params"]
        mu, nu = jax.tree.map(lambda x: x * 2, params), jax.tree.map(jnp.square, params)
        state[f"opt_{net}"] = optax.ScaleByAdamState(jnp.asarray(5, jnp.int32), mu, nu)
    new, _, whole = transplant_state(plan, state, state)
    for net in ("g", "d"):
        double = jax.tree.map(lambda x: x * 2, new[net]["params"])
        assert differ(new[f"opt_{net}"].mu, double) == 0 and int(new[f"opt_{net}"].count) == 5
    assert differ(new["g"], variables["g"]) > 5 and "reset" not in " ".join(whole.notes)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ({"b9": [0]}, "no channel group 'b9'.*did you mean 'b"),
        ({"b8": [0, 1, 2]}, r"'b8' has shape \[3\], but there are 6 channels"),
        ({"b8": [0, 0, 1, 2, 3, 4]}, "'b8' is no permutation: it must hold each of 0 to 5 once"),
        ({"b8": [0, 1, 2, 3, 4, -1]}, "no permutation"),
        ({"b8": [0.0, 1, 2, 3, 4, 5]}, "no permutation"),
    ],
)
def test_orders_that_do_not_fit(orders, message):
    _, layout, variables = made({}, "g")
    with pytest.raises(AlignError, match=message):
        permute(layout, variables, orders)
    with pytest.raises(AlignError, match=message):
        plan_permute({"g": layout}, {"g": variables}, {"g": orders})


@pytest.mark.parametrize(
    ("net", "factors", "message"),
    [
        ("g", {"b9": [1.0]}, "no scale 'b9'"),
        ("d", {"b8": np.ones(6)}, "sees the scale 'b8'.*free ones are none"),
        ("g", {"b8": [1.0]}, r"'b8' have shape \[1\], but it has 6 channels"),
        ("g", {"b8": [1, 1, 1, 0, 1, 1]}, "'b8' must be finite and above 0; the least is 0"),
        ("g", {"b8": [1, 1, 1, -2, 1, 1]}, "the least is -2"),
        ("g", {"b8": [1, 1, 1, np.inf, 1, 1]}, "must be finite"),
    ],
)
def test_factors_that_do_not_fit(net, factors, message):
    _, layout, variables = made({}, net)
    with pytest.raises(AlignError, match=message):
        rescale(layout, variables, factors)


def test_arrays_keep_kind_and_dtype():
    pair = pair_of(make_pair(0)[0].config)
    layout = layouts(pair.config)["g"]
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), make_pair(0)[1]["g"])
    for tree in (permute(layout, variables, random_orders(layout, variables)), canonical(layout, variables)):
        assert all(isinstance(x, np.ndarray) and x.dtype == np.float32 for x in jax.tree.leaves(tree))
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), variables)
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(canonical(layout, half)))


def test_a_root_without_layout():
    _, layout, variables = made({}, "g")
    with pytest.raises(AlignError, match="no layout for 'd'; there are layouts for g"):
        plan_permute({"g": layout}, {"d": variables}, {})
