"""`gan-jax import`: reads weights that another program wrote, and writes them as weights of this library."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, UseAppendAction, arg

from gan_jax.cli.arguments import parse, read_config
from gan_jax.config import NetConfig, net_from_dict
from gan_jax.files import claim_output, printable, typed


@dataclasses.dataclass(frozen=True)
class Import:
    """Read weights that another program wrote, and write them as weights of this library.

    No code in the file is run: a pickle can only become numbers, containers and records. Every tensor is accounted for: it
    is used, ignored with a reason (optimisers, counters, other copies of G), or an error, until --ignore names it. The
    weights can be sampled, and can be the source of any transplant.
    """

    # .pkl, .pt, .pth, .tar, .safetensors, .npz, .h5, or a folder of Hugging Face
    file: Annotated[Positional[Path], arg(metavar="FILE")]
    out: Path  # folder to write to
    d: Path | None = None  # file or folder of D, if FILE holds G alone
    layout: Annotated[str | None, arg(name="as")] = None  # such as stylegan2-ada; None = guessed from the tensors
    ignore: UseAppendAction[tuple[str, ...]] = ()  # pattern over names of tensors to ignore, as in "netE.*"
    net: Path | None = None  # for our own leaf paths: weights, a run or an experiment with the same networks
    licence: str | None = None  # licence of the weights, for the manifest
    overwrite: bool = False  # replace weights in --out

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax import generator.pth --out weights",
        "gan-jax import g.safetensors --d d.safetensors --out weights",
        "gan-jax import gpt2 --d roberta-base --out weights",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Import, argv, verb="import")
    from gan_jax.interop.importers import import_file
    from gan_jax.interop.weights import FILES
    from gan_jax.tasks.model import save
    from gan_jax.trees import count

    claim_output(args.out, overwrite=args.overwrite, ours=FILES)
    net = None if args.net is None else read_net(args.net)
    imported = import_file(args.file, args.layout, args.d, net, args.ignore)
    save(args.out, imported.config, imported.variables, imported.about(args.licence))
    for path, file in zip((args.file, args.d), imported.files.values()):
        print(f"{path}: {file.format}, sha256 {file.sha256[:12]}, layout {imported.layout}")
    print(imported.config)
    for root, tree in imported.variables.items():
        print(f"{root}: {count(tree['params']):,} parameters")
    print(printable(imported.account))
    for text in imported.notes:
        print(printable(f"note: {text}"))
    for path, words in imported.computed.items():
        print(f"  {path}: not in the file; made: {words}")
    place, net = typed(args.out), imported.config
    use = (
        f"translate {place} IMAGES --out FOLDER"
        if net.translates
        else f"{'inspect' if net.writes else 'sample'} {place}"
    )
    print(f"wrote {args.out}: gan-jax {use}")
    return 0


def read_net(path: Path) -> NetConfig:
    """Reads the networks' configuration of a weights folder, a run, or an experiment."""
    from gan_jax.interop.weights import MANIFEST, load_manifest

    if (path / MANIFEST).is_file():
        return net_from_dict(load_manifest(path)["net"], f"{path}: net")
    return read_config(path).net
