"""`gan-jax plan`: shows the origin of every leaf of a transfer, from shapes alone; reads no weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.choosing import parse_or_choose
from gan_jax.cli.transfer import check_transfers, plan_of, plan_text
from gan_jax.config import Config, FinetuneConfig, MethodName, NetName, TaskName
from gan_jax.files import claim_output


@dataclasses.dataclass(frozen=True)
class ShowPlan:
    """Show where every leaf of a transfer would come from, and do nothing.

    Takes the options of `gan-jax transfer`, and makes the same choices. The plan needs shapes alone. It names leaves that are
    missing, unused or of another shape, with the option that would allow them.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # images, experiment, config.json or run folder; left out = the defaults below
    start: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    plan: Literal["summary", "full"] = "full"  # how much of the plan to print
    json: Path | None = None  # also write the plan to this file
    overwrite: bool = False  # replace the file of --json
    net: NetName | None = None  # kind of the new networks; None = FILE's
    method: MethodName | None = None  # transfer method; None = FILE's, finetune without FILE
    task: TaskName | None = None  # what is made: images from latents, or from other images; None = FILE's

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax plan --transfer.source embedded:fashion16 --net.channel-max 32",
        "gan-jax plan run --transfer.shape error",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args, lines = parse_or_choose(ShowPlan, argv, verb="plan", base=Config(transfer=FinetuneConfig()))
    if args.json is not None:
        claim_output(args.json, overwrite=args.overwrite, option="--json")
    plan = plan_of(check_transfers(args.config, verb="plan").validate())
    for line in lines:
        print(line)
    print(plan_text(plan, args.plan))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(plan.to_json(), encoding="utf-8")
        print(f"wrote {args.json}")
    return 0
