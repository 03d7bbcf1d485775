"""Norms that leave a batch as it is, although they take its statistics: for layers that growth made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from gan_jax.surgery.plan import PlanError
from gan_jax.trees import Flat, did_you_mean, flatten, unflatten

EPSILON = 1e-5  # of the batch norms of `nets`


def calibrate(
    statistics: Callable[..., Any],
    variables: Mapping[str, Any],
    probes: Any,
    norms: Sequence[str],
    labels: Any = None,
    epsilon: float = EPSILON,
) -> dict[str, Any]:
    """Gives batch norms the scale and bias that undo what they do to a batch, and the running statistics of that batch.

    Growth sets a new norm to the identity by its running statistics, so the function is kept in evaluation mode. In
    training mode the norm standardises each batch instead. With `scale = sqrt(var + eps)` and `bias = mean` of probes
    it is the identity in evaluation mode again, exactly the identity in training mode on the probes themselves, and
    nearly so on batches like them, the more nearly the larger the batches are.

    Args:
      statistics: `(variables, probes, labels) -> batch_stats` of exactly these probes, such as a net's `statistics`.
      variables: of the network; it is not changed.
      probes: a batch of its inputs, like those that it will be trained on.
      norms: which ones, by path (`b8/norm0`), in the order in which data pass them.
      labels: `[N]`, for conditional networks.
      epsilon: of the norms.

    Returns:
      new variables.

    Raises:
      PlanError: there is no norm of such a name.
    """
    flat: Flat = dict(flatten(variables))
    known = [p.removeprefix("batch_stats/").removesuffix("/mean") for p in flat if p.endswith("/mean")]
    for name in norms:
        if name not in known:
            raise PlanError(f"no norm {name!r} in the network{did_you_mean(name, known)}")
        measured = flatten(statistics(unflatten(flat, like=variables), probes, labels))
        mean, var = measured[f"{name}/mean"], measured[f"{name}/var"]
        scale, bias = flat[f"params/{name}/scale"], flat[f"params/{name}/bias"]
        flat |= {
            f"batch_stats/{name}/mean": mean,
            f"batch_stats/{name}/var": var,
            f"params/{name}/scale": jnp.broadcast_to(jnp.sqrt(var + epsilon), scale.shape).astype(scale.dtype),
            f"params/{name}/bias": jnp.broadcast_to(mean, bias.shape).astype(bias.dtype),
        }
    return unflatten(flat, like=variables)
