"""Configurations as plain JSON values and back, without loss."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from gan_jax.config.limits import BITS, size_problems
from gan_jax.config.nets import NetConfig
from gan_jax.documents import read_document, shown
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
        raise ConfigError(f"{where} must be a mapping of fields, not {shown(values)}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, cls))]
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{where} has no field {shown(name)}{_near(name, names)}; its fields are {', '.join(names)}"
            )
    return cls(**{name: _parse(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def read_record(cls: type[T], path: str | Path) -> tuple[T, dict[str, Any]]:
    """Reads a JSON file with a configuration: `(configuration, everything that the file says)`.

    Args:
      cls: of the configuration.
      path: a run's `config.json`, where it lies under `config`, or a file that holds nothing else.

    Raises:
      ConfigError: damaged, or no such configuration; names the file and the field.
      OSError: there is no such file.
    """
    record = read_document(path, ConfigError)
    try:
        return from_dict(cls, record.get("config", record)), record
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def net_to_dict(config: NetConfig) -> dict[str, Any]:
    """A network's configuration by itself, its class name under `kind`: what travels with weights."""
    return {"kind": type(config).__name__, **to_dict(config)}


def net_from_dict(values: Any, where: str = "net") -> NetConfig:
    """The inverse of `net_to_dict`; refuses sizes that no network of these families has."""
    net = _parse(NetConfig, values, where)
    if text := next(size_problems(net), None):
        raise ConfigError(f"{where}.{text}")
    return net


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


def _near(name: Any, names: Iterable[Any]) -> str:
    """` (did you mean 'x'?)`, of a value from a file that may be anything."""
    return did_you_mean(name, map(str, names)) if isinstance(name, str) and len(name) < 100 else ""


def _parse(hint: Any, value: Any, where: str) -> Any:
    if members := _dataclasses_in(hint):
        if isinstance(value, dict) and len(members) > 1:
            kinds = {member.__name__: member for member in members}
            value = dict(value)
            kind = value.pop("kind", None)
            if not isinstance(kind, str) or kind not in kinds:
                raise ConfigError(f"{where}.kind is {shown(kind)}; use one of {', '.join(kinds)}{_near(kind, kinds)}")
            return from_dict(kinds[kind], value, where)
        return from_dict(members[0], value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _parse_any(args, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, not {shown(value)}")
        if Ellipsis not in args and len(value) != len(args):
            raise ConfigError(f"{where} must have {len(args)} values, not {len(value)}")
        each = [args[0]] * len(value) if Ellipsis in args else args
        return tuple(_parse(one, item, f"{where}[{i}]") for i, (one, item) in enumerate(zip(each, value)))
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in args):  # True is no 1 here
            raise ConfigError(f"{where} is {shown(value)}; use one of {', '.join(map(repr, args))}{_near(value, args)}")
        return value
    return _scalar(hint, value, where) if hint in (int, float, str, bool) else value


def _parse_any(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """A value that may be of several types, None among them."""
    if value is None and type(None) in hints:
        return None
    left = [hint for hint in hints if hint is not type(None)]
    if len(left) == 1:
        return _parse(left[0], value, where)
    for hint in left:
        try:
            return _parse(hint, value, where)
        except ConfigError:
            continue
    names = " or ".join(getattr(hint, "__name__", str(hint)) for hint in left)
    raise ConfigError(f"{where} must be {names}, not {shown(value)}")


def _scalar(hint: type, value: Any, where: str) -> Any:
    if type(value) is int and hint in (int, float) and abs(value) >= 2**BITS:
        raise ConfigError(f"{where} is {shown(value)}; a number of at most {BITS} bits is possible")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} must be {hint.__name__}, not {shown(value)}")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}; use a finite number")
    return value
