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
from gan_jax.losses import LOSSES, gradient_penalty, squared_gradient
from gan_jax.losses.adversarial import G_SEES_REAL
from gan_jax.tasks import Batch, Task
from gan_jax.train.augment import adapt_augment, init_augment, strength
from gan_jax.train.ema import ema_decay, lerp
from gan_jax.train.feed import Draw
from gan_jax.train.optim import apply_updates, lazy_correction, learning_rate, make_adam
from gan_jax.train.state import GanState, Variables
from gan_jax.trees import flatten, merge, partition

Chosen = Callable[[str], bool]  # whether the leaf at this path of `params` is trained
Metrics = dict[str, jax.Array]
Step = Callable[[GanState, Any], tuple[GanState, Metrics]]
Phase = Literal["both", "d"]

DATA, D_LATENTS, G_LATENTS, AUGMENT_REAL, AUGMENT_FAKE, MIX = range(6)  # purposes of random draws


def init_state(
    task: Task, config: Config, key: jax.Array, g: Variables, d: Variables, trains: tuple[Chosen, Chosen]
) -> GanState:
    """The state at the start of training. Pretrained weights are in `g` and `d` already: optimisers and EMA begin from them."""
    g_adam, d_adam = make_optimizers(config)
    return GanState(
        step=jnp.zeros((), jnp.int32),
        images=jnp.zeros((), jnp.int32),
        g=g,
        d=d,
        g_ema=jax.tree_util.tree_map(jnp.array, g),  # a copy: a donated state must not hold a buffer twice
        opt_g=g_adam.init(partition(g["params"], trains[0])[0]),
        opt_d=d_adam.init(partition(d["params"], trains[1])[0]),
        extras=init_augment(config.augment),
        key=key,
    )


def make_optimizers(config: Config) -> tuple[Any, Any]:
    """Adam for G and for D; D's betas are corrected where penalties have updates of their own."""
    return make_adam(config.optim), make_adam(config.optim, _d_correction(config))


def penalised(config: Config) -> bool:
    """Whether D pays for its gradient."""
    return max(config.loss.r1_gamma, config.loss.r2_gamma, config.loss.gp_lambda) > 0


def _d_correction(config: Config) -> float:
    return lazy_correction(config.loss.penalty_interval) if penalised(config) else 1.0


def make_step(
    task: Task,
    config: Config,
    draw: Draw,
    trains: tuple[Chosen, Chosen],
    *,
    axis_name: str | None = None,
    devices: int = 1,
    phase: Phase = "both",
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

    Returns:
      A pure function. Metrics are float32 scalars averaged over devices, and `finite`, a bool per trained leaf in the
      order of `guard_names`.
    """
    loss, optim, train = config.loss, config.optim, config.train
    per_device = train.batch // devices
    total_images = train.kimg * 1000
    g_adam, d_adam = make_optimizers(config)
    d_correction = _d_correction(config)
    adversarial = LOSSES[loss.name]

    def sync(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def example_keys(state: GanState, purpose: int, i: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.key, state.step), purpose), i)
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * per_device
        return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(per_device))

    def judge(d_vars: Variables, real: Any, fake: Any, batch: Batch) -> tuple[jax.Array, jax.Array, Variables]:
        """Logits of both sides: one pass over both, or two where examples influence each other."""
        if task.examples_mix:
            logits_real, collections = task.discriminate(d_vars, real, batch, True)
            logits_fake, collections = task.discriminate({**d_vars, **collections}, fake, batch, True)
            return logits_real, logits_fake, collections
        join = lambda a, b: jnp.concatenate([a, b])  # noqa: E731
        both, labels = jax.tree_util.tree_map(join, real, fake), jax.tree_util.tree_map(join, batch, batch)
        logits, collections = task.discriminate(d_vars, both, labels, True)
        return logits[:per_device], logits[per_device:], collections

    def penalty(
        d_vars: Variables, real: Any, fake: Any, batch: Batch, keys: jax.Array, see: Callable[[Any], Any]
    ) -> jax.Array:
        critic = lambda x: task.discriminate(d_vars, see(x), batch, False)[0]  # noqa: E731
        terms = jnp.zeros((per_device,))
        if loss.r1_gamma > 0:
            terms += loss.r1_gamma / 2 * squared_gradient(critic, real)
        if loss.r2_gamma > 0:
            terms += loss.r2_gamma / 2 * squared_gradient(critic, fake)
        if loss.gp_lambda > 0:
            terms += loss.gp_lambda * gradient_penalty(critic, real, fake, jax.vmap(jax.random.uniform)(keys))
        return terms.mean() * loss.penalty_interval

    def update_d(state: GanState, data: Any, i: Any) -> tuple[GanState, Metrics]:
        batch = draw(data, example_keys(state, DATA, i), i)
        real = task.real(batch)
        fake, g_collections = task.generate(state.g, batch, example_keys(state, D_LATENTS, i), True)
        fake = jax.lax.stop_gradient(fake)
        trained, frozen = partition(state.d["params"], trains[1])
        collections = {k: v for k, v in state.d.items() if k != "params"}
        variables = lambda trained: {"params": merge(trained, frozen), **collections}  # noqa: E731
        # Gradients are penalised where ADA begins, as published; DiffAugment's are those of the image as it is.
        p, real_keys = strength(state), example_keys(state, AUGMENT_REAL, i)
        see = lambda x: x if p is None else task.augment(real_keys, x, p)  # noqa: E731
        penalty_of = lambda trained: penalty(variables(trained), real, fake, batch, example_keys(state, MIX, i), see)  # noqa: E731

        def objective(trained: Any) -> tuple[jax.Array, Any]:
            seen = task.augment(real_keys, real, p)
            made = task.augment(example_keys(state, AUGMENT_FAKE, i), fake, p)
            logits_real, logits_fake, updated = judge(variables(trained), seen, made, batch)
            value = adversarial(logits_real, logits_fake)[0].mean()
            extra = penalty_of(trained) if penalised(config) and loss.penalty_interval == 1 else jnp.zeros(())
            metrics = {
                "loss_d": value,
                "penalty": extra,
                "logits_real": logits_real.mean(),
                "logits_fake": logits_fake.mean(),
                "sign_real": jnp.sign(logits_real).mean(),
            }
            return value + extra, (updated, metrics)

        grads, (updated, metrics) = jax.grad(objective, has_aux=True)(trained)
        grads, updated, metrics = sync((grads, updated, metrics))
        rate = learning_rate(optim, optim.d_lr or optim.lr, total_images, state.images) * d_correction
        trained, opt_d = apply_updates(d_adam, rate, grads, state.opt_d, trained)
        if penalised(config) and loss.penalty_interval > 1:

            def lazy(args: Any) -> Any:
                trained, opt_d = args
                value, grads = sync(jax.value_and_grad(penalty_of)(trained))
                return *apply_updates(d_adam, rate, grads, opt_d, trained), value

            due = (state.step * train.d_steps + i) % loss.penalty_interval == 0
            trained, opt_d, value = jax.lax.cond(due, lazy, lambda args: (*args, jnp.zeros(())), (trained, opt_d))
            metrics["penalty"] = value
        # While D warms up alone, G stays as it is to the bit, its running statistics too.
        new_g = {**state.g, **sync(g_collections)} if phase == "both" else state.g
        new_d = {"params": merge(trained, frozen), **updated}
        images = state.images + train.batch
        done = state.step * train.d_steps + i + 1
        extras = adapt_augment(config.augment, state.extras, metrics["sign_real"], done, train.batch)
        state = _replace(state, d=new_d, g=new_g, opt_d=opt_d, images=images, extras=extras)
        metrics |= {} if p is None else {"ada_p": p}  # what these images were shown with
        return state, metrics | {"finite": _finite(grads, trained)}

    def update_g(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        last = train.d_steps - 1
        batch = draw(data, example_keys(state, DATA, last), last)
        keys = example_keys(state, G_LATENTS, 0)
        trained, frozen = partition(state.g["params"], trains[0])
        collections = {k: v for k, v in state.g.items() if k != "params"}

        def objective(trained: Any) -> tuple[jax.Array, Any]:
            g_vars = {"params": merge(trained, frozen), **collections}
            fake, updated = task.generate(g_vars, batch, keys, True)
            made = task.augment(example_keys(state, AUGMENT_FAKE, train.d_steps), fake, strength(state))
            if loss.name in G_SEES_REAL:
                real_keys = example_keys(state, AUGMENT_REAL, train.d_steps)
                seen = task.augment(real_keys, task.real(batch), strength(state))
                logits_real, logits_fake, _ = judge(state.d, seen, made, batch)
            else:
                logits_fake, _ = task.discriminate(state.d, made, batch, True)
                logits_real = jnp.zeros_like(logits_fake)  # this loss does not look
            value = adversarial(logits_real, logits_fake)[1]
            more = task.terms(g_vars, fake, batch, keys)
            value = value.mean() if more is None else (value + more).mean()
            return value, (updated, value)

        grads, (updated, value) = jax.grad(objective, has_aux=True)(trained)
        grads, updated, value = sync((grads, updated, value))
        rate = learning_rate(optim, optim.lr, total_images, state.images)
        trained, opt_g = apply_updates(g_adam, rate, grads, state.opt_g, trained)
        # Only trained leaves are averaged: a frozen one is equal in both copies, and stays so to the bit.
        averaged, still = partition(state.g_ema["params"], trains[0])
        decay = ema_decay(config.ema, train.batch * train.d_steps, state.images)
        g_ema = {"params": merge(lerp(averaged, trained, decay), still), **updated}
        state = _replace(state, g={"params": merge(trained, frozen), **updated}, g_ema=g_ema, opt_g=opt_g)
        return state, {"loss_g": value, "finite": _finite(grads, trained)}

    def step(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        if train.d_steps == 1:
            state, metrics = update_d(state, data, 0)
        else:
            state, rows = jax.lax.scan(lambda s, i: update_d(s, data, i), state, jnp.arange(train.d_steps))
            metrics = {k: v.all(0) if k == "finite" else v.mean(0) for k, v in rows.items()}
        if phase == "both":
            state, more = update_g(state, data)
            metrics = metrics | more | {"finite": jnp.concatenate([metrics["finite"], more["finite"]])}
        return _replace(state, step=state.step + 1), metrics

    return step


def guard_names(state: GanState, trains: tuple[Chosen, Chosen], phase: Phase = "both") -> list[str]:
    """The leaves behind the entries of the metric `finite`."""
    names = [f"d/params/{p}" for p in flatten(partition(state.d["params"], trains[1])[0])]
    if phase == "both":
        names += [f"g/params/{p}" for p in flatten(partition(state.g["params"], trains[0])[0])]
    return names


def _finite(grads: Any, params: Any) -> jax.Array:
    """One bool per leaf: whether its gradient and its new value are finite."""
    pairs = zip(jax.tree_util.tree_leaves(grads), jax.tree_util.tree_leaves(params), strict=True)
    flags = [jnp.isfinite(g).all() & jnp.isfinite(p).all() for g, p in pairs]
    return jnp.stack(flags) if flags else jnp.ones((0,), bool)


def _replace(state: GanState, **changes: Any) -> GanState:
    return dataclasses.replace(state, **changes)
