"""Texts as lists of tokens: what may be given, how strings are split, and the errors for anything else.

Texts are all strings, or all sequences of tokens. Tokens are all strings, or all integers (ids of a vocabulary). Every text
metric reads its texts here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.metrics.statistics import MetricError

Token = str | int
Tokens = Sequence[Token]


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts in tokens.

    Attributes:
      tokens: a list of tokens for each text; may be empty.
      tokenisation: the name of how they were split, which is part of every protocol.
      of_strings: whether the texts were strings.
      kind: type of the tokens; None where there are none.
    """

    tokens: list[list[Any]]
    tokenisation: str
    of_strings: bool
    kind: type | None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64 `[N]`."""
        return np.fromiter(map(len, self.tokens), np.int64, len(self.tokens))

    def first(self, n: int | None) -> Texts:
        """The first n texts, or all."""
        return dataclasses.replace(self, tokens=self.tokens[:n])

    def filled(self) -> Texts:
        """The texts that have a token."""
        return dataclasses.replace(self, tokens=[tokens for tokens in self.tokens if tokens])

    @property
    def digest(self) -> str:
        """sha256 of the tokens in their order."""
        hasher = hashlib.sha256()
        for tokens in self.tokens:
            hasher.update(json.dumps([t if isinstance(t, str) else int(t) for t in tokens]).encode())
            hasher.update(b"\n")
        return hasher.hexdigest()


def read_texts(texts: Any, tokenisation: str | None = None, name: str = "texts") -> Texts:
    """Texts in tokens.

    Args:
      texts: strings; or sequences of tokens, also integers `[N, T]`; or `Texts`, which stay as they are.
      tokenisation: for strings a name of `TOKENISERS`, None = `whitespace`. For tokens the name of what split them, any,
        None = `tokens`.
      name: of the texts in errors.

    Raises:
      MetricError: no texts, something else than texts, or strings among sequences of tokens.
    """
    if isinstance(texts, Texts):
        return texts
    if isinstance(texts, (str, bytes)):
        raise MetricError(f"{name} is one string; give a list of texts")
    if isinstance(texts, (dict, set, frozenset)) or not isinstance(texts, Iterable):
        raise MetricError(f"{name} is {type(texts).__name__}; give a list of strings or of lists of tokens")
    entries = list(texts)
    if not entries:
        raise MetricError(f"{name} is empty; give at least one text")
    of_strings = isinstance(entries[0], str)
    for i, entry in enumerate(entries):
        if isinstance(entry, str) != of_strings and isinstance(entry, (str, list, tuple, np.ndarray)):
            raise MetricError(
                f"{name}[{i}] is {_noun(entry)}, {name}[0] is {_noun(entries[0])}; give all as strings or all as lists of tokens"
            )
        if not isinstance(entry, (str, list, tuple)) and not (isinstance(entry, np.ndarray) and entry.ndim == 1):
            raise MetricError(f"{name}[{i}] is {_noun(entry)}; a text is a string or a list of tokens")
    if of_strings:
        tokenise = _tokeniser(tokenisation or WHITESPACE, name)
        return Texts([tokenise(text) for text in entries], tokenisation or WHITESPACE, True, str)
    tokens = [entry.tolist() if isinstance(entry, np.ndarray) else list(entry) for entry in entries]
    return Texts(tokens, tokenisation or "tokens", False, _kind(tokens, name))


def read_alike(texts: Mapping[str, Any], tokenisation: str | None = None) -> list[Texts]:
    """Several lists of texts, by their names in errors, that are compared with each other.

    Raises:
      MetricError: as `read_texts`; or some are strings and others tokens, or tokens are of two types.
    """
    lists = [read_texts(entries, tokenisation, name) for name, entries in texts.items()]
    names, first = list(texts), lists[0]
    for name, other in zip(names[1:], lists[1:]):
        if other.of_strings != first.of_strings:
            forms = ["strings" if entries.of_strings else "lists of tokens" for entries in (first, other)]
            raise MetricError(f"{names[0]} are {forms[0]}, {name} are {forms[1]}; give both in one form")
        if None not in (first.kind, other.kind) and other.kind is not first.kind:
            kinds = ["words" if entries.kind is str else "ids" for entries in (first, other)]
            raise MetricError(f"tokens of {names[0]} are {kinds[0]}, those of {name} {kinds[1]}; use one vocabulary")
    return lists


def tokenise_13a(text: str) -> list[str]:
    """Words and punctuation by the rules of mteval-v13a, WMT's script, as sacreBLEU applies them.

    ASCII punctuation stands alone, but for apostrophes and hyphens. A period or comma stays between two digits, and a hyphen
    leaves the digit before it.
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for pattern, spaced in RULES_13A:
        text = pattern.sub(spaced, text)
    return text.split()


ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))  # in the order of the script
_ALONE = re.escape("".join(sorted(set(string.punctuation) - set("',-."))))
RULES_13A = tuple(
    (re.compile(pattern), spaced)
    for pattern, spaced in (
        (f"([{_ALONE}])", r" \1 "),
        ("([^0-9])([.,])", r"\1 \2 "),
        ("([.,])([^0-9])", r" \1 \2"),
        ("([0-9])-", r"\1 - "),
    )
)

WHITESPACE = "whitespace"
TOKENISERS: dict[str, Callable[[str], list[str]]] = {
    WHITESPACE: str.split,
    "13a": tokenise_13a,
    "characters": list,
}  # name in protocols -> function of a string


def _tokeniser(name: str, texts: str) -> Callable[[str], list[str]]:
    if name not in TOKENISERS:
        raise MetricError(
            f"no tokenisation {name!r} of strings; there are {', '.join(TOKENISERS)}. To use another, give {texts} as lists of "
            f"its tokens"
        )
    return TOKENISERS[name]


def _kind(tokens: list[list[Any]], name: str) -> type | None:
    """The type, str or int, of all tokens; None where there is no token."""
    types = set(map(type, itertools.chain.from_iterable(tokens)))
    kinds = {_kind_of(kind) for kind in types}
    if len(kinds) <= 1 and None not in kinds:
        return kinds.pop() if kinds else None
    wanted = next((kind for text in tokens for token in text if (kind := _kind_of(type(token)))), None)
    for i, text in enumerate(tokens):
        for j, token in enumerate(text):
            kind = _kind_of(type(token))
            if kind is None:
                raise MetricError(f"token {j} of {name}[{i}] is {type(token).__name__}; tokens are strings or integers")
            if kind is not wanted:
                raise MetricError(
                    f"token {j} of {name}[{i}] is {token!r}; give tokens all as strings or all as integers"
                )
    return wanted


def _kind_of(kind: type) -> type | None:
    if issubclass(kind, str):
        return str
    return int if issubclass(kind, (int, np.integer)) and not issubclass(kind, bool) else None


def _noun(entry: Any) -> str:
    if isinstance(entry, str):
        return "a string"
    if isinstance(entry, np.ndarray):
        return f"an array of shape {list(entry.shape)}"
    return f"a {type(entry).__name__}"
