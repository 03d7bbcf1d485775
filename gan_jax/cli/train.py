"""`gan-jax train`: trains from a file and options, or continues a stopped run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import config_file, parse_run, peek, run_folder
from gan_jax.cli.choosing import parse_or_choose, with_colour, with_stages
from gan_jax.config import Config, ConfigError, MethodName, NetConfig, NetName, TaskName
from gan_jax.files import typed
from gan_jax.presets import PRESETS, preset

if TYPE_CHECKING:
    from gan_jax.transfer.run import RunResult


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a GAN into a run folder, or continue the run in it.

    --preset NAME starts from a paper's configuration: networks, loss, optimiser, augmentation, averages, batch, length.

    FILE is an experiment (a Python file with config()), a config.json that a run wrote, or a run folder; it gives
    the defaults that --help shows and that options override. In a folder whose run has the same configuration, the run
    continues bit-exactly; with another configuration the command fails and prints the difference.

    A run of several processes, on one machine or many that share the run folder: start the same command with
    --distributed in each, with JAX_COORDINATOR_ADDRESS=HOST:PORT (of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID
    in its environment; SLURM, Open MPI, Kubernetes and TPU pods need no such variables.

    Exit codes: 0 done; 2 cannot run as asked; 3 stopped on a problem during the run (values that are not finite, a full
    disk, a damaged checkpoint); 75 stopped by SIGTERM and 130 by Ctrl-C after saving; the same command continues. Before
    the first step both signals end the command at once; only results of finished stages of the method remain.

    In an existing run, logging (--log), checkpoints, evaluations, diagnoses and --train.devices may be changed, and it may
    be made longer (--train.kimg). For all other changes, --fork NEW starts a new run from its newest checkpoint.
    """

    config: Annotated[AvoidSubcommands[Config], arg(name="")]
    # images (folder:PHOTOS), experiment, config.json or run folder; left out = the defaults below
    start: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    out: Path | None = None  # run folder; None = that of FILE if it is a run's, else one under runs/
    # a paper's configuration in place of FILE
    preset: Annotated[str | None, arg(metavar="NAME", help=f"one of {', '.join(PRESETS)}")] = None
    net: NetName | None = None  # kind of networks; None = FILE's
    method: MethodName | None = None  # transfer method; None = FILE's
    task: TaskName | None = None  # what is made: images from latents, or from other images; None = FILE's
    at: int | None = (
        None  # continue from the checkpoint with this number of images, newer ones are moved aside; None = newest
    )
    fallback: bool = False  # if the newest checkpoint is damaged, continue from an earlier one
    # folder of another run, usually from scratch: warns if this one is worse; None = none
    against: Path | None = None
    # start a new run in this folder from the newest checkpoint of the run FILE, or from --at, with any options
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
    """Checks that a fork names its run and its folder.

    Raises:
      ConfigError: one of them is missing or named twice.
    """
    if args.start is None or config_file(args.start).suffix != ".json":
        raise ConfigError("--fork NEW begins at a run's checkpoint; name that run first: gan-jax train RUN --fork NEW")
    if args.out is not None:
        raise ConfigError(f"--out {args.out} and --fork {args.fork} are two folders for one run; name one of them")


def start_run(config: Config, folder: Path, *rest: Any, **options: Any) -> int:
    """Trains or resumes in a folder by `shown_run`; returns the exit code."""
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
    """Trains or resumes in a folder with progress on this terminal, and prints the next command.

    Args:
      config: configuration of the run.
      folder: folder of the run.
      at, fallback, against, fork: as in `transfer.run.run`.
      notes: lines about the choice of this configuration, printed first and written to the run's `notes.jsonl`.
    """
    from gan_jax.transfer.run import run

    print(f"run folder: {folder}", flush=True)
    optional = {"against": against, "fork": fork, "notes": tuple(notes)}
    options: dict[str, Any] = {"at": at, "fallback": fallback} | {k: v for k, v in optional.items() if v}
    result = run(config, folder, **options)
    if result.stopped:
        print(f"stopped and saved; the same command goes on: gan-jax train {typed(folder)}")
    else:
        print(f"done: {next_command(config.net, folder)}")
    return result


def next_command(net: NetConfig, folder: Path) -> str:
    """The command that uses networks in a folder."""
    if net.translates:
        return f"gan-jax translate {typed(folder)} INPUT --out FOLDER"
    return f"gan-jax sample {typed(folder)}"


def exit_code(result: RunResult) -> int:
    """Returns 0 for a finished run; else the exit code of the signal that stopped it."""
    return 0 if not result.stopped else 130 if result.stopped_by == "Ctrl-C" else 75
