"""Fronts: learned latent transforms before a generator, stored in its weights, and the table of their kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gan_jax.config import ConfigError
from gan_jax.nets.build import Pair
from gan_jax.nets.fronts.front import Branches, Front, Styled, prepend_front
from gan_jax.nets.fronts.miner import miner


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

__all__ = ["FRONTS", "Branches", "Front", "Styled", "prepend_front", "miner", "with_front"]
