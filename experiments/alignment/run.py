"""Eleven small networks, six pairs of them, and the networks between those of each pair, aligned by several methods.

    python experiments/alignment/run.py --out runs/alignment

Finished networks and pairs are not repeated. Writes results.json, table.md and barriers.png to this folder, or to that of
`--results`.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from between import METHODS, Between
from config import CLASSES, Origin, config
from figure import METRICS, make_table, write_figure

from gan_jax.surgery.align import permute, rescale
from gan_jax.surgery.align.apply import scale_sizes, sizes_of
from gan_jax.surgery.families import layouts
from gan_jax.tasks.model import load
from gan_jax.transfer.run import run, versions
from gan_jax.trees import flatten

PAIRS: dict[Origin, tuple[tuple[int, int], ...]] = {  # seeds
    "independent": ((0, 1), (2, 3), (0, 4)),
    "shared": ((0, 1), (2, 3), (4, 5)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/alignment"), help="folder of the nets")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent, help="folder of table and figure")
    parser.add_argument("--source", default="tfds:fashion_mnist:train", help="training images")
    args = parser.parse_args()
    # nets of one kind run the same programs
    jax.config.update("jax_compilation_cache_dir", str(args.out.resolve() / "compiled"))
    cells = [cell(args.out, origin, pair, args.source) for origin, pairs in PAIRS.items() for pair in pairs]
    summary = summarise(cells)
    args.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about(args.out), "summary": summary, "cells": cells}, indent=1)
    (args.results / "results.json").write_text(text + "\n", encoding="utf-8")
    (args.results / "table.md").write_text(make_table(summary), encoding="utf-8")
    write_figure(args.results / "barriers.png", cells)
    print(make_table(summary))


def train(out: Path, origin: Origin, seed: int, source: str) -> Any:
    """A net of this seed: trained, or read from its folder."""
    folder = out / f"{origin}-{seed}"
    if not (folder / "seconds.json").exists():
        began = time.monotonic()
        if run(config(origin, seed, source), folder).stopped:
            raise SystemExit(75)
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - began), encoding="utf-8")
    return load(folder)


@functools.cache
def between(origin: Origin) -> Between:
    """The measurements of networks of one origin, compiled once."""
    return Between(config(origin).net, CLASSES[origin])


def cell(out: Path, origin: Origin, pair: tuple[int, int], source: str) -> dict[str, Any]:
    """The results of one pair; read from its file if it is finished."""
    a, b = (train(out, origin, seed, source) for seed in pair)
    file = out / f"{origin}-{pair[0]}-{pair[1]}.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    began = time.monotonic()
    first, second = a.variables, b.variables
    copy = {}
    if origin == "shared":  # the order that both have from their origin is hidden, and known
        copy = {
            root: disguise(layouts(a.config)[net], second[root], pair[1]) for root, net in (("g_ema", "g"), ("d", "d"))
        }
    result = between(origin).measure(first, copy or second, true=second if copy else None)
    result = {"origin": origin, "seeds": list(pair), "seconds": time.monotonic() - began, **result}
    file.write_text(json.dumps(result), encoding="utf-8")
    print(f"{origin} {pair}: {result['seconds']:.0f} s", flush=True)
    return result


def disguise(layout: Any, variables: Any, seed: int) -> Any:
    """The same function with its channels in a random order and on random scales, between 1/3 and 3."""
    rng = np.random.default_rng(seed)
    flat = flatten(variables)
    orders = {group: rng.permutation(n) for group, n in sizes_of(layout, flat).items()}
    sizes = scale_sizes(layout, flat)
    factors = {name: 3.0 ** rng.uniform(-1, 1, sizes[name]) for name in sorted(sizes) if name in layout.free}
    return rescale(layout, permute(layout, variables, orders), factors)


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Barriers of each kind, method and metric: mean, standard deviation and the values of the pairs."""
    out: dict[str, Any] = {}
    for origin in PAIRS:
        mine = [c for c in cells if c["origin"] == origin]
        for method in METHODS:
            if method not in mine[0]["curves"]:
                continue
            for key in METRICS:
                barriers = [c["barriers"][method][key] for c in mine]
                middle = [c["curves"][method][key][len(c["t"]) // 2] for c in mine]
                ends = [[c["curves"][method][key][i] for i in (0, -1)] for c in mine]
                out[f"{origin} / {method} / {key}"] = {
                    "barrier": float(np.mean(barriers)),
                    "sd": float(np.std(barriers, ddof=1)),
                    "pairs": barriers,
                    "middle": float(np.mean(middle)),
                    "ends": float(np.mean(ends)),
                }
    return out


def about(out: Path) -> dict[str, Any]:
    """Device, versions and the seconds of each training run."""
    devices = jax.devices()
    seconds = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/seconds.json"))}
    device = {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}
    return {"device": device, "versions": versions(), "pairs": PAIRS, "training_seconds": seconds}


if __name__ == "__main__":
    main()
