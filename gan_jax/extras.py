"""Optional packages, imported where they are used; the error for a missing one says what to install."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def require(module: str, extra: str) -> Any:
    """Imports a module and returns it.

    Args:
      module: dotted name, such as `orbax.checkpoint`.
      extra: the extra of this package that installs it.

    Raises:
      ImportError: it cannot be imported; the message names the extra and the cause.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(_advice(module, extra, f": {error}"), name=module) from error


def check(module: str, extra: str) -> None:
    """Raises the ImportError of `require` if a module is absent, without the time of importing it."""
    try:
        installed = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # the parent package is absent or blocked
        installed = False
    if not installed:
        raise ImportError(_advice(module, extra, ""), name=module)


def _advice(module: str, extra: str, cause: str) -> str:
    what = _PURPOSE.get(extra, f"this needs {module}")
    return f"{what.format(module=module)}: pip install 'gan_jax[{extra}]'{f' ({cause[2:]})' if cause else ''}"


_PURPOSE = {
    "checkpoint": "checkpoints need orbax-checkpoint ({module})",
    "data": "this data source needs {module}",
    "h5": "HDF5 files need {module}",
    "onnx": "ONNX files need {module}",
    "report": "reports need {module}",
    "stablehlo": "StableHLO files need {module}",
    "weights": "weights files need {module}",
}
