"""Reads a pair of ours from a foreign file, with an account of every tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.interop.fitting import negative_variances
from gan_jax.interop.foreign import ForeignError, read_foreign
from gan_jax.interop.layouts import LAYOUTS, FileContext, ForeignPair, huggingface, native
from gan_jax.interop.links import Account, ForeignLayoutError, check_values, import_tensors
from gan_jax.interop.parts import ASKED, networks_of, unwrapped
from gan_jax.nets import build
from gan_jax.surgery.provenance import import_step
from gan_jax.trees import did_you_mean, flatten, match, unflatten


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
      computed: root/leaf that the files lack -> what it was computed from.
      files: what the names of its tensors begin with in `account` and `sources` -> the file: "" where there is one
        file, "g." and "d." where there are two.
      before: what a file of this library says of its weights: `history`, `licence`.
      notes: sentences about what the networks may have lost: kernels of 8 bits, parts of layers that were left out.
    """

    layout: str
    config: NetConfig
    variables: dict[str, Any]
    account: Account
    sources: dict[str, tuple[str, str]]
    computed: dict[str, str]
    files: dict[str, File]
    before: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def check(self) -> Imported:
        """Checks that its networks can be computed with: no running variance is below zero. Returns itself.

        Raises:
          ForeignLayoutError: names the leaf and the tensor that it comes from.
        """
        for path, value in negative_variances(self.variables).items():
            raise ForeignLayoutError(
                f"{self.sources[path][0]!r}, which becomes leaf {path!r}, holds a running variance of {value:.3g}, and none is "
                "below zero: batch norm would make nan of it. It is another quantity, or the file is damaged"
            )
        return self

    def about(self, licence: str | None = None) -> dict[str, Any]:
        """What a manifest records of these weights: licence, what was left out, where every leaf comes from."""
        files = {start: (file.name, file.sha256) for start, file in self.files.items()}
        step = import_step(files, self.layout, self.sources, flatten(self.variables), self.computed)
        formats = " and ".join(dict.fromkeys(file.format for file in self.files.values()))
        return {
            "licence": licence or self.before.get("licence"),
            "imported": {"format": formats, "ignored": self.account.ignored}
            | ({"notes": [*self.notes]} if self.notes else {}),
            "history": [*self.before.get("history", []), step],
        }


def import_file(
    path: str | Path,
    layout: str | None = None,
    d: str | Path | None = None,
    net: NetConfig | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """Reads a foreign file of weights, or a folder as Hugging Face has it; nothing in it is run.

    Args:
      path: of the file or folder; of G's where each network has its own.
      layout: a key of `LAYOUTS`; None = the one that fits.
      d: of D's own file.
      net: the networks' configuration, for layouts whose shapes do not tell all of it: of our own names, of SPADE,
        and of transformers without config.json.
      ignore: patterns over the names of tensors, of what is left out in addition to what is known to be no network.

    Raises:
      ForeignError: a file cannot be read.
      ForeignLayoutError: they hold no pair that is known, a tensor that no rule knows, or values that are no weights.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ForeignLayoutError(
            f"no layout {layout!r}{did_you_mean(layout, LAYOUTS)}; the known ones are {', '.join(LAYOUTS)}"
        )
    if net is not None and layout not in (None, "gan_jax", "spade", "huggingface"):
        raise ForeignLayoutError(f"layout {layout} tells its configuration itself; leave net out")
    paths = {"": path} if d is None else {"g.": path, "d.": d}
    read = {prefix: read_foreign(place) for prefix, place in paths.items()}
    parts = {}
    for start, file in read.items():
        try:
            patterns = ignore if d is None else _covering(ignore, file.tensors)
            parts[start] = networks_of(file.tensors, patterns, file.values)
        except ForeignLayoutError as error:
            raise ForeignLayoutError(f"{paths[start]}: {error}") from error
    if d is not None and (
        dead := [pattern for pattern in ignore if not any(_covering([pattern], f.tensors) for f in read.values())]
    ):
        raise ForeignLayoutError(f"--ignore {dead[0]!r} covers no tensor of {path} and {d}")
    tensors = {start + name: array for start, part in parts.items() for name, array in part.tensors.items()}
    origin = {start + name: start + there for start, part in parts.items() for name, there in part.origin.items()}
    left_out = {start + name: why for start, part in parts.items() for name, why in part.left_out.items()}
    values = {start + name: value for start, file in read.items() for name, value in file.values.items()}
    stubs = {start + unwrapped(name): stub for start, file in read.items() for name, stub in file.stubs.items()}
    files = {prefix: File(file.path.name, file.format, file.sha256) for prefix, file in read.items()}
    what = " and ".join(f"{paths[prefix]} ({file.format})" for prefix, file in files.items())
    context = FileContext(values, stubs, net)
    if (
        layout is None
        and net is None
        and (any(Path(place).is_dir() for place in paths.values()) or huggingface.describes(values, paths))
    ):
        layout = huggingface.NAME
    problems = []
    for name in LAYOUTS if layout is None else [layout]:
        try:
            entry = LAYOUTS[name]
            foreign = entry.find_in_context(tensors, context) if entry.find_in_context else entry.find(tensors)
        except ForeignLayoutError as error:
            problems.append(f"{name}: {error}")
            continue
        variables, account, sources = _fill(foreign, {prefix: str(place) for prefix, place in paths.items()}, origin)
        account.ignored.update({origin.get(name, name): why for name, why in foreign.left_out.items()} | left_out)
        every = [start + name for start, file in read.items() for name in file.tensors]
        if forgotten := [n for n in every if n not in account.used and n not in account.ignored]:
            raise ForeignLayoutError(
                f"{what}: tensor {forgotten[0]!r} belongs to no network that {name} knows{_advice(forgotten[0], paths)}"
            )
        computed = {path: how.words for path, how in foreign.computed.items()}
        before = native.recorded_before(context) if entry is native.LAYOUT else {}
        arrays = {origin[plain]: array for plain, array in tensors.items()}
        arrays |= {
            start + name_there: array for start, file in read.items() for name_there, array in file.tensors.items()
        }
        notes = (*_narrow(arrays, account), *_left_parts(arrays, account))
        return Imported(name, foreign.config, variables, account, sources, computed, files, before, notes).check()
    more = f" ({len(left_out)} more left out)" if left_out else ""
    raise ForeignLayoutError(f"{what}, {len(tensors)} tensors{more}, has no known layout:\n" + "\n".join(
        f"  - {text}" for text in problems))  # fmt: skip


def _narrow(arrays: Mapping[str, np.ndarray], account: Account) -> list[str]:
    """Notes on kernels of 8 bits, whose scales may have been lost."""
    narrow = [name for name in account.used if arrays[name].dtype.itemsize == 1]
    if not narrow:
        return []
    more = f" and {len(narrow) - 1} more tensors" if len(narrow) > 1 else ""
    return [
        f"{narrow[0]!r}{more} of {arrays[narrow[0]].dtype.name}, numbers of 8 bits: no scale is in the file, and they are "
        "taken as they stand; if the program that wrote them keeps scales elsewhere, convert them to float32 there"
    ]


def _left_parts(arrays: Mapping[str, np.ndarray], account: Account) -> list[str]:
    """Notes on parts of layers that the user left out, though the layer is used."""
    layers = {name.rpartition(".")[0] for name in account.used}
    gone = [
        name for name, why in account.ignored.items() if why.startswith(ASKED) and name.rpartition(".")[0] in layers
    ]
    return [
        f"{name!r} (values up to {float(np.abs(arrays[name].astype(np.float64)).max(initial=0)):.3g}) is left out of a layer "
        "that is used: the network is another function than the file's; fine-tune it"
        for name in gone
        if np.issubdtype(arrays[name].dtype, np.number)
        and np.any(arrays[name])
        and not name.endswith("num_batches_tracked")
    ]


def _covering(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    names = list(names)
    return [pattern for pattern in patterns if any(match(pattern, name) for name in names)]


def _advice(name: str, paths: Mapping[str, str | Path]) -> str:
    """The option that leaves a tensor out; of two files names are those in the file."""
    tensor = name.partition(".")[2] if len(paths) > 1 else name
    start = tensor.rpartition(".")[0]
    return f"; if it is no part of the networks, leave it out: --ignore {tensor!r}" + (
        f", or {start + '.*'!r}" if start else ""
    )


def _fill(
    foreign: ForeignPair, paths: Mapping[str, str], origin: Mapping[str, str]
) -> tuple[dict[str, Any], Account, dict[str, tuple[str, str]]]:
    pair = build(foreign.config)
    variables, account, sources = {}, Account({}, {}), {}
    for root, (prefix, tensors, links) in foreign.parts.items():
        specs = flatten(foreign.nets.get(root, pair.d if root == "d" else pair.g).specs())
        what = next((path for start, path in paths.items() if prefix.startswith(start)), " and ".join(paths.values()))
        computed = {path: how for path in specs if (how := foreign.computed.get(f"{root}/{path}"))}
        stored = {path: spec for path, spec in specs.items() if path not in computed}
        read, part_account = import_tensors(tensors, links, foreign.ignored, stored, what, ADVICE)
        leaves = {path: np.zeros(specs[path].shape) for path in computed} | read
        with np.errstate(over="ignore"):  # said below, by name
            leaves = {path: leaves[path].astype(spec.dtype) for path, spec in specs.items()}
        named = {path: name for name in part_account.used for path in links[name].paths}
        for path in stored:
            theirs = origin.get(prefix + named[path], prefix + named[path])
            check_values(f"{root}/{path}", read[path], leaves[path], theirs, what)
        leaves |= {path: how.make(foreign.config, unflatten(leaves)) for path, how in computed.items()}
        variables[root] = unflatten(leaves)
        there = lambda name, prefix=prefix: origin.get(prefix + name, prefix + name)
        account.used.update({there(name): f"{root}/{path}" for name, path in part_account.used.items()})
        account.ignored.update({there(name): why for name, why in part_account.ignored.items()})
        sources |= {f"{root}/{path}": (there(name), links[name].kind) for path, name in named.items()}
    return variables, account, sources


ADVICE = "; if it is no part of the networks, leave it out: --ignore {!r}"

__all__ = ["LAYOUTS", "File", "ForeignError", "ForeignLayoutError", "Imported", "import_file"]
