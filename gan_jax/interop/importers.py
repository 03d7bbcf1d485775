"""From a foreign file to a pair of ours, with an account of every tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.interop.foreign import ForeignError, read_foreign
from gan_jax.interop.layouts import LAYOUTS, Beside, Found, native
from gan_jax.interop.links import Account, ForeignLayoutError, import_tensors
from gan_jax.nets import build
from gan_jax.surgery.provenance import import_step
from gan_jax.trees import did_you_mean, flatten, unflatten


class File(NamedTuple):
    """A file that was read: its name, the kind of its container, sha256 (hex) of the whole of it."""

    name: str
    format: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Imported:
    """A pair from a foreign file, or from one for each network.

    Attributes:
      layout: of the tensors, a key of `LAYOUTS`.
      config: of the networks.
      variables: `{"g_ema": .., "d": ..}`, those that the files hold.
      account: what became of every tensor.
      sources: root/leaf -> the tensor that it comes from, and how its axes were turned.
      made: root/leaf that the files lack -> what it was made of.
      files: what the names of its tensors begin with in `account` and `sources` -> the file: "" where there is one
        file, "g." and "d." where there are two.
      before: what a file of this library says of its weights: `history`, `licence`.
    """

    layout: str
    config: NetConfig
    variables: dict[str, Any]
    account: Account
    sources: dict[str, tuple[str, str]]
    made: dict[str, str]
    files: dict[str, File]
    before: dict[str, Any] = dataclasses.field(default_factory=dict)

    def about(self, licence: str | None = None) -> dict[str, Any]:
        """What a manifest should say of these weights: licence, what was left out, where every leaf comes from."""
        files = {start: (file.name, file.sha256) for start, file in self.files.items()}
        step = import_step(files, self.layout, self.sources, flatten(self.variables), self.made)
        formats = " and ".join(dict.fromkeys(file.format for file in self.files.values()))
        return {
            "licence": licence or self.before.get("licence"),
            "imported": {"format": formats, "ignored": self.account.ignored},
            "history": [*self.before.get("history", []), step],
        }


def import_file(
    path: str | Path, layout: str | None = None, d: str | Path | None = None, net: NetConfig | None = None
) -> Imported:
    """Reads a foreign file of weights; nothing in it is run.

    Args:
      path: of the file; of G's where each network has its own.
      layout: a key of `LAYOUTS`; None = the one that fits.
      d: of D's own file.
      net: the networks' configuration, for the layout of our own names, whose shapes do not tell it.

    Raises:
      ForeignError: a file cannot be read.
      ForeignLayoutError: they hold no pair that is known, or a tensor that no rule knows.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ForeignLayoutError(
            f"no layout {layout!r}{did_you_mean(layout, LAYOUTS)}; the known ones are {', '.join(LAYOUTS)}"
        )
    if net is not None and layout not in (None, "gan_jax"):
        raise ForeignLayoutError(f"layout {layout} tells its configuration itself; leave net out")
    paths = {"": path} if d is None else {"g.": path, "d.": d}
    read = {prefix: read_foreign(one) for prefix, one in paths.items()}
    collect = lambda what: {start + name: v for start, file in read.items() for name, v in getattr(file, what).items()}
    tensors = collect("tensors")
    files = {prefix: File(file.path.name, file.format, file.sha256) for prefix, file in read.items()}
    what = " and ".join(f"{paths[prefix]} ({file.format})" for prefix, file in files.items())
    beside = Beside(collect("values"), collect("stubs"), net)
    problems = []
    for name in LAYOUTS if layout is None else [layout]:
        try:
            entry = LAYOUTS[name]
            found = entry.told(tensors, beside) if entry.told else entry.find(tensors)
        except ForeignLayoutError as error:
            problems.append(f"{name}: {error}")
            continue
        variables, account, sources = _fill(found, {prefix: str(one) for prefix, one in paths.items()})
        account.ignored.update(found.left)
        if forgotten := [n for n in tensors if n not in account.used and n not in account.ignored]:
            raise ForeignLayoutError(f"{what}: tensor {forgotten[0]!r} belongs to no network that {name} knows")
        made = {path: how.words for path, how in found.made.items()}
        before = native.said_before(beside) if entry is native.LAYOUT else {}
        return Imported(name, found.config, variables, account, sources, made, files, before)
    raise ForeignLayoutError(f"{what}, {len(tensors)} tensors, has no known layout:\n" + "\n".join(
        f"  - {text}" for text in problems))  # fmt: skip


def _fill(found: Found, paths: Mapping[str, str]) -> tuple[dict[str, Any], Account, dict[str, tuple[str, str]]]:
    pair = build(found.config)
    variables, account, sources = {}, Account({}, {}), {}
    for root, (prefix, tensors, links) in found.parts.items():
        specs = flatten((pair.d if root == "d" else pair.g).specs())
        what = next((path for start, path in paths.items() if prefix.startswith(start)), " and ".join(paths.values()))
        made = {path: how for path in specs if (how := found.made.get(f"{root}/{path}"))}
        wanted = {path: spec for path, spec in specs.items() if path not in made}
        leaves, said = import_tensors(tensors, links, found.ignored, wanted, what)
        leaves |= {path: np.zeros(specs[path].shape) for path in made}
        leaves = {path: leaves[path].astype(spec.dtype) for path, spec in specs.items()}
        leaves |= {path: how.make(found.config, unflatten(leaves)) for path, how in made.items()}
        variables[root] = unflatten(leaves)
        account.used.update({prefix + name: f"{root}/{path}" for name, path in said.used.items()})
        account.ignored.update({prefix + name: why for name, why in said.ignored.items()})
        sources |= {f"{root}/{path}": (prefix + name, links[name].kind) for name, path in said.used.items()}
    return variables, account, sources


__all__ = ["LAYOUTS", "File", "ForeignError", "ForeignLayoutError", "Imported", "import_file"]
