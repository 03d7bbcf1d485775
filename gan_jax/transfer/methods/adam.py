"""AdAM (Zhao, Chandrasegaran, Abdollahzadeh, Cheung, NeurIPS 2022): adaptation-aware kernel modulation.

1. Probing: all kernels of the source are frozen under rank-1 gates `W * (1 + u v)`; the gates and D's head are trained on
   the target for a while. A filter's importance is the Fisher information of its gate's entries `1 + u v [in, out]` in
   the target's adversarial loss, as the mean over `in`.
2. From the source again: filters above the quantile of their group keep their weights under a gate; the filters below it
   are trained themselves, without a gate. The loss is the plain adversarial loss.

Groups are G's convolutions, G's dense layers that make styles (affine layers, conditional norms), D's convolutions and
a network's other dense layers (see `transfer/fisher.py`). G's mapping network, strengths of noise and biases of kernels are
frozen in G, biases also in D. Biases of style layers are trained, which is equal to a trained offset of a frozen bias.
D's head trains in both stages.

The official code differs. It reshapes the outer product of a convolution transposed, so that gates act on the wrong
kernels, and its gate of a dense layer is the identity at 512 outputs only. It freezes by zeroing slices of gradients,
which is exact without momentum only; here frozen filters have no gradient. It measures D's moving average too; here D has
none, and its importance is measured on its weights.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.config import AdAMConfig, ConfigError
from gan_jax.nets import Pair
from gan_jax.reserved import ADAPTER
from gan_jax.train.context import StepContext
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks, Variables
from gan_jax.transfer.adapters import kml_where
from gan_jax.transfer.fisher import Groups, PerFilter, adversarial_fisher, estimate, filter_groups, in_head, lowest
from gan_jax.transfer.method import Graft, Method
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree, flatten, unflatten

NETWORKS: tuple[Network, ...] = ("g", "d")


def make(config: AdAMConfig, pair: Pair) -> Method:
    """Both networks start from the source; a probe decides which of their filters are trained.

    Raises:
      ConfigError: one of the networks would be fresh.
    """
    if config.networks != "both":
        raise ConfigError(
            f"transfer.networks is {config.networks}, but adam decides which filters of both to keep; use both"
        )
    specs = {"g": pair.g.specs()["params"], "d": pair.d.specs()["params"]}
    groups = {network: filter_groups(pair, network) for network in NETWORKS}
    paths = {network: [path for group in groups[network].values() for path in group] for network in NETWORKS}
    grafts: dict[Network, Graft] = {network: Graft(kml_where(paths[network])) for network in NETWORKS}
    like = {n: {path: flatten(specs[n])[path] for path in paths[n]} for n in NETWORKS}
    like = jax.tree_util.tree_map(lambda spec: jax.ShapeDtypeStruct(spec.shape[-1:], spec.dtype), like)

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        probe = context.train(
            nets,
            config.probe_kimg,
            name="probe",
            trains={
                "g": lambda path: bool(grafts["g"].trains(path)),
                "d": lambda path: in_head(pair, path) or bool(grafts["d"].trains(path)),
            },
        )
        probed: dict[Network, Variables] = {"g": probe.ema["g"], "d": probe.nets["d"]}
        plain = {n: {**probed[n], "params": grafts[n].plain(probed[n]["params"])} for n in NETWORKS}
        fishers = lambda ctx: {n: _gate_fisher(ctx, n, paths[n]) for n in NETWORKS}
        importance = estimate(
            context, plain["g"], plain["d"], config.probe_samples, fishers, like, wrap=lambda pair: pair
        )
        trained = {n: lowest(importance[n], groups[n], config.quantile) for n in NETWORKS}
        return PreparedState({n: _masked(nets[n], trained[n]) for n in NETWORKS}, constants, int(probe.images))

    frozen = [path for n in NETWORKS for path in _frozen(pair, n, groups[n], specs[n])]
    return Method(starts=NETWORKS, frozen=tuple(frozen), grafts=grafts, prepare=prepare)


def _frozen(pair: Pair, network: Network, groups: Groups, params: Tree) -> list[str]:
    """The paths that never train: the mapping network, strengths of noise, biases of kernels except those of styles."""
    out = []
    styles = {path.removesuffix("kernel") for path in groups.get("styles", ())}
    leaves = flatten(params)
    for path in leaves:
        layer, _, name = path.rpartition("/")
        kernel_bias = name == "bias" and f"{layer}/kernel" in leaves and f"{layer}/" not in styles
        mapping = network == "g" and path.startswith("mapping/")
        head = network == "d" and in_head(pair, path)
        if (kernel_bias or mapping or name == "noise_strength") and not head:
            out.append(f"{network}/params/{path}")
    return out


def _gate_fisher(ctx: StepContext, network: Network, paths: list[str]) -> PerFilter:
    """The Fisher information of a network's gates, as the mean over a filter's inputs: `[out]` for each kernel."""
    g, d = ctx.constants["g"], ctx.constants["d"]
    leaves = flatten(ctx.constants[network]["params"])
    gates = {path: jnp.zeros(leaves[path].shape[-2:], leaves[path].dtype) for path in paths}

    def gated(leaves: dict[str, jax.Array], gates: Tree) -> dict[str, jax.Array]:
        wide = {path: gate.reshape((1,) * (leaves[path].ndim - 2) + gate.shape) for path, gate in gates.items()}
        return {path: leaves[path] * (1 + gate) for path, gate in wide.items()}

    fishers = adversarial_fisher(ctx, network, g, d, gates, gated)
    return {path: entries.mean(0) for path, entries in fishers.items()}


def _masked(variables: Variables, trained: PerFilter) -> Variables:
    """Variables whose adapter masks are False for the trained filters."""
    leaves = flatten(variables["params"])
    masks = {f"{ADAPTER}/{path}/mask": jnp.logical_not(low) for path, low in trained.items()}
    return {**variables, "params": unflatten(leaves | masks, like=variables["params"])}
