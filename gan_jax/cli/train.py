"""`gan-jax train`: a run from a file and options, or the rest of one that was stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import config_file, parse_run, peek, run_folder
from gan_jax.cli.choosing import parse_or_choose, with_colour, with_stages
from gan_jax.config import Config, ConfigError, MethodName, NetName
from gan_jax.files import typed
from gan_jax.presets import PRESETS, preset

if TYPE_CHECKING:
    from gan_jax.transfer.run import RunResult


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
    full disk, a damaged checkpoint); 75 stopped by SIGTERM and 130 by Ctrl-C after saving, the same command goes on from
    there. Before the first step either ends at once and leaves nothing behind but what a method's stages made, once over.

    Of a run that is there, logging (--log), checkpoints, evaluations, diagnoses and --train.devices may be changed, and it
    may be made longer (--train.kimg). For everything else --fork NEW begins a new run at its newest checkpoint.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # images (folder:PHOTOS), experiment, config.json or run folder; left out = the defaults below
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
    # begin a new run in this folder at the newest checkpoint of the run FILE, or at --at, with whatever options
    fork: Annotated[Path | None, arg(metavar="NEW")] = None
    distributed: bool = False  # this process is one of several that train one run

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax train experiments/pretrain_fashion/config.py --optim.lr 1e-3 --out runs/fast",
        "gan-jax train runs/fast",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    name = peek(argv, "--preset")
    if name is None:
        args, lines = parse_or_choose(Train, argv, verb="train", base=Config(), fresh=True)
    else:
        args, lines = parse_run(Train, argv, verb="train", base=preset(name)), ()
    if args.preset is not None and args.start is not None:
        raise ConfigError(f"{args.start} and --preset {args.preset} are two configurations; name one of them")
    if args.distributed:
        from gan_jax.train.processes import join

        join()
    out = args.out or (None if args.preset is None else Path("runs") / args.preset)
    if args.fork is not None:
        check_fork(args)
        folder, origin = args.fork, run_folder(None, args.start, args.config)
    else:
        folder, origin = run_folder(out, args.start, args.config), None
    config = args.config
    if name is None and not lines:
        config, lines = with_colour(config, argv)
    config, shortened = with_stages(config, argv, args.start)
    lines = (*lines, *shortened)
    return start_run(config.validate(), folder, args.at, args.fallback, args.against, fork=origin, notes=lines)


def check_fork(args: Train) -> None:
    """Whether it is said what to fork, and where to.

    Raises:
      ConfigError: it is not.
    """
    if args.start is None or config_file(args.start).suffix != ".json":
        raise ConfigError("--fork NEW begins at a run's checkpoint; name that run first: gan-jax train RUN --fork NEW")
    if args.out is not None:
        raise ConfigError(f"--out {args.out} and --fork {args.fork} are two folders for one run; name one of them")


def start_run(config: Config, folder: Path, *rest: Any, **options: Any) -> int:
    """Trains or resumes in a folder, shown on this terminal, as `shown_run` does; returns the exit code."""
    return exit_code(shown_run(config, folder, *rest, **options))


def shown_run(
    config: Config,
    folder: Path,
    at: int | None = None,
    fallback: bool = False,
    against: Path | None = None,
    *,
    fork: Path | None = None,
    notes: Sequence[str] = (),
) -> RunResult:
    """Trains or resumes in a folder, shown on this terminal, and says how to go on.

    Args:
      config: of the run.
      folder: of the run.
      at, fallback, against, fork: as `transfer.run.run` takes them.
      notes: lines about the choice of this configuration: shown first, and kept in the run's `notes.jsonl`.
    """
    from gan_jax.transfer.run import run

    print(f"run folder: {folder}", flush=True)
    given = {"against": against, "fork": fork, "notes": tuple(notes)}
    options: dict[str, Any] = {"at": at, "fallback": fallback} | {k: v for k, v in given.items() if v}
    result = run(config, folder, **options)
    if result.stopped:
        print(f"stopped and saved; the same command goes on: gan-jax train {typed(folder)}")
    else:
        print(f"done: gan-jax sample {typed(folder)}")
    return result


def exit_code(result: RunResult) -> int:
    """0 of a run that finished; else that of the signal which stopped it."""
    return 0 if not result.stopped else 130 if result.stopped_by == "Ctrl-C" else 75
