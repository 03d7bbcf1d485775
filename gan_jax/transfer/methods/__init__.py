"""Published transfer methods, one module each, with the name that `METHOD_NAMES` gives its configuration.

A module has a function `make(config, pair) -> Method`, and is imported at its first use.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from gan_jax.config import METHOD_NAMES, ConfigError, kind_of
from gan_jax.nets import Networks, Pair
from gan_jax.transfer.method import Method

MakeMethod = Callable[[Any, Any], Method]  # (its configuration, the plain networks)


def make_method(config: Any, nets: Networks) -> Method:
    """Makes the method of a configuration.

    Args:
      config: of one of the classes in `METHOD_NAMES`.
      nets: the plain networks, a pair for most methods.

    Raises:
      ConfigError: no such method; networks that it is not for; an option that it does not have; a fresh network that
        would be frozen.
    """
    name = kind_of(config)
    if METHOD_NAMES.get(name) is not type(config):
        raise ConfigError(f"no method for {name}; the known ones are {', '.join(METHOD_NAMES)}")
    if not isinstance(nets, Pair) and not _takes_several(type(config)):
        raise ConfigError(
            f"{name} is a method for one generator g and one discriminator d, and these networks are "
            f"{', '.join(nets.nets)}; use one of {', '.join(key for key, cls in METHOD_NAMES.items() if _takes_several(cls))}"
        )
    method = dataclasses.replace(_implementation(name)(config, nets), name=name)
    for network in nets.nets.keys() - set(method.starts):
        if _freezes(method, nets, network):
            raise ConfigError(
                f"transfer.networks {config.networks} leaves a fresh {network.upper()}, whose blocks must not be frozen; "
                f"use both or {network}"
            )
    return method


def _takes_several(cls: type) -> bool:
    """Whether a method takes networks other than a pair: what its class itself declares."""
    return vars(cls).get("several_networks", False)


def _implementation(name: str) -> MakeMethod:
    where = f"{__name__}.{name}"
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name != where:
            raise
        raise ConfigError(f"the method {name} has a row in METHOD_NAMES, but there is no module {where}") from None
    if not hasattr(module, "make"):
        raise ConfigError(f"the method {name} has a row in METHOD_NAMES, but {where} has no make(config, pair)")
    return module.make


def _freezes(method: Method, nets: Networks, network: str) -> bool:
    """Whether a method freezes leaves of a network that its losses use."""
    if network in nets.discriminators and not method.extension.adversarial:
        return False
    prefix = f"{network}/params/"
    return any(pattern.startswith((prefix, "**")) for pattern in method.frozen)
