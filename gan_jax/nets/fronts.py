"""Fronts, learned transforms of a network's input, and the one there is: the miner of MineGAN."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.config import ConfigError
from gan_jax.nets.build import Net, Pair, Variables
from gan_jax.nets.conv import conv
from gan_jax.reserved import GRAFT, MINED, MINER
from gan_jax.trees import Tree

# ----------------------------------------------------------------------------------------------------------------------
# A front: a learned transform of a network's input, whose parameters are auxiliary branches of the network's.
#
# A front cannot be folded into the network's own leaves. Its branches are in `params/graft/NAME/...`, and the manifest of
# weights that have them describes the front (`Front.spec`).

Branches = Mapping[str, Tree]  # the branches of one network, by name


@dataclasses.dataclass(frozen=True)
class Front:
    """A transform of a network's input.

    Attributes:
      change: `(branches, x) -> x` of the same shape.
      extra_collections: `(branches, x) -> collections` that the network reads for this input only; None = none.
      spec: its entry in a manifest, from which `fronts.FRONTS` rebuilds it; None = it is not stored in weights.
    """

    change: Callable[[Branches, jax.Array], jax.Array]
    extra_collections: Callable[[Branches, jax.Array], Variables] | None = None
    spec: Mapping[str, Any] | None = None


class Styled(NamedTuple):
    """Styles of a generator, and extra collections computed from their latents."""

    ws: jax.Array  # [N, num_ws, w_dim]
    extra_collections: Variables


def prepend_front(net: Net, front: Front | None) -> Net:
    """Makes the network behind a front; with None, the network that ignores branches in its parameters.

    Style mixing of StyleGAN2 is off behind a front: its second latent would not pass through the front.
    """

    def unmixed(x: jax.Array, drawn: bool) -> dict[str, Any]:
        # A network that mixes the styles of two latents draws the second one itself, after the front.
        return {"mixing": jnp.zeros(len(x), bool)} if drawn and front is not None and "styles" in net.parts else {}

    def prepared(variables: Variables, x: jax.Array) -> tuple[Variables, jax.Array, Variables]:
        params = dict(variables["params"])
        branches, plain = params.pop(GRAFT, {}), {**variables, "params": params}
        if front is None:
            return plain, x, {}
        extra = {} if front.extra_collections is None else front.extra_collections(branches, x)
        return plain, front.change(branches, x), extra

    def apply(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
        plain, x, extra = prepared(variables, x)
        out, collections = net.apply(
            {**plain, **extra}, x, *args, **{**options, **unmixed(x, options.get("keys") is not None)}
        )
        return out, {name: tree for name, tree in collections.items() if name not in extra}

    def apply_with_intermediates(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
        plain, x, extra = prepared(variables, x)
        out, collections, intermediates = net.apply_with_intermediates({**plain, **extra}, x, *args, **options)
        return out, {name: tree for name, tree in collections.items() if name not in extra}, intermediates

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
            plain, x, extra = prepared(variables, x)
            return function({**plain, **extra}, x, *args, **options)

        return run

    def styled(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
            plain, x, extra = prepared(variables, x)
            ws = part(plain, x, *args, **options, **unmixed(x, name == "styles"))
            return Styled(ws, extra) if extra else ws

        return run

    def synthesise(part: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, styles: Any, *args: Any, **options: Any) -> Any:
            ws, extra = styles if isinstance(styles, Styled) else (styles, {})
            params = {name: tree for name, tree in variables["params"].items() if name != GRAFT}
            return part({**variables, "params": params, **extra}, ws, *args, **options)

        return run

    def wrap(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        return synthesise(part) if name == "synthesise" else styled(name, part)

    return dataclasses.replace(
        net,
        apply=apply,
        statistics=through(net.statistics),
        activations=through(net.activations),
        apply_with_intermediates=apply_with_intermediates,
        parts={name: wrap(name, part) for name, part in net.parts.items()},
    )


# ----------------------------------------------------------------------------------------------------------------------
# The miner of MineGAN (Wang et al., CVPR 2020): a small network that selects a region of a generator's latent space.
#
# `u ~ N(0, I)` becomes `z` by Linear-ReLU-Linear. The miner starts as the exact identity: the first layer has the rows I and
# -I, and the second recombines them, since u = relu(u) - relu(-u). Further hidden units are random in the first layer and
# zero in the second. (The original starts at random, so that G's images change at once.)
#
# Mined latents may leave the distribution that G was trained on. With moment "prior" each latent keeps the length of its
# draw, `z |u| / |z|`. Lengths, and so their second moment, then follow the prior for every miner; an example does not depend
# on the rest of its batch; and where z is u the factor is exactly 1. StyleGAN2 reads only the direction of a latent, so there
# the moment changes nothing.
#
# The semantic miner of StyleGAN2's version (MineGAN++) changes the constant input of synthesis for each image: 4 x 4 x 8
# values from u, then 1x1 convolutions 8 -> 32 -> 128 -> channels, the last of which starts at zero. The original feeds it a
# constant, so all images share its output. Here it reads the latent of its image, and an image stays a continuous function of
# one latent.

SEMANTIC = (8, 32, 128)  # channels before those of the constant
TINY = 1e-12  # added to squared lengths, which are about z_dim
Moment = Literal["none", "prior"]


def miner(moment: Moment = "prior", semantic: bool = False) -> Front:
    """Makes the front of a branch `miner` with the parameters of `init_miner`."""
    spec: dict[str, Any] = {"kind": MINER, "moment": moment, "semantic": semantic}

    def extra_collections(branches: Branches, u: jax.Array) -> Variables:
        return {MINED: {"synthesis": {"b4": {"const": mine_constant(branches[MINER]["semantic"], u)}}}}

    return Front(lambda branches, u: mine(branches[MINER], u, moment), extra_collections if semantic else None, spec)


def init_miner(key: jax.Array, z_dim: int, width: int, channels: int | None = None) -> Tree:
    """Initialises a miner as the identity.

    Args:
      key: typed PRNG key.
      z_dim: size of the generator's latents.
      width: width of the hidden layer, at least `2 z_dim`.
      channels: channels of the generator's constant, for a semantic miner as well; None = no semantic miner.
    """
    if width < 2 * z_dim:
        raise ValueError(f"a miner of {width} hidden units cannot begin as the identity of {z_dim} numbers: twice that")
    identity, more = jnp.eye(z_dim), width - 2 * z_dim
    keys = jax.random.split(key, 2)
    first = jnp.concatenate(
        [identity, -identity, math.sqrt(2 / z_dim) * jax.random.normal(keys[0], (z_dim, more))], axis=1
    )
    params: dict[str, Any] = {
        "fc0": {"kernel": first, "bias": jnp.zeros(width)},
        "fc1": {"kernel": jnp.concatenate([identity, -identity, jnp.zeros((more, z_dim))]), "bias": jnp.zeros(z_dim)},
    }
    return params if channels is None else {**params, "semantic": _init_semantic(keys[1], z_dim, channels)}


def mine(params: Tree, u: jax.Array, moment: Moment = "prior") -> jax.Array:
    """Maps latents `[N, z_dim]` to mined latents `[N, z_dim]`, float32."""
    z = _dense(params["fc1"], jax.nn.relu(_dense(params["fc0"], u)))
    if moment == "none":
        return z
    # In one sum, so that equal rows give exactly equal lengths.
    before, after = jnp.square(jnp.stack([u, z])).sum(-1) + TINY
    return z * jnp.sqrt(before / after)[:, None]


def mine_constant(params: Tree, u: jax.Array) -> jax.Array:
    """Maps latents `[N, z_dim]` to offsets of the constant, `[N, 4, 4, channels]`."""
    h = _dense(params["fc"], u).reshape(-1, 4, 4, SEMANTIC[0])
    for i in range(len(SEMANTIC)):
        h = (
            conv(jax.nn.relu(h) if i else h, params[f"conv{i}"]["kernel"])
            + params[f"conv{i}"]["bias"][None, None, None]
        )
    return h


def _init_semantic(key: jax.Array, z_dim: int, channels: int) -> Tree:
    keys = jax.random.split(key, len(SEMANTIC))
    sizes = list(zip(SEMANTIC, SEMANTIC[1:]))
    convs = [math.sqrt(2 / i) * jax.random.normal(k, (1, 1, i, o)) for k, (i, o) in zip(keys[1:], sizes)]
    convs.append(jnp.zeros((1, 1, SEMANTIC[-1], channels)))
    fc = jax.random.normal(keys[0], (z_dim, 16 * SEMANTIC[0])) / math.sqrt(z_dim)
    layers = {f"conv{i}": kernel for i, kernel in enumerate(convs)} | {"fc": fc}
    return {name: {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1])} for name, kernel in layers.items()}


def _dense(layer: Tree, x: jax.Array) -> jax.Array:
    # At full precision: with the fewer bits of accelerators the product would not be the identity.
    return jnp.matmul(x, layer["kernel"], precision=jax.lax.Precision.HIGHEST) + layer["bias"][None]


# ----------------------------------------------------------------------------------------------------------------------
# Generators with the front that their weights hold, and the table of kinds.


def with_front(pair: Pair, spec: Mapping[str, Any] | None) -> Pair:
    """Makes the pair whose generator reads its latents through the front of its weights.

    Args:
      pair: the plain pair.
      spec: `front` of a manifest, such as `{"kind": "miner", "moment": "prior"}`; None = no front.

    Raises:
      ConfigError: the front's kind is unknown.
    """
    if spec is None:
        return pair
    kind, options = spec.get("kind"), {name: value for name, value in spec.items() if name != "kind"}
    if kind not in FRONTS:
        raise ConfigError(f"front: these weights need a {kind!r} before G; the known ones are {', '.join(FRONTS)}")
    return dataclasses.replace(pair, g=prepend_front(pair.g, FRONTS[kind](**options)))


FRONTS: dict[str, Callable[..., Front]] = {"miner": miner}  # kind -> front of the other entries of a manifest's `front`
