"""From a foreign file to a pair of ours, with an account of every tensor."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gan_jax.config import NetConfig
from gan_jax.interop.foreign import ForeignError, read_foreign
from gan_jax.interop.layouts import LAYOUTS, Found
from gan_jax.interop.links import Account, ForeignLayoutError, import_tensors
from gan_jax.nets import build
from gan_jax.trees import did_you_mean, flatten, unflatten


@dataclasses.dataclass(frozen=True)
class Imported:
    """A pair from a foreign file.

    Attributes:
      layout: of the file, a key of `LAYOUTS`.
      config: of the networks.
      variables: `{"g_ema": .., "d": ..}`, those that the file holds.
      account: what became of every tensor.
      sources: root/leaf -> the tensor that it comes from, and how its axes were turned.
      format: of the container.
      sha256: of the whole file.
    """

    layout: str
    config: NetConfig
    variables: dict[str, Any]
    account: Account
    sources: dict[str, tuple[str, str]]
    format: str
    sha256: str


def import_file(path: str | Path, layout: str | None = None) -> Imported:
    """Reads a foreign file of weights; nothing in it is run.

    Args:
      path: of the file.
      layout: a key of `LAYOUTS`; None = the one that fits.

    Raises:
      ForeignError: the file cannot be read.
      ForeignLayoutError: it holds no pair that is known, or a tensor that no rule knows.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ForeignLayoutError(
            f"no layout {layout!r}{did_you_mean(layout, LAYOUTS)}; the known ones are {', '.join(LAYOUTS)}"
        )
    file = read_foreign(path)
    problems = []
    for name in LAYOUTS if layout is None else [layout]:
        try:
            found = LAYOUTS[name].find(file.tensors)
        except ForeignLayoutError as error:
            problems.append(f"{name}: {error}")
            continue
        variables, account, sources = _fill(found, str(path))
        account.ignored.update(found.left)
        if forgotten := [n for n in file.tensors if n not in account.used and n not in account.ignored]:
            raise ForeignLayoutError(f"{path}: tensor {forgotten[0]!r} belongs to no network that {name} knows")
        return Imported(name, found.config, variables, account, sources, file.format, file.sha256)
    raise ForeignLayoutError(f"{path} ({file.format}, {len(file.tensors)} tensors) has no known layout:\n" + "\n".join(
        f"  - {text}" for text in problems))  # fmt: skip


def _fill(found: Found, what: str) -> tuple[dict[str, Any], Account, dict[str, tuple[str, str]]]:
    pair = build(found.config)
    variables, account, sources = {}, Account({}, {}), {}
    for root, (prefix, tensors, links) in found.parts.items():
        specs = flatten((pair.d if root == "d" else pair.g).specs())
        leaves, said = import_tensors(tensors, links, found.ignored, specs, what)
        variables[root] = unflatten({path: leaf.astype(specs[path].dtype) for path, leaf in leaves.items()})
        account.used.update({prefix + name: f"{root}/{path}" for name, path in said.used.items()})
        account.ignored.update({prefix + name: why for name, why in said.ignored.items()})
        sources |= {f"{root}/{path}": (prefix + name, links[name].kind) for name, path in said.used.items()}
    return variables, account, sources


__all__ = ["LAYOUTS", "ForeignError", "ForeignLayoutError", "Imported", "import_file"]
