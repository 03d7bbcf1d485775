"""The step: phases of updates, then the moving average. Written for one device of a mapped axis.

The usual adversarial phases are here too, so that a step reads from top to bottom: D's batch, fakes, logits and loss
(`d_phase`), G's (`g_phase`), regularisers and Adam (`make_update`), all phases and the average (`make_step`).

Every compiler (`train.compile`) runs this step. The result is the same on any number of devices: gradients and batch
statistics are averaged over the axis, and each draw is keyed by (run, step, purpose, global example index).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan_jax.config import Config
from gan_jax.losses import LOSSES
from gan_jax.losses.adversarial import G_SEES_REAL
from gan_jax.random_streams import Purpose
from gan_jax.train.context import LossOutput, StepContext, example_index, example_keys
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import Draw, adapt_augment, strength
from gan_jax.train.optim import (
    LR_SCALE,
    annealed,
    apply_updates,
    ema_decay,
    lazy_correction,
    learning_rate,
    lerp,
    make_adam,
    project_conflict,
)
from gan_jax.train.regularisers import Extras, Regulariser, regularisers_of
from gan_jax.train.state import GanState, Networks
from gan_jax.train.task import Metrics, Phase, Task
from gan_jax.trees import flatten, merge, partition

Chosen = Callable[[str], bool]  # whether the leaf at this path of `params` is trained
Trains = Callable[[str], Chosen]  # network -> which of its leaves are trained
MakeAdam = Callable[..., optax.GradientTransformation]  # as `optim.make_adam`
Step = Callable[[GanState, Any], tuple[GanState, Metrics]]
LARGE = 2**19  # values of a leaf from which every pass over it takes time


def everything(network: str) -> Chosen:
    """Trains every leaf of a network."""
    return lambda path: True


def d_phase(config: Config, extension: Extension = NO_EXTENSION) -> Phase:
    """Makes D's phase: fakes without a gradient, logits of both sides, adversarial loss."""
    loss, optim = config.loss, config.optim
    adversarial = LOSSES[loss.name]

    def inputs(ctx: StepContext) -> tuple[StepContext, Networks]:
        fake, collections = ctx.task.generate(ctx.g, ctx.batch, ctx.latent_keys, True)
        return ctx.replace(fake=jax.lax.stop_gradient(fake)), {"g": collections}

    def d_loss(ctx: StepContext) -> LossOutput:
        x_real, x_fake = ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), ctx.augmented(ctx.fake, Purpose.AUGMENT_FAKE)
        real, fake, collections = ctx.discriminate(x_real, x_fake)
        value = adversarial(extension.logits_fn(ctx, real), extension.logits_fn(ctx, fake))[0].mean()
        metrics = {
            "loss_d": value,
            "logits_real": real.logits.mean(),
            "logits_fake": fake.logits.mean(),
            "sign_real": jnp.sign(real.logits).mean(),
        }
        ctx = ctx.replace(
            x_real=x_real, x_fake=x_fake, logits=(real.logits, fake.logits),
            intermediates=(real.intermediates, fake.intermediates),
        )  # fmt: skip
        return LossOutput(value * extension.weight(ctx, "d"), ctx, {"d": collections}, metrics)

    def adapt(extras: Extras, metrics: Metrics, updates: jax.Array) -> Extras:
        return adapt_augment(config.augment, extras, metrics["sign_real"], updates, config.train.batch)

    return Phase(
        "d", ("d",), d_loss, inputs,
        latent_keys=lambda ctx: ctx.keys(Purpose.D_LATENTS),
        repeats=config.train.d_steps, counts=True, lr=optim.d_lr, post_update=adapt,
        end_kimg=None if extension.adversarial else 0.0,
    )  # fmt: skip


def g_phase(config: Config, extension: Extension = NO_EXTENSION) -> Phase:
    """Makes G's phase: samples, their logits, adversarial loss; it starts after D's warm-up."""
    loss = config.loss
    adversarial = LOSSES[loss.name]

    def g_loss(ctx: StepContext) -> LossOutput:
        fake, collections = ctx.task.generate(ctx.g, ctx.batch, ctx.latent_keys, True)
        if not extension.adversarial:
            ctx = ctx.replace(fake=fake, g_collections=collections)
            return LossOutput(jnp.zeros(()), ctx, {"g": collections}, {})
        x_fake = ctx.augmented(fake, Purpose.AUGMENT_FAKE)
        if loss.name in G_SEES_REAL:
            of_real, of_fake, _ = ctx.discriminate(ctx.augmented(ctx.real, Purpose.AUGMENT_REAL), x_fake)
            logits_real, logits_fake = extension.logits_fn(ctx, of_real), extension.logits_fn(ctx, of_fake)
        else:
            of_fake = ctx.discriminate_one(x_fake)
            logits_fake = extension.logits_fn(ctx, of_fake)
            logits_real = jnp.zeros_like(logits_fake)  # not used by this loss
        value = adversarial(logits_real, logits_fake)[1].mean()
        terms = ctx.task.terms(ctx.g, fake, ctx.batch, ctx.latent_keys)
        value = value if terms is None else value + terms.mean()
        ctx = ctx.replace(fake=fake, g_collections=collections, intermediates=({}, of_fake.intermediates))
        return LossOutput(value * extension.weight(ctx, "g"), ctx, {"g": collections}, {"loss_g": value})

    return Phase(
        "g", ("g",), g_loss, start_kimg=config.d_warmup_kimg, latent_keys=lambda ctx: ctx.step_keys(Purpose.G_LATENTS)
    )


class Updated(NamedTuple):
    """The result of an update: new values by network."""

    nets: Networks
    opt: dict[str, Any]
    extras: Extras
    metrics: Metrics


def make_optimizer(
    config: Config, task: Task, phase: Phase, further: Sequence[Regulariser] = (), make: MakeAdam = make_adam
) -> optax.GradientTransformation:
    """Makes Adam for a phase's networks, with betas corrected for lazy regularisers."""
    return make(config.optim, _correction(config, regularisers_of(config.loss, task, phase.trains, further)))


def _correction(config: Config, regularisers: Sequence[Regulariser]) -> float:
    return lazy_correction(*(term.interval(config.loss) for term in regularisers))


def make_update(
    config: Config,
    task: Task,
    phase: Phase,
    trains: Trains,
    sync: Callable[[Any], Any],
    extension: Extension = NO_EXTENSION,
    make: MakeAdam = make_adam,
) -> Callable[[GanState, StepContext], Updated]:
    """Makes `update(state, ctx) -> Updated`: the gradient of a phase's loss, Adam, then the lazy regularisers' own updates.

    Args:
      config: of loss and optimiser.
      task, phase: networks and loss.
      trains: which of their leaves are trained; others have no backward pass.
      sync: mean of a tree over devices.
      extension: further regularisers, and transforms of contexts and updates.
      make: makes the optimiser.
    """
    optim, regularisers = config.optim, regularisers_of(config.loss, task, phase.trains, extension.regularisers)
    eager = [term for term in regularisers if term.interval(config.loss) == 1 and not term.projected]
    projected = [term for term in regularisers if term.interval(config.loss) == 1 and term.projected]
    lazy = [term for term in regularisers if term.interval(config.loss) > 1]
    correction = _correction(config, regularisers)
    lr = optim.lr if phase.lr is None else phase.lr
    # The inputs of a phase are computed from the transformed context already.
    transform = extension.transform if phase.inputs is None else lambda ctx: ctx

    def update(state: GanState, ctx: StepContext) -> Updated:
        parts = {name: partition(state.nets[name]["params"], trains(name)) for name in phase.trains}
        trained = {name: part for name, (part, _) in parts.items()}

        def with_leaves(trained: Any) -> StepContext:
            nets = {
                name: {**state.nets[name], "params": merge(trained[name], frozen)}
                for name, (_, frozen) in parts.items()
            }
            return transform(ctx.with_nets(**nets))

        def objective(trained: Any) -> tuple[jax.Array, Any]:
            output = phase.loss(with_leaves(trained))
            terms = {term.name: term.value(output.ctx) for term in eager}
            total = output.loss + sum((value for value, _ in terms.values()), start=jnp.zeros(()))
            metrics = output.metrics | {name: value for name, (value, _) in terms.items()}
            changes = dict(output.extras)
            changes |= {name: value for _, extras in terms.values() for name, value in extras.items()}
            return total, (output.collections, metrics, changes)

        grads, (collections, metrics, changes) = jax.grad(objective, has_aux=True)(trained)
        grads, collections, metrics = sync((grads, collections, metrics))
        extras = {**ctx.extras, **changes}
        main = grads
        for term in projected:  # the compiler merges this pass with the one above

            def projected_loss(trained: Any, term: Regulariser = term) -> tuple[jax.Array, Extras]:
                return term.value(phase.loss(with_leaves(trained)).ctx)

            (value, changes), other = jax.value_and_grad(projected_loss, has_aux=True)(trained)
            metrics[term.name], other = sync((value, other))
            other, metrics[f"{term.name}_conflict"] = project_conflict(other, main)
            grads, extras = jax.tree_util.tree_map(jnp.add, grads, other), {**extras, **changes}
        adam = make(optim, correction, ctx.annealed("b2", optim.b2))
        rate = learning_rate(optim, ctx.annealed("lr", lr), config.train.kimg * 1000, state.images) * correction
        rate *= state.extras.get(LR_SCALE, 1.0)

        def apply_grads(grads: Any, opt: Any, trained: Any) -> tuple[Any, Any]:
            new_trained, new_opt = {}, {}
            for name in phase.trains:
                before = trained[name], opt[name]
                after = apply_updates(adam, rate, grads[name], opt[name], trained[name])
                if extension.post_update is not None:
                    after = extension.post_update(ctx, name, before, after)
                new_trained[name], new_opt[name] = after
            return new_trained, new_opt

        trained, opt = apply_grads(grads, {name: state.opt[name] for name in phase.trains}, trained)
        for term in lazy:
            interval = term.interval(config.loss)

            def lazy_update(args: Any, term: Regulariser = term, interval: int = interval) -> Any:
                trained, opt, extras = args

                def penalty(trained: Any) -> tuple[jax.Array, Extras]:
                    value, changes = term.value(with_leaves(trained))
                    return value * interval, changes

                (value, changes), grads = jax.value_and_grad(penalty, has_aux=True)(trained)
                value, grads = sync((value, grads))
                return *apply_grads(grads, opt, trained), {**extras, **changes}, value

            skip = lambda args: (*args, jnp.zeros(()))
            due = ctx.update_count % interval == 0
            trained, opt, extras, metrics[term.name] = jax.lax.cond(due, lazy_update, skip, (trained, opt, extras))
        metrics["finite"] = _finite(grads, trained)
        nets = {}
        for name, (_, frozen) in parts.items():
            others = collections.get(name, {k: v for k, v in state.nets[name].items() if k != "params"})
            nets[name] = {"params": merge(trained[name], frozen), **others}
        return Updated(nets, opt, extras, metrics)

    return update


def _finite(grads: Any, params: Any) -> jax.Array:
    """Flags `[leaves]` bool: whether the gradient and the new value of each leaf are finite."""
    pairs = zip(jax.tree_util.tree_leaves(grads), jax.tree_util.tree_leaves(params), strict=True)
    flags = [
        # One pass over both: zero times an infinite value is not a number, and neither is a sum with it.
        jnp.isfinite((0 * g + 0 * p).sum()) if g.size >= LARGE else jnp.isfinite(g).all() & jnp.isfinite(p).all()
        for g, p in pairs
    ]
    return jnp.stack(flags) if flags else jnp.ones((0,), bool)


def make_step(
    task: Task,
    config: Config,
    draw: Draw,
    trains: Trains = everything,
    *,
    axis_name: str | None = None,
    devices: int = 1,
    phases: Sequence[str] | None = None,
    extension: Extension = NO_EXTENSION,
    make: MakeAdam = make_adam,
) -> Step:
    """Makes `step(state, data) -> (state, metrics)`.

    Args:
      task: networks and phases.
      config: of loss, optimiser, EMA and batch size.
      draw: makes a batch of `train.batch / devices` examples from `data`.
      trains: which leaves of the networks' params are trained; others have no backward pass.
      axis_name: mapped axis of the devices of a run; None = one device.
      devices: size of that axis.
      phases: names of the active phases; None = all.
      extension: additions of a transfer method.
      make: makes the optimiser.

    Returns:
      A pure function. Metrics are float32 scalars averaged over devices, and `finite`, a bool for each trained leaf in
      the order of `guard_names`.
    """
    train = config.train
    active = [phase for phase in task.phases if phases is None or phase.name in phases]
    learning = {name for phase in active for name in phase.trains}

    def sync(tree: Any) -> Any:
        if axis_name is None:
            return tree
        if devices > 1:
            return jax.lax.pmean(tree, axis_name)
        leaves, structure = jax.tree_util.tree_flatten(tree)
        means = iter(jax.lax.pmean([leaf for leaf in leaves if jnp.size(leaf) < LARGE], axis_name))
        # The mean over one device is a copy, which large leaves are spared.
        return structure.unflatten([next(means) if jnp.size(leaf) < LARGE else leaf for leaf in leaves])

    updates = {p.name: make_update(config, task, p, trains, sync, extension, make) for p in active}
    first_draw, total_draws = {}, 0
    for phase in task.phases:
        first_draw[phase.name], total_draws = total_draws, total_draws + phase.repeats

    def make_context(
        state: GanState, data: Any, latent_keys: Callable[[StepContext], jax.Array], batch: Any, draws: Any, count: Any
    ) -> StepContext:
        """Makes the context of batch number `batch` of the step; `draws` numbers the draws of the step."""
        index = example_index(train.batch // devices, axis_name)
        ctx = StepContext(
            config.loss, task, state.nets,
            batch=draw(data, example_keys(state, Purpose.DATA, batch, index), batch),
            index=index,
            keys=lambda purpose, of=index: example_keys(state, purpose, draws, of),
            step_keys=lambda purpose: example_keys(state, purpose, 0, index),
            latent_keys=index,  # until they are drawn below
            augment_p=strength(config, state),
            extras=state.extras, constants=state.constants, update_count=count, sync=sync,
            annealed=lambda name, start: annealed(config.anneal, name, start, state.images),
            capture=extension.capture, step=state.step, images=state.images,
        )  # fmt: skip
        return ctx.replace(latent_keys=latent_keys(ctx))

    def update_once(state: GanState, data: Any, phase: Phase, i: Any) -> tuple[GanState, Metrics]:
        """Runs the i-th update of a phase in this step."""
        count = state.step * phase.repeats + i
        keys = phase.latent_keys or (lambda ctx: ctx.keys(Purpose.G_LATENTS))
        batch, draws = train.d_steps - phase.repeats + i, first_draw[phase.name] + i
        ctx, nets = make_context(state, data, keys, batch, draws, count), {}
        if phase.inputs is not None:
            ctx, collections = phase.inputs(extension.transform(ctx))
            # A network that no active phase trains stays bit-exact, with its running statistics.
            nets = {n: {**state.nets[n], **sync(c)} for n, c in collections.items() if n in learning}
        new = updates[phase.name](state, ctx)
        extras = phase.post_update(new.extras, new.metrics, count + 1)
        images = state.images + train.batch if phase.counts else state.images
        nets, opt = {**state.nets, **nets, **new.nets}, {**state.opt, **new.opt}
        metrics = new.metrics
        if phase.counts and ctx.augment_p is not None:
            metrics = metrics | {"ada_p": ctx.augment_p}  # strength of augmentation of these examples
        return state.replace(nets=nets, opt=opt, images=images, extras=extras), metrics

    def update_phase(state: GanState, data: Any, phase: Phase) -> tuple[GanState, Metrics]:
        if phase.repeats == 1:
            return update_once(state, data, phase, 0)
        state, rows = jax.lax.scan(lambda s, i: update_once(s, data, phase, i), state, jnp.arange(phase.repeats))
        return state, {k: v.all(0) if k == "finite" else v.mean(0) for k, v in rows.items()}

    def update_average(state: GanState, name: str) -> Any:
        """The moving average after the step; only trained leaves move, since a frozen one is equal in both copies."""
        trained, _ = partition(state.nets[name]["params"], trains(name))
        average, frozen = partition(state.ema[name]["params"], trains(name))
        half_life = annealed(config.anneal, "half_life_kimg", config.ema.half_life_kimg, state.images)
        decay = ema_decay(config.ema, train.batch * train.d_steps, state.images, half_life)
        return {**state.nets[name], "params": merge(lerp(average, trained, decay), frozen)}

    def step(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        before, metrics, finite = state, {}, []
        if not any(phase.counts for phase in active):
            state = state.replace(images=state.images + train.batch * train.d_steps)
        for phase in active:
            state, of_phase = update_phase(state, data, phase)
            finite.append(of_phase.pop("finite"))
            metrics |= of_phase
        metrics["finite"] = jnp.concatenate(finite)
        ema = {name: update_average(state, name) for name in task.averaged if name in learning}
        state = state.replace(ema={**state.ema, **ema})
        if extension.post_step is not None and ema:
            probe = lambda ctx: ctx.step_keys(Purpose.PROBE_LATENTS)
            ctx = make_context(state, data, probe, train.d_steps - 1, total_draws, before.step)
            state = extension.post_step(before, state, extension.transform(ctx))
        return state.replace(step=state.step + 1), metrics | extension.metrics(state)

    return step


def guard_names(task: Task, state: GanState, trains: Trains, phases: Sequence[str]) -> list[str]:
    """The paths of the leaves that the entries of the metric `finite` stand for."""
    names = []
    for phase in task.phases:
        for net in sorted(phase.trains) if phase.name in phases else ():
            names += [f"{net}/params/{path}" for path in flatten(partition(state.nets[net]["params"], trains(net))[0])]
    return names
