"""`gan-jax transfer`: the plan, then training from a pretrained pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import NetName, parse_run, run_folder
from gan_jax.cli.train import start_run
from gan_jax.config import Config, ConfigError, FinetuneConfig, MethodName, ScratchConfig


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Start from a pretrained pair and adapt it to new data.

    Prints the plan (where every leaf of the new networks comes from), then trains as `gan-jax train` does, whose
    help says what FILE is, when a run goes on and what the exit codes mean. The pair comes from --transfer.source,
    the new data from --data.source, --data.classes and --data.shots.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # experiment, config.json or run folder; left out = the defaults below
    start: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    out: Path | None = None  # run folder; None = that of FILE if it is a run's, else one under runs/
    net: NetName | None = None  # kind of the new networks; None = FILE's
    method: MethodName | None = None  # transfer method; None = FILE's, finetune without FILE
    against: Path | None = None  # folder of a run from scratch: warns where this one is worse; None = none


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse_run(Transfer, argv, verb="transfer", base=Config(transfer=FinetuneConfig()))
    config = check_transfers(args.config, verb="transfer").validate()
    print(plan_of(config))
    return start_run(config, run_folder(args.out, args.start, config), against=args.against)


def plan_of(config: Config) -> Any:
    """The plan of a transfer; `str` of it is its table."""
    from gan_jax.train.compile import use_all_cores
    from gan_jax.transfer.run import plan_transfer

    use_all_cores()  # before JAX starts, which even shapes make it do
    return plan_transfer(config)


def check_transfers(config: Config, *, verb: str) -> Config:
    """Returns a configuration that transfers something, or raises ConfigError."""
    if isinstance(config.transfer, ScratchConfig):
        raise ConfigError(f"the method is scratch, which transfers nothing; gan-jax {verb} FILE --method finetune")
    return config
