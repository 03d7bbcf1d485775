from __future__ import annotations

import dataclasses
import subprocess
import sys
import time

import pytest

from gan_jax.cli import errors
from gan_jax.cli.main import VERBS
from gan_jax.config import ConfigError
from gan_jax.train.fit import NonFiniteError
from gan_jax.trees import TreeError, flatten
from tests.conftest import REPO


@pytest.mark.parametrize("argv", [(), ("-h",), ("--help",), ("help",)])
def test_help_lists_every_verb_and_exit_code(cli, argv):
    assert cli(*argv) == 0
    assert all(f"\n  {verb} " in cli.out for verb in VERBS)
    assert all(f"\n  {code} " in cli.out for code in errors.EXIT_CODES)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(cli, verb):
    assert cli(verb, "--help") == 0
    assert cli.out.startswith(f"usage: gan-jax {verb} ")
    assert cli.err == ""


def test_version(cli):
    import gan_jax

    assert cli("--version") == 0
    assert cli.out == f"gan_jax {gan_jax.__version__}\n"


def test_unknown_verb(cli):
    assert cli("trian") == 2
    assert "there is no verb 'trian'; did you mean train" in cli.err
    assert cli("xyzzy") == 2
    assert "did you mean" not in cli.err and "transfer, train" in cli.err


def test_help_answers_at_once_and_imports_nothing_heavy():
    code = (
        "import sys; from gan_jax.cli.main import main; main(['--help']);"
        "print([m for m in ('tyro', 'flax', 'optax', 'orbax', 'matplotlib') if m in sys.modules], file=sys.stderr)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]", done.stderr
    assert time.perf_counter() - start < 10  # 0.1 s on an idle machine; loose, for a loaded one


def test_python_m():
    done = subprocess.run(
        [sys.executable, "-m", "gan_jax", "tain"], cwd=REPO, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "") and "did you mean train" in done.stderr


# -- errors --------------------------------------------------------------------------------------------


def raise_in_verb(monkeypatch, error):
    """Makes `gan-jax demo` fail as if one of our own lines had raised."""
    from gan_jax.cli import demo

    def fail(argv):
        raise error

    monkeypatch.setattr(demo, "main", fail)


class ForeignError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("net.x is wrong:\n  - change it"), 2, "gan-jax demo: net.x is wrong:\n  - change it\n"),
        (TreeError("no leaf 'a'"), 2, "gan-jax demo: no leaf 'a'\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 2, "gan-jax demo: No such file or directory: a/b\n"),
        (OSError(28, "No space left on device"), 3, "gan-jax demo: No space left on device\n"),
        (NonFiniteError("values that are not finite"), 3, "gan-jax demo: values that are not finite\n"),
        (KeyboardInterrupt(), 130, "\ngan-jax demo: stopped by Ctrl-C\n"),
    ],
)
def test_errors_are_one_block_without_traceback(cli, monkeypatch, error, code, text):
    raise_in_verb(monkeypatch, error)
    assert cli("demo") == code
    assert cli.err == text


def test_notes_are_part_of_the_block(cli, monkeypatch):
    error = ConfigError("bad")
    error.add_note("in run runs/x")
    raise_in_verb(monkeypatch, error)
    assert cli("demo") == 2
    assert cli.err == "gan-jax demo: bad\nin run runs/x\n"


@pytest.mark.parametrize(
    "error", [ForeignError("x"), KeyError("x"), ValueError("raised by a test, not by the package")]
)
def test_a_bug_shows_its_traceback(cli, monkeypatch, error):
    raise_in_verb(monkeypatch, error)
    assert cli("demo") == 1
    assert "Traceback" in cli.err and type(error).__name__ in cli.err


def test_a_plain_error_raised_by_our_own_line_is_readable():
    try:
        flatten({"a/b": 1, "a": {"b": 2}})
    except ValueError as error:
        assert errors.is_readable(error)
    from gan_jax.report.grids import make_grid

    try:
        make_grid([[1.0]])
    except ValueError as error:
        assert type(error) is ValueError and errors.is_readable(error)


@pytest.mark.parametrize("flag_first", [True, False])
def test_debug_shows_the_traceback_and_keeps_the_code(cli, monkeypatch, flag_first):
    raise_in_verb(monkeypatch, ConfigError("bad"))
    assert cli(*(("--debug", "demo") if flag_first else ("demo", "--debug"))) == 2
    assert "Traceback" in cli.err and "ConfigError: bad" in cli.err


def test_debug_by_environment(cli, monkeypatch):
    raise_in_verb(monkeypatch, ConfigError("bad"))
    monkeypatch.setenv("GAN_JAX_DEBUG", "0")
    assert cli("demo") == 2 and "Traceback" not in cli.err
    monkeypatch.setenv("GAN_JAX_DEBUG", "1")
    assert cli("demo") == 2 and "Traceback" in cli.err


def test_a_run_may_leave_with_its_own_code(cli, monkeypatch):
    raise_in_verb(monkeypatch, SystemExit(75))
    assert cli("demo") == 75


@pytest.mark.slow
def test_a_closed_pipe_is_silent():
    """`gan-jax train --help | head -1` prints no error."""
    command = f"{sys.executable} -m gan_jax train --help | head -1"
    done = subprocess.run(command, shell=True, cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: gan-jax train") and done.stderr == ""


# -- what is wrong outside of the program -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MemoryError("Unable to allocate 8 TiB"), 3, "too little memory (Unable to allocate 8 TiB)"),
        (NotADirectoryError(20, "Not a directory", f"{__file__}/run"), 2, "is a file, and a folder is needed there"),
        (IsADirectoryError(21, "Is a directory", "x"), 2, "x is a folder, and a file is needed"),
        (PermissionError(13, "Permission denied", "x"), 2, "Permission denied: x"),
        (OSError(122, "Disk quota exceeded"), 3, "Disk quota exceeded"),
        (OSError(27, "File too large"), 3, "File too large"),
        (RuntimeError("Unable to initialize backend 'cuda': no"), 2, "backend 'cuda'"),
        (ConfigError("evil \x1b[31mred\x07"), 2, "evil [31mred\n"),
    ],
)
def test_errors_of_the_machine_are_one_sentence(cli, monkeypatch, error, code, text):
    raise_in_verb(monkeypatch, error)
    assert cli("demo") == code
    assert text in cli.err and "Traceback" not in cli.err and "\x1b" not in cli.err and cli.err.count("\n") == 1


def test_memory_of_a_device_names_what_to_lower(cli, monkeypatch):
    from gan_jax.cli import train

    class XlaRuntimeError(RuntimeError):
        pass

    def fail(*args, **kwargs):
        raise XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes.\n\nmore")

    monkeypatch.setattr(train, "start_run", fail)
    assert cli("train", "--out", "/nowhere/at/all", "--data.shots", 5) == 3
    assert "too little memory (Out of memory allocating 8589934592 bytes.): lower --train.batch" in cli.err


def test_a_device_that_is_not_there_is_one_sentence(cli, monkeypatch):
    import types

    def devices():
        raise AssertionError  # as JAX does, where the plugin of a platform is not installed

    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(devices=devices))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    raise_in_verb(monkeypatch, AssertionError())
    assert cli("demo") == 2
    assert "JAX_PLATFORMS is cuda, and JAX finds no such device here" in cli.err and "Traceback" not in cli.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def config()\n    return 1", "line 1: SyntaxError: expected ':'\n    def config()"),
        ("def config():\n    return Confg()", "line 2: NameError: name 'Confg' is not defined\n    return Confg()"),
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("from gan_jax.config import Confg", "line 1: ImportError: cannot import name 'Confg'"),
        (
            "import gan_jax\ndef config():\n    return gan_jax.loda('x')",
            "has no attribute 'loda'; did you mean 'load'?",
        ),
        (
            "from gan_jax.config import *\ndef config():\n    return Config(optim=OptimConfig(lrr=1))",
            "line 3: TypeError",
        ),
        (
            "from gan_jax.config import *\ndef config():\n    return Config(optim=OptimConfig(lrr=1))",
            "did you mean 'lr'",
        ),
        ("def config():\n    return 1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("def confg(): return 1", "has no function config() (did you mean 'confg'?)"),
        (
            "from gan_jax.config import *\ndef config(): return Config(train=TrainConfig(batch='8'))",
            "train.batch is '8'; use a whole number",
        ),
    ],
)
def test_a_mistake_in_an_experiment_is_said_with_its_line(cli, tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    assert cli("train", tmp_path / "mine.py", "--out", tmp_path / "run") == 2
    assert said in cli.err and "mine.py" in cli.err and "Traceback" not in cli.err and "gan_jax/cli" not in cli.err
    assert not (tmp_path / "run").exists()


def test_the_package_lists_its_api_and_imports_nothing_for_it():
    code = (
        "import sys, gan_jax; names = dir(gan_jax); print({*gan_jax.__all__, 'config', 'data'} <= {*names}, "
        "'jax' in sys.modules, 'FreezeDConfig' in names, len(names) < 140)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "False", "True", "True"], done.stderr
    import gan_jax

    assert all(callable(getattr(gan_jax, name)) for name in gan_jax.__all__)
    assert all(getattr(gan_jax, name) is not None for name in dir(gan_jax))
    configurations = {cls.__name__ for cls in vars(gan_jax.config).values() if dataclasses.is_dataclass(cls)}
    assert configurations <= {*dir(gan_jax)} and gan_jax.FreezeDConfig is gan_jax.config.FreezeDConfig
    with pytest.raises(AttributeError, match="did you mean 'transplant_weights'"):
        gan_jax.transplant_weight  # noqa: B018
