"""Errors for users: one readable block for what a user can change, a traceback only for bugs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
from pathlib import Path

from gan_jax.files import printable

EXIT_CODES = {
    0: "done",
    1: "an error of the program itself, with its traceback; of diff: something differs",
    2: "cannot run as asked: command line, configuration, data, weights, missing package, folder in use",
    3: "the run stopped on a problem that it found: values that are not finite, a full disk, a damaged checkpoint; of "
    "translate: some files could not be read",
    75: "stopped by SIGTERM after saving; the same command goes on from there",
    130: "stopped by Ctrl-C",
}

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # errors of a disk that takes no more data
ARGUMENT = re.compile(r"\b(?P<name>[a-z][a-z_0-9]*)=(?P<value>'[^'\n]*'|\"[^\"\n]*\"|True|False|None)")
_PACKAGE = Path(__file__).resolve().parent.parent


def handle(error: BaseException, *, verb: str, debug: bool) -> int:
    """Prints an error to stderr and returns the exit code; re-raises exceptions that are no errors."""
    if isinstance(error, KeyboardInterrupt):
        print(f"\ngan-jax {verb}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # `gan-jax inspect ... | head`
        with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if not isinstance(error, Exception):
        raise error
    error = _device_error(error)
    readable = is_readable(error)
    if debug or not readable:
        traceback.print_exception(error)
        return exit_code(error) if readable else 1
    print(printable(f"gan-jax {verb}: {as_typed(message(error))}"), file=sys.stderr)  # it may quote a file
    return exit_code(error)


def is_readable(error: Exception) -> bool:
    """Whether the message alone is enough: for an error that this package raised on purpose, or a file error."""
    if type(error).__module__.split(".")[0] == "gan_jax":
        return True
    if isinstance(error, OSError):
        return error.filename is not None or error.errno in FULL
    if out_of_memory(error) or no_backend(error):
        return True
    # A plain ValueError raised in this package is meant for users; one from inside JAX is a bug and needs its traceback.
    return isinstance(error, (ValueError, ImportError, RuntimeError, ArithmeticError)) and _raised_here(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether this machine, or its device, ran out of memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in _runtime_text(error)


def no_backend(error: BaseException) -> bool:
    """Whether JAX was told to use a missing device."""
    text = str(error) if isinstance(error, RuntimeError) else ""
    return text.startswith(("Unable to initialize backend", "Unknown backend", "No visible"))


def exit_code(error: Exception) -> int:
    """Returns 2 for a user's mistake, 3 for a run that stopped on a problem."""
    if isinstance(error, OSError):
        return 3 if error.errno in FULL else 2
    if no_backend(error):
        return 2
    if out_of_memory(error):
        return 3
    in_use = type(error).__name__ == "LockError"
    return 3 if isinstance(error, (RuntimeError, ArithmeticError)) and not in_use else 2


def message(error: Exception) -> str:
    """Formats an error's message with its notes; a file error as `No such file or directory: x`.

    Terminal control sequences are removed.
    """
    text = str(error)
    if out_of_memory(error):
        text = _memory(text)
    elif no_backend(error):
        text = _backend(text)
    elif isinstance(error, OSError) and error.strerror and type(error).__module__ == "builtins":
        text = _file(error)
    notes = [note for note in getattr(error, "__notes__", ()) if "JAX_TRACEBACK_FILTERING" not in note]
    return printable("\n".join([text or type(error).__name__, *notes]))


def as_typed(text: str) -> str:
    """Rewrites Python arguments in a message as options of the running verb: `unused='drop'` as `--unused drop`.

    Arguments without such an option are not changed.
    """
    from gan_jax.cli.arguments import parsed_options
    from gan_jax.cli.typos import value_problem

    def option(match: re.Match[str]) -> str:
        name, value = match["name"].replace("_", "-"), match["value"].strip("'\"")
        places = [name, *(f"{part}.{name}" for part in ("transfer", "data", "net", "evaluate"))]
        for typed in (place for place in places if place in parsed_options):
            entry = parsed_options[typed]
            if entry.flag and value in ("True", "False"):
                return f"--{typed if value == 'True' else entry.negative}"
            if not entry.flag and value_problem(entry, value) is None:
                return f"--{typed} {value}"
        return match[0]

    return ARGUMENT.sub(option, text) if parsed_options else text


def _file(error: OSError) -> str:
    """Describes a file error, with the path."""
    if error.filename is None:
        return error.strerror or str(error)
    path = Path(os.fsdecode(error.filename))
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        for folder in (*reversed(path.parents), path):
            if folder.is_file():
                return f"{folder} is a file, and a folder is needed there ({path}); name another place"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, and a file is needed"
    return f"{error.strerror}: {error.filename}"


def _memory(text: str) -> str:
    from gan_jax.cli.arguments import parsed_options

    lower = {
        "train.batch": "",
        "evaluate.n-fake": "",
        "n": "",
        "batch": "",
        "net.channel-max": "",
        "net.resolution": "",
    }
    remedies = [f"lower --{name}" for name in lower if name in parsed_options][:3]
    remedies += ["translate in tiles: --tile 512"] if "tile" in parsed_options else []
    remedies += ["say --net.dtype bfloat16"] if "net.dtype" in parsed_options else []
    remedies += (
        ["keep the data off the device: --data.pipeline grain"]
        if "data.pipeline" in parsed_options and "net.dtype" in parsed_options
        else []
    )
    first_line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    first_line = first_line.partition("RESOURCE_EXHAUSTED: ")[2] or first_line
    advice = "; ".join(remedies) or "close other programs, or use a machine with more"
    return f"too little memory{f' ({first_line[:160]})' if first_line else ''}: {advice}"


def _backend(text: str) -> str:
    platform = os.environ.get("JAX_PLATFORMS", "")
    first_line = text.splitlines()[0]
    if not platform:
        return first_line
    return (
        f"JAX_PLATFORMS is {platform}, and JAX finds no such device here ({first_line[:120].rstrip('. ')}); unset it to use "
        "what there is, say JAX_PLATFORMS=cpu, or install JAX for the device: pip install 'jax[cuda12]' or 'jax[tpu]'"
    )


def _runtime_text(error: BaseException) -> str:
    return str(error) if type(error).__name__ in ("XlaRuntimeError", "JaxRuntimeError") else ""


def _device_error(error: Exception) -> Exception:
    """Returns JAX's error about a missing device, if that is the cause of an error inside JAX."""
    if not os.environ.get("JAX_PLATFORMS") or "jax" not in sys.modules or is_readable(error):
        return error
    try:
        sys.modules["jax"].devices()
    except Exception as cause:  # noqa: BLE001  without a device's plugin, JAX fails with an assertion without a message
        return cause if no_backend(cause) else RuntimeError("Unable to initialize backend: its plugin is not installed")
    return error


def _raised_here(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(_PACKAGE)
