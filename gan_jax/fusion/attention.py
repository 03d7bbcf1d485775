"""Mixing weights by query-key attention: one query per group, one key per donor, and a gate that starts closed.

    W_l = W_l^T + gate_l sum_i a_i (W_l^i - W_l^T),    a = softmax(q_l . k_{l,i} / sqrt(d) / temperature)

The query is a free vector (static attention). The keys are free vectors too, or linear maps of descriptors of the donors.
Then nothing depends on the input, so the mixture bakes into plain weights exactly. With a gate of 0 the result is exactly the
target; then only the gate has a gradient, and queries and keys move once it has opened (as in ReZero). A high temperature
keeps the mixing weights nearly equal early in training (Dynamic Convolution, 30 to 1). The source may be a slot of the
softmax itself, so that a query weighs it against the donors.

Conditional queries come from latents, styles, classes or block features: then examples have mixing weights of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.fusion.mixture import Mixture, Shares, Sizes, fused, mix
from gan_jax.nets import Net, Networks, build
from gan_jax.nets.build import Variables, net_like
from gan_jax.random_streams import path_key
from gan_jax.reserved import ADAPTER, GATE
from gan_jax.trees import Tree, flatten, unflatten

# ----------------------------------------------------------------------------------------------------------------------
# Descriptors of generators: image statistics over the same latents, of which attention makes its keys.

GRID = 4  # cells along a side
LEAST = 1e-4  # of images in [-1, 1]: smaller differences count as equal, such as those of a copy with permuted channels


def describe(images: jax.Array, grid: int = GRID) -> jax.Array:
    """Computes means, then standard deviations, of every grid cell and channel over examples and pixels: `[2 G G C]`.

    Args:
      images: `[N, H, W, C]` float in [-1, 1].
      grid: G, cells along a side; at most the number of pixels.
    """
    height, width = (np.linspace(0, n, min(grid, n) + 1).astype(int) for n in images.shape[1:3])
    cells = [
        images[:, top:bottom, left:right].astype(jnp.float32)
        for top, bottom in zip(height[:-1], height[1:], strict=True)
        for left, right in zip(width[:-1], width[1:], strict=True)
    ]
    parts = [cell.mean((0, 1, 2)) for cell in cells] + [cell.std((0, 1, 2)) for cell in cells]
    return jnp.concatenate(parts)


def standardised(rows: jax.Array) -> jax.Array:
    """Standardises descriptors `[N, M]` over N generators: zero mean and unit deviation in each of the M numbers.

    A number in which all generators agree is 0 for all. A single generator's descriptor is returned unchanged.
    """
    if len(rows) < 2:
        return rows
    return (rows - rows.mean(0, keepdims=True)) / jnp.maximum(rows.std(0, keepdims=True), LEAST)


# ----------------------------------------------------------------------------------------------------------------------
# The gate: static mixing weights by query-key attention.

TEMPERATURE, DESCRIPTORS = "temperature", "descriptors"


@dataclasses.dataclass(frozen=True)
class QueryKeyAttention:
    """The slots of the softmax that a query attends to: the donors, or the source and the donors.

    Attributes:
      count: K, the number of donors.
      width: d, the size of queries and keys.
      gate: initial value of the gates; 0 = the target, 1 = the attended mixture alone.
      temperature: initial temperature; the training loop anneals it.
      with_source: whether the source is the first slot of the softmax. If so, and with a gate of 1, the query decides
        between the source and the donors, even with a single donor. If not, the query decides among donors, and the gate
        between them and the source.
      descriptors: `[S, M]` descriptors of the slots' networks. Keys are trained linear maps of them, so that similar
        networks have similar keys; None = free keys.
    """

    count: int
    width: int = 16
    gate: float = 0.0
    temperature: float = 30.0
    with_source: bool = False
    descriptors: Any = None

    @property
    def slots(self) -> int:
        """S, the number of slots: the donors, and the source with `with_source`."""
        return self.count + self.with_source

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """Makes `query/GROUP`, `key/GROUP [S, d]`, `open/GROUP []` or `[C]`, and the temperature `[]`.

        With descriptors the tree also holds them, `[S, M]`, and keys are maps of them, `key/GROUP [M, d]`.

        Raises:
          ValueError: the number of descriptors differs from the number of slots.
        """
        leaves = {TEMPERATURE: jnp.float32(self.temperature)}
        rows, size = self.slots, 1.0
        if self.descriptors is not None:
            if len(self.descriptors) != self.slots:
                raise ValueError(f"{len(self.descriptors)} descriptors are not one for each of {self.slots} slots")
            leaves[DESCRIPTORS] = jnp.asarray(self.descriptors, jnp.float32)
            rows = leaves[DESCRIPTORS].shape[1]
            size = float(rows) ** -0.5
        for group, channels in sizes.items():
            keys = jax.random.split(path_key(key, group))
            leaves[f"query/{group}"] = self.query(keys[0], channels)
            leaves[f"key/{group}"] = jax.random.normal(keys[1], (rows, self.width)) * size
            leaves[f"open/{group}"] = jnp.full(() if channels is None else (channels,), self.gate, jnp.float32)
        return unflatten(leaves)

    def query(self, key: jax.Array, channels: int | None) -> jax.Array:
        """Draws a group's initial query: a free vector `[d]`, or one for each channel `[d, C]`."""
        return jax.random.normal(key, (self.width, *(() if channels is None else (channels,))))

    def keys(self, gate: Tree) -> dict[str, jax.Array]:
        """Returns the keys of all slots by group, `[S, d]`."""
        keys = flatten(gate["key"])
        return (
            keys
            if self.descriptors is None
            else {group: gate[DESCRIPTORS] @ key_map for group, key_map in keys.items()}
        )

    def scale(self, gate: Tree) -> jax.Array:
        """Returns the divisor of the scores: the temperature times sqrt(d), `[]`."""
        return gate[TEMPERATURE] * jnp.sqrt(jnp.float32(self.width))

    def gated(self, gate: Tree, attention: Shares) -> Shares:
        """Multiplies attention `[S, ...]` by the gates: the donors' mixing weights `[K, ...]`, by group."""
        open_, donors = flatten(gate["open"]), {group: a[-self.count :] for group, a in attention.items()}
        return {group: open_[group][None] * a if open_[group].ndim else open_[group] * a for group, a in donors.items()}

    def trains(self, path: str) -> bool:
        """Whether a leaf is trained: all but the temperature and the descriptors."""
        return path not in (TEMPERATURE, DESCRIPTORS)

    def clamp(self, path: str, leaf: jax.Array) -> jax.Array:
        """Returns the leaf unchanged: gates, queries and keys are unbounded."""
        return leaf


@dataclasses.dataclass(frozen=True)
class Attention(QueryKeyAttention):
    """Static attention: a free query for each group."""

    def shares(self, gate: Tree) -> Shares:
        """Computes the donors' mixing weights by group: `gate_l a_i`."""
        return self.gated(gate, self.attention(gate))

    def attention(self, gate: Tree) -> Shares:
        """Computes `a` by group, `[S]` or `[S, C]`, which sums to 1 over slots."""
        queries, keys, scale = flatten(gate["query"]), self.keys(gate), self.scale(gate)
        return {
            group: jax.nn.softmax(jnp.tensordot(keys[group], queries[group], 1) / scale, axis=0) for group in queries
        }


def annealed_temperature(start: float, end: float, progress: jax.Array) -> jax.Array:
    """Anneals the temperature geometrically from start to end: its value `[]` at `progress` in [0, 1] of the stage."""
    return (start * (end / start) ** jnp.clip(progress, 0.0, 1.0)).astype(jnp.float32)


# ----------------------------------------------------------------------------------------------------------------------
# Mixing weights by attention with conditional queries: of latents, styles, classes, or the target's block features.
#
#     a_l(s) = softmax((Q_l s) . k_{l,i} / sqrt(d) / temperature),    s [B, M] of the examples
#
# Per example: each example has its own weights. The network runs under `vmap`, its batch norms over the examples, its
# convolutions in groups; this is exact and several times slower. Per batch: the mean of the examples' mixing weights makes
# one network for the batch, at the cost of static mixing weights (SMEAR; Muqeeth et al., 2023). In both cases a running mean
# of the mixing weights is stored, and `bake` uses it (Zoo-Tuning Lite; Shu et al., ICML 2021). Where latents choose between
# networks, the mean equals none of them; then the mixture can be distilled into a plain network (`transfer.fusing`).

Query = Literal["latent", "style", "class", "features"]
Per = Literal["example", "batch"]
MEAN = "mean"
EXAMPLES = "examples"  # name of the axis over which a batch is mapped
STATISTICS = "donors_batch_stats"  # collection: donors' batch statistics, stacked
MOMENTUM = 0.1  # of the running mean, as published


@dataclasses.dataclass(frozen=True)
class Conditional(QueryKeyAttention):
    """A gate whose mixing weights depend on `s [B, M]`; its `shares` are their running mean.

    Attributes:
      inputs: M, the size of s.
    """

    inputs: int = dataclasses.field(kw_only=True)

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """Makes the tree of `QueryKeyAttention.init`, and `mean/GROUP [S]`.

        Raises:
          ValueError: mixing weights per channel, which only static attention has.
        """
        if any(channels is not None for channels in sizes.values()):
            raise ValueError(
                "channels have no mixing weights of their own where these depend on examples; use tensor or coarser"
            )
        even = jnp.full((self.slots,), 1 / self.slots, jnp.float32)
        return {**super().init(key, sizes), MEAN: unflatten(dict.fromkeys(sizes, even))}

    def query(self, key: jax.Array, channels: int | None) -> jax.Array:
        """Draws a group's initial query: a linear map of s, `[M, d]`."""
        return jax.random.normal(key, (self.inputs, self.width)) / jnp.sqrt(float(self.inputs))

    def attention(self, gate: Tree, s: jax.Array) -> Shares:
        """Computes `a` by group, `[B, S]`, whose rows sum to 1."""
        queries, keys, scale = flatten(gate["query"]), self.keys(gate), self.scale(gate)
        return {group: jax.nn.softmax(s @ queries[group] @ keys[group].T / scale, axis=-1) for group in queries}

    def shares(self, gate: Tree) -> Shares:
        """Computes `gate_l` times the donors' part of the running mean of `a`: `[K]`."""
        return self.gated(gate, flatten(gate[MEAN]))

    def trains(self, path: str) -> bool:
        """Whether a leaf is trained: as in `QueryKeyAttention`, but not the running mean."""
        return super().trains(path) and not path.startswith(f"{MEAN}/")


def source_of(
    query: Query, nets: Networks, name: str = "g"
) -> Callable[[Variables, jax.Array, jax.Array | None], jax.Array]:
    """Returns the query's source: `(the target's variables, x [B, ...], labels) -> s [B, M]`, without gradients.

    Args:
      query: what s is: the latents x themselves, styles, classes, or the mean over positions of the target's block features.
      nets: plain networks.
      name: of the generator.

    Raises:
      ValueError: `style` for a generator without styles, `class` for an unconditional one, `latent` for a translator.
    """
    net, config = nets.nets[name], nets.config
    others = "features" if config.translates else "latent or features"
    if query == "latent" and config.translates:
        raise ValueError(
            f"{type(config).__name__} translates images and has no latents to make a query of; use {others}"
        )
    if query == "style" and "map" not in net.parts:
        raise ValueError(f"{type(config).__name__} has no styles to make a query of; use {others}")
    if query == "class" and not config.num_classes:
        kind = "a translator" if config.translates else "an unconditional generator"
        raise ValueError(f"{kind} has no classes to make a query of; use {others}")

    def source(variables: Variables, z: jax.Array, labels: jax.Array | None) -> jax.Array:
        if query == "class":
            assert labels is not None
            return jax.nn.one_hot(labels, config.num_classes)
        if query == "style":
            return net.parts["map"](variables, z, labels).mean(1)
        if query == "features":
            intermediates = net.activations(variables, z, labels)
            maps = [intermediates[block] for block in nets.g_blocks if block in intermediates]
            pooled = [h.reshape(len(z), -1, h.shape[-1]).mean(1) for h in maps]
            return jnp.concatenate([part.astype(jnp.float32) for part in pooled], -1)
        return z

    return lambda *args: jax.lax.stop_gradient(source(*args))


def plain_target(variables: Variables) -> Variables:
    """Returns the target's own variables, without the mixture's branch."""
    return {**variables, "params": {name: tree for name, tree in variables["params"].items() if name != ADAPTER}}


def conditional(nets: Networks, mixture: Mixture, source: Callable[..., jax.Array], per: Per, name: str = "g") -> Net:
    """Makes the generator whose `apply` and `apply_with_intermediates` mix weights per example or batch.

    Parameters are as in `fused`. Its other functions and parts use the running mean of the mixing weights.

    Args:
      nets: the plain networks; batch norms are synchronised over the axis that they were built for.
      mixture: a mixture whose gate is `Conditional`.
      source: the query's source, from `source_of` of the same networks.
      per: whether an example or a batch has weights.
      name: of the generator.
    """
    gate: Any = mixture.gate
    axes = () if nets.axis_name is None else (nets.axis_name,)
    of_examples = net_like(build(nets.config, (EXAMPLES, *axes)), name) if per == "example" else None
    inner = of_examples or nets.nets[name]

    def mixed(variables: Variables, shares: Shares) -> Variables:
        plain = {**variables, "params": mixture.bake(variables["params"], shares)}
        donors = flatten(plain.pop(STATISTICS, {}))
        if donors:
            target, groups = flatten(variables["batch_stats"]), _groups_of(donors, mixture, variables["params"])
            plain["batch_stats"] = unflatten(
                {path: mix(target[path], donors[path], shares[groups[path]]) for path in donors}
            )
        return plain

    def per_example_weights(function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function of a network so that it runs with the weights of its examples."""

        def run(
            variables: Variables,
            x: jax.Array,
            labels: Any = None,
            train: bool = False,
            keys: Any = None,
            **options: Any,
        ) -> Any:
            tree = variables["params"][ADAPTER][GATE]
            attention = gate.attention(tree, source(plain_target(variables), x, labels))
            if per == "batch":
                mean = {group: a.mean(0) for group, a in attention.items()}
                mean = jax.lax.pmean(mean, axes) if axes else mean
                return function(mixed(variables, gate.gated(tree, mean)), x, labels, train, keys, **options)

            def single(x: jax.Array, labels: Any, keys: Any, a: Shares, options: Any) -> Any:
                lead = lambda leaf: None if leaf is None else leaf[None]
                more = {name: lead(value) for name, value in options.items()}
                weights = mixed(variables, gate.gated(tree, a))
                return function(weights, x[None], lead(labels), train, lead(keys), **more)

            out, collections, *intermediates = jax.vmap(single, axis_name=EXAMPLES)(x, labels, keys, attention, options)
            squeeze = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # each example was a batch of one
            out, intermediates = jax.tree_util.tree_map(squeeze, (out, intermediates))
            return out, jax.tree_util.tree_map(lambda leaf: leaf.mean(0), collections), *intermediates

        return run

    return dataclasses.replace(
        fused(nets.nets[name], mixture),
        apply=per_example_weights(inner.apply),
        apply_with_intermediates=per_example_weights(inner.apply_with_intermediates),
    )


def with_statistics(variables: Variables, target: Variables, donors: Sequence[Variables]) -> Variables:
    """Adds donors' batch statistics: in evaluation mode each example is normalised by the statistics of its own mixture.

    Without them evaluation uses the target's statistics. Training mode uses those of all examples in the batch.

    Args:
      variables: variables of `conditional`.
      target: the target's variables, with recalibrated batch statistics.
      donors: the donors' variables, with recalibrated batch statistics.
    """
    stacked = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *(donor["batch_stats"] for donor in donors))
    return {**variables, "batch_stats": target["batch_stats"], STATISTICS: stacked}


def standing(net: Net) -> Net:
    """Makes the network whose `apply_with_intermediates` always runs in evaluation mode."""

    def apply_with_intermediates(
        variables: Variables, x: jax.Array, labels: Any = None, train: bool = False, keys: Any = None, **options: Any
    ) -> Any:
        return net.apply_with_intermediates(variables, x, labels, False, keys, **options)

    return dataclasses.replace(net, apply_with_intermediates=apply_with_intermediates)


def _groups_of(statistics: Iterable[str], mixture: Mixture, params: Tree) -> dict[str, str]:
    """Maps each statistic to the group of the nearest parameters: in its module, or in an enclosing one."""
    paths = [path for path in flatten(params) if not path.startswith(f"{ADAPTER}/")]

    def nearest(path: str) -> str:
        while path := path.rpartition("/")[0]:
            if siblings := [leaf for leaf in paths if leaf.startswith(f"{path}/")]:
                return siblings[0]
        return paths[0]

    return {path: mixture.group(nearest(path)) for path in statistics}


def update_running_mean(mixture: Mixture, params: Tree, s: jax.Array, sync: Callable[[Any], Any]) -> Tree:
    """Moves the running means towards the mixing weights of these examples; returns the new parameters."""
    gate: Any = mixture.gate
    tree = params[ADAPTER][GATE]
    now = sync({group: a.mean(0) for group, a in gate.attention(tree, s).items()})
    before = flatten(tree[MEAN])
    moved = unflatten({group: before[group] + MOMENTUM * (now[group] - before[group]) for group in before})
    return {**params, ADAPTER: {**params[ADAPTER], GATE: {**tree, MEAN: moved}}}
