"""Feature fusion: a generator that mixes frozen donors' features into its own at some of its modules.

The donors have the generator's architecture and run on the same latents, labels, noise and mixed styles, in the same
mode. Its auxiliary parameters are in `carried`, the fusion layers in `feature_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.fusion.carried import Fusion, name_of, plain, summary
from gan_jax.fusion.feature_attention import FUSION_LAYERS
from gan_jax.nets.build import Net, Variables
from gan_jax.nets.changes import Changes
from gan_jax.nets.fronts import Styled
from gan_jax.reserved import DONORS, FUSION, LAYERS, SELF_ATTENTION, SHARES


def fused(net: Net, fusion: Fusion) -> Net:
    """Makes the fused generator, whose variables come from `carried.attach`; its `init` is that of the plain generator.

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
