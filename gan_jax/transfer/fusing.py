"""The stage that learns a fusion's mixing weights: donors are mixed, trained by the target's loss, baked or distilled.

It is a method's preparation, so the main training has no donors: it fine-tunes a plain pair, whose optimiser and average
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

from gan_jax.config import ConfigError, DistillationConfig
from gan_jax.fusion.conditional import standing, with_statistics
from gan_jax.fusion.mixture import Gate, Mixture, Shares, cut_axis, fused, grouping
from gan_jax.fusion.points import choose_points
from gan_jax.nets import Net, Pair, build
from gan_jax.random_streams import MIXTURE_KEYS
from gan_jax.reserved import ADAPTER, DONORS
from gan_jax.train.context import StepContext
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network, Regulariser
from gan_jax.train.state import GanState, Networks, Variables
from gan_jax.transfer.discriminators import best_discriminator
from gan_jax.transfer.donors import Donors, check_donors, fused_pair, open_donors, recompute_statistics
from gan_jax.transfer.method import Method, networks_of
from gan_jax.transfer.methods.preserve import preserved
from gan_jax.transfer.preparation import PrepareContext, PreparedState, every_leaf
from gan_jax.transfer.teaching import distil
from gan_jax.trees import Tree


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
