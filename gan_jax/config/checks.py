"""The checks of `Config.validate`: which configurations cannot run, and what to change."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Union

from gan_jax.config.family import made_of
from gan_jax.config.methods import ChainConfig, FinetuneConfig, ScratchConfig
from gan_jax.config.nets import NETS, NetConfig, family_title
from gan_jax.config.serial import SIDE, hints_of, kind_of, whole_number_problem
from gan_jax.config.stages import dispatches, leaves_nothing, stages_of
from gan_jax.config.training import (
    TASK_NAMES,
    ImageTask,
    LayoutTask,
    OneSidedTask,
    TaskOptions,
    TrainConfig,
    UnpairedTask,
)
from gan_jax.documents import shown
from gan_jax.trees import did_you_mean

if TYPE_CHECKING:
    from gan_jax.config import Config


# ----------------------------------------------------------------------------------------------------------------------
# Checks of single values of a configuration, before all others: type, finite numbers and limits.


def value_problems(config: Any) -> Iterator[str]:
    """Yields a line for every value with a wrong type, not finite, or beyond its limit."""
    for part in dataclasses.fields(config):
        values = getattr(config, part.name)
        if not dataclasses.is_dataclass(values) or isinstance(values, type):
            yield f"{part.name} is {_show(values)}; use one of the configurations that belong there"
            continue
        yield from part_problems(part.name, values)


def part_problems(part: str, values: Any) -> Iterator[str]:
    """The same for one part of a configuration, such as its networks."""
    hints = hints_of(type(values))
    for field in dataclasses.fields(values):
        value, name = getattr(values, field.name), f"{part}.{field.name}"
        if dataclasses.is_dataclass(value):
            continue
        if (remedy := misfit(hints[field.name], value)) is not None:
            yield f"{name} is {_show(value)}; {remedy}"
            continue
        for number in value if isinstance(value, (tuple, list)) else (value,):
            infinite = isinstance(number, float) and not math.isfinite(number)
            if problem := "use a finite number" if infinite else whole_number_problem(part, field.name, number):
                yield f"{name} is {_show(value)}; {problem}"
                break


def misfit(hint: Any, value: Any) -> str | None:
    """The remedy where a value does not have the type of its field: `use a whole number`."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(_fits(member, value) for member in members):
        return None
    names = [_noun(member) for member in members if member is not type(None)]
    choices = [
        str(choice) for member in members if typing.get_origin(member) is Literal for choice in typing.get_args(member)
    ]
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    return f"use {' or '.join(dict.fromkeys(names))}{' or None' if type(None) in members else ''}{near}"


def _fits(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return value is None
    if origin is Literal:
        return isinstance(value, str | int) and value in args
    if origin in (tuple, list):
        if not isinstance(value, (tuple, list)):
            return False
        inner = args[:1] * len(value) if args[-1:] == (Ellipsis,) or origin is list else args
        return len(inner) == len(value) and all(
            misfit(part, item) is None for part, item in zip(inner, value, strict=True)
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _noun(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (tuple, list):
        inner = args[0]
        if typing.get_origin(inner) is Literal:
            return f"a tuple out of {', '.join(map(str, typing.get_args(inner)))}"
        members = typing.get_args(inner) if typing.get_origin(inner) in (Union, types.UnionType) else (inner,)
        return f"a tuple of {' or '.join(PLURALS.get(member, str(member)) for member in members)}"
    return NOUNS.get(hint, getattr(hint, "__name__", str(hint)))


def _show(value: Any) -> str:
    return str(value) if isinstance(value, float) else shown(value)


NOUNS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts", bool: "True or False"}


# ----------------------------------------------------------------------------------------------------------------------
# Checks of networks, for all families and by each family.


def net_problems(net: NetConfig) -> Iterator[str]:
    """Yields a line for every problem of a pair's configuration, whose values have checked types and sizes."""
    yield from net.problems()
    if net.channels not in (1, 3, 4) and not net.any_channels:
        yield f"net.channels is {net.channels}; use 1 (grey), 3 (RGB) or 4 (RGBA)"
    if net.num_classes < 0 or net.num_classes == 1:
        yield f"net.num_classes is {net.num_classes}; use 0 (unconditional) or at least 2"


# ----------------------------------------------------------------------------------------------------------------------
# Checks of a configuration's transfer method.


def method_problems(config: Config) -> Iterator[str]:
    """Yields a line for every problem of `config.transfer`, apart from limits of single numbers."""
    transfer: Any = config.transfer
    if not isinstance(transfer, FinetuneConfig):
        return
    if transfer.networks == "g" and transfer.d_warmup_kimg == 0 and transfer.adversarial:
        yield "transfer.networks g starts from a fresh D, which would destroy the pretrained G; set transfer.d_warmup_kimg"
    if 0 < config.train.kimg <= transfer.d_warmup_kimg:
        yield f"transfer.d_warmup_kimg {transfer.d_warmup_kimg:g} must be shorter than train.kimg {config.train.kimg:g}"
    yield from _stages(config)
    yield from transfer.problems(config)
    if isinstance(transfer, ChainConfig):
        yield from _of_chain(config, transfer)


def _of_chain(config: Config, chain: ChainConfig) -> Iterator[str]:
    """What is wrong with a chain, and with each of its methods by itself."""
    if not chain.methods:
        yield "transfer.methods is empty: name at least one method, --method lora ewc"
    for method in chain.methods:
        if isinstance(method, (ScratchConfig, ChainConfig)) or not isinstance(method, FinetuneConfig):
            yield f"transfer.methods holds {kind_of(method)}, which cannot be one of several methods; leave it out"
            return
    for part in chain.parts:
        own = dataclasses.replace(config, transfer=part)
        yield from (f"{text} (of {kind_of(part)})" for text in method_problems(own))


def _stages(config: Config) -> Iterator[str]:
    """Checks that the stages before the main training leave it some images; each stage is in whole dispatches."""
    if not leaves_nothing(config):
        return
    train, stages = config.train, stages_of(config.transfer)
    words = " and ".join(
        f"transfer.{s.name} {s.kimg:g}{f' for each of {s.times} donors' if s.name == 'root_kimg' else ''}"
        for s in stages
    )
    rounded = " (in whole dispatches)" if sum(s.kimg * s.times for s in stages) < train.kimg else ""
    remedy = ""
    if train.steps_per_dispatch > 1 and dispatches(config, train.kimg) <= sum(s.times for s in stages if s.kimg):
        remedy = (
            f"; a dispatch is train.steps_per_dispatch {train.steps_per_dispatch} batches of {train.batch}: use fewer"
        )
    yield f"{words} must be shorter than train.kimg {train.kimg:g}{rounded}: nothing would be left to fine-tune{remedy}"


# ----------------------------------------------------------------------------------------------------------------------
# All checks of a configuration.


def problems(config: Config) -> Iterator[str]:
    """Yields a line for every problem of a configuration, with the field and the remedy."""
    if lines := list(value_problems(config)):  # the other checks need values of the right type
        yield from lines
        return
    yield from _numbers(config)
    yield from net_problems(config.net)
    yield from _data(config)
    yield from _loss(config)
    yield from _augment(config)
    yield from _train(config)
    yield from _task(config)
    yield from method_problems(config)


def _numbers(config: Config) -> Iterator[str]:
    for part in dataclasses.fields(config):
        values = getattr(config, part.name)
        cls = type(values)
        positive = POSITIVE.get(part.name, {}) | {k: v for rows in _declared(cls, "positive") for k, v in rows.items()}
        not_negative = {
            *NOT_NEGATIVE.get(part.name, ()),
            *(name for rows in _declared(cls, "not_negative") for name in rows),
        }
        for field in dataclasses.fields(values):
            value, name = getattr(values, field.name), f"{part.name}.{field.name}"
            if field.name in positive and value is not None and value <= 0:
                yield f"{name} is {value:g}; it must be positive{positive[field.name]}"
            elif field.name in not_negative and value is not None and value < 0:
                yield f"{name} is {value:g}; it must not be negative"


def _declared(cls: type, limit: str) -> Iterator[Any]:
    """The limits that a family or method and its base classes declare for their fields."""
    return (vars(base)[limit] for base in cls.__mro__ if limit in vars(base))


def _data(config: Config) -> Iterator[str]:
    data, size = config.data, config.net.resolution
    if data.classes == ():
        yield "data.classes is empty; name some classes, or use None for all"
    if data.load_size is None:
        return
    if isinstance(config.task, ImageTask):
        yield "data.load_size is of pairs, from which networks that translate learn; use None, or a task of pairs"
    if 0 < data.load_size < size:
        yield f"data.load_size {data.load_size} is smaller than net.resolution {size}, which is cut out of it; use {size} or more"
    if data.load_size > SIDE:
        yield f"data.load_size is {data.load_size}; use at most {SIDE} px"


def _loss(config: Config) -> Iterator[str]:
    loss, optim = config.loss, config.optim
    if loss.name == "wasserstein" and loss.gp_lambda == 0:
        yield "loss.name wasserstein needs a gradient penalty; set loss.gp_lambda (10 in the paper)"
    if loss.gp_lambda > 0 and config.net.batch_norm_in_d:
        yield (
            f"loss.gp_lambda takes the gradient of each image by itself, but {family_title(config.net)}'s discriminator has "
            "batch norm; use a ResNetConfig (--net resnet), or r1_gamma"
        )
    if loss.path_length > 0 and not config.net.styles:
        yield "loss.path_length measures steps between styles, which only StyleGAN2 has; use --net stylegan2, or 0"
    if not 0 < loss.path_length_decay <= 1:
        yield f"loss.path_length_decay is {loss.path_length_decay:g}; use a share in (0, 1] (0.01 in the paper)"
    if not 0 <= loss.lecam_decay < 1:
        yield f"loss.lecam_decay is {loss.lecam_decay:g}; use a decay in [0, 1) (0.99 in the paper)"
    if max(loss.bcr_real, loss.bcr_fake) > 0 and not loss.bcr_policy:
        yield "loss.bcr_policy is empty, so that there is nothing to be consistent about; use flip,translation"
    if not (0 <= optim.b1 < 1 and 0 <= optim.b2 < 1):
        yield f"optim.b1 and optim.b2 are {optim.b1:g} and {optim.b2:g}; they must lie in [0, 1)"
    if not 0 <= optim.decay_from < 1:
        yield f"optim.decay_from is {optim.decay_from:g}; use a share of train.kimg from 0 to below 1"


def _augment(config: Config) -> Iterator[str]:
    augment = config.augment
    if augment.ada is not None and augment.policy:
        yield "augment.ada and augment.policy are two augmentations of the same images; use one of them"
    if (end := config.anneal.ada_p) is not None:
        if augment.ada_target is not None:
            yield "anneal.ada_p and augment.ada_target both decide how strong ADA is; set one of them to None"
        if not 0 <= end <= 1:
            yield f"anneal.ada_p is {end:g}; use a probability in [0, 1]"
    ends = [field.name for field in dataclasses.fields(config.anneal) if field.name != "kimg"]
    names = [name for name in ends if getattr(config.anneal, name) is not None]
    if names and config.anneal.kimg == 0:
        yield f"anneal.{names[0]} is set, but anneal.kimg is 0; set it to the length of the annealing"
    if (end := config.anneal.b2) is not None and not 0 <= end < 1:
        yield f"anneal.b2 is {end:g}; it must lie in [0, 1)"
    if not 0 <= augment.ada_p <= 1:
        yield f"augment.ada_p is {augment.ada_p:g}; use a probability in [0, 1]"
    if augment.ada_target is not None and not -1 <= augment.ada_target <= 1:
        yield f"augment.ada_target is {augment.ada_target:g}; a mean sign lies in [-1, 1] (0.6 in the paper)"


def _task(config: Config) -> Iterator[str]:
    """Checks that the networks, the loss and the batches suit the task."""
    task, net = config.task, config.net
    name, family = kind_of(task), family_title(net)
    if not isinstance(task, TaskOptions):  # of a user
        return
    if made_of(task) != net.makes:
        suited = ", ".join(name for name, cls in NETS.items() if made_of(cls) == made_of(task))
        takes = f"takes {'images' if net.translates else 'latents'}" if not net.writes else "makes texts"
        fits = ", ".join(name for name, cls in TASK_NAMES.items() if made_of(cls) == net.makes)
        other = f", or --task {fits}" if fits else ""
        yield f"task {name} makes {made_of(task)}, but {family}'s generator {takes}; use --net {suited}{other}"
        return
    if task.losses is not None and config.loss.name not in task.losses:
        yield f"loss.name is {config.loss.name}, which the task {name} cannot have; use one of {', '.join(task.losses)}"
    if config.train.d_steps > 1 and not task.repeats:
        yield (
            f"train.d_steps is {config.train.d_steps}, but in the task {name} D is shown the translations of one update of "
            "G; use 1"
        )
    if task.translates:
        yield from _translation(config)


def _translation(config: Config) -> Iterator[str]:
    task, name = config.task, kind_of(config.task)
    net: Any = config.net
    labels = any(field.name == "num_labels" for field in dataclasses.fields(net))
    if labels != isinstance(task, LayoutTask):
        yield (
            f"the task {name} has label maps, which {family_title(net)}'s generator does not take; use --net spade"
            if not labels
            else f"{family_title(net)}'s generator takes label maps, which the task {name} does not have; use --task layout"
        )
    if isinstance(task, (UnpairedTask, OneSidedTask)) and net.d_condition:
        yield f"net.d_condition shows D pairs, which the task {name} does not have; use --net.no-d-condition"
    transfer: Any = config.transfer
    for method in transfer.methods if isinstance(transfer, ChainConfig) else (transfer,):
        if method.latents:
            yield (
                f"the method {kind_of(method)} needs latents, which generators of the task {name} do not have; use another "
                "method"
            )
    same = isinstance(task, OneSidedTask) or (isinstance(task, UnpairedTask) and task.identity > 0 < task.cycle)
    if same and net.in_channels != net.channels:
        remedy = "the same number" + (", or task.identity 0" if isinstance(task, UnpairedTask) else "")
        yield (
            f"net.in_channels {net.in_channels} and net.channels {net.channels} differ, but in the task {name} G reads "
            f"images of both domains; use {remedy}"
        )
    if isinstance(task, OneSidedTask):
        if not hasattr(net, "blocks"):
            yield f"the task {name} contrasts maps of a ResNet's encoder, which {family_title(net)} lacks; use --net translator"
        elif wrong := [layer for layer in task.layers if not 0 <= layer < _encoder_steps(net)]:
            yield (
                f"task.layers has {wrong[0]}, but with net.blocks {net.blocks} the steps of G's encoder are 0 to "
                f"{_encoder_steps(net) - 1}"
            )
        if not task.layers or len(set(task.layers)) < len(task.layers):
            yield f"task.layers is {list(task.layers)}; name each layer once, and at least one"


def _encoder_steps(net: Any) -> int:
    """The number of steps that the published encoder has, of which `task.layers` are some: blocks are one each."""
    return (12 if net.antialias else 10) + net.blocks


def _shorter(train: TrainConfig) -> str:
    """The remedy where a dispatch is longer than the training."""
    fitting = int(train.kimg * 1000 / train.batch)
    if fitting:
        return f"use train.steps_per_dispatch {fitting} or less, or train longer"
    return f"train longer, or use train.steps_per_dispatch 1 with train.batch {max(1, int(train.kimg * 1000))} or less"


def _train(config: Config) -> Iterator[str]:
    train = config.train
    if train.batch > 0 and train.devices is not None and train.devices > 0 and train.batch % train.devices:
        yield f"train.batch {train.batch} does not divide over {train.devices} devices; use a multiple of {train.devices}"
    group = config.net.compared if config.transfer.adversarial else 0
    if 0 < group < train.batch and train.batch % group:
        yield (
            f"net.mbstd_group {group} does not divide train.batch {train.batch}, and D compares whole groups; use a multiple "
            "of it, another group, or 0 for none"
        )
    dispatch = train.batch * train.steps_per_dispatch
    if 0 < train.kimg * 1000 < dispatch:
        yield (
            f"train.kimg {train.kimg:g} is shorter than one dispatch of {dispatch} images "
            f"(batch x steps_per_dispatch); {_shorter(train)}"
        )
    if config.checkpoint.keep_best and config.evaluate.every_kimg is None:
        yield "checkpoint.keep_best needs evaluations to compare; set evaluate.every_kimg"
    if config.evaluate.n_fake < 2:
        yield f"evaluate.n_fake is {config.evaluate.n_fake}; use at least 2"


# Part -> field that must be more than 0 (or None where it may be) -> remedy. Families of networks and methods declare
# those of their own fields.
POSITIVE: dict[str, dict[str, str]] = {
    "data": {
        "shots": ", or None for all images",
        "reference": ", or None for all images but the shots",
        "load_size": ", or None for the network's resolution",
    },
    "loss": {
        "penalty_interval": "",
        "path_length_interval": "",
        "path_length_shrink": "",
        "zcr_sigma": "; to leave zCR out use weights of 0",
    },
    "augment": {"ada_kimg": "; for a p that stays set augment.ada_target to None"},
    "optim": {"lr": "", "d_lr": ", or None for optim.lr", "eps": "", "clip_norm": ", or None to clip nothing"},
    "ema": {"rampup": ", or None for no ramp-up"},
    "train": {"kimg": "", "batch": "", "d_steps": "", "steps_per_dispatch": "", "devices": ", or None for all"},
    "checkpoint": {
        "every_kimg": "; to save nothing use None",
        "keep_last": "; to save nothing set checkpoint.every_kimg to None",
    },
    "diagnose": {"worse": ""},
    "evaluate": {"every_kimg": ", or None for the end only"},
    "log": {"every_dispatches": "", "grid_every_kimg": ", or None for the end only"},
}
NOT_NEGATIVE: dict[str, tuple[str, ...]] = {
    "anneal": ("kimg", "lr", "gamma", "half_life_kimg"),
    "loss": (
        "r1_gamma",
        "r2_gamma",
        "gp_lambda",
        "path_length",
        "lecam",
        "bcr_real",
        "bcr_fake",
        "zcr_d",
        "zcr_g",
        "orthogonal_g",
        "orthogonal_d",
    ),
    "optim": ("warmup_kimg", "decay_steps"),
    "ema": ("half_life_kimg",),
    "evaluate": ("stats_batches",),
    "diagnose": ("images",),
}
