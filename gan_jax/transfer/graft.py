"""Grafts: what a network carries for the time of a transfer, beside its own leaves.

A grafted network is a `Net` whose parameters have further branches: `adapter/PATH/NAME` for the arrays of an adapted
leaf, `graft/NAME/...` for whatever else a method trains, such as a second head of D or a network before G. Freezing,
moments, averages and checkpoints treat them as any other leaves; `plain` takes them off again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax

from gan_jax.nets.build import Net, Variables
from gan_jax.nets.fronts import Branches, Front, fronted
from gan_jax.random_streams import BRANCH_KEY
from gan_jax.reserved import ADAPTER, GRAFT
from gan_jax.transfer.adapters import Adapter, adapted, attach, bake
from gan_jax.trees import Tree


@dataclasses.dataclass(frozen=True)
class Graft:
    """What is grafted onto one network.

    Attributes:
      adapter: from frozen leaves and small arrays to effective leaves.
      branches: name -> `(key, params) -> tree` of a further branch.
      front: `(branches, x) -> x`, what happens to the network's input (G's latents, D's images); or a `Front`, which
        may be kept in weights with all branches.
    """

    adapter: Adapter | None = None
    branches: Mapping[str, Callable[[jax.Array, Tree], Tree]] = dataclasses.field(default_factory=dict)
    front: Callable[[Branches, jax.Array], jax.Array] | Front | None = None

    @property
    def as_front(self) -> Front | None:
        """What happens to the input."""
        return self.front if self.front is None or isinstance(self.front, Front) else Front(self.front)

    def trains(self, path: str) -> bool | None:
        """Whether a leaf of `params` is trained; None where it is the network's own."""
        if path.startswith(f"{ADAPTER}/"):
            return self.adapter is not None and self.adapter.trains(path)
        return True if path.startswith(f"{GRAFT}/") else None

    def attach(self, params: Tree, key: jax.Array) -> Tree:
        """Parameters with all branches; what is drawn depends on the key and on names only."""
        draws = {name: init(jax.random.fold_in(key, i), params) for i, (name, init) in enumerate(self.branches.items())}
        out = params if self.adapter is None else attach(self.adapter, params, jax.random.fold_in(key, len(draws)))
        return {**out, GRAFT: draws} if draws else out

    def plain(self, params: Tree) -> Tree:
        """Parameters of the plain network: the adapter folded in, other branches dropped."""
        own = {name: tree for name, tree in params.items() if name != GRAFT}
        return own if self.adapter is None else bake(self.adapter, own)

    def shared(self, params: Tree) -> Tree:
        """Parameters for weights: those of the plain network, and the branches of a front that is kept."""
        kept = self.as_front is not None and self.as_front.said is not None
        return self.plain(params) | ({GRAFT: params[GRAFT]} if kept else {})


def grafted(net: Net, graft: Graft) -> Net:
    """The network that computes with everything that is grafted onto it."""
    inner = net if graft.adapter is None else adapted(net, graft.adapter)
    if not graft.branches and graft.front is None:
        return inner

    def init(key: jax.Array) -> Variables:
        variables = net.init(key)
        return {**variables, "params": graft.attach(variables["params"], jax.random.fold_in(key, BRANCH_KEY))}

    return dataclasses.replace(fronted(inner, graft.as_front), init=init)
