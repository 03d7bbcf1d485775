"""Methods that train an adapter: the network's own leaves are frozen, apart from a few, and new arrays are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gan_jax.train.regularisers import Network
from gan_jax.transfer.adapters import Adapter
from gan_jax.transfer.graft import Graft
from gan_jax.transfer.method import Method


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
