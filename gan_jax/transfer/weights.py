"""Pretrained weights into other networks, leaf by leaf: plan, fill, measure, record.

Three lines from the embedded pair to a wider one that makes the same images, and to what became of its leaves:

    >>> import gan_jax
    >>> from gan_jax.config import ResNetConfig

    >>> made = gan_jax.transplant_weights("embedded:fashion16", ResNetConfig(resolution=16, channel_max=26), "wide")
    >>> print(gan_jax.provenance("wide", "g_ema/params/to_rgb/bias"))
    history, oldest first:
      1  ...  trained from fresh values: 1,200,128 images of tfds:fashion_mnist:train, classes [0, 1, 2, 3, 5, 6, 7, 8]
           by gan_jax ..., jax ..., flax ...
      2  ...  transplanted from embedded:fashion16 (manifest ...)
           G: function preserved: largest difference ... of 1.0e+00 on 8 probes
           D: function preserved: largest difference ... of 1.2e+00 on 16 probes
           by gan_jax ..., jax ..., flax ...
    <BLANKLINE>
    g_ema/params/to_rgb/bias
      2  copy <- g_ema/params/to_rgb/bias @...
      1  trained from fresh values as g/params/to_rgb/bias, of which this is the moving average
    >>> print(gan_jax.diff("embedded:fashion16", "wide", "g_ema/params/to_rgb/*"))
    leaf                        is                         A                  B                  max |a-b|  / max |a|
    --------------------------  -------------------------  -----------------  -----------------  ---------  ---------
    g_ema/params/to_rgb/kernel  of another shape or dtype  float32[1,1,24,1]  float32[1,1,26,1]
    2 leaves: 1 of another shape or dtype, 1 equal

`print(made.plan)` is the plan, `made.measured` how far the function moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from gan_jax.config import NetConfig
from gan_jax.interop import WeightsError
from gan_jax.interop.source import Source
from gan_jax.nets import Pair, build
from gan_jax.nets.fronts import with_front
from gan_jax.surgery import (
    Difference,
    Move,
    Plan,
    PlanError,
    Report,
    make_plan,
    measure_pair,
    pair_notes,
    pair_rules,
    transplant,
)
from gan_jax.surgery.families.notes import with_notes
from gan_jax.surgery.ops.width import Narrow, Width
from gan_jax.surgery.provenance import Step, history_of, transplant_step
from gan_jax.surgery.transplant import reads_fresh
from gan_jax.tasks.model import names_of, save
from gan_jax.train.checkpoint import CheckpointError
from gan_jax.transfer.fresh import NETWORKS, fresh_leaves
from gan_jax.transfer.source import open_source
from gan_jax.trees import Rule, count, flatten, match, unflatten

LACKING = {  # root of a source that is not there -> what to do
    "d": "discriminator; take the generator alone, beside a fresh D that trains by itself at first: "
    "--transfer.networks g --transfer.d-warmup-kimg 1",
    "g_ema": "generator (g_ema); take the discriminator alone: --transfer.networks d",
}
ORIGINS = {"g": "g_ema", "g_ema": "g_ema", "d": "d"}  # root to fill -> root of the source that it comes from


@dataclasses.dataclass(frozen=True)
class Filled:
    """Variables taken from a source, and the record of that.

    Attributes:
      variables: `{"g_ema": .., "d": ..}`, or whichever roots the plan fills.
      plan: that was carried out.
      report: what happened to each leaf.
      measured: how far the function of `g` and `d` is from the source's, on probes; text = why it was not measured.
      history: of the source, and this step.
    """

    variables: dict[str, Any]
    plan: Plan
    report: Report
    measured: dict[str, Difference] | str
    history: list[Step]


def plan_weights(
    source: Source,
    net: NetConfig,
    target: dict[str, Any],
    *,
    missing: Literal["error", "init"],
    unused: Literal["error", "drop"],
    shape: str,
    frozen: Sequence[str] = (),
    fresh: Sequence[str] = (),
    width: Width = "silent",
    d_width: Width | None = None,
    narrow: Narrow = "leading",
    classes: Sequence[int] | None = None,
    dtype: Literal["error", "cast"] = "cast",
) -> Plan:
    """The plan from a source to the specs of `{"g" or "g_ema": .., "d": ..}`, either or both; reads no weights.

    G comes from the source's moving average; networks that nothing is taken from are no business of the plan, and leaves
    that `fresh` covers take nothing from it, nor does the source have to be used there. `width`, `narrow` and `classes`
    are those of `surgery.pair_rules`, `d_width` the width of D where it is another. Floats of another width are cast, which
    is a note of the plan, unless `dtype` is "error".

    Raises:
      PlanError: a network that the source lacks; what cannot be taken, leaf by leaf; a front before the source's G where
        all has to find a place.
    """
    source.check(whole=False)
    origins = {root: ORIGINS[root] for root in target}
    if lacking := [origin for origin in origins.values() if origin not in source.specs]:
        raise PlanError(f"{source.name} holds no {LACKING[lacking[0]]}")
    if "front" in source.manifest and "g_ema" in origins.values() and unused == "error":
        raise PlanError(
            f"{source.name} carries a {source.manifest['front']['kind']} before its G, which is no part of G's own leaves "
            "and has no place in other networks: without it G makes images of its whole latent space again. "
            "To take G alone, allow that: unused='drop'"
        )
    specs = {root: tree for root, tree in source.specs.items() if root in origins.values()}
    widths: dict[str, Width] = {root: d_width if root == "d" and d_width else width for root in target}
    rules = pair_rules(
        net, source.net, target, specs, roots=origins, width=widths, narrow=narrow, classes=classes,
        first=[Rule(pattern, Move("init")) for pattern in fresh],
    )  # fmt: skip
    notes = pair_notes(net, source.net)
    if fresh:
        specs = {origin: _without(specs[origin], root, fresh) for root, origin in origins.items()}
    casts = floats_to_cast(specs, target) if dtype == "cast" else None
    plan = make_plan(
        target, specs, rules, missing=missing, unused=unused, shape=shape, frozen=frozen, notes=notes,
        dtype="cast" if casts else "error",
    )  # fmt: skip
    plan = plan if notes else with_notes(plan)
    return plan if casts is None else dataclasses.replace(plan, notes=(*plan.notes, casts))


def floats_to_cast(source: dict[str, Any], target: dict[str, Any]) -> str | None:
    """A sentence about leaves of a source whose floats are of another width than the target's; None where none are."""
    is_float = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
    wanted = {str(leaf.dtype) for leaf in flatten(target).values() if is_float(leaf)}
    other = [str(leaf.dtype) for leaf in flatten(source).values() if is_float(leaf) and str(leaf.dtype) not in wanted]
    if not other:
        return None
    kinds = " and ".join(dict.fromkeys(other))
    return f"{len(other)} leaves of the source are {kinds}, and are cast to {' and '.join(sorted(wanted))}"


def _without(tree: dict[str, Any], root: str, patterns: Sequence[str]) -> dict[str, Any]:
    """The leaves of a network that no pattern covers, which speak of it as `root`."""
    covered = lambda path: any(match(pattern, f"{root}/{path}") for pattern in patterns)
    return unflatten({path: leaf for path, leaf in flatten(tree).items() if not covered(path)})


def fill(source: Source, plan: Plan, pair: Pair, target: dict[str, Any], *, seed: int, probes: int = 8) -> Filled:
    """Carries a plan out, one leaf in memory at a time beside the result, and measures what became of the function.

    Args:
      source: read as far as the plan needs it, and whole networks of it to measure.
      plan: of `plan_weights`.
      pair: the networks to fill.
      target: specs, as the plan was made for; a leaf with a sharding is placed there, others stay on the host.
      seed: of fresh values; only those that the plan reads are made.
      probes: latents to measure with; 0 = do not measure.
    """
    fresh = fresh_leaves(pair, seed, [entry.target for entry in plan.entries if reads_fresh(entry)])
    variables, report = transplant(plan, source.take, target, init=fresh.pop, digests=source.digests)
    found = _measure(source, pair, variables, probes)
    said = {"name": source.name, "digest": source.digest}
    step = transplant_step(plan, report, said, seed=seed, measured=found)
    return Filled(variables, plan, report, found, [*history_of(source.manifest), step])


def measured_lines(measured: dict[str, Difference] | str) -> list[str]:
    """`G: function preserved: largest difference ..`, a line for each network."""
    if isinstance(measured, str):
        return [f"function {measured}"]
    return [f"{name.upper()}: function {difference}" for name, difference in measured.items()]


def transplant_weights(
    source: str,
    net: NetConfig,
    out: str | Path,
    *,
    checkpoint: int | None = None,
    missing: Literal["error", "init"] = "init",
    unused: Literal["error", "drop"] = "error",
    shape: str = "adapt",
    width: Width = "silent",
    d_width: Width | None = None,
    narrow: Narrow = "leading",
    classes: Sequence[int] | None = None,
    seed: int = 0,
    probes: int = 8,
    dtype: Literal["error", "cast"] = "cast",
) -> Filled:
    """Moves weights into another architecture and writes the result, with its history in the manifest.

    Args:
      source: whatever `open_source` opens.
      net: the networks to fill.
      out: folder to write to.
      checkpoint: of a run, the checkpoint of so many images.
      missing: what to do where the source lacks a leaf; init = fresh values.
      unused: what to do with leaves of the source that have no place.
      shape: what to do with leaves of another shape: "error"; "adapt" = by the leaf's role; or the names of the
        operations that may do it, "slice,widen".
      width: how groups of channels grow, see `surgery.pair_rules`.
      d_width: the same for D; None = `width`.
      narrow: how they shrink.
      classes: the source class that each class starts from.
      seed: of fresh values.
      probes: latents to measure the function with; 0 = do not measure.
      dtype: what to do with leaves of floats of another width: "cast", or "error".
    """
    opened = open_source(source, checkpoint)
    pair = build(net)
    specs = {"g_ema": pair.g.specs, "d": pair.d.specs}
    target = {root: make() for root, make in specs.items() if root in opened.specs}
    plan = plan_weights(
        opened, net, target, missing=missing, unused=unused, shape=shape,
        width=width, d_width=d_width, narrow=narrow, classes=classes, dtype=dtype,
    )  # fmt: skip
    filled = fill(opened, plan, pair, target, seed=seed, probes=probes)
    about = {
        "licence": opened.manifest.get("licence"),
        "parameters": count({root: tree["params"] for root, tree in filled.variables.items()}),
        "history": filled.history,
    }
    if classes is None and net.num_classes == opened.manifest.get("net", {}).get("num_classes", 0):
        about |= names_of(opened.manifest)
    save(out, net, filled.variables, about)
    return filled


def _measure(source: Source, pair: Pair, variables: dict[str, Any], probes: int) -> dict[str, Difference] | str:
    if not probes:
        return "not measured: no probes were asked for"
    new = {NETWORKS[root]: tree for root, tree in variables.items()}
    try:  # whole networks, also what the plan does not take
        wanted = {NETWORKS[root]: ORIGINS[root] for root in variables}
        paths = {name: [p for p in flatten(source.specs) if p.startswith(f"{root}/")] for name, root in wanted.items()}
        old = {name: source.load(paths[name])[root] for name, root in wanted.items()}
    except (WeightsError, CheckpointError) as error:
        return f"not measured: {error}"
    before = with_front(build(source.net), source.manifest.get("front"))
    return measure_pair(before, old, pair, new, jax.random.key(0), probes)
