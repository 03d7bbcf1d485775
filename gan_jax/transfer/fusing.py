"""The stage that learns a fusion's mixing weights: donors are mixed, trained by the target's loss, baked or distilled.

Fusing is a method's preparation, so the main training has no donors: it fine-tunes plain networks, whose optimiser and
average begin from it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError, DistillationConfig
from gan_jax.fusion.attention import standing, with_statistics
from gan_jax.fusion.features import choose_points
from gan_jax.fusion.mixture import Gate, Mixture, Shares, cut_axis, fused, grouping
from gan_jax.nets import Net, Networks, Pair
from gan_jax.nets.build import Variables
from gan_jax.random_streams import mixture_key
from gan_jax.reserved import ADAPTER, DONORS
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network, Regulariser
from gan_jax.train.state import GanState
from gan_jax.train.state import Networks as StateNetworks
from gan_jax.transfer.distilling import Rows, distil
from gan_jax.transfer.donors import Donors, check_donors, fused_pair, open_donors
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.methods.preserve import preserved
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf
from gan_jax.transfer.probes import recompute_statistics
from gan_jax.transfer.ranking import best_discriminator

Mixtures = dict[str, Mixture]  # by network


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
    _check(config, plain, fusing)

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
        mixtures = _mixtures(context, config, plain, nets, donors, fusing)
        start = _attached(context, nets, donors, mixtures)
        state, rows = _learn(context, config, plain, start, mixtures, fusing)
        # Averages, which smooth mixing weights that oscillate.
        learned = {name: (state.ema if name in plain.generators else state.nets)[name] for name in plain.nets}
        learned |= {name: _with_donors_of(start[name], learned[name]) for name in mixtures}
        baked = dict(learned)
        for name, mixture in mixtures.items():
            plain_variables = {**learned[name], "params": mixture.bake(learned[name]["params"])}
            baked[name] = recompute_statistics(context, plain, name, plain_variables)
        shares = {name: _listed(mixture.shares(learned[name]["params"])) for name, mixture in mixtures.items()}
        words = "; ".join(_words(config.source, donors.names, shares[name], name) for name in plain.generators)
        images, record = int(state.images), {"learned": rows}
        if fusing.distillation is not None:
            baked, shown, record["taught"] = _distilled(context, fusing, plain, nets, donors, mixtures, baked, learned)
            images += shown
            words += "; then the mixture was distilled into it, " + (
                "input by input" if plain.config.translates else "latent by latent"
            )
        constants = held_generators(plain, baked) if config.preserve else constants
        return fused_pair(context, baked, constants, donors, shares, words, images=images, **record)

    terms = preserved(plain, config.preserve, config.give_way, "fused") if config.preserve else ()
    return Method(
        starts=tuple(networks_of(config.networks, plain)),
        changes_source=True,
        constants=lambda nets: held_generators(plain, nets) if config.preserve else {},
        prepare=prepare,
        extension=Extension(regularisers=terms),
    )


def _check(config: Any, plain: Networks, fusing: Fusing) -> None:
    """Raises ConfigError where nothing is learned, or donors cannot be sharded or distilled as they should."""
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


def held_generators(plain: Networks, nets: StateNetworks) -> dict[str, Any]:
    """The constants of `preserved` after a fusion: variables of the generator, or of several by name."""
    return {"fused": nets["g"] if isinstance(plain, Pair) else {name: nets[name] for name in plain.generators}}


def _mixtures(
    context: PrepareContext, config: Any, plain: Networks, nets: StateNetworks, donors: Donors, fusing: Fusing
) -> Mixtures:
    """The mixture of every generator and, where Ds are mixed, of every discriminator."""
    mixtures, dtype = {}, jnp.dtype(config.donor_dtype)
    for name in (*plain.generators, *(plain.discriminators if config.d == "mix" else ())):
        group = grouping(config.granularity, plain.g_blocks if name in plain.generators else plain.d_blocks)
        gate = fusing.gate(context, group, nets, donors, name)
        mixtures[name] = Mixture(gate, group, config.granularity == "channel", dtype, fusing.aligner)
    return mixtures


def _attached(context: PrepareContext, nets: StateNetworks, donors: Donors, mixtures: Mixtures) -> StateNetworks:
    """The networks at the start of the stage: mixtures hold the donors and a fresh gate."""
    start = dict(nets)
    for name, mixture in mixtures.items():
        key = jax.random.fold_in(context.key, mixture_key(name))
        trees = [variables["params"] for variables in donors.nets[name]]
        start[name] = {**nets[name], "params": mixture.attach(nets[name]["params"], key, trees)}
    return start


def _with_donors_of(start: Variables, learned: Variables) -> Variables:
    """What was learned, with donors as they were before they were sharded."""
    branch = {**learned["params"][ADAPTER], DONORS: start["params"][ADAPTER][DONORS]}
    return {**learned, "params": {**learned["params"], ADAPTER: branch}}


def _learn(
    context: PrepareContext, config: Any, plain: Networks, start: StateNetworks, mixtures: Mixtures, fusing: Fusing
) -> tuple[GanState, Rows]:
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
    rows: Rows = []
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


def _listed(shares: Shares) -> dict[str, list[float]]:
    """Group -> the donors' mixing weights, rounded; those of channels are averaged."""
    means = {group: np.asarray(w, np.float64).reshape(len(w), -1).mean(1) for group, w in shares.items()}
    return {group: [round(float(x), 6) for x in mean] for group, mean in means.items()}


def _words(source: str, names: Sequence[str], shares: dict[str, list[float]], network: str) -> str:
    """A sentence with the mean over groups of the mixing weights of a network."""
    mean = np.mean(list(shares.values()), axis=0)
    parts = [f"{1 - mean.sum():.3f} of {source}", *(f"{w:.3f} of {name}" for w, name in zip(mean, names, strict=True))]
    return f"{network.upper()} is a mixture, on average {', '.join(parts)}"
