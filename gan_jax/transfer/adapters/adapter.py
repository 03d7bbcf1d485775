"""Adapters: effective weights from frozen weights and a small trainable delta.

The code of a network does not know about adapters. An adapted network is a `Net` whose parameters have one more branch,
`adapter/PATH/NAME`, for the arrays of the leaf at PATH; freezing, moments, averages and checkpoints treat them as other
leaves. `bake` folds them into the weights of a plain network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax

from gan_jax.nets.build import Net, Variables
from gan_jax.nets.derived import derived
from gan_jax.random_streams import BRANCH_KEY, path_key
from gan_jax.reserved import ADAPTER
from gan_jax.trees import Tree, TreeError, did_you_mean, flatten, match, unflatten

Arrays = Mapping[str, jax.Array]  # an adapter's arrays of one leaf, by name


@dataclasses.dataclass(frozen=True)
class Adapter:
    """How each adapted leaf is changed by arrays of its own.

    Attributes:
      patterns: of the paths in a network's `params` whose leaves are adapted.
      init: `(key, leaf) -> arrays`, with which `apply` changes nothing.
      apply: `(leaf, arrays) -> leaf` of the same shape.
      fixed: names of arrays that are computed from the frozen leaf once and not trained.
    """

    patterns: tuple[str, ...]
    init: Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
    apply: Callable[[jax.Array, Arrays], jax.Array]
    fixed: tuple[str, ...] = ()

    def chooses(self, params: Tree) -> list[str]:
        """The paths of the adapted leaves.

        Raises:
          TreeError: a pattern covers no leaf.
        """
        leaves = flatten(params)
        for pattern in self.patterns:
            if not any(match(pattern, path) for path in leaves):
                raise TreeError(f"the adapter's pattern {pattern!r} covers no leaf{did_you_mean(pattern, leaves)}")
        return [path for path in leaves if any(match(pattern, path) for pattern in self.patterns)]

    def trains(self, path: str) -> bool:
        """Whether the leaf at a path of an adapted network's `params` is trained: the adapter's arrays, except `fixed`."""
        return path.startswith(f"{ADAPTER}/") and path.rpartition("/")[2] not in self.fixed


def attach(adapter: Adapter, params: Tree, key: jax.Array) -> Tree:
    """Parameters with the adapter's branch, which changes nothing yet.

    Args:
      adapter: chooses the leaves.
      params: of a plain network.
      key: typed PRNG key; the draws of a leaf depend on the key and on its path only.

    Raises:
      TreeError: a pattern covers no leaf, or there is a branch already (bake it first).
    """
    if ADAPTER in params:
        raise TreeError(f"these parameters have a branch {ADAPTER!r} already; bake it before attaching another adapter")
    leaves = flatten(params)
    keys = {path: path_key(key, path) for path in adapter.chooses(params)}
    arrays = {path: adapter.init(key, leaves[path]) for path, key in keys.items()}
    branch = {f"{path}/{name}": array for path, of_leaf in arrays.items() for name, array in of_leaf.items()}
    return {**params, ADAPTER: unflatten(branch)}


def bake(adapter: Adapter, params: Tree) -> Tree:
    """The effective parameters of the plain network, without the adapter's branch.

    Raises:
      TreeError: there is no such branch.
    """
    if ADAPTER not in params:
        raise TreeError(f"these parameters have no branch {ADAPTER!r}: there is nothing to bake")
    plain = {name: tree for name, tree in params.items() if name != ADAPTER}
    arrays: dict[str, dict[str, jax.Array]] = {}
    for path, array in flatten(params[ADAPTER]).items():
        leaf, _, name = path.rpartition("/")
        arrays.setdefault(leaf, {})[name] = array
    leaves = flatten(plain)
    effective = {path: adapter.apply(leaves[path], of_leaf) for path, of_leaf in arrays.items()}
    return unflatten(leaves | effective, like=plain)


def adapted(net: Net, adapter: Adapter) -> Net:
    """The network that computes with effective weights; its parameters have the adapter's branch."""

    def plain(variables: Variables) -> Variables:
        return {**variables, "params": bake(adapter, variables["params"])}

    def init(key: jax.Array) -> Variables:
        variables = net.init(key)
        return {**variables, "params": attach(adapter, variables["params"], jax.random.fold_in(key, BRANCH_KEY))}

    return derived(net, plain, init)


def count_trained(adapter: Adapter, params: Tree) -> int:
    """The number of values that the adapter trains."""
    return sum(leaf.size for path, leaf in flatten(params).items() if adapter.trains(path))


KERNELS: Sequence[str] = ("**/kernel",)  # of convolutions `[h, w, in, out]` and of dense layers `[in, out]`
