"""Our own leaf paths: `g_ema/params/b8/conv0/kernel`, in one file, whoever wrote it.

Shapes do not tell which networks these are: their configuration is in the metadata of what `gan-jax export` writes,
and elsewhere the user names it.
"""

from __future__ import annotations

import json
import re
import typing
from typing import Any

from gan_jax.config import ConfigError, NetConfig, net_from_dict
from gan_jax.documents import parse_document
from gan_jax.interop.layouts.layout import DROPPED, NO_CONTEXT, FileContext, ForeignLayout, ForeignPair, Part, Tensors
from gan_jax.interop.links import ForeignLayoutError, Link, Links
from gan_jax.nets import build
from gan_jax.trees import flatten

ROOTS = {"g_ema": "g_ema", "g": "g_ema", "d": "d"}  # theirs -> ours, where theirs has no moving average
START = re.compile(r"(?:[gd]\.)?(g_ema|g|d)([/.])(?=params[/.])")  # `g.` and `d.` come before names of two files
START_OF = "__metadata__."  # where `gan-jax export` keeps what it knows of the weights
METADATA = f"{START_OF}net"
KINDS = ("transplant", "import", "fuse", "train")  # of the steps of a history


def find(tensors: Tensors, context: FileContext = NO_CONTEXT) -> ForeignPair:
    """The networks by the first part of their names; `/` or `.` between the parts."""
    starts = {match[0]: (match[1], match[2]) for name in tensors if (match := START.match(name))}
    if not starts:
        raise ForeignLayoutError("these are no leaf paths of ours (g_ema/params/.., d/params/..)")
    pair = build(config_of(context))
    parts, left_out = {}, {}
    for start, (root, separator) in starts.items():
        ours = ROOTS[root]
        if root == "g" and any(other == "g_ema" for other, _ in starts.values()):
            left_out = {name: DROPPED for name in tensors if name.startswith(start)}
            continue
        paths = flatten((pair.d if ours == "d" else pair.g).specs())
        links = {path.replace("/", separator): Link(path) for path in paths}
        parts[ours] = Part(start, {n.removeprefix(start): a for n, a in tensors.items() if n.startswith(start)}, links)
    return ForeignPair(pair.config, parts, {}, left_out)


def config_of(context: FileContext) -> NetConfig:
    """The configuration that the user named, else that of the file.

    Raises:
      ForeignLayoutError: neither, or what the file says is no configuration.
    """
    texts = [value for name, value in context.values.items() if name.endswith(METADATA)]
    if context.net is not None:
        return context.net
    if not texts:
        raise ForeignLayoutError(
            "these are leaf paths of ours without a configuration of networks: name one (--net, import_file(net=..)); "
            "a folder with manifest.json is used as it is, and not imported"
        )
    try:
        where = "net in the file's metadata"
        return net_from_dict(parse_document(texts[0], where, ConfigError), where)
    except ConfigError as error:
        raise ForeignLayoutError(f"the configuration in the file's metadata cannot be used: {error}") from error


def recorded_before(context: FileContext) -> dict[str, Any]:
    """`{"history": [..], "licence": ..}` of the file's metadata, as far as it says; only a history that is whole.

    Raises:
      ForeignLayoutError: a history that is none.
    """
    text = {
        key: context.values[f"{START_OF}{key}"]
        for key in ("history", "licence")
        if f"{START_OF}{key}" in context.values
    }
    if "history" not in text:
        return text
    try:
        history = json.loads(text["history"])
        whole = isinstance(history, list) and all(step["kind"] in KINDS and step["date"] for step in history)
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise ForeignLayoutError("the history in the file's metadata is damaged; remove it, or export the file again")
    return {**text, "history": history}


def names(config: NetConfig) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors in a file."""
    pair = build(config)
    nets = {"g_ema": pair.g, "d": pair.d}
    return {root: (f"{root}/", {path: Link(path) for path in flatten(net.specs())}) for root, net in nets.items()}


LAYOUT = ForeignLayout(typing.get_args(NetConfig), find, names, find_in_context=find)
