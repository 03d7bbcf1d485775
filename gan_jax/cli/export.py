"""`gan-jax export`: writes a trained pair as a file for other programs, or its sampler as a program."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError
from gan_jax.files import claim_output, printable
from gan_jax.trees import did_you_mean

PROGRAMS = ("stablehlo", "onnx")
NAMES = "safetensors"  # our own leaf paths, which the table of layouts calls gan_jax
ENDINGS = {NAMES: ".safetensors", "onnx": ".onnx"}


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a pair for other programs: in the layout of a PyTorch repository, as safetensors, or as a program.

    Weights imported from a layout are exported to it bit-exactly. A program makes images from latents and contains the
    weights: StableHLO runs wherever JAX runs, ONNX wherever an ONNX runtime does. That of a translator makes images from
    images of one size, or from label maps.
    """

    path: Annotated[Positional[str], arg(metavar="MODEL")]  # run folder, weights folder or embedded:NAME
    # a layout such as stylegan2-ada, rosinality or dcgan; safetensors (our own names); stablehlo; onnx
    to: str
    out: Path  # file to write; for a layout .pt, .safetensors or .npz, and a folder for huggingface
    d: Path | None = None  # separate file or folder for D, if the other program needs one; then --out holds G
    images: Literal["uint8", "float32"] = "uint8"  # images of a program: uint8, or floats of about [-1, 1]
    batch: int | None = None  # images per call of a program; None = any number
    size: int | None = (
        None  # height and width of the images of a translator's program, px; None = those of its training
    )
    direction: Literal["ab", "ba"] | None = None  # of two generators (CycleGAN), the one of a program; None = ab
    platforms: tuple[str, ...] = ("cpu", "cuda", "tpu")  # platforms of a StableHLO program
    overwrite: bool = False  # replace existing files

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax export run --to safetensors --out generator.safetensors",
        "gan-jax export run --to onnx --out generator.onnx",
        "gan-jax export run --to onnx --direction ba --size 512 --out back.onnx",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Export, argv, verb="export")
    from gan_jax.interop.layouts import LAYOUTS

    targets = (NAMES, *PROGRAMS, *LAYOUTS)
    if args.to not in targets:
        raise ConfigError(
            f"--to {args.to!r} is unknown{did_you_mean(args.to, targets)}; use one of {', '.join(targets)}"
        )
    check_endings(args)
    if args.to in PROGRAMS and args.d is not None:
        raise ConfigError(f"--to {args.to} writes the generator alone; leave --d out")
    if args.batch is not None and args.batch < 1:
        raise ConfigError(f"--batch is {args.batch}; use at least 1, or leave it out for batches of any size")
    if args.to not in PROGRAMS:
        for option in ("size", "direction"):
            if getattr(args, option) is not None:
                raise ConfigError(f"--{option} is of the programs {' and '.join(PROGRAMS)}; leave it out")
    if args.to in PROGRAMS:
        check_packages(args.to)
    outputs = [("--out", args.out), ("--d", args.d)]
    outputs += [("--out", facts_beside(args.out))] if args.to in PROGRAMS else []
    folders = args.to in LAYOUTS and LAYOUTS[args.to].beside is not None
    ours = ("*.safetensors", "*.json") if folders else None
    for option, file in outputs:
        if file is not None:
            claim_output(file, overwrite=args.overwrite, option=option, ours=ours)
    from gan_jax.surgery.provenance import history_of
    from gan_jax.transfer.models import load, unfinished

    if (message := unfinished(args.path)) is not None:
        print(printable(f"gan-jax export: {message}"), file=sys.stderr)
    model = load(args.path)
    about = {"history": history_of(model.manifest), "licence": model.manifest.get("licence")}
    files = write_program(args, model, about) if args.to in PROGRAMS else write_tensors(args, model, about)
    print(f"wrote {' and '.join(map(str, files))}")
    return 0


def check_endings(args: Export) -> None:
    """Raises ConfigError for a file name with the ending of another format."""
    end = ENDINGS.get(args.to)
    if end is not None and args.out.suffix != end:
        raise ConfigError(f"--out {args.out}: --to {args.to} writes a file that ends with {end}")
    endings = {".onnx", ".safetensors", ".npz", ".pt", ".pth", ".ckpt", ".pkl", ".json"}
    if args.to == "stablehlo" and args.out.suffix in endings:
        raise ConfigError(f"--out {args.out}: that is the ending of another format; use .hlo")
    if args.d is not None and args.d.absolute() == args.out.absolute():
        raise ConfigError(f"--d {args.d} is the file of --out; name another, or leave --d out for one file with both")


def check_packages(to: str) -> None:
    """Raises an error if the package that writes a program is missing, before anything is loaded."""
    from gan_jax.extras import check

    check("onnx" if to == "onnx" else "flatbuffers", extra=to)


def write_tensors(args: Export, model: Any, about: dict[str, Any]) -> list[Path]:
    """Writes the pair in a layout; returns the files."""
    from gan_jax.interop.exporters import NATIVE, export_file

    layout = NATIVE if args.to == NAMES else args.to
    return export_file(args.out, model.config, model.variables, layout, d=args.d, about=about)


def write_program(args: Export, model: Any, about: dict[str, Any]) -> list[Path]:
    """Writes the sampler as a program; returns the files of the program and of its facts."""
    from gan_jax.interop.programs import NOT_FINITE, export_onnx, export_stablehlo

    options: dict[str, Any] = {"images": args.images, "batch": args.batch, "about": about}
    if model.config.translates:
        config, g_vars, size = translator_of(args, model)
        from gan_jax.tasks.program import translating_sampler

        options["make"] = lambda net, variables, images, front: translating_sampler(net, variables, images, size)
        print(f"images are {size} x {size} px, the one size that this program takes; --size chooses another")
    else:
        if given := [f"--{name}" for name in ("size", "direction") if getattr(args, name) is not None]:
            raise ConfigError(f"{' and '.join(given)}: of translators; {args.path} makes images from latents")
        if "g_ema" not in model.variables:
            raise ConfigError(
                f"{args.path} holds no generator (g_ema) but {', '.join(model.variables)}; a program makes images"
            )
        config, g_vars = model.config, model.variables["g_ema"]
    options["front"] = model.manifest.get("front")
    if args.to == "onnx":
        if getattr(model.config, "dtype", "float32") != "float32":
            print(f"computes in float32, where these networks compute in {model.config.dtype}: no CPU runtime has that")
        export_onnx(args.out, config, g_vars, **options)
    else:
        export_stablehlo(args.out, config, g_vars, platforms=args.platforms, **options)
    facts = facts_beside(args.out)
    if NOT_FINITE in facts.read_text(encoding="utf-8"):
        print(f"warning: {args.path} makes {NOT_FINITE}", file=sys.stderr)
    return [args.out, facts]


def translator_of(args: Export, model: Any) -> tuple[Any, Any, int]:
    """The configuration and variables of the generator that is exported, and the size of its images, px.

    Raises:
      ConfigError: a size that the network does not take.
      WeightsError: no generator of that direction.
    """
    from gan_jax.tasks.translate import geometry

    config, g_vars = model.translator(args.direction)
    size, sizes = config.resolution if args.size is None else args.size, geometry(config)
    if not sizes.fits(size):
        raise ConfigError(f"--size is {size}; use a multiple of {sizes.multiple} px, at least {sizes.least}")
    return config, g_vars, size


def facts_beside(path: Path) -> Path:
    """Returns the path of a program's facts."""
    return path.with_name(path.name + ".json")
