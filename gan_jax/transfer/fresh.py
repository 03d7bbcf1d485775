"""Fresh values of a pair's variables: all, or only those that a plan reads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax

from gan_jax.nets import Pair
from gan_jax.random_streams import NETWORK_KEYS
from gan_jax.seeds import root_key
from gan_jax.train.state import Variables
from gan_jax.trees import flatten

NETWORKS = {"g": "g", "g_ema": "g", "d": "d"}  # root of a path -> the network that it belongs to


def fresh_variables(pair: Pair, seed: int) -> dict[str, Variables]:
    """Draws fresh variables `{"g": variables, "d": variables}` from a seed."""
    return {network: jax.jit(getattr(pair, network).init)(_key(seed, network)) for network in NETWORK_KEYS}


def fresh_leaves(pair: Pair, seed: int, paths: Collection[str]) -> dict[str, Any]:
    """Draws some of these leaves by path, `{"g_ema/params/stem/kernel": array}`; no other leaf is computed."""
    leaves: dict[str, Any] = {}
    for root, network in NETWORKS.items():
        tails = [path.partition("/")[2] for path in paths if path.startswith(f"{root}/")]
        if tails:
            values = jax.jit(_some, static_argnums=(0, 1))(
                getattr(pair, network).init, tuple(tails), _key(seed, network)
            )
            leaves |= {f"{root}/{tail}": value for tail, value in zip(tails, values)}
    return leaves


def _some(init: Any, tails: tuple[str, ...], key: jax.Array) -> list[jax.Array]:
    flat = flatten(init(key))
    return [flat[tail] for tail in tails]  # the compiler drops the computation of all others


def _key(seed: int, network: str) -> jax.Array:
    return jax.random.fold_in(root_key(seed), NETWORK_KEYS[network])
