"""Donors, the further sources of a fusion: opened, aligned with the target, and the statistics of mixed weights."""

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

PROBES = 256  # latents that donors are aligned and described with
STATS = 8, 128  # batches for the statistics of mixed weights, and their size


@dataclasses.dataclass(frozen=True)
class Donors:
    """Donor networks in the target's shape, order of channels and scales, without the target, `source`, itself.

    Attributes:
      names: as in `transfer.donors`.
      g, d: variables; d is empty where D is the source's own.
      record: how alike they are, JSON values for `prepared.json`.
      histories: provenance of each donor.
    """

    names: tuple[str, ...]
    g: list[Variables]
    d: list[Variables]
    record: dict[str, Any]
    histories: list[Any]


def open_donors(context: PrepareContext, config: Any, pair: Pair, g: Variables, d: Variables) -> Donors:
    """Reads the donors one after the other, and aligns each with the target's order of channels and scales.

    Raises:
      PlanError, WeightsError: a donor cannot be read into the target's shape; names the leaf.
      AlignError: as `fusion.donors.align_donor`.
    """
    networks: tuple[Network, ...] = ("g",) if config.d == "base" else ("g", "d")
    align = aligner(config, pair, g, d)
    variables: dict[str, list[Variables]] = {"g": [], "d": []}
    alike: list[dict[str, Any]] = []
    histories = []
    for name in config.donors:
        start = context.open_donor(name, networks)
        row: dict[str, Any] = {"donor": name}
        for network in networks:
            aligned = align(network, start.nets[network])
            variables[network].append(aligned.variables)
            row[network] = [aligned.before, aligned.after]
        alike.append(row)
        histories.append(start.history)
    return Donors(
        tuple(config.donors), variables["g"], variables["d"], {"by": config.align, "donors": alike}, histories
    )


def aligner(config: Any, pair: Pair, g: Variables, d: Variables) -> Callable[[Network, Variables], Aligned]:
    """Makes `(network, a donor's variables) -> Aligned`, in the order of channels and the scales of this pair.

    Arrays are on the host with `shard_donors`, else on the device.

    Args:
      config: what channels are matched by, and whether scales are changed too.
      pair: of plain networks.
      g, d: variables of the target.
    """
    targets, axes = jax.device_get({"g": g, "d": d}), layouts(pair.config)
    activations = _activations(pair, g) if config.align == "activations" else {}
    place = np.asarray if config.shard_donors else jnp.asarray

    def align(network: Network, other: Variables) -> Aligned:
        aligned = align_donor(
            axes[network], targets[network], jax.device_get(other),
            by=config.align, scales=config.scales, activations=activations.get(network),
        )  # fmt: skip
        return dataclasses.replace(aligned, variables=jax.tree_util.tree_map(place, aligned.variables))

    return align


def descriptors(pair: Pair, every: Sequence[Variables]) -> jax.Array:
    """Descriptors `[N, M]` of N generators, from their images of the same latents, standardised over the generators.

    Args:
      pair: of plain networks.
      every: variables of the generators.
    """
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    make = jax.jit(lambda g: describe(pair.g.apply(g, z, labels)[0]))
    return standardised(jnp.stack([make(g) for g in every]))


def unaligned_donors(context: PrepareContext, names: Sequence[str]) -> Donors:
    """Reads the donors' Gs without alignment: channels stay in their own order."""
    starts = [context.open_donor(name) for name in names]
    record = {"by": "none", "donors": [{"donor": name} for name in names]}
    return Donors(tuple(names), [start.nets["g"] for start in starts], [], record, [start.history for start in starts])


def fused_pair(
    context: PrepareContext,
    nets: Networks,
    constants: dict[str, Any],
    donors: Donors,
    shares: dict[str, Any],
    words: str,
    *,
    images: int = 0,
    **measured: Any,
) -> PreparedState:
    """The result of a fusion: one pair, a history that includes the donors', and a record under `fusion`.

    Args:
      context: of the preparation.
      constants, images: as of `PreparedState`.
      nets: variables of G and D.
      donors: the donors.
      shares: network -> group of leaves -> the donors' mixing weights, for the fused networks.
      words: the same as a sentence.
      measured: more for the record, JSON values.
    """
    config: Any = context.config.transfer
    history = fused_history(context.start.history, donors.names, donors.histories, shares, words)
    record = {**donors.record, "target": config.source, "shares": shares, **measured}
    return PreparedState(nets, constants, images, history, {"fusion": record}, (words,))


def recompute_statistics(pair: Pair, network: Network, variables: Variables, key: jax.Array) -> Variables:
    """Variables with recalibrated statistics for mixed weights: G's batch statistics, the vectors of spectral norms."""
    batches, size = STATS
    if network == "g":
        variables = make_restatistics(pair, size)(variables, key, batches)
    if "spectral" in variables:
        fresh = singular_vectors(layouts(pair.config)[network], jax.device_get(variables))
        variables = jax.tree_util.tree_map(jnp.asarray, fresh)
    return variables


def check_donors(config: Any) -> None:
    """Raises ConfigError where there are no donors, no pretrained G, or no Ds to mix or to choose from."""
    if not config.donors:
        raise ConfigError("transfer.donors is empty: name at least one source beside transfer.source")
    if "g" not in networks_of(config.networks):
        raise ConfigError(
            "transfer.networks is d, but several pretrained Gs are made one: fusion mixes pretrained Gs, and Ds beside them "
            "at most; use both or g"
        )
    if config.networks != "both" and config.d != "base":
        raise ConfigError(
            f"transfer.d is {config.d}, which needs a D of every donor and of the source, but transfer.networks is "
            f"{config.networks}; use both, or transfer.d base"
        )


def _activations(pair: Pair, g: Variables) -> dict[str, Any]:
    """Activations of the modules of G on fixed latents, and of D on the target's images of these."""
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    images = jax.jit(lambda v: pair.g.apply(v, z, labels)[0])(g)
    of_g = jax.jit(lambda v: pair.g.activations(v, z, labels))
    count = whole_groups(pair, PROBES)
    images, labels_of_d = images[:count], None if labels is None else labels[:count]
    return {"g": of_g, "d": jax.jit(lambda v: pair.d.activations(v, images, labels_of_d))}
