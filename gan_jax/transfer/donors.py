"""Further sources of a run that is made of several: opened, aligned with the first, and what goes beside their weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.fusion.descriptors import describe, standardised
from gan_jax.fusion.donors import Aligned, align_donor
from gan_jax.nets import Pair
from gan_jax.nets.grouped import whole_groups
from gan_jax.surgery.align import singular_vectors
from gan_jax.surgery.families import layouts
from gan_jax.surgery.provenance import fused_history
from gan_jax.tasks.image import probes
from gan_jax.tasks.sample import make_restatistics
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks, Variables
from gan_jax.transfer.method import networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState

PROBES = 256  # latents that donors are aligned by, and described
STATS = 8, 128  # batches and their size, that statistics of mixed weights are measured on


@dataclasses.dataclass(frozen=True)
class Donors:
    """Networks in the target's shape, order and scales; the target, `source`, is not among them.

    Attributes:
      names: as they were asked for.
      g, d: variables; d is empty where D is the source's own.
      found: how alike they are, JSON values for `prepared.json`.
      histories: of each.
    """

    names: tuple[str, ...]
    g: list[Variables]
    d: list[Variables]
    found: dict[str, Any]
    histories: list[Any]


def open_donors(context: PrepareContext, config: Any, pair: Pair, g: Variables, d: Variables) -> Donors:
    """Reads the donors, one after the other, and brings each into the target's order and scales.

    Raises:
      PlanError, WeightsError: a donor that cannot be read into the target's shape; with the leaf.
      AlignError: as `fusion.donors.align_donor`.
    """
    networks: tuple[Network, ...] = ("g",) if config.d == "base" else ("g", "d")
    bring = aligner(config, pair, g, d)
    made: dict[str, list[Variables]] = {"g": [], "d": []}
    alike: list[dict[str, Any]] = []
    histories = []
    for name in config.donors:
        start = context.open_donor(name, networks)
        row: dict[str, Any] = {"donor": name}
        for network in networks:
            aligned = bring(network, start.nets[network])
            made[network].append(aligned.variables)
            row[network] = [aligned.before, aligned.after]
        alike.append(row)
        histories.append(start.history)
    return Donors(tuple(config.donors), made["g"], made["d"], {"by": config.align, "donors": alike}, histories)


def aligner(config: Any, pair: Pair, g: Variables, d: Variables) -> Callable[[Network, Variables], Aligned]:
    """`(network, another's variables) -> ` these in the order and the scales of this pair's.

    Their arrays are on the host with `shard_donors`, else on the device.

    Args:
      config: says by what, and whether scales follow.
      pair: of plain networks.
      g, d: variables of what is aligned with.
    """
    targets, found = jax.device_get({"g": g, "d": d}), layouts(pair.config)
    activations = _activations(pair, g) if config.align == "activations" else {}
    place = np.asarray if config.shard_donors else jnp.asarray

    def bring(network: Network, other: Variables) -> Aligned:
        aligned = align_donor(
            found[network], targets[network], jax.device_get(other),
            by=config.align, scales=config.scales, activations=activations.get(network),
        )  # fmt: skip
        return dataclasses.replace(aligned, variables=jax.tree_util.tree_map(place, aligned.variables))

    return bring


def descriptors(pair: Pair, every: Sequence[Variables]) -> jax.Array:
    """`[N, M]` of N generators: what tells them apart by what they make of the same latents, standardised over them.

    Args:
      pair: of plain networks.
      every: their variables.
    """
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    make = jax.jit(lambda g: describe(pair.g.apply(g, z, labels)[0]))
    return standardised(jnp.stack([make(g) for g in every]))


def donors_as_they_are(context: PrepareContext, names: Sequence[str]) -> Donors:
    """The donors' Gs, one after the other, in the order of their own channels."""
    starts = [context.open_donor(name) for name in names]
    found = {"by": "none", "donors": [{"donor": name} for name in names]}
    return Donors(tuple(names), [start.nets["g"] for start in starts], [], found, [start.history for start in starts])


def fused_pair(
    context: PrepareContext,
    nets: Networks,
    constants: dict[str, Any],
    donors: Donors,
    shares: dict[str, Any],
    words: str,
    *,
    images: int = 0,
    **found: Any,
) -> PreparedState:
    """What a fusion leaves to the run: a pair, whose history keeps the donors', and the record under `fusion`.

    Args:
      context, constants, images: as of `PreparedState` and what made it.
      nets: G's and D's variables.
      donors: what was fused with the source.
      shares: network -> group of leaves -> the donors' shares, for the networks that were fused; `words` says it.
      found: more for the record, JSON values.
    """
    config: Any = context.config.transfer
    history = fused_history(context.start.history, donors.names, donors.histories, shares, words)
    record = {**donors.found, "target": config.source, "shares": shares, **found}
    return PreparedState(nets, constants, images, history, {"fusion": record}, (words,))


def settled(pair: Pair, network: Network, variables: Variables, key: jax.Array) -> Variables:
    """What goes beside mixed weights, of the weights as they are: G's batch statistics, the vectors of spectral norms."""
    batches, size = STATS
    if network == "g":
        variables = make_restatistics(pair, size)(variables, key, batches)
    if "spectral" in variables:
        fresh = singular_vectors(layouts(pair.config)[network], jax.device_get(variables))
        variables = jax.tree_util.tree_map(jnp.asarray, fresh)
    return variables


def check_donors(config: Any) -> None:
    """Raises ConfigError where there is nothing to fuse, no G to fuse it with, or no D to fuse or to choose."""
    if not config.donors:
        raise ConfigError("transfer.donors is empty: name at least one source beside transfer.source")
    if "g" not in networks_of(config.networks):
        raise ConfigError(
            "transfer.networks is d, but several pretrained Gs are made one: fusion mixes pretrained Gs, and Ds beside them "
            "at most; use both or g"
        )
    if config.networks != "both" and config.d != "base":
        raise ConfigError(
            f"transfer.d is {config.d}, which wants a D of every donor and of the source, but transfer.networks is "
            f"{config.networks}; use both, or transfer.d base"
        )


def _activations(pair: Pair, g: Variables) -> dict[str, Any]:
    """What G's modules give on the same latents, and D's on the images that the target makes of them."""
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    images = jax.jit(lambda v: pair.g.apply(v, z, labels)[0])(g)
    of_g = jax.jit(lambda v: pair.g.activations(v, z, labels))
    whole = whole_groups(pair, PROBES)
    images, labels_of_d = images[:whole], None if labels is None else labels[:whole]
    return {"g": of_g, "d": jax.jit(lambda v: pair.d.activations(v, images, labels_of_d))}
