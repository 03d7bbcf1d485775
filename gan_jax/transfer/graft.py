"""Grafts: auxiliary parameters of a network during a transfer, beside its own leaves.

A grafted network is a `Net` whose parameters have further branches: `adapter/PATH/NAME` for the arrays of an adapted
leaf, `graft/NAME/...` for other trained leaves of a method, such as a second head of D or a network before G. Freezing,
moments, averages and checkpoints treat them as any other leaves; `plain` removes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax

from gan_jax.nets.build import Net, Variables
from gan_jax.nets.fronts import Branches, Front, prepend_front
from gan_jax.random_streams import BRANCH_KEY
from gan_jax.reserved import ADAPTER, GRAFT
from gan_jax.transfer.adapters import Adapter, adapted, attach, bake
from gan_jax.trees import Tree


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
