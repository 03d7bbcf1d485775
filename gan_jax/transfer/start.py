"""The start of a run: fresh variables, the plan of a transplant into them, and its execution."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from gan_jax.config import Config, ConfigError, ScratchConfig, TransplantConfig
from gan_jax.interop.source import Source
from gan_jax.nets import Networks, Pair
from gan_jax.random_streams import READY_KEY
from gan_jax.roots import pair_part
from gan_jax.surgery import Plan
from gan_jax.surgery.families import new_norms
from gan_jax.surgery.measure import calibrate
from gan_jax.tasks import networks_of
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.method import Method
from gan_jax.transfer.methods import MakeMethod, make_method
from gan_jax.transfer.preparation import PrepareContext, PreparedState, Start
from gan_jax.transfer.source import open_source
from gan_jax.transfer.weights import fill, fresh_variables, plan_weights
from gan_jax.trees import flatten, match


def plan_transfer(config: Config, method: MakeMethod | None = None) -> Plan:
    """Plans the origin of every leaf of the new networks from shapes alone: no weights are read, no array is made."""
    transfer = config.transfer
    if isinstance(transfer, ScratchConfig):
        raise ConfigError("the method is scratch, which transfers nothing: there is no plan; use finetune")
    networks = networks_of(config)
    make = method or make_method
    transfer_method = make(transfer, networks)
    source = open_source(transfer.source)
    return _plan(transfer, networks, transfer_method, source, _target(networks, transfer_method))


def make_start(config: Config, networks: Networks, method: Method) -> Start:
    """Makes the variables: transplanted where the method takes them from the source, fresh elsewhere."""
    transfer = config.transfer
    if isinstance(transfer, ScratchConfig) or not method.starts:
        return Start(fresh_variables(networks, config.train.seed))
    source, target = open_source(transfer.source), _target(networks, method)
    plan = _plan(transfer, networks, method, source, target)
    result = fill(source, plan, networks, target, seed=config.train.seed)
    started = result.variables.keys() >= networks.nets.keys()
    nets = result.variables if started else fresh_variables(networks, config.train.seed) | result.variables
    if isinstance(networks, Pair):
        norms = {k: v for k, v in new_norms(networks.config, source.net).items() if k in method.starts}
        nets = _calibrated(nets, networks, norms)
    differences = None if isinstance(result.measured, str) else result.measured
    return Start({name: nets[name] for name in networks.nets}, plan, differences, tuple(result.history))


def make_prepared(
    trainer: Trainer, start: Start, method: Method, key: jax.Array, stage: Callable[..., None] | None = None
) -> PreparedState:
    """Adds auxiliary parameters and constants of the method to a start, and runs the method's preparation.

    Args:
      trainer: of the run.
      start: variables of the plain networks.
      method: transfer method of the run.
      key: typed PRNG key of the run.
      stage: `(name, images, total, metrics)`, called with the progress of stages; None = no callback.
    """
    root = jax.random.fold_in(key, READY_KEY)
    keys = [*jax.random.split(root, 2), *(jax.random.fold_in(root, i) for i in range(2, len(start.nets)))]
    nets = {name: method.attach(name, variables, keys[i]) for i, (name, variables) in enumerate(start.nets.items())}
    constants = method.constants(nets)
    if method.prepare is None:
        return PreparedState(nets, constants)
    open_donor = functools.partial(_donor, trainer.config, method)
    context = PrepareContext(trainer, key, start, open_donor)
    return method.prepare(context if stage is None else context.replace(stage=stage), nets, constants)


def _donor(config: Config, method: Method, name: str, networks: Sequence[str] = ("g",)) -> Start:
    """Makes the start of a run that takes these networks from another source."""
    config = dataclasses.replace(config, transfer=dataclasses.replace(config.transfer, source=name))
    return make_start(config, networks_of(config), dataclasses.replace(method, starts=tuple(networks)))


def _calibrated(
    variables: dict[str, Any], pair: Pair, norms: Mapping[str, Sequence[str]], n: int = 256
) -> dict[str, Any]:
    """Calibrates norms that growth added, so that both networks compute the same in training and evaluation mode."""
    if not any(norms.values()):
        return variables
    z = jax.random.normal(jax.random.key(0), (n, pair.config.z_dim))
    out = dict(variables)
    if names := norms.get("g"):
        out["g"] = calibrate(jax.jit(pair.g.statistics), out["g"], z, names)
    if names := norms.get("d"):
        images = jax.jit(lambda v: pair.g.apply(v, z)[0])(out["g"])
        out["d"] = calibrate(jax.jit(pair.d.statistics), out["d"], images, names)
    return out


def _started(networks: Networks, method: Method) -> list[str]:
    """The networks that start from the source: those that the method names, and those that are like them."""
    return [name for name in networks.nets if name in method.starts or pair_part(name) in method.starts]


def _target(networks: Networks, method: Method) -> dict[str, Any]:
    """Specs of the networks that start from the source, placed on the default device."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
    nets = networks.nets
    return {name: jax.tree_util.tree_map(place, nets[name].specs()) for name in _started(networks, method)}


def _trains(networks: Networks, method: Method, path: str) -> bool:
    """Whether the method trains the leaf `g/params/..` or `d/params/..`; True for other collections."""
    prefixes = {network: f"{network}/params/" for network in networks.nets}
    return all(method.trains(n)(path.removeprefix(prefix)) for n, prefix in prefixes.items() if path.startswith(prefix))


def _plan(
    policies: TransplantConfig, networks: Networks, method: Method, source: Source, target: dict[str, Any]
) -> Plan:
    paths = flatten(target)
    fresh = tuple(pattern for pattern in method.fresh if any(match(pattern, path) for path in paths))
    frozen = tuple(path for path in paths if not _trains(networks, method, path))
    return plan_weights(source, networks.config, target, policies, frozen=frozen, fresh=fresh)
