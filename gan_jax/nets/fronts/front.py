"""A front: a learned transform of a network's input, whose parameters are auxiliary branches of the network's.

A front cannot be folded into the network's own leaves. Its branches are in `params/graft/NAME/...`, and the manifest of
weights that have them describes the front (`Front.spec`).
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
