"""`gan-jax train`: a run from a file and options, or the rest of one that was stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import NetName, parse_run, peek, run_folder
from gan_jax.config import Config, ConfigError, MethodName
from gan_jax.presets import PRESETS, preset


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a GAN into a run folder, or go on with the run that is there.

    --preset NAME starts from a paper's configuration: networks, loss, optimiser, augmentation, averages, batch, length.

    FILE is an experiment (a Python file with config()), a config.json that a run wrote, or a run folder; it gives
    the defaults that --help shows and that options override. In a folder whose run has the same configuration the
    run goes on, to the bit as if it had never stopped; with another one it is refused and the difference printed.

    A run of several processes, on one machine or many that share the run folder: start the same command with
    --distributed in each, with JAX_COORDINATOR_ADDRESS=HOST:PORT (of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID
    in its environment; under SLURM, Open MPI, Kubernetes or on a TPU pod these are found by themselves.

    Exit codes: 0 done; 2 cannot run as asked; 3 stopped on a problem that it found (values that are not finite, a
    full disk, a damaged checkpoint); 75 stopped by SIGTERM after saving, the same command goes on from there.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # experiment, config.json or run folder; left out = the defaults below
    start: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    out: Path | None = None  # run folder; None = that of FILE if it is a run's, else one under runs/
    # a paper's configuration in place of FILE
    preset: Annotated[str | None, arg(metavar="NAME", help=f"one of {', '.join(PRESETS)}")] = None
    # kind of networks; None = FILE's
    net: NetName | None = None
    method: MethodName | None = None  # transfer method; None = FILE's
    at: int | None = None  # go on from the checkpoint of so many images, newer ones are moved aside; None = the newest
    fallback: bool = False  # where the newest checkpoint is damaged, go on from one before it
    against: Path | None = (
        None  # folder of another run, usually from scratch: warns where this one is worse; None = none
    )
    distributed: bool = False  # this process is one of several that train one run


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    name = peek(argv, "--preset")
    args = parse_run(Train, argv, verb="train", base=Config() if name is None else preset(name))
    if args.preset is not None and args.start is not None:
        raise ConfigError(f"{args.start} and --preset {args.preset} are two configurations; name one of them")
    if args.distributed:
        from gan_jax.train.processes import join

        join()
    out = args.out or (None if args.preset is None else Path("runs") / args.preset)
    return start_run(
        args.config.validate(), run_folder(out, args.start, args.config), args.at, args.fallback, args.against
    )


def start_run(
    config: Config, folder: Path, at: int | None = None, fallback: bool = False, against: Path | None = None
) -> int:
    """Trains or resumes in a folder, shown on this terminal; returns the exit code."""
    from gan_jax.cli.watch import make_callbacks
    from gan_jax.transfer.run import run

    print(f"run folder: {folder}")
    options: dict[str, Any] = {"at": at, "fallback": fallback} | ({} if against is None else {"against": against})
    result: Any = run(config, folder, callbacks=make_callbacks(config, folder), **options)
    if getattr(result, "stopped", False):
        print(f"stopped and saved; the same command goes on: gan-jax train {folder}")
        return 75
    print(f"done: gan-jax sample {folder}")
    return 0
