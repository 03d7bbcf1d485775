"""`gan-jax demo`: transplant, adaptation and evaluation on data of the package, with a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from gan_jax.cli.arguments import parse
from gan_jax.cli.transfer import plan_of
from gan_jax.transfer.recipes import Target


@dataclasses.dataclass(frozen=True)
class Demo:
    """Transplant a pair pretrained on clothing into another architecture, adapt it to 100 images, measure, report.

    Takes some minutes on two CPU cores and needs no files but the package. Prints a table, and writes grids, numbers and one
    self-contained page to the folder.
    """

    # what to adapt to: ankle boots, coats (classes that the pair never saw), or emoji in colour (far from them)
    target: Target = "boot"
    out: Path = Path("demo")  # folder for runs, pictures and report.html
    seed: int = 0  # seed of weights, latents and the choice of the 100 images
    kimg: float = 8.192  # real images in each run, thousands

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax demo --target emoji",
        "gan-jax demo --target boot --kimg 2 --out quick",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    import json

    args = parse(Demo, argv, verb="demo")
    from gan_jax.report import comparison
    from gan_jax.report.grids import write_png
    from gan_jax.report.html import write_report
    from gan_jax.report.table import print_table
    from gan_jax.report.watch import make_callbacks
    from gan_jax.transfer.recipes import few_shot
    from gan_jax.transfer.run import run

    configs = {
        name: few_shot(args.target, transfer=name == "adapted", seed=args.seed, kimg=args.kimg) for name in NAMES
    }
    print(plan_of(configs["adapted"]))
    results = {}
    for name, config in configs.items():
        folder = args.out / name
        print(f"\n{name}: {config.train.kimg:g} thousand images into {folder}")
        results[name] = run(config, folder, make_callbacks(config, folder, name))
        if results[name].stopped:
            return 130 if results[name].stopped_by == "Ctrl-C" else 75
    compared = comparison.compare(results["adapted"], results["scratch"], args.target)
    report = comparison.make_report(compared, command=f"gan-jax demo --target {args.target} --seed {args.seed}")
    print()
    print_table(report.results, "Results")
    write_png(args.out / "grid.png", comparison.picture(report))
    numbers = json.dumps(comparison.to_json(compared), indent=1)
    (args.out / "results.json").write_text(numbers + "\n", encoding="utf-8")
    page = write_report(args.out / "report.html", report)
    print(f"\n{compared.protocol.describe()[0]}\npictures: {args.out / 'grid.png'}\nreport:   {page}")
    return 0


NAMES = ("adapted", "scratch")
