"""Networks. Only this package uses Flax Linen; all others call `init` and `apply` over dict trees."""

from gan_jax.nets.build import NamedNets, Net, Networks, Pair, build

__all__ = ["NamedNets", "Net", "Networks", "Pair", "build"]
