"""Losses of translators by hand: generators that scale, discriminators that scale and shift each pixel."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
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
    EMAConfig,
    EWCConfig,
    FinetuneConfig,
    LossConfig,
    OneSidedTask,
    OptimConfig,
    PairedTask,
    TrainConfig,
    TranslatorConfig,
    UnpairedTask,
)
from gan_jax.nets import NamedNets
from gan_jax.nets.build import make_net
from gan_jax.tasks import TASKS, TaskFamily
from gan_jax.tasks.one_sided import one_sided_task
from gan_jax.tasks.paired import paired_task
from gan_jax.tasks.translation import augmented, vary
from gan_jax.tasks.unpaired import unpaired_task
from gan_jax.train.feed import resident
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import Start
from gan_jax.transfer.start import make_prepared

SIZE, LR = 4, 0.01


def moved(value: Any, slope: Any) -> Any:
    """A value after one update of Adam without momentum, with an eps of 1 that leaves the size of the gradient in it."""
    return value - LR * slope / (abs(slope) + 1.0)


class Line(nn.Module):
    """Images times `scale`, plus `shift`: as a generator, and as a discriminator with a logit for each pixel."""

    scale: float
    shift: float = 0.0

    @nn.compact
    def __call__(self, x: Any, labels: Any = None, train: bool = False) -> Any:
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        return x * scale + self.param("shift", nn.initializers.constant(self.shift), ())


class Last(Line):
    """The same of the last channel, in a discriminator of joined images, plus half of the first."""

    @nn.compact
    def __call__(self, x: Any, labels: Any = None, train: bool = False) -> Any:
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        return x[..., -1:] * scale + self.param("shift", nn.initializers.constant(self.shift), ()) + 0.5 * x[..., :1]


def config_of(task: Any, loss: str, channels: int = 1, **net: Any) -> Config:
    return Config(
        task=task, loss=LossConfig(loss),  # type: ignore[arg-type]
        net=TranslatorConfig(resolution=SIZE, in_channels=channels, channels=channels, width=4, **net),
        optim=OptimConfig(lr=LR, b1=0.0, b2=0.0, eps=1.0), ema=EMAConfig(half_life_kimg=0.0, rampup=None),
        train=TrainConfig(batch=2, kimg=0.002, steps_per_dispatch=1, devices=1),
    )  # fmt: skip


def net(module: Any, channels: int = 1) -> Any:
    return make_net(module, (jnp.zeros((2, SIZE, SIZE, channels)), None))


def batch(channels: int = 1) -> dict[str, np.ndarray]:
    """Two equal examples, so that it does not matter which are drawn."""
    rng = np.random.default_rng(4)
    draw = lambda: np.repeat(rng.uniform(-1, 1, (1, SIZE, SIZE, channels)), 2, 0).astype(np.float32)
    return {"input": draw(), "image": draw()}


def one_step(config: Config, networks: NamedNets, make_task: Any, monkeypatch: Any, channels: int = 1) -> Any:
    """`(metrics, state)` of one step of all phases."""
    family = TaskFamily(lambda config, axis_name: networks, make_task)
    monkeypatch.setitem(TASKS, type(config.task), family)
    data = batch(channels)
    trainer = make_trainer(config, make_method(FinetuneConfig(), networks), resident(data))
    nets = {name: part.init(jax.random.key(0)) for name, part in networks.nets.items()}
    state = trainer.init(nets, jax.random.key(1))
    state, metrics = jax.jit(trainer.step())(state, jax.tree.map(jnp.asarray, data))
    return {name: float(value) for name, value in metrics.items() if name != "finite"}, state


def test_cyclegan_updates_both_sides_at_once(monkeypatch):
    p, q, (wa, ca), (wb, cb) = 1.5, 0.5, (0.7, 0.1), (-0.4, 0.3)
    lines = {"g_ab": Line(p), "g_ba": Line(q), "d_a": Line(wa, ca), "d_b": Line(wb, cb)}
    networks = NamedNets(
        {name: net(line) for name, line in lines.items()}, ("g_ab", "g_ba"), ("d_a", "d_b"),
        judges={"g_ab": "d_b", "g_ba": "d_a"},
    )  # fmt: skip
    task = UnpairedTask(pool=0)
    metrics, state = one_step(config_of(task, "least_squares"), networks, unpaired_task, monkeypatch)
    a, b = batch()["input"], batch()["image"]
    mean = lambda x: float(np.mean(np.asarray(x, np.float64)))
    assert_allclose(metrics["loss_g"], mean((wb * p * a + cb - 1) ** 2) + mean((wa * q * b + ca - 1) ** 2), rtol=1e-5)
    assert_allclose(metrics["cycle"], mean(abs(p * q * a - a)) + mean(abs(p * q * b - b)), rtol=1e-5)
    assert_allclose(metrics["identity"], mean(abs(q * a - a)) + mean(abs(p * b - b)), rtol=1e-5)
    # D's fakes are those of the generators before their update, and its loss is halved; the metric is the mean of both
    d_a = (mean((wa * a + ca - 1) ** 2) + mean((wa * q * b + ca) ** 2)) / 2
    d_b = (mean((wb * b + cb - 1) ** 2) + mean((wb * p * a + cb) ** 2)) / 2
    assert_allclose(metrics["loss_d"], (d_a + d_b) / 2, rtol=1e-5)

    def total(p, q):
        x, y = jnp.asarray(a), jnp.asarray(b)
        adversarial = ((wb * p * x + cb - 1) ** 2).mean() + ((wa * q * y + ca - 1) ** 2).mean()
        cycle = abs(p * q * x - x).mean() + abs(p * q * y - y).mean()
        return adversarial + 10 * cycle + 5 * (abs(q * x - x).mean() + abs(p * y - y).mean())

    for name, old, slope in zip(("g_ab", "g_ba"), (p, q), jax.grad(total, (0, 1))(p, q)):
        assert_allclose(state.nets[name]["params"]["scale"], moved(old, slope), rtol=1e-6)


def test_pix2pix_updates_d_first(monkeypatch):
    p, w, c = 1.5, 0.7, 0.1
    networks = NamedNets({"g": net(Line(p)), "d": net(Last(w, c), 2)}, ("g",), ("d",), judges={"g": "d"})
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
    lines = {"g_ab": Line(p), "g_ba": Line(q), "d_a": Line(wa, ca), "d_b": Line(wb, cb)}
    networks = NamedNets(
        {name: net(line) for name, line in lines.items()}, ("g_ab", "g_ba"), ("d_a", "d_b"),
        judges={"g_ab": "d_b", "g_ba": "d_a"}, reads={"g_ab": "input", "g_ba": "image"},
    )  # fmt: skip
    config = config_of(UnpairedTask(), "least_squares")
    monkeypatch.setitem(TASKS, UnpairedTask, TaskFamily(lambda config, axis_name: networks, unpaired_task))
    method = make_method(EWCConfig(samples=4, strength=1.0), networks)
    trainer = make_trainer(config, method, resident(batch()))
    nets = {name: part.init(jax.random.key(0)) for name, part in networks.nets.items()}
    constants = make_prepared(trainer, Start(nets), method, jax.random.key(1)).constants
    a, b = batch()["input"].astype(np.float64), batch()["image"].astype(np.float64)
    for name, x, scale, (w, c) in (("g_ab", a, p, (wb, cb)), ("g_ba", b, q, (wa, ca))):
        slope = -w * (x / (1 + np.exp(w * scale * x + c)))  # of log D at each pixel, a mean over which is D's verdict
        assert_allclose(constants[name]["fisher"]["scale"], np.mean(slope[0]) ** 2, rtol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_patches_are_contrasted_at_their_places(monkeypatch, flip):
    """G keeps images and mirrored ones are turned back, so that queries and keys are the same vectors, mirrored or not."""
    g = net(Line(1.0), 2)
    features = lambda variables, x, layers, train, keys: [x * variables["params"]["scale"]]
    g = dataclasses.replace(g, parts={"features": features})
    unit = lambda x: x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True))
    f = dataclasses.replace(
        g, init=lambda key: {"params": {"gain": jnp.ones(())}},
        apply=lambda variables, x: ([unit(part * variables["params"]["gain"]) for part in x], {}),
    )  # fmt: skip
    networks = NamedNets({"g": g, "d": net(Line(0.5), 2), "f": f}, ("g",), ("d",), judges={"g": "d"})
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
    image = jax.random.uniform(jax.random.key(0), (3, 16, 16, 1), minval=-1.0)
    sample = jnp.concatenate([jnp.broadcast_to(image, (3, 16, 16, in_channels)), image], -1)
    keys = jax.random.split(jax.random.key(1), 3)
    out = augmented(config, keys, sample, None, in_channels)
    assert out.shape == sample.shape and (abs(out - sample).max((1, 2, 3)) > 0.1).all()
    assert_allclose(out[..., :in_channels], np.repeat(out[..., in_channels:], in_channels, -1), atol=1e-5)


def test_labels_keep_their_values_where_colours_change():
    sample = jnp.concatenate([jnp.ones((2, 8, 8, 5)), jnp.zeros((2, 8, 8, 3))], -1)
    out = vary(("color", "flip"), jax.random.split(jax.random.key(1), 2), sample, 5)
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
