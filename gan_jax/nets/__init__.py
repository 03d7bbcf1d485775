"""Networks. The only room that knows Flax Linen; everyone else sees `init` and `apply` over dict trees."""

from gan_jax.nets.build import NamedNets, Net, Networks, Pair, build

__all__ = ["NamedNets", "Net", "Networks", "Pair", "build"]
