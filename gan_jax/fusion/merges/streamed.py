"""Merges of weights on disk, leaf by leaf: the memory of one leaf of each network, a few times over, and of no network.

For merges that make a leaf of the same leaf of each network (`MERGES[..].leafwise`); the functions are those of `MERGES`,
asked for trees of one leaf, and what comes out is equal to the bit to what they make of whole networks. TIES and DARE-TIES,
in which all leaves vote on what no one leaf decides, read everything twice.

Networks are taken as they are: putting channels in order wants whole networks (`gan-jax align` writes an aligned donor).
Parameters are merged; of what is beside them running statistics are averaged and the rest is the first network's or the
base's, as of `merge_collections`, which also says what has to be measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import differences
from gan_jax.fusion.merges import MERGES, merge
from gan_jax.fusion.merges.averages import merge_collections
from gan_jax.fusion.merges.leaves import MergeError, check_fit, is_float
from gan_jax.interop.finite import OVERFLOW, check_finite
from gan_jax.interop.source import Source
from gan_jax.interop.stream import stream_weights
from gan_jax.surgery.provenance import fused_history, history_of
from gan_jax.tasks.model import names_of
from gan_jax.trees import Flat, did_you_mean, flatten, unflatten

STREAMED = tuple(kind for kind, row in MERGES.items() if row.leafwise)
ROOTS = {"g_ema": "g", "d": "d"}  # networks that are merged, and what a history calls them


def merge_streamed(
    out: str | Path, sources: Sequence[Source], kind: str, *, base: Source | None = None, **given: Any
) -> Path:
    """Merges weights into a new weights folder.

    Args:
      out: the folder to write.
      sources: the networks, of one architecture; roots `g_ema` and `d`, whichever the first (or the base) has.
      kind: of `STREAMED`.
      base: what they were fine-tuned from, for merges over a base.
      given: as of `merge`: options of the kind, and the key of DARE.

    Returns:
      the folder; its history names every network, and theirs are kept in it.

    Raises:
      MergeError: a merge that needs whole networks, or is unknown; networks of other leaves, shapes or architectures,
        with the leaf or the option; options that do not fit. Nothing has been written then.
      WeightsError: a damaged leaf, or one with nan or inf; what had been written is gone.
    """
    if kind not in STREAMED:
        why = " needs whole networks, or more than them" if kind in MERGES else did_you_mean(kind, STREAMED)
        raise MergeError(f"merge {kind!r}{why}; leaf by leaf there are {', '.join(STREAMED)}")
    row = MERGES[kind]
    over = base if "base" in row.needs else None
    _try(kind, len(sources), over, given)
    like = over or sources[0]
    specs = _checked(like, [*sources, *([over] if over else [])])
    majority = _majority(kind, specs, sources, over, given)
    shares = _weights(kind, given)

    def leaf(path: str) -> Any:
        root, collection, tail = path.split("/", 2)
        one = lambda source: unflatten({tail: source.take(path)})
        if collection == "params":
            elected = {} if root not in majority else {"majority": majority[root]}
            trees = [one(source) for source in sources]
            made = flatten(merge(kind, trees, base=over and one(over), **given, **elected))[tail]
            merged = f"the {kind} merge of {', '.join(source.name for source in sources)}"
            check_finite({path: made}, merged, MergeError, reason=OVERFLOW)
            return made
        beside = [{collection: one(source)} for source in sources]
        return flatten(merge_collections(beside, over and {collection: one(over)}, shares))[f"{collection}/{tail}"]

    return stream_weights(out, specs, leaf, _about(like, sources, kind, over, given, specs))


def _try(kind: str, count: int, base: Source | None, given: dict[str, Any]) -> None:
    """What `merge` says of the options, before anything is read."""
    tiny = {"x": np.ones(1, np.float32)}
    merge(kind, [tiny] * count, base=tiny if base else None, **given)


def _checked(like: Source, sources: Sequence[Source]) -> Flat:
    """The leaves to write: those of `like`, which all sources must have.

    Raises:
      MergeError: names the source, and the leaf or the option that differs.
    """
    own = lambda source: {p: x for p, x in flatten(source.specs).items() if p.partition("/")[0] in ROOTS}
    leaves = own(like)
    if not leaves:
        raise MergeError(f"{like.name} holds neither {' nor '.join(ROOTS)}: there is nothing to merge")
    for source in sources:
        if "front" in source.manifest:
            raise MergeError(f"{source.name} carries a front before its G, which no merge mixes; transplant it without")
        check_fit(own(source), leaves, source.name, like.name)
        if changed := differences(like.net, source.net):
            raise MergeError(f"{like.name} and {source.name} are of two architectures: {'; '.join(changed)}")
    kept = lambda x: jax.dtypes.canonicalize_dtype(x.dtype) if is_float(x) else x.dtype
    return {path: jax.ShapeDtypeStruct(x.shape, kept(x)) for path, x in leaves.items()}


def _majority(
    kind: str, specs: Flat, sources: Sequence[Source], base: Source | None, given: dict[str, Any]
) -> dict[str, jax.Array]:
    """Root -> the sign of most signs in its parameters, where the merge asks for it."""
    count: Callable[..., Any] | None = MERGES[kind].votes
    totals: dict[str, Any] = {}
    if count is None or base is None:
        return totals
    taken = {name: value for name, value in given.items() if name in ("weights", "density", "key")}
    for path in specs:
        root, collection, tail = path.split("/", 2)
        if collection == "params":
            trees = [unflatten({tail: source.take(path)}) for source in (base, *sources)]
            totals[root] = totals.get(root, 0) + count(trees[0], trees[1:], **taken)
    return {root: jnp.sign(total) for root, total in totals.items()}


def _weights(kind: str, given: dict[str, Any]) -> Any:
    """What running statistics are averaged with: the shares of the networks, where the merge has such."""
    if kind == "slerp":
        t = given.get("t", MERGES[kind].options["t"])
        return [1 - t, t]
    return None if "base" in MERGES[kind].needs else given.get("weights")


def _about(
    like: Source, sources: Sequence[Source], kind: str, base: Source | None, given: dict[str, Any], specs: Flat
) -> dict[str, Any]:
    """What the manifest says beside the leaves."""
    donors = sources if base else sources[1:]
    chosen = ", ".join(f"{name} {value}" for name, value in given.items() if name != "key")
    words = f"the {kind} merge of {', '.join(source.name for source in sources)}" + (
        f" over {base.name}" if base else ""
    ) + (f" ({chosen})" if chosen else "")  # fmt: skip
    licences = dict.fromkeys(one.manifest.get("licence") for one in (like, *donors))
    shares = {ROOTS[root]: {} for root in dict.fromkeys(path.partition("/")[0] for path in specs)}
    histories = [history_of(source.manifest) for source in donors]
    names = [source.name for source in donors]
    sizes = [int(np.prod(x.shape, dtype=np.int64)) for path, x in specs.items() if path.split("/")[1] == "params"]
    return {
        "net": like.manifest["net"],
        **(names_of(like.manifest) if all(names_of(one.manifest) == names_of(like.manifest) for one in donors) else {}),
        "licence": "; ".join(one for one in licences if one) or None,
        "parameters": sum(sizes),
        "history": list(fused_history(history_of(like.manifest), names, histories, shares, words)),
    }
