"""Methods of transfer: how a pair starts, which leaves are trained, and what is added to each step.

A method changes no network's code, no step and no other method. A new one is a function `(config, pair) -> Method`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from gan_jax.nets import Pair
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Network
from gan_jax.train.state import Networks, Variables
from gan_jax.transfer.graft import Graft, grafted
from gan_jax.transfer.preparation import PrepareContext, PreparedState
from gan_jax.trees import match


def _no_constants(nets: Networks) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class Method:
    """A transfer method.

    Attributes:
      starts: the networks, of `g` and `d`, that start from the source; the others are fresh.
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

    def wrap(self, pair: Pair) -> Pair:
        """Wraps the networks so that they have their auxiliary parameters."""
        return pair.with_nets(**{name: grafted(pair.nets[name], graft) for name, graft in self.grafts.items()})

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


def networks_of(choice: str) -> Sequence[str]:
    """The networks that `both`, `g` or `d` stands for."""
    return ("g", "d") if choice == "both" else (choice,)


__all__ = ["Graft", "Method", "PrepareContext", "PreparedState", "networks_of"]
