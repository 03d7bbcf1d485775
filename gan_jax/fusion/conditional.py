"""Shares by attention whose query is made of something: latents, styles, classes, or what the target's blocks give.

    a_l(s) = softmax((Q_l s) . k_{l,i} / sqrt(d) / temperature),    s [B, M] of the examples

Per example, every one has weights of its own: the network runs under `vmap`, its batch norms over the examples, its
convolutions in groups (several times slower; exact). Per batch, the mean of the examples' shares makes one network for all
of them, at the price of static shares (SMEAR; Muqeeth et al., 2023). Either way the running mean of the shares is kept,
and is what `bake` collapses to (Zoo-Tuning Lite; Shu et al., ICML 2021). Where latents choose between networks, their mean
is none of them; a plain network can be taught what the mixture makes instead (`transfer.fusing`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gan_jax.fusion.attention import Slots
from gan_jax.fusion.mixture import Mixture, Shares, Sizes, fused, mix
from gan_jax.nets import Net, Pair, build
from gan_jax.nets.build import Variables
from gan_jax.reserved import ADAPTER, GATE
from gan_jax.trees import Tree, flatten, unflatten

Query = Literal["latent", "style", "class", "features"]
Per = Literal["example", "batch"]
MEAN = "mean"
EXAMPLES = "examples"  # the axis over which a batch is mapped
STATISTICS = "donors_batch_stats"  # collection: donors' batch statistics, stacked
MOMENTUM = 0.1  # of the running mean, as published


@dataclasses.dataclass(frozen=True)
class Conditional(Slots):
    """A gate whose shares depend on `s [B, M]`; its `shares` are the running mean of them.

    Attributes:
      inputs: M.
    """

    inputs: int = dataclasses.field(kw_only=True)

    def init(self, key: jax.Array, sizes: Sizes) -> Tree:
        """As of `Slots`, and `mean/GROUP [S]`.

        Raises:
          ValueError: channels with shares of their own, which only static attention has.
        """
        if any(channels is not None for channels in sizes.values()):
            raise ValueError(
                "channels have no shares of their own where these depend on examples; use tensor or coarser"
            )
        even = jnp.full((self.slots,), 1 / self.slots, jnp.float32)
        return {**super().init(key, sizes), MEAN: unflatten(dict.fromkeys(sizes, even))}

    def query(self, key: jax.Array, channels: int | None) -> jax.Array:
        """A map of s, `[M, d]`."""
        return jax.random.normal(key, (self.inputs, self.width)) / jnp.sqrt(float(self.inputs))

    def attention(self, gate: Tree, s: jax.Array) -> Shares:
        """`a` by group, `[B, S]`, each summing to 1."""
        queries, keys, scale = flatten(gate["query"]), self.keys(gate), self.scale(gate)
        return {group: jax.nn.softmax(s @ queries[group] @ keys[group].T / scale, axis=-1) for group in queries}

    def shares(self, gate: Tree) -> Shares:
        """`gate_l` times the running mean of `a`, the donors' part of it: `[K]`."""
        return self.opened(gate, flatten(gate[MEAN]))

    def trains(self, path: str) -> bool:
        """All but the running mean, and what never does."""
        return super().trains(path) and not path.startswith(f"{MEAN}/")


def source_of(query: Query, pair: Pair) -> Callable[[Variables, jax.Array, jax.Array | None], jax.Array]:
    """What queries are made of: `(the target's variables, z [B, z_dim], labels) -> s [B, M]`, without gradients.

    Raises:
      ValueError: styles of a generator that has none, classes of an unconditional one.
    """
    net, classes = pair.g, pair.config.num_classes
    if query == "style" and "map" not in net.parts:
        raise ValueError(f"{type(pair.config).__name__} has no styles to make a query of; use latent or features")
    if query == "class" and not classes:
        raise ValueError("an unconditional generator has no classes to make a query of; use latent or features")

    def source(variables: Variables, z: jax.Array, labels: jax.Array | None) -> jax.Array:
        if query == "class":
            assert labels is not None
            return jax.nn.one_hot(labels, classes)
        if query == "style":
            return net.parts["map"](variables, z, labels).mean(1)
        if query == "features":
            inside = net.activations(variables, z, labels)
            pooled = [
                inside[name].reshape(len(z), -1, inside[name].shape[-1]).mean(1)
                for name in pair.g_blocks
                if name in inside
            ]
            return jnp.concatenate([part.astype(jnp.float32) for part in pooled], -1)
        return z

    return lambda *args: jax.lax.stop_gradient(source(*args))


def plain_target(variables: Variables) -> Variables:
    """The target's own variables, as they are below a mixture."""
    return {**variables, "params": {name: tree for name, tree in variables["params"].items() if name != ADAPTER}}


def conditional(pair: Pair, mixture: Mixture, source: Callable[..., jax.Array], per: Per) -> Net:
    """G with weights for the example, or for the batch, in `apply` and `look`; parameters as of `fused`.

    Its other functions and parts are of the mean.

    Args:
      pair: of plain networks; its batch norms are synchronised over the axis that it was built for.
      mixture: whose gate is `Conditional`.
      source: of `source_of`, of the same pair.
      per: whose weights.
    """
    gate: Any = mixture.gate
    axes = () if pair.axis_name is None else (pair.axis_name,)
    inner = build(pair.config, (EXAMPLES, *axes)).g if per == "example" else pair.g

    def mixed(variables: Variables, shares: Shares) -> Variables:
        plain = {**variables, "params": mixture.bake(variables["params"], shares)}
        donors = flatten(plain.pop(STATISTICS, {}))
        if donors:
            own, beside = flatten(variables["batch_stats"]), _groups_of(donors, mixture, variables["params"])
            plain["batch_stats"] = unflatten(
                {path: mix(own[path], donors[path], shares[beside[path]]) for path in donors}
            )
        return plain

    def of_all(function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of a network with the weights of the examples that it is shown."""

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
                return function(mixed(variables, gate.opened(tree, mean)), x, labels, train, keys, **options)

            def one(x: jax.Array, labels: Any, keys: Any, a: Shares, options: Any) -> Any:
                lead = lambda leaf: None if leaf is None else leaf[None]
                more = {name: lead(value) for name, value in options.items()}
                weights = mixed(variables, gate.opened(tree, a))
                return function(weights, x[None], lead(labels), train, lead(keys), **more)

            out, collections, *inside = jax.vmap(one, axis_name=EXAMPLES)(x, labels, keys, attention, options)
            joined = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # each example was a batch of one
            out, inside = jax.tree_util.tree_map(joined, (out, inside))
            return out, jax.tree_util.tree_map(lambda leaf: leaf.mean(0), collections), *inside

        return run

    return dataclasses.replace(fused(pair.g, mixture), apply=of_all(inner.apply), look=of_all(inner.look))


def with_statistics(variables: Variables, own: Variables, donors: Sequence[Variables]) -> Variables:
    """Variables by which, in evaluation mode, each example is normalised by the statistics of its own mixture.

    Without these it is by the target's, and in training mode by those of all examples, whichever networks made them.

    Args:
      variables: of `conditional`.
      own: the target's, with batch statistics of its weights as they are.
      donors: theirs.
    """
    stacked = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *(one["batch_stats"] for one in donors))
    return {**variables, "batch_stats": own["batch_stats"], STATISTICS: stacked}


def standing(net: Net) -> Net:
    """The network whose `look` is in evaluation mode always."""

    def look(
        variables: Variables, x: jax.Array, labels: Any = None, train: bool = False, keys: Any = None, **options: Any
    ) -> Any:
        return net.look(variables, x, labels, False, keys, **options)

    return dataclasses.replace(net, look=look)


def _groups_of(statistics: Iterable[str], mixture: Mixture, params: Tree) -> dict[str, str]:
    """The group of the parameters that stand nearest to a statistic: of its module, or of one around it."""
    paths = [path for path in flatten(params) if not path.startswith(f"{ADAPTER}/")]

    def nearest(path: str) -> str:
        while path := path.rpartition("/")[0]:
            if beside := [one for one in paths if one.startswith(f"{path}/")]:
                return beside[0]
        return paths[0]

    return {path: mixture.group(nearest(path)) for path in statistics}


def remember(mixture: Mixture, params: Tree, s: jax.Array, sync: Callable[[Any], Any]) -> Tree:
    """Parameters whose running means have moved towards the shares of these examples."""
    gate: Any = mixture.gate
    tree = params[ADAPTER][GATE]
    now = sync({group: a.mean(0) for group, a in gate.attention(tree, s).items()})
    before = flatten(tree[MEAN])
    moved = unflatten({group: before[group] + MOMENTUM * (now[group] - before[group]) for group in before})
    return {**params, ADAPTER: {**params[ADAPTER], GATE: {**tree, MEAN: moved}}}
