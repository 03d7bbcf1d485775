"""Writes a pair of ours as a file of another program's layout, or as one safetensors file in our own names.

What importing read, exporting writes back bit-exact, with the constants that the other program needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import NetConfig, net_to_dict
from gan_jax.files import write_atomically
from gan_jax.interop.containers import WRITERS, ExportError, Tensors, writer_for
from gan_jax.interop.fitting import check_finite
from gan_jax.interop.layouts import LAYOUTS, ForeignLayout
from gan_jax.interop.links import ForeignLayoutError, export_tensors
from gan_jax.interop.weights import native
from gan_jax.reserved import GRAFT
from gan_jax.trees import Tree, did_you_mean, flatten, shape_of

FLOATS = ("float64", "float32", "float16", "bfloat16")
NATIVE = "gan_jax"  # the layout of our own names


def export_file(
    path: str | Path,
    config: NetConfig,
    variables: Mapping[str, Tree],
    layout: str = NATIVE,
    *,
    d: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes a pair as a file of tensors that another program reads.

    Args:
      path: .safetensors or .npz, or .pt (.pth, .ckpt) for a file of `torch.save`, which is written without torch; a folder for
        a layout that has JSON files beside the weights.
      config: of the networks.
      variables: `{"g_ema": .., "d": ..}`; a layout has places for these two.
      layout: a key of `LAYOUTS` that knows such networks, or "gan_jax": all of `variables` by leaf paths.
      d: a file, or folder, of its own for D; then `path` holds G alone, and names are without the network's prefix.
      about: JSON values that go along where the format can carry them (safetensors): history, licence.

    Returns:
      the files.

    Raises:
      ExportError: a layout that is unknown or of other networks, a file ending that is none of these, no networks, a G
        behind a front.
      ForeignLayoutError: these networks have something that the layout has no place for.
    """
    path = Path(path)
    if layout in LAYOUTS and (beside := LAYOUTS[layout].beside) is not None:
        return _export_folders(path, config, variables, layout, beside, d, about or {})
    write, write_d = writer_for(path), writer_for(path if d is None else Path(d))
    check_finite(dict(variables), "these weights", ExportError)
    parts, nested = tensors_of(config, variables, layout)
    if d is not None and set(parts) != {"g_ema", "d"}:
        raise ExportError(f"a file of its own for D needs both networks and no others; there are {', '.join(parts)}")
    facts = {"layout": layout, "net": net_to_dict(config), **(about or {})}
    for file in (path, d):
        if file is not None:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
    if d is None:
        write(path, {name: array for part in parts.values() for name, array in part.items()}, facts, nested)
        return [path]

    def without_key(part: Tensors) -> Tensors:
        """The tensors of a network by their names without the key that it lies under in a file of both."""
        return {n.split(".", 1)[1] if n.split(".")[0] in nested else n: array for n, array in part.items()}

    write(path, without_key(parts["g_ema"]), facts, ())
    write_d(Path(d), without_key(parts["d"]), facts, ())
    return [path, Path(d)]


def _export_folders(
    path: Path,
    config: NetConfig,
    variables: Mapping[str, Tree],
    layout: str,
    beside: Callable[[Any, str], dict[str, dict[str, Any]]],
    d: str | Path | None,
    about: Mapping[str, Any],
) -> list[Path]:
    """Writes each network as a folder of weights and JSON files; returns the folders."""
    check_finite(dict(variables), "these weights", ExportError)
    parts, _ = tensors_of(config, variables, layout)
    if (d is None) != (len(parts) == 1):
        have, need = " and ".join(parts), "name one for D, too" if len(parts) == 2 else "leave that of D out"
        raise ExportError(f"a folder of layout {layout} holds one network, and there are {have}; {need} (--d)")
    folders = dict(zip(sorted(parts, key=lambda root: root == "d"), [path, Path(d or path)]))
    facts = {"layout": layout, "net": net_to_dict(config), **about}
    for root, folder in folders.items():
        if folder.suffix in WRITERS:
            raise ExportError(f"{folder}: layout {layout} is a folder; leave the ending {folder.suffix} out")
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[".safetensors"](folder / "model.safetensors", parts[root], facts, ())
        for name, values in beside(config, root).items():
            write_atomically(folder / name, (json.dumps(values, indent=2) + "\n").encode())
    return [*folders.values()]


def tensors_of(
    config: NetConfig, variables: Mapping[str, Tree], layout: str = NATIVE
) -> tuple[dict[str, Tensors], tuple[str, ...]]:
    """`{"g_ema": {name: array}, "d": ..}` in a layout, contiguous, and what its names begin with.

    The beginnings are what a torch checkpoint has as keys, each with a state dict under it.

    Raises:
      ExportError, ForeignLayoutError: as `export_file`.
    """
    if auxiliary := [path for path in flatten(dict(variables)) if f"/params/{GRAFT}/" in path]:
        raise ExportError(
            f"these weights carry {auxiliary[0]!r} and more before G, which no layout has a place for: G alone would make "
            "other images. Export the sampler as a program, which takes it along (--to stablehlo or onnx), or copy the folder"
        )
    for path, leaf in flatten(dict(variables)).items():
        if np.dtype(leaf.dtype).name not in FLOATS:
            raise ExportError(f"leaf {path!r} is {shape_of(leaf)}; files hold weights in {', '.join(FLOATS)}")
    if layout == NATIVE:
        leaves = {root: flatten({root: tree}) for root, tree in variables.items()}
        arrays = {root: {p: native(leaf) for p, leaf in of.items()} for root, of in leaves.items()}
        return arrays, tuple(variables)
    entry = layout_of(config, layout)
    parts = entry.names(config)
    exported: dict[str, Tensors] = {}
    for root, (prefix, links) in parts.items():
        if root in variables:
            leaves = flatten(variables[root])
            if root in entry.counted:
                links = {name: link for name, link in links.items() if set(link.paths) <= set(leaves)}
            named = export_tensors(leaves, links)
            exported[root] = {prefix + name: native(array) for name, array in named.items()}
    if not exported:
        raise ExportError(
            f"these weights hold {', '.join(variables)}; layout {layout} has places for {', '.join(parts)}"
        )
    for name, array in entry.constants(config).items():
        root = max((r for r, (prefix, _) in parts.items() if name.startswith(prefix)), key=lambda r: len(parts[r][0]))
        if root in exported:
            exported[root][name] = array
    return exported, tuple(
        dict.fromkeys([prefix.split(".")[0] for prefix, _ in parts.values() if prefix] + [*entry.keys])
    )


def layout_of(config: NetConfig, layout: str) -> ForeignLayout:
    """The layout of a name, which must know networks of this configuration.

    Raises:
      ExportError: it does not.
    """
    fitting = [name for name, entry in LAYOUTS.items() if isinstance(config, entry.config)]
    known = f"{type(config).__name__} can be written as {', '.join(fitting)}"
    if layout not in LAYOUTS:
        raise ExportError(f"no layout {layout!r}{did_you_mean(layout, LAYOUTS)}; {known}")
    if layout not in fitting:
        raise ExportError(f"layout {layout!r} is of other networks; {known}")
    return LAYOUTS[layout]


__all__ = ["NATIVE", "WRITERS", "ExportError", "ForeignLayoutError", "export_file", "layout_of", "tensors_of"]
