"""`gan-jax evaluate`: measures a generator against data under one named protocol."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse, read_config
from gan_jax.config import ConfigError, DataConfig, EvalConfig
from gan_jax.files import claim_output, printable


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measure a generator against data under one named protocol.

    For a run folder the defaults are the run's own: the reference is then the images of its data that it did not train on.
    Networks that translate are measured on pairs: their translations of the inputs against the images, set against set and,
    where inputs and images belong together, one by one.
    """

    path: Annotated[Positional[str], arg(metavar="PATH")]  # run folder, weights folder or embedded:NAME
    data: DataConfig = DataConfig()
    evaluate: EvalConfig = EvalConfig()
    # Also intra-cluster LPIPS around the training images through this network (gan-jax weights get vgg16); None = not
    lpips: Literal["vgg16", "alexnet"] | None = None
    json: Path | None = None  # also write the numbers to this file
    overwrite: bool = False  # replace the file of --json

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax evaluate run",
        "gan-jax evaluate translator --data.source pairs:sketches,photos --data.reference 200",
        "gan-jax evaluate embedded:fashion16 --data.source embedded:fashion-mnist --json numbers.json",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    import tyro

    default = Evaluate(path=tyro.MISSING)
    if argv and not argv[0].startswith("-"):
        run = Path(argv[0])
        if (run / "config.json").is_file():
            config = read_config(run)
            default = dataclasses.replace(default, path=argv[0], data=config.data, evaluate=config.evaluate)
    args = parse(Evaluate, argv, verb="evaluate", default=default)
    if (Path(args.path) / "config.json").is_file() and args.path != argv[0]:
        raise ConfigError(f"name the run first, before the options: gan-jax evaluate {args.path} ...")
    from gan_jax.transfer.models import unfinished
    from gan_jax.transfer.run import evaluate_model

    if args.json is not None:
        claim_output(args.json, overwrite=args.overwrite, option="--json")  # before the work
    if (message := unfinished(args.path)) is not None:
        print(printable(f"gan-jax evaluate: {message}"), file=sys.stderr)
    options = {} if args.lpips is None else {"lpips": args.lpips}
    numbers = evaluate_model(args.path, args.data, args.evaluate, **options)
    print(table(numbers))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(numbers, indent=2, default=lambda value: value.item()) + "\n", encoding="utf-8")
        print(f"wrote {args.json}")
    return 0


def table(numbers: Mapping[str, Any]) -> str:
    """Formats names and values in aligned lines."""
    width = max(map(len, numbers), default=0)

    def show(value: Any) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    return "\n".join(f"{name:<{width}}  {show(value)}" for name, value in numbers.items())
