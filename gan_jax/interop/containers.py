"""Files of named tensors, by their endings: safetensors, npz, and those of `torch.save`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.files import replace
from gan_jax.interop.stream import not_held, write_safetensors
from gan_jax.interop.torch_file import write_torch_file

Tensors = dict[str, np.ndarray]
# (path, tensors, facts for formats that can carry them, beginnings of names that are keys of a torch file's dict)
Writer = Callable[[Path, Tensors, Mapping[str, Any], tuple[str, ...]], None]


class ExportError(ValueError):
    """A pair that cannot be written as asked; the message says what can."""


def writer_for(path: Path) -> Writer:
    """The writer of a file's ending.

    Raises:
      ExportError: there is none.
    """
    if path.suffix == ".pkl":
        raise ExportError(
            f"{path}: a .pkl of NVIDIA's repositories holds the source code of its networks, and none is written; "
            f"write .pt, .safetensors or .npz, and load that into their network with load_state_dict"
        )
    if path.suffix not in WRITERS:
        raise ExportError(f"{path} has none of the known endings {', '.join(WRITERS)}")
    return WRITERS[path.suffix]


def _check_dtypes(path: Path, tensors: Tensors) -> None:
    """Refuses what no reader of these files gives back: float8, complex numbers."""
    if odd := not_held(tensors):
        raise ExportError(f"{path}: {odd!r} is {tensors[odd].dtype.name}; cast it to float32 or bfloat16 first")


def _write_safetensors(path: Path, tensors: Tensors, facts: Mapping[str, Any], nested: tuple[str, ...]) -> None:
    _check_dtypes(path, tensors)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items() if value}
    replace(path, lambda part: write_safetensors(part, tensors, tensors.__getitem__, {"format": "pt", **text}))


def _write_npz(path: Path, tensors: Tensors, facts: Mapping[str, Any], nested: tuple[str, ...]) -> None:
    _check_dtypes(path, tensors)
    if odd := [name for name, array in tensors.items() if array.dtype.kind == "V"]:
        raise ExportError(
            f"{path}: {odd[0]!r} is {tensors[odd[0]].dtype.name}, which npz files keep as raw bytes without its name; write "
            ".safetensors or .pt"
        )

    def write(part: Path) -> None:
        with open(part, "wb") as file:  # a path would get another ending
            np.savez(file, allow_pickle=False, **tensors)

    replace(path, write)


def _write_torch(path: Path, tensors: Tensors, facts: Mapping[str, Any], nested: tuple[str, ...]) -> None:
    _check_dtypes(path, tensors)
    state: dict[str, Any] = {}
    for name, array in tensors.items():
        first, _, rest = name.partition(".")
        if first in nested and rest:
            state.setdefault(first, {})[rest] = array
        else:
            state[name] = array
    replace(path, lambda part: write_torch_file(part, state))


WRITERS: dict[str, Writer] = {
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _write_torch),
}
