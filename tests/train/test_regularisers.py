"""What the networks pay beside the game, against numbers computed by hand, in float64; and when they pay it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import ConfigError, LossConfig
from gan_jax.losses import path_lengths
from gan_jax.train.context import StepContext
from gan_jax.train.optim import lazy_correction
from gan_jax.train.regularisers import REGULARISERS, check_regularisers, init_extras, regularisers_of
from gan_jax.train.task import Task
from tests.train.games import make_config

N, PIXELS, Z = 4, 3, 2
RNG = np.random.default_rng(0)
W, A = RNG.standard_normal(PIXELS), RNG.standard_normal((PIXELS, Z))
REAL, LATENTS, DELTA = (RNG.standard_normal((N, size)) for size in (PIXELS, Z, Z))
STYLES = RNG.standard_normal((N, 3, Z))  # three layers
Y = RNG.standard_normal((N, PIXELS))


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def discriminate(d, x, batch, train):
    return x @ d["params"]["w"], {}


def lengths(g, batch, keys, noise):
    """An image is the sum over layers of A times the layer's styles, squared: slopes are 2 A^T (y A w)."""
    image = lambda ws: jnp.square(jnp.einsum("pz,nlz->nlp", g["params"]["a"], ws)).sum(1)
    return path_lengths(image, jnp.asarray(STYLES)[noise], jnp.asarray(Y)[noise])


TASK = Task(
    nets={}, phases=(), discriminate=discriminate,
    generate=lambda g, batch, keys, train: (batch["z"] @ g["params"]["a"].T, {}),
    real=lambda batch: batch["x"], augment=lambda keys, x, p: x, vary=lambda names, keys, x: x / 2,
    near=lambda g, batch, keys, noise, sigma: (batch["z"] + sigma * DELTA[noise]) @ g["params"]["a"].T,
    path_lengths=lengths,
)  # fmt: skip


def context(loss, w=W, a=A, extras=None, updates=0, index=range(N)):
    """A context whose networks are a linear D and a linear G."""
    index = jnp.asarray(list(index))
    g, d = ({"params": {name: jnp.asarray(value)}} for name, value in (("a", a), ("w", w)))
    batch = {"x": jnp.asarray(REAL)[index], "z": jnp.asarray(LATENTS)[index]}
    fake = batch["z"] @ g["params"]["a"].T
    frozen = jax.lax.stop_gradient(fake)
    extras = {name: jnp.asarray((extras or {}).get(name, 0.0)) for name in init_extras(loss, TASK)}
    return StepContext(
        loss, TASK, {"g": g, "d": d}, batch, index, keys=lambda _: index, step_keys=lambda _: index, latent_keys=index,
        augment_p=None, extras=extras, constants={}, update_count=jnp.int32(updates), sync=lambda x: x,
        annealed=lambda _, start: start, fake=fake, x_real=batch["x"], x_fake=frozen,
        logits=(discriminate(d, batch["x"], batch, True)[0], discriminate(d, frozen, batch, True)[0]),
    )  # fmt: skip


def value_and_slope(name, loss, **options):
    """Of a regulariser by name, with respect to the parameters of its network; and the extras that it changes."""
    (term,) = [term for term in REGULARISERS if term.name == name]
    leaf, at = ("w", W) if term.network == "d" else ("a", A)
    of = lambda x: term.value(context(loss, **{leaf: x}, **options))
    (value, extras), slope = jax.value_and_grad(of, has_aux=True)(jnp.asarray(at))
    return value, slope, extras


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def squared(d, x, batch, train):
    """A D whose slope differs from image to image: 2 w x."""
    return jnp.square(x) @ d["params"]["w"], {}


@pytest.mark.parametrize(
    ("loss", "weights", "images"),
    [
        (LossConfig(r1_gamma=3.0), (1.5, 0.0), REAL),
        (LossConfig(r2_gamma=5.0), (2.5, 0.0), LATENTS @ A.T),
        (LossConfig(gp_lambda=10.0), (0.0, 10.0), REAL),
    ],
    ids=["r1", "r2", "gp"],
)
def test_gradient_penalties(loss, weights, images):
    """Gamma / 2 |slope|^2, or lambda (|slope| - 1)^2, the latter at real images by a mixture that takes nothing else."""
    (term,) = regularisers_of(loss, TASK, ["d"])
    at = context(loss).replace(task=dataclasses.replace(TASK, discriminate=squared))
    if loss.gp_lambda:
        at = at.replace(fake=at.real, keys=lambda _: jax.random.split(jax.random.key(0), N))
    of = lambda w: term.value(at.with_nets(d={"params": {"w": w}}))[0]
    value, slope = jax.value_and_grad(of)(jnp.asarray(W))
    squares = ((2 * W * images) ** 2).sum(1)
    same(value, (weights[0] * squares + weights[1] * (np.sqrt(squares) - 1) ** 2).mean())
    each = weights[0] + weights[1] * (1 - 1 / np.sqrt(squares))  # the derivative by a square
    same(slope, (each[:, None] * 8 * W * images**2).mean(0))


def test_lecam():
    """Anchors are averages of the mean logits from the first update on: 0.99 of the sums are the old ones."""
    old, updates, decay = {"lecam_real": 0.2, "lecam_fake": -0.1}, 2, 0.99
    real, fake = REAL @ W, LATENTS @ A.T @ W
    sums = {"lecam_real": decay * 0.2 + 0.01 * real.mean(), "lecam_fake": decay * -0.1 + 0.01 * fake.mean()}
    anchor_real, anchor_fake = (total / (1 - decay**3) for total in sums.values())
    high, low = np.maximum(real - anchor_fake, 0), np.maximum(anchor_real - fake, 0)
    value, slope, extras = value_and_slope("lecam", LossConfig(lecam=0.3), extras=old, updates=updates)
    same(value, 0.3 * (high**2 + low**2).mean())
    same(slope, 0.3 * 2 * (high[:, None] * REAL - low[:, None] * (LATENTS @ A.T)).mean(0))
    for name, total in sums.items():
        same(extras[name], total)
    first = value_and_slope("lecam", LossConfig(lecam=0.3))[2]
    same(first["lecam_real"] / (1 - decay), real.mean())  # which is the first anchor


@pytest.mark.parametrize("sides", [(10.0, 3.0), (10.0, 0.0), (0.0, 3.0)])
def test_balanced_consistency(sides):
    """T halves an image, so that D's verdicts on it and on T of it are half of the former apart."""
    images = [REAL, LATENTS @ A.T]
    value, slope, _ = value_and_slope("bcr", LossConfig(bcr_real=sides[0], bcr_fake=sides[1]))
    same(value, sum(side * ((x @ W / 2) ** 2).mean() for side, x in zip(sides, images)))
    same(slope, sum(side * ((x @ W)[:, None] * x / 2).mean(0) for side, x in zip(sides, images)))


def test_latent_consistency_of_d():
    loss = LossConfig(zcr_d=5.0, zcr_sigma=0.3)
    moved = 0.3 * DELTA @ A.T
    value, slope, _ = value_and_slope("zcr_d", loss)
    same(value, 5 * ((moved @ W) ** 2).mean())
    same(slope, 5 * 2 * ((moved @ W)[:, None] * moved).mean(0))


def test_diversity_of_g():
    loss = LossConfig(zcr_g=0.5, zcr_sigma=0.3)
    value, slope, _ = value_and_slope("zcr_g", loss)
    same(value, -0.5 * ((0.3 * DELTA @ A.T) ** 2).sum(1).mean())
    same(slope, -0.5 * 0.09 * 2 * A @ (DELTA[:, :, None] * DELTA[:, None, :]).mean(0))


def path_lengths_by_hand(a):
    slopes = 2 * np.einsum("pz,np,nlp->nlz", a, Y, np.einsum("pz,nlz->nlp", a, STYLES))
    return np.sqrt((slopes**2).sum(2).mean(1))


def path_penalty_by_hand(a, old, chosen):
    found = path_lengths_by_hand(a)[chosen]
    mean = old + 0.01 * (found.mean() - old)
    return 2 * ((found - mean) ** 2).mean(), mean


@pytest.mark.parametrize("shrink", [1, 2])
def test_path_lengths(shrink):
    loss, old, chosen = LossConfig(path_length=2.0, path_length_shrink=shrink), 1.5, np.arange(0, N, shrink)
    value, slope, extras = value_and_slope("path_penalty", loss, extras={"path_length": old})
    expected, mean = path_penalty_by_hand(A, old, chosen)
    same(value, expected)
    same(extras["path_length"], mean)
    for i in np.ndindex(A.shape):  # by differences, the mean's own change included
        step = np.zeros_like(A)
        step[i] = 1e-6
        change = path_penalty_by_hand(A + step, old, chosen)[0] - path_penalty_by_hand(A - step, old, chosen)[0]
        np.testing.assert_allclose(slope[i], change / 2e-6, rtol=1e-6)


def test_path_lengths_of_parts_that_do_not_divide():
    """Four devices of one example each: those that count are those of the whole batch."""
    loss, total = LossConfig(path_length=2.0, path_length_shrink=2), 0.0
    (term,) = regularisers_of(loss, TASK, ["g"])
    for i in range(N):
        means = iter([0.5, path_lengths_by_hand(A)[::2].mean()])  # of what counts, and of the lengths that do
        ctx = context(loss, extras={"path_length": 1.5}, index=[i])
        value, extras = term.value(ctx.replace(sync=lambda _, means=means: next(means)))
        total += float(value) / N
        same(extras["path_length"], path_penalty_by_hand(A, 1.5, [0, 2])[1])
    same(total, path_penalty_by_hand(A, 1.5, [0, 2])[0])


@pytest.mark.parametrize("network", ["g", "d"])
def test_orthogonality(network):
    """Filters (1, 2) and (3, 4): their product 11 stands twice."""
    loss = LossConfig(**{f"orthogonal_{network}": 1e-4})
    (term,) = regularisers_of(loss, TASK, [network])
    of = lambda w: term.value(context(loss).with_nets(**{network: {"params": {"conv": {"kernel": w}}}}))[0]
    value, slope = jax.value_and_grad(of)(jnp.array([[1.0, 3.0], [2.0, 4.0]]))
    same(value, 1e-4 * 2 * 11**2)
    same(slope, 1e-4 * 4 * 11 * np.array([[3.0, 1.0], [4.0, 2.0]]))


def test_nothing_is_paid_or_kept_unless_wanted():
    assert regularisers_of(LossConfig(), TASK, ["g", "d"]) == [] and init_extras(LossConfig(), TASK) == {}
    every = LossConfig(
        r1_gamma=1, lecam=1, bcr_real=1, zcr_d=1, zcr_g=1, orthogonal_d=1, orthogonal_g=1, path_length=1
    )  # fmt: skip
    of_d, of_g = (regularisers_of(every, TASK, [network]) for network in "dg")
    assert [*of_d, *of_g] == regularisers_of(every, TASK, ["g", "d"]) == list(REGULARISERS)
    assert set(init_extras(every, TASK)) == {"lecam_real", "lecam_fake", "path_length"}


def test_a_task_has_the_regularisers_that_it_names_and_refuses_others():
    task, both = dataclasses.replace(TASK, regularisers=("lecam",)), LossConfig(lecam=1, path_length=1)
    assert [term.name for term in regularisers_of(both, task, ["g", "d"])] == ["lecam"]
    assert set(init_extras(both, task)) == {"lecam_real", "lecam_fake"}
    check_regularisers(LossConfig(lecam=1), task)
    with pytest.raises(ConfigError, match=r"turns on path_penalty, which this task cannot have \(it can have lecam\)"):
        check_regularisers(both, task)


def test_several_lazy_penalties_share_adam():
    """In 4 x 2 updates there are 2 and 4 more: 8 of 14."""
    np.testing.assert_allclose(lazy_correction(4, 2, 1), 8 / 14)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path_length": 2.0}, "which only StyleGAN2 has; use --net stylegan2"),
        ({"path_length_decay": 0.0}, "loss.path_length_decay is 0; use a share in"),
        ({"path_length_interval": 0}, "loss.path_length_interval is 0; it must be positive"),
        ({"path_length_shrink": 0}, "loss.path_length_shrink is 0; it must be positive"),
        ({"lecam": -1.0}, "loss.lecam is -1; it must not be negative"),
        ({"lecam_decay": 1.0}, r"loss.lecam_decay is 1; use a decay in \[0, 1\)"),
        ({"bcr_real": 10.0, "bcr_policy": ()}, "loss.bcr_policy is empty"),
        ({"zcr_sigma": 0.0}, "loss.zcr_sigma is 0; it must be positive; to leave zCR out"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        make_config(LossConfig(**fields)).validate()
