"""Weight fusion: `theta_T + sum_i w_i (theta_i - theta_T)` with learned mixing weights w; all else is frozen.

The target's own leaves stay in place. The branch `adapter/` holds the donors, stacked on a leading axis
(`donors/PATH [K, ...]`, frozen), and the parameters of the gate that computes the mixing weights (`gate/...`, trained).
With channel maps it also holds these (`align/PATH [K, C, C]` of spatial kernels, trained: `aligned`). A mixture is an
adapter: networks and steps do not know of it, and `bake` returns a plain tree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import jax
import numpy as np

from gan_jax.nets.build import Net, Variables, derived
from gan_jax.random_streams import BRANCH_KEY
from gan_jax.reserved import ADAPTER, ALIGN, DONORS, GATE
from gan_jax.surgery.align import in_scales_of, match_activations, match_weights, permute
from gan_jax.surgery.families.layout import Layout
from gan_jax.surgery.ops.basic import xp_of
from gan_jax.trees import Tree, TreeError, flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Alignment of donors with the target: order of channels and free scales. No donor's function changes.

By = Literal["weights", "activations", "none"]


@dataclasses.dataclass(frozen=True)
class Aligned:
    """An aligned donor, and its similarity to the target.

    Attributes:
      variables: the donor's variables; its function is unchanged.
      before, after: cosine of weights, or correlation of channels, before and after the alignment; None = not measured.
    """

    variables: Tree
    before: float | None = None
    after: float | None = None


def align_donor(
    layout: Layout,
    target: Tree,
    donor: Tree,
    *,
    by: By = "weights",
    scales: bool = True,
    activations: Callable[[Tree], dict[str, Any]] | None = None,
    seed: int = 0,
) -> Aligned:
    """Permutes a donor's channels into the target's order and gives it the target's free scales.

    Args:
      layout: layout of both networks.
      target, donor: variables of plain networks.
      by: what is matched: weights, activations, or nothing.
      scales: whether free scales are matched too.
      activations: `variables -> {module: outputs}` on the same inputs for both networks; for `by="activations"`.
      seed: seed of the search by weights.

    Raises:
      AlignError: the two differ in leaves or shapes; it names the leaf.
    """
    match = None
    if by == "weights":
        match = match_weights(layout, target, donor, seed=seed, from_inputs=True)
    elif by == "activations":
        if activations is None:
            raise ValueError("aligning by activations needs them: pass `activations`")
        match = match_activations(layout, activations(target), activations(donor))
    if match is not None:
        donor = permute(layout, donor, match.orders)
    if scales:
        donor = in_scales_of(layout, donor, target)
    return Aligned(donor) if match is None else Aligned(donor, match.before, match.after)


# ----------------------------------------------------------------------------------------------------------------------
# Mixtures, their gates and the grouping of their mixing weights.

Granularity = Literal["global", "block", "tensor", "channel"]
Sizes = Mapping[str, int | None]  # group of leaves -> channels with a mixing weight each; None = one for all channels
Shares = dict[str, jax.Array]  # group -> [K] or [K, C]


class Gate(Protocol):
    """Computes the mixing weights of K donors by pure functions over a small tree."""

    @property
    def count(self) -> int:
        """K, the number of donors; the target is not counted."""
        ...

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """Makes the gate's tree: its trained leaves and its constants."""
        ...

    def shares(self, gate: Tree) -> Shares:
        """Computes the donors' mixing weights; the target's is 1 minus their sum."""
        ...

    def trains(self, path: str) -> bool:
        """Whether a leaf below the gate is trained."""
        ...

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Projects a leaf below the gate, after an update, onto its allowed values."""
        ...


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture: its gate, and the groups of leaves that share mixing weights.

    Attributes:
      gate: computes the mixing weights.
      group: `path of a leaf -> group of leaves with the same mixing weights`.
      channelwise: whether every channel (last axis) has its own mixing weights.
      dtype: dtype of the stacked donors; None = that of the target's leaves. They are mixed in the target's dtype.
      aligner: whether donors' spatial kernels have trained channel maps.
      axis_name: the mapped axis of devices that each hold a part of the donors (`cut_axis`); None = each holds all.
    """

    gate: Gate
    group: Callable[[str], str]
    channelwise: bool = False
    dtype: Any = None
    aligner: bool = False
    axis_name: str | None = None

    def sizes(self, params: Tree) -> dict[str, int | None]:
        """Returns the groups of a plain tree of parameters, and their channels."""
        return {
            self.group(path): leaf.shape[-1] if self.channelwise and leaf.ndim else None
            for path, leaf in flatten(params).items()
        }

    def attach(self, params: Tree, key: jax.Array, donors: Sequence[Tree] | None = None) -> Tree:
        """Adds donors and gate to parameters; without donors, copies of the target take their place.

        Raises:
          TreeError: a branch exists already; the number of donors is not the gate's; a donor has other leaves.
        """
        if ADAPTER in params:
            raise TreeError(
                f"these parameters have a branch {ADAPTER!r} already; bake it before fusing donors with them"
            )
        leaves, trees = flatten(params), [params] * self.gate.count if donors is None else list(donors)
        if len(trees) != self.gate.count:
            raise TreeError(f"the gate has mixing weights for {self.gate.count} donors, but there are {len(trees)}")
        flat_donors = [flatten(tree) for tree in trees]
        for number, donor in enumerate(flat_donors, 1):
            check_alike(leaves, donor, f"donor {number}")
        stacked = {
            f"{DONORS}/{path}": self._stack(leaf, [donor[path] for donor in flat_donors])
            for path, leaf in leaves.items()
        }
        if self.aligner:
            paths = spatial_kernels(params)
            stacked |= {f"{ALIGN}/{path}": init_aligner(leaves[path], self.gate.count) for path in paths}
        branch = unflatten(stacked) | {GATE: self.gate.init(key, self.sizes(params))}
        return {**params, ADAPTER: branch}

    def bake(self, params: Tree, shares: Shares | None = None) -> Tree:
        """Mixes target and donors into plain parameters.

        Args:
          params: parameters of the fused network.
          shares: mixing weights in place of the gate's.

        Raises:
          TreeError: the parameters have no branch.
        """
        if ADAPTER not in params:
            raise TreeError(f"these parameters have no branch {ADAPTER!r}: there is nothing to bake")
        plain = {name: tree for name, tree in params.items() if name != ADAPTER}
        shares = self.shares(params) if shares is None else shares
        donors, maps = flatten(params[ADAPTER][DONORS]), flatten(params[ADAPTER].get(ALIGN, {}))

        def mixed_leaf(path: str, leaf: Any) -> Any:
            args = leaf, donors[path], shares[self.group(path)]
            return mix(*args, maps.get(path)) if self.axis_name is None else mix_parts(*args, self.axis_name)

        mixed = {path: mixed_leaf(path, leaf) for path, leaf in flatten(plain).items()}
        return unflatten(mixed, like=plain)

    def shares(self, params: Tree) -> Shares:
        """Computes the donors' mixing weights by group, `[K]` or `[K, C]`."""
        return self.gate.shares(params[ADAPTER][GATE])

    def trains(self, path: str) -> bool:
        """Whether a leaf of the fused network's `params` is trained: those of the gate and of channel maps only."""
        prefix = f"{ADAPTER}/{GATE}/"
        if path.startswith(prefix):
            return self.gate.trains(path.removeprefix(prefix))
        return path.startswith(f"{ADAPTER}/{ALIGN}/")

    def clamp(self, trained: Tree) -> Tree:
        """Projects trained leaves after an update; inside the graph, a bound would stop the gradient."""
        prefix = f"{ADAPTER}/{GATE}/"
        return unflatten(
            {
                path: self.gate.clamp(path.removeprefix(prefix), leaf) if path.startswith(prefix) else leaf
                for path, leaf in flatten(trained).items()
            },
            like=trained,
        )

    def _stack(self, leaf: jax.Array, donors: Sequence[jax.Array]) -> jax.Array:
        """Stacks the donors' leaves on a leading axis: `[K, ...]`."""
        dtype = leaf.dtype if self.dtype is None else self.dtype
        return xp_of(*donors).stack([donor.astype(dtype) for donor in donors])  # host arrays stay on the host


def mix(leaf: Any, donors: Any, shares: Any, aligner: Any = None) -> Any:
    """Computes `(1 - sum w) leaf + sum_i w_i donor_i`: leaf `[..., C]`, donors `[K, ..., C]`, shares `[K]` or `[K, C]`.

    With all mixing weights 0 the result is exactly the leaf; with a single one at 1 it is exactly that donor. NumPy arrays
    are mixed on the host. An aligner `[K, C, C]` maps the donors' channels first.
    """
    donors, shares = donors.astype(leaf.dtype), xp_of(leaf).asarray(shares).astype(leaf.dtype)
    donors = donors if aligner is None else aligned(donors, aligner)
    subscripts, remainder = (
        ("k,k...->...", 1 - shares.sum(0)) if shares.ndim == 1 else ("kc,k...c->...c", _along(shares, leaf))
    )
    return remainder * leaf + einsum(subscripts, shares, donors)


def mix_parts(leaf: Any, donors: Any, shares: Any, axis_name: str) -> Any:
    """Computes `mix` of donors cut over devices along one axis of the leaf: mixes the parts, then gathers the results.

    No device holds a whole donor, or stores one for the backward pass.
    """
    cut = [axis for axis, sizes in enumerate(zip(leaf.shape, donors.shape[1:], strict=True)) if len(set(sizes)) > 1]
    if not cut:
        return mix(leaf, donors, shares)
    axis, size = cut[0], donors.shape[1 + cut[0]]

    def part(x: Any, axis: int) -> Any:
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis_name) * size, size, axis)

    weights = part(shares, 1) if shares.ndim > 1 and axis == leaf.ndim - 1 else shares
    return jax.lax.all_gather(mix(part(leaf, axis), donors, weights), axis_name, axis=axis, tiled=True)


def cut_axis(path: str, shape: Sequence[int], devices: int) -> int | None:
    """Returns the axis along which devices share a leaf of a state: the longest that they divide; None = it is not cut.

    Args:
      path: path of the leaf; only donors are cut.
      shape: `[K, ...]`; never cut along K, as a mixture needs all donors.
      devices: number of devices.
    """
    if f"/{ADAPTER}/{DONORS}/" not in f"/{path}":
        return None
    fits = [axis for axis, size in enumerate(shape) if axis and size and size % devices == 0]
    return max(fits, key=lambda axis: shape[axis]) if fits else None


def _along(shares: Any, leaf: Any) -> Any:
    """Computes the target's mixing weight by channel, with the leaf's rank."""
    return (1 - shares.sum(0)).reshape((1,) * (leaf.ndim - 1) + shares.shape[1:])


def fused(net: Net, mixture: Mixture) -> Net:
    """Makes the network that computes with the mixture's weights; its parameters hold the donors and the gate."""

    def plain(variables: Variables) -> Variables:
        return {**variables, "params": mixture.bake(variables["params"])}

    def init(key: jax.Array) -> Variables:
        variables = net.init(key)
        return {**variables, "params": mixture.attach(variables["params"], jax.random.fold_in(key, BRANCH_KEY))}

    return derived(net, plain, init)


def grouping(granularity: Granularity, blocks: Sequence[str]) -> Callable[[str], str]:
    """Makes the function from a leaf's path to its group: `all`; its block, or its layer outside of blocks; or its own path.

    Args:
      granularity: size of the groups; `tensor` and `channel` are groups of one leaf.
      blocks: names of a network's blocks, `b16` or `synthesis/b16`.
    """
    if granularity == "global":
        return lambda path: "all"
    if granularity in ("tensor", "channel"):
        return lambda path: path

    def block(path: str) -> str:
        enclosing = [name for name in blocks if path.startswith(f"{name}/")]
        return max(enclosing, key=len) if enclosing else path.partition("/")[0]

    return block


def check_alike(leaves: Mapping[str, Any], donor: Mapping[str, Any], name: str) -> None:
    """Raises TreeError with the first leaf or shape in which a donor differs from the target."""
    for path, leaf in leaves.items():
        if path not in donor:
            raise TreeError(
                f"{name} has no leaf {path} {tuple(leaf.shape)}; transplant it into the target's shape first"
            )
        if tuple(donor[path].shape) != tuple(leaf.shape):
            raise TreeError(
                f"{name} has {path} {tuple(donor[path].shape)}, but the target {tuple(leaf.shape)}; transplant it into "
                "the target's shape first"
            )
    if more := [path for path in donor if path not in leaves]:
        raise TreeError(
            f"{name} has a leaf {more[0]} that the target lacks; transplant it into the target's shape first"
        )


# ----------------------------------------------------------------------------------------------------------------------
# Channel maps: a trained linear map of a donor's output channels (channel alignment of Zoo-Tuning; Shu et al., ICML 2021).
#
#     A_i = 1 + L_i / C,    A_i W_i[..., p] = sum over o of W_i[..., o] A_i[o, p]
#
# Spatial kernels have one: leaves `.../kernel [h, w, I, O]` with h or w above 1. All convolutions here, also transposed,
# modulated and grouped ones, have their output channels last. L `[C, C]` starts at 0, so A starts as the identity. L is
# divided by C because Adam's steps have one size: a channel reads all C channels, so without the division it would move C
# times as far as a mixing weight.


def spatial_kernels(params: Tree) -> list[str]:
    """Returns the paths of the leaves that have a channel map."""
    return [
        path
        for path, leaf in flatten(params).items()
        if path.rpartition("/")[2] == "kernel" and len(leaf.shape) == 4 and max(leaf.shape[:2]) > 1
    ]


def init_aligner(leaf: Any, count: int) -> Any:
    """Returns the initial L `[K, C, C]`, zeros in the leaf's dtype, for K donors' kernels like `leaf [h, w, I, C]`."""
    return xp_of(leaf).zeros((count, leaf.shape[-1], leaf.shape[-1]), leaf.dtype)


def aligned(donors: Any, aligner: Any) -> Any:
    """Computes `A_i W_i` of donors' kernels `[K, h, w, I, C]` and L `[K, C, C]`; where L is 0, exactly the donors."""
    return donors + einsum("k...o,kop->k...p", donors, aligner) / donors.shape[-1]


def einsum(subscripts: str, *arrays: Any) -> Any:
    """Computes an einsum at full precision (accelerators round factors to 10 bits); on the host for NumPy arrays."""
    xp = xp_of(*arrays)
    return xp.einsum(subscripts, *arrays, **({} if xp is np else {"precision": jax.lax.Precision.HIGHEST}))
