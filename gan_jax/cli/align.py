"""`gan-jax align`: brings weights into the channel order and scales of others, without a change of their function."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from gan_jax.cli.arguments import parse
from gan_jax.config import ConfigError, differences
from gan_jax.files import claim_output, typed
from gan_jax.seeds import check_seed, root_key

if TYPE_CHECKING:
    from gan_jax.surgery.transplant import LeafReport


@dataclasses.dataclass(frozen=True)
class Align:
    """Bring the channels of SECOND into the order and on the scales of FIRST, so that the two can be averaged.

    The function of SECOND does not change. Both must be of one architecture; the manifest records the plan.
    """

    first: Annotated[
        Positional[str], arg(metavar="FIRST")
    ]  # weights folder, run folder or embedded:NAME; it is not changed
    second: Annotated[Positional[str], arg(metavar="SECOND")]  # of the same architecture
    out: Path  # folder to write SECOND to, aligned
    by: Literal["weights", "activations"] = "weights"  # what is matched: weights, or outputs on the same inputs
    n: int = 256  # latents for activations; D reads the images that both generators make of them
    seed: int = 0  # seed of the search, and of the latents
    overwrite: bool = False  # replace weights in --out

    examples: ClassVar[tuple[str, ...]] = (
        "gan-jax align runs/a runs/b --out b-aligned",
        "gan-jax align runs/a runs/b --by activations --out b",
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
    lines = align_weights(a, b, args)
    print("\n".join([*lines, f"wrote {args.out}: gan-jax sample {typed(args.out)}"]))
    return 0


def align_weights(a: Any, b: Any, args: Align) -> list[str]:
    """Writes the aligned weights; returns a line for each network: its similarity before and after."""
    from gan_jax.interop.fitting import OVERFLOW, check_finite
    from gan_jax.surgery import Report, transplant
    from gan_jax.surgery.align import in_scales_of, match_weights, plan_permute
    from gan_jax.surgery.families import layouts
    from gan_jax.surgery.provenance import history_of, manifest_digest, transplant_step
    from gan_jax.tasks.model import names_of, save
    from gan_jax.trees import digest, flatten

    net_layouts = layouts(b.config)
    roots = {root: net for root, net in (("g_ema", "g"), ("d", "d")) if root in a.variables and root in b.variables}
    if not roots or (args.by == "activations" and "g_ema" not in roots):
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
        "licence": b.manifest.get("licence"),
        "history": [*history_of(b.manifest), step],
        "aligned": {"with": args.first, "by": args.by, "seed": args.seed},
        **names_of(b.manifest),
    }
    save(args.out, b.config, aligned, about)
    return [f"{net}: {measure} {match.before:.3f} -> {match.after:.3f}" for net, match in matches.items()]


def rescaled(row: LeafReport, digest: str) -> LeafReport:
    """Returns the row of a leaf that was rescaled after its channels were permuted."""
    return dataclasses.replace(row, op="rescale" if row.op == "copy" else f"{row.op}+rescale", digest=digest)


def match_by_activations(a: Any, b: Any, net_layouts: Any, roots: dict[str, str], args: Align) -> dict[str, Any]:
    """Matches channels by outputs: G's on the same latents, D's on the images that both generators make of them."""
    import jax
    import jax.numpy as jnp

    from gan_jax.nets.inside import whole_groups
    from gan_jax.surgery.align import match_activations
    from gan_jax.tasks.image import probes

    pair = a.pair
    z, labels = probes(a.config, root_key(args.seed), args.n)
    generate = jax.jit(lambda v: pair.g.apply(v, z, labels)[0])
    images = jnp.concatenate([generate(model.variables["g_ema"])[i::2] for i, model in enumerate((a, b))])
    # both generators' images of a latent have one class, so every other label is correct
    count = whole_groups(pair, len(images))
    images, d_labels = images[:count], None if labels is None else jnp.concatenate([labels[0::2], labels[1::2]])[:count]
    activations = {
        "g": jax.jit(lambda v: pair.g.activations(v, z, labels)),
        "d": jax.jit(lambda v: pair.d.activations(v, images, d_labels)),
    }
    return {
        net: match_activations(net_layouts[net], *(activations[net](model.variables[root]) for model in (a, b)))
        for root, net in roots.items()
    }
