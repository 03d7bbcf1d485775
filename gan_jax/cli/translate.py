"""`gan-jax translate`: images through a trained translator, file by file."""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError
from gan_jax.files import claim_output, printable


@dataclasses.dataclass(frozen=True)
class Translate:
    """Translate images, folders of images or of video frames, with a run, a checkpoint of one, or a weights folder.

    Each result is a PNG file of its input's name and size; folders keep their structure. Any size is translated: images are
    padded as the network needs, and cut back. A file that cannot be read is named at the end, and the others go on; the exit
    code is then 3. A network that reads label maps takes PNG files of label numbers, grey or with a palette.
    """

    path: Annotated[Positional[str], arg(metavar="PATH")]  # run, checkpoint or weights folder
    inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="INPUT", help_behavior_hint="")]  # files and folders
    out: Path = Path("translated")  # folder of the results
    direction: Literal["ab", "ba"] | None = None  # of two generators (CycleGAN): from domain A to B, or back; None = ab
    batch: int = 8  # images, or tiles, in one call of the network
    # larger images go through in overlapping tiles of this height and width, px; None = every image as a whole
    tile: int | None = None
    # of batch norm: those of each image, or the averages of training; None = as the family's published program
    statistics: Literal["batch", "running"] | None = None
    seed: int | None = None  # turns the dropout of training on, as published for pix2pix; None = off
    instances: Path | None = None  # folder with the instance maps of label maps, under the same names
    targets: Path | None = None  # folder with what the results should be, under the same names: measures each result
    lpips: Literal["vgg16", "alexnet"] | None = None  # with --targets, also LPIPS (gan-jax weights get vgg16)
    page: Path | None = None  # also write an HTML page: inputs, results, targets and metrics
    checkpoint: int | None = None  # checkpoint of a run, by its number of images
    overwrite: bool = False  # replace results that exist

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax translate run photo.jpg frames --out translated",
        "gan-jax translate run test/inputs --targets test/targets --page pairs.html --out results",
    )


UNREADABLE = 3  # exit code where some files could not be read
EVERY_S = 10.0  # seconds between lines of progress where there is no terminal


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Translate, argv, verb="translate")
    inputs = list[Path](args.inputs)
    if not inputs:
        raise ConfigError("name what to translate: gan-jax translate PATH photo.jpg, or a folder")
    for name, value in (("batch", args.batch), ("tile", args.tile)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; use at least 1")
    if args.lpips is not None and args.targets is None:
        raise ConfigError(
            "--lpips compares results with targets; name their folder with --targets, or leave --lpips out"
        )
    if args.seed is not None:
        from gan_jax.seeds import check_seed

        check_seed(args.seed, "--seed")
    from gan_jax.transfer.translating import list_jobs, with_partners

    claim_output(args.out, overwrite=True, ours=())
    jobs = list_jobs(inputs, args.out, overwrite=args.overwrite)
    if args.page is not None:
        claim_output(args.page, overwrite=args.overwrite, option="--page")
    if args.targets is not None:
        jobs = with_partners(jobs, args.targets, "target", "--targets", needed=False)

    from gan_jax.transfer.models import load, unfinished

    if (message := unfinished(args.path, args.checkpoint)) is not None:
        print(printable(f"gan-jax translate: {message}"), file=sys.stderr)
    model = load(args.path, args.checkpoint)
    config, g_vars = model.translator(args.direction)
    net: Any = config
    layouts = hasattr(net, "num_labels")
    if layouts and net.edges:
        if args.instances is None:
            raise ConfigError(
                f"{args.path} reads the edges of instances; name the folder of their maps with --instances"
            )
        jobs = with_partners(jobs, args.instances, "instances", "--instances", needed=True)
    elif args.instances is not None:
        raise ConfigError(f"--instances was given, but {args.path} reads no edges of instances; leave it out")
    if not layouts and net.in_channels not in (1, 3, 4):
        raise ConfigError(
            f"{args.path} reads images of {net.in_channels} channels, which no picture file has; give arrays to "
            "gan_jax.load(PATH).translate"
        )
    if net.channels not in (1, 3, 4):
        raise ConfigError(f"{args.path} makes images of {net.channels} channels, which no PNG file has")
    return _run(args, jobs, config, g_vars, layouts)


def _run(args: Translate, jobs: Sequence[Any], config: Any, g_vars: Any, layouts: bool) -> int:
    """Translates the files, with progress, and says what was written, measured and left out."""
    from gan_jax.data.files import left_out_text
    from gan_jax.tasks.translate import InexactTiles, translator_of
    from gan_jax.transfer.translating import read_labels, read_picture, translate_files

    translator = translator_of(config, args.statistics, args.tile, args.batch)
    if args.seed is not None and not getattr(config, "dropout", False):
        raise ConfigError(f"--seed turns dropout on, which {args.path} does not have; leave it out")
    measure = None
    if args.targets is not None or args.page is not None:
        from gan_jax.report.pairs import PairPage

        measure = PairPage(_perceptual(args.lpips), pictures=args.page is not None)
    read = read_labels if layouts else lambda path: read_picture(path, config.in_channels)
    left_out: list[tuple[str, str]] = []
    progress = Progress(len(jobs))
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InexactTiles)
        for done in translate_files(
            jobs,
            lambda images, instances: translator(g_vars, images, instances, args.seed),
            read,
            batch=args.batch,
            failed=lambda job, reason: left_out.append((str(job.source), reason)),
        ):
            if measure is not None:
                measure.add(done)
            progress.step()
    progress.end()
    for warning in caught:
        if issubclass(warning.category, InexactTiles):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    for note in dict.fromkeys(notes):
        print(f"gan-jax translate: {note}", file=sys.stderr)
    written = len(jobs) - len(left_out)
    if written:
        print(f"wrote {written} image{'s' * (written != 1)} to {args.out}")
    if measure is not None and written:
        for line in measure.lines():
            print(line)
        if args.page is not None:
            measure.write(args.page, title=f"Translations by {args.path}")
            print(f"page: {args.page}")
    if not left_out:
        return 0
    text = printable(left_out_text(left_out, most=None if len(left_out) <= 20 else 20))
    print(f"gan-jax translate: {len(left_out)} of {len(jobs)} files could not be read: {text}", file=sys.stderr)
    return UNREADABLE


def _perceptual(name: str | None) -> Any:
    if name is None:
        return None
    from gan_jax.metrics import load_perceptual

    return load_perceptual(name)


class Progress:
    """Counts files on stderr: in place on a terminal, elsewhere a line now and then."""

    def __init__(self, total: int):
        self.total, self.count = total, 0
        self.start = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self) -> None:
        """Counts one file."""
        self.count += 1
        now = time.monotonic()
        if now - self.shown >= (0.2 if self.terminal else EVERY_S):
            self.shown = now
            self._show("\r" if self.terminal else "", "" if self.terminal else "\n")

    def end(self) -> None:
        """Ends the line."""
        if self.terminal and self.count:
            self._show("\r", "\n")

    def _show(self, before: str, after: str) -> None:
        rate = self.count / max(time.monotonic() - self.start, 1e-9)
        print(
            f"{before}{self.count} of {self.total} images, {rate:.2g} a second ", end=after, file=sys.stderr, flush=True
        )
