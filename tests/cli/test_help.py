from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shutil
import subprocess
import sys
from typing import Literal

import pytest

from gan_jax.cli import errors, module_of
from gan_jax.cli.arguments import list_options
from gan_jax.cli.help import MOST, USUAL, examples_of, usual
from gan_jax.cli.main import VERBS
from gan_jax.cli.options import REQUIRED, Option, options_of
from gan_jax.cli.typos import FOREIGN, value_problem
from gan_jax.config import Config, StyleGAN2Config
from tests.conftest import REPO


@pytest.fixture(scope="module")
def listed():
    return {name: options for verb in VERBS for name, options in list_options(verb).items()}


# -- the list of options ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5  # how fast
    on: bool = True  # whether at all


@dataclasses.dataclass(frozen=True)
class Outer:
    """What it does."""

    must: int
    # said above,
    # in two lines
    kind: Literal["a", "b"] | None = None
    sizes: tuple[int, ...] = (1, 2)  # many
    inner_part: Inner = Inner()


def test_options_are_those_of_the_dataclass():
    must, kind, sizes, rate, on = options_of(Outer)
    assert (must.name, must.default, must.metavar, must.help) == ("must", REQUIRED, "INT", "")
    assert (kind.metavar, kind.choices, kind.help) == ("{a,b}|None", ("a", "b"), "said above, in two lines")
    assert (sizes.metavar, sizes.several) == ("[INT ...]", True)
    assert (rate.name, rate.help) == ("inner-part.rate", "how fast")
    assert on.names == ("inner-part.on", "inner-part.no-on")


def test_names_are_those_that_the_parser_takes(capsys, monkeypatch):
    """The whole list against tyro's own page, so that no option is checked here that it does not know, or the reverse."""
    import tyro

    from gan_jax.cli.train import Train

    monkeypatch.setenv("COLUMNS", "200")
    default = Train(config=Config(net=StyleGAN2Config()))
    with pytest.raises(SystemExit):
        tyro.cli(Train, args=["--help"], default=default)
    theirs = set(re.findall(r"(?<![\w-])--([a-z][\w.-]*)", capsys.readouterr().out)) - {"help"}
    ours = {name for option in options_of(Train, default) for name in option.names}
    assert ours == theirs & ours and theirs - ours <= {"log"}  # which its docstring speaks of


def test_every_option_says_what_it_is(listed):
    silent = [
        f"{name} --{o.name}" for name, options in listed.items() for o in options if not o.help and not o.positional
    ]
    assert not silent


def test_options_that_messages_name_exist(listed):
    """A hint with an option that no verb has sends people into an error."""
    import ast

    known = {name for options in listed.values() for option in options for name in option.names}
    known |= {"help", "help-all", "debug", "version", "completion", "list-options", "data", "no-x", "no-deps", "log"}
    wrong = []
    for path in (REPO / "gan_jax").rglob("*.py"):
        if path.name in ("typos.py", "main.py", "completion.py") or "report" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for name in re.findall(r"(?<![\w-])--([a-z][a-z0-9_.-]*[a-z0-9])", node.value):
                    if name.replace("_", "-") not in known:
                        wrong.append(f"{path.name}:{node.lineno}: --{name}")
    assert not wrong


# -- pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [50, 80, 120])
def test_pages_are_wrapped_at_the_terminals_width(cli, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for argv in (("--help",), ("train", "--help"), ("train", "--help-all"), ("data", "info", "--help"), ("data", "-h")):
        assert cli(*argv) == 0
        long = [line for line in cli.out.splitlines() if len(line) > width and "gan-jax " not in line]
        assert not long, argv
        assert max(map(len, cli.out.splitlines())) > width - 15


def test_help_shows_the_usual_options_and_two_examples(cli):
    assert cli("train", "--help") == 0
    shown = re.findall(r"^  --([\w.-]+)", cli.out, re.M)
    assert len(shown) == MOST == len(set(shown))
    assert {"out", "net", "data.source", "train.kimg", "train.batch", "optim.lr", "net.resolution"} <= set(shown)
    assert cli.out.count("\n  gan-jax train ") == 2
    total = int(re.search(r"--help-all shows all (\d+) options", cli.out)[1])
    assert cli("train", "--help-all") == 0
    assert len(re.findall(r"^  --([\w.-]+)", cli.out, re.M)) == total > 80
    assert "\noptim options:\n" in cli.out


def test_help_of_other_networks_has_their_options(cli):
    assert cli("train", "--net", "stylegan2", "--help-all") == 0
    assert "--net.w-dim INT" in cli.out and "--net.depth" not in cli.out


def test_examples_are_of_verbs_and_options_that_exist(listed):
    for verb in VERBS:
        shown = {
            cls: examples_of(cls)
            for cls in vars(importlib.import_module(module_of(verb))).values()
            if isinstance(cls, type)
        }
        examples = [example for own in shown.values() for example in own]
        assert examples, f"{verb} has no examples"
        for example in examples:
            name = next(name for name in listed if f"{example} ".startswith(f"gan-jax {name} "))
            assert name.split()[0] == verb
            options = {other for option in listed[name] for other in option.names}
            assert set(re.findall(r" --([a-z][\w.-]*)", example)) <= options, example


def test_usual_options_exist(listed):
    known = {option.name for options in listed.values() for option in options}
    assert [name for name in USUAL if name not in known] == []
    assert len(usual([Option(f"a.{i}", int, 0, "") for i in range(40)])) <= MOST


# -- what was typed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("train", "--batch-size", 8), "there is no option --batch-size; here it is --train.batch"),
        (("train", "--gpus", 2), "here it is --train.devices"),
        (("train", "--lr", 1e-3), "here it is --optim.lr"),
        (("train", "--epochs=3"), "no option --epochs; here it is --train.kimg; it counts thousands of images"),
        (("train", "--steps", 3), "--train.kimg"),
        (("train", "--image-size", 64), "--net.resolution"),
        (("train", "--workers", 4), "--data.pipeline"),
        (("train", "--resume", "x"), "a run goes on by itself: gan-jax train RUN_FOLDER"),
        (("train", "--outdir", "x"), "--out"),
        (("train", "--data", "x"), "--data.source"),
        (("train", "--fp16"), "here it is --net.dtype; the value is bfloat16"),
        (("train", "--train.bach", 8), "did you mean --train.batch?"),
        (("train", "--batch", 8), "--train.batch"),
        (("train", "--net.w-dim", 8), "it belongs to --net stylegan2"),
        (("transfer", "--method", "freezed"), "--method is 'freezed'; did you mean freeze_d"),
        (("train", "--net", "stylegan"), "--net is 'stylegan'; did you mean stylegan2?"),
        (("train", "--data.crop"), "there is no option --data.crop; did you mean --data.fit crop?"),
        (("transfer", "--stylegan2"), "there is no option --stylegan2; did you mean --net stylegan2?"),
        (("train", "--loss.name", "hing"), "--loss.name is 'hing'; did you mean hinge?"),
        (("sample", "x", "--n", "many"), "--n is 'many'; use a whole number"),
        (("sample", "x", "--n"), "--n needs a value: --n INT"),
        (("sample", "x", "-n", 4), "there is no option -n; did you mean --n?"),
        (("sample", "x", "--psi", 0.5), "here it is --truncation"),
        (("inspect", "x", "--json", "True"), "--json takes no value; say --json or --no-json"),
        (("sample", "x", "y"), "this was not expected: y"),
        (("sample",), "PATH is missing: run"),
        (("transplant", "embedded:fashion16"), "--out PATH is missing: folder to write the weights to"),
        (("data", "infos", "x"), "there is no gan-jax data infos; did you mean gan-jax data info?"),
        (("data",), "say what to do: gan-jax data info or gan-jax data prepare"),
        (("resume",), "there is no verb 'resume'; did you mean train"),
        (("generate",), "did you mean sample"),
        (("--completion", "tcsh"), "say which shell"),
    ],
)
def test_a_wrong_word_is_one_short_block(cli, argv, said):
    assert cli(*argv) == 2
    assert said in " ".join(cli.err.split())
    assert len(cli.err.splitlines()) <= 2 and cli.out == "" and "│" not in cli.err


def test_foreign_names_lead_to_options_that_exist(listed):
    known = {name for options in listed.values() for option in options for name in option.names}
    assert [name for names in FOREIGN.values() for name in names if name not in known] == []


@pytest.mark.parametrize(("value", "fine"), [("3", True), ("None", True), ("-1", True), ("3.5", False), ("x", False)])
def test_values(value, fine):
    assert (value_problem(Option("n", int | None, None, ""), value) is None) is fine
    if value == "None":
        assert value_problem(Option("n", int, 1, ""), value) == "use a whole number"


# -- completion ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts():
    from gan_jax.cli.help import script

    return {shell: script([shell], VERBS) for shell in ("bash", "zsh")}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("sam",), ["sample"]),
        (("transfer", "--method", "freeze"), ["freeze_d", "freeze_g"]),
        (("data", "pre"), ["prepare"]),
        (("data", "info", "--gr"), ["--grid"]),
        (("train", "--optim.b"), ["--optim.b1", "--optim.b2"]),
        (("train", "--net", "styl"), ["stylegan2"]),
        (("--completion", "z"), ["zsh"]),
    ],
)
def test_completion(scripts, tmp_path, shell, words, found):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    file = tmp_path / "completion"
    file.write_text(scripts[shell])
    line = " ".join(f"'{word}'" for word in ("gan-jax", *words))
    before = "autoload -U +X compinit && compinit -u; " if shell == "zsh" else ""
    arrays = "setopt KSH_ARRAYS; " if shell == "zsh" else ""
    command = (
        f"{before}source {file}; {arrays}COMP_WORDS=({line}); COMP_CWORD={len(words)}; _gan_jax; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    replies = done.stdout.split()
    if shell == "zsh":  # it compares with what was typed afterwards
        replies = [reply for reply in replies if reply.startswith(words[-1])]
    assert (replies, done.stderr) == (found, "")


# -- terminals -------------------------------------------------------------------------------------------------------


def test_an_ascii_terminal_and_a_closed_pipe():
    """One process each: what a terminal cannot show is escaped, and a reader that leaves early is no error."""
    ascii_only = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    ask = [sys.executable, "-m", "gan_jax", "größe"]
    done = subprocess.run(ask, cwd=REPO, capture_output=True, text=True, timeout=60, env=ascii_only)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "there is no verb" in done.stderr
    piped = f"set -o pipefail; {sys.executable} -m gan_jax --help | head -1; echo $?"
    done = subprocess.run(["bash", "-c", piped], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: gan-jax VERB") and done.stderr == ""
    assert done.stdout.split()[-1] in ("0", "141")


def test_a_message_names_the_options_of_the_verb(monkeypatch):
    from gan_jax.cli import arguments

    drop = Option("transfer.unused", Literal["error", "drop"], "error", "")
    crop, dtype = Option("crop", bool, False, ""), Option("net.dtype", Literal["float32"], "float32", "")
    monkeypatch.setattr(
        arguments, "parsed_options", {name: option for option in (drop, crop, dtype) for name in option.names}
    )
    assert errors.as_typed("allow it with unused='drop'") == "allow it with --transfer.unused drop"
    assert errors.as_typed("say crop=True or crop=False") == "say --crop or --no-crop"
    kept = "convert with dtype='cast', or missing='init'"  # no option takes that here
    assert errors.as_typed(kept) == kept
