"""Merges in closed form, as the start of fine-tuning: the baselines of fusions that are learned.

The merges are defined in `fusion.merges`. The source and the donors are merged alike, except for task vectors (task
arithmetic, TIES, DARE, gradient matching): these are the donors' differences from a `base`, by default the source. What a
merge needs is computed on the target: Fisher information under the source's D, Gram matrices on latents (of translators
on the data's inputs), for the greedy soup a kernel distance to the training images. Of several generators each is merged
by itself. `best` merges nothing: it takes the network of the least such distance.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from gan_jax.config import ConfigError, MergeConfig
from gan_jax.fusion.merges import MERGES, merge
from gan_jax.fusion.merges.averages import position_in
from gan_jax.fusion.merges.weighted import gram, mean_gram
from gan_jax.nets import Networks
from gan_jax.nets.inside import kernel_inputs
from gan_jax.random_streams import MERGE_KEY
from gan_jax.tasks.image import probes
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks as StateNetworks
from gan_jax.train.state import Variables
from gan_jax.transfer.donors import Donors, aligner, check_donors, fused_pair, open_donors
from gan_jax.transfer.fisher import information_of
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.transfer.probes import draw_probes, recompute_statistics
from gan_jax.transfer.ranking import best_discriminator, make_distance
from gan_jax.trees import Tree

OVER_A_BASE = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "gradient_matching")
OF_D = {"fisher": "uniform", "gradient_matching": "task_arithmetic", "regmean": "uniform", "greedy_soup": "uniform"}
ROWS = 16  # examples in a batch of Gram matrices: patches of large maps take much memory


def make(config: MergeConfig, plain: Networks) -> Method:
    """Networks are merged, or one is chosen, then everything is fine-tuned.

    Raises:
      ConfigError: as `transfer.donors.check_donors`; a number of donors that the merge cannot take; a D to be mixed where
        nothing is merged; layers to be swapped in networks that have no order of them.
    """
    check_donors(config, plain)
    if config.merge == "best" and config.d == "mix":
        raise ConfigError(
            "transfer.merge best merges nothing, so that D cannot be mixed either; use transfer.d base or best"
        )
    counted = MERGES[config.merge].count if config.merge != "best" else None
    if counted is not None and 1 + len(config.donors) != counted:
        raise ConfigError(
            f"transfer.merge {config.merge} is of {counted} networks, but there are {1 + len(config.donors)} with the source; "
            f"use {counted - 1} in transfer.donors, or another kind"
        )

    if config.merge == "layer_swap" and config.d == "mix":
        for name in plain.discriminators:
            position_in(plain.config, name, config.mid_px)  # which may have no order of layers

    def prepare(context: PrepareContext, nets: StateNetworks, constants: dict[str, Any]) -> PreparedState:
        # What is not mixed stays as it was trained: on other scales it would learn at another pace.
        aligned = config if config.merge != "best" else dataclasses.replace(config, align="none", scales=False)
        donors, out = open_donors(context, aligned, plain, nets), dict(nets)
        names = [config.source, *donors.names]
        if config.d == "best":
            out["d"], losses = best_discriminator(context, [nets["d"], *donors.nets["d"]], nets["g"])
            donors.record["d"] = dict(zip(names, losses, strict=True))
        record: dict[str, Any] = {"kind": config.merge}
        shares: dict[str, Any] = {}
        sentences = []
        for name in plain.generators:
            title = name.upper()
            if config.merge != "best":
                out[name] = {**nets[name], "params": _merge(context, config, plain, name, out, donors, config.merge)}
                sentences.append(f"{title} is the {config.merge} merge of {', '.join(names)}")
                shares[name] = {}
                continue
            score = make_distance(context, plain, config.samples, name)
            scores = [score(variables) for variables in (nets[name], *donors.nets[name])]
            chosen = int(np.argmin(scores))
            out[name] = (nets[name], *donors.nets[name])[chosen]
            sentences.append(f"{title} is that of {names[chosen]}, the nearest to the training images")
            shares[name] = {"all": [float(i + 1 == chosen) for i in range(len(donors.names))]}
            facts = {"distances": dict(zip(names, scores, strict=True)), "chosen": names[chosen]}
            record |= facts if len(plain.generators) == 1 else {name: facts}
        if config.d == "mix":
            kind = OF_D.get(config.merge, config.merge)
            before = dict(out)
            for name in plain.discriminators:
                mixed = {**nets[name], "params": _merge(context, config, plain, name, before, donors, kind)}
                out[name], shares[name] = recompute_statistics(context, plain, name, mixed), {}
        out |= {name: recompute_statistics(context, plain, name, out[name]) for name in plain.generators}
        return fused_pair(context, out, constants, donors, shares, "; ".join(sentences), **record)

    return Method(starts=tuple(networks_of(config.networks, plain)), prepare=prepare, changes_source=True)


def _merge(
    context: PrepareContext,
    config: MergeConfig,
    plain: Networks,
    network: Network,
    nets: StateNetworks,
    donors: Donors,
    kind: str,
) -> Tree:
    """The merged parameters of one network."""
    target, donated = nets[network], donors.nets[network]
    needs = MERGES[kind].needs
    over_a_base = kind in OVER_A_BASE
    merged = [*donated] if over_a_base else [target, *donated]
    options: dict[str, Any] = {}
    base = target["params"]
    if over_a_base and config.base is not None:
        ancestor = context.open_donor(config.base, (network,)).nets[network]
        # Aligned as the donors are: otherwise a difference of orders and scales would pass for something learned.
        base = aligner(context, config, plain, nets)(network, ancestor).variables["params"]
        merged = [target, *donated]
    information = lambda variables: information_of(
        context, plain, {**nets, network: variables}, network, config.samples
    )
    if "fishers" in needs:
        options["fishers"] = [information(variables) for variables in merged]
    if kind == "fisher":
        options["normalize"] = True  # D is sure of one donor's images and not of another's: their scales differ
    if kind == "gradient_matching":
        options["base_fisher"] = information({**target, "params": base})
    if "grams" in needs:
        options["grams"] = [_grams(context, plain, network, variables, config.samples) for variables in merged]
    if "key" in needs:
        options["key"] = jax.random.fold_in(context.key, MERGE_KEY)
    if "score" in needs:
        score = make_distance(context, plain, config.samples, network)
        options["score"] = lambda params: score(
            recompute_statistics(context, plain, network, {**target, "params": params})
        )
    if "mid" in needs:
        options |= {"mid": position_in(plain.config, network, config.mid_px), "width": config.transition}
    chosen = {"weights": config.weights, "density": config.density, "lam": config.lam}
    options |= {name: value for name, value in chosen.items() if value is not None and name in MERGES[kind].options}
    return merge(kind, [variables["params"] for variables in merged], base=base, **options)


def _grams(context: PrepareContext, plain: Networks, name: str, g: Variables, samples: int) -> dict[str, jax.Array]:
    """The mean Gram matrices `{path of a kernel: [in, in]}` of the inputs of G's kernels, on `samples` latents or images."""
    net, config = plain.nets[name], plain.config
    keys: Any = jax.random.split(jax.random.key(0), max(samples // ROWS, 1))
    if not config.translates:
        batch_gram = jax.jit(lambda key: gram(kernel_inputs(net, g, *probes(config, key, ROWS))))
        return mean_gram(batch_gram(key) for key in keys)
    of_images = jax.jit(lambda x: gram(kernel_inputs(net, g, x)))
    return mean_gram(of_images(draw_probes(context, plain, name, key, ROWS)[0]) for key in keys)
