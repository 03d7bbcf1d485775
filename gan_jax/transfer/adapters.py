"""Adapters: effective weights from frozen weights and a small trainable delta, by rank or by modulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from gan_jax.nets.build import Net, Variables, derived
from gan_jax.random_streams import BRANCH_KEY, path_key
from gan_jax.reserved import ADAPTER
from gan_jax.trees import Tree, TreeError, did_you_mean, flatten, match, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# What an adapter is, and how a network computes with one.
#
# The code of a network does not know about adapters. An adapted network is a `Net` whose parameters have one more branch,
# `adapter/PATH/NAME`, for the arrays of the leaf at PATH; freezing, moments, averages and checkpoints treat them as other
# leaves. `bake` folds them into the weights of a plain network.

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


# ----------------------------------------------------------------------------------------------------------------------
# Adapters in the space of a kernel as a matrix `[.. * in, out]`: LoRA for convolutions, and singular values (FSGAN).


def lora(patterns: Sequence[str] = KERNELS, rank: int = 4, alpha: float | None = None) -> Adapter:
    """Low-rank update (Hu et al., ICLR 2022): `W + (alpha / rank) A B`, `a [.. * in, rank]` normal, `b [rank, out]` zero.

    It is added before demodulation and before spectral normalisation, which act on the sum.

    Args:
      patterns: of the adapted leaves.
      rank: of the update; in a kernel with fewer rows or columns, their number.
      alpha: scale of the update; None = the rank, so that its factor is 1.

    Raises:
      ValueError: a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; use at least 1")
    factor = 1.0 if alpha is None else alpha / rank

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        rows, columns = _matrix(kernel).shape
        inner = min(rank, rows, columns)
        a = jax.random.normal(key, (rows, inner), kernel.dtype) / jnp.sqrt(jnp.asarray(rows, kernel.dtype))
        return {"a": a, "b": jnp.zeros((inner, columns), kernel.dtype)}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        return kernel + factor * _product(arrays["a"], arrays["b"]).reshape(kernel.shape)

    return Adapter(tuple(patterns), init, apply)


def singular_values(patterns: Sequence[str] = KERNELS) -> Adapter:
    """Singular values alone (FSGAN; Robb et al., 2020): `U diag(gain * s) V` of the frozen kernel, `gain [n]` from 1.

    Written as the kernel and what is added to it, so that a gain of 1 changes no bit. `u` holds the singular values.
    """

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        u, s, v = jnp.linalg.svd(_matrix(kernel), full_matrices=False)
        return {"gain": jnp.ones(s.shape, kernel.dtype), "u": u * s[None], "v": v}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        added = _product(arrays["u"] * (arrays["gain"] - 1)[None], arrays["v"])
        return kernel + added.reshape(kernel.shape)

    return Adapter(tuple(patterns), init, apply, fixed=("u", "v"))


def _matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    # By default accelerators round the factors to 10 bits, too few for a small delta.
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)


# ----------------------------------------------------------------------------------------------------------------------
# Adapters that multiply a kernel `[.., in, out]` by a small array: AdaFM, kernel modulation, scale of filters.


def adafm(patterns: Sequence[str] = KERNELS) -> Adapter:
    """Adaptive filter modulation (Zhao, Cong, Carin, ICML 2020): `gamma * W + beta`, both `[in, out]`."""

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        return {"gamma": jnp.ones(kernel.shape[-2:], kernel.dtype), "beta": jnp.zeros(kernel.shape[-2:], kernel.dtype)}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        return kernel * _over(arrays["gamma"], kernel) + _over(arrays["beta"], kernel)

    return Adapter(tuple(patterns), init, apply)


def kml(patterns: Sequence[str] = KERNELS, scale: float = 1e-7) -> Adapter:
    """Kernel modulation of AdAM (Zhao et al., NeurIPS 2022): `W * (1 + u v)`, `u [in]` and `v [out]`.

    Args:
      patterns: of the adapted leaves.
      scale: standard deviation of the two vectors at the start. If both were zero, they would have no gradient; with
        the published 1e-7 the factor rounds to 1 in float32.
    """

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        keys, sizes = jax.random.split(key), kernel.shape[-2:]
        return {
            name: scale * jax.random.normal(k, (n,), kernel.dtype) for name, k, n in zip("uv", keys, sizes, strict=True)
        }

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        return kernel * _over(1 + jnp.outer(arrays["u"], arrays["v"]), kernel)

    return Adapter(tuple(patterns), init, apply)


def kml_where(patterns: Sequence[str] = KERNELS, scale: float = 1e-7) -> Adapter:
    """Kernel modulation of some filters only (AdAM's second stage): `where(mask, W * (1 + u v), W)`.

    `mask [out]` is fixed; True everywhere at the start. W has no gradient where it is True, `u` and `v` have none where
    it is False, so that W may be trained too: an optimiser whose moments start at zero leaves the modulated filters
    bit-exact.
    """
    gates = kml(patterns, scale)

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        return {**gates.init(key, kernel), "mask": jnp.ones(kernel.shape[-1:], bool)}

    def apply(kernel: jax.Array, arrays: Arrays) -> jax.Array:
        gated = gates.apply(jax.lax.stop_gradient(kernel), arrays)
        return jnp.where(_over(arrays["mask"], kernel), gated, kernel)

    return dataclasses.replace(gates, init=init, apply=apply, fixed=("mask",))


def filter_scale(patterns: Sequence[str] = KERNELS) -> Adapter:
    """A factor for each output channel, `[out]`: scale and shift in networks without norms."""

    def init(key: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        return {"scale": jnp.ones(kernel.shape[-1:], kernel.dtype)}

    return Adapter(tuple(patterns), init, lambda kernel, arrays: kernel * _over(arrays["scale"], kernel))


def _over(factor: jax.Array, kernel: jax.Array) -> jax.Array:
    """The factor with leading axes of size 1, up to the kernel's number of axes."""
    return factor.reshape((1,) * (kernel.ndim - factor.ndim) + factor.shape)
