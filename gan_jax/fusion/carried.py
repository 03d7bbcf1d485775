"""Auxiliary parameters and collections of feature fusion: the donors, the fusion layers, and the attention statistics.

Parameters below `fusion`: `ways/POINT/..` are the fusion layer of a point (`feature_attention`; slashes of the point's path
are dots), `donors/g1/..` are the donors' variables, which are frozen. A pass in training mode returns two collections.
`shares/POINT [K + 1]` are mean attention weights over examples and positions, the generator's own first. `leaning/POINT []`
is the self-attention entropy loss, the mean of -log of the generator's own weight: 0 means that donors can be pruned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from gan_jax.fusion.feature_attention import FUSION_LAYERS, Kind
from gan_jax.nets.build import Variables
from gan_jax.reserved import DONORS, FUSION, LAYERS, SELF_ATTENTION, SHARES
from gan_jax.trees import Tree

TINY = 1e-6  # lower bound of a weight under the logarithm


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Where feature fusion happens and by which layer.

    Attributes:
      points: paths of the generator's modules -> channels of their outputs.
      kind: name of the fusion layer, of `feature_attention.FUSION_LAYERS`.
      width: size of queries and keys.
    """

    points: Mapping[str, int]
    kind: Kind = "attention"
    width: int = 16


def attach(fusion: Fusion, g: Variables, donors: Sequence[Variables], key: jax.Array) -> Variables:
    """Adds donors and fusion layers to a generator's variables; its function stays the same.

    Raises:
      ValueError: there are no donors, or more than the fusion layer takes.
    """
    if not donors:
        raise ValueError("there are no donors to fuse; give at least one")
    n = len(donors)
    ways = {
        name_of(point): FUSION_LAYERS[fusion.kind].init(jax.random.fold_in(key, i), channels, n, fusion.width)
        for i, (point, channels) in enumerate(fusion.points.items())
    }
    branch = {LAYERS: ways, DONORS: {f"g{i}": donor for i, donor in enumerate(donors, 1)}}
    zeros = {name_of(point): jnp.zeros(n + 1) for point in fusion.points}
    return {
        **g,
        "params": {**g["params"], FUSION: branch},
        SHARES: zeros,
        SELF_ATTENTION: {name: jnp.zeros(()) for name in zeros},
    }


def plain(g: Variables) -> Variables:
    """Returns the generator's own variables: without donors, fusion layers and their collections."""
    collections = {name: tree for name, tree in g.items() if name not in (SHARES, SELF_ATTENTION)}
    return {**collections, "params": {name: tree for name, tree in g["params"].items() if name != FUSION}}


def without(g: Variables, dropped: Sequence[int]) -> Variables:
    """Prunes donors, counted from 0, from variables with fusion layers of kind `attention`; the rest keep their order."""
    branch = g["params"][FUSION]
    count = len(branch[DONORS])
    remaining = [i for i in range(count) if i not in dropped]
    rows, slots = jnp.asarray(remaining, jnp.int32), jnp.asarray([0, *(i + 1 for i in remaining)], jnp.int32)

    def pruned(layer: Tree) -> Tree:
        return {
            **layer,
            "keys": layer["keys"][slots],
            "bias": layer["bias"][slots],
            "values": layer["values"][rows],
        }

    ways = {name: pruned(layer) for name, layer in branch[LAYERS].items()}
    donors = {f"g{n}": branch[DONORS][f"g{i + 1}"] for n, i in enumerate(remaining, 1)}
    shares = {name: share[slots] for name, share in g[SHARES].items()}
    return {**g, "params": {**g["params"], FUSION: {LAYERS: ways, DONORS: donors}}, SHARES: shares}


def trains(finetune: bool) -> Callable[[str], bool]:
    """Selects the leaves of `params` that train: fusion layers, and with `finetune` the generator's own; donors never."""
    return lambda path: path.startswith(f"{FUSION}/{LAYERS}/") or (finetune and not path.startswith(f"{FUSION}/"))


def summary(shares: Mapping[str, jax.Array]) -> dict[str, Tree]:
    """Averages attention weights `{point: [N, ..., K + 1]}` into the two collections of a training pass."""

    def self_attention_loss(a: jax.Array) -> jax.Array:
        return -jnp.log(jnp.maximum(a[..., 0], TINY)).mean()

    return {
        SHARES: {name_of(point): a.reshape(-1, a.shape[-1]).mean(0) for point, a in shares.items()},
        SELF_ATTENTION: {name_of(point): self_attention_loss(a) for point, a in shares.items()},
    }


def name_of(point: str) -> str:
    """Returns the key of a point in trees: its path with dots in place of slashes."""
    return point.replace("/", ".")
