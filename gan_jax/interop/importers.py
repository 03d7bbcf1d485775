"""From a foreign file to a pair of ours: the table of layouts, and the account of every tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.config import NetConfig
from gan_jax.interop import dcgan, stylegan2
from gan_jax.interop.foreign import ForeignError, read_foreign
from gan_jax.interop.links import Account, ForeignLayoutError, Links, import_tensors
from gan_jax.nets import build
from gan_jax.trees import did_you_mean, flatten, unflatten

Tensors = Mapping[str, np.ndarray]
Parts = Mapping[str, tuple[str, Tensors, Links]]  # our root -> (prefix in the file, its tensors, their links)
DROPPED = "another copy of the generator; the moving average is what is kept"


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
            config, parts, ignored, left = LAYOUTS[name](file.tensors)
        except ForeignLayoutError as error:
            problems.append(f"{name}: {error}")
            continue
        variables, account, sources = _fill(config, parts, ignored, str(path))
        account.ignored.update(left)
        if forgotten := [n for n in file.tensors if n not in account.used and n not in account.ignored]:
            raise ForeignLayoutError(f"{path}: tensor {forgotten[0]!r} belongs to no network that {name} knows")
        return Imported(name, config, variables, account, sources, file.format, file.sha256)
    raise ForeignLayoutError(f"{path} ({file.format}, {len(file.tensors)} tensors) has no known layout:\n" + "\n".join(
        f"  - {text}" for text in problems))  # fmt: skip


def _fill(
    config: NetConfig, parts: Parts, ignored: Mapping[str, str], what: str
) -> tuple[dict[str, Any], Account, dict[str, tuple[str, str]]]:
    pair = build(config)
    variables, account, sources = {}, Account({}, {}), {}
    for root, (prefix, tensors, links) in parts.items():
        specs = flatten((pair.d if root == "d" else pair.g).specs())
        leaves, said = import_tensors(tensors, links, ignored, specs, what)
        variables[root] = unflatten({path: leaf.astype(specs[path].dtype) for path, leaf in leaves.items()})
        account.used.update({prefix + name: f"{root}/{path}" for name, path in said.used.items()})
        account.ignored.update({prefix + name: why for name, why in said.ignored.items()})
        sources |= {f"{root}/{path}": (prefix + name, links[name].kind) for name, path in said.used.items()}
    return variables, account, sources


def _under(tensors: Tensors, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


Found = tuple[NetConfig, Parts, Mapping[str, str], dict[str, str]]


def _stylegan2(tensors: Tensors) -> Found:
    kept = "G_ema." if any(name.startswith("G_ema.") for name in tensors) else "G."
    g, d = _under(tensors, kept), _under(tensors, "D.")
    config = stylegan2.guess_config(g, d or None)
    parts = {"g_ema": (kept, g, stylegan2.generator_links(config))}
    if d:
        parts["d"] = ("D.", d, stylegan2.discriminator_links(config))
    left = {name: DROPPED for name in tensors if name.startswith("G.") and kept != "G."}
    return config, parts, stylegan2.IGNORED, left


def _dcgan(tensors: Tensors) -> Found:
    prefixes = {name[: name.index("main.")] for name in tensors if "main." in name} or {""}
    if len(prefixes) > 2:
        raise ForeignLayoutError(f"networks under {', '.join(sorted(prefixes))}; one G and one D at most are known")
    parts: dict[str, tuple[str, Tensors, Links]] = {}
    config = None
    for prefix in prefixes:
        found = _under(tensors, prefix)
        named = dcgan.in_tutorial_names(found)
        if "main.1.weight" not in named:
            continue  # D has no norm after its first layer
        config = dcgan.guess_config(named)
        back = dict(zip(named, found, strict=True))
        links = {back[name]: link for name, link in dcgan.generator_links(config).items() if name in back}
        parts["g_ema"] = (prefix, found, links)
    if config is None:
        raise ForeignLayoutError("no generator (main.0.weight and its norm main.1) among the tensors")
    for prefix in prefixes - {parts["g_ema"][0]}:
        parts["d"] = (prefix, _under(tensors, prefix), dcgan.discriminator_links(config))
    return config, parts, dcgan.IGNORED, {}


LAYOUTS: dict[str, Callable[[Tensors], Found]] = {"stylegan2-ada": _stylegan2, "dcgan": _dcgan}

__all__ = ["LAYOUTS", "ForeignError", "ForeignLayoutError", "Imported", "import_file"]
