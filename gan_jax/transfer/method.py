"""Methods of transfer: how a pair starts, which leaves are trained, what is added to each step, and the trainer.

A method changes no network's code, no step and no other method. A new one is a function `(config, pair) -> Method`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gan_jax.config import Config, SPADEConfig
from gan_jax.data import Pairs
from gan_jax.nets import Networks as PlainNetworks
from gan_jax.nets import Pair
from gan_jax.nets.build import Net, Variables
from gan_jax.nets.fronts import Branches, Front, prepend_front
from gan_jax.random_streams import BRANCH_KEY
from gan_jax.reserved import ADAPTER, GRAFT
from gan_jax.tasks import task_of
from gan_jax.tasks.feeds import resident_pairs
from gan_jax.train.extension import Extension
from gan_jax.train.feed import Feed, resident_feed
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks
from gan_jax.train.trainer import Trainer
from gan_jax.transfer.adapters import Adapter, adapted, attach, bake
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import Tree, match

# ----------------------------------------------------------------------------------------------------------------------
# Grafts: auxiliary parameters of a network during a transfer, beside its own leaves.
#
# A grafted network is a `Net` whose parameters have further branches: `adapter/PATH/NAME` for the arrays of an adapted
# leaf, `graft/NAME/...` for other trained leaves of a method, such as a second head of D or a network before G. Freezing,
# moments, averages and checkpoints treat them as any other leaves; `plain` removes them.


@dataclasses.dataclass(frozen=True)
class Graft:
    """The auxiliary parameters of one network.

    Attributes:
      adapter: makes effective leaves of frozen leaves and small arrays.
      branches: name -> `(key, params) -> tree`, which draws a further branch.
      front: `(branches, x) -> x`, a transform of the network's input (G's latents, D's images); or a `Front`, which
        weights may keep with its branches.
    """

    adapter: Adapter | None = None
    branches: Mapping[str, Callable[[jax.Array, Tree], Tree]] = dataclasses.field(default_factory=dict)
    front: Callable[[Branches, jax.Array], jax.Array] | Front | None = None

    @property
    def as_front(self) -> Front | None:
        """The transform of the input; None = there is none."""
        return self.front if self.front is None or isinstance(self.front, Front) else Front(self.front)

    def trains(self, path: str) -> bool | None:
        """Whether a leaf of `params` is trained; None for leaves of the network itself."""
        if path.startswith(f"{ADAPTER}/"):
            return self.adapter is not None and self.adapter.trains(path)
        return True if path.startswith(f"{GRAFT}/") else None

    def attach(self, params: Tree, key: jax.Array) -> Tree:
        """Adds all branches to parameters; draws depend on the key and on names only."""
        draws = {name: init(jax.random.fold_in(key, i), params) for i, (name, init) in enumerate(self.branches.items())}
        out = params if self.adapter is None else attach(self.adapter, params, jax.random.fold_in(key, len(draws)))
        return {**out, GRAFT: draws} if draws else out

    def plain(self, params: Tree) -> Tree:
        """Parameters of the plain network: the adapter is folded in, other branches are dropped."""
        trees = {name: tree for name, tree in params.items() if name != GRAFT}
        return trees if self.adapter is None else bake(self.adapter, trees)

    def shared(self, params: Tree) -> Tree:
        """Parameters to share: those of the plain network, and the branches of a front that weights keep."""
        with_front = self.as_front is not None and self.as_front.spec is not None
        return self.plain(params) | ({GRAFT: params[GRAFT]} if with_front else {})


def grafted(net: Net, graft: Graft) -> Net:
    """Wraps a network so that it computes with its auxiliary parameters."""
    inner = net if graft.adapter is None else adapted(net, graft.adapter)
    if not graft.branches and graft.front is None:
        return inner

    def init(key: jax.Array) -> Variables:
        variables = net.init(key)
        return {**variables, "params": graft.attach(variables["params"], jax.random.fold_in(key, BRANCH_KEY))}

    return dataclasses.replace(prepend_front(inner, graft.as_front), init=init)


# ----------------------------------------------------------------------------------------------------------------------
# Methods.


def _no_constants(nets: Networks) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class Method:
    """A transfer method.

    Attributes:
      starts: the networks, such as `g` and `d`, that start from the source; the others are fresh.
      fresh: patterns over `g/params/..` and `d/params/..` of leaves of these networks that are fresh nevertheless.
      frozen: patterns over the same paths of leaves that are not trained.
      trained: patterns that are trained although `frozen` covers them.
      grafts: auxiliary parameters of each network during the transfer; all are trained except `fixed` ones.
      constants: `nets -> tree`, kept in `state.constants` from the start on, so that a resumed run does not read the source.
      prepare: `(context, nets, constants) -> PreparedState`, work before the main training that needs data or training,
        such as a probe. It keeps all shapes.
      extension: additions to each step.
      name: of the method on the command line.
      changes_source: whether its preparation replaces the G that training begins with.
    """

    starts: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    grafts: Mapping[Network, Graft] = dataclasses.field(default_factory=dict)
    constants: Callable[[Networks], dict[str, Any]] = _no_constants
    prepare: Callable[[PrepareContext, Networks, dict[str, Any]], PreparedState] | None = None
    extension: Extension = Extension()
    name: str = ""
    changes_source: bool = False

    def trains(self, network: Network) -> Callable[[str], bool]:
        """Makes `path below network/params -> whether the leaf is trained`."""
        prefix, graft = f"{network}/params/", self.grafts.get(network, Graft())

        def trained(path: str) -> bool:
            of_graft = graft.trains(path)
            if of_graft is not None:
                return of_graft
            covered = lambda patterns: any(match(pattern, prefix + path) for pattern in patterns)
            return covered(self.trained) or not covered(self.frozen)

        return trained

    def wrap(self, nets: Any) -> Any:
        """Wraps the networks so that they have their auxiliary parameters."""
        return nets.with_nets(**{name: grafted(nets.nets[name], graft) for name, graft in self.grafts.items()})

    def attach(self, network: Network, variables: Variables, key: jax.Array) -> Variables:
        """Adds auxiliary parameters to variables of a plain network."""
        if network not in self.grafts:
            return variables
        return {**variables, "params": self.grafts[network].attach(variables["params"], key)}

    def plain(self, network: Network, variables: Variables) -> Variables:
        """Variables of the plain network: adapters are folded in, other auxiliary parameters are dropped."""
        if network not in self.grafts:
            return variables
        return {**variables, "params": self.grafts[network].plain(variables["params"])}

    def shared(self, network: Network, variables: Variables) -> Variables:
        """Variables to share: those of the plain network, and those of a front that weights keep."""
        if network not in self.grafts:
            return variables
        return {**variables, "params": self.grafts[network].shared(variables["params"])}

    @property
    def front(self) -> dict[str, Any]:
        """The manifest's entry for the front that G's weights keep; empty where there is none."""
        front = self.grafts["g"].as_front if "g" in self.grafts else None
        return {} if front is None or front.spec is None else {"front": dict(front.spec)}


def networks_of(choice: str, nets: PlainNetworks | None = None) -> Sequence[str]:
    """The names of the networks that `both` (all there are), `g` (generators) or `d` (discriminators) stands for.

    Args:
      choice: one of the three.
      nets: the networks; None = a pair.
    """
    if nets is None or isinstance(nets, Pair):
        return ("g", "d") if choice == "both" else (choice,)
    return {"both": tuple(nets.nets), "g": nets.generators, "d": nets.discriminators}[choice]


# ----------------------------------------------------------------------------------------------------------------------
# Methods that train an adapter: the network's own leaves are frozen, apart from a few, and new arrays are trained.


def frozen_under(
    adapters: Mapping[Network, Adapter],
    *,
    starts: Sequence[str],
    trained: Sequence[str] = (),
    frozen: Sequence[str] = (),
    fresh: Sequence[str] = (),
) -> Method:
    """Makes a method that freezes each network of `adapters` under its adapter and fine-tunes the others.

    Args:
      adapters: network -> adapter, which is trained in place of its leaves.
      starts, fresh: as in `Method`.
      trained: patterns of leaves that are trained nevertheless, such as D's head.
      frozen: patterns of further frozen leaves.
    """
    return Method(
        starts=tuple(starts),
        fresh=tuple(fresh),
        frozen=(*(f"{network}/params/**" for network in adapters), *frozen),
        trained=tuple(trained),
        grafts={network: Graft(adapter) for network, adapter in adapters.items()},
    )


# ----------------------------------------------------------------------------------------------------------------------
# Trainers of runs, from a configuration and a method.


def make_trainer(config: Config, method: Method, feed: Feed) -> Trainer:
    """Makes the trainer of a run: networks as the method wraps them, their trained leaves, additions to the step."""
    return Trainer(config, task_of(method.wrap), feed, method.trains, method.extension)


def step_flops(config: Config, method: Method, count: int = 64) -> float:
    """Counts the floating-point operations of one step of a method on one device; see `Trainer.flops`.

    Args:
      config: networks, loss and batch size.
      method: wraps the networks, adds to the step and has constants.
      count: images in the resident set.
    """
    return make_trainer(config, method, _blank_feed(config, count)).flops(method.constants)


def _blank_feed(config: Config, count: int) -> Feed:
    """A resident feed of black images, or of pairs for networks that translate."""
    net: Any = config.net
    blank = lambda *rest: np.zeros((count, net.resolution, net.resolution, *rest), np.uint8)
    images = blank(net.channels)
    if not net.translates:
        labels = np.zeros((count,), np.int32) if net.num_classes else None
        return resident_feed(images, labels, config.data.mirror)
    if isinstance(net, SPADEConfig):
        instances = blank().astype(np.int32) if net.edges else None
        pairs = Pairs(blank(), images, "layout", instances, net.num_labels)
    else:
        pairs = Pairs(blank(net.in_channels), images, "paired")
    return resident_pairs(pairs, net.resolution, config.data.mirror)
