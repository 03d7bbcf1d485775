"""Runs of several processes: how they find each other, and how they exchange values.

`gather`, `anywhere` and `meet` wait for every process, so all must call them in one order; with one process they do
nothing.
"""

from __future__ import annotations

import json
import os
from typing import Any

import jax
import numpy as np

from gan_jax.config import ConfigError

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def join() -> None:
    """Joins this process to the others, before JAX starts; a second call does nothing.

    The others are read from the environment: JAX_COORDINATOR_ADDRESS (HOST:PORT, where process 0 listens),
    JAX_NUM_PROCESSES and JAX_PROCESS_ID; without these, JAX asks SLURM, Open MPI, Kubernetes or the TPU pod.

    Raises:
      ConfigError: only some of the three are set, or the other processes are unknown.
    """
    if jax.distributed.is_initialized():
        return
    values = {name: os.environ[name] for name in (ADDRESS, COUNT, INDEX) if os.environ.get(name)}
    if len(values) < 3 and (COUNT in values or INDEX in values):  # the address alone is an option of JAX's own
        missing = ", ".join(name for name in (ADDRESS, COUNT, INDEX) if name not in values)
        raise ConfigError(f"{', '.join(values)} set, but not {missing}; set all three, or none under SLURM or Open MPI")
    try:
        if COUNT in values:
            jax.distributed.initialize(values[ADDRESS], int(values[COUNT]), int(values[INDEX]))
        else:
            jax.distributed.initialize()
    except ValueError as error:
        raise ConfigError(
            f"the other processes are not to be found ({error}); set {ADDRESS}, {COUNT} and {INDEX}"
        ) from error


def is_first() -> bool:
    """Whether this process is the first, which writes files and prints."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """Gathers a JSON value from every process, in their order."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.asarray(text.size, np.int32))).ravel()
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: text.size] = text
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.asarray(multihost_utils.process_allgather(np.asarray(flag))).any())


def meet(name: str) -> None:
    """Waits until every process has called it."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
