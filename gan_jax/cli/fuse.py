"""`gan-jax fuse`: fuses several pretrained pairs into one, for new data."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import parse_run, peek, run_folder
from gan_jax.cli.choosing import data_spec, pairs_named, parse_or_choose, with_stages, without
from gan_jax.cli.train import exit_code, shown_run
from gan_jax.cli.transfer import plan_of, plan_text
from gan_jax.config import (
    METHOD_NAMES,
    Config,
    ConfigError,
    GradientFusionConfig,
    MethodName,
    NetName,
    TaskName,
    kind_of,
)


@dataclasses.dataclass(frozen=True)
class Fuse:
    """Fuse several pretrained pairs into one, for new data.

    The first donor is the target's start. The others are transplanted into its shape and aligned with its channel order
    and scales (printed), mixed with it by the method, and baked into plain weights, which are fine-tuned on --target. The
    learned mixing weights are in prepared.json of the run, and in pictures: by block and donor in fusion.png, over the
    stage in shares.png (of two translators fusion_g_ab.png and so on), and for a G that attends to donors' features by
    position in attention.png.

    METHOD is gradient_fusion (mixing weights learned by the target's gradient), attention_fusion, feature_fusion, merge
    (--transfer.merge uniform, ties, fisher, ...), or another transfer method that takes donors. An unambiguous start of a
    name is enough: gradient.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # images (folder:PHOTOS), pairs:A,B for donors that translate, experiment, config.json or run folder; left out = the
    # defaults below
    start: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    donors: tuple[str, ...] = ()  # weights folders, runs or embedded pairs, the target's start first; () = FILE's
    target: str | None = None  # new data, as --data.source; None = FILE's
    out: Path | None = None  # run folder; None = that of FILE if it is a run's, else one under runs/
    net: NetName | None = None  # kind of the new networks; None = FILE's
    method: MethodName | None = None  # None = FILE's, gradient_fusion without FILE
    task: TaskName | None = None  # what is made: images from latents, or from other images; None = FILE's
    plan: Literal["summary", "full"] = "summary"  # how much of the plan to print

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax fuse --method merge --transfer.donors embedded:fashion16 runs/other --out runs/fused",
        "gan-jax fuse --method gradient_fusion --transfer.donors runs/a runs/b --data.source folder:photos",
        "gan-jax fuse pairs:sketches,photos --donors runs/a runs/b --method attention",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    positional = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    if len(positional) > 1:
        raise ConfigError(
            f"the pairs to fuse have an option: gan-jax fuse --donors {' '.join(positional)} --target DATA"
        )
    words = full_names(argv)
    base = Config(transfer=GradientFusionConfig())
    target = peek(words, "--target")
    if not positional and target is not None and pairs_named(words, target):
        words = [target, *without(words, "--target")]  # which chooses task and networks
    if words and (data_spec(words[0]) or pairs_named(words, words[0])):
        args, lines = parse_or_choose(Fuse, words, verb="fuse", base=base)
    else:
        args, lines = parse_run(Fuse, words, verb="fuse", base=base), ()
    config, shortened = with_stages(with_donors(args.config, args.donors, args.target), words, args.start)
    config, lines = config.validate(), (*lines, *shortened)
    folder = run_folder(args.out, args.start, config)
    plan = plan_of(config)
    if args.plan == "full":
        print(plan, flush=True)
    else:
        lines = (*lines, plan_text(plan, args.plan))
    result = shown_run(config, folder, notes=lines)
    if not result.stopped:
        print("\n".join(show(folder, result.prepared.get("fusion"))))
    return exit_code(result)


def with_donors(config: Config, donors: Sequence[str], target: str | None) -> Config:
    """Sets the pairs and the data of a configuration.

    Raises:
      ConfigError: a method that takes no donors, or fewer than two pairs.
    """
    transfer: Any = config.transfer
    if not hasattr(transfer, "donors"):
        takes = ", ".join(name for name, cls in METHOD_NAMES.items() if hasattr(cls(), "donors"))
        raise ConfigError(f"{kind_of(transfer)} takes no donors; --method is one of {takes}")
    if donors:
        first, *rest = donors
        transfer = dataclasses.replace(transfer, source=first, donors=tuple(rest))
    if not transfer.donors:
        raise ConfigError("a fusion needs two pairs or more: --donors A B, A the start of the target")
    data = config.data if target is None else dataclasses.replace(config.data, source=target)
    return dataclasses.replace(config, transfer=transfer, data=data)


def full_names(argv: Sequence[str]) -> list[str]:
    """Completes the name after --method if only one method begins with it: `gradient` as `gradient_fusion`."""
    out = list(argv)
    for i, word in enumerate(out[:-1]):
        if word == "--method" and out[i + 1] not in METHOD_NAMES:
            names = [name for name in METHOD_NAMES if name.startswith(out[i + 1])]
            out[i + 1] = names[0] if len(names) == 1 else out[i + 1]
    return out


def show(folder: Path, fusion: Any) -> list[str]:
    """Writes pictures of the stage's measurements into a folder; returns lines about them, with the files' names."""
    from gan_jax.report.curves import write_curves
    from gan_jax.report.fusion import (
        alignment_lines,
        fused_generators,
        mixing_chart,
        mixing_table,
        write_attention_maps,
        write_heat_map,
    )
    from gan_jax.report.table import markdown_table

    if not isinstance(fusion, dict):
        return []
    lines = list(alignment_lines(fusion))
    for name in fused_generators(fusion):
        of = "" if name == "g" else f"_{name}"
        if any(fusion["shares"][name].values()):
            picture = write_heat_map(folder / f"fusion{of}.png", fusion, name)
            lines += ["", markdown_table(mixing_table(fusion, name)), f"heat map: {picture}"]
        if "learned" in fusion:
            write_curves(folder / f"shares{of}.png", mixing_chart(fusion, name))
            lines.append(f"shares over the stage: {folder / f'shares{of}.png'}")
    if fusion.get("maps"):
        write_attention_maps(folder / "attention.png", fusion)
        lines.append(f"attention by position: {folder / 'attention.png'}")
    return lines
