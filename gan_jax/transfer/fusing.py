"""The stage in which a fusion's shares are learned: donors opened, aligned, mixed, trained by the target's loss, baked.

It is a method's preparation, so that the run proper knows of no donor: what is fine-tuned is a plain pair, with an
optimiser and an average that begin from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.config import ConfigError
from gan_jax.fusion.donors import align_donor
from gan_jax.fusion.mixture import Gate, Mixture, Shares, fused, grouping
from gan_jax.nets import Pair, build
from gan_jax.surgery.align import singular_vectors
from gan_jax.surgery.families import layouts
from gan_jax.surgery.provenance import fused_history
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network, Regulariser
from gan_jax.train.state import GanState, Variables
from gan_jax.train.turn import Turn
from gan_jax.transfer.discriminators import best_discriminator
from gan_jax.transfer.ground import Ground, Prepared
from gan_jax.transfer.method import Method, networks_of

PROBES = 256  # latents that donors are aligned by
STATS = 8, 128  # batches and their size, that statistics of a baked network are measured on


@dataclasses.dataclass(frozen=True)
class Donors:
    """Networks in the target's shape, order and scales; the target, `source`, is not among them.

    Attributes:
      names: as they were asked for.
      g, d: variables; d is empty where D is the source's own.
      found: how alike they are, JSON values for `prepared.json`.
      histories: of each.
    """

    names: tuple[str, ...]
    g: list[Variables]
    d: list[Variables]
    found: dict[str, Any]
    histories: list[Any]


def open_donors(ground: Ground, config: Any, pair: Pair, g: Variables, d: Variables) -> Donors:
    """Reads the donors, one after the other, and brings each into the target's order and scales."""
    both = config.d != "base"
    z = jax.random.normal(jax.random.key(0), (PROBES, pair.config.z_dim))
    classes = getattr(pair.config, "num_classes", 0)
    labels = jnp.arange(PROBES, dtype=jnp.int32) % classes if classes else None
    images = jax.jit(lambda v: pair.g.apply(v, z, labels)[0])(g) if both and config.align == "activations" else None
    inputs = {"g": jax.jit(lambda v: pair.g.activations(v, z, labels)),
              "d": jax.jit(lambda v: pair.d.activations(v, images, labels))}  # fmt: skip
    networks: tuple[Network, ...] = ("g", "d") if both else ("g",)
    made: dict[str, list[Variables]] = {"g": [], "d": []}
    alike: list[dict[str, Any]] = []
    histories = []
    for name in config.donors:
        start = ground.donor(name, networks)
        row: dict[str, Any] = {"donor": name}
        for network in networks:
            target = {"g": g, "d": d}[network]
            aligned = align_donor(
                layouts(pair.config)[network], jax.device_get(target), jax.device_get(getattr(start, network)),
                by=config.align, scales=config.scales, activations=inputs[network],
            )  # fmt: skip
            made[network].append(jax.tree_util.tree_map(jnp.asarray, aligned.variables))
            row[network] = [aligned.before, aligned.after]
        alike.append(row)
        histories.append(start.history)
    return Donors(tuple(config.donors), made["g"], made["d"], {"by": config.align, "donors": alike}, histories)


@dataclasses.dataclass(frozen=True)
class Fusing:
    """What a fusion brings to the stage.

    Attributes:
      gate: `(ground, mixture of no gate yet, target's variables, donors, network) -> gate`.
      terms: what is paid beside the game.
      after: what happens to the state after each step.
    """

    gate: Callable[..., Gate]
    terms: Callable[[Mixture, Shares], Sequence[Regulariser]] = lambda mixture, start: ()
    after: Callable[[GanState, GanState, Turn], GanState] | None = None


def fusion(config: Any, pair: Pair, fusing: Fusing) -> Method:
    """The method: both networks start from the source, G as a mixture with the donors until it is baked.

    Raises:
      ConfigError: no donors; a D that is to be fused or chosen, but is fresh; a stage as long as the run.
    """
    _check(config)

    def prepare(ground: Ground, g: Variables, d: Variables, kept: dict[str, Any]) -> Prepared:
        bare = build(ground.config.net)
        donors = open_donors(ground, config, bare, g, d)
        key = jax.random.fold_in(ground.key, len(donors.names))
        if config.d == "best":
            d, losses = best_discriminator(ground, [d, *donors.d], g)
            donors.found["d"] = dict(zip([config.source, *donors.names], losses, strict=True))
        mixtures, fused_vars = {}, {"g": g, "d": d}
        for network, blocks, others in (("g", pair.g_blocks, donors.g), ("d", pair.d_blocks, donors.d)):
            if network == "d" and config.d != "mix":
                continue
            group = grouping(config.granularity, blocks)
            params = fused_vars[network]["params"]
            gate = fusing.gate(ground, group, fused_vars, [one["params"] for one in others], network)
            mixture = Mixture(gate, group, config.granularity == "channel", jnp.dtype(config.donor_dtype))
            mixtures[network] = mixture
            carried = mixture.attach(params, jax.random.fold_in(key, len(mixtures)), [o["params"] for o in others])
            fused_vars[network] = {**fused_vars[network], "params": carried}
        state, rows = _learn(ground, config, fused_vars, mixtures, fusing)
        shares = {name: mixture.shares(getattr(state, "g_ema" if name == "g" else name)["params"])
                  for name, mixture in mixtures.items()}  # fmt: skip
        plain = _baked(bare, state, mixtures, ground.key)
        found = donors.found | {"target": config.source, "shares": _listed(shares), "learned": rows}
        words = _words(config.source, donors.names, shares["g"])
        history = fused_history(ground.start.history, donors.names, donors.histories, _listed(shares), words)
        return Prepared(plain["g"], plain["d"], kept, int(state.images), history, {"fusion": found}, (words,))

    return Method(starts=tuple(networks_of(config.networks)), prepare=prepare)


def _learn(
    ground: Ground, config: Any, start: dict[str, Variables], mixtures: dict[str, Mixture], fusing: Fusing
) -> tuple[GanState, list[dict[str, Any]]]:
    """The stage: only gates are trained, and D where it is no mixture itself."""
    mixture, first = mixtures["g"], mixtures["g"].shares(start["g"]["params"])

    def grafted(pair: Pair) -> Pair:
        return dataclasses.replace(pair, **{name: fused(getattr(pair, name), one) for name, one in mixtures.items()})

    def settle(turn: Turn, network: Network, before: Any, after: Any) -> Any:
        trained, opt = after
        return (mixtures[network].clamp(trained), opt) if network in mixtures else after

    def shows(state: GanState) -> dict[str, jax.Array]:
        of_group = [w.reshape(len(w), -1).mean(1) for w in mixture.shares(state.g["params"]).values()]
        return {f"share{i}": value for i, value in enumerate(jnp.stack(of_group).mean(0), 1)}

    optim = ground.config.optim
    d_lr = config.fuse_lr if "d" in mixtures else optim.lr if optim.d_lr is None else optim.d_lr
    paced = dataclasses.replace(optim, lr=config.fuse_lr, d_lr=d_lr)
    ground = dataclasses.replace(ground, config=dataclasses.replace(ground.config, optim=paced))
    rows: list[dict[str, Any]] = []
    state = ground.train(
        start["g"], start["d"], config.fuse_kimg,
        trains=(mixture.trains, mixtures["d"].trains if "d" in mixtures else lambda path: True),
        grafted=grafted,
        extension=Extension(
            terms=tuple(fusing.terms(mixture, first)), settle=settle, after=fusing.after, shows=shows
        ),
        row=lambda images, metrics: rows.append({"images": images, **metrics}),
    )  # fmt: skip
    return state, rows


def _baked(pair: Pair, state: GanState, mixtures: dict[str, Mixture], key: jax.Array) -> dict[str, Variables]:
    """Plain G, of the average of the shares, and D, with statistics and singular vectors of the weights as they are."""
    from gan_jax.tasks.sample import make_restatistics

    out = {"g": state.g_ema, "d": state.d}
    for name, mixture in mixtures.items():
        out[name] = {**out[name], "params": mixture.bake(out[name]["params"])}
    batches, size = STATS
    out["g"] = make_restatistics(pair, size)(out["g"], key, batches)
    if "d" in mixtures and "spectral" in out["d"]:
        fresh = singular_vectors(layouts(pair.config)["d"], jax.device_get(out["d"]))
        out["d"] = jax.tree_util.tree_map(jnp.asarray, fresh)
    return out


def _listed(shares: dict[str, Shares]) -> dict[str, dict[str, list[float]]]:
    """Network -> group -> the donors' shares; of channels their mean."""
    mean = lambda w: np.asarray(w, np.float64).reshape(len(w), -1).mean(1)
    return {
        name: {group: [round(float(x), 6) for x in mean(w)] for group, w in of.items()} for name, of in shares.items()
    }


def _words(source: str, names: Sequence[str], shares: Shares) -> str:
    listed = _listed({"g": shares})["g"]
    mean = np.mean(list(listed.values()), axis=0)
    parts = [f"{1 - mean.sum():.3f} of {source}", *(f"{w:.3f} of {name}" for w, name in zip(mean, names, strict=True))]
    return f"G is a mixture, on average {', '.join(parts)}"


def _check(config: Any) -> None:
    if not config.donors:
        raise ConfigError("transfer.donors is empty: a fusion wants at least one source beside transfer.source")
    if config.networks != "both" and config.d != "base":
        raise ConfigError(
            f"transfer.d is {config.d}, which wants a D of every donor and of the source, but transfer.networks is "
            f"{config.networks}; use both, or transfer.d base"
        )
    if "g" not in networks_of(config.networks):
        raise ConfigError("transfer.networks is d, but fusion mixes pretrained Gs; use both or g")
    if config.fuse_kimg <= 0:
        raise ConfigError(f"transfer.fuse_kimg is {config.fuse_kimg:g}, so that no share is learned; use 0.5 or more")
