"""Names of networks and roots of their leaves: `g`, `g_ema`, `d` of a pair; `g_ab`, `g_ba`, `d_a`, `d_b`, `f` of translators.

A root is a network's name, or that name and `_ema` for its moving average. A network whose name begins with `g` or `d`
is like the generator or the discriminator of a pair. Of two translators, `g_ab` makes images of domain B from those of
domain A, and `d_b` judges images of B. `g_ba` and `d_a` work the other way round.
"""

from __future__ import annotations

from collections.abc import Collection

EMA = "_ema"
REVERSED = ("g_ba", "d_a")  # networks that make or judge inputs of the configuration
FIRST = {"g": ("g", "g_ab"), "d": ("d", "d_b")}  # networks of the configuration's own direction


def network_of(root: str) -> str:
    """The network whose variables, or whose moving average, lie below a root."""
    return root.removesuffix(EMA)


def average_of(network: str) -> str:
    """The root of a network's moving average."""
    return network + EMA


def pair_part(root: str) -> str | None:
    """The network of a pair that this one is like, `g` or `d`; None for any other network."""
    kind, _, rest = network_of(root).partition("_")
    return kind if kind in FIRST and (not rest or network_of(root) in (*FIRST[kind], *REVERSED)) else None


def is_network(root: str) -> bool:
    """Whether a root is that of a trained network itself, and not of an average, an optimiser or constants."""
    return root == "f" or (pair_part(root) is not None and root == network_of(root))


def is_shared(root: str) -> bool:
    """Whether a root is one of shared weights: the moving average of a generator, any other network itself."""
    if pair_part(root) == "g":
        return root == average_of(network_of(root))
    return is_network(root)


def is_reversed(root: str) -> bool:
    """Whether the network has the configuration's input and output exchanged."""
    return network_of(root) in REVERSED


def origins(root: str) -> tuple[str, ...]:
    """Roots of a source from which a network can be filled, the most similar one first.

    A generator comes from a moving average. A network of another name but of the same kind comes last:
    `g_ab` from the `g` of a pair, and `d` from the `d_b` of two translators.
    """
    name, part = network_of(root), pair_part(root)
    if part is None:
        return (root,)
    similar = (name, *(other for other in FIRST[part] if other != name))
    return tuple(average_of(other) if part == "g" else other for other in similar)


def origin_in(root: str, roots: Collection[str]) -> str | None:
    """The root of a source that has `roots` from which a network is filled; None where there is none."""
    return next((origin for origin in origins(root) if origin in roots), None)
