"""Losses of translators by hand: generators that scale, discriminators that scale and shift each pixel."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.cli.main import main
from gan_jax.config import (
    AugmentConfig,
    Config,
    ConfigError,
    EWCConfig,
    FinetuneConfig,
    LossConfig,
    OneSidedTask,
    PairedTask,
    TrainConfig,
    TranslatorConfig,
    UnpairedTask,
)
from gan_jax.nets import NamedNets
from gan_jax.tasks.one_sided import one_sided_task
from gan_jax.tasks.paired import paired_task
from gan_jax.tasks.translation import augmented, vary
from gan_jax.tasks.unpaired import unpaired_task
from tests.tasks.lines import LR, batch, begin, config_of, one_sided_nets, paired_nets, unpaired_nets


def moved(value: Any, slope: Any) -> Any:
    """A value after one update of Adam without momentum, with an eps of 1 that leaves the size of the gradient in it."""
    return value - LR * slope / (abs(slope) + 1.0)


def one_step(config: Config, networks: NamedNets, make_task: Any, monkeypatch: Any, channels: int = 1) -> Any:
    """`(metrics, state)` of one step of all phases."""
    data = batch(channels)
    trainer, state = begin(config, networks, make_task, data, monkeypatch)
    state, metrics = jax.jit(trainer.step())(state, jax.tree.map(jnp.asarray, data))
    return {name: float(value) for name, value in metrics.items() if name != "finite"}, state


def test_cyclegan_updates_both_sides_at_once(monkeypatch):
    p, q, (wa, ca), (wb, cb) = 1.5, 0.5, (0.7, 0.1), (-0.4, 0.3)
    networks, config = unpaired_nets(p, q, (wa, ca), (wb, cb)), config_of(UnpairedTask(pool=0), "least_squares")
    metrics, state = one_step(config, networks, unpaired_task, monkeypatch)
    a, b = batch()["input"], batch()["image"]
    mean = lambda x: float(np.mean(np.asarray(x, np.float64)))
    assert_allclose(metrics["loss_g"], mean((wb * p * a + cb - 1) ** 2) + mean((wa * q * b + ca - 1) ** 2), rtol=1e-5)
    assert_allclose(metrics["cycle"], mean(abs(p * q * a - a)) + mean(abs(p * q * b - b)), rtol=1e-5)
    assert_allclose(metrics["identity"], mean(abs(q * a - a)) + mean(abs(p * b - b)), rtol=1e-5)
    # D's fakes are those of the generators before their update, and its loss is halved; the metric is the mean of both
    d_a = (mean((wa * a + ca - 1) ** 2) + mean((wa * q * b + ca) ** 2)) / 2
    d_b = (mean((wb * b + cb - 1) ** 2) + mean((wb * p * a + cb) ** 2)) / 2
    assert_allclose(metrics["loss_d"], (d_a + d_b) / 2, rtol=1e-5)

    @jax.jit
    def total(p, q):
        x, y = jnp.asarray(a), jnp.asarray(b)
        adversarial = ((wb * p * x + cb - 1) ** 2).mean() + ((wa * q * y + ca - 1) ** 2).mean()
        cycle = abs(p * q * x - x).mean() + abs(p * q * y - y).mean()
        return adversarial + 10 * cycle + 5 * (abs(q * x - x).mean() + abs(p * y - y).mean())

    for name, old, slope in zip(("g_ab", "g_ba"), (p, q), jax.grad(total, (0, 1))(p, q)):
        assert_allclose(state.nets[name]["params"]["scale"], moved(old, slope), rtol=1e-6)


def test_pix2pix_updates_d_first(monkeypatch):
    p, w, c = 1.5, 0.7, 0.1
    networks = paired_nets(p, (w, c))
    config = config_of(PairedTask(), "non_saturating", d_condition=True)
    metrics, state = one_step(config, networks, paired_task, monkeypatch)
    x, y = batch()["input"].astype(np.float64), batch()["image"].astype(np.float64)
    softplus, logits = lambda t: np.log1p(np.exp(t)), lambda image, w, c: w * image + c + 0.5 * x
    real, fake = logits(y, w, c), logits(p * x, w, c)
    assert_allclose(metrics["loss_d"], (softplus(-real).mean() + softplus(fake).mean()) / 2, rtol=1e-5)
    d, sigmoid = state.nets["d"]["params"], lambda t: 1 / (1 + np.exp(-t))
    slopes = [
        (sigmoid(fake) * of_fake - sigmoid(-real) * of_real).mean() / 2 for of_fake, of_real in ((p * x, y), (1, 1))
    ]
    assert_allclose([d["scale"], d["shift"]], [moved(w, slopes[0]), moved(c, slopes[1])], rtol=1e-5)
    after = logits(p * x, float(d["scale"]), float(d["shift"]))  # G meets the updated D
    assert_allclose(metrics["loss_g"], softplus(-after).mean(), rtol=1e-5)
    assert_allclose(metrics["l1"], abs(p * x - y).mean(), rtol=1e-5)
    slope = (-sigmoid(-after) * float(d["scale"]) * x).mean() + 100 * (np.sign(p * x - y) * x).mean()
    assert_allclose(state.nets["g"]["params"]["scale"], moved(p, slope), rtol=1e-6)


def test_importance_of_each_generator_is_under_its_own_judge(monkeypatch):
    p, q, (wa, ca), (wb, cb) = 1.5, 0.5, (0.7, 0.1), (-0.4, 0.3)
    networks = unpaired_nets(p, q, (wa, ca), (wb, cb), reads={"g_ab": "input", "g_ba": "image"})
    config = config_of(UnpairedTask(), "least_squares")
    method = EWCConfig(samples=4, strength=1.0)
    constants = begin(config, networks, unpaired_task, batch(), monkeypatch, method)[1].constants
    a, b = batch()["input"].astype(np.float64), batch()["image"].astype(np.float64)
    for name, x, scale, (w, c) in (("g_ab", a, p, (wb, cb)), ("g_ba", b, q, (wa, ca))):
        slope = -w * (x / (1 + np.exp(w * scale * x + c)))  # of log D at each pixel, a mean over which is D's verdict
        assert_allclose(constants[name]["fisher"]["scale"], np.mean(slope[0]) ** 2, rtol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_patches_are_contrasted_at_their_places(monkeypatch, flip):
    """G keeps images and mirrored ones are turned back, so that queries and keys are the same vectors, mirrored or not."""
    networks = one_sided_nets(1.0, 0.5)
    task = OneSidedTask(nce=2.0, layers=(0,), flip=flip, patches=100)
    metrics, _ = one_step(config_of(task, "least_squares", 2), networks, one_sided_task, monkeypatch, 2)

    def nce(images):
        vectors = images[0].reshape(-1, 2).astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = vectors @ vectors.T
        positive = np.diag(scores).copy()
        np.fill_diagonal(scores, -10.0)
        rows = np.concatenate([positive[:, None], scores], 1) / 0.07
        rows -= rows.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(rows).sum(1)) - rows[:, 0]))

    assert_allclose(metrics["nce"], nce(batch(2)["input"]), rtol=1e-4)
    assert_allclose(metrics["nce_identity"], nce(batch(2)["image"]), rtol=1e-4)


# ----------------------------------------------------------------------------------------------------------------------
# Augmentation of both images of an input in the same way.


@pytest.mark.parametrize("in_channels", [3, 5])
@pytest.mark.parametrize(
    "config", [AugmentConfig(ada="bg", ada_p=1.0), AugmentConfig(policy=("translation", "cutout"))]
)
def test_both_images_are_moved_alike(config, in_channels):
    image = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 1)).astype(np.float32)
    sample = np.repeat(image, in_channels + 1, -1)
    keys = jax.random.split(jax.random.key(1), 3)
    out = np.asarray(jax.jit(lambda keys, x: augmented(config, keys, x, None, in_channels))(keys, sample))
    assert out.shape == sample.shape and (abs(out - sample).max((1, 2, 3)) > 0.1).all()
    assert_allclose(out[..., :in_channels], np.repeat(out[..., in_channels:], in_channels, -1), atol=1e-5)


def test_labels_keep_their_values_where_colours_change():
    sample = np.concatenate([np.ones((2, 8, 8, 5), np.float32), np.zeros((2, 8, 8, 3), np.float32)], -1)
    moved = jax.jit(lambda keys, x: vary(("color", "flip"), keys, x, 5))
    out = np.asarray(moved(jax.random.split(jax.random.key(1), 2), sample))
    assert_allclose(out[..., :5], 1.0)
    assert (abs(out[..., 5:]) > 1e-3).any()


# ----------------------------------------------------------------------------------------------------------------------
# What cannot run.


@pytest.mark.parametrize(
    "config, message",
    [
        (Config(task=PairedTask()), "task paired makes images from images, but ResNet's generator takes latents"),
        (Config(net=TranslatorConfig()), "task image makes images from latents, but Translator's generator takes images"),
        (config_of(PairedTask(), "relativistic"), "loss.name is relativistic, which the task paired cannot have"),
        (config_of(UnpairedTask(), "hinge", d_condition=True), "net.d_condition shows D pairs"),
        (config_of(UnpairedTask(pool=-1), "hinge"), "task.pool is -1; it must not be negative"),
        (config_of(OneSidedTask(layers=(0, 19)), "hinge"), "task.layers has 19, but with net.blocks 9 .* are 0 to 18"),
        (config_of(OneSidedTask(layers=(4, 4)), "hinge"), "name each layer once"),
        (config_of(OneSidedTask(temperature=0.0), "hinge"), "task.temperature is 0; it must be positive"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_said_before(config, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(
            config,
            net=dataclasses.replace(
                config.net, **({"resolution": 256} if isinstance(config.net, TranslatorConfig) else {})
            ),
        ).validate()


def test_channels_of_both_domains_where_generators_read_both():
    net = TranslatorConfig(in_channels=1)
    for task in (UnpairedTask(), OneSidedTask()):
        with pytest.raises(ConfigError, match="net.in_channels 1 and net.channels 3 differ"):
            Config(task=task, net=net, loss=LossConfig("hinge")).validate()
    Config(task=UnpairedTask(identity=0.0), net=net, loss=LossConfig("hinge")).validate()


def test_several_updates_of_d_need_translations_of_their_own():
    config = config_of(UnpairedTask(), "hinge")
    with pytest.raises(ConfigError, match="train.d_steps is 2, but in the task unpaired"):
        dataclasses.replace(config, train=TrainConfig(d_steps=2)).validate()


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "--task unpaired --net resnet",
            "task unpaired makes images from images, but ResNet's generator takes latents; use --net unet",
        ),
        ("--task paired --net unet --task.l2 5", "did you mean --task.l1"),
        ("--task paired --net unet --task.pool 5", "it belongs to --task unpaired"),
        ("--task pared", "did you mean paired"),
        ("--task paired --net unet --task.l1 -1", "task.l1 is -1; it must not be negative"),
    ],
)
def test_the_command_line_says_what_a_task_needs(words, message, capsys):
    assert main(["train", *words.split()]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("warmup", [0.0, 0.002])
def test_d_is_shown_translations_from_before_the_update(monkeypatch, warmup):
    """Those of the generators' loss; while D is trained alone, those of a phase of their own."""
    networks = unpaired_nets(1.5, 0.5, (0.7, 0.1), (-0.4, 0.3))
    config = config_of(UnpairedTask(pool=0), "least_squares")
    config = dataclasses.replace(config, transfer=FinetuneConfig(d_warmup_kimg=warmup))
    trainer, state = begin(config, networks, unpaired_task, rows := batch(), monkeypatch)
    state, _ = trainer.fit(state)
    for side, read, scale in (("b", "input", 1.5), ("a", "image", 0.5)):
        assert_allclose(state.extras[f"shown_{side}"], scale * rows[read], rtol=1e-6)
    nets = {name: float(leaves["params"]["scale"]) for name, leaves in state.nets.items()}
    assert ((nets["g_ab"], nets["g_ba"]) == (1.5, 0.5)) == (warmup > 0)
    assert nets["d_a"] != pytest.approx(0.7) and nets["d_b"] != pytest.approx(-0.4)
