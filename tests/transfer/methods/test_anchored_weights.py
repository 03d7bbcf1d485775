"""L2-SP, EWC and feature distillation: what they cost by hand in float64, what moves, the same game everywhere."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gan_jax.config import ConfigError, EWCConfig, FeatureDistillationConfig, L2SPConfig, PreserveConfig
from gan_jax.nets.build import build
from gan_jax.train.context import DOutput
from gan_jax.train.optim import cosine
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.methods.ewc import balanced
from gan_jax.transfer.methods.feature_distillation import distance
from gan_jax.transfer.methods.l2_sp import squared_distance
from gan_jax.trees import flatten, unflatten
from tests.lanes import default_rows
from tests.train.games import copy, make_program
from tests.train.toy import NET, build_toy
from tests.transfer.methods import conformance as ask

ALWAYS = lambda path: True  # noqa: E731
L2_SP = ask.make_config(L2SPConfig(strength=0.5, d_strength=0.25))
EWC = ask.make_config(EWCConfig(strength=3.0, samples=16))
DISTILLATION = ask.make_config(FeatureDistillationConfig(strength=2.0))
PRESERVE = ask.make_config(PreserveConfig(strength=0.5))
DRAWS = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


CONFIGS = {"l2_sp": L2_SP, "ewc": EWC, "distillation": DISTILLATION, "preserve": PRESERVE}


@pytest.mark.parametrize("name", default_rows(CONFIGS, ["ewc", "preserve"]))
def test_conformance(name):
    begun = ask.conform(CONFIGS[name])
    ask.assert_identity(begun)
    ask.assert_trains(begun, ALWAYS)


@pytest.fixture
def trees():
    with jax.enable_x64():
        draw = lambda: {"a": jnp.asarray(DRAWS.normal(size=(2, 3))), "b": {"c": jnp.asarray(DRAWS.normal(size=(4,)))}}
        yield draw(), draw(), draw()


def test_squared_distance_and_its_gradient_by_hand(trees):
    params, start, weights = trees
    g, d = {"params": params}, {"params": start}
    ctx = types.SimpleNamespace(g=g, d=d, nets={"g": g, "d": d}, constants={"g": start, "d": params})
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    moved = flat(params) - flat(start)
    of_g, of_d = make_method(L2_SP.transfer, build(NET)).extension.regularisers
    assert (of_g.network, of_d.network) == ("g", "d")
    assert_allclose(of_g.value(ctx)[0], 0.5 * (moved**2).sum(), rtol=1e-12)
    assert_allclose(of_d.value(ctx)[0], 0.25 * (moved**2).sum(), rtol=1e-12)
    slope = jax.grad(lambda p: squared_distance(p, start, weights))(params)
    assert_allclose(flat(slope), 2 * flat(weights) * moved, rtol=1e-12)
    ctx.constants = {"strength": jnp.asarray(7.0), "start": start, "fisher": weights}
    (term,) = make_method(EWC.transfer, build(NET)).extension.regularisers
    assert_allclose(term.value(ctx)[0], 7 * (flat(weights) * moved**2).sum(), rtol=1e-12)


def test_preserved_images_by_hand():
    images = {
        "now": jnp.asarray(DRAWS.normal(size=(3, 2, 2, 1))),
        "start": jnp.asarray(DRAWS.normal(size=(3, 2, 2, 1))),
    }
    task = types.SimpleNamespace(generate=lambda g, batch, keys, train: (images[g], {}))
    ctx = types.SimpleNamespace(task=task, constants={"g": "start"}, batch={}, latent_keys=None, fake=images["now"])
    (term,) = make_method(PRESERVE.transfer, build(NET)).extension.regularisers
    assert_allclose(term.value(ctx)[0], 0.5 * np.abs(images["now"] - images["start"]).mean(), rtol=1e-6)
    with pytest.raises(ConfigError, match="transfer.networks d leaves a fresh G"):
        make_method(PreserveConfig(networks="d"), build(NET))


def test_a_balanced_strength_makes_a_move_of_one_percent_cost_what_is_asked(trees):
    params, _, weights = trees
    weights = jax.tree.map(jnp.abs, weights)
    strength = balanced(0.3, weights, params)
    moved = jax.tree.map(lambda p: 1.01 * p, params)
    assert_allclose(float(strength) * squared_distance(moved, params, weights), 0.3, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"transfer.balance needs Fisher information above 0.*another source"):
        balanced(0.3, jax.tree.map(jnp.zeros_like, weights), params)


def test_information_is_that_of_the_sources_d_on_each_generated_image():
    """Against single gradients of log sigmoid(D(G(z))), on the latents that the estimate drew."""
    begun = ask.conform(EWC)
    constants, task, g = begun.state.constants, begun.trainer.task, begun.start.nets["g"]
    assert_array_equal(constants["start"]["stem"]["kernel"], g["params"]["stem"]["kernel"])

    def gradient(params, z):
        def log_probability(params):
            image, _ = task.generate({**g, "params": params}, {"z": z}, z, False)
            return jnp.log(jax.nn.sigmoid(task.discriminate(begun.start.nets["d"], image, {}, False)[0][0]))

        return jax.grad(log_probability)(params)

    squares = jax.jit(jax.vmap(lambda z: jax.tree.map(jnp.square, gradient(g["params"], z[None]))))(_normals(300))
    want = jax.tree.map(lambda leaf: np.asarray(leaf).mean(0), squares)
    for path, value in flatten(want).items():  # other latents, so only about the same
        assert_allclose(flatten(constants["fisher"])[path].mean(), value.mean(), rtol=0.6, err_msg=path)


def _normals(n):
    return jax.random.normal(jax.random.key(9), (n, NET.z_dim))


def test_balance_is_kept_in_the_state():
    config = dataclasses.replace(EWC, transfer=dataclasses.replace(EWC.transfer, balance=0.5))
    constants = ask.begin(config).state.constants
    start, strength = constants["start"], constants["strength"]
    moved = jax.tree.map(lambda p: 1.01 * p, start)
    assert_allclose(strength * squared_distance(moved, start, constants["fisher"]), 0.5, rtol=1e-3)


@pytest.mark.slow
def test_weights_are_held_the_more_the_stronger():
    far = []
    for strength in (0.0, 100.0):
        config = dataclasses.replace(L2_SP, transfer=L2SPConfig(strength=strength))
        begun = ask.begin(config)
        assert ("g" in begun.state.constants) == (strength > 0)
        before, (after, _) = begun.before, begun.after(4)
        far.append(np.abs(after["g/params/stem/kernel"] - before["g/params/stem/kernel"]).mean())
    assert far[1] < 0.7 * far[0]


def test_features_by_hand_and_annealed():
    """The metric of a step whose D is not the kept one, against numpy on the modules' outputs."""
    config = dataclasses.replace(DISTILLATION, transfer=FeatureDistillationConfig(strength=2.0, anneal_kimg=0.016))
    begun = ask.begin(config)
    state, trainer = begun.state, begun.trainer
    leaves = flatten(state.nets["d"]["params"])
    draw = np.random.default_rng(1)
    other = {path: leaf + 0.3 * draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in leaves.items()}
    moved = state.with_nets(d={**state.nets["d"], "params": unflatten(other)})
    (term,) = trainer.extension.regularisers

    def watch(ctx):
        inside = lambda d, sample: ctx.task.discriminate_capturing(d, sample, ctx.batch, True)[2]
        apart = [
            jnp.square(inside(ctx.d, sample)[block] - inside(ctx.constants["d"], sample)[block]).mean()
            for sample in (ctx.x_real, ctx.x_fake) for block in ("from_rgb", "b4", "head")
        ]  # fmt: skip
        return 2 * sum(apart) / 6, {}

    terms = term, dataclasses.replace(term, name="by_hand", value=watch)
    program = make_program(trainer.replace(extension=dataclasses.replace(trainer.extension, regularisers=terms)))
    data = program.put_data(trainer.feed.resident)
    step = lambda at, images: program.run(program.put(copy(at.replace(images=jnp.asarray(images)))), data)[1]
    assert_allclose(step(state, 0)["distillation"], 0, atol=1e-10)
    for images, left in ((0, 1.0), (8, 0.5), (16, 0.0)):
        metrics = step(moved, images)
        assert metrics["by_hand"] > 1e-3
        assert_allclose(metrics["distillation"], left * metrics["by_hand"], rtol=1e-5, atol=1e-8)
    assert_allclose(cosine(2.0, 0.0, 0.016, 4), 2 * (1 + np.cos(np.pi / 4)) / 2, rtol=1e-6)


@dataclasses.dataclass
class Linear:
    """A context whose D has two linear blocks."""

    d: dict
    constants: dict
    x_real: jax.Array
    x_fake: jax.Array

    def with_nets(self, d):
        return dataclasses.replace(self, d=d)

    def discriminate(self, *sides):
        outputs = [DOutput(jnp.zeros(len(x)), {name: x @ w for name, w in self.d.items()}) for x in sides]
        return *outputs, {}

    @property
    def intermediates(self):
        return tuple(output.intermediates for output in self.discriminate(self.x_real, self.x_fake)[:2])


def test_the_gradient_of_distillation_by_hand():
    draw = np.random.default_rng(2)
    real, fake = draw.normal(size=(2, 5, 3))
    now, old = ({"b8": draw.normal(size=(3, 4)), "b4": draw.normal(size=(3, 2))} for _ in range(2))
    with jax.enable_x64():
        cast = lambda tree: jax.tree.map(jnp.asarray, tree)
        value = lambda d: distance(Linear(d, {"d": cast(old)}, jnp.asarray(real), jnp.asarray(fake)))
        got, slope = jax.value_and_grad(value)(cast(now))
    each = [(sample, name, sample @ (now[name] - old[name])) for sample in (real, fake) for name in now]
    assert_allclose(got, np.mean([(apart**2).mean() for *_, apart in each]), rtol=1e-12)
    for name in now:
        want = sum(2 * sample.T @ apart / apart.size / 4 for sample, of, apart in each if of == name)
        assert_allclose(slope[name], want, rtol=1e-12)


@pytest.mark.parametrize(
    "transfer", [EWCConfig(networks="g"), EWCConfig(networks="d"), FeatureDistillationConfig(networks="g")]
)
def test_networks_that_would_be_fresh(transfer):
    with pytest.raises(ConfigError, match=r"transfer.networks .*use both"):
        make_method(transfer, build(NET))
