"""Parsing of a command line into a Config: a file gives the defaults, options change single fields.

    gan-jax train experiments/x/config.py --net dcgan --optim.lr 1e-3

The file is an experiment (a Python file with `config()`), a `config.json` that a run wrote, or a run folder. It comes
first because it decides which options exist and what their defaults are.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from gan_jax.cli import module_of
from gan_jax.cli.options import Option, commands_of, options_of
from gan_jax.cli.typos import CommandLineError, check_words, unknown_command
from gan_jax.config import (
    METHOD_NAMES,
    NETS,
    TASK_NAMES,
    ChainConfig,
    Config,
    ConfigError,
    ScratchConfig,
    kind_of,
    read_record,
)
from gan_jax.config.checks import value_problems
from gan_jax.trees import did_you_mean

T = TypeVar("T")


def parse(cls: type[T], argv: Sequence[str], *, verb: str, default: T | None = None) -> T:
    """Parses options into a dataclass, or into the member of a union that the first word names.

    Raises:
      CommandLineError: a word that is not understood; the message names it and a correct one.
      SystemExit: 0 after a page of help.
      Listed: `list_options` requested the options.
    """
    commands = commands_of(cls)
    if commands:
        return _parse_command(cls, commands, argv, verb)
    options = options_of(cls, default)
    if LIST in argv:
        raise Listed({verb: options_of(cls, default, every=True)})
    if help_words := [word for word in argv if word in HELP]:
        from gan_jax.cli.help import page

        print(page(verb, cls, options, every=ALL in help_words))
        raise SystemExit(0)
    check_words(argv, options, options_of(cls, default, every=True))
    parsed_options.clear()
    parsed_options.update({name: option for option in options for name in option.names})
    return _tyro(cls, _chain_words(argv, getattr(default, "config", None)), verb, default)


def _parse_command(cls: Any, commands: dict[str, type], argv: Sequence[str], verb: str) -> Any:
    first = argv[0] if argv else None
    if LIST in argv:
        raise Listed({f"{verb} {name}": options_of(command) for name, command in commands.items()})
    if first in HELP:
        from gan_jax.cli.help import commands_page

        print(commands_page(verb, commands))
        raise SystemExit(0)
    if first not in commands:
        raise CommandLineError(unknown_command(verb, first, list(commands)))
    return parse(commands[first], argv[1:], verb=f"{verb} {first}")


def _tyro(cls: Any, argv: Sequence[str], verb: str, default: Any) -> Any:
    """Parses the words by tyro; its error box becomes one sentence."""
    import contextlib
    import io

    import tyro

    options: dict[str, Any] = {} if default is None else {"default": default}
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(cls, args=list(argv), prog=f"gan-jax {verb}", **options)
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise CommandLineError(f"{plain(stderr.getvalue())}\ngan-jax {verb} --help shows the options") from None


def plain(text: str) -> str:
    """Extracts the error text from tyro's box: without frame, title and hints about help."""
    rows = [line.strip(FRAME).strip() for line in text.splitlines()[1:]]
    rows = [line for line in rows if line.strip("+-")]
    stop = next((i for i, line in enumerate(rows) if line.startswith(("For full helptext", "Argument helptext"))), None)
    rows = rows[:stop] or ["this command line is not understood"]
    if rows[0].startswith("Missing from") and len(rows) > 1:
        return f"{rows[1]} is missing: {' '.join(rows[2:]).removesuffix('(required)').strip()}"
    return " ".join(rows).replace("Unrecognized options:", "this was not expected:")


def list_options(verb: str) -> dict[str, list[Option]]:
    """Returns the options of a verb under its name, or of each second word: `{"data info": [..], ..}`."""
    import importlib

    try:
        importlib.import_module(module_of(verb)).main([LIST])
    except Listed as listed:
        return listed.options
    return {}


class Listed(BaseException):
    """Raised with a verb's options, in place of running it."""

    def __init__(self, options: dict[str, list[Option]]):
        super().__init__()
        self.options = options


LIST, ALL = "--list-options", "--help-all"
HELP = ("-h", "--help", ALL)
FRAME = " |╭╮╰╯─│┌┐└┘"
parsed_options: dict[str, Option] = {}  # name -> option of the verb that was parsed last, for error messages


def parse_run(cls: type[T], argv: Sequence[str], *, verb: str, base: Config) -> T:
    """Parses a dataclass with fields `start`, `net`, `method` and `config`.

    Args:
      cls: `start` is the positional file, `net` and `method` choose members of the unions, `config` the rest.
      argv: the words after the verb.
      verb: its name, for help.
      base: the configuration if no file is named.
    """
    argv = join_methods(argv)
    start = Path(argv[0]) if argv and not argv[0].startswith("-") else None
    config = base if start is None else read_config(start)
    config = switch(config, net=peek(argv, "--net"), method=peek(argv, "--method"), task=peek(argv, "--task"))
    make: Any = cls
    words = ["chain" if JOINED in word and argv[i - 1] == "--method" else word for i, word in enumerate(argv)]
    args: Any = parse(cls, words, verb=verb, default=make(config=config))
    if args.start != start:
        raise ConfigError(f"name the file first, before the options: gan-jax {verb} {args.start} ...")
    return args


def read_config(path: Path) -> Config:
    """Reads the Config of an experiment (.py with `config()`), of a run's config.json, or of a folder with one of these.

    Raises:
      ConfigError: there is no such file, or it is invalid; the message names the file.
    """
    file = config_file(path)
    return load_experiment(file, Config) if file.suffix == ".py" else _read_json(file)


def config_file(path: Path) -> Path:
    """Returns the configuration file of a path: itself, or a folder's config.json (a run) or config.py (an experiment)."""
    if path.is_dir():
        for name in ("config.json", "config.py"):
            if (path / name).is_file():
                return path / name
        raise ConfigError(f"{path} is neither a run nor an experiment: it holds no config.json and no config.py")
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"there is no file {path}{did_you_mean(path.name, siblings)}")
    if path.suffix not in (".py", ".json"):
        raise ConfigError(f"{path} is neither an experiment (.py with config()) nor a run's config.json")
    return path


def switch(config: Config, *, net: str | None = None, method: str | None = None, task: str | None = None) -> Config:
    """Switches a configuration to another kind of network, transfer method or task.

    Fields that both kinds have keep their values if these were set; all others take their defaults. A task of images from
    images brings the networks that it was published with, where none are named that fit.
    """
    if net is None and task in TASK_NAMES and TASK_NAMES[task].translates and not config.net.translates:
        net = TASK_NAMES[task].usual_net
    if net in NETS:
        config = dataclasses.replace(config, net=_convert(config.net, NETS[net]))
    if task in TASK_NAMES:
        config = dataclasses.replace(config, task=_convert(config.task, TASK_NAMES[task]))
    if method in METHOD_NAMES:
        config = dataclasses.replace(config, transfer=_convert(config.transfer, METHOD_NAMES[method]))
    elif method is not None and JOINED in method:
        config = dataclasses.replace(config, transfer=_chained(config.transfer, method.split(JOINED)))
    return config


JOINED = "+"  # joins the methods of a chain into one word


def join_methods(argv: Sequence[str]) -> list[str]:
    """Joins the values of --method: `--method lora ewc` becomes `--method lora+ewc`; other words are not changed."""
    words = list(argv)
    for i, word in enumerate(words):
        if word == "--method":
            names = [*itertools.takewhile(lambda name: not name.startswith("-"), words[i + 1 :])]
            return [*words[: i + 1], JOINED.join(names), *words[i + 1 + len(names) :]] if len(names) > 1 else words
    return words


def _chained(old: Any, names: Sequence[str]) -> ChainConfig:
    """Makes a chain of methods by name, with the source and policies of the configuration `old`."""
    for name in names:
        if name not in METHOD_NAMES:
            raise ConfigError(f"--method {name} is no method{did_you_mean(name, METHOD_NAMES)}")
    before = {kind_of(method): method for method in getattr(old, "methods", ())}
    methods = tuple(before.get(name, METHOD_NAMES[name]()) for name in names)
    return dataclasses.replace(_convert(old, ChainConfig), methods=methods)


def _chain_words(argv: Sequence[str], config: Any) -> list[str]:
    """Rewrites options of a chain's methods for the parser: `transfer.lora.rank` as `transfer.methods.0.rank`."""
    if not isinstance(config, Config) or not isinstance(config.transfer, ChainConfig):
        return list(argv)
    places = {kind_of(method).replace("_", "-"): str(i) for i, method in enumerate(config.transfer.methods)}
    words = []
    for word in argv:
        part, name, rest = [*word.split(".", 2), "", ""][:3]
        place = (
            places.get(name.replace("_", "-")) if part.endswith("transfer") and part.startswith("--") and rest else None
        )
        words.append(word if place is None else f"{part}.methods.{place}.{rest}")
    return words


def run_folder(out: Path | None, start: Path | None, config: Config) -> Path:
    """Returns the folder of a run: `out`; else the run that `start` names; else `runs/` and a name from the configuration.

    The name is the method and the data, `runs/finetune-folder-photos`; of translators the task and the data,
    `runs/paired-edges-photos`, with a method between where there is one.
    """
    if out is not None:
        return out
    if start is not None:
        file = config_file(start).resolve()
        if file.suffix == ".json":
            return start if start.is_dir() else start.parent
        return Path("runs") / (file.parent.name if file.stem == "config" else file.stem)
    method: Any = config.transfer
    name = JOINED.join(map(kind_of, method.methods)) if isinstance(method, ChainConfig) else kind_of(method)
    source = config.data.source
    if config.net.translates:  # the task in place of `scratch`, which says the kind of the data, too
        kind, _, paths = source.partition(":")
        source = paths if kind in PAIR_KINDS else source
        task = kind_of(config.task)
        name = task if isinstance(method, ScratchConfig) else f"{task}-{name}"
    source = "".join(c if c.isalnum() or c in "-_" else "-" for c in source)
    return Path("runs") / f"{name}-{source.strip('-')}"


PAIR_KINDS = ("pairs", "joined", "unpaired", "layouts")  # specs that always hold pairs


def peek(argv: Sequence[str], flag: str) -> str | None:
    """Reads a flag's value before parsing; tyro checks it afterwards."""
    for i, word in enumerate(argv):
        if word == flag and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(flag + "="):
            return word.removeprefix(flag + "=")
    return None


def given_options(argv: Sequence[str]) -> frozenset[str]:
    """Returns the typed options by dotted name: `--net.z-dim=8` as `net.z_dim`, `--data.no-mirror` as `data.mirror`."""
    words = [word[2:].partition("=")[0].replace("-", "_") for word in argv if word.startswith("--") and len(word) > 2]
    return frozenset(re.sub(r"(^|\.)no_(?=[a-z_]+$)", r"\1", word) for word in words) | frozenset(words)


def load_experiment(path: Path, cls: type[T]) -> T:
    """Calls config() of a Python file: a `Config`, or another dataclass of a verb.

    Raises:
      ConfigError: there is no such file or function, or its value has another type.
    """
    path = config_file(path)
    if path.suffix != ".py":
        raise ConfigError(f"{path} is no Python file; name one with config() -> {cls.__name__}")
    spec = importlib.util.spec_from_file_location(f"_experiment_{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file look up their module
    sys.path.insert(0, str(path.resolve().parent))  # an experiment may import files of its folder
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "config", None)
        if not callable(make):
            near = did_you_mean("config", [name for name, value in vars(module).items() if callable(value)])
            raise ExperimentError(
                f"{path} has no function config(){near}; an experiment is a file with config() -> {cls.__name__}"
            )
        config = make()
    except ExperimentError:
        raise
    except Exception as error:  # noqa: BLE001  any error in a user's file is reported with its line
        raise ExperimentError(mistake(path, error)) from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    if not isinstance(config, cls):
        raise ConfigError(
            f"config() in {path} must return a {cls.__module__}.{cls.__qualname__}, not {type(config).__name__}"
        )
    if isinstance(config, Config) and (problems := list(value_problems(config))):
        raise ExperimentError(f"config() in {path} cannot be used:\n" + "\n".join(f"  - {text}" for text in problems))
    return config


class ExperimentError(ConfigError):
    """A Python file of the user is invalid; the message says in which line, and why."""


def mistake(path: Path, error: Exception) -> str:
    """Describes an experiment's error: file and line number, the line itself, and the error in one sentence."""
    folder = path.resolve().parent
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        file, line, text = error.filename, error.lineno, (error.text or "").strip()
        reason = f"{type(error).__name__}: {error.msg}"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _in_folder(frame.filename, folder)]
        file, line, text = (
            (frames[-1].filename, frames[-1].lineno, frames[-1].line) if frames else (str(path), None, "")
        )
    if isinstance(error, ConfigError):  # its message needs no type
        reason = str(error)
    name = f"{path}" if Path(file).resolve() == path.resolve() else file
    hint = _argument_hint(error) if isinstance(error, TypeError) else ""
    return f"{name}{f', line {line}' if line else ''}: {reason}{hint}{f'{chr(10)}    {text}' if text else ''}"


def _in_folder(file: str, folder: Path) -> bool:
    """Whether a frame belongs to the user's files: the experiment, or modules in its folder."""
    return Path(file).resolve().is_relative_to(folder)


def _argument_hint(error: TypeError) -> str:
    """Returns `(did you mean 'lr'?)` for `OptimConfig.__init__() got an unexpected keyword argument 'lrr'`."""
    import gan_jax.config

    match = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    cls = getattr(gan_jax.config, match[1], None) if match else None
    if match is None or not dataclasses.is_dataclass(cls):
        return ""
    names = [field.name for field in dataclasses.fields(cls)]
    return did_you_mean(match[2], names) or f"; its fields are {', '.join(names)}"


def _convert(old: Any, cls: type[T]) -> T:
    if type(old) is cls:
        return old
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    changed = {f.name: v for f in dataclasses.fields(old) if (v := getattr(old, f.name)) != f.default}
    return cls(**{name: value for name, value in changed.items() if name in names})


def _read_json(path: Path) -> Config:
    return read_record(Config, path)[0]
