"""`gan-jax transfer`: prints the plan, then trains from a pretrained pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import run_folder
from gan_jax.cli.choosing import parse_or_choose, with_stages
from gan_jax.cli.train import start_run
from gan_jax.config import Config, ConfigError, FinetuneConfig, MethodName, NetName, ScratchConfig, TaskName


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Start from a pretrained pair and adapt it to new data.

    FILE is a folder, zip or npz of images (folder:PHOTOS), or an experiment or a run as for `gan-jax train`, whose help
    says when a run continues and explains the exit codes.

    With images, options left out are chosen, and a line says so: the source among the pairs on this machine (by recall;
    --transfer.source NAME for another, none for fresh weights), networks, channels, size, method, length, features. With an
    experiment or a run nothing is chosen. The plan (the origin of every leaf) is printed before training.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # images, experiment, config.json or run folder; left out = the defaults below
    start: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    out: Path | None = None  # run folder; None = that of FILE if it is a run's, else one under runs/
    net: NetName | None = None  # kind of the new networks; None = FILE's, or the source's
    method: MethodName | None = None  # transfer method; None = FILE's, chosen for images, finetune without FILE
    task: TaskName | None = None  # what is made: images from latents, or from other images; None = FILE's
    plan: Literal["summary", "full"] = "summary"  # how much of the plan to print
    against: Path | None = None  # folder of a run from scratch: warns if this one is worse; None = none

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax transfer folder:photos --out run",
        "gan-jax transfer --method freeze_d --transfer.blocks 2 --data.classes 9 --data.shots 100",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args, lines = parse_or_choose(Transfer, argv, verb="transfer", base=Config(transfer=FinetuneConfig()))
    config = args.config if lines else check_transfers(args.config, verb="transfer")
    config, shortened = with_stages(config, argv, args.start)
    config, lines = config.validate(), (*lines, *shortened)
    plan = None if isinstance(config.transfer, ScratchConfig) else plan_of(config)
    if plan is not None and args.plan == "full":
        print(plan, flush=True)
    elif plan is not None:
        lines = (*lines, plan_text(plan, args.plan))
    return start_run(config, run_folder(args.out, args.start, config), against=args.against, notes=lines)


def plan_text(plan: Any, how: str) -> str:
    """Formats a plan as a summary with a hint at the table, or as the table."""
    return f"plan: {plan.summary}\n(the whole table: --plan full)" if how == "summary" else str(plan)


def plan_of(config: Config) -> Any:
    """Makes the plan of a transfer; its `str` is the table."""
    from gan_jax.train.compile import use_all_cores
    from gan_jax.transfer.run import plan_transfer

    use_all_cores()  # before JAX starts, which even shape inference triggers
    return plan_transfer(config)


def check_transfers(config: Config, *, verb: str) -> Config:
    """Returns the configuration; raises ConfigError if its method is scratch, which transfers nothing."""
    if isinstance(config.transfer, ScratchConfig):
        raise ConfigError(f"the method is scratch, which transfers nothing; gan-jax {verb} FILE --method finetune")
    return config
