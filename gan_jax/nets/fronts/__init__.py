"""Fronts: what is learned before a generator and goes along in its weights, and the table of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gan_jax.config import ConfigError
from gan_jax.nets.build import Pair
from gan_jax.nets.fronts.front import Branches, Front, Styled, fronted
from gan_jax.nets.fronts.miner import miner


def with_front(pair: Pair, said: Mapping[str, Any] | None) -> Pair:
    """The pair whose generator takes its latents through the front that weights say they have.

    Args:
      pair: plain.
      said: `front` of a manifest, such as `{"kind": "miner", "moment": "prior"}`; None = there is none.

    Raises:
      ConfigError: a front that is unknown here.
    """
    if said is None:
        return pair
    kind, options = said.get("kind"), {name: value for name, value in said.items() if name != "kind"}
    if kind not in FRONTS:
        raise ConfigError(f"front: these weights want a {kind!r} before G; the known ones are {', '.join(FRONTS)}")
    return dataclasses.replace(pair, g=fronted(pair.g, FRONTS[kind](**options)))


FRONTS: dict[str, Callable[..., Front]] = {"miner": miner}  # kind -> front, of what a manifest says beside the kind

__all__ = ["FRONTS", "Branches", "Front", "Styled", "fronted", "miner", "with_front"]
