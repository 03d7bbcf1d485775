"""Families of networks of texts: generators of sequences of tokens, and discriminators that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gan_jax.config.family import NetFamily

Activation = Literal["gelu_new", "gelu", "relu"]  # GELU by its tanh approximation (GPT-2), exact (BERT), or ReLU


@dataclasses.dataclass(frozen=True)
class TextFamily(NetFamily):
    """What families of texts have in common: a vocabulary, a longest text, and the ids of special tokens."""

    writes = True
    resolution: ClassVar[int] = 0
    channels: ClassVar[int] = 0
    num_classes: ClassVar[int] = 0
    z_dim: ClassVar[int] = 0
    positive: ClassVar[Mapping[str, str]] = {"vocab": "", "length": ""}

    if TYPE_CHECKING:  # attributes of these families

        @property
        def vocab(self) -> int: ...
        @property
        def length(self) -> int: ...
        @property
        def bos(self) -> int: ...
        @property
        def eos(self) -> int | None: ...
        @property
        def pad(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class TransformerConfig(TextFamily):
    """Transformers: a decoder as GPT-2 (Radford et al., 2019) for G, an encoder as BERT (Devlin et al., 2018) for D.

    The defaults are GPT-2 small and BERT base, with GPT-2's vocabulary for both.
    """

    vocab: int = 50257  # tokens that G chooses from
    length: int = 64  # most tokens of a text in training, with its start and end
    bos: int = 50256  # id of the token that a text begins with
    eos: int | None = 50256  # id of the token that ends a text; None = all have the full length
    pad: int = 50256  # id in the places behind the end, which nothing reads
    width: int = 768  # of G's hidden states
    layers: int = 12  # of G
    heads: int = 12  # of G's attention
    head_size: int | None = None  # of each of them; None = width / heads
    mlp: int | None = None  # hidden units of G's MLPs; None = 4 times the width
    positions: int = 1024  # longest text that G has positions for
    activation: Activation = "gelu_new"  # of G's MLPs: GELU by tanh (GPT-2) or exact, or ReLU
    tied: bool = True  # whether G's logits are by the table of its embeddings
    dropout: float = 0.1  # share of the values that are dropped in training, in G; attention itself drops none
    epsilon: float = 1e-5  # of G's layer norms
    d_kind: Literal["bert", "roberta"] = "bert"  # RoBERTa's positions start behind the id of its padding
    d_vocab: int | None = None  # tokens that D knows; None = vocab
    d_pad: int = 0  # id of D's padding
    d_width: int = 768  # of D's hidden states
    d_layers: int = 12  # of D
    d_heads: int = 12  # of D's attention
    d_head_size: int | None = None  # of each of them; None = d_width / d_heads
    d_mlp: int | None = None  # hidden units of D's MLPs; None = 4 times the width
    d_positions: int = 512  # rows of D's table of positions
    d_types: int = 2  # kinds of tokens: of a first and a second text; 1 in RoBERTa
    d_activation: Activation = "gelu"  # of D's MLPs: GELU by tanh or exact (BERT), or ReLU
    d_per_token: bool = False  # whether D scores every token; else a text, by its first token
    d_logits: int = 1  # scores of a text or token
    d_dropout: float = 0.1  # share of the values that are dropped in training, in D
    d_epsilon: float = 1e-12  # of D's layer norms; 1e-5 in RoBERTa
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; norms and logits stay float32

    positive = dict.fromkeys(
        "vocab length width layers heads mlp positions d_vocab d_width d_layers d_heads d_mlp d_positions d_types "
        "d_logits head_size d_head_size".split(),
        "",
    )

    @property
    def g_sizes(self) -> tuple[int, int]:
        """Size of a head of G, and hidden units of its MLPs."""
        return self.head_size or self.width // self.heads, self.mlp or 4 * self.width

    @property
    def d_sizes(self) -> tuple[int, int]:
        """Size of a head of D, and hidden units of its MLPs."""
        return self.d_head_size or self.d_width // self.d_heads, self.d_mlp or 4 * self.d_width

    @property
    def d_first(self) -> int:
        """The row of D's table of positions that a text begins with."""
        return self.d_pad + 1 if self.d_kind == "roberta" else 0

    def problems(self) -> Iterator[str]:
        yield from special_ids(self)
        for side, size in (("", self.head_size), ("d_", self.d_head_size)):
            width, heads = getattr(self, f"{side}width"), getattr(self, f"{side}heads")
            if size is None and heads > 0 and width % heads:
                yield (
                    f"net.{side}width {width} is no multiple of net.{side}heads {heads}; use one that is, or set "
                    f"net.{side}head_size"
                )
        if self.length > self.positions:
            yield f"net.length {self.length} is more than net.positions {self.positions}; use as many positions at least"
        room = self.d_positions - self.d_first
        if self.length > room:
            yield (
                f"net.length {self.length} is more than the {room} positions that net.d_positions {self.d_positions} has for "
                f"texts; use {self.length + self.d_first} at least"
            )
        yield from shares(self, "dropout", "d_dropout")


def shares(net: Any, *names: str) -> Iterator[str]:
    """Yields a line for every share outside 0 to 1."""
    for name in names:
        if not 0 <= getattr(net, name) < 1:
            yield f"net.{name} is {getattr(net, name):g}; use a share from 0 up to, but not 1"


def special_ids(net: Any) -> Iterator[str]:
    """Yields a line for every special token outside the vocabulary."""
    for name in ("bos", "eos", "pad"):
        value = getattr(net, name)
        if value is not None and not 0 <= value < net.vocab:
            yield f"net.{name} is {value}, which is no id of {net.vocab:,} tokens; use one from 0 to {net.vocab - 1:,}"


SEQGAN_FILTERS = (  # (tokens that a filter reads, number of filters)
    (1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100), (7, 100), (8, 100), (9, 100), (10, 100), (15, 160), (20, 160),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class WordFamily(TextFamily):
    """What families of SeqGAN's time have in common: a vocabulary of words, short texts, filters over tokens in D."""

    vocab: int = 5000  # tokens that G chooses from
    length: int = 20  # tokens of a text, with its start and end
    bos: int = 0  # id of the token that G reads first
    eos: int | None = None  # id of the token that ends a text; None = all have the full length
    pad: int = 0  # id in the places behind the end, which nothing reads

    def problems(self) -> Iterator[str]:
        yield from special_ids(self)
        yield from filters(self)
        yield from shares(self, "d_dropout")


@dataclasses.dataclass(frozen=True)
class SeqGANConfig(WordFamily):
    """SeqGAN's pair (Yu et al., 2017): an LSTM, and convolutions over tokens with a highway layer.

    With an LSTM for D, which scores every token, it is ScratchGAN's (de Masson d'Autume et al., 2019).
    """

    embedding: int = 32  # size of the vectors of G's tokens
    width: int = 32  # units of G's LSTM
    layers: int = 1  # of G's LSTM
    deviation: float = 0.1  # of G's new kernels and tables
    d_kind: Literal["cnn", "lstm"] = "cnn"  # convolutions that score a text, or an LSTM that scores every token
    d_embedding: int = 64  # size of the vectors of D's tokens
    d_filters: tuple[tuple[int, int], ...] = SEQGAN_FILTERS  # of a cnn: (tokens that a filter reads, number of filters)
    d_width: int = 512  # units of an lstm
    d_layers: int = 1  # of an lstm
    d_logits: int = 1  # scores of a text or token
    d_dropout: float = 0.25  # share of D's features that are dropped in training
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; states and logits stay float32

    positive = dict.fromkeys(
        "vocab length embedding width layers deviation d_embedding d_width d_layers d_logits".split(), ""
    )


@dataclasses.dataclass(frozen=True)
class RelGANConfig(WordFamily):
    """RelGAN's pair (Nie et al., 2019): a relational memory, and convolutions over several embeddings of the tokens."""

    embedding: int = 32  # size of the vectors of G's tokens
    slots: int = 1  # of G's memory
    heads: int = 2  # of attention to the memory
    head_size: int = 256  # of each; a slot has heads x head_size units
    mlp_layers: int = 2  # of the MLP behind attention
    d_representations: int = 64  # embeddings of D, each of which is scored
    d_embedding: int = 64  # size of all of them together
    d_filters: tuple[tuple[int, int], ...] = ((2, 300), (3, 300), (4, 300), (5, 300))  # (tokens that one reads, number)
    d_hidden: int = 100  # units of D's last hidden layer
    d_dropout: float = 0.25  # share of D's features that are dropped in training
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype; the memory and logits stay float32

    positive = dict.fromkeys(
        "vocab length embedding slots heads head_size mlp_layers d_representations d_embedding d_hidden".split(), ""
    )

    @property
    def d_logits(self) -> int:
        """Number of D's scores of a text: one by each embedding."""
        return self.d_representations

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.d_representations > 0 and self.d_embedding % self.d_representations:
            yield (
                f"net.d_embedding {self.d_embedding} is no multiple of net.d_representations {self.d_representations}, which "
                "share it; use one that is"
            )


def filters(net: Any) -> Iterator[str]:
    """Yields a line for filters that are none, or of which two read as many tokens."""
    sizes = [size for size, _ in net.d_filters]
    if not sizes or min(min(pair) for pair in net.d_filters) < 1 or len(set(sizes)) < len(sizes):
        yield f"net.d_filters is {net.d_filters}; use pairs of tokens and filters, each at least 1, such as ((2, 100), (3, 100))"
