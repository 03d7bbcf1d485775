"""Merges in closed form, as the start of fine-tuning: the baselines of fusions that are learned.

The merges are defined in `fusion.merges`. The source and the donors are merged alike, except for task vectors (task
arithmetic, TIES, DARE, gradient matching): these are the donors' differences from a `base`, by default the source. What a
merge needs is computed on the target: Fisher information under the source's D, Gram matrices on latents, for the greedy
soup a kernel distance to the training images. `best` merges nothing: it takes the network of the least such distance.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from gan_jax.config import ConfigError, MergeConfig
from gan_jax.fusion.merges import MERGES, merge
from gan_jax.fusion.merges.averages import position
from gan_jax.fusion.merges.weighted import gram, mean_gram
from gan_jax.nets import Pair, build
from gan_jax.nets.inside import kernel_inputs
from gan_jax.random_streams import MERGE_KEY
from gan_jax.tasks.image import probes
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks, Variables
from gan_jax.transfer.fisher import g_information
from gan_jax.transfer.fusing import Donors, aligner, check_donors, fused_pair, open_donors, recompute_statistics
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.transfer.ranking import best_discriminator, make_distance
from gan_jax.trees import Tree

OVER_A_BASE = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "gradient_matching")
OF_D = {"fisher": "uniform", "gradient_matching": "task_arithmetic", "regmean": "uniform", "greedy_soup": "uniform"}
ROWS = 16  # examples in a batch of Gram matrices: patches of large maps take much memory


def make(config: MergeConfig, pair: Pair) -> Method:
    """Networks are merged, or one is chosen, then everything is fine-tuned.

    Raises:
      ConfigError: as `transfer.fusing.check_donors`; a number of donors that the merge cannot take; a D to be mixed where
        nothing is merged.
    """
    check_donors(config)
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

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        plain_pair = build(context.config.net)
        # What is not mixed stays as it was trained: on other scales it would learn at another pace.
        aligned = config if config.merge != "best" else dataclasses.replace(config, align="none", scales=False)
        donors = open_donors(context, aligned, plain_pair, g, d)
        names = [config.source, *donors.names]
        if config.d == "best":
            d, losses = best_discriminator(context, [d, *donors.d], g)
            donors.record["d"] = dict(zip(names, losses, strict=True))
        record: dict[str, Any] = {"kind": config.merge}
        if config.merge == "best":
            score = make_distance(context, plain_pair, config.samples)
            scores = [score(variables) for variables in (g, *donors.g)]
            chosen = int(np.argmin(scores))
            g, words = (g, *donors.g)[chosen], f"G is that of {names[chosen]}, the nearest to the training images"
            shares = {"g": {"all": [float(i + 1 == chosen) for i in range(len(donors.names))]}}
            record |= {"distances": dict(zip(names, scores, strict=True)), "chosen": names[chosen]}
        else:
            g = {**g, "params": _merge(context, config, plain_pair, "g", g, d, donors, config.merge)}
            words, shares = f"G is the {config.merge} merge of {', '.join(names)}", {"g": {}}
        if config.d == "mix":
            kind = OF_D.get(config.merge, config.merge)
            d = {**d, "params": _merge(context, config, plain_pair, "d", g, d, donors, kind)}
            d, shares = recompute_statistics(plain_pair, "d", d, context.key), shares | {"d": {}}
        g = recompute_statistics(plain_pair, "g", g, context.key)
        return fused_pair(context, {"g": g, "d": d}, constants, donors, shares, words, **record)

    return Method(starts=tuple(networks_of(config.networks)), prepare=prepare, changes_source=True)


def _merge(
    context: PrepareContext,
    config: MergeConfig,
    pair: Pair,
    network: Network,
    g: Variables,
    d: Variables,
    donors: Donors,
    kind: str,
) -> Tree:
    """The merged parameters of one network."""
    target, donated = (g, donors.g) if network == "g" else (d, donors.d)
    needs = MERGES[kind].needs
    over_a_base = kind in OVER_A_BASE
    merged = [*donated] if over_a_base else [target, *donated]
    options: dict[str, Any] = {}
    base = target["params"]
    if over_a_base and config.base is not None:
        ancestor = context.open_donor(config.base, (network,)).nets[network]
        # Aligned as the donors are: otherwise a difference of orders and scales would pass for something learned.
        base = aligner(config, pair, g, d)(network, ancestor).variables["params"]
        merged = [target, *donated]
    information = lambda variables: g_information(context, variables, d, config.samples)
    if "fishers" in needs:
        options["fishers"] = [information(variables) for variables in merged]
    if kind == "fisher":
        options["normalize"] = True  # D is sure of one donor's images and not of another's: their scales differ
    if kind == "gradient_matching":
        options["base_fisher"] = information({**target, "params": base})
    if "grams" in needs:
        options["grams"] = [_grams(pair, variables, config.samples) for variables in merged]
    if "key" in needs:
        options["key"] = jax.random.fold_in(context.key, MERGE_KEY)
    if "score" in needs:
        score = make_distance(context, pair, config.samples)
        options["score"] = lambda params: score(
            recompute_statistics(pair, "g", {**target, "params": params}, context.key)
        )
    if "mid" in needs:
        options |= {"mid": position(config.mid_px), "width": config.transition}
    chosen = {"weights": config.weights, "density": config.density, "lam": config.lam}
    options |= {name: value for name, value in chosen.items() if value is not None and name in MERGES[kind].options}
    return merge(kind, [variables["params"] for variables in merged], base=base, **options)


def _grams(pair: Pair, g: Variables, samples: int) -> dict[str, jax.Array]:
    """The mean Gram matrices `{path of a kernel: [in, in]}` of the inputs of G's kernels, on `samples` latents."""
    batch_gram = jax.jit(lambda key: gram(kernel_inputs(pair.g, g, *probes(pair.config, key, ROWS))))
    keys: Any = jax.random.split(jax.random.key(0), max(samples // ROWS, 1))
    return mean_gram(batch_gram(key) for key in keys)
