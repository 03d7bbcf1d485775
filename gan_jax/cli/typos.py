"""Checks of typed options and values: an error is one sentence that names the closest valid ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from gan_jax.cli.options import Option
from gan_jax.config import ConfigError

WORD = re.compile(r"--?[A-Za-z]")


class CommandLineError(ConfigError):
    """An invalid command line; the message names the word and a correct one."""


def check_words(argv: Sequence[str], options: Sequence[Option], every: Sequence[Option] = ()) -> None:
    """Raises CommandLineError for the first invalid option or value.

    Args:
      argv: the words after the verb.
      options: the verb's options.
      every: also its options with other networks or another method, for the message.
    """
    known = {name: option for option in options for name in option.names}
    for i, word in enumerate(argv):
        if word == "--" or not WORD.match(word):
            continue
        typed, equals, value = word.lstrip("-").partition("=")
        name = typed.replace("_", "-")
        if not word.startswith("--") or name not in known:
            raise CommandLineError(unknown_option(word.partition("=")[0], name, known, every))
        option = known[name]
        values = [value] if equals else list(_values(argv[i + 1 :], option))
        if option.flag:
            if equals or (i + 1 < len(argv) and argv[i + 1] in ("True", "False")):
                raise CommandLineError(f"--{name} takes no value; say --{option.name} or --{option.negative}")
            continue
        if not values and not option.several:
            raise CommandLineError(f"--{name} needs a value: --{name} {option.metavar}")
        for text in values:
            if problem := value_problem(option, text):
                raise CommandLineError(f"--{name} is {text!r}; {problem}")


def unknown_option(word: str, name: str, known: Sequence[str] | dict[str, Option], every: Sequence[Option] = ()) -> str:
    """Describes an unknown option: its name in gan-jax, else the closest names."""
    for option in every:
        if name in option.names and option.kind:
            part = name.partition(".")[0]
            chosen = {"net": "--net", "task": "--task"}.get(part, "--method")
            return f"there is no option {word} here: it belongs to {chosen} {option.kind}"
    if meant := [other for other in FOREIGN.get(name.rpartition(".")[2].lower(), ()) if other in known]:
        return f"there is no option {word}; here it is {' or '.join('--' + other for other in meant)}{_remark(name)}"
    if remark := _remark(name):
        return f"there is no option {word}{remark}"
    names = list(known)
    last = {}
    for other in names:
        last.setdefault(other.rpartition(".")[2], []).append(other)
    ends = last.get(name.rpartition(".")[2], [])
    if not ends and (values := _values_named(name, known)):
        return f"there is no option {word}; did you mean {' or '.join(values[:3])}?"
    spelled = difflib.get_close_matches(name, names, n=3, cutoff=0.75)
    tails = [full for tail in difflib.get_close_matches(name, list(last), n=2, cutoff=0.75) for full in last[tail]]
    near = list(dict.fromkeys([*ends, *spelled, *tails]))[:3]
    if near:
        return f"there is no option {word}; did you mean {' or '.join('--' + other for other in near)}?"
    return f"there is no option {word}; --help lists the usual ones, --help-all every one"


def _values_named(name: str, known: Sequence[str] | dict[str, Option]) -> list[str]:
    """Finds options with a value of this name: `--data.fit crop` for `data.crop`; those of its section first."""
    if not isinstance(known, dict):
        return []
    section, dot, value = name.replace("-", "_").rpartition(".")
    options = {option.name: option for option in known.values() if value in option.choices}
    in_section = [option for option in options if dot and option.startswith(f"{section}.")]
    return [f"--{option} {value}" for option in in_section or options]


def value_problem(option: Option, value: str) -> str | None:
    """Describes an invalid value, as the end of a sentence; None if it is valid."""
    if value == "None" and option.optional:
        return None
    if option.choices:
        if value in option.choices:
            return None
        near = difflib.get_close_matches(value.lower().replace("-", "_"), option.choices, n=2, cutoff=0.5)
        if near and near[0].startswith(value.lower()):
            near = near[:1]  # the name was begun
        if near and len(option.choices) > 12:
            return f"did you mean {' or '.join(near)}? --help lists all {len(option.choices)}"
        meant = f"did you mean {near[0]}? It takes" if near else "it takes"
        return f"{meant} {', '.join(option.choices)}{', or None' if option.optional else ''}"
    for kind in option.values:
        try:
            if kind is bool:
                if value in ("True", "False"):
                    return None
                continue
            kind(value) if kind in (int, float) else None
            return None
        except ValueError:
            continue
    nouns = " or ".join(dict.fromkeys(NOUNS.get(kind, "text") for kind in option.values))
    return f"use {nouns}{', or None' if option.optional else ''}"


def unknown_command(verb: str, word: str | None, commands: Sequence[str]) -> str:
    """Describes an unknown or missing second word of a verb."""
    if word is None:
        return f"say what to do: {' or '.join(f'gan-jax {verb} {name}' for name in commands)}"
    near = difflib.get_close_matches(word, commands, n=1, cutoff=0.5)
    meant = f"did you mean gan-jax {verb} {near[0]}?" if near else f"use {' or '.join(commands)}"
    return f"there is no gan-jax {verb} {word}; {meant}"


def _remark(name: str) -> str:
    return next(
        (f"; {text}" for names, text in REMARKS.items() if name.rpartition(".")[2].lower() in names.split()), ""
    )


def _values(words: Sequence[str], option: Option) -> Iterator[str]:
    for word in words:
        if WORD.match(word) and not _number(word):
            return
        yield word
        if not option.several:
            return


def _number(word: str) -> bool:
    try:
        float(word)
        return True
    except ValueError:
        return False


NOUNS = {int: "a whole number", float: "a number", bool: "True or False"}

# Differences other than the name.
REMARKS = {
    "resume resume-from": "a run goes on by itself: gan-jax train RUN_FOLDER (--at says from which checkpoint)",
    "epochs num-epochs n-epochs epoch": "it counts thousands of images: epochs x images / 1000",
    "steps max-steps iterations iter n-iter niter num-steps": "it counts thousands of images: steps x batch / 1000",
    "fp16 bf16 amp mixed-precision": "the value is bfloat16",
    "workers num-workers": "auto keeps small sets on the device, which needs no worker",
    "wandb": "rows are in metrics.jsonl too",
}

# An option's name in other programs -> its names here; those that a verb has are shown.
FOREIGN: dict[str, tuple[str, ...]] = {
    "batch-size": ("train.batch", "batch"),
    "batchsize": ("train.batch", "batch"),
    "batch": ("train.batch", "batch"),
    "batch-gpu": ("train.batch",),
    "bs": ("train.batch",),
    "gpus": ("train.devices",),
    "gpu": ("train.devices",),
    "num-gpus": ("train.devices",),
    "ngpu": ("train.devices",),
    "n-gpus": ("train.devices",),
    "devices": ("train.devices",),
    "device": ("train.devices",),
    "lr": ("optim.lr",),
    "learning-rate": ("optim.lr",),
    "glr": ("optim.lr",),
    "lr-g": ("optim.lr",),
    "g-lr": ("optim.lr",),
    "dlr": ("optim.d-lr",),
    "lr-d": ("optim.d-lr",),
    "beta1": ("optim.b1",),
    "beta2": ("optim.b2",),
    "epochs": ("train.kimg", "kimg"),
    "num-epochs": ("train.kimg", "kimg"),
    "n-epochs": ("train.kimg", "kimg"),
    "epoch": ("train.kimg", "kimg"),
    "steps": ("train.kimg", "kimg"),
    "max-steps": ("train.kimg", "kimg"),
    "iterations": ("train.kimg", "kimg"),
    "iter": ("train.kimg", "kimg"),
    "n-iter": ("train.kimg", "kimg"),
    "niter": ("train.kimg", "kimg"),
    "num-steps": ("train.kimg", "kimg"),
    "total-kimg": ("train.kimg", "kimg"),
    "kimg": ("train.kimg", "kimg"),
    "duration": ("train.kimg", "kimg"),
    "image-size": ("net.resolution", "resolution"),
    "img-size": ("net.resolution", "resolution"),
    "imsize": ("net.resolution", "resolution"),
    "size": ("net.resolution", "resolution"),
    "res": ("net.resolution", "resolution"),
    "resolution": ("net.resolution", "resolution"),
    "nz": ("net.z-dim",),
    "latent-dim": ("net.z-dim",),
    "latent": ("net.z-dim",),
    "z-dim": ("net.z-dim",),
    "nc": ("net.channels", "data.channels"),
    "cond": ("net.num-classes",),
    "n-classes": ("net.num-classes",),
    "num-classes": ("net.num-classes",),
    "class": ("labels", "data.classes"),
    "classes": ("labels", "data.classes"),
    "class-idx": ("labels",),
    "workers": ("data.pipeline",),
    "num-workers": ("data.pipeline",),
    "resume": ("transfer.source",),
    "resume-from": ("transfer.source",),
    "pretrained": ("transfer.source",),
    "init-from": ("transfer.source",),
    "finetune": ("method",),
    "source": ("transfer.source",),
    "ckpt": ("checkpoint", "transfer.source"),
    "network": ("net",),
    "arch": ("net",),
    "model": ("net",),
    "cfg": ("preset",),
    "outdir": ("out",),
    "out-dir": ("out",),
    "output-dir": ("out",),
    "output": ("out",),
    "logdir": ("out",),
    "log-dir": ("out",),
    "save-dir": ("out",),
    "name": ("out",),
    "dest": ("out",),
    "force": ("overwrite",),
    "data": ("data.source",),
    "dataset": ("data.source",),
    "data-dir": ("data.source",),
    "data-path": ("data.source",),
    "dataroot": ("data.source",),
    "path": ("data.source",),
    "few-shot": ("data.shots",),
    "shots": ("data.shots",),
    "n-shots": ("data.shots",),
    "mirror": ("data.mirror",),
    "flip": ("data.mirror",),
    "hflip": ("data.mirror",),
    "xflip": ("data.mirror",),
    "fp16": ("net.dtype",),
    "bf16": ("net.dtype",),
    "amp": ("net.dtype",),
    "mixed-precision": ("net.dtype",),
    "precision": ("net.dtype",),
    "seed": ("train.seed", "seed"),
    "seeds": ("seed", "seeds", "train.seed"),
    "manual-seed": ("train.seed", "seed"),
    "gamma": ("loss.r1-gamma",),
    "r1": ("loss.r1-gamma",),
    "loss": ("loss.name",),
    "aug": ("augment.ada", "augment.policy"),
    "augment": ("augment.ada", "augment.policy"),
    "diffaugment": ("augment.policy",),
    "diffaug": ("augment.policy",),
    "target": ("augment.ada-target",),
    "freezed": ("transfer.blocks", "method"),
    "freeze-d": ("transfer.blocks", "method"),
    "freeze-layers": ("transfer.blocks", "method"),
    "snap": ("checkpoint.every-kimg",),
    "save-every": ("checkpoint.every-kimg",),
    "save-interval": ("checkpoint.every-kimg",),
    "checkpoint-interval": ("checkpoint.every-kimg",),
    "metrics": ("evaluate.features", "features"),
    "eval-every": ("evaluate.every-kimg",),
    "fid": ("evaluate.features", "features"),
    "num-samples": ("n", "evaluate.n-fake"),
    "n-samples": ("n", "evaluate.n-fake"),
    "num": ("n",),
    "num-images": ("n", "evaluate.n-fake"),
    "count": ("n",),
    "trunc": ("truncation",),
    "psi": ("truncation",),
    "truncation-psi": ("truncation",),
    "nrow": ("cols",),
    "ncol": ("cols",),
    "columns": ("cols",),
    "format": ("to",),
    "ema": ("ema.half-life-kimg",),
    "ema-decay": ("ema.half-life-kimg",),
    "clip": ("optim.clip-norm",),
    "grad-clip": ("optim.clip-norm",),
    "n-critic": ("train.d-steps",),
    "ncritic": ("train.d-steps",),
    "wandb": ("log.tensorboard",),
    "tensorboard": ("log.tensorboard",),
}
