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
from gan_jax.fusion.teachers import Distillation, attach, trains, with_teachers
from gan_jax.fusion.teachers import plain as without_teachers
from gan_jax.metrics.networks import NETWORKS, PERCEPTUAL
from gan_jax.metrics.perceptual import load_perceptual
from gan_jax.nets import Net, Networks, Pair
from gan_jax.nets.build import Variables
from gan_jax.nets.features.perceptual import lpips
from gan_jax.nets.inside import whole_groups
from gan_jax.random_streams import DISTIL_KEY, mixture_key
from gan_jax.reserved import ADAPTER, DISTANCES, DONORS
from gan_jax.surgery.provenance import fused_history
from gan_jax.tasks.inputs import judged
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network, Regulariser
from gan_jax.train.state import GanState
from gan_jax.train.state import Networks as StateNetworks
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.methods.preserve import preserved
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf, no_leaf
from gan_jax.transfer.probes import draw_probes, layout_of, recompute_statistics
from gan_jax.transfer.ranking import best_discriminator

# ----------------------------------------------------------------------------------------------------------------------
# Donors, the further sources of a fusion: opened, aligned with the target, and what was measured of them.


@dataclasses.dataclass(frozen=True)
class Donors:
    """Donor networks in the target's shape, order of channels and scales, without the target, `source`, itself.

    Attributes:
      names: as in `transfer.donors`.
      nets: network -> variables of each donor's; without discriminators where these are the source's own.
      record: how alike they are, JSON values for `prepared.json`.
      histories: provenance of each donor.
    """

    names: tuple[str, ...]
    nets: dict[str, list[Variables]]
    record: dict[str, Any]
    histories: list[Any]


def open_donors(context: PrepareContext, config: Any, plain: Networks, nets: StateNetworks) -> Donors:
    """Reads the donors one after the other, and aligns each with the target's order of channels and scales.

    Args:
      context: of the preparation.
      config: of the fusion.
      plain: plain networks.
      nets: the target's variables by network.

    Raises:
      PlanError, WeightsError: a donor cannot be read into the target's shape; names the leaf.
      AlignError: as `fusion.mixture.align_donor`.
    """
    networks = (*plain.generators, *(() if config.d == "base" else plain.discriminators))
    align = aligner(context, config, plain, nets)
    variables: dict[str, list[Variables]] = {name: [] for name in networks}
    alike: list[dict[str, Any]] = []
    histories = []
    for donor in config.donors:
        start = context.open_donor(donor, networks)
        row: dict[str, Any] = {"donor": donor}
        for name in networks:
            aligned = align(name, start.nets[name])
            variables[name].append(aligned.variables)
            row[name] = [aligned.before, aligned.after]
        alike.append(row)
        histories.append(start.history)
    return Donors(tuple(config.donors), variables, {"by": config.align, "donors": alike}, histories)


def aligner(
    context: PrepareContext, config: Any, plain: Networks, nets: StateNetworks
) -> Callable[[Network, Variables], Aligned]:
    """Makes `(network, a donor's variables) -> Aligned`, in the order of channels and the scales of these networks.

    Arrays are on the host with `shard_donors`, else on the device.

    Args:
      context: has the data.
      config: what channels are matched by, and whether scales are changed too.
      plain: plain networks.
      nets: variables of the target by network.
    """
    targets = jax.device_get({name: nets[name] for name in (*plain.generators, *plain.discriminators)})
    activations = _activations(context, plain, nets) if config.align == "activations" else {}
    place = np.asarray if config.shard_donors else jnp.asarray

    def align(network: Network, other: Variables) -> Aligned:
        aligned = align_donor(
            layout_of(plain.config, network), targets[network], jax.device_get(other),
            by=config.align, scales=config.scales, activations=activations.get(network),
        )  # fmt: skip
        return dataclasses.replace(aligned, variables=jax.tree_util.tree_map(place, aligned.variables))

    return align


def descriptors(context: PrepareContext, plain: Networks, name: str, every: Sequence[Variables]) -> jax.Array:
    """Descriptors `[N, M]` of N generators, from what they make of the same inputs, standardised over the generators.

    Args:
      context: has the data.
      plain: plain networks.
      name: of the generator.
      every: variables of the generators.
    """
    x, labels = draw_probes(context, plain, name, jax.random.key(0))
    make = jax.jit(lambda g: describe(plain.nets[name].apply(g, x, labels)[0]))
    return standardised(jnp.stack([make(g) for g in every]))


def unaligned_donors(context: PrepareContext, names: Sequence[str]) -> Donors:
    """Reads the donors' Gs without alignment: channels stay in their own order."""
    starts = [context.open_donor(name) for name in names]
    record = {"by": "none", "donors": [{"donor": name} for name in names]}
    return Donors(tuple(names), {"g": [start.nets["g"] for start in starts]}, record, [s.history for s in starts])


def fused_pair(
    context: PrepareContext,
    nets: StateNetworks,
    constants: dict[str, Any],
    donors: Donors,
    shares: dict[str, Any],
    words: str,
    *,
    images: int = 0,
    **measured: Any,
) -> PreparedState:
    """The result of a fusion: one set of networks, a history that includes the donors', and a record under `fusion`.

    Args:
      context: of the preparation.
      constants, images: as of `PreparedState`.
      nets: variables by network.
      donors: the donors.
      shares: network -> group of leaves -> the donors' mixing weights, for the fused networks.
      words: the same as a sentence.
      measured: more for the record, JSON values.
    """
    config: Any = context.config.transfer
    history = fused_history(context.start.history, donors.names, donors.histories, shares, words)
    record = {**donors.record, "target": config.source, "shares": shares, **measured}
    return PreparedState(nets, constants, images, history, {"fusion": record}, (words,))


def check_donors(config: Any, plain: Networks) -> None:
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
    if config.d == "best" and not isinstance(plain, Pair):
        raise ConfigError(
            f"transfer.d best compares discriminators of one generator g on the target, and these networks are "
            f"{', '.join(plain.nets)}; use transfer.d base or mix"
        )


def _activations(context: PrepareContext, plain: Networks, nets: StateNetworks) -> dict[str, Any]:
    """`{network: function of its variables}`: activations of a generator on fixed inputs, of a D on the target's images."""
    functions = {}
    for name in plain.generators:
        net, judge = plain.nets[name], plain.judges[name]
        x, labels = draw_probes(context, plain, name, jax.random.key(0))
        images = jax.jit(lambda v, net=net, x=x, labels=labels: net.apply(v, x, labels)[0])(nets[name])
        functions[name] = jax.jit(lambda v, net=net, x=x, labels=labels: net.activations(v, x, labels))
        sample = judged(plain, x, images)
        if isinstance(plain, Pair):
            count = whole_groups(plain, len(sample))
            sample, labels = sample[:count], None if labels is None else labels[:count]
        ask = plain.nets[judge].activations
        functions[judge] = jax.jit(lambda v, ask=ask, sample=sample, labels=labels: ask(v, sample, labels))
    return functions


# ----------------------------------------------------------------------------------------------------------------------
# The stage that learns a fusion's mixing weights: donors are mixed, trained by the target's loss, baked or distilled.

Mixtures = dict[str, Mixture]  # by network
Rows = list[dict[str, Any]]


def _of_weights(plain: Networks, name: str, mixture: Mixture) -> Net:
    return fused(plain.nets[name], mixture)


@dataclasses.dataclass(frozen=True)
class Fusing:
    """The parts of a fusion that differ from method to method.

    Attributes:
      gate: `(context, path of a leaf -> its group, the target's variables by network, donors, network) -> gate`.
      terms: `(generator, its mixture, its mixing weights at the start) -> loss terms` beside the adversarial loss.
      post_step: `Extension.post_step` with the mixtures as a first argument.
      net: `(networks of the stage, generator, its mixture) -> Net`, the generator of the stage.
      aligner: whether donors' channels have trained channel maps.
      distillation: configuration by which the fused G is distilled into the baked one; None = the baked G is the result.
    """

    gate: Callable[[PrepareContext, Callable[[str], str], dict[str, Variables], Donors, Network], Gate]
    terms: Callable[[Network, Mixture, Shares], Sequence[Regulariser]] = lambda name, mixture, start: ()
    post_step: Callable[[Mixtures, GanState, GanState, StepContext], GanState] | None = None
    net: Callable[[Networks, Network, Mixture], Net] = _of_weights
    aligner: bool = False
    distillation: DistillationConfig | None = None


def fusion(config: Any, plain: Networks, fusing: Fusing) -> Method:
    """Makes the method: all networks start from the source, and each generator is a mixture with the donors' until it is baked.

    Raises:
      ConfigError: there are no donors; D is to be fused or chosen, but is fresh; the stage has no length; donors are to be
        sharded where each example has mixing weights of its own, or by a compiler that shards nothing; several generators
        are to be distilled.
    """
    check_donors(config, plain)
    if config.fuse_kimg <= 0:
        raise ConfigError(
            f"transfer.fuse_kimg is {config.fuse_kimg:g}, so that no mixing weight is learned; use 0.5 or more"
        )

    if config.shard_donors and config.of_examples:
        raise ConfigError(
            f"transfer.shard_donors cuts donors, of which one mixture is made, but with transfer.query {config.query} every "
            "example has its own; use transfer.per batch, or shard_donors off"
        )
    if fusing.distillation is not None and len(plain.generators) > 1:
        raise ConfigError(
            f"transfer.collapse distil is of one generator, and these networks are {', '.join(plain.nets)}; use mean"
        )

    def prepare(context: PrepareContext, nets: StateNetworks, constants: dict[str, Any]) -> PreparedState:
        if config.shard_donors and context.config.train.compile != "jit":
            raise ConfigError(
                f"transfer.shard_donors needs train.compile jit, not {context.config.train.compile}, which cuts nothing"
            )
        donors = open_donors(context, config, plain, nets)
        if config.d == "best":
            d, losses = best_discriminator(context, [nets["d"], *donors.nets["d"]], nets["g"])
            donors.record["d"] = dict(zip([config.source, *donors.names], losses, strict=True))
            nets = {**nets, "d": d}
        start, mixtures = dict(nets), {}
        mixed = (*plain.generators, *(plain.discriminators if config.d == "mix" else ()))
        for name in mixed:
            group = grouping(config.granularity, plain.g_blocks if name in plain.generators else plain.d_blocks)
            gate = fusing.gate(context, group, nets, donors, name)
            dtype = jnp.dtype(config.donor_dtype)
            mixture = Mixture(gate, group, config.granularity == "channel", dtype, fusing.aligner)
            key = jax.random.fold_in(context.key, mixture_key(name))
            trees = [variables["params"] for variables in donors.nets[name]]
            start[name] = {**start[name], "params": mixture.attach(start[name]["params"], key, trees)}
            mixtures[name] = mixture
        state, rows = _learn(context, config, plain, start, mixtures, fusing)
        # Averages, which smooth mixing weights that oscillate.
        learned = {name: (state.ema if name in plain.generators else state.nets)[name] for name in plain.nets}
        shares = {name: mixture.shares(learned[name]["params"]) for name, mixture in mixtures.items()}
        fused_nets, images = dict(learned), int(state.images)
        for name, mixture in mixtures.items():
            params = learned[name]["params"]  # and donors as they were before they were sharded
            branch = {**params[ADAPTER], DONORS: start[name]["params"][ADAPTER][DONORS]}
            baked = {**learned[name], "params": mixture.bake({**params, ADAPTER: branch})}
            learned[name] = recompute_statistics(context, plain, name, baked)
        listed = _listed(shares)
        words = "; ".join(_words(config.source, donors.names, shares[name], name) for name in plain.generators)
        more: dict[str, Any] = {"learned": rows}
        if fusing.distillation is not None:
            learned, shown, losses = _distilled(context, fusing, plain, nets, donors, mixtures, learned, fused_nets)
            images, more = images + shown, more | {"taught": losses}
            words += "; then the mixture was distilled into it, " + (
                "input by input" if plain.config.translates else "latent by latent"
            )
        constants = held_generators(plain, learned) if config.preserve else constants
        return fused_pair(context, learned, constants, donors, listed, words, images=images, **more)

    terms = preserved(plain, config.preserve, config.give_way, "fused") if config.preserve else ()
    return Method(
        starts=tuple(networks_of(config.networks, plain)),
        changes_source=True,
        constants=lambda nets: held_generators(plain, nets) if config.preserve else {},
        prepare=prepare,
        extension=Extension(regularisers=terms),
    )


def held_generators(plain: Networks, nets: StateNetworks) -> dict[str, Any]:
    """The constants of `preserved` after a fusion: variables of the generator, or of several by name."""
    return {"fused": nets["g"] if isinstance(plain, Pair) else {name: nets[name] for name in plain.generators}}


def _learn(
    context: PrepareContext, config: Any, plain: Networks, start: StateNetworks, mixtures: Mixtures, fusing: Fusing
) -> tuple[GanState, list[dict[str, Any]]]:
    """Trains the stage: gates and channel maps are trained, and what is no mixture itself, such as D."""
    of_generators = {name: mixtures[name] for name in plain.generators}
    terms = [
        term
        for name, mixture in of_generators.items()
        for term in fusing.terms(name, mixture, mixture.shares(start[name]["params"]))
    ]

    def wrap(stage: Networks) -> Networks:
        axis = stage.axis_name if config.shard_donors else None
        on = {name: dataclasses.replace(part, axis_name=axis) for name, part in mixtures.items()}
        make = lambda name: (fusing.net if name in of_generators else _of_weights)(stage, name, on[name])
        return stage.with_nets(**{name: make(name) for name in on})

    def clamp(ctx: StepContext, network: Network, before: Any, after: Any) -> Any:
        trained, opt = after
        return (mixtures[network].clamp(trained), opt) if network in mixtures else after

    def metrics(state: GanState) -> dict[str, jax.Array]:
        values = {}
        for name, mixture in of_generators.items():
            of_group = [w.reshape(len(w), -1).mean(1) for w in mixture.shares(state.nets[name]["params"]).values()]
            mean = jnp.stack(of_group).mean(0)
            values |= {share_metric(plain, name, i): value for i, value in enumerate(mean, 1)}
        return values

    post_step = None if fusing.post_step is None else functools.partial(fusing.post_step, mixtures)
    optim = context.config.optim
    fuses_d = any(name in mixtures for name in plain.discriminators)
    d_lr = config.fuse_lr if fuses_d else optim.lr if optim.d_lr is None else optim.d_lr
    paced = dataclasses.replace(optim, lr=config.fuse_lr, d_lr=d_lr)
    context = context.with_optim(paced)
    rows: list[dict[str, Any]] = []
    state = context.train(
        start, config.fuse_kimg, name="mixing weights",
        trains={name: mixtures[name].trains if name in mixtures else every_leaf for name in start},
        wrap=wrap,
        extension=Extension(
            regularisers=tuple(terms), post_update=clamp, post_step=post_step, metrics=metrics,
            sharding=cut_axis if config.shard_donors else None,
        ),
        row=lambda images, values: rows.append({"images": images, **values}),
    )  # fmt: skip
    return state, rows


def share_metric(plain: Networks, name: str, donor: int) -> str:
    """The name of a donor's mean mixing weight in rows of metrics: `share1`, of several generators `share1_g_ab`."""
    return f"share{donor}" if len(plain.generators) == 1 else f"share{donor}_{name}"


def _distilled(
    context: PrepareContext,
    fusing: Fusing,
    plain: Any,
    nets: StateNetworks,
    donors: Donors,
    mixtures: Mixtures,
    baked: StateNetworks,
    learned: StateNetworks,
) -> tuple[StateNetworks, int, Rows]:
    """`(networks, images, rows)` after the mixture, the learned G, was distilled into the baked one."""
    assert fusing.distillation is not None
    mixture, teacher = mixtures["g"], learned["g"]
    net = lambda stage: fusing.net(stage, "g", mixture)
    if "batch_stats" in nets["g"]:  # those of a batch would mix statistics of different networks
        source, *others = (
            recompute_statistics(context, plain, "g", variables) for variables in (nets["g"], *donors.nets["g"])
        )
        teacher = with_statistics(teacher, source, others)
        net = lambda stage: standing(fusing.net(stage, "g", mixture))
    points = tuple(choose_points(plain)) if fusing.distillation.feature_weight else ()
    return distil(context, fusing.distillation, baked, teacher, points, net)


def _listed(shares: dict[str, Shares]) -> dict[str, dict[str, list[float]]]:
    """Network -> group -> the donors' mixing weights, rounded; those of channels are averaged."""

    def mean(w: jax.Array) -> np.ndarray:
        """`[donors]`, the mean over channels."""
        return np.asarray(w, np.float64).reshape(len(w), -1).mean(1)

    return {
        name: {group: [round(float(x), 6) for x in mean(w)] for group, w in of.items()} for name, of in shares.items()
    }


def _words(source: str, names: Sequence[str], shares: Shares, network: str) -> str:
    listed = _listed({"g": shares})["g"]
    mean = np.mean(list(listed.values()), axis=0)
    parts = [f"{1 - mean.sum():.3f} of {source}", *(f"{w:.3f} of {name}" for w, name in zip(mean, names, strict=True))]
    return f"{network.upper()} is a mixture, on average {', '.join(parts)}"


# ----------------------------------------------------------------------------------------------------------------------
# Distillation as a stage: a plain G, the student, learns its teachers' images, without D. Translators are given the inputs
# of the data; others need none.


def distil_teachers(
    context: PrepareContext,
    config: DistillationConfig,
    nets: StateNetworks,
    teachers: Sequence[Variables],
    shares: Sequence[float],
    points: Sequence[str],
    teacher: Callable[[Any], Net] = lambda stage: stage.nets["g"],
) -> tuple[StateNetworks, int, Rows]:
    """Distils teachers into G: `(networks, images, rows)`, the trained student and the others unchanged.

    Args:
      context: of the preparation.
      config: length, choice of a teacher for each example, and weights of the loss terms.
      nets: variables of the student, `g`, and of other networks, which are not used.
      teachers: variables of the teachers.
      shares: share of the examples that the student learns from each.
      points: modules whose features are compared, where these have a weight.
      teacher: `plain networks -> Net`, the network of the teachers.
    """
    distillation = Distillation(
        tuple(float(share) for share in shares),
        tuple(points) if config.feature_weight else (),
        config.by,
        functools.partial(_lpips, config.lpips) if config.lpips and _perceptual(config) else None,
    )
    weights = {"l1": config.l1, "features": config.feature_weight, "perceptual": config.perceptual}
    params = load_perceptual(config.lpips).params if config.lpips and _perceptual(config) else None
    g = attach(distillation, nets["g"], teachers, params)
    rows: Rows = []
    state = context.train(
        {**nets, "g": g}, config.distil_kimg, name="distillation",
        trains={**dict.fromkeys(nets, no_leaf), "g": trains},
        wrap=lambda stage: stage.with_nets(g=with_teachers(stage.nets["g"], distillation, teacher(stage))),
        optim=distillation_optim(context.config.optim, config.distil_lr),
        extension=Extension(adversarial=False, regularisers=tuple(_term(name, weights[name]) for name in g[DISTANCES])),
        row=lambda images, metrics: rows.append({"images": images, **metrics}),
    )  # fmt: skip
    return {**state.nets, "g": without_teachers(state.nets["g"])}, int(state.images), rows


def distil(
    context: PrepareContext,
    config: DistillationConfig,
    nets: StateNetworks,
    fused: Variables,
    points: Sequence[str],
    net: Callable[[Any], Net],
) -> tuple[StateNetworks, int, Rows]:
    """`distil_teachers` as the second stage of a fusion: the frozen fused G is distilled into a plain G.

    Args:
      context, config, points: as of `distil_teachers`.
      nets: variables of the student and of other networks; the student may share arrays with the fused G.
      fused: variables of the fused G, the teacher.
      net: `plain networks -> Net`, the network of the teacher.
    """
    later = context.replace(key=jax.random.fold_in(context.key, DISTIL_KEY))
    own = {**nets, "g": jax.tree_util.tree_map(jnp.array, nets["g"])}
    return distil_teachers(later, config, own, [fused], [1.0], points, net)


def distillation_optim(optim: OptimConfig, lr: float) -> OptimConfig:
    """The run's optimiser with Adam's usual betas and a step size that falls to 0, as suits distillation."""
    return dataclasses.replace(optim, lr=lr, b1=0.9, b2=0.999, schedule="linear")


def check_distillation(config: DistillationConfig, pair: Pair) -> None:
    """Checks that a distillation has teachers and a loss.

    Raises:
      ConfigError: there are no donors, G starts from no source, all weights are 0, or images are too small for LPIPS.
    """
    check_donors(config, pair)
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
