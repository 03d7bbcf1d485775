"""A mixture in the space of weights: `theta_T + sum_i w_i (theta_i - theta_T)`, the shares w learned, all else frozen.

The target's own leaves stay as they are. Beside them, below `adapter/`, stand the donors, stacked on a leading axis
(`donors/PATH [K, ...]`, not trained), and whatever a gate makes its shares of (`gate/...`, trained); with an aligner, maps
of the donors' output channels too (`align/PATH [K, C, C]` of spatial kernels, trained: `fusion.aligner`). A mixture is an
adapter: networks and steps do not know of it, and `bake` leaves a plain tree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import jax

from gan_jax.fusion.aligner import aligned, einsum, first_aligner, spatial_kernels
from gan_jax.nets.build import Net, Variables
from gan_jax.nets.derived import derived
from gan_jax.random_streams import BRANCH_KEY
from gan_jax.reserved import ADAPTER, ALIGN, DONORS, GATE
from gan_jax.surgery.ops.arrays import xp_of
from gan_jax.trees import Tree, TreeError, flatten, unflatten

Granularity = Literal["global", "block", "tensor", "channel"]
Sizes = Mapping[str, int | None]  # group of leaves -> channels that have shares of their own; None = all have the same
Shares = dict[str, jax.Array]  # group -> [K] or [K, C]


class Gate(Protocol):
    """What the shares of K donors are made of, pure functions over a small tree."""

    @property
    def count(self) -> int:
        """K, without the target."""
        ...

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """What is trained, and what it needs beside that."""
        ...

    def shares(self, gate: Tree) -> Shares:
        """The donors' shares; the target has what they leave of 1."""
        ...

    def trains(self, path: str) -> bool:
        """Whether a leaf below the gate is trained."""
        ...

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """A leaf below the gate after an update, where it may stand."""
        ...


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Which leaves have shares in common, and what these are made of.

    Attributes:
      gate: makes the shares.
      group: `path of a leaf -> the group that it has its shares with`.
      channelwise: whether every channel (last axis) has shares of its own.
      dtype: of the stacked donors; None = that of the target's leaves. They are mixed in the target's.
      aligner: whether donors' spatial kernels have trained maps of their output channels.
      axis_name: the mapped axis of devices where each has a part of the donors (`cut_axis`); None = all have them whole.
    """

    gate: Gate
    group: Callable[[str], str]
    channelwise: bool = False
    dtype: Any = None
    aligner: bool = False
    axis_name: str | None = None

    def sizes(self, params: Tree) -> dict[str, int | None]:
        """The groups of a plain tree of parameters."""
        return {
            self.group(path): leaf.shape[-1] if self.channelwise and leaf.ndim else None
            for path, leaf in flatten(params).items()
        }

    def attach(self, params: Tree, key: jax.Array, donors: Sequence[Tree] | None = None) -> Tree:
        """Parameters with the donors and the gate; without donors, with copies of the target in their place.

        Raises:
          TreeError: a branch is there already; another number of donors than the gate's; a donor of other leaves.
        """
        if ADAPTER in params:
            raise TreeError(
                f"these parameters have a branch {ADAPTER!r} already; bake it before fusing donors with them"
            )
        leaves, given = flatten(params), [params] * self.gate.count if donors is None else list(donors)
        if len(given) != self.gate.count:
            raise TreeError(f"the gate shares among {self.gate.count} donors, but there are {len(given)}")
        others = [flatten(one) for one in given]
        for number, one in enumerate(others, 1):
            check_alike(leaves, one, f"donor {number}")
        stacked = {
            f"{DONORS}/{path}": self._stack(leaf, [one[path] for one in others]) for path, leaf in leaves.items()
        }
        if self.aligner:
            paths = spatial_kernels(params)
            stacked |= {f"{ALIGN}/{path}": first_aligner(leaves[path], self.gate.count) for path in paths}
        branch = unflatten(stacked) | {GATE: self.gate.init(key, self.sizes(params))}
        return {**params, ADAPTER: branch}

    def bake(self, params: Tree, shares: Shares | None = None) -> Tree:
        """The effective parameters, a plain tree.

        Args:
          params: of the fused network.
          shares: in place of the gate's own.

        Raises:
          TreeError: there is nothing to fold in.
        """
        if ADAPTER not in params:
            raise TreeError(f"these parameters have no branch {ADAPTER!r}: there is nothing to bake")
        plain = {name: tree for name, tree in params.items() if name != ADAPTER}
        shares = self.shares(params) if shares is None else shares
        donors, maps = flatten(params[ADAPTER][DONORS]), flatten(params[ADAPTER].get(ALIGN, {}))

        def one(path: str, leaf: Any) -> Any:
            given = leaf, donors[path], shares[self.group(path)]
            return mix(*given, maps.get(path)) if self.axis_name is None else mix_parts(*given, self.axis_name)

        mixed = {path: one(path, leaf) for path, leaf in flatten(plain).items()}
        return unflatten(mixed, like=plain)

    def shares(self, params: Tree) -> Shares:
        """The donors' shares by group, `[K]` or `[K, C]`."""
        return self.gate.shares(params[ADAPTER][GATE])

    def trains(self, path: str) -> bool:
        """Whether a leaf of the fused network's `params` is trained: those of the gate and the aligner alone."""
        prefix = f"{ADAPTER}/{GATE}/"
        if path.startswith(prefix):
            return self.gate.trains(path.removeprefix(prefix))
        return path.startswith(f"{ADAPTER}/{ALIGN}/")

    def clamp(self, trained: Tree) -> Tree:
        """Trained leaves after an update. It is done after the step: within the graph, a bound ends the gradient."""
        prefix = f"{ADAPTER}/{GATE}/"
        return unflatten(
            {
                path: self.gate.clamp(path.removeprefix(prefix), leaf) if path.startswith(prefix) else leaf
                for path, leaf in flatten(trained).items()
            },
            like=trained,
        )

    def _stack(self, leaf: jax.Array, donors: Sequence[jax.Array]) -> jax.Array:
        dtype = leaf.dtype if self.dtype is None else self.dtype
        return xp_of(*donors).stack([one.astype(dtype) for one in donors])  # what is on the host stays there


def mix(leaf: Any, donors: Any, shares: Any, aligner: Any = None) -> Any:
    """`(1 - sum w) leaf + sum_i w_i donor_i`: leaf `[..., C]`, donors `[K, ..., C]`, shares `[K]` or `[K, C]`.

    With shares of 0 the leaf to the bit, with a share of 1 and else 0 that donor. NumPy arrays are mixed on the host. With
    an aligner, `[K, C, C]`, donors' channels are mapped by it first.
    """
    donors, shares = donors.astype(leaf.dtype), xp_of(leaf).asarray(shares).astype(leaf.dtype)
    donors = donors if aligner is None else aligned(donors, aligner)
    what, own = ("k,k...->...", 1 - shares.sum(0)) if shares.ndim == 1 else ("kc,k...c->...c", _along(shares, leaf))
    return own * leaf + einsum(what, shares, donors)


def mix_parts(leaf: Any, donors: Any, shares: Any, axis_name: str) -> Any:
    """`mix`, where donors may be a device's part along one axis of the leaf: parts are mixed, and what they make is gathered.

    So no device has a whole donor, or keeps one for the backward pass.
    """
    cut = [axis for axis, sizes in enumerate(zip(leaf.shape, donors.shape[1:], strict=True)) if len(set(sizes)) > 1]
    if not cut:
        return mix(leaf, donors, shares)
    axis, size = cut[0], donors.shape[1 + cut[0]]
    part = lambda x, axis: jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis_name) * size, size, axis)
    own = part(shares, 1) if shares.ndim > 1 and axis == leaf.ndim - 1 else shares
    return jax.lax.all_gather(mix(part(leaf, axis), donors, own), axis_name, axis=axis, tiled=True)


def cut_axis(path: str, shape: Sequence[int], devices: int) -> int | None:
    """Along which axis a leaf of a state is cut, so that devices share the donors: the longest that they divide.

    Args:
      path: of the leaf; all but donors stay whole.
      shape: `[K, ...]`; never along K, of which a mixture needs all.
      devices: how many.
    """
    if f"/{ADAPTER}/{DONORS}/" not in f"/{path}":
        return None
    fits = [axis for axis, size in enumerate(shape) if axis and size and size % devices == 0]
    return max(fits, key=lambda axis: shape[axis]) if fits else None


def _along(shares: Any, leaf: Any) -> Any:
    """What channels leave to the target, with the leaf's rank."""
    return (1 - shares.sum(0)).reshape((1,) * (leaf.ndim - 1) + shares.shape[1:])


def fused(net: Net, mixture: Mixture) -> Net:
    """The network that computes with the mixture's weights; its parameters have the donors and the gate."""

    def plain(variables: Variables) -> Variables:
        return {**variables, "params": mixture.bake(variables["params"])}

    def init(key: jax.Array) -> Variables:
        variables = net.init(key)
        return {**variables, "params": mixture.attach(variables["params"], jax.random.fold_in(key, BRANCH_KEY))}

    return derived(net, plain, init)


def grouping(granularity: Granularity, blocks: Sequence[str]) -> Callable[[str], str]:
    """The group of a leaf: `all`; the block that it is in, or the layer outside of blocks; or its own path.

    Args:
      granularity: how fine; `tensor` and `channel` are groups of one leaf.
      blocks: names of a network's blocks, `b16` or `synthesis/b16`.
    """
    if granularity == "global":
        return lambda path: "all"
    if granularity in ("tensor", "channel"):
        return lambda path: path

    def block(path: str) -> str:
        around = [name for name in blocks if path.startswith(f"{name}/")]
        return max(around, key=len) if around else path.partition("/")[0]

    return block


def check_alike(leaves: Mapping[str, Any], others: Mapping[str, Any], name: str) -> None:
    """Raises TreeError where a donor is not of the target's leaves and shapes, with the first that differs."""
    for path, leaf in leaves.items():
        if path not in others:
            raise TreeError(
                f"{name} has no leaf {path} {tuple(leaf.shape)}; transplant it into the target's shape first"
            )
        if tuple(others[path].shape) != tuple(leaf.shape):
            raise TreeError(
                f"{name} has {path} {tuple(others[path].shape)}, but the target {tuple(leaf.shape)}; transplant it into "
                "the target's shape first"
            )
    if more := [path for path in others if path not in leaves]:
        raise TreeError(
            f"{name} has a leaf {more[0]} that the target lacks; transplant it into the target's shape first"
        )
