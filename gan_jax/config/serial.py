"""Configurations as plain JSON values and back, without loss."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar, Union

from gan_jax.config.nets import NetConfig
from gan_jax.trees import did_you_mean, flatten

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot run; the message says which field and what to change."""


def to_dict(config: Any) -> Any:
    """A dataclass as plain JSON values. Members of a union carry their class name under `kind`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        hints = typing.get_type_hints(type(config))
        out: dict[str, Any] = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            out[field.name] = to_dict(value)
            if len(_dataclasses_in(hints[field.name])) > 1:
                out[field.name] = {"kind": type(value).__name__, **out[field.name]}
        return out
    if isinstance(config, (tuple, list)):
        return [to_dict(value) for value in config]
    return config


def from_dict(cls: type[T], values: Any, where: str = "config") -> T:
    """Builds a dataclass from what `to_dict` gave; fields left out take their defaults.

    Raises:
      ConfigError: an unknown field (with the nearest known one), or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping of fields, not {values!r}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, cls))]
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{where} has no field {name!r}{did_you_mean(name, names)}; its fields are {', '.join(names)}"
            )
    return cls(**{name: _parse(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def net_to_dict(config: NetConfig) -> dict[str, Any]:
    """A network's configuration by itself, its class name under `kind`: what travels with weights."""
    return {"kind": type(config).__name__, **to_dict(config)}


def net_from_dict(values: Any, where: str = "net") -> NetConfig:
    """The inverse of `net_to_dict`."""
    return _parse(NetConfig, values, where)


def differences(a: Any, b: Any) -> list[str]:
    """One line for every field in which two configurations differ: `train.seed: 0 -> 1`."""
    as_flat = lambda c: flatten(_wrap_none(to_dict(c)))
    old, new = as_flat(a), as_flat(b)
    show = lambda flat, key: repr(flat[key]) if key in flat else "absent"
    return [
        f"{key.replace('/', '.')}: {show(old, key)} -> {show(new, key)}"
        for key in sorted({*old, *new})
        if key not in old or key not in new or old[key] != new[key]
    ]


def _wrap_none(value: Any) -> Any:
    """None would vanish from a pytree, and a list is one value here: both become leaves."""
    if isinstance(value, dict):
        return {k: _wrap_none(v) for k, v in value.items()}
    return "None" if value is None else str(value) if isinstance(value, list) else value


def _dataclasses_in(hint: Any) -> list[type]:
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]


def _parse(hint: Any, value: Any, where: str) -> Any:
    if members := _dataclasses_in(hint):
        if isinstance(value, dict) and len(members) > 1:
            kinds = {member.__name__: member for member in members}
            value = dict(value)
            kind = value.pop("kind", None)
            if kind not in kinds:
                raise ConfigError(
                    f"{where}.kind is {kind!r}; use one of {', '.join(kinds)}{did_you_mean(str(kind), kinds)}"
                )
            return from_dict(kinds[kind], value, where)
        return from_dict(members[0], value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        if type(value) in args:
            return value
        if int in args and str in args:  # a class, by its label or name
            raise ConfigError(f"{where} must be int or str, not {value!r}")
        return _parse(next(arg for arg in args if arg is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, not {value!r}")
        return tuple(_parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Literal:
        if not any(value == arg and type(value) is type(arg) for arg in args):
            raise ConfigError(
                f"{where} is {value!r}; use one of {', '.join(map(repr, args))}"
                f"{did_you_mean(str(value), [arg for arg in args if isinstance(arg, str)])}"
            )
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and (type(value) is not hint):
        raise ConfigError(f"{where} must be {hint.__name__}, not {value!r}")
    return value
