"""The state of a training, one tree; a resumed run restores all of it exactly."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

Variables = dict[str, Any]  # {"params": tree, other collections: trees}
Networks = dict[str, Variables]  # name -> variables

RESERVED = frozenset({"step", "images", "extras", "key", "kept"})  # paths in a state that are not networks


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class GanState:
    """The state of a training: networks, averages and optimisers by the networks' names.

    Leaf paths of a network `g` are `g/params/b16/conv0/kernel`, of its average `g_ema/params/..`, of its optimiser
    `opt_g/0/mu/..`. Every leaf is an array that a checkpoint can save: no Python scalars and no leaves of size zero.

    Attributes:
      step: `[]` int32, steps done.
      images: `[]` int32, real examples shown.
      nets: variables by network.
      ema: moving averages by network, which are sampled and evaluated.
      opt: optax states over the trained leaves, by network.
      extras: running values of losses, augmentation and transfer methods.
      key: `[]` typed PRNG key, constant; it is folded with the step for every draw.
      constants: of a transfer method, from its start; no step changes them. Their paths are `kept/..`.
    """

    step: jax.Array
    images: jax.Array
    nets: Networks
    ema: Networks
    opt: dict[str, Any]
    extras: dict[str, Any]
    key: jax.Array
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)

    def replace(self, **changes: Any) -> GanState:
        """A state with other values."""
        return dataclasses.replace(self, **changes)

    def with_nets(self, **variables: Variables) -> GanState:
        """A state with other variables of some networks."""
        return dataclasses.replace(self, nets={**self.nets, **variables})

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[tuple[str, ...], ...]]:
        """Lists children with the names of their paths, and the names of networks, averages and optimisers."""
        named = [
            ("step", self.step), ("images", self.images), *self.nets.items(),
            *((f"{name}_ema", tree) for name, tree in self.ema.items()),
            *((f"opt_{name}", tree) for name, tree in self.opt.items()),
            ("extras", self.extras), ("key", self.key), ("kept", self.constants),
        ]  # fmt: skip
        children = [(jax.tree_util.GetAttrKey(name), tree) for name, tree in named]
        return children, (tuple(self.nets), tuple(self.ema), tuple(self.opt))

    @classmethod
    def tree_unflatten(cls, names: tuple[tuple[str, ...], ...], children: Any) -> GanState:
        """The inverse of `tree_flatten_with_keys`."""
        step, images, *trees, extras, key, constants = children
        rest = iter(trees)
        nets, ema, opt = ({name: next(rest) for name in group} for group in names)
        return cls(step, images, nets, ema, opt, extras, key, constants)


def check_names(names: tuple[str, ...]) -> None:
    """Raises ValueError where the name of a network is that of another part of a state."""
    for name in names:
        if name in RESERVED or name.endswith("_ema") or name.startswith("opt_") or "/" in name or not name:
            raise ValueError(
                f"{name!r} cannot be the name of a network: {', '.join(sorted(RESERVED))}, opt_* and *_ema are other parts of "
                "a state"
            )
