"""A method that is an adapter: networks whose own leaves all stay, but for a few, under few new ones that train."""

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
    """Each network of `adapters` is frozen under its adapter; the others are fine-tuned.

    Args:
      adapters: network -> what is trained in place of its leaves.
      starts, fresh: as in `Method`.
      trained: patterns of leaves that train all the same, such as D's head.
      frozen: patterns of further leaves that do not.
    """
    return Method(
        starts=tuple(starts),
        fresh=tuple(fresh),
        frozen=(*(f"{network}/params/**" for network in adapters), *frozen),
        trained=tuple(trained),
        grafts={network: Graft(adapter) for network, adapter in adapters.items()},
    )
