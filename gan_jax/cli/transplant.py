"""`gan-jax transplant`: moves pretrained weights into another architecture, without training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import AvoidSubcommands, Positional, arg

from gan_jax.cli.arguments import parse, peek
from gan_jax.cli.train import next_command
from gan_jax.cli.transfer import plan_text
from gan_jax.config import NETS, ConfigError, NetConfig, NetName, ResNetConfig, TransplantConfig
from gan_jax.files import claim_output, printable
from gan_jax.seeds import check_seed


@dataclasses.dataclass(frozen=True)
class Transplant:
    """Move pretrained weights into another architecture, without training.

    The new networks are the source's, changed by options; name the source first. Prints the plan and, measured on probes,
    whether the function is preserved. Writes weights.safetensors with a manifest that records both; later,
    gan-jax inspect OUT --provenance shows every leaf's origin.
    """

    source: Annotated[Positional[str], arg(metavar="SOURCE")]  # weights, run or checkpoint folder, or embedded:NAME
    out: Path  # folder to write the weights to
    net_config: Annotated[AvoidSubcommands[NetConfig], arg(name="net")] = ResNetConfig()
    net: NetName | None = None  # kind of the new networks; None = the source's
    policies: Annotated[TransplantConfig, arg(name="")] = TransplantConfig()
    checkpoint: int | None = None  # checkpoint of a run, by its number of images
    seed: int = 0  # seed of fresh values
    probes: int = 8  # latents on which the function is measured; 0 = do not measure
    plan: Literal["summary", "full"] = "summary"  # how much of the plan to print
    overwrite: bool = False  # replace the weights at --out

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax transplant embedded:fashion16 --net.channel-max 32 --out wide",
        "gan-jax transplant runs/fast --net.resolution 32 --checkpoint 48000 --out grown",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    import tyro

    start = argv[0] if argv and not argv[0].startswith("-") else None
    net = like(source_net(start), NETS.get(peek(argv, "--net") or ""))
    default = Transplant(source=tyro.MISSING, out=tyro.MISSING, net_config=net)
    args = parse(Transplant, argv, verb="transplant", default=default)
    check_seed(args.seed, "--seed")
    if args.source != start:
        raise ConfigError(f"name the source first, before the options: gan-jax transplant {args.source} ...")
    from gan_jax.transfer.weights import check_net, measured_lines, transplant_weights

    check_net(args.net_config)
    claim_output(args.out, overwrite=args.overwrite, ours=("weights.safetensors", "manifest.json"))
    options = {"checkpoint": args.checkpoint, "seed": args.seed, "probes": args.probes}
    result = transplant_weights(args.source, args.net_config, args.out, args.policies, **options)
    print(printable(plan_text(result.plan, args.plan)))
    print("\n".join(measured_lines(result.measured)))
    print(f"wrote {args.out}: {next_command(args.net_config, args.out)}")
    return 0


def source_net(source: str | None) -> NetConfig | None:
    """Returns the networks of a source, for defaults; None if it cannot be opened, which is an error later."""
    from gan_jax.transfer.source import open_source

    try:
        return None if source is None else open_source(source).net
    except (ValueError, RuntimeError, OSError):
        return None


def like(net: NetConfig | None, kind: type | None) -> NetConfig:
    """Makes networks of another kind with the same size, channels, latents and widths; None = the same kind."""
    if net is None:
        return (kind or ResNetConfig)()
    if kind is None or type(net) is kind:
        return net
    shared = {field.name for field in dataclasses.fields(net)} & {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: getattr(net, name) for name in shared})
