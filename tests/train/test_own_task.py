"""A task that is no pair: two generators, one discriminator, batches of integers. `train` knows nothing of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import (
    Config,
    ConfigError,
    EMAConfig,
    FinetuneConfig,
    LoRAConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
)
from gan_jax.nets import NamedNets
from gan_jax.nets.build import make_net
from gan_jax.tasks import TASKS, TaskFamily, networks_of
from gan_jax.train.checkpoint.manager import Checkpointer
from gan_jax.train.context import LossOutput
from gan_jax.train.feed import resident
from gan_jax.train.task import Phase, Task
from gan_jax.transfer.method import make_trainer
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.preparation import Start
from gan_jax.transfer.start import make_prepared
from gan_jax.trees import flatten
from tests.lanes import default_rows
from tests.train.checkpoint_states import assert_same

WORDS, WIDTH, LENGTH = 7, 4, 5


@dataclasses.dataclass(frozen=True)
class Cipher:
    """Sentences `[B, 5]` of two languages, each the other's words under a permutation."""

    judged_kimg: float = 0.032  # thousand examples after which the generators meet D


class Translator(nn.Module):
    """Words `[B, L]` int32 -> logits over words `[B, L, 7]`."""

    @nn.compact
    def __call__(self, words: Any, labels: Any = None, train: bool = False) -> Any:
        h = nn.Dense(WIDTH, name="fc0")(jax.nn.one_hot(words, WORDS))
        return nn.Dense(WORDS, name="fc1")(jax.nn.tanh(h))


class Judge(nn.Module):
    """Words as distributions `[B, L, 7]` -> a logit for each place `[B, L]`."""

    @nn.compact
    def __call__(self, words: Any, labels: Any = None, train: bool = False) -> Any:
        return nn.Dense(1, name="head")(jax.nn.tanh(nn.Dense(WIDTH, name="fc0")(words)))[..., 0]


def cipher_nets(config: Config, axis_name: str | None) -> NamedNets:
    words = jnp.zeros((2, LENGTH), jnp.int32)
    translator = make_net(Translator(), (words, None))
    judge = make_net(Judge(), (jnp.zeros((2, LENGTH, WORDS)), None))
    return NamedNets({"g_ab": translator, "g_ba": translator, "d": judge}, ("g_ab", "g_ba"), ("d",))


def cipher_task(networks: NamedNets, config: Config, extension: Any) -> Task:
    """Supervised first (`mle`), then against D (`play`): two generators in one update."""
    nets, task = networks.nets, config.task
    write = lambda ctx, name, words: nets[name].apply(ctx.nets[name], words)[0]
    spoken = lambda logits: jax.nn.softmax(logits)
    judge = lambda ctx, words: nets["d"].apply(ctx.nets["d"], words)[0]

    def mle(ctx):
        likelihood = lambda name, x, y: jnp.take_along_axis(jax.nn.log_softmax(write(ctx, name, x)), y[..., None], -1)
        value = -likelihood("g_ab", ctx.batch["a"], ctx.batch["b"]).mean()
        value -= likelihood("g_ba", ctx.batch["b"], ctx.batch["a"]).mean()
        return LossOutput(value, ctx, {}, {"mle": value})

    def fakes(ctx):
        return ctx.replace(fake=jax.lax.stop_gradient(spoken(write(ctx, "g_ab", ctx.batch["a"])))), {}

    def d_loss(ctx):
        real, fake = judge(ctx, jax.nn.one_hot(ctx.batch["b"], WORDS)), judge(ctx, ctx.fake)
        value = (jax.nn.softplus(-real) + jax.nn.softplus(fake)).mean()
        return LossOutput(value, ctx, {}, {"loss_d": value})

    def play(ctx):
        there = spoken(write(ctx, "g_ab", ctx.batch["a"]))
        back = jnp.argmax(write(ctx, "g_ba", ctx.batch["b"]), -1)
        value = jax.nn.softplus(-judge(ctx, there)).mean() + 0.0 * back.mean()
        value += -jax.nn.log_softmax(write(ctx, "g_ba", ctx.batch["b"])).max(-1).mean()
        return LossOutput(value, ctx, {}, {"play": value})

    return Task(
        nets=nets,
        phases=(
            Phase("mle", ("g_ab", "g_ba"), mle, counts=True),
            Phase("d", ("d",), d_loss, fakes, start_kimg=task.judged_kimg, lr=config.optim.d_lr),
            Phase("play", ("g_ab", "g_ba"), play, start_kimg=task.judged_kimg),
        ),
        averaged=("g_ab", "g_ba"),
        regularisers=(),
    )


CONFIG: Any = Config(
    task=Cipher(),  # type: ignore[arg-type]
    optim=OptimConfig(lr=3e-2),
    ema=EMAConfig(half_life_kimg=0.01),
    train=TrainConfig(batch=8, steps_per_dispatch=2, kimg=0.096, devices=1),
)


@pytest.fixture(autouse=True)
def _cipher(monkeypatch):
    monkeypatch.setitem(TASKS, Cipher, TaskFamily(cipher_nets, cipher_task))


def feed():
    a = np.random.default_rng(0).integers(0, WORDS, (64, LENGTH), np.int32)
    return resident({"a": a, "b": (3 * a + 1) % WORDS})


FINETUNE = FinetuneConfig()


def begin(config=CONFIG, transfer: Any = FINETUNE):
    """`(trainer, state)` at the start of a run."""
    method = make_method(transfer, networks_of(config))
    trainer, key = make_trainer(config, method, feed()), jax.random.key(3)
    nets = {
        name: net.init(jax.random.fold_in(key, i)) for i, (name, net) in enumerate(networks_of(config).nets.items())
    }
    prepared = make_prepared(trainer, Start(nets), method, key)
    return trainer, trainer.init(prepared.nets, key, prepared.constants)


def values(tree):
    return {path: np.asarray(leaf) for path, leaf in flatten(tree).items()}


def test_it_learns_through_its_phases():
    rows = []
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, kimg=0.96))
    trainer, state = begin(config)
    assert trainer.stages() == [("mle",), ("mle", "d", "play")]
    d_before = values(state.nets["d"])
    from gan_jax.train.fit import Hooks

    state, stopped = trainer.fit(state, Hooks(row=lambda images, row: rows.append(row)))
    assert not stopped and int(state.images) == 960 and int(state.step) == 120
    assert "loss_d" not in rows[0] and "loss_d" in rows[-1] and rows[-1]["mle"] < 0.5 * rows[0]["mle"]
    assert all((d_before[path] != leaf).any() for path, leaf in values(state.nets["d"]).items())
    assert set(state.ema) == {"g_ab", "g_ba"} and set(state.opt) == {"g_ab", "g_ba", "d"}
    paths = flatten(state)
    assert {"g_ab/params/fc0/kernel", "g_ba_ema/params/fc1/bias", "d/params/head/bias"} <= set(paths)
    assert any(path.startswith("opt_g_ab/") for path in paths)


COMPILED = [("jit", 2), ("pmap", 2), ("population", 1)]


@pytest.mark.parametrize("compiler, devices", default_rows(COMPILED, []))
def test_every_compiler_computes_the_same(compiler, devices):
    transfer = LoRAConfig(rank=2)
    trainer, state = begin(transfer=transfer)
    want = values(trainer.fit(jax.tree.map(jnp.copy, state))[0].nets)
    if compiler == "population":
        data = {name: np.stack([x]) for name, x in trainer.feed.resident.items()}
        programs = trainer.compile_population(jax.devices()[:1])
        program = programs[trainer.stages()[0]]
        placed = program.put(jax.tree.map(lambda x: x[None], state))
        for i in range(6):
            placed, _ = programs[trainer.task.active(16 * i)].run(placed, program.put_data(data))
        got = {path: leaf[0] for path, leaf in values(placed.nets).items()}
    else:
        train = dataclasses.replace(CONFIG.train, compile=compiler, devices=devices)
        other, _ = begin(dataclasses.replace(CONFIG, train=train), transfer)
        got = values(other.fit(state)[0].nets)
    for path, leaf in want.items():
        assert_allclose(got[path], leaf, rtol=2e-4, atol=1e-5, err_msg=path)


def test_lora_trains_additions_alone():
    trainer, state = begin(transfer=LoRAConfig(rank=2))
    before = values(state.nets)
    after = values(trainer.fit(state)[0].nets)
    for path, leaf in before.items():
        moved = (after[path] != leaf).any()
        assert moved == (path.startswith("d/") or "/adapter/" in path), path


def test_resumes_to_the_bit(tmp_path):
    from gan_jax.train.fit import Hooks

    trainer, state = begin()
    with Checkpointer(tmp_path) as saver:
        config = dataclasses.replace(CONFIG, checkpoint=dataclasses.replace(CONFIG.checkpoint, every_kimg=0.048))
        whole, _ = trainer.replace(config=config).fit(
            jax.tree.map(jnp.copy, state), Hooks(save=lambda images, state: saver.save(images, state))
        )
        saver.wait()
        template = jax.eval_shape(lambda: begin()[1])
        half = saver.restore(template, images=48)
    assert half.images == 48
    assert_same(trainer.fit(half.state)[0], whole)


def test_regularisers_that_it_cannot_have_are_refused():
    config = dataclasses.replace(CONFIG, loss=LossConfig(r1_gamma=1.0, lecam=0.1))
    with pytest.raises(ConfigError, match="penalty, lecam, which this task cannot have"):
        begin(config)


def test_names_that_would_be_mistaken_are_refused():
    from gan_jax.train.state import check_names

    for name in ("step", "g_ema", "opt_g", "a/b"):
        with pytest.raises(ValueError, match="cannot be the name of a network"):
            check_names((name,))
