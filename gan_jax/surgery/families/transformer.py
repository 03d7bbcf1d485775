"""Transformers of texts: what the axes of their leaves are.

Hidden states of a network are one group, as each block adds to them. Heads of a block may change places, and values within a
head, the same for all heads; queries and keys share theirs, as they are multiplied. Ids and positions are numbers that others
see. Embeddings, and the head where it is one of its own, read or write the vocabulary.
"""

from __future__ import annotations

from gan_jax.config import TransformerConfig
from gan_jax.surgery.families.layout import Layout


def layouts(config: TransformerConfig) -> dict[str, Layout]:
    """The axes of every leaf of `g` and `d`."""
    g = _table("embed", "classes") | _table("places", "joined") | _norm("norm")
    for i in range(config.layers):
        g |= _block(f"block{i}")
    if not config.tied:
        g["params/head/kernel"] = "width -> classes"
    d = _table("embed", "classes") | _table("places", "joined") | _table("types", "joined") | _norm("norm")
    for i in range(config.d_layers):
        d |= _block(f"block{i}")
    last = "width"
    if not config.d_per_token:
        d |= _dense("pool", "width", "pool")
        last = "pool"
    d |= _dense("head", last, "logit")
    return {"g": Layout(g), "d": Layout(d)}


def _block(name: str) -> dict[str, str]:
    """A block: its heads, the values within them, and the hidden units of its MLP are groups of its own."""
    heads, inner, values = f"{name}/heads", f"{name}/inner", f"{name}/values"
    text = _norm(f"{name}/norm1") | _norm(f"{name}/norm2")
    for part, group in (("query", inner), ("key", inner), ("value", values)):
        text[f"params/{name}/{part}/kernel"] = f"width -> {heads} {group}"
        text[f"params/{name}/{part}/bias"] = f"-> {heads} {group}"
    text[f"params/{name}/out/kernel"] = f"{heads} {values} -> width"
    text[f"params/{name}/out/bias"] = "-> width"
    return text | _dense(f"{name}/up", "width", f"{name}/up") | _dense(f"{name}/down", f"{name}/up", "width")


def _table(name: str, rows: str) -> dict[str, str]:
    return {f"params/{name}/embedding": f"{rows} -> width"}


def _norm(name: str) -> dict[str, str]:
    return {f"params/{name}/{part}": "-> width" for part in ("scale", "bias")}


def _dense(name: str, read: str, write: str) -> dict[str, str]:
    return {f"params/{name}/kernel": f"{read} -> {write}", f"params/{name}/bias": f"-> {write}"}
