"""The trainer: one object with the networks, phases, data and additions of a run."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import Config, ConfigError
from gan_jax.nets.conv import single_operations
from gan_jax.train.compile import COMPILERS, Device, Program, choose_devices, compile_population
from gan_jax.train.extension import NO_EXTENSION, Extension
from gan_jax.train.feed import Feed
from gan_jax.train.fit import NO_HOOKS, Hooks, Phases, fit, total_images
from gan_jax.train.optim import make_adam
from gan_jax.train.regularisers import check_regularisers, init_extras
from gan_jax.train.state import GanState, Networks, Variables, check_names
from gan_jax.train.step import MakeAdam, Step, Trains, everything, guard_names, make_optimizer, make_step
from gan_jax.train.task import Task
from gan_jax.trees import partition

MakeTask = Callable[[Config, str | None, Extension], Task]


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Networks, phases, data and additions of a run.

    Attributes:
      config: of the run.
      make_task: `(config, axis name, extension) -> Task`; batch statistics are synchronised over the axis.
      feed: source of batches.
      trains: `network -> (path below its params -> whether the leaf is trained)`.
      extension: additions of a transfer method to each step.
      optimizer: makes the optimiser, as `train.optim.make_adam`.
    """

    config: Config
    make_task: MakeTask
    feed: Feed
    trains: Trains = everything
    extension: Extension = NO_EXTENSION
    optimizer: MakeAdam = make_adam

    @functools.cached_property
    def task(self) -> Task:
        """The task on one device.

        Raises:
          ConfigError: a regulariser is on that the task cannot have, or a phase does not fit `train.d_steps`.
        """
        task = self.make_task(self.config, None, self.extension)
        check_names(tuple(task.nets))
        check_regularisers(self.config.loss, task)
        batches = self.config.train.d_steps
        for phase in task.phases:
            if phase.repeats > batches or (phase.counts and phase.repeats < batches):
                raise ConfigError(
                    f"phase {phase.name} has {phase.repeats} updates in a step of train.d_steps {batches} batches; use "
                    + (f"{batches}, since it counts them" if phase.counts else f"{batches} at most")
                )
        return task

    def replace(self, **changes: Any) -> Trainer:
        """A trainer with some attributes replaced."""
        return dataclasses.replace(self, **changes)

    def specs(self) -> Networks:
        """Shapes and dtypes of the networks' variables."""
        return {name: net.specs() for name, net in self.task.nets.items()}

    def init_networks(self, key: jax.Array) -> Networks:
        """Draws fresh variables of all networks."""
        return {name: net.init(jax.random.fold_in(key, i)) for i, (name, net) in enumerate(self.task.nets.items())}

    def init(self, nets: Networks, key: jax.Array, constants: dict[str, Any] | None = None) -> GanState:
        """Makes the state at the start of training; optimisers and averages begin from `nets`, pretrained or fresh.

        Args:
          nets: variables by network.
          key: typed PRNG key of the run.
          constants: of the transfer method.
        """
        task, config, further = self.task, self.config, self.extension.regularisers
        opt = {}
        for phase in task.phases:
            optimizer = make_optimizer(config, task, phase, further, self.optimizer)
            for name in phase.trains:
                opt.setdefault(name, optimizer.init(partition(nets[name]["params"], self.trains(name))[0]))
        copy = lambda tree: jax.tree_util.tree_map(jnp.array, tree)  # a donated state must not hold a buffer twice
        return GanState(
            step=jnp.zeros((), jnp.int32),
            images=jnp.zeros((), jnp.int32),
            nets={name: nets[name] for name in task.nets},
            ema={name: copy(nets[name]) for name in task.averaged},
            opt={name: opt[name] for name in task.nets if name in opt},
            extras=task.init_extras() | init_extras(config.loss, task) | self.extension.init_extras(nets),
            key=key,
            constants=copy(constants or {}),
        )

    def step(self, axis_name: str | None = None, devices: int = 1, phases: Sequence[str] | None = None) -> Step:
        """Makes the pure function `(state, data) -> (state, metrics)` of all phases, or of the named ones."""
        task = self.task if axis_name is None else self.make_task(self.config, axis_name, self.extension)
        return make_step(
            task, self.config, self.feed.draw, self.trains, axis_name=axis_name, devices=devices, phases=phases,
            extension=self.extension, make=self.optimizer,
        )  # fmt: skip

    def stages(self) -> list[Phases]:
        """The sets of active phases of the run, in order."""
        return self.task.stages(total_images(self.config))

    def compile(self) -> dict[Phases, Program]:
        """Makes a program for each set of active phases; a program is compiled at its first dispatch."""
        train = self.config.train
        devices = choose_devices(train.devices, train.batch)
        make = lambda phases: functools.partial(self.step, phases=phases)
        return {
            phases: COMPILERS[train.compile](
                make(phases), train.steps_per_dispatch, devices, self.feed.resident is not None, self.extension.sharding
            )
            for phases in self.stages()
        }

    def compile_population(self, devices: Sequence[Device]) -> dict[Phases, Program]:
        """Makes the programs of a population: states and data have a leading axis of replicas, each a run of its own."""
        make = lambda phases: functools.partial(self.step, phases=phases)
        steps = self.config.train.steps_per_dispatch
        return {phases: compile_population(make(phases), steps, devices) for phases in self.stages()}

    def fit(
        self, state: GanState, hooks: Hooks = NO_HOOKS, programs: dict[Phases, Program] | None = None
    ) -> tuple[GanState, bool]:
        """Trains until `train.kimg`, as `train.fit.fit`. Programs of `compile` can be used for several states."""
        programs = self.compile() if programs is None else programs
        return fit(self.config, self.task, programs, self.feed, self.trains, state, hooks)

    def guard_names(self, state: GanState, phases: Phases) -> list[str]:
        """The paths of the leaves that the entries of the metric `finite` stand for."""
        return guard_names(self.task, state, self.trains, phases)

    def flops(self, constants: Callable[[Networks], dict[str, Any]] = lambda nets: {}) -> float:
        """Counts the floating-point operations of one step of all phases on one device, by the compiler's own count.

        The step is traced and lowered over shapes, and not computed. A frozen leaf is no input of the differentiated
        function, so the program has no backward pass for it. Work of some steps only (a lazy penalty) counts as if each
        step had it.

        Args:
          constants: `nets -> constants` of the transfer method.
        """
        begin = lambda nets: self.init(nets, jax.random.key(0), constants(nets))
        state = jax.eval_shape(begin, self.specs())
        data = jax.eval_shape(lambda: jax.tree_util.tree_map(jnp.asarray, self.feed.resident))
        phases = self.task.active(math.inf)
        return lowered_flops(self.step(phases=phases), state, data)


def lowered_flops(function: Callable[..., Any], *specs: Any) -> float:
    """Counts the floating-point operations of a function over shapes, by the compiler's own count of the lowered program."""
    with single_operations():
        # A new function: one that was traced before would be counted in the form in which it runs.
        analysis = jax.jit(lambda *args: function(*args)).lower(*specs).cost_analysis()
    if analysis is None:
        raise RuntimeError("this version of XLA does not count operations on this platform")
    return float(analysis["flops"])


__all__ = ["MakeTask", "Trainer", "Variables", "lowered_flops"]
