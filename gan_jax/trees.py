"""One path language for every pytree: `g/params/b16/conv0/kernel`.

Rules, partitions, plans, digests and error messages all name leaves by these paths. This module knows only trees and
strings; the meaning of a leaf is up to the caller.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

Tree = Any  # any pytree
Flat = dict[str, Any]  # path -> leaf


class TreeError(ValueError):
    """A tree, a path or a rule that does not fit; the message names the leaf and what would fit."""


def path_name(key_path: Sequence[Any]) -> str:
    """Joins a JAX key path into `a/b/0/c`, the only spelling of a path in this library."""
    return "/".join(jax.tree_util.keystr((key,), simple=True) for key in key_path)


def flatten(tree: Tree) -> Flat:
    """Flattens any pytree (dicts, tuples, dataclasses, optimiser states) to `{path: leaf}`.

    Raises:
      TreeError: two leaves have one path, as in `{"a/b": 1, "a": {"b": 2}}`.
    """
    flat: Flat = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = path_name(key_path)
        if path in flat:
            raise TreeError(f"two leaves have the path {path!r}; a name must not contain '/'")
        flat[path] = leaf
    return flat


def unflatten(flat: Mapping[str, Any], like: Tree | None = None) -> Tree:
    """Rebuilds a tree from `{path: leaf}`.

    Args:
      flat: one entry for every leaf.
      like: a tree with the structure of the result; None builds nested dicts from the paths.

    Raises:
      TreeError: a leaf of `like` is absent from `flat`, or the reverse.
    """
    if like is not None:
        paths = list(flatten(like))
        if missing := [p for p in paths if p not in flat]:
            raise TreeError(f"no value for leaf {missing[0]!r}{did_you_mean(missing[0], flat)}")
        if extra := sorted(set(flat) - set(paths)):
            raise TreeError(f"no leaf {extra[0]!r} in the tree{did_you_mean(extra[0], paths)}")
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(like), [flat[p] for p in paths])
    root: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = root
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise TreeError(f"{path!r} runs through {name!r}, which is already a leaf")
        if last in node:
            raise TreeError(f"{path!r} is both a leaf and a folder of leaves")
        node[last] = leaf
    return root


def map_with_path(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """`jax.tree.map` whose function gets the path of the leaf as its first argument."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(path_name(path), *leaves), tree, *rest)


# -- patterns and rules ------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    if pattern.startswith("re:"):
        try:
            return re.compile(pattern[3:])
        except re.error as error:
            raise TreeError(f"{pattern!r} is no regular expression: {error}") from error
    parts = re.split(r"(\*\*/|/\*\*|\*\*|\*|\?|\{[^}]*\})", pattern)
    spelled = {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(part: str) -> str:
        if part in spelled:
            return spelled[part]
        if part.startswith("{") and part.endswith("}"):
            return "(?:" + "|".join(re.escape(option) for option in part[1:-1].split(",")) + ")"
        return re.escape(part)

    return re.compile("".join(map(translate, parts)))


def match(pattern: str, path: str) -> bool:
    """Whether a pattern covers a full path.

    `*` and `?` stay within one name, `**` crosses names, `{a,b}` is either; `re:` begins a regular expression.
    """
    return _compile(pattern).fullmatch(path) is not None


@dataclasses.dataclass(frozen=True)
class Rule:
    """An action for the leaves that a pattern covers. Lists of rules are read top down; the first match wins."""

    pattern: str
    action: Any


def assign(rules: Sequence[Rule], paths: Iterable[str], *, dead_ok: bool = False) -> dict[str, Any]:
    """The action of every path, by the first rule that covers it.

    Args:
      rules: first match wins.
      paths: the leaves; each must be covered.
      dead_ok: whether a rule may cover no leaf (normal in presets for decay and sharding).

    Raises:
      TreeError: a leaf that no rule covers, or a rule that covers no leaf or is always shadowed.
    """
    paths = list(paths)
    actions: dict[str, Any] = {}
    winners: set[int] = set()
    for path in paths:
        for i, rule in enumerate(rules):
            if match(rule.pattern, path):
                actions[path] = rule.action
                winners.add(i)
                break
        else:
            patterns = ", ".join(repr(rule.pattern) for rule in rules) or "none"
            raise TreeError(f"no rule covers leaf {path!r}; the rules are {patterns}. End them with Rule('**', ...)")
    for i, rule in enumerate(rules):
        if i in winners or dead_ok:
            continue
        if any(match(rule.pattern, path) for path in paths):
            raise TreeError(f"rule {rule.pattern!r} never wins: the rules before it cover all of its leaves")
        raise TreeError(f"rule {rule.pattern!r} covers no leaf{did_you_mean(rule.pattern, paths)}")
    return actions


def partition(tree: Mapping[str, Any], chosen: Callable[[str], bool]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a dict tree into (leaves whose path is chosen, all other leaves); `merge` is the inverse.

    Frozen leaves are removed from the tree before it is differentiated, so that they have no backward pass.
    """
    flat = flatten(tree)
    inside = {p: v for p, v in flat.items() if chosen(p)}
    outside = {p: v for p, v in flat.items() if p not in inside}
    return unflatten(inside), unflatten(outside)


def merge(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Joins dict trees with disjoint leaves."""
    flat: Flat = {}
    for tree in trees:
        for path, leaf in flatten(tree).items():
            if path in flat:
                raise TreeError(f"leaf {path!r} is in two of the trees to merge")
            flat[path] = leaf
    return unflatten(flat)


# -- words about trees -------------------------------------------------------------------------


def nearest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """The names most similar to `name`, best first."""
    return difflib.get_close_matches(name, list(names), n=n, cutoff=0.5)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or "": the end of an error about an unknown name."""
    close = nearest(name, names)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def shape_of(leaf: Any) -> str:
    """Dtype and shape of an array or a ShapeDtypeStruct as text: `float32[3,3,1,24]`."""
    return f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]"


def count(tree: Tree) -> int:
    """The number of values in all leaves."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree_util.tree_leaves(tree))


def specs(tree: Tree) -> Tree:
    """The same tree with every leaf replaced by its `jax.ShapeDtypeStruct`."""
    return jax.tree_util.tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def digest(array: Any) -> str:
    """sha256 (hex) of an array's dtype, shape and bytes in C order: equal arrays, equal digests."""
    array = np.asarray(array)
    return digest_blocks(array, [array])


def digest_blocks(like: Any, blocks: Iterable[Any]) -> str:
    """The digest of an array with the dtype and shape of `like` and with values from NumPy blocks in C order."""
    hasher = hashlib.sha256(f"{like.dtype.name}{list(like.shape)}".encode())
    for block in blocks:
        memory: Any = np.ascontiguousarray(block).reshape(-1).view(np.uint8)  # the array's memory, no copy of it
        hasher.update(memory)
    return hasher.hexdigest()
