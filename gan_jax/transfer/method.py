"""The shape of a method: what it does to a pair before the optimiser exists, what trains, and what it adds to the game.

No method touches a network's code, the step or another method. A new one is a function `(config, pair) -> Method`.
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
    """What a transfer does.

    Attributes:
      starts: the networks, of `g` and `d`, that start from the source; the others are fresh.
      fresh: patterns over `g/params/..` and `d/params/..` of these networks whose leaves are fresh all the same.
      frozen: patterns over the same paths whose leaves are not trained.
      trained: patterns that are trained although `frozen` covers them.
      grafts: what each network carries for the time of the transfer; all of it is trained but what is `fixed`.
      constants: `nets -> tree`, what is kept of the start, in `state.constants`: a resumed run reads nothing of the source.
      prepare: `(context, nets, constants) -> PreparedState`, work on the start that needs data or training, such as a
        probe. The shapes stay as they are.
      extension: what is added to each step.
      name: of the method, as the command line has it.
      changes_source: whether its preparation chooses or makes the G that training begins with.
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
        """Whether the leaf at a path below `network/params` is trained."""
        prefix, graft = f"{network}/params/", self.grafts.get(network, Graft())

        def trained(path: str) -> bool:
            of_graft = graft.trains(path)
            if of_graft is not None:
                return of_graft
            covered = lambda patterns: any(match(pattern, prefix + path) for pattern in patterns)
            return covered(self.trained) or not covered(self.frozen)

        return trained

    def wrap(self, pair: Pair) -> Pair:
        """The networks with what they carry."""
        return pair.with_nets(**{name: grafted(pair.nets[name], graft) for name, graft in self.grafts.items()})

    def attach(self, network: Network, variables: Variables, key: jax.Array) -> Variables:
        """Variables of the plain network, with what it carries."""
        if network not in self.grafts:
            return variables
        return {**variables, "params": self.grafts[network].attach(variables["params"], key)}

    def plain(self, network: Network, variables: Variables) -> Variables:
        """Variables of the plain network again, adapters folded in."""
        if network not in self.grafts:
            return variables
        return {**variables, "params": self.grafts[network].plain(variables["params"])}

    def shared(self, network: Network, variables: Variables) -> Variables:
        """Variables for weights to share: the plain network's, and those of a front that is kept with them."""
        if network not in self.grafts:
            return variables
        return {**variables, "params": self.grafts[network].shared(variables["params"])}

    @property
    def front(self) -> dict[str, Any]:
        """What a manifest says of the front that G's weights keep; empty where there is none."""
        front = self.grafts["g"].as_front if "g" in self.grafts else None
        return {} if front is None or front.said is None else {"front": dict(front.said)}


def networks_of(choice: str) -> Sequence[str]:
    """`both`, `g` or `d` as the networks that they name."""
    return ("g", "d") if choice == "both" else (choice,)


__all__ = ["Graft", "Method", "PrepareContext", "PreparedState", "networks_of"]
