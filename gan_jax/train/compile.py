"""Compilers of the step: `jit` over a mesh, `pmap`, a population of runs; too little memory is named.

Each turns `step(state, data) -> (state, metrics)` into a program that runs K steps in one dispatch, with the state
donated. The host gets metrics averaged over the K steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gan_jax.config import ConfigError
from gan_jax.train.state import GanState
from gan_jax.train.step import Step
from gan_jax.train.task import Metrics
from gan_jax.trees import map_with_path

# ----------------------------------------------------------------------------------------------------------------------
# Errors that mean too little memory, of the host or of a device.


class MemoryLimitError(RuntimeError):
    """There is too little memory; the message says for what, and how to need less."""


def is_memory_limit(error: BaseException | None) -> bool:
    """Whether an exception, or a cause of it, means that memory ran out (Python's, the system's, XLA's)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def memory_limits(what: str, remedy: str) -> Iterator[None]:
    """Context that turns exceptions about exhausted memory into a `MemoryLimitError` of one sentence.

    Args:
      what: the object that did not fit.
      remedy: how to need less memory.
    """
    try:
        yield
    except MemoryLimitError:
        raise
    except Exception as error:
        if not is_memory_limit(error):
            raise
        raise MemoryLimitError(f"too little memory for {what} ({first_line(error)}): {remedy}") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters; its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


# ----------------------------------------------------------------------------------------------------------------------
# The compilers.

AXIS = "batch"
Sharding = Callable[[str, tuple[int, ...], int], int | None]  # as `Extension.sharding`
Device = Any  # jax.Device, which type checkers see as a variable


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled loop of K steps.

    Attributes:
      run: `(state, data) -> (state, metrics)`; the state that goes in is donated.
      put: places a host state, or a tree of its parts, for `run`; `get`: the inverse, a state without device axis (arrays
        stay on devices).
      put_data: places resident arrays, or a stack of batches `[K, d_steps, B, ...]` of this process.
    """

    run: Callable[[Any, Any], tuple[Any, Metrics]]
    put: Callable[[Any], Any]
    get: Callable[[Any], GanState]
    put_data: Callable[[dict[str, np.ndarray]], Any]


def choose_devices(count: int | None, batch: int) -> list[Device]:
    """The devices of a run: `count` of them, or, for None, as many as divide the batch; of several processes, all.

    Raises:
      ConfigError: there are fewer devices, or the batch or `count` leaves processes without work.
    """
    devices = jax.devices()
    if (processes := jax.process_count()) > 1:
        if batch % len(devices):
            raise ConfigError(
                f"train.batch {batch} does not divide over the {len(devices)} devices of {processes} processes; "
                f"use a multiple of {len(devices)}"
            )
        if count not in (None, len(devices)):
            raise ConfigError(
                f"train.devices is {count}, but {processes} processes have {len(devices)} together; use None or that"
            )
        return devices
    if count is None:
        usable = max(n for n in range(1, len(devices) + 1) if batch % n == 0)
        return devices[:usable]
    if count > len(devices):
        raise ConfigError(f"train.devices is {count}, but there are {len(devices)} ({devices[0].platform}); lower it")
    return devices[:count]


def use_all_cores() -> None:
    """Makes every CPU core a device, where JAX has not started yet; XLA's small convolutions use one thread each.

    A number that the user gave (JAX_NUM_CPU_DEVICES, or XLA's own flag) is kept.
    """
    import os

    config: Any = jax.config  # type checkers do not know its options
    if config.jax_num_cpu_devices > 0:
        return check_platform()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        try:
            jax.config.update("jax_num_cpu_devices", cores)
        except RuntimeError:
            pass  # JAX has started with its devices
    check_platform()


def check_platform() -> None:
    """Starts JAX, and reports why it cannot be started.

    Raises:
      ConfigError: the platforms that `JAX_PLATFORMS` asks for have no device here.
    """
    try:
        jax.devices()
    except Exception as error:  # noqa: BLE001  JAX raises an assertion for a known platform without a device
        config: Any = jax.config
        why = f" ({first_line(error)})" if str(error).strip() else ""
        raise ConfigError(
            f"JAX finds no device of JAX_PLATFORMS={config.jax_platforms}{why}; use JAX_PLATFORMS=cpu, "
            "leave it unset, or install JAX for that platform (pip install 'gan_jax[cuda]')"
        ) from error


def loop(step: Step, steps: int, resident: bool) -> Callable[[GanState, Any], tuple[GanState, Metrics]]:
    """Makes a loop of K steps over resident data, or over the leading axis of stacked batches."""

    def run(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        body = (lambda s, _: step(s, data)) if resident else step
        state, rows = jax.lax.scan(body, state, None if resident else data, length=steps)
        return state, {k: v if k == "finite" else v.mean(0) for k, v in rows.items()}

    return run


def compile_jit(
    make: Callable[..., Step], steps: int, devices: Sequence[Device], resident: bool, sharding: Sharding | None = None
) -> Program:
    """Compiles one program over a mesh of devices; the state is replicated and the batch is sharded.

    Args:
      make: `make(axis_name=, devices=) -> step`.
      steps: number of steps in a dispatch.
      devices: of all processes.
      resident: whether the data stay on the device.
      sharding: which leaves of the state are sharded too, and along which axis; the step sees a device's part of these.
    """
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    body = loop(make(axis_name=AXIS, devices=len(devices)), steps, resident)
    everywhere = PartitionSpec()
    cut = everywhere if resident else PartitionSpec(None, None, AXIS)
    replicated, divided = NamedSharding(mesh, everywhere), NamedSharding(mesh, cut)

    def spec(path: str, leaf: Any) -> PartitionSpec:
        axis = None if sharding is None else sharding(path, leaf.shape, len(devices))
        return everywhere if axis is None else PartitionSpec(*[None] * axis, AXIS)

    def mapped(state: GanState, data: Any) -> tuple[GanState, Metrics]:
        specs = everywhere if sharding is None else map_with_path(spec, state)
        # check_vma would sum gradients of replicated parameters before the mean in the body.
        run = jax.shard_map(body, mesh=mesh, in_specs=(specs, cut), out_specs=(specs, everywhere), check_vma=False)
        return run(state, data)

    place = functools.partial(jax.make_array_from_process_local_data, divided)

    def put(state: Any) -> Any:
        if replicated.is_fully_addressable:
            where = lambda path, leaf: NamedSharding(mesh, spec(path, leaf))
            return jax.device_put(state, replicated if sharding is None else map_with_path(where, state))
        return map_with_path(lambda path, leaf: _spread(NamedSharding(mesh, spec(path, leaf)), leaf), state)

    def get(state: Any) -> Any:
        # Samples, metrics and saves are the work of each process, on its own copy. Sharded leaves stay sharded.
        def local(x: jax.Array) -> jax.Array:
            return x if x.is_fully_addressable or not x.is_fully_replicated else x.addressable_data(0)

        return jax.tree_util.tree_map(local, state)

    return Program(
        run=jax.jit(mapped, donate_argnums=0),
        put=put,
        get=get,
        put_data=lambda data: jax.tree_util.tree_map(place, data),
    )


def _spread(sharding: NamedSharding, x: jax.Array) -> jax.Array:
    """Makes one array over the devices of all processes from a value that each has."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
        return x  # it is sharded already
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _spread(sharding, jax.random.key_data(x))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    value = np.array(x)
    return jax.make_array_from_process_local_data(sharding, value, value.shape)


def compile_pmap(
    make: Callable[..., Step], steps: int, devices: Sequence[Device], resident: bool, sharding: Sharding | None = None
) -> Program:
    """Compiles the same by `pmap`, for one process: every leaf of the state has a leading axis of devices."""
    if jax.process_count() > 1:
        raise ConfigError("train.compile pmap is for one process; use jit for several, which computes the same")
    if sharding is not None:
        raise ConfigError("train.compile pmap has every leaf on each device; to shard donors (shard_donors) use jit")
    n = len(devices)
    body = loop(make(axis_name=AXIS, devices=n), steps, resident)
    mapped = jax.pmap(body, axis_name=AXIS, devices=devices, donate_argnums=0, in_axes=(0, 0))
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    by_device = NamedSharding(mesh, PartitionSpec(AXIS))

    def put(tree: Any) -> Any:
        return jax.tree_util.tree_map(lambda x: jax.device_put(jnp.stack([x] * n), by_device), tree)

    def put_data(data: dict[str, np.ndarray]) -> Any:
        if resident:
            return put(data)

        def by_devices(x: np.ndarray) -> np.ndarray:
            """`[devices, steps, d_steps, B / devices, ...]` of `[steps, d_steps, B, ...]`."""
            return np.moveaxis(x.reshape(*x.shape[:2], n, -1, *x.shape[3:]), 2, 0)

        return jax.tree_util.tree_map(lambda x: jax.device_put(by_devices(x), by_device), data)

    def run(state: Any, data: Any) -> tuple[Any, Metrics]:
        state, metrics = mapped(state, data)
        return state, jax.tree_util.tree_map(_first, metrics)

    return Program(run=run, put=put, get=lambda state: jax.tree_util.tree_map(_first, state), put_data=put_data)


def _first(x: jax.Array) -> jax.Array:
    """The first device's part of an array with an axis of devices; indexing `x[0]` would be a program."""
    return x.addressable_data(0).reshape(x.shape[1:])


def compile_population(make: Callable[..., Step], steps: int, devices: Sequence[Device]) -> Program:
    """Compiles independent runs as one program, over states and resident data with a leading axis of replicas.

    Replicas are spread over the devices. On CPU those of a device run one after the other, since `vmap` over convolution
    kernels makes grouped convolutions, which are several times slower there; elsewhere they are vmapped.

    Args:
      make: `make(axis_name=, devices=) -> step`.
      steps: number of steps in a dispatch.
      devices: their number divides that of the replicas.
    """
    body = loop(make(axis_name=None, devices=1), steps, resident=True)
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))

    def replicas(states: GanState, data: Any) -> tuple[GanState, Metrics]:
        if devices[0].platform != "cpu":
            return jax.vmap(body)(states, data)
        return jax.lax.map(lambda replica: body(*replica), (states, data))

    cut = PartitionSpec(AXIS)
    place = lambda tree: jax.device_put(tree, NamedSharding(mesh, cut))
    mapped = jax.shard_map(replicas, mesh=mesh, in_specs=(cut, cut), out_specs=(cut, cut), check_vma=False)
    return Program(
        run=jax.jit(mapped, donate_argnums=0),
        put=place,
        get=lambda states: states,
        put_data=place,
    )


COMPILERS: dict[str, Callable[..., Program]] = {"jit": compile_jit, "pmap": compile_pmap}
