"""A folder of images in place of FILE: `gan-jax transfer folder:photos`. Options left out are chosen, and printed.

    words of the command line -> data and source named -> (data survey, source) -> `transfer.choices` -> configuration, notes

If FILE is an experiment or a run, or no data are named, the configuration is not changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gan_jax.cli.arguments import PAIR_KINDS, given_options, join_methods, parse, parse_run, peek, read_config
from gan_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    FinetuneConfig,
    OptimConfig,
    ScratchConfig,
    SPADEConfig,
    has_field,
)

T = TypeVar("T")
NONE = "none"  # the value of --transfer.source for fresh weights
HELP = ("-h", "--help", "--help-all", "--list-options")


@dataclasses.dataclass(frozen=True)
class _Data:
    """The data options alone, which are parsed before the others."""

    data: DataConfig = DataConfig()


class Chosen(NamedTuple):
    """Parsed words, or their configuration, and lines about what was chosen; empty if nothing was."""

    args: Any
    lines: tuple[str, ...]


def parse_or_choose(cls: type[T], argv: Sequence[str], *, verb: str, base: Config, fresh: bool = False) -> Chosen:
    """Parses a dataclass as `parse_run` does; if the words name data but no FILE, chooses the options left out.

    Args:
      cls: as in `parse_run`.
      argv: the words after the verb.
      verb: for messages.
      base: the configuration if no file is named.
      fresh: without a named source: True = networks start from fresh weights, and `--data.source` alone changes nothing
        else (`train`); False = a source is searched for.

    Raises:
      ConfigError: data named twice, a missing source, options that do not fit the data.
    """
    first = argv[0] if argv and not argv[0].startswith("-") else None
    if (pairs := pairs_named(argv, first)) is not None and not any(word in HELP for word in argv):
        return _of_pairs(cls, argv, pairs, verb=verb, base=base)
    spec = None if first is None else data_spec(first)
    named = peek(argv, "--data.source") is not None and not fresh
    if any(word in HELP for word in argv) or (spec is None and (first is not None or not named)):
        return Chosen(parse_run(cls, argv if spec is None else argv[1:], verb=verb, base=base), ())
    if spec is not None and peek(argv, "--data.source") is not None:
        raise ConfigError(
            f"{first} and --data.source {peek(argv, '--data.source')} are two data sets; name one of them"
        )
    words = list(argv) if spec is None else [*argv[1:], "--data.source", spec]
    if (out := peek(argv, "--out")) is not None and (Path(out) / "config.json").is_file():
        run = read_config(Path(out))
        if isinstance(run.transfer, ScratchConfig) and peek(words, "--transfer.source") == NONE:
            words = without(words, "--transfer.source")
        if _same_place(str(peek(words, "--data.source")), run.data.source):
            words = without(words, "--data.source")
        args = parse_run(cls, words, verb=verb, base=run)
        return Chosen(args, (f"choices: those of the run in {out}, which goes on",))
    return _choose(cls, words, verb=verb, base=base, fresh=fresh)


USUAL = {"paired": "pix2pix", "unpaired": "cyclegan", "one_sided": "cut", "layout": "spade"}  # task -> preset


def pairs_named(argv: Sequence[str], first: str | None) -> str | None:
    """The spec of pairs that the words name, as FILE or as --data.source without FILE and preset; None = none."""
    spec = first if first is not None else peek(argv, "--data.source")
    if spec is None or peek(argv, "--preset") is not None:
        return None
    kind, _, rest = spec.partition(":")
    if kind == "npz" and not Path(rest).expanduser().is_file():
        return None  # reading it says so
    if kind in ("npz", "tfds"):
        from gan_jax.data import is_pair_spec

        return spec if is_pair_spec(spec) else None
    return spec if kind in PAIR_KINDS else None


def _of_pairs(cls: type[T], argv: Sequence[str], spec: str, *, verb: str, base: Config) -> Chosen:
    """Parses words that name pairs: task, networks, loss and optimiser left out are those of the task's paper.

    Networks left out are those of `--transfer.source`, or of the first of `--donors`, where it holds translators.
    """
    from gan_jax.data.pairs import kind_of_pairs, layout_parts
    from gan_jax.presets import preset

    words = list(argv) if argv[0].startswith("-") else [*argv[1:], "--data.source", spec]
    if len(words) > len(argv) and peek(argv, "--data.source") is not None:
        raise ConfigError(f"{spec} and --data.source {peek(argv, '--data.source')} are two data sets; name one of them")
    task = peek(words, "--task") or str(kind_of_pairs(spec))
    if task not in USUAL:
        raise ConfigError(f"{spec} holds pairs, for the tasks {', '.join(USUAL)}; --task {task} has no place for them")
    paper = preset(USUAL[task])
    source = peek(words, "--transfer.source") or peek(words, "--donors")
    net, whose = paper.net, f"the networks of {USUAL[task]}"
    if peek(words, "--net") is None and source not in (None, NONE):
        from gan_jax.transfer.source import open_source

        if (opened := open_source(str(source)).net).translates:
            net, whose = opened, f"the networks of {source}"
    if isinstance(net, SPADEConfig) and net is paper.net:
        classes, instances = layout_parts(spec)
        net = dataclasses.replace(net, num_labels=classes or net.num_labels, edges=instances)
    optim = dataclasses.replace(paper.optim, schedule="constant", decay_from=OptimConfig().decay_from, decay_steps=0)
    base = dataclasses.replace(base, task=paper.task, net=net, loss=paper.loss, optim=optim)
    if peek(words, "--task") is None and any(field.name == "task" for field in dataclasses.fields(cls)):  # type: ignore[arg-type]
        words = [*words, "--task", task]
    line = f"choices: task {task}, {whose}, loss and optimiser of {USUAL[task]}; --net, --loss.name and --optim.lr choose others"
    return Chosen(parse_run(cls, words, verb=verb, base=base), (line,))


def with_colour(config: Config, argv: Sequence[str]) -> Chosen:
    """Sets colour channels for colour images named by --data.source without a FILE.

    Everything else stays as configured.
    """
    kind = config.data.source.partition(":")[0]
    named = peek(argv, "--data.source") is not None and (not argv or argv[0].startswith("-"))
    if not named or kind not in ("folder", "zip", "npz") or config.net.channels != 1:
        return Chosen(config, ())
    from gan_jax.data import survey
    from gan_jax.transfer.choices import choose_colour

    data = config.data
    coloured = choose_colour(config, given_options(argv), survey(data.source, data.classes, data.bad))
    return Chosen(coloured.config, coloured.lines)


def with_stages(config: Config, argv: Sequence[str], start: Path | None) -> Chosen:
    """Shortens the method's stages so that a short --train.kimg leaves images for the main training; a line says so.

    Typed lengths of stages stay, and so do those of an experiment or a run (`start`).
    """
    if start is not None:
        return Chosen(config, ())
    from gan_jax.config.stages import shorten_stages

    return Chosen(*shorten_stages(config, given_options(argv)))


def _choose(cls: type[T], words: list[str], *, verb: str, base: Config, fresh: bool) -> Chosen:
    words = join_methods(words)
    named, method = peek(words, "--transfer.source"), peek(words, "--method")
    if named == NONE:
        if method not in (None, "scratch"):
            raise ConfigError(
                f"--transfer.source none is training from fresh weights, and --method {method} needs a source"
            )
        words, method = without(words, "--transfer.source"), "scratch"
    fresh = method == "scratch" or (fresh and named is None and method is None)
    if fresh:
        base = dataclasses.replace(base, transfer=ScratchConfig())
    elif isinstance(base.transfer, ScratchConfig):
        base = dataclasses.replace(base, transfer=FinetuneConfig())
    typed_names = given_options(words)
    if peek(words, "--net") is not None or not any(name.startswith("net.") for name in typed_names):
        parse_run(cls, words, verb=verb, base=base)  # errors in the words are raised before data are read
    from gan_jax.data import survey

    data: DataConfig = parse(_Data, _only(words, "--data."), verb=verb).data
    images = survey(data.source, data.classes, data.bad, whole=None)  # the images counted here are those of training
    source = None
    if not fresh:
        fields = () if peek(words, "--net") is not None else net_fields(typed_names)
        source = _source(named or peek(words, "--donors"), data, peek(words, "--out"), fields)
        transfer: Any = dataclasses.replace(base.transfer, source=source.name)  # type: ignore[call-arg]
        base = dataclasses.replace(base, net=source.net, transfer=transfer)
    args: Any = parse_run(cls, words, verb=verb, base=base)
    from gan_jax.transfer.choices import choose

    # Methods with donors have stages, whose lengths are part of train.kimg.
    fixed = {"train.kimg"} if hasattr(args.config.transfer, "donors") else set()
    chosen = choose(args.config, typed_names | fixed, images, source, machine())
    return Chosen(dataclasses.replace(args, config=chosen.config), chosen.lines)


def net_fields(names: Collection[str]) -> tuple[str, ...]:
    """Returns the fields of networks among dotted option names: `net.num_classes` as `num_classes`."""
    return tuple(sorted(name.removeprefix("net.") for name in names if name.startswith("net.")))


def _source(named: str | None, data: DataConfig, out: str | None, fields: Sequence[str] = ()) -> Any:
    """Opens the named source; without a name, picks the best on this machine whose networks have these fields."""
    from gan_jax.transfer.diagnostics.sources import candidates, look_at, pick

    if named is not None:
        return look_at(named)
    names = candidates(leave_out=None if out is None else Path(out))
    suited = [name for name in names if all(has_field(look_at(name).net, field) for field in fields)]
    options = ""
    if suited and len(suited) < len(names):
        rejected = ", ".join(name for name in names if name not in suited)
        options = f"--net.{' or --net.'.join(fields).replace('_', '-')}"
        print(f"left aside, since their networks have no {options}: {rejected}")
        names = suited
    if len(names) > 1:
        print(f"comparing {len(names)} sources on this machine: {', '.join(names)}", flush=True)
    installed = machine().features
    return pick(names, data, installed[0] if installed else "fashion-v1", wanted=options)


def machine() -> Any:
    """Describes this machine: feature networks, accelerator, cores."""
    from gan_jax.metrics.networks import is_there
    from gan_jax.train.compile import use_all_cores
    from gan_jax.transfer.choices import PHOTOGRAPHS, Machine

    use_all_cores()  # before JAX starts
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(tuple(name for name in PHOTOGRAPHS if is_there(name)), jax.default_backend() != "cpu", cores)


def data_spec(word: str) -> str | None:
    """Returns the data set that a word names (`folder:photos`, a folder of images, a zip or npz file); None = no data."""
    from gan_jax.data import DataError
    from gan_jax.data.sources import split_spec

    path = Path(word)
    with contextlib.suppress(DataError):
        split_spec(word)
        return word
    if path.is_dir() and not any((path / name).is_file() for name in ("config.json", "config.py")):
        return f"folder:{word}" if _holds_images(path) else None
    if path.is_file() and path.suffix.lower() in (".zip", ".npz"):
        return f"{path.suffix.lower()[1:]}:{word}"
    return None


def _holds_images(path: Path, most: int = 10_000) -> bool:
    """Whether one of a folder's first `most` files has the name of an image."""
    from gan_jax.data.files import EXTENSIONS

    count = 0
    for _, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(name.lower().endswith(tuple(EXTENSIONS)) for name in files):
            return True
        count += len(files)
        if count > most:
            return False
    return False


def without(words: Sequence[str], flag: str) -> list[str]:
    """Removes an option and its value from the words."""
    out: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(flag + "="):
            skip = False
        elif word == flag:
            skip = True
        else:
            out.append(word)
    return out


def _only(words: Sequence[str], start: str) -> list[str]:
    """Selects the options that begin with `start`, with their values."""
    out: list[str] = []
    selected = False
    for word in words:
        selected = word.startswith(start) if word.startswith("--") else selected
        if selected:
            out.append(word)
    return out


def _same_place(a: str, b: str) -> bool:
    """Whether two specs name the same folder or file, by resolved paths."""
    (kind, _, path), (other, _, there) = a.partition(":"), b.partition(":")
    return kind == other and (path == there or os.path.realpath(path) == os.path.realpath(there))
