"""What a fused generator carries: donors, what is learned at each point, and what a pass tells of it.

In the parameters, below `fusion`: `ways/POINT/..` what `feature_attention` learns at a point (slashes of its path are
dots), `donors/g1/..` the donors' variables, which no step changes. A pass in training mode leaves two collections:
`shares/POINT [K + 1]`, means over examples and positions with the generator's own first, and `leaning/POINT []`, the
mean of -log of its own share, which is 0 where donors can be dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from gan_jax.fusion.feature_attention import WAYS, Kind
from gan_jax.nets.build import Variables
from gan_jax.reserved import DONORS, FUSION, LEANING, SHARES, WAYS_OF
from gan_jax.trees import Tree

TINY = 1e-6  # the least share whose logarithm is taken


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Where and how.

    Attributes:
      points: paths of the generator's modules -> channels of what they give.
      kind: of `feature_attention.WAYS`.
      width: of queries and keys.
    """

    points: Mapping[str, int]
    kind: Kind = "attention"
    width: int = 16


def attach(fusion: Fusion, g: Variables, donors: Sequence[Variables], key: jax.Array) -> Variables:
    """Variables of the fused generator that still computes what the plain one does.

    Raises:
      ValueError: there are no donors, or more than the way takes.
    """
    if not donors:
        raise ValueError("there are no donors to fuse; give at least one")
    n = len(donors)
    ways = {
        name_of(point): WAYS[fusion.kind].init(jax.random.fold_in(key, i), channels, n, fusion.width)
        for i, (point, channels) in enumerate(fusion.points.items())
    }
    branch = {WAYS_OF: ways, DONORS: {f"g{i}": one for i, one in enumerate(donors, 1)}}
    nobody = {name_of(point): jnp.zeros(n + 1) for point in fusion.points}
    return {
        **g,
        "params": {**g["params"], FUSION: branch},
        SHARES: nobody,
        LEANING: {name: jnp.zeros(()) for name in nobody},
    }


def plain(g: Variables) -> Variables:
    """The generator's own variables, without what the fused one has more."""
    own = {name: tree for name, tree in g.items() if name not in (SHARES, LEANING)}
    return {**own, "params": {name: tree for name, tree in g["params"].items() if name != FUSION}}


def without(g: Variables, dropped: Sequence[int]) -> Variables:
    """The fused variables without some donors, counted from 0; what is left is in the old order. For `attention`."""
    branch = g["params"][FUSION]
    count = len(branch[DONORS])
    left = [i for i in range(count) if i not in dropped]
    rows, slots = jnp.asarray(left, jnp.int32), jnp.asarray([0, *(i + 1 for i in left)], jnp.int32)
    cut = lambda way: {
        **way,
        "keys": way["keys"][slots],
        "bias": way["bias"][slots],
        "values": way["values"][rows],
    }
    ways = {name: cut(way) for name, way in branch[WAYS_OF].items()}
    donors = {f"g{n}": branch[DONORS][f"g{i + 1}"] for n, i in enumerate(left, 1)}
    shares = {name: share[slots] for name, share in g[SHARES].items()}
    return {**g, "params": {**g["params"], FUSION: {WAYS_OF: ways, DONORS: donors}}, SHARES: shares}


def trains(finetune: bool) -> Callable[[str], bool]:
    """Which leaves of the fused generator's params train: the ways, and its own if asked; donors never."""
    return lambda path: path.startswith(f"{FUSION}/{WAYS_OF}/") or (finetune and not path.startswith(f"{FUSION}/"))


def summary(shares: Mapping[str, jax.Array]) -> dict[str, Tree]:
    """The collections that a pass in training mode leaves, of shares `{point: [N, ..., K + 1]}`."""
    own = lambda a: -jnp.log(jnp.maximum(a[..., 0], TINY)).mean()
    return {
        SHARES: {name_of(point): a.reshape(-1, a.shape[-1]).mean(0) for point, a in shares.items()},
        LEANING: {name_of(point): own(a) for point, a in shares.items()},
    }


def name_of(point: str) -> str:
    return point.replace("/", ".")
