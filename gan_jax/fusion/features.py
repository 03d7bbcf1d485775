"""Feature fusion: a generator that mixes frozen donors' features into its own at some of its modules.

The donors have the generator's architecture and run on the same latents, labels, noise and mixed styles, in the same
mode.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.nets import Pair
from gan_jax.nets.build import Net, Variables
from gan_jax.nets.changes import Changes
from gan_jax.nets.fronts import Styled
from gan_jax.nets.inside import Shapes, g_maps_by_block, module_shapes
from gan_jax.nets.layers import at_least_float32
from gan_jax.reserved import DONORS, FUSION, LAYERS, SELF_ATTENTION, SHARES
from gan_jax.trees import Tree, did_you_mean

# ----------------------------------------------------------------------------------------------------------------------
# Choice of points: the modules of a generator whose features are fused or compared.


def choose_points(pair: Pair, points: Sequence[str] = ()) -> Shapes:
    """Returns paths of G's modules and their outputs' shapes, from the latents to the image; by default one per block.

    Args:
      pair: the pair of G.
      points: paths of modules; empty = one per block.

    Raises:
      ConfigError: a path without a module, or whose output has no channels.
    """
    if not points:
        return g_maps_by_block(pair)
    modules = module_shapes(pair, "g")
    for path in points:
        if path not in modules:
            raise ConfigError(
                f"transfer.points: G has no module {path!r}{did_you_mean(path, modules)}; it has {', '.join(modules)}"
            )
        if not modules[path]:
            raise ConfigError(f"transfer.points: {path} gives one number, which has no channels; name another module")
    return {path: modules[path] for path in points}


# ----------------------------------------------------------------------------------------------------------------------
# Fusion layers: a network's features mixed with donors' at one module, by attention per position or by AFF.
#
# `attention`, with the network's features h, those of K donors h_i and h_0 = h:
#
#     a_i = softmax over i of  <Q n(h), K_i n(h_i)> / sqrt(width) + b_i        n(h) = h / root mean square over channels
#     h' = h + gate * sum over donors of a_i (V_i h_i - h)
#
# Slot 0 is the network itself; where it has all of the weight, h' is h. With the gate at 0, its initial value, h' is exactly
# h. With the gate at 1, h' is a mixture whose weights sum to 1: donors equal to the network change nothing, and a donor with
# all of the weight replaces it. Features are normalised before queries and keys, since the softmax would saturate on a
# residual stream. V_i start as the identity and all K_i start equal, so that at first donors differ by their features alone,
# not by their index.
#
# `aff`, attentional feature fusion (Dai et al., WACV 2021), of one donor y, with M per position and channel:
#
#     M = sigmoid(local(s) + global(mean of s over positions)),  s = n(h + V y)
#     h' = h + gate * (1 - M) (V y - h)                          at gate 1: M h + (1 - M) V y
#
# `local` and `global` are Linear-ReLU-Linear over channels with a bottleneck of a quarter. The paper has batch norms in
# them; here n replaces these. Everything is computed in at least float32; features are `[N, ..., C]` of any rank.

Kind = Literal["attention", "aff"]
REDUCTION = 4  # of channels in the bottlenecks of AFF
TINY_SQUARE = 1e-8  # added to mean squares


class FusionLayer(NamedTuple):
    """A fusion layer.

    Attributes:
      init: `(key, channels, donors, width) -> params` with which the layer is the identity.
      fuse: `(params, h [N, ..., C], donors [K, N, ..., C]) -> (h', shares [N, ..., K + 1])`, slot 0 being the network.
    """

    init: Callable[[jax.Array, int, int, int], Tree]
    fuse: Callable[[Tree, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def init_attention(key: jax.Array, channels: int, donors: int, width: int) -> Tree:
    """Initialises `attend`: query `[C, width]`, keys `[K + 1, C, width]`, bias `[K + 1]`, values `[K, C, C]`, gate."""
    query, key_map = jax.random.normal(key, (2, channels, width)) / math.sqrt(channels)
    return {
        "gate": jnp.zeros(()),
        "query": query,
        "keys": jnp.broadcast_to(key_map, (donors + 1, channels, width)),
        "bias": jnp.zeros(donors + 1),
        "values": jnp.broadcast_to(jnp.eye(channels), (donors, channels, channels)),
    }


def attend(params: Tree, h: jax.Array, donors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fuses features by attention; returns them and the weights of all slots."""
    target, sources = at_least_float32(h), at_least_float32(donors)
    slots = jnp.concatenate([target[None], sources])
    query = _unit(target) @ params["query"]
    keys = jnp.einsum("k...c,kcd->k...d", _unit(slots), params["keys"])
    logits = jnp.einsum("...d,k...d->...k", query, keys) / math.sqrt(query.shape[-1])
    shares = jax.nn.softmax(logits + params["bias"].reshape((1,) * (h.ndim - 1) + (-1,)))
    values = jnp.einsum("k...c,kce->k...e", sources, params["values"]) - target[None]
    return _moved(h, params["gate"], jnp.einsum("...k,k...e->...e", shares[..., 1:], values)), shares


def init_aff(key: jax.Array, channels: int, donors: int, width: int) -> Tree:
    """Initialises `fuse_two`: two bottlenecks, a value map `[C, C]`, a gate."""
    if donors != 1:
        raise ValueError(f"aff fuses a network with one donor, not with {donors}; use attention")
    inner = max(channels // REDUCTION, 1)

    def bottleneck(key: jax.Array) -> Tree:
        keys = jax.random.split(key)

        def layer(key: jax.Array, i: int, o: int) -> Tree:
            return {"kernel": jax.random.normal(key, (i, o)) * math.sqrt(2 / (i + o)), "bias": jnp.zeros(o)}

        return {"fc0": layer(keys[0], channels, inner), "fc1": layer(keys[1], inner, channels)}

    keys = jax.random.split(key)
    return {
        "gate": jnp.zeros(()),
        "local": bottleneck(keys[0]),
        "global": bottleneck(keys[1]),
        "value": jnp.eye(channels),
    }


def fuse_two(params: Tree, h: jax.Array, donors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fuses features with one donor by AFF; returns them and both weights as means over channels."""
    target = at_least_float32(h)
    other = at_least_float32(donors[0]) @ params["value"]
    both = _unit(target + other)
    everywhere = both.mean(tuple(range(1, h.ndim - 1)), keepdims=True)
    m = jax.nn.sigmoid(_bottleneck(params["local"], both) + _bottleneck(params["global"], everywhere))
    share = m.mean(-1)
    return _moved(h, params["gate"], (1 - m) * (other - target)), jnp.stack([share, 1 - share], -1)


def _bottleneck(params: Tree, h: jax.Array) -> jax.Array:
    for i in range(2):
        layer = params[f"fc{i}"]
        h = (jax.nn.relu(h) if i else h) @ layer["kernel"] + layer["bias"].reshape((1,) * (h.ndim - 1) + (-1,))
    return h


def _unit(h: jax.Array) -> jax.Array:
    return h * jax.lax.rsqrt(jnp.square(h).mean(-1, keepdims=True) + TINY_SQUARE)


def _moved(h: jax.Array, gate: jax.Array, by: jax.Array) -> jax.Array:
    return h + (gate * by).astype(h.dtype)


FUSION_LAYERS: dict[str, FusionLayer] = {
    "attention": FusionLayer(init_attention, attend),
    "aff": FusionLayer(init_aff, fuse_two),
}


# ----------------------------------------------------------------------------------------------------------------------
# Auxiliary parameters and collections of feature fusion: the donors, the fusion layers, and the attention statistics.
#
# Parameters below `fusion`: `ways/POINT/..` are the fusion layer of a point (slashes of the point's path are dots),
# `donors/g1/..` are the donors' variables, which are frozen. A pass in training mode returns two collections.
# `shares/POINT [K + 1]` are mean attention weights over examples and positions, the generator's own first.
# `leaning/POINT []` is the self-attention entropy loss, the mean of -log of the generator's own weight: 0 means that donors
# can be pruned.

TINY = 1e-6  # lower bound of a weight under the logarithm


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Where feature fusion happens and by which layer.

    Attributes:
      points: paths of the generator's modules -> channels of their outputs.
      kind: name of the fusion layer, of `FUSION_LAYERS`.
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


# ----------------------------------------------------------------------------------------------------------------------
# The fused generator.


def fused(net: Net, fusion: Fusion) -> Net:
    """Makes the fused generator, whose variables come from `attach`; its `init` is that of the plain generator.

    It has one more part, `shares`: `(variables, z, labels=None) -> {point: [N, ..., K + 1]}`, the attention weights in
    evaluation mode.
    """

    def features(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> dict[str, jax.Array]:
        donors = variables["params"][FUSION][DONORS]
        outputs = [
            net.apply_with_intermediates(donors[f"g{i}"], x, *args, **options)[2] for i in range(1, len(donors) + 1)
        ]
        return {
            point: jax.lax.stop_gradient(jnp.stack([output[point] for output in outputs])) for point in fusion.points
        }

    def changes(variables: Variables, donors: Mapping[str, jax.Array], shares: dict[str, jax.Array]) -> Changes:
        """Makes the changes at the points; running them writes the attention weights into `shares`."""

        def at(point: str) -> Callable[[jax.Array], jax.Array]:
            def change(h: jax.Array) -> jax.Array:
                layer = variables["params"][FUSION][LAYERS][name_of(point)]
                fused_h, shares[point] = FUSION_LAYERS[fusion.kind].fuse(layer, h, donors[point])
                return fused_h

            return change

        return {point: at(point) for point in fusion.points}

    def apply(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> tuple[jax.Array, Variables]:
        out, collections, _ = _pass(net.apply, variables, x, *args, **options)
        return out, collections

    def apply_with_intermediates(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
        out, collections, more = _pass(net.apply_with_intermediates, variables, x, *args, **options)
        return out, collections, *more

    def _pass(
        function: Callable[..., Any],
        variables: Variables,
        x: jax.Array,
        labels: jax.Array | None = None,
        train: bool = False,
        keys: jax.Array | None = None,
        **options: Any,
    ) -> tuple[jax.Array, Variables, Sequence[Any]]:
        shares: dict[str, jax.Array] = {}
        at_points = changes(variables, features(variables, x, labels, train, keys, **options), shares)
        out, collections, *more = function(plain(variables), x, labels, train, keys, changes=at_points, **options)
        stats = (
            summary(shares)
            if train
            else {name: variables[name] for name in (SHARES, SELF_ATTENTION) if name in variables}
        )
        return out, {**collections, **stats}, more

    def attention_weights(variables: Variables, x: jax.Array, labels: jax.Array | None = None) -> Any:
        shares: dict[str, jax.Array] = {}
        at_points = changes(variables, features(variables, x, labels), shares)
        net.apply(plain(variables), x, labels, changes=at_points)
        return shares

    def statistics(variables: Variables, x: jax.Array, labels: jax.Array | None = None) -> Variables:
        at_points = changes(variables, features(variables, x, labels, True), {})
        return net.statistics(plain(variables), x, labels, changes=at_points)

    def styled(part: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, x: jax.Array, labels: Any = None, keys: Any = None, **options: Any) -> Styled:
            donors = features(variables, x, labels, keys is not None, keys)
            args = () if keys is None else (keys,)
            return Styled(part(plain(variables), x, labels, *args, **options), {FUSION: donors})

        return run

    def synthesise(part: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, styles: Styled, *args: Any, **options: Any) -> Any:
            at_points = changes(variables, styles.extra_collections[FUSION], {})
            return part(plain(variables), styles.ws, *args, changes=at_points, **options)

        return run

    def wrap(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        return synthesise(part) if name == "synthesise" else styled(part)

    return Net(
        net.init,
        apply,
        statistics,
        lambda *args, **options: apply_with_intermediates(*args, **options)[2],
        apply_with_intermediates,
        {name: wrap(name, part) for name, part in net.parts.items()} | {SHARES: attention_weights},
    )


def attention_maps(
    net: Net, fusion: Fusion, g: Variables, z: jax.Array, labels: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Computes attention maps `{point: [N, H, W, K + 1]}` in evaluation mode, the generator's own weight first.

    Args:
      net: the plain generator.
      fusion: points and fusion layer.
      g: variables of the fused generator.
      z: `[N, z_dim]` latents.
      labels: `[N]`, for conditional generators.
    """
    shares = fused(net, fusion).parts[SHARES](g, z, labels)

    def maps(a: jax.Array) -> jax.Array:
        return a if a.ndim == 4 else a.reshape(len(a), 1, -1, a.shape[-1])

    return {point: maps(shares[point]) for point in fusion.points}


# ----------------------------------------------------------------------------------------------------------------------
# Attention statistics of feature fusion: numbers and small maps as JSON values, for metrics rows and reports.

PROBES = 64  # inputs that attention is measured on
MAP_PX = 16  # largest side of a stored map


def measure_attention(
    pair: Pair, fusion: Fusion, g: Variables, x: jax.Array, labels: jax.Array | None = None
) -> dict[str, Any]:
    """Measures a fused generator's attention by point, in evaluation mode.

    Args:
      pair: of plain networks.
      fusion: points and fusion layer.
      g: variables of the fused generator.
      x, labels: its inputs, latents or images, and classes.

    Returns:
      `shares`: mean attention weights `[K + 1]` over examples and positions, the generator's own first; `gates`: a number;
      `counts`: `[K]`, |gate| x attention weight; `maps`: means over examples as lists `[H, W, K + 1]`, at most `MAP_PX`.
    """
    maps = jax.jit(lambda v: {p: a.mean(0) for p, a in attention_maps(pair.g, fusion, v, x, labels).items()})(g)
    gates = {point: float(g["params"][FUSION][LAYERS][name_of(point)]["gate"]) for point in fusion.points}
    maps = {point: maps[point] for point in fusion.points}  # from the latents on, where `jit` sorts by name
    shares = {point: np.asarray(a, np.float64).mean((0, 1)) for point, a in maps.items()}

    def rounded(values: Any) -> list[Any]:
        return np.round(np.asarray(values, np.float64), 6).tolist()

    return {
        "shares": {point: rounded(row) for point, row in shares.items()},
        "gates": gates,
        "counts": {point: rounded(abs(gates[point]) * row[1:]) for point, row in shares.items()},
        "maps": {point: rounded(smaller(np.asarray(a))) for point, a in maps.items()},
    }


def smaller(a: np.ndarray, most: int = MAP_PX) -> np.ndarray:
    """Halves a map `[H, W, C]` by means of neighbours until it has at most `most` rows and columns."""
    while max(a.shape[:2]) > most and a.shape[0] % 2 == a.shape[1] % 2 == 0:
        a = a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2, -1).mean((1, 3))
    return a
