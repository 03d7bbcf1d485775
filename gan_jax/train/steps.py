"""The one step body: D updates, then a G update, then the moving average. Written for one device of a mapped axis.

Every compiler (`compile.py`) runs this body. It computes the same game on any number of devices: gradients and
batch statistics are averaged over the axis, and each draw is keyed by (run, step, purpose, global example index).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.config import Config
from gan_jax.losses import LOSSES
from gan_jax.losses.adversarial import G_SEES_REAL
from gan_jax.tasks import Task
from gan_jax.train.anneal import annealed
from gan_jax.train.augment import adapt_augment, init_augment, strength
from gan_jax.train.draws import Purpose, example_index, example_keys
from gan_jax.train.ema import ema_decay, lerp
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import Draw
from gan_jax.train.regularisers import init_extras
from gan_jax.train.state import GanState, Variables
from gan_jax.train.turn import Turn
from gan_jax.train.update import Chosen, Metrics, Played, make_optimizer, make_update
from gan_jax.trees import flatten, merge, partition

Step = Callable[[GanState, Any], tuple[GanState, Metrics]]
Phase = Literal["both", "d"]


def init_state(
    task: Task,
    config: Config,
    key: jax.Array,
    g: Variables,
    d: Variables,
    trains: tuple[Chosen, Chosen],
    extension: Extension = NO_EXTENSION,
    kept: dict[str, Any] | None = None,
) -> GanState:
    """The state at the start of training. Pretrained weights are in `g` and `d` already: optimisers and EMA begin from them."""
    terms = extension.terms
    return GanState(
        step=jnp.zeros((), jnp.int32),
        images=jnp.zeros((), jnp.int32),
        g=g,
        d=d,
        g_ema=jax.tree_util.tree_map(jnp.array, g),  # a copy: a donated state must not hold a buffer twice
        opt_g=make_optimizer(config, "g", terms).init(partition(g["params"], trains[0])[0]),
        opt_d=make_optimizer(config, "d", terms).init(partition(d["params"], trains[1])[0]),
        extras=init_augment(config.augment) | init_extras(config.loss) | extension.begin(g, d),
        key=key,
        kept=jax.tree_util.tree_map(jnp.array, kept or {}),
    )


def make_step(
    task: Task,
    config: Config,
    draw: Draw,
    trains: tuple[Chosen, Chosen],
    *,
    axis_name: str | None = None,
    devices: int = 1,
    phase: Phase = "both",
    extension: Extension = NO_EXTENSION,
) -> Step:
    """Makes `step(state, data) -> (state, metrics)`.

    Args:
      task: the game.
      config: loss, optimiser, EMA and batch size are read from it.
      draw: makes a batch of `train.batch / devices` examples from `data`.
      trains: which leaves of G's and of D's params are trained; the others have no backward pass.
      axis_name: the mapped axis of devices that share one run; None = a run on one device.
      devices: the size of that axis.
      phase: `d` trains D alone (its warm-up), `both` the pair.
      extension: what a transfer method adds to the game.

    Returns:
      A pure function. Metrics are float32 scalars averaged over devices, and `finite`, a bool per trained leaf in the
      order of `guard_names`.
    """
    loss, train, terms = config.loss, config.train, extension.terms
    adversarial = LOSSES[loss.name]

    def sync(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    descend_g = make_update(config, "g", trains[0], sync, terms, extension.settle, extension.deal)
    descend_d = make_update(config, "d", trains[1], sync, terms, extension.settle)

    def make_turn(state: GanState, data: Any, latents: Purpose, batch: Any, draws: Any, done: jax.Array) -> Turn:
        """A turn that takes the step's batch number `batch`, and draws for the `draws`-th time in this step."""
        index = example_index(train.batch // devices, axis_name)
        keys = lambda purpose, of=index: example_keys(state, purpose, draws, of)
        return Turn(
            loss, task, state.g, state.d,
            batch=draw(data, example_keys(state, Purpose.DATA, batch, index), batch), index=index, keys=keys,
            latents=keys(latents) if latents == Purpose.D_LATENTS else example_keys(state, latents, 0, index),
            p=strength(config, state), extras=state.extras, kept=state.kept, done=done, sync=sync,
            now=lambda name, start: annealed(config.anneal, name, start, state.images),
            looks=extension.looks, step=state.step,
            images=state.images,
        )  # fmt: skip

    def play_d(turn: Turn) -> Played:
        seen, made = turn.augmented(turn.real, Purpose.AUGMENT_REAL), turn.augmented(turn.fake, Purpose.AUGMENT_FAKE)
        real, fake, collections = turn.look(seen, made)
        value = adversarial(extension.verdict(turn, real), extension.verdict(turn, fake))[0].mean()
        metrics = {
            "loss_d": value,
            "logits_real": real.logits.mean(),
            "logits_fake": fake.logits.mean(),
            "sign_real": jnp.sign(real.logits).mean(),
        }
        judged: dict[str, Any] = {"logits": (real.logits, fake.logits), "inside": (real.inside, fake.inside)}
        turn = dataclasses.replace(turn, seen=seen, made=made, **judged)
        return Played(value * extension.weight(turn, "d"), turn, collections, metrics)

    def play_g(turn: Turn) -> Played:
        fake, collections = task.generate(turn.g, turn.batch, turn.latents, True)
        if not extension.plays:
            return Played(jnp.zeros(()), dataclasses.replace(turn, fake=fake, left=collections), collections, {})
        made = turn.augmented(fake, Purpose.AUGMENT_FAKE)
        if loss.name in G_SEES_REAL:
            of_real, of_fake, _ = turn.look(turn.augmented(turn.real, Purpose.AUGMENT_REAL), made)
            logits_real, logits_fake = extension.verdict(turn, of_real), extension.verdict(turn, of_fake)
        else:
            of_fake = turn.look_one(made)
            logits_fake = extension.verdict(turn, of_fake)
            logits_real = jnp.zeros_like(logits_fake)  # this loss does not look
        value = adversarial(logits_real, logits_fake)[1].mean()
        more = task.terms(turn.g, fake, turn.batch, turn.latents)
        value = value if more is None else value + more.mean()
        turn = dataclasses.replace(turn, fake=fake, left=collections, inside=({}, of_fake.inside))
        return Played(value * extension.weight(turn, "g"), turn, collections, {"loss_g": value})

    def update_d(state: GanState, data: Any, i: Any) -> tuple[GanState, Metrics]:
        done = state.step * train.d_steps + i
        turn = extension.deal(make_turn(state, data, Purpose.D_LATENTS, i, i, done))
        fake, collections = task.generate(state.g, turn.batch, turn.latents, True)
        new = descend_d(state, dataclasses.replace(turn, fake=jax.lax.stop_gradient(fake)), play_d)
        # While D warms up alone, G stays as it is to the bit, its running statistics too.
        g = {**state.g, **sync(collections)} if phase == "both" else state.g
        extras = adapt_augment(config.augment, new.extras, new.metrics["sign_real"], done + 1, train.batch)
        images = state.images + train.batch
        # The strength is that which these images were shown with.
        metrics = new.metrics | ({} if turn.p is None else {"ada_p": turn.p})
        return _replace(state, d=new.variables, g=g, opt_d=new.opt, images=images, extras=extras), metrics

    def update_g(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        turn = make_turn(state, data, Purpose.G_LATENTS, train.d_steps - 1, train.d_steps, state.step)
        new = descend_g(state, turn, play_g)
        # Only trained leaves are averaged: a frozen one is equal in both copies, and stays so to the bit.
        averaged, still = partition(state.g_ema["params"], trains[0])
        half_life = turn.now("half_life_kimg", config.ema.half_life_kimg)
        decay = ema_decay(config.ema, train.batch * train.d_steps, state.images, half_life)
        g_ema = {**new.variables, "params": merge(lerp(averaged, new.trained, decay), still)}
        return _replace(state, g=new.variables, g_ema=g_ema, opt_g=new.opt, extras=new.extras), new.metrics

    def step(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        before = state
        if not extension.plays:
            state = _replace(state, images=state.images + train.batch * train.d_steps)
            metrics = {"finite": jnp.ones((len(flatten(partition(state.d["params"], trains[1])[0])),), bool)}
        elif train.d_steps == 1:
            state, metrics = update_d(state, data, 0)
        else:
            state, rows = jax.lax.scan(lambda s, i: update_d(s, data, i), state, jnp.arange(train.d_steps))
            metrics = {k: v.all(0) if k == "finite" else v.mean(0) for k, v in rows.items()}
        if phase == "both":
            state, more = update_g(state, data)
            metrics = metrics | more | {"finite": jnp.concatenate([metrics["finite"], more["finite"]])}
            if extension.after is not None:
                probe = make_turn(state, data, Purpose.PROBE_LATENTS, train.d_steps - 1, train.d_steps + 1, before.step)
                state = extension.after(before, state, extension.deal(probe))
        return _replace(state, step=state.step + 1), metrics | extension.shows(state)

    return step


def guard_names(state: GanState, trains: tuple[Chosen, Chosen], phase: Phase = "both") -> list[str]:
    """The leaves behind the entries of the metric `finite`."""
    names = [f"d/params/{p}" for p in flatten(partition(state.d["params"], trains[1])[0])]
    if phase == "both":
        names += [f"g/params/{p}" for p in flatten(partition(state.g["params"], trains[0])[0])]
    return names


def _replace(state: GanState, **changes: Any) -> GanState:
    return dataclasses.replace(state, **changes)
