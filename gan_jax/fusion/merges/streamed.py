"""Merges of weights on disk, leaf by leaf: memory holds a few copies of one leaf of each network, never a full network.

This works for merges whose leaf depends on the same leaf of each network (`MERGES[..].leafwise`). It calls the functions of
`MERGES` on trees of one leaf; the result equals a merge of full networks bit by bit. TIES and DARE-TIES, where all leaves
vote on the majority sign, read everything twice.

Networks are not aligned here: that needs full networks (`gan-jax align` writes an aligned donor). Parameters are merged.
Of the other collections, running statistics are averaged and the rest is the first network's or the base's
(`merge_collections`, which also says what must be recalibrated).
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
from gan_jax.interop.fitting import OVERFLOW, check_finite
from gan_jax.interop.source import Source, stream_weights
from gan_jax.roots import is_shared, network_of
from gan_jax.surgery.provenance import fused_history, history_of
from gan_jax.tasks.model import names_of
from gan_jax.trees import Flat, did_you_mean, flatten, unflatten

STREAMED = tuple(kind for kind, row in MERGES.items() if row.leafwise)


def merge_streamed(
    out: str | Path, sources: Sequence[Source], kind: str, *, base: Source | None = None, **options: Any
) -> Path:
    """Merges weights into a new weights folder.

    Args:
      out: the folder to write.
      sources: the networks, of one architecture; those that the first (or the base) has are merged: `g_ema` and `d`, of two
        translators `g_ab_ema`, `g_ba_ema`, `d_a` and `d_b`. An `f` that one of them lacks is left out.
      kind: name of a merge, of `STREAMED`.
      base: the network they were fine-tuned from, for merges with a base.
      options: as in `merge`: options of the kind, and the key of DARE.

    Returns:
      the folder; its history names every network and includes their histories.

    Raises:
      MergeError: a merge that needs full networks, or is unknown; networks whose leaves, shapes or architectures differ,
        with the leaf or the option; invalid options. Nothing has been written then.
      WeightsError: a damaged leaf, or one with nan or inf; the unfinished folder is removed.
    """
    if kind not in STREAMED:
        why = " needs whole networks, or more than them" if kind in MERGES else did_you_mean(kind, STREAMED)
        raise MergeError(f"merge {kind!r}{why}; leaf by leaf there are {', '.join(STREAMED)}")
    row = MERGES[kind]
    over = base if "base" in row.needs else None
    _try(kind, len(sources), over, options)
    like = over or sources[0]
    specs = _checked(like, [*sources, *([over] if over else [])])
    majority = _majority(kind, specs, sources, over, options)
    shares = _weights(kind, options)

    def leaf(path: str) -> Any:
        root, collection, tail = path.split("/", 2)

        def leaf_tree(source: Source) -> Any:
            return unflatten({tail: source.take(path)})

        if collection == "params":
            elected = {} if root not in majority else {"majority": majority[root]}
            trees = [leaf_tree(source) for source in sources]
            merged = flatten(merge(kind, trees, base=over and leaf_tree(over), **options, **elected))[tail]
            name = f"the {kind} merge of {', '.join(source.name for source in sources)}"
            check_finite({path: merged}, name, MergeError, reason=OVERFLOW)
            return merged
        collections = [{collection: leaf_tree(source)} for source in sources]
        return flatten(merge_collections(collections, over and {collection: leaf_tree(over)}, shares))[
            f"{collection}/{tail}"
        ]

    return stream_weights(out, specs, leaf, _about(like, sources, kind, over, options, specs))


def _try(kind: str, count: int, base: Source | None, options: dict[str, Any]) -> None:
    """Raises the errors of `merge` about options, before anything is read."""
    tiny = {"x": np.ones(1, np.float32)}
    merge(kind, [tiny] * count, base=tiny if base else None, **options)


def _checked(like: Source, sources: Sequence[Source]) -> Flat:
    """Returns the specs of the leaves to write: those of `like`, which all sources must have.

    Raises:
      MergeError: with the source, and the leaf or the option that differs.
    """
    lacked = {"f"} if any("f" not in source.specs for source in (like, *sources)) else set()

    def merged_specs(source: Source) -> Flat:
        named = lambda root: root not in lacked and is_shared(root)
        return {p: x for p, x in flatten(source.specs).items() if named(p.partition("/")[0])}

    leaves = merged_specs(like)
    if not leaves:
        raise MergeError(f"{like.name} holds no generator (g_ema) and no discriminator (d): there is nothing to merge")
    for source in sources:
        if "front" in source.manifest:
            raise MergeError(f"{source.name} carries a front before its G, which no merge mixes; transplant it without")
        check_fit(merged_specs(source), leaves, source.name, like.name)
        if changed := differences(like.net, source.net):
            raise MergeError(f"{like.name} and {source.name} are of two architectures: {'; '.join(changed)}")

    def dtype_of(x: Any) -> Any:
        return jax.dtypes.canonicalize_dtype(x.dtype) if is_float(x) else x.dtype

    return {path: jax.ShapeDtypeStruct(x.shape, dtype_of(x)) for path, x in leaves.items()}


def _majority(
    kind: str, specs: Flat, sources: Sequence[Source], base: Source | None, options: dict[str, Any]
) -> dict[str, jax.Array]:
    """Returns root -> majority sign of its parameters, for merges that elect signs."""
    count: Callable[..., Any] | None = MERGES[kind].votes
    totals: dict[str, Any] = {}
    if count is None or base is None:
        return totals
    vote_options = {name: value for name, value in options.items() if name in ("weights", "density", "key")}
    for path in specs:
        root, collection, tail = path.split("/", 2)
        if collection == "params":
            trees = [unflatten({tail: source.take(path)}) for source in (base, *sources)]
            totals[root] = totals.get(root, 0) + count(trees[0], trees[1:], **vote_options)
    return {root: jnp.sign(total) for root, total in totals.items()}


def _weights(kind: str, options: dict[str, Any]) -> Any:
    """Returns the weights for running statistics: the networks' mixing weights, if the merge has any."""
    if kind == "slerp":
        t = options.get("t", MERGES[kind].options["t"])
        return [1 - t, t]
    return None if "base" in MERGES[kind].needs else options.get("weights")


def task_of(like: Source, others: Sequence[Source]) -> dict[str, Any]:
    """The entry of a manifest for the task, where all of these networks are of one; else none."""
    task = like.manifest.get("task")
    return {"task": task} if task is not None and all(o.manifest.get("task") == task for o in others) else {}


def _about(
    like: Source, sources: Sequence[Source], kind: str, base: Source | None, options: dict[str, Any], specs: Flat
) -> dict[str, Any]:
    """Returns the entries of the manifest other than the leaves."""
    donors = sources if base else sources[1:]
    chosen = ", ".join(f"{name} {value}" for name, value in options.items() if name != "key")
    words = f"the {kind} merge of {', '.join(source.name for source in sources)}" + (
        f" over {base.name}" if base else ""
    ) + (f" ({chosen})" if chosen else "")  # fmt: skip
    licences = dict.fromkeys(source.manifest.get("licence") for source in (like, *donors))
    shares: dict[str, Any] = {network_of(path.partition("/")[0]): {} for path in specs}
    histories = [history_of(source.manifest) for source in donors]
    names = [source.name for source in donors]
    sizes = [int(np.prod(x.shape, dtype=np.int64)) for path, x in specs.items() if path.split("/")[1] == "params"]
    return {
        "net": like.manifest["net"],
        **task_of(like, donors),
        **(
            names_of(like.manifest)
            if all(names_of(donor.manifest) == names_of(like.manifest) for donor in donors)
            else {}
        ),
        "licence": "; ".join(licence for licence in licences if licence) or None,
        "parameters": sum(sizes),
        "history": list(fused_history(history_of(like.manifest), names, histories, shares, words)),
    }
