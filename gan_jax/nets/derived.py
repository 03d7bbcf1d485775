"""Networks derived from another by a function of their variables, such as adapters and mixtures of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from gan_jax.nets.build import Net, Variables


def derived(net: Net, plain: Callable[[Variables], Variables], init: Callable[[jax.Array], Variables]) -> Net:
    """Makes the network that computes `net` on `plain(variables)`; `init(key)` makes its variables."""

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda variables, *args, **options: function(plain(variables), *args, **options)

    return Net(
        init,
        through(net.apply),
        through(net.statistics),
        through(net.activations),
        through(net.apply_with_intermediates),
        {name: through(part) for name, part in net.parts.items()},
    )
