"""The stages of a fusion: donors opened and aligned, mixing weights learned, baked or distilled.

Fusing is a method's preparation, so the main training has no donors: it fine-tunes a plain pair, whose optimiser and average
begin from it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError, DistillationConfig, OptimConfig
from gan_jax.fusion.attention import describe, standardised, standing, with_statistics
from gan_jax.fusion.features import choose_points
from gan_jax.fusion.mixture import Aligned, Gate, Mixture, Shares, align_donor, cut_axis, fused, grouping
from gan_jax.fusion.teachers import Distillation, attach, plain, trains, with_teachers
from gan_jax.metrics.networks import NETWORKS, PERCEPTUAL
from gan_jax.metrics.perceptual import load_perceptual
from gan_jax.nets import Net, Pair, build
from gan_jax.nets.build import Variables
from gan_jax.nets.features.perceptual import lpips
from gan_jax.nets.inside import whole_groups
from gan_jax.random_streams import DISTIL_KEY, MIXTURE_KEYS
from gan_jax.reserved import ADAPTER, DISTANCES, DONORS
from gan_jax.surgery.align import singular_vectors
from gan_jax.surgery.families import layouts
from gan_jax.surgery.provenance import fused_history
from gan_jax.tasks.image import probes
from gan_jax.tasks.sample import make_restatistics
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network, Regulariser
from gan_jax.train.state import GanState, Networks
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.methods.preserve import preserved
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf, no_leaf
from gan_jax.transfer.ranking import best_discriminator
from gan_jax.trees import Tree

# ----------------------------------------------------------------------------------------------------------------------
# Donors, the further sources of a fusion: opened, aligned with the target, and the statistics of mixed weights.

PROBES = 256  # latents that donors are aligned and described with
STATS = 8, 128  # batches for the statistics of mixed weights, and their size


@dataclasses.dataclass(frozen=True)
class Donors:
    """Donor networks in the target's shape, order of channels and scales, without the target, `source`, itself.

    Attributes:
      names: as in `transfer.donors`.
      g, d: variables; d is empty where D is the source's own.
      record: how alike they are, JSON values for `prepared.json`.
      histories: provenance of each donor.
    """

    names: tuple[str, ...]
    g: list[Variables]
    d: list[Variables]
    record: dict[str, Any]
    histories: list[Any]


def open_donors(context: PrepareContext, config: Any, pair: Pair, g: Variables, d: Variables) -> Donors:
    """Reads the donors one after the other, and aligns each with the target's order of channels and scales.

    Raises:
      PlanError, WeightsError: a donor cannot be read into the target's shape; names the leaf.
      AlignError: as `fusion.mixture.align_donor`.
    """
    networks: tuple[Network, ...] = ("g",) if config.d == "base" else ("g", "d")
    align = aligner(config, pair, g, d)
    variables: dict[str, list[Variables]] = {"g": [], "d": []}
    alike: list[dict[str, Any]] = []
    histories = []
    for name in config.donors:
        start = context.open_donor(name, networks)
        row: dict[str, Any] = {"donor": name}
        for network in networks:
            aligned = align(network, start.nets[network])
            variables[network].append(aligned.variables)
            row[network] = [aligned.before, aligned.after]
        alike.append(row)
        histories.append(start.history)
    return Donors(
        tuple(config.donors), variables["g"], variables["d"], {"by": config.align, "donors": alike}, histories
    )


def aligner(config: Any, pair: Pair, g: Variables, d: Variables) -> Callable[[Network, Variables], Aligned]:
    """Makes `(network, a donor's variables) -> Aligned`, in the order of channels and the scales of this pair.

    Arrays are on the host with `shard_donors`, else on the device.

    Args:
      config: what channels are matched by, and whether scales are changed too.
      pair: of plain networks.
      g, d: variables of the target.
    """
    targets, axes = jax.device_get({"g": g, "d": d}), layouts(pair.config)
    activations = _activations(pair, g) if config.align == "activations" else {}
    place = np.asarray if config.shard_donors else jnp.asarray

    def align(network: Network, other: Variables) -> Aligned:
        aligned = align_donor(
            axes[network], targets[network], jax.device_get(other),
            by=config.align, scales=config.scales, activations=activations.get(network),
        )  # fmt: skip
        return dataclasses.replace(aligned, variables=jax.tree_util.tree_map(place, aligned.variables))

    return align


def descriptors(pair: Pair, every: Sequence[Variables]) -> jax.Array:
    """Descriptors `[N, M]` of N generators, from their images of the same latents, standardised over the generators.

    Args:
      pair: of plain networks.
      every: variables of the generators.
    """
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    make = jax.jit(lambda g: describe(pair.g.apply(g, z, labels)[0]))
    return standardised(jnp.stack([make(g) for g in every]))


def unaligned_donors(context: PrepareContext, names: Sequence[str]) -> Donors:
    """Reads the donors' Gs without alignment: channels stay in their own order."""
    starts = [context.open_donor(name) for name in names]
    record = {"by": "none", "donors": [{"donor": name} for name in names]}
    return Donors(tuple(names), [start.nets["g"] for start in starts], [], record, [start.history for start in starts])


def fused_pair(
    context: PrepareContext,
    nets: Networks,
    constants: dict[str, Any],
    donors: Donors,
    shares: dict[str, Any],
    words: str,
    *,
    images: int = 0,
    **measured: Any,
) -> PreparedState:
    """The result of a fusion: one pair, a history that includes the donors', and a record under `fusion`.

    Args:
      context: of the preparation.
      constants, images: as of `PreparedState`.
      nets: variables of G and D.
      donors: the donors.
      shares: network -> group of leaves -> the donors' mixing weights, for the fused networks.
      words: the same as a sentence.
      measured: more for the record, JSON values.
    """
    config: Any = context.config.transfer
    history = fused_history(context.start.history, donors.names, donors.histories, shares, words)
    record = {**donors.record, "target": config.source, "shares": shares, **measured}
    return PreparedState(nets, constants, images, history, {"fusion": record}, (words,))


def recompute_statistics(pair: Pair, network: Network, variables: Variables, key: jax.Array) -> Variables:
    """Variables with recalibrated statistics for mixed weights: G's batch statistics, the vectors of spectral norms."""
    batches, size = STATS
    if network == "g":
        variables = make_restatistics(pair, size)(variables, key, batches)
    if "spectral" in variables:
        fresh = singular_vectors(layouts(pair.config)[network], jax.device_get(variables))
        variables = jax.tree_util.tree_map(jnp.asarray, fresh)
    return variables


def check_donors(config: Any) -> None:
    """Raises ConfigError where there are no donors, no pretrained G, or no Ds to mix or to choose from."""
    if not config.donors:
        raise ConfigError("transfer.donors is empty: name at least one source beside transfer.source")
    if "g" not in networks_of(config.networks):
        raise ConfigError(
            "transfer.networks is d, but several pretrained Gs are made one: fusion mixes pretrained Gs, and Ds beside them "
            "at most; use both or g"
        )
    if config.networks != "both" and config.d != "base":
        raise ConfigError(
            f"transfer.d is {config.d}, which needs a D of every donor and of the source, but transfer.networks is "
            f"{config.networks}; use both, or transfer.d base"
        )


def _activations(pair: Pair, g: Variables) -> dict[str, Any]:
    """Activations of the modules of G on fixed latents, and of D on the target's images of these."""
    z, labels = probes(pair.config, jax.random.key(0), PROBES)
    images = jax.jit(lambda v: pair.g.apply(v, z, labels)[0])(g)
    of_g = jax.jit(lambda v: pair.g.activations(v, z, labels))
    count = whole_groups(pair, PROBES)
    images, labels_of_d = images[:count], None if labels is None else labels[:count]
    return {"g": of_g, "d": jax.jit(lambda v: pair.d.activations(v, images, labels_of_d))}


# ----------------------------------------------------------------------------------------------------------------------
# The stage that learns a fusion's mixing weights: donors are mixed, trained by the target's loss, baked or distilled.


@dataclasses.dataclass(frozen=True)
class Fusing:
    """The parts of a fusion that differ from method to method.

    Attributes:
      gate: `(context, path of a leaf -> its group, {"g", "d"}: the target's variables, donors, network) -> gate`.
      terms: `(G's mixture, its mixing weights at the start) -> loss terms` beside the adversarial loss.
      post_step: `Extension.post_step` with G's mixture as a first argument.
      net: `(pair, G's mixture) -> Net`, the G of the stage.
      aligner: whether donors' channels have trained channel maps.
      distillation: configuration by which the fused G is distilled into the baked one; None = the baked G is the result.
    """

    gate: Callable[[PrepareContext, Callable[[str], str], dict[str, Variables], Donors, Network], Gate]
    terms: Callable[[Mixture, Shares], Sequence[Regulariser]] = lambda mixture, start: ()
    post_step: Callable[[Mixture, GanState, GanState, StepContext], GanState] | None = None
    net: Callable[[Pair, Mixture], Net] = lambda pair, mixture: fused(pair.g, mixture)
    aligner: bool = False
    distillation: DistillationConfig | None = None


def fusion(config: Any, pair: Pair, fusing: Fusing) -> Method:
    """Makes the method: both networks start from the source, and G is a mixture with the donors until it is baked.

    Raises:
      ConfigError: there are no donors; D is to be fused or chosen, but is fresh; the stage has no length; donors are to be
        sharded where each example has mixing weights of its own, or by a compiler that shards nothing.
    """
    check_donors(config)
    if config.fuse_kimg <= 0:
        raise ConfigError(
            f"transfer.fuse_kimg is {config.fuse_kimg:g}, so that no mixing weight is learned; use 0.5 or more"
        )

    if config.shard_donors and config.of_examples:
        raise ConfigError(
            f"transfer.shard_donors cuts donors, of which one mixture is made, but with transfer.query {config.query} every "
            "example has its own; use transfer.per batch, or shard_donors off"
        )

    def prepare(context: PrepareContext, nets: Networks, constants: dict[str, Any]) -> PreparedState:
        g, d = nets["g"], nets["d"]
        if config.shard_donors and context.config.train.compile != "jit":
            raise ConfigError(
                f"transfer.shard_donors needs train.compile jit, not {context.config.train.compile}, which cuts nothing"
            )
        plain_pair = build(context.config.net)
        donors = open_donors(context, config, plain_pair, g, d)
        if config.d == "best":
            d, losses = best_discriminator(context, [d, *donors.d], g)
            donors.record["d"] = dict(zip([config.source, *donors.names], losses, strict=True))
        start, mixtures = {"g": g, "d": d}, {}
        donor_params: dict[Network, list[Tree]] = {"g": [variables["params"] for variables in donors.g]}
        if config.d == "mix":
            donor_params["d"] = [variables["params"] for variables in donors.d]
        for network, trees in donor_params.items():
            group = grouping(config.granularity, pair.g_blocks if network == "g" else pair.d_blocks)
            gate = fusing.gate(context, group, {"g": g, "d": d}, donors, network)
            dtype = jnp.dtype(config.donor_dtype)
            mixture = Mixture(gate, group, config.granularity == "channel", dtype, fusing.aligner)
            key = jax.random.fold_in(context.key, MIXTURE_KEYS[network])
            start[network] = {**start[network], "params": mixture.attach(start[network]["params"], key, trees)}
            mixtures[network] = mixture
        state, rows = _learn(context, config, start, mixtures, fusing)
        learned = {
            "g": state.ema["g"],
            "d": state.nets["d"],
        }  # G's average, which smooths mixing weights that oscillate
        shares = {name: mixture.shares(learned[name]["params"]) for name, mixture in mixtures.items()}
        teacher, images = learned["g"], int(state.images)
        for name, mixture in mixtures.items():
            params = learned[name]["params"]  # and donors as they were before they were sharded
            branch = {**params[ADAPTER], DONORS: start[name]["params"][ADAPTER][DONORS]}
            plain = {**learned[name], "params": mixture.bake({**params, ADAPTER: branch})}
            learned[name] = recompute_statistics(plain_pair, name, plain, context.key)
        listed, words = _listed(shares), _words(config.source, donors.names, shares["g"])
        more: dict[str, Any] = {"learned": rows}
        if fusing.distillation is not None:
            net = lambda pair: fusing.net(pair, mixtures["g"])
            if "batch_stats" in g:  # those of a batch would mix statistics of different networks
                source, *others = (
                    recompute_statistics(plain_pair, "g", variables, context.key) for variables in (g, *donors.g)
                )
                teacher = with_statistics(teacher, source, others)
                net = lambda pair: standing(fusing.net(pair, mixtures["g"]))
            points = tuple(choose_points(plain_pair))
            g, d, shown, losses = distil(context, fusing.distillation, learned["g"], learned["d"], teacher, points, net)
            learned, images, more = {"g": g, "d": d}, images + shown, more | {"taught": losses}
            words += "; then the mixture was distilled into it, latent by latent"
        constants = {"fused": learned["g"]} if config.preserve else constants
        return fused_pair(context, learned, constants, donors, listed, words, images=images, **more)

    terms = (preserved(config.preserve, config.give_way, "fused"),) if config.preserve else ()
    return Method(
        starts=tuple(networks_of(config.networks)),
        changes_source=True,
        constants=lambda nets: {"fused": nets["g"]} if config.preserve else {},
        prepare=prepare,
        extension=Extension(regularisers=terms),
    )


def _learn(
    context: PrepareContext, config: Any, start: dict[str, Variables], mixtures: dict[str, Mixture], fusing: Fusing
) -> tuple[GanState, list[dict[str, Any]]]:
    """Trains the stage: gates and channel maps are trained, and D where it is no mixture itself."""
    mixture, first = mixtures["g"], mixtures["g"].shares(start["g"]["params"])

    def wrap(pair: Pair) -> Pair:
        axis = pair.axis_name if config.shard_donors else None
        on = {name: dataclasses.replace(part, axis_name=axis) for name, part in mixtures.items()}
        d = fused(pair.d, on["d"]) if "d" in on else pair.d
        return dataclasses.replace(pair, g=fusing.net(pair, on["g"]), d=d)

    def clamp(ctx: StepContext, network: Network, before: Any, after: Any) -> Any:
        trained, opt = after
        return (mixtures[network].clamp(trained), opt) if network in mixtures else after

    def metrics(state: GanState) -> dict[str, jax.Array]:
        of_group = [w.reshape(len(w), -1).mean(1) for w in mixture.shares(state.nets["g"]["params"]).values()]
        return {f"share{i}": value for i, value in enumerate(jnp.stack(of_group).mean(0), 1)}

    post_step = None if fusing.post_step is None else functools.partial(fusing.post_step, mixture)
    optim = context.config.optim
    d_lr = config.fuse_lr if "d" in mixtures else optim.lr if optim.d_lr is None else optim.d_lr
    paced = dataclasses.replace(optim, lr=config.fuse_lr, d_lr=d_lr)
    context = context.with_optim(paced)
    rows: list[dict[str, Any]] = []
    state = context.train(
        start, config.fuse_kimg, name="mixing weights",
        trains={"g": mixture.trains, "d": mixtures["d"].trains if "d" in mixtures else every_leaf},
        wrap=wrap,
        extension=Extension(
            regularisers=tuple(fusing.terms(mixture, first)), post_update=clamp, post_step=post_step, metrics=metrics,
            sharding=cut_axis if config.shard_donors else None,
        ),
        row=lambda images, values: rows.append({"images": images, **values}),
    )  # fmt: skip
    return state, rows


def _listed(shares: dict[str, Shares]) -> dict[str, dict[str, list[float]]]:
    """Network -> group -> the donors' mixing weights, rounded; those of channels are averaged."""

    def mean(w: jax.Array) -> np.ndarray:
        """`[donors]`, the mean over channels."""
        return np.asarray(w, np.float64).reshape(len(w), -1).mean(1)

    return {
        name: {group: [round(float(x), 6) for x in mean(w)] for group, w in of.items()} for name, of in shares.items()
    }


def _words(source: str, names: Sequence[str], shares: Shares) -> str:
    listed = _listed({"g": shares})["g"]
    mean = np.mean(list(listed.values()), axis=0)
    parts = [f"{1 - mean.sum():.3f} of {source}", *(f"{w:.3f} of {name}" for w, name in zip(mean, names, strict=True))]
    return f"G is a mixture, on average {', '.join(parts)}"


# ----------------------------------------------------------------------------------------------------------------------
# Distillation as a stage: a plain G, the student, learns its teachers' images, without data and without D.

Rows = list[dict[str, Any]]


def distil_teachers(
    context: PrepareContext,
    config: DistillationConfig,
    g: Variables,
    d: Variables,
    teachers: Sequence[Variables],
    shares: Sequence[float],
    points: Sequence[str],
    teacher: Callable[[Pair], Net] = lambda pair: pair.g,
) -> tuple[Variables, Variables, int, Rows]:
    """Distils teachers into G: `(g, d, images, rows)`, the trained student and the unchanged D.

    Args:
      context: of the preparation.
      config: length, choice of a teacher for each example, and weights of the loss terms.
      g: variables of the student.
      d: variables of D, which is not used.
      teachers: variables of the teachers.
      shares: share of the examples that the student learns from each.
      points: modules whose features are compared, where these have a weight.
      teacher: `plain pair -> Net`, the network of the teachers.
    """
    distillation = Distillation(
        tuple(float(share) for share in shares),
        tuple(points) if config.feature_weight else (),
        config.by,
        functools.partial(_lpips, config.lpips) if config.lpips and _perceptual(config) else None,
    )
    weights = {"l1": config.l1, "features": config.feature_weight, "perceptual": config.perceptual}
    params = load_perceptual(config.lpips).params if config.lpips and _perceptual(config) else None
    g = attach(distillation, g, teachers, params)
    rows: Rows = []
    state = context.train(
        {"g": g, "d": d}, config.distil_kimg, name="distillation",
        trains={"g": trains, "d": no_leaf},
        wrap=lambda pair: dataclasses.replace(pair, g=with_teachers(pair.g, distillation, teacher(pair))),
        optim=distillation_optim(context.config.optim, config.distil_lr),
        extension=Extension(adversarial=False, regularisers=tuple(_term(name, weights[name]) for name in g[DISTANCES])),
        row=lambda images, metrics: rows.append({"images": images, **metrics}),
    )  # fmt: skip
    return plain(state.nets["g"]), state.nets["d"], int(state.images), rows


def distil(
    context: PrepareContext,
    config: DistillationConfig,
    g: Variables,
    d: Variables,
    fused: Variables,
    points: Sequence[str],
    net: Callable[[Pair], Net],
) -> tuple[Variables, Variables, int, Rows]:
    """`distil_teachers` as the second stage of a fusion: the frozen fused G is distilled into a plain G: `(g, d, images, rows)`.

    Args:
      context, config, d, points: as of `distil_teachers`.
      g: variables of the student; they may share arrays with the fused G.
      fused: variables of the fused G, the teacher.
      net: `plain pair -> Net`, the network of the teacher.
    """
    later = context.replace(key=jax.random.fold_in(context.key, DISTIL_KEY))
    return distil_teachers(later, config, jax.tree_util.tree_map(jnp.array, g), d, [fused], [1.0], points, net)


def distillation_optim(optim: OptimConfig, lr: float) -> OptimConfig:
    """The run's optimiser with Adam's usual betas and a step size that falls to 0, as suits distillation."""
    return dataclasses.replace(optim, lr=lr, b1=0.9, b2=0.999, schedule="linear")


def check_distillation(config: DistillationConfig, pair: Pair) -> None:
    """Checks that a distillation has teachers and a loss.

    Raises:
      ConfigError: there are no donors, G starts from no source, all weights are 0, or images are too small for LPIPS.
    """
    check_donors(config)
    if config.l1 == 0 and config.feature_weight == 0 and not _perceptual(config):
        raise ConfigError(
            "transfer.l1 and transfer.feature_weight are 0 and there is no LPIPS, so that nothing is learned; use l1 1"
        )
    if _perceptual(config) and pair.config.resolution < (least := NETWORKS[config.lpips or ""].least):
        raise ConfigError(
            f"transfer.lpips {config.lpips} needs images of at least {least} px, not {pair.config.resolution}; "
            "use another network, or None"
        )


def _term(name: str, weight: float) -> Regulariser:
    def value(ctx: StepContext) -> tuple[jax.Array, dict[str, Any]]:
        assert ctx.g_collections is not None
        return weight * ctx.g_collections[DISTANCES][name], {}

    return Regulariser(name, "g", value)


def _perceptual(config: DistillationConfig) -> bool:
    return config.lpips is not None and config.perceptual > 0


def _lpips(network: str, params: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    def rgb(images: jax.Array) -> jax.Array:
        """`[B, H, W, 3]` of grey, RGB or RGBA images."""
        return jnp.broadcast_to(images[..., :3], (*images.shape[:3], 3))

    return lpips(params, PERCEPTUAL[network], rgb(a), rgb(b))
