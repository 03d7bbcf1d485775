"""Name maps between foreign checkpoints and our trees: data, read in both directions.

A link says which leaf a foreign tensor becomes and how its axes are ordered there. Every kind is a permutation of
values, so that importing and exporting are inverse, bit-exact.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from gan_jax.interop.fitting import not_finite
from gan_jax.trees import did_you_mean

Kind = Literal["same", "conv", "transposed", "dense", "maps", "flat", "covering", "grown"]


class ForeignLayoutError(ValueError):
    """A foreign file does not hold what its format promises; the message names the tensor."""


@dataclasses.dataclass(frozen=True)
class Link:
    """One tensor of a foreign file.

    Attributes:
      path: the leaf that it becomes.
      kind: "conv" is OIHW there and HWIO here; "transposed" the kernel of a transposed convolution, IOHW there; "dense"
        `[out, in]` there and `[in, out]` here; "maps" `[C, H, W]` there and `[H, W, C]` here; "flat" a dense layer over
        flattened maps of `side` x `side`, channels first there; "covering" the same dense layer, there a convolution over
        such maps as a whole, `[out, C, side, side]`; "grown" a transposed convolution that makes such maps
        of single values, `[in, C, side, side]` there and `[in, side * side * C]` here.
      side: of the maps of a "flat" link, px.
      before: how many axes of size 1 come before those of the kind there, as in `[1, O, I, H, W]`.
      after: how many come after them, as in `[1, O, 1, 1]`.
    """

    path: str
    kind: Kind = "same"
    side: int = 4
    before: int = 0
    after: int = 0

    @property
    def paths(self) -> tuple[str, ...]:
        """The leaves that it becomes."""
        return (self.path,)

    def leaves(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Path -> leaf."""
        return {self.path: self.read(array)}

    def tensor(self, leaves: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `leaves`, from all leaves of a network."""
        return self.write(np.asarray(leaves[self.path]))

    def read(self, array: np.ndarray) -> np.ndarray:
        """From their axes to ours.

        Raises:
          ValueError: an axis that should be of size 1 is not, or the number of axes is another one.
        """
        if self.before or self.after:
            inside = array.shape[self.before : max(array.ndim - self.after, 0)]
            if array.shape != (1,) * self.before + inside + (1,) * self.after:
                raise ValueError(f"has {self.before} axes of size 1 before and {self.after} after the others")
            array = array.reshape(inside)
        if self.kind in ("flat", "covering"):
            maps = array.reshape(len(array), -1, self.side, self.side)
            return maps.transpose(2, 3, 1, 0).reshape(-1, len(array))
        if self.kind == "grown":
            return array.transpose(0, 2, 3, 1).reshape(len(array), -1)
        return array.transpose(READ[self.kind]) if self.kind in READ else array

    def write(self, array: np.ndarray) -> np.ndarray:
        """From our axes to theirs: the inverse of `read`."""
        turned = self._turned(array)
        return turned.reshape((1,) * self.before + turned.shape + (1,) * self.after)

    def _turned(self, array: np.ndarray) -> np.ndarray:
        if self.kind in ("flat", "covering"):
            maps = array.reshape(self.side, self.side, -1, array.shape[-1]).transpose(3, 2, 0, 1)
            return maps if self.kind == "covering" else maps.reshape(len(maps), -1)
        if self.kind == "grown":
            return array.reshape(len(array), self.side, self.side, -1).transpose(0, 3, 1, 2)
        return array.transpose(np.argsort(READ[self.kind])) if self.kind in READ else array


@dataclasses.dataclass(frozen=True)
class MapsLink(Link):
    """A dense layer that makes maps of `side` px, channels first there: `[C * side * side, in]`, as its bias and vector."""

    def read(self, array: np.ndarray) -> np.ndarray:
        """From `[C * side * side, in]` to `[in, side * side * C]`; of vectors the one axis."""
        array = array.reshape(array.shape[self.before :])
        rows = array.reshape(-1, self.side**2, *array.shape[1:])
        return rows.swapaxes(0, 1).reshape(array.shape).T

    def write(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `read`."""
        array = array.T
        rows = array.reshape(self.side**2, -1, *array.shape[1:])
        return rows.swapaxes(0, 1).reshape((1,) * self.before + array.shape)


@dataclasses.dataclass(frozen=True)
class JoinedLink(Link):
    """A kernel that reads several things side by side: one tensor there, a leaf for each here.

    Attributes:
      others: (path, number of input channels) of the parts that stand before that of `path`.
    """

    others: tuple[tuple[str, int], ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return (*(path for path, _ in self.others), self.path)

    def leaves(self, array: np.ndarray) -> dict[str, np.ndarray]:
        kernel, start, parts = self.read(array), 0, {}
        for path, size in self.others:
            parts[path] = kernel[..., start : start + size, :]
            start += size
        return parts | {self.path: kernel[..., start:, :]}

    def tensor(self, leaves: Mapping[str, Any]) -> np.ndarray:
        return self.write(np.concatenate([np.asarray(leaves[path]) for path in self.paths], axis=-2))


@dataclasses.dataclass(frozen=True)
class HeadsLink(Link):
    """A layer of attention: its heads side by side on one axis there, on an axis of their own here.

    Attributes:
      heads: their number.
      others: the leaves that stand before that of `path` on the same axis, as large as it: queries and keys before values.
      merges: whether the heads are on the first axis, as in the layer that reads them; else they are on the last.
    """

    heads: int = 1
    others: tuple[str, ...] = ()
    merges: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.others, self.path)

    def leaves(self, array: np.ndarray) -> dict[str, np.ndarray]:
        parts = np.split(self.read(array), len(self.paths), 0 if self.merges else -1)
        shape = lambda part: (self.heads, -1, *part.shape[1:]) if self.merges else (*part.shape[:-1], self.heads, -1)
        return {path: part.reshape(shape(part)) for path, part in zip(self.paths, parts, strict=True)}

    def tensor(self, leaves: Mapping[str, Any]) -> np.ndarray:
        arrays = [np.asarray(leaves[path]) for path in self.paths]
        if self.merges:
            return self.write(np.concatenate([array.reshape(-1, *array.shape[2:]) for array in arrays]))
        return self.write(np.concatenate([array.reshape(*array.shape[:-2], -1) for array in arrays], -1))


READ = {"conv": (2, 3, 1, 0), "transposed": (2, 3, 0, 1), "dense": (1, 0), "maps": (1, 2, 0)}  # their axes in our order


Links = Mapping[str, Link]  # their name -> link


@dataclasses.dataclass(frozen=True)
class Account:
    """The account of every tensor of a file: `used` their name -> our path, `ignored` their name -> why."""

    used: dict[str, str]
    ignored: dict[str, str]

    def __str__(self) -> str:
        """For a report."""
        lines = [f"{len(self.used)} tensors used, {len(self.ignored)} ignored"]
        reasons = dict.fromkeys(self.ignored.values())
        for reason in reasons:
            names = [name for name, why in self.ignored.items() if why == reason]
            lines.append(f"  ignored, {reason}: {', '.join(names[:4])}{' ..' if len(names) > 4 else ''}")
        return "\n".join(lines)


def import_tensors(
    tensors: Mapping[str, np.ndarray],
    links: Links,
    ignored: Mapping[str, str],
    expected: Mapping[str, Any],
    what: str,
    advice: str = "",
) -> tuple[dict[str, np.ndarray], Account]:
    """Turns a foreign state into our leaves, accounting for every tensor.

    Args:
      tensors: by their names.
      links: what is wanted.
      ignored: ends of names that may be left out -> why.
      expected: our leaves (arrays or specs) by path; every one must be filled, in its shape.
      what: the file or network, for messages.
      advice: what can be done about an unknown tensor; `{}` is its name.

    Raises:
      ForeignLayoutError: a tensor that is missing, unknown, of another shape or not of floats.
    """
    leaves: dict[str, np.ndarray] = {}
    account = Account({}, {})
    for name, array in tensors.items():
        if name in links:
            link = links[name]
            check_floats(name, np.asarray(array), tensors)
            try:
                # not ascontiguousarray, which makes 1-d of scalars
                leaves |= {path: leaf.copy(order="C") for path, leaf in link.leaves(np.asarray(array)).items()}
            except ValueError as error:
                raise ForeignLayoutError(
                    f"{what}: {name!r} is {list(array.shape)}, which cannot become leaf {link.path!r}: {error}"
                ) from error
            account.used[name] = link.path
        elif reason := next((why for end, why in ignored.items() if name.endswith(end)), None):
            account.ignored[name] = reason
        else:
            raise ForeignLayoutError(
                f"{what} has a tensor {name!r} {list(array.shape)} that no rule knows{_unknown(name, links, advice)}"
            )
    by_path = {path: name for name, link in links.items() for path in link.paths}
    for path, leaf in expected.items():
        if path not in leaves:
            raise ForeignLayoutError(f"{what} lacks {by_path.get(path, path)!r}, which leaf {path!r} comes from")
        if leaves[path].shape != tuple(leaf.shape):
            theirs = list(tensors[by_path[path]].shape)
            raise ForeignLayoutError(
                f"{what}: {by_path[path]!r} is {theirs}, which makes {list(leaves[path].shape)} of leaf {path!r}, "
                f"but the network has {list(leaf.shape)}; check its configuration"
            )
    return leaves, account


def _unknown(name: str, links: Iterable[str], advice: str) -> str:
    """Advice about a tensor that no rule knows; a tensor of a layer that is used is no stray."""
    layer = name.rpartition(".")[0]
    known = [link for link in links if layer and link.rpartition(".")[0] == layer]
    if not known:
        return f"{did_you_mean(name, links)}{advice.format(name)}"
    left_out = (
        f" --ignore {name!r} leaves it out, which changes what the network computes: train it further, or leave out only "
        "values near 0."
    )
    return f": its layer is used ({known[0]!r}), and has no such part in our networks.{left_out if advice else ''}"


SCALES = re.compile(
    r"(?i)(?:.*[._/])?(?:scal(?:es?|ing)(?:_(?:inv|factors?|weight|input))*|scaled_fp8|zero_?points?|zeros|qzeros|absmax"
    r"|amax(?:_history)?|SCB|weight_format|quant\w*)"
)


def scales_of(name: str, names: Iterable[str]) -> list[str]:
    """The names of scales of a kernel among those of a file: beside it, under its name elsewhere, or of the whole file.

    `main.3.weight` has `main.3.weight_scale`, `main.3.scale_weight`, `scales.main.3.weight` and `scaled_fp8`.
    """
    base = re.sub(r"(?:weight|kernel)(?::0)?$", "", name).rstrip("._/")
    within = re.compile(rf"(?:(.*)[._/])?{re.escape(base)}(?:[._/](.*))?")
    scales = []
    for other in names:
        parts = within.fullmatch(other) if base else re.fullmatch(r"([^./]*)", other)
        whole = re.fullmatch(r"(?i)(?:.*\.)?scaled_fp8", other)
        if other != name and (whole or (parts and any(SCALES.fullmatch(part) for part in parts.groups() if part))):
            scales.append(other)
    return scales


def check_floats(name: str, array: np.ndarray, names: Iterable[str]) -> None:
    """Checks that a tensor is of floats and needs no scale: whole numbers are kernels divided by a scale.

    Args:
      name: of the tensor.
      array: of it.
      names: of the tensors in the file, among which scales may be.

    Raises:
      ForeignLayoutError: it is of whole numbers, truth values or complex numbers, or of 8 bits with a scale in the file.
    """
    narrow = array.dtype.itemsize == 1
    if not narrow and jnp.issubdtype(array.dtype, np.floating):
        return
    scales = scales_of(name, names)
    listed = ", ".join(map(repr, scales[:3])) or "none"
    if not jnp.issubdtype(array.dtype, np.floating):
        whole = f"whole numbers mean nothing without their scales (beside it: {listed})"
        why = {"b": "truth values are a mask, not a kernel", "c": "complex numbers have no place in them"}
        raise ForeignLayoutError(
            f"{name!r} is {array.dtype.name}{list(array.shape)}, and weights are floats: "
            f"{why.get(array.dtype.kind, whole)}; convert it to float32 with the program that wrote it"
        )
    if scales:
        raise ForeignLayoutError(
            f"{name!r} is {array.dtype.name}{list(array.shape)} times a scale, {listed}, which is not applied here; "
            f"convert it to float32 with the program that wrote it"
        )


def check_values(path: str, theirs: np.ndarray, ours: np.ndarray, name: str, what: str) -> None:
    """Checks that the values that became a leaf are finite.

    Args:
      path: of the leaf.
      theirs: its values in the file.
      ours: in the leaf's dtype.
      name: of the tensor in the file.
      what: the file, for messages.

    Raises:
      ForeignLayoutError: nan or inf, values beyond the leaf's dtype.
    """
    if (why := not_finite(ours)) is None:
        return
    if not_finite(theirs) is None:
        why = f"values of up to {float(np.abs(theirs).max()):.3g}, beyond the largest {ours.dtype.name}"
    raise ForeignLayoutError(
        f"{what}: {name!r}, which becomes leaf {path!r}, holds {why}; no network computes with that"
    )


def export_tensors(leaves: Mapping[str, Any], links: Links) -> dict[str, np.ndarray]:
    """Our leaves under their names and axes, contiguous: what `import_tensors` reads back bit-exact."""
    return {name: link.tensor(leaves).copy(order="C") for name, link in links.items()}
