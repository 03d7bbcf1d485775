"""A front: what happens to a network's input before it, by branches of its parameters.

It cannot be folded into the network's own leaves. They are in `params/graft/NAME/...`, beside them, and weights that
have them say in their manifest what is to be done with them (`Front.said`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.nets.build import Net, Variables
from gan_jax.reserved import GRAFT
from gan_jax.trees import Tree

Branches = Mapping[str, Tree]  # those of one network, by name


@dataclasses.dataclass(frozen=True)
class Front:
    """What happens to a network's input.

    Attributes:
      change: `(branches, x) -> x` of the same shape.
      beside: `(branches, x) -> collections` that the network reads for this very input and forgets; None = none.
      said: what a manifest says of it, by which `fronts.FRONTS` makes it again; None = it is not kept in weights.
    """

    change: Callable[[Branches, jax.Array], jax.Array]
    beside: Callable[[Branches, jax.Array], Variables] | None = None
    said: Mapping[str, Any] | None = None


class Styled(NamedTuple):
    """Styles of a generator, and what goes along from the latents that they were made of."""

    ws: jax.Array  # [N, num_ws, w_dim]
    beside: Variables


def fronted(net: Net, front: Front | None) -> Net:
    """The network behind a front; without one, the network of parameters that have branches all the same.

    StyleGAN2 does not mix styles behind a front: the second latent would be one that the front has not seen.
    """

    def unmixed(x: jax.Array, drawn: bool) -> dict[str, Any]:
        # A network that mixes the styles of two latents draws the second one itself, past the front.
        return {"mixing": jnp.zeros(len(x), bool)} if drawn and front is not None and "styles" in net.parts else {}

    def prepared(variables: Variables, x: jax.Array) -> tuple[Variables, jax.Array, Variables]:
        params = dict(variables["params"])
        branches, own = params.pop(GRAFT, {}), {**variables, "params": params}
        if front is None:
            return own, x, {}
        beside = {} if front.beside is None else front.beside(branches, x)
        return own, front.change(branches, x), beside

    def apply(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
        own, x, beside = prepared(variables, x)
        out, collections = net.apply(
            {**own, **beside}, x, *args, **{**options, **unmixed(x, options.get("keys") is not None)}
        )
        return out, {name: tree for name, tree in collections.items() if name not in beside}

    def look(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
        own, x, beside = prepared(variables, x)
        out, collections, inside = net.look({**own, **beside}, x, *args, **options)
        return out, {name: tree for name, tree in collections.items() if name not in beside}, inside

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
            own, x, beside = prepared(variables, x)
            return function({**own, **beside}, x, *args, **options)

        return run

    def styled(name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
            own, x, beside = prepared(variables, x)
            ws = part(own, x, *args, **options, **unmixed(x, name == "styles"))
            return Styled(ws, beside) if beside else ws

        return run

    def synthesise(part: Callable[..., Any]) -> Callable[..., Any]:
        def run(variables: Variables, styles: Any, *args: Any, **options: Any) -> Any:
            ws, beside = styles if isinstance(styles, Styled) else (styles, {})
            params = {name: tree for name, tree in variables["params"].items() if name != GRAFT}
            return part({**variables, "params": params, **beside}, ws, *args, **options)

        return run

    wrap = lambda name, part: synthesise(part) if name == "synthesise" else styled(name, part)
    return dataclasses.replace(
        net,
        apply=apply,
        statistics=through(net.statistics),
        activations=through(net.activations),
        look=look,
        parts={name: wrap(name, part) for name, part in net.parts.items()},
    )
