"""Donors, the further sources of a fusion: opened, aligned with the target, and the record of what became of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.fusion.mixture import Aligned, align_donor
from gan_jax.nets import Networks, Pair
from gan_jax.nets.build import Variables
from gan_jax.surgery.provenance import fused_history
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks as StateNetworks
from gan_jax.transfer.method import networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.transfer.probes import activations_on, draw_probes, judged_examples, layout_of


@dataclasses.dataclass(frozen=True)
class Donors:
    """Donor networks in the target's shape, order of channels and scales, without the target, `source`, itself.

    Attributes:
      names: as in `transfer.donors`.
      nets: network -> variables of each donor's; without discriminators where these are the source's own.
      record: how alike they are, JSON values for `prepared.json`.
      histories: provenance of each donor.
    """

    names: tuple[str, ...]
    nets: dict[str, list[Variables]]
    record: dict[str, Any]
    histories: list[Any]


def open_donors(context: PrepareContext, config: Any, plain: Networks, nets: StateNetworks) -> Donors:
    """Reads the donors one after the other, and aligns each with the target's order of channels and scales.

    Args:
      context: of the preparation.
      config: of the fusion.
      plain: plain networks.
      nets: the target's variables by network.

    Raises:
      PlanError, WeightsError: a donor cannot be read into the target's shape; names the leaf.
      AlignError: as `fusion.mixture.align_donor`.
    """
    networks = (*plain.generators, *(() if config.d == "base" else plain.discriminators))
    align = aligner(context, config, plain, nets)
    variables: dict[str, list[Variables]] = {name: [] for name in networks}
    alike: list[dict[str, Any]] = []
    histories = []
    for donor in config.donors:
        start = context.open_donor(donor, networks)
        row: dict[str, Any] = {"donor": donor}
        for name in networks:
            aligned = align(name, start.nets[name])
            variables[name].append(aligned.variables)
            row[name] = [aligned.before, aligned.after]
        alike.append(row)
        histories.append(start.history)
    return Donors(tuple(config.donors), variables, {"by": config.align, "donors": alike}, histories)


def aligner(
    context: PrepareContext, config: Any, plain: Networks, nets: StateNetworks
) -> Callable[[Network, Variables], Aligned]:
    """Makes `(network, a donor's variables) -> Aligned`, in the order of channels and the scales of these networks.

    Arrays are on the host with `shard_donors`, else on the device.

    Args:
      context: has the data.
      config: what channels are matched by, and whether scales are changed too.
      plain: plain networks.
      nets: variables of the target by network.
    """
    targets = jax.device_get({name: nets[name] for name in (*plain.generators, *plain.discriminators)})
    activations = _activations(context, plain, nets) if config.align == "activations" else {}
    place = np.asarray if config.shard_donors else jnp.asarray

    def align(network: Network, other: Variables) -> Aligned:
        aligned = align_donor(
            layout_of(plain.config, network), targets[network], jax.device_get(other),
            by=config.align, scales=config.scales, activations=activations.get(network),
        )  # fmt: skip
        return dataclasses.replace(aligned, variables=jax.tree_util.tree_map(place, aligned.variables))

    return align


def unaligned_donors(context: PrepareContext, names: Sequence[str]) -> Donors:
    """Reads the donors' Gs without alignment: channels stay in their own order."""
    starts = [context.open_donor(name) for name in names]
    record = {"by": "none", "donors": [{"donor": name} for name in names]}
    return Donors(tuple(names), {"g": [start.nets["g"] for start in starts]}, record, [s.history for s in starts])


def fused_pair(
    context: PrepareContext,
    nets: StateNetworks,
    constants: dict[str, Any],
    donors: Donors,
    shares: dict[str, Any],
    words: str,
    *,
    images: int = 0,
    **measured: Any,
) -> PreparedState:
    """The result of a fusion: one set of networks, a history that includes the donors', and a record under `fusion`.

    Args:
      context: of the preparation.
      constants, images: as of `PreparedState`.
      nets: variables by network.
      donors: the donors.
      shares: network -> group of leaves -> the donors' mixing weights, for the fused networks.
      words: the same as a sentence.
      measured: more for the record, JSON values.
    """
    config: Any = context.config.transfer
    history = fused_history(context.start.history, donors.names, donors.histories, shares, words)
    record = {**donors.record, "target": config.source, "shares": shares, **measured}
    return PreparedState(nets, constants, images, history, {"fusion": record}, (words,))


def check_donors(config: Any, plain: Networks) -> None:
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
    if config.d == "best" and not isinstance(plain, Pair):
        raise ConfigError(
            f"transfer.d best compares discriminators of one generator g on the target, and these networks are "
            f"{', '.join(plain.nets)}; use transfer.d base or mix"
        )


def _activations(context: PrepareContext, plain: Networks, nets: StateNetworks) -> dict[str, Any]:
    """`{network: function of its variables}`: activations of a generator on fixed inputs, of a D on the target's images."""
    functions = {}
    for name, judge in plain.judges.items():
        net = plain.nets[name]
        x, labels = draw_probes(context, plain, name, jax.random.key(0))
        images = jax.jit(lambda v, net=net, x=x, labels=labels: net.apply(v, x, labels)[0])(nets[name])
        functions[name] = activations_on(net, x, labels)
        functions[judge] = activations_on(plain.nets[judge], *judged_examples(plain, x, images, labels))
    return functions
