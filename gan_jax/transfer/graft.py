"""Grafts: what a network carries for the time of a transfer, beside its own leaves.

A grafted network is a `Net` whose parameters have further branches: `adapter/PATH/NAME` for the arrays of an adapted
leaf, `graft/NAME/...` for whatever else a method trains, such as a second head of D or a network before G. Freezing,
moments, averages and checkpoints treat them as any other leaves; `plain` takes them off again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from gan_jax.nets.build import Net, Variables
from gan_jax.transfer.adapters import BRANCH, Adapter, adapted, attach, bake
from gan_jax.trees import Tree

GRAFT = "graft"
Branches = Mapping[str, Tree]  # those of one network, by name


@dataclasses.dataclass(frozen=True)
class Graft:
    """What is grafted onto one network.

    Attributes:
      adapter: from frozen leaves and small arrays to effective leaves.
      branches: name -> `(key, params) -> tree` of a further branch.
      front: `(branches, x) -> x`, what happens to the network's input (G's latents, D's images).
    """

    adapter: Adapter | None = None
    branches: Mapping[str, Callable[[jax.Array, Tree], Tree]] = dataclasses.field(default_factory=dict)
    front: Callable[[Branches, jax.Array], jax.Array] | None = None

    def trains(self, path: str) -> bool | None:
        """Whether a leaf of `params` is trained; None where it is the network's own."""
        if path.startswith(f"{BRANCH}/"):
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


def grafted(net: Net, graft: Graft) -> Net:
    """The network that computes with everything that is grafted onto it."""
    inner = net if graft.adapter is None else adapted(net, graft.adapter)
    if not graft.branches and graft.front is None:
        return inner

    def init(key: jax.Array) -> Variables:
        variables = net.init(key)
        return {**variables, "params": graft.attach(variables["params"], jax.random.fold_in(key, 1))}

    def through(function: Callable[..., Any], front: bool = True) -> Callable[..., Any]:
        def run(variables: Variables, x: jax.Array, *args: Any, **options: Any) -> Any:
            params = dict(variables["params"])
            branches = params.pop(GRAFT, {})
            if front and graft.front is not None:
                x = graft.front(branches, x)
            return function({**variables, "params": params}, x, *args, **options)

        return run

    parts = {name: through(part, front=name != "synthesise") for name, part in inner.parts.items()}
    return Net(init, through(inner.apply), through(inner.statistics), through(inner.activations), parts)
