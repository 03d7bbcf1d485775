"""Configurations as plain JSON values and back, without loss."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from gan_jax.config.methods import METHOD_NAMES, TransferConfig
from gan_jax.config.nets import NETS, NetConfig
from gan_jax.config.training import TASK_NAMES, ImageTask
from gan_jax.documents import read_document, shown
from gan_jax.trees import did_you_mean, flatten

# ----------------------------------------------------------------------------------------------------------------------
# Limits of whole numbers in configurations: seeds, counts and sizes of networks.

BITS = 64  # of a whole number; seeds use all of them
LARGEST = 2**31 - 1  # largest count or size, which are 32 bits wide on devices
SIDE = 2**13  # largest resolution of networks, px
WIDE = 2**24  # largest whole number in a network's configuration


def whole_number_problem(part: str, field: str, number: Any) -> str | None:
    """The remedy where a whole number is beyond its limit, `use at most 8192 px`; None for other values.

    Args:
      part: of the configuration, such as `net`.
      field: of the part.
      number: value of the field, or one of its values.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        return None
    if field.endswith("seed"):
        return None if 0 <= number < 2**BITS else f"use a whole number from 0 to 2^{BITS} - 1"
    if part == "net":
        limit, unit = (SIDE, " px") if field == "resolution" else (WIDE, "")
        return None if abs(number) <= limit else f"use at most {limit}{unit}"
    return None if abs(number) <= LARGEST else "use a number below 2^31"


def size_problems(net: Any) -> Iterator[str]:
    """Yields a line for every size of a network beyond its limit, before an array of that size is made."""
    for field in dataclasses.fields(net):
        value = getattr(net, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if (problem := whole_number_problem("net", field.name, number)) is not None:
                yield f"{field.name} is {number}; {problem}"


# ----------------------------------------------------------------------------------------------------------------------
# Reading and writing.

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot run; the message says which field and what to change."""


@functools.cache
def hints_of(cls: type, extras: bool = False) -> Mapping[str, Any]:
    """The types of a dataclass's fields, which are compiled from text at the first call; with `Annotated` if `extras`."""
    return types.MappingProxyType(typing.get_type_hints(cls, include_extras=extras))


def to_dict(config: Any) -> Any:
    """Converts a dataclass to JSON values. Members of a union have their name in its table under `kind`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        hints = hints_of(type(config))
        out: dict[str, Any] = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            out[field.name] = to_dict(value)
            if len(_dataclasses_in(hints[field.name])) > 1 and type(value) is not UNNAMED:
                out[field.name] = {"kind": kind_of(value), **out[field.name]}
        return out
    if isinstance(config, (tuple, list)):
        kinds = [{"kind": kind_of(v)} if dataclasses.is_dataclass(v) else None for v in config]
        return [to_dict(v) if kind is None else {**kind, **to_dict(v)} for v, kind in zip(config, kinds, strict=True)]
    return config


def from_dict(cls: type[T], values: Any, where: str = "config") -> T:
    """Builds a dataclass from the values of `to_dict`; absent fields take their defaults.

    Raises:
      ConfigError: a field is unknown (with the nearest known one), or a value has the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping of fields, not {shown(values)}")
    hints = hints_of(cls)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, cls))]
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{where} has no field {shown(name)}{_near(name, names)}; its fields are {', '.join(names)}"
            )
    return cls(**{name: _parse(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def read_record(cls: type[T], path: str | Path) -> tuple[T, dict[str, Any]]:
    """Reads a JSON file with a configuration: `(configuration, all values of the file)`.

    Args:
      cls: of the configuration.
      path: a run's `config.json`, where it lies under `config`, or a file that holds nothing else.

    Raises:
      ConfigError: the file is damaged or not such a configuration; names the file and the field.
      OSError: there is no such file.
    """
    record = read_document(path, ConfigError)
    try:
        return from_dict(cls, record.get("config", record)), record
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def kind_of(config: Any) -> str:
    """The name of a family of networks, a method or a task, from a configuration or its class: `stylegan2`, `lora`.

    The name is that in `NETS`, `METHOD_NAMES` or `TASK_NAMES`; for a class in none of them, the class name.
    """
    cls = config if isinstance(config, type) else type(config)
    tables = (NETS, METHOD_NAMES, TASK_NAMES)
    return next((name for table in tables for name, kind in table.items() if kind is cls), cls.__name__)


def has_field(config: Any, name: str) -> bool:
    """Whether a configuration has a field of this name; class attributes do not count."""
    return any(field.name == name for field in dataclasses.fields(config))


def current_kind(kind: str) -> str:
    """The present name of a kind in an older file, `lora` for `LoRAConfig`."""
    return next((name for name, former in FORMER_KINDS.items() if former == kind), kind)


def kind_in(values: Any) -> str:
    """The present name of the `kind` in JSON values; "" where there is none."""
    kind = values.get("kind") if isinstance(values, Mapping) else None
    return current_kind(kind) if isinstance(kind, str) else ""


def former_spelling(values: Any) -> Any:
    """Replaces the kinds in JSON values by their former names, on which older hashes depend."""
    if isinstance(values, dict):
        kind = {"kind": FORMER_KINDS.get(values["kind"], values["kind"])} if "kind" in values else {}
        return {name: former_spelling(value) for name, value in values.items()} | kind
    return [former_spelling(value) for value in values] if isinstance(values, list) else values


def net_to_dict(config: NetConfig) -> dict[str, Any]:
    """Converts a network's configuration to JSON values for weights, with the family's name under `kind`."""
    return {"kind": kind_of(config), **to_dict(config)}


def net_from_dict(values: Any, where: str = "net") -> NetConfig:
    """The inverse of `net_to_dict`; raises ConfigError for sizes that no network has."""
    net = _parse(NetConfig, values, where)
    if text := next(size_problems(net), None):
        raise ConfigError(f"{where}.{text}")
    return net


def differences(a: Any, b: Any) -> list[str]:
    """Lists the fields in which two configurations differ: `train.seed: 0 -> 1`."""
    as_flat = lambda c: flatten(_wrap_none(to_dict(c)))
    old, new = as_flat(a), as_flat(b)
    show = lambda flat, key: repr(flat[key]) if key in flat else "absent"
    return [
        f"{key.replace('/', '.')}: {show(old, key)} -> {show(new, key)}"
        for key in sorted({*old, *new})
        if key not in old or key not in new or old[key] != new[key]
    ]


def _wrap_none(value: Any) -> Any:
    """Makes leaves of None, which a pytree drops, and of lists, which are one value here."""
    if isinstance(value, dict):
        return {k: _wrap_none(v) for k, v in value.items()}
    return "None" if value is None else str(value) if isinstance(value, list) else value


def _dataclasses_in(hint: Any) -> list[type]:
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]


def _near(name: Any, names: Iterable[Any]) -> str:
    """` (did you mean 'x'?)` for a value of any type from a file."""
    return did_you_mean(name, map(str, names)) if isinstance(name, str) and len(name) < 100 else ""


def _plain(kind: Any) -> Any:
    """Spells a wrong kind as the tables spell names: `resnet` for `ResnetConfig`."""
    return kind.removesuffix("Config").lower() if isinstance(kind, str) else kind


def _parse(hint: Any, value: Any, where: str) -> Any:
    if members := _dataclasses_in(hint):
        members = list(METHOD_NAMES.values()) if members == [TransferConfig] else members  # any method
        if isinstance(value, dict) and len(members) > 1:
            kinds = {kind_of(member): member for member in members}
            value = dict(value)
            kind = value.pop("kind", kind_of(UNNAMED) if UNNAMED in members else None)
            name = current_kind(kind) if isinstance(kind, str) else None
            if name not in kinds:
                raise ConfigError(
                    f"{where}.kind is {shown(kind)}; use one of {', '.join(kinds)}{_near(_plain(kind), kinds)}"
                )
            return from_dict(kinds[name], value, where)
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
        return tuple(_parse(part, item, f"{where}[{i}]") for i, (part, item) in enumerate(zip(each, value)))
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in args):  # True is not 1 here
            raise ConfigError(f"{where} is {shown(value)}; use one of {', '.join(map(repr, args))}{_near(value, args)}")
        return value
    return _scalar(hint, value, where) if hint in (int, float, str, bool) else value


def _parse_any(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """Parses a value of a union of types, which may include None."""
    if value is None and type(None) in hints:
        return None
    members = [hint for hint in hints if hint is not type(None)]
    if len(members) == 1:
        return _parse(members[0], value, where)
    for hint in members:
        try:
            return _parse(hint, value, where)
        except ConfigError:
            continue
    names = " or ".join(getattr(hint, "__name__", str(hint)) for hint in members)
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


UNNAMED = ImageTask  # written without a kind, as files are that are older than other tasks

FORMER_KINDS = {  # name -> class name that older files have under `kind`
    "resnet": "ResNetConfig",
    "dcgan": "DCGANConfig",
    "stylegan2": "StyleGAN2Config",
    "r3gan": "R3GANConfig",
    "biggan": "BigGANConfig",
    "mlp": "MLPConfig",
    "sngan": "SNGANConfig",
    "scratch": "ScratchConfig",
    "finetune": "FinetuneConfig",
    "freeze_d": "FreezeDConfig",
    "freeze_g": "FreezeGConfig",
    "scale_shift": "ScaleShiftConfig",
    "bsa": "BSAConfig",
    "adafm": "AdaFMConfig",
    "fsgan": "FSGANConfig",
    "lora": "LoRAConfig",
    "kml": "KMLConfig",
    "minegan": "MineGANConfig",
    "l2_sp": "L2SPConfig",
    "ewc": "EWCConfig",
    "feature_distillation": "FeatureDistillationConfig",
    "cdc": "CDCConfig",
    "rssa": "RSSAConfig",
    "dcl": "DCLConfig",
    "adam": "AdAMConfig",
    "rick": "RICKConfig",
    "nada": "NADAConfig",
    "gradient_fusion": "GradientFusionConfig",
    "attention_fusion": "AttentionFusionConfig",
    "merge": "MergeConfig",
    "feature_fusion": "FeatureFusionConfig",
    "distillation": "DistillationConfig",
    "cocktail": "RootingConfig",
}
