"""The start of a run: fresh variables, the plan of what replaces them, and the transplant itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import jax

from gan_jax.config import Config, ConfigError, NetConfig, ScratchConfig, net_from_dict
from gan_jax.interop.weights import load_manifest, load_weights, manifest_specs
from gan_jax.nets import Pair, build
from gan_jax.surgery import Difference, Plan, make_plan, measure_pair, pair_rules, transplant
from gan_jax.tasks.model import WEIGHTS, save
from gan_jax.tasks.task import Variables
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import make_method
from gan_jax.trees import count, flatten, match

G_KEY, D_KEY, RUN_KEY = 0, 1, 2  # what the seed's key is folded with


@dataclasses.dataclass(frozen=True)
class Start:
    """Variables before training, and how they came to be."""

    g: Variables
    d: Variables
    plan: Plan | None = None
    differences: dict[str, Difference] | None = None  # of the function, measured on probes


def fresh_variables(pair: Pair, seed: int) -> dict[str, Variables]:
    """`{"g": variables, "d": variables}` of a seed."""
    key = jax.random.key(seed)
    init = lambda net, i: jax.jit(net.init)(jax.random.fold_in(key, i))
    return {"g": init(pair.g, G_KEY), "d": init(pair.d, D_KEY)}


def source_folder(source: str) -> str:
    """Where the weights of a source are: itself, or the folder in a run."""
    run = not source.startswith("embedded:") and (Path(source) / "config.json").is_file()
    return str(Path(source) / WEIGHTS) if run else source


def plan_transfer(config: Config) -> Plan:
    """Where every leaf of the new networks comes from, by shapes alone: no weights are read, no array is made."""
    transfer = config.transfer
    if isinstance(transfer, ScratchConfig):
        raise ConfigError("the method is scratch, which transfers nothing: there is no plan; use finetune")
    pair = build(config.net)
    return _plan(transfer, pair, make_method(transfer, pair), load_manifest(source_folder(transfer.source)))


def _plan(transfer: Any, pair: Pair, method: Method, manifest: dict[str, Any]) -> Plan:
    target = {name: {"g": pair.g, "d": pair.d}[name].specs() for name in method.starts}
    return plan_weights(
        pair.config, target, manifest, missing=transfer.missing, unused=transfer.unused, shape=transfer.shape,
        frozen=tuple(pattern for pattern in method.frozen if any(match(pattern, path) for path in flatten(target))),
    )  # fmt: skip


def plan_weights(
    net: NetConfig,
    target: dict[str, Any],
    manifest: dict[str, Any],
    *,
    missing: Literal["error", "init"],
    unused: Literal["error", "drop"],
    shape: Literal["error", "adapt"],
    frozen: tuple[str, ...] = (),
) -> Plan:
    """The plan from a weights file's manifest to the specs of `{"g": .., "d": ..}`, either or both.

    G comes from the file's moving average; networks of the file that nothing is taken from are no business of the plan.
    """
    wanted = {"g": "g_ema", "d": "d"}
    source = {k: v for k, v in manifest_specs(manifest).items() if k in [wanted[name] for name in target]}
    old = net_from_dict(manifest["net"])
    rules = pair_rules(net, old, target, source, roots={k: wanted[k] for k in target})
    return make_plan(target, source, rules, missing=missing, unused=unused, shape=shape, frozen=frozen)


def make_start(config: Config, pair: Pair, method: Method) -> Start:
    """Fresh variables, with what the method takes from the source in their place."""
    fresh = fresh_variables(pair, config.train.seed)
    transfer = config.transfer
    if isinstance(transfer, ScratchConfig):
        return Start(fresh["g"], fresh["d"])
    folder = source_folder(transfer.source)
    manifest = load_manifest(folder)
    plan = _plan(transfer, pair, method, manifest)
    source, _ = load_weights(folder, only=plan.needed)
    taken, _ = transplant(plan, source, {name: fresh[name] for name in method.starts})
    filled = fresh | taken
    if len(method.starts) < 2:
        return Start(filled["g"], filled["d"], plan)
    old = {"g": source["g_ema"], "d": source["d"]}
    measured = measure_pair(build(net_from_dict(manifest["net"])), old, pair, filled, jax.random.key(0))
    return Start(filled["g"], filled["d"], plan, measured)


def transplant_weights(
    source: str,
    net: NetConfig,
    out: str | Path,
    *,
    missing: Literal["error", "init"] = "init",
    unused: Literal["error", "drop"] = "error",
    shape: Literal["error", "adapt"] = "adapt",
    seed: int = 0,
) -> Plan:
    """Moves a weights file into another architecture and writes the result, with the plan in its manifest."""
    folder = source_folder(source)
    manifest = load_manifest(folder)
    pair = build(net)
    fresh = fresh_variables(pair, seed)
    roots = tuple(name for name, root in (("g", "g_ema"), ("d", "d")) if root in manifest_specs(manifest))
    target = {name: fresh[name] for name in roots}
    plan = plan_weights(net, target, manifest, missing=missing, unused=unused, shape=shape)
    filled, report = transplant(plan, load_weights(folder, only=plan.needed)[0], target)
    names = {"g": "g_ema", "d": "d"}
    about = {
        "plan": json.loads(plan.to_json()),
        "report": report.to_dict(),
        "source": source,
        "licence": manifest.get("licence"),
        "parameters": count({k: v["params"] for k, v in filled.items()}),
    }
    save(out, net, {names[k]: v for k, v in filled.items()}, about)
    return plan
