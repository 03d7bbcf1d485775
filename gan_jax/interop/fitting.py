"""Checks of weights before they are used: leaves that fit their manifest's networks, and finite values."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError, NetConfig, net_from_dict
from gan_jax.interop.weights import WeightsError
from gan_jax.nets import build
from gan_jax.nets.build import net_like
from gan_jax.nets.fronts import with_front
from gan_jax.reserved import GRAFT
from gan_jax.trees import did_you_mean, flatten

# ----------------------------------------------------------------------------------------------------------------------
# Checks for values that nothing can be computed with. What uses weights calls them; what only shows weights does not.

VARIANCE = re.compile(r"(?:.*/)?batch_stats/(?:.*/)?var")


def not_finite(array: Any) -> str | None:
    """What an array holds besides finite numbers, in words: `3 of 24 values that are not finite (nan)`; or None."""
    array = np.asarray(array)
    if not array.size or not jnp.issubdtype(array.dtype, jnp.inexact):
        return None
    wide = array if array.dtype.itemsize >= 4 else array.astype(np.float32)  # of the small ones not all have min
    with np.errstate(invalid="ignore"):
        ends = (wide.min(), wide.max()) if wide.dtype.kind == "f" else (wide.real.sum(), wide.imag.sum())
    if not np.isfinite(ends).all():  # nan and inf come through both; no array of truth values is made for what is whole
        bad = wide[~np.isfinite(wide)]
        if bad.size:
            kinds = [word for word, is_it in (("nan", np.isnan), ("inf", np.isinf)) if is_it(bad).any()]
            return f"{bad.size:,} of {array.size:,} values that are not finite ({' and '.join(kinds)})"
    return None


def negative_variances(leaves: Mapping[str, Any]) -> dict[str, float]:
    """Path -> the smallest value, of running variances that hold one below zero."""
    flat = flatten(leaves)
    lowest = {path: float(np.min(leaf)) for path, leaf in flat.items() if VARIANCE.fullmatch(path) and leaf.size}
    return {path: value for path, value in lowest.items() if value < 0}


FAILED_TRAINING = (
    "the training that made it has failed; take weights from before that (gan-jax inspect and diff open these)"
)
OVERFLOW = "the weights that it is computed from are finite, and too large for it; gan-jax inspect shows their ranges"


def check_finite(
    leaves: Mapping[str, Any], where: str, error: type[Exception], *, reason: str = FAILED_TRAINING
) -> None:
    """Checks that all values of weights are finite.

    Args:
      leaves: by path, or trees of them.
      where: they come from, for the message.
      error: to raise.
      reason: why they may not be, for the message; `OVERFLOW` for what was computed from finite weights.

    Raises:
      error: names the first leaf that holds nan or inf, and where it comes from.
    """
    for path, leaf in flatten(leaves).items():
        if getattr(leaf, "dtype", None) is not None and (why := not_finite(leaf)):
            raise error(f"leaf {path!r} of {where} holds {why}: {reason}")


# ----------------------------------------------------------------------------------------------------------------------
# Checks that the leaves of weights are those of the networks in their manifest, before memory of that size is taken.

DEEP = 64  # layers beyond one for each leaf


def fitting_net(manifest: Mapping[str, Any], where: str, *, whole: bool = True) -> NetConfig:
    """The networks that a manifest names, once its leaves are known to be theirs.

    Args:
      manifest: of weights.
      where: they lie, for messages.
      whole: whether leaves that are absent, or that the networks lack, are errors; a plan has rules for them.

    Raises:
      WeightsError: it names none, impossible ones, or others than those whose leaves it has.
    """
    net, leaves = named_net(manifest, where), manifest["leaves"]
    try:
        specs = _specs(net, json.dumps(manifest.get("front")), dict.fromkeys(path.partition("/")[0] for path in leaves))
    except ConfigError as error:
        raise WeightsError(f"{where}: the manifest cannot be used: {error}") from error
    for root in specs:
        want = {f"{root}/{path}": shape for path, shape in specs[root].items()}
        have = {path: tuple(leaf["shape"]) for path, leaf in leaves.items() if path.startswith(f"{root}/")}
        if manifest.get("front") is not None:  # whose own leaves lie in a branch
            have = {path: shape for path, shape in have.items() if not path.startswith(f"{root}/params/{GRAFT}/")}
        if not whole:
            want = {path: shape for path, shape in want.items() if path in have}
            have = {path: shape for path, shape in have.items() if path in want}
        if absent := [path for path in want if path not in have]:
            raise WeightsError(f"{where} lacks leaf {absent[0]!r} of the networks in its manifest; copy it again")
        if extra := [path for path in have if path not in want]:
            near = did_you_mean(extra[0], want)
            raise WeightsError(
                f"{where} has a leaf {extra[0]!r} that the networks in its manifest lack{near}; copy it again"
            )
        if other := [path for path in want if have[path] != want[path]]:
            raise WeightsError(
                f"{where}: leaf {other[0]!r} is {list(have[other[0]])}, but the networks in its manifest have "
                f"{list(want[other[0]])}; copy it again"
            )
    return net


def named_net(manifest: Mapping[str, Any], where: str) -> NetConfig:
    """The networks that a manifest names.

    Raises:
      WeightsError: it names none, or some of sizes that cannot be meant.
    """
    values = manifest.get("net")
    if not isinstance(values, dict):
        raise WeightsError(
            f"{where}: its manifest does not say of which networks these weights are (net); copy it again"
        )
    try:
        net = net_from_dict(values, "net")
        _check_sizes(net, len(manifest["leaves"]))
    except ConfigError as error:
        raise WeightsError(f"{where}: the manifest cannot be used: {error}") from error
    return net


def _check_sizes(net: NetConfig, leaves: int) -> None:
    """Checks that networks of this depth can have this number of leaves."""
    for field in dataclasses.fields(net):
        value = getattr(net, field.name)
        numbers = [n for n in (value if isinstance(value, tuple) else (value,)) if type(n) is int]
        if ("layers" in field.name or "blocks" in field.name) and sum(numbers) > leaves + DEEP:
            raise ConfigError(f"net.{field.name} is {value}, of weights with {leaves} leaves")


def _specs(net: NetConfig, front: str, roots: Iterable[str]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Root -> path -> shape, of those roots that are a pair's networks, or like them.

    Raises:
      ConfigError: no such networks can be built.
    """
    try:
        pair = with_front(build(net), json.loads(front))
        nets = {root: net_like(pair, root) for root in roots}
        specs = {root: part.specs() for root, part in nets.items() if part is not None}
    except ConfigError:
        raise
    except Exception as error:  # of values that are none of a network's, wherever they are used first
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ConfigError(f"no networks can be built of {net}: {why}") from error
    return {name: {path: tuple(leaf.shape) for path, leaf in flatten(tree).items()} for name, tree in specs.items()}
