"""`gan-jax align`: brings weights into the channel order and scales of others, without a change of their function."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.cli.train import next_command
from gan_jax.config import ConfigError, differences
from gan_jax.files import claim_output
from gan_jax.roots import average_of, network_of, pair_part
from gan_jax.seeds import check_seed, root_key

if TYPE_CHECKING:
    from gan_jax.surgery.transplant import LeafReport


@dataclasses.dataclass(frozen=True)
class Align:
    """Bring the channels of SECOND into the order and on the scales of FIRST, so that the two can be averaged.

    The function of SECOND does not change. Both must be of one architecture; the manifest records the plan. Activations of
    networks that translate are of --images.
    """

    first: Annotated[
        Positional[str], arg(metavar="FIRST")
    ]  # weights folder, run folder or embedded:NAME; it is not changed
    second: Annotated[Positional[str], arg(metavar="SECOND")]  # of the same architecture
    out: Path  # folder to write SECOND to, aligned
    by: Literal["weights", "activations"] = "weights"  # what is matched: weights, or outputs on the same inputs
    # latents, or images of --images, for activations; D reads the images that both generators make of them. Of images above 64
    # px there are fewer
    n: int = 256
    images: str | None = None  # for activations of networks that translate: pairs, as --data.source of their training
    seed: int = 0  # seed of the search, and of the latents
    overwrite: bool = False  # replace weights in --out

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax align runs/a runs/b --out b-aligned",
        "gan-jax align runs/a runs/b --by activations --out b",
        "gan-jax align runs/a runs/b --by activations --images pairs:sketches,photos --out b",
    )


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    args = parse(Align, argv, verb="align")
    check_seed(args.seed, "--seed")
    if args.n < 2:
        raise ConfigError(f"--n is {args.n}; use at least 2")
    import gan_jax
    from gan_jax.interop.weights import FILES

    claim_output(args.out, overwrite=args.overwrite, ours=FILES)
    a, b = gan_jax.load(args.first), gan_jax.load(args.second)
    if changed := differences(a.config, b.config):
        raise ConfigError(
            f"{args.first} and {args.second} are of two architectures: {'; '.join(changed)}\n"
            f"Bring one into the other's first: gan-jax transplant {args.second} --net..., then align the result"
        )
    if args.images is not None and (args.by == "weights" or not a.config.translates):
        raise ConfigError(
            "--images are for activations of networks that translate; leave them out, or use --by activations"
            if a.config.translates
            else f"--images are for networks that translate, and {args.first} makes images from latents; leave them out"
        )
    if args.by == "activations" and a.config.translates and args.images is None:
        raise ConfigError(
            f"{args.first} translates images, so that activations need some: name them, such as --images "
            f"{'layouts:LABELS,IMAGES' if hasattr(a.config, 'num_labels') else 'pairs:A,B'}, or use --by weights"
        )
    lines = align_weights(a, b, args)
    print("\n".join([*lines, f"wrote {args.out}: {next_command(a.config, args.out)}"]))
    return 0


def align_weights(a: Any, b: Any, args: Align) -> list[str]:
    """Writes the aligned weights; returns a line for each network: its similarity before and after."""
    from gan_jax.interop.fitting import OVERFLOW, check_finite
    from gan_jax.surgery import Report, transplant
    from gan_jax.surgery.align import in_scales_of, match_weights, plan_permute
    from gan_jax.surgery.provenance import history_of, manifest_digest, transplant_step
    from gan_jax.tasks.model import names_of, save
    from gan_jax.transfer.probes import layout_of
    from gan_jax.trees import digest, flatten

    roots = common_networks(a, b)
    net_layouts = {net: layout_of(b.config, net) for net in roots.values()}
    has_g = any(pair_part(root) == "g" for root in roots)
    if not roots or (args.by == "activations" and not has_g):
        raise ConfigError(
            f"{args.first} holds {', '.join(a.variables)}, {args.second} holds {', '.join(b.variables)}: both must hold "
            "a generator, or for --by weights a discriminator"
        )

    def by_weights(root: str, net: str) -> Any:
        return match_weights(net_layouts[net], a.variables[root], b.variables[root], seed=args.seed)

    if args.by == "weights":
        matches = {net: by_weights(root, net) for root, net in roots.items()}
    else:
        matches = match_by_activations(a, b, net_layouts, roots, args)
    tree = {root: b.variables[root] for root in roots}
    plan = plan_permute(net_layouts, tree, {net: match.orders for net, match in matches.items()})
    moved, report = transplant(plan, tree, tree)
    aligned = {root: in_scales_of(net_layouts[net], moved[root], a.variables[root]) for root, net in roots.items()}
    rescaled_name = f"{args.second}, brought to the scales of {args.first},"
    check_finite(aligned, rescaled_name, ConfigError, reason=OVERFLOW)
    now = {path: digest(leaf) for path, leaf in flatten(aligned).items()}
    rows = [row if row.digest == now[row.target] else rescaled(row, now[row.target]) for row in report.rows]
    step = transplant_step(plan, Report(tuple(rows)), {"name": args.second, "digest": manifest_digest(b.manifest)})
    measure = "cosine of weights" if args.by == "weights" else "correlation of channels"
    about = {
        **{key: b.manifest[key] for key in ("task",) if key in b.manifest},
        "licence": b.manifest.get("licence"),
        "history": [*history_of(b.manifest), step],
        "aligned": {"with": args.first, "by": args.by, "seed": args.seed},
        **names_of(b.manifest),
    }
    save(args.out, b.config, aligned, about)
    lines = [f"{net}: {measure} {match.before:.3f} -> {match.after:.3f}" for net, match in matches.items()]
    if "f" in b.variables:
        lines.append("f: left out, since it reads features of g in their old order")
    return lines


def common_networks(a: Any, b: Any) -> dict[str, str]:
    """The networks that both models have, `{root: network}`: averages of generators, then discriminators."""
    both = [root for root in a.variables if root in b.variables and pair_part(root)]
    part = {part: [root for root in both if pair_part(root) == part] for part in ("g", "d")}
    averages = [root for root in part["g"] if root == average_of(network_of(root))]
    return {root: network_of(root) for root in (*averages, *part["d"])}


def rescaled(row: LeafReport, digest: str) -> LeafReport:
    """Returns the row of a leaf that was rescaled after its channels were permuted."""
    return dataclasses.replace(row, op="rescale" if row.op == "copy" else f"{row.op}+rescale", digest=digest)


def match_by_activations(a: Any, b: Any, net_layouts: Any, roots: dict[str, str], args: Align) -> dict[str, Any]:
    """Matches channels by outputs: a generator's on the same inputs, D's on what both generators make of them."""
    import jax
    import jax.numpy as jnp

    from gan_jax.config import Config, UnpairedTask
    from gan_jax.surgery.align import match_activations
    from gan_jax.tasks import networks_of
    from gan_jax.tasks.image import probes
    from gan_jax.tasks.inputs import reader
    from gan_jax.transfer.probes import activations_on, judged_examples

    nets = networks_of(Config(net=a.config, task=UnpairedTask())) if a.directions else a.pair
    batch = read_batch(a.config, args) if a.config.translates else {}
    activations = {}
    for name in nets.generators:
        if a.config.translates:
            x, labels = reader(nets, name)(batch, jax.random.split(root_key(args.seed), len(batch["image"]))), None
        else:
            x, labels = probes(a.config, root_key(args.seed), args.n)
        net, average = nets.nets[name], average_of(name)
        activations[name] = activations_on(net, x, labels)
        if average not in roots:
            continue
        generate = jax.jit(lambda v, net=net, x=x, labels=labels: net.apply(v, x, labels)[0])
        images = [generate(model.variables[average]) for model in (a, b)]
        # both generators' images of a latent have one class, so every other label is correct
        half = lambda first, second: jnp.concatenate([first[0::2], second[1::2]])
        classes = None if labels is None else half(labels, labels)
        judge = nets.judges[name]
        activations[judge] = activations_on(
            nets.nets[judge], *judged_examples(nets, half(x, x), half(*images), classes)
        )
    return {
        net: match_activations(net_layouts[net], *(activations[net](model.variables[root]) for model in (a, b)))
        for root, net in roots.items() if net in activations
    }  # fmt: skip


def read_batch(config: Any, args: Align) -> dict[str, Any]:
    """The images of --images as a batch of training has them: inputs and images, labels and instances of layouts."""
    import jax.numpy as jnp

    from gan_jax.data import load_pairs
    from gan_jax.tasks.feeds import sides_of, values_of
    from gan_jax.transfer.probes import image_count

    layout = hasattr(config, "num_labels")
    side = {"num_labels": config.num_labels} if layout else {"in_channels": config.in_channels}
    pairs = load_pairs(args.images, resolution=config.resolution, channels=config.channels, **side)
    if (pairs.kind == "layout") != layout:
        reads = "label maps" if layout else "images"
        raise ConfigError(f"--images {args.images} is a set of the kind {pairs.kind}, and these networks read {reads}")
    n = min(image_count(config, args.n), len(pairs.inputs), len(pairs.images))
    if n < 2:
        raise ConfigError(f"--images {args.images} has {n} pairs; use at least 2")
    return {name: values_of(jnp.asarray(rows[:n])) for name, rows in sides_of(pairs).items()}
