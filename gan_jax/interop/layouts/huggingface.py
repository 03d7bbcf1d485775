"""Folders and files of Hugging Face's `transformers`: GPT-2 becomes G, BERT and RoBERTa become D.

Kernels of GPT-2 are `[in, out]` as ours, with queries, keys and values side by side in `c_attn`; those of BERT and RoBERTa are
`[out, in]`. Shapes do not tell the number of heads, nor activations: `config.json` does, or a configuration of ours.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from gan_jax.config import TransformerConfig
from gan_jax.documents import parse_document, shown
from gan_jax.interop.layouts.layout import ComputedLeaf, FileContext, ForeignLayout, ForeignPair, Part, Tensors, under
from gan_jax.interop.links import ForeignLayoutError, HeadsLink, Link, Links

NAME = "huggingface"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
DECODERS = ("gpt2",)  # values of model_type
ENCODERS = {"bert": "bert", "roberta": "roberta", "xlm-roberta": "roberta", "camembert": "roberta"}  # -> d_kind
ACTIVATIONS = {
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu": "gelu",
    "relu": "relu",
}

TIED = "the same values as the table of embeddings"
MASKED_LM = "a head that predicts masked tokens, which no discriminator has"
OTHER_HEAD = "a head for another task"
POOLER = "a pooler that the classifier does not read"
HEADS_LEFT_OUT = {  # beginnings of names, behind prefixes -> why
    "cls.": MASKED_LM,
    "lm_head.": MASKED_LM,
    "score.": OTHER_HEAD,
    "multiple_choice_head.": OTHER_HEAD,
    "qa_outputs.": OTHER_HEAD,
}

# What another program's default is, where a config.json does not say.
GPT2 = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None,
    "activation_function": "gelu_new", "resid_pdrop": 0.1, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip
BERT = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "max_position_embeddings": 512,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
ROBERTA = BERT | {"vocab_size": 50265, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
ONLY: dict[str, dict[str, tuple[Any, ...]]] = {  # what these networks compute with; other values are refused
    "gpt2": {
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    "bert": {"position_embedding_type": ("absolute", None), "is_decoder": (False,), "add_cross_attention": (False,)},
}
LENGTH = 64  # most tokens of a text in training, where there are positions for them

# ----------------------------------------------------------------------------------------------------------------------
# Names of tensors.


def generator_links(config: TransformerConfig, prefix: str = "transformer.") -> Links:
    """GPT-2's names of G's tensors; `prefix` of all but the head."""
    p = "params/"
    links: dict[str, Link] = {
        f"{prefix}wte.weight": Link(f"{p}embed/embedding"),
        f"{prefix}wpe.weight": Link(f"{p}places/embedding"),
    }
    for i in range(config.layers):
        there, here = f"{prefix}h.{i}.", f"{p}block{i}/"
        links |= _norm(f"{there}ln_1", f"{here}norm1")
        for part, name in (("weight", "kernel"), ("bias", "bias")):
            others = tuple(f"{here}{layer}/{name}" for layer in ("query", "key"))
            links[f"{there}attn.c_attn.{part}"] = HeadsLink(f"{here}value/{name}", heads=config.heads, others=others)
        links[f"{there}attn.c_proj.weight"] = HeadsLink(f"{here}out/kernel", heads=config.heads, merges=True)
        links[f"{there}attn.c_proj.bias"] = Link(f"{here}out/bias")
        links |= _norm(f"{there}ln_2", f"{here}norm2")
        for theirs, ours in (("c_fc", "up"), ("c_proj", "down")):
            links[f"{there}mlp.{theirs}.weight"] = Link(f"{here}{ours}/kernel")
            links[f"{there}mlp.{theirs}.bias"] = Link(f"{here}{ours}/bias")
    links |= _norm(f"{prefix}ln_f", f"{p}norm")
    return links if config.tied else links | {"lm_head.weight": Link(f"{p}head/kernel", "dense")}


def discriminator_links(config: TransformerConfig, prefix: str | None = None) -> Links:
    """BERT's or RoBERTa's names of D's tensors; `prefix` of all but the classifier, None = the usual one."""
    kind = config.d_kind
    prefix = f"{kind}." if prefix is None else prefix
    p, heads = "params/", config.d_heads
    links: dict[str, Link] = {
        f"{prefix}embeddings.{theirs}_embeddings.weight": Link(f"{p}{ours}/embedding")
        for theirs, ours in (("word", "embed"), ("position", "places"), ("token_type", "types"))
    }
    links |= _norm(f"{prefix}embeddings.LayerNorm", f"{p}norm")
    for i in range(config.d_layers):
        there, here = f"{prefix}encoder.layer.{i}.", f"{p}block{i}/"
        for name in ("query", "key", "value"):
            links[f"{there}attention.self.{name}.weight"] = HeadsLink(f"{here}{name}/kernel", "dense", heads=heads)
            links[f"{there}attention.self.{name}.bias"] = HeadsLink(f"{here}{name}/bias", heads=heads)
        out = f"{there}attention.output."
        links[f"{out}dense.weight"] = HeadsLink(f"{here}out/kernel", "dense", heads=heads, merges=True)
        links[f"{out}dense.bias"] = Link(f"{here}out/bias")
        links |= _norm(f"{out}LayerNorm", f"{here}norm1")
        links |= _dense(f"{there}intermediate.dense", f"{here}up")
        links |= _dense(f"{there}output.dense", f"{here}down")
        links |= _norm(f"{there}output.LayerNorm", f"{here}norm2")
    if config.d_per_token:
        return links | _dense("classifier", f"{p}head")
    if kind == "bert":
        return links | _dense(f"{prefix}pooler.dense", f"{p}pool") | _dense("classifier", f"{p}head")
    return links | _dense("classifier.dense", f"{p}pool") | _dense("classifier.out_proj", f"{p}head")


def _norm(theirs: str, ours: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"{ours}/scale"), f"{theirs}.bias": Link(f"{ours}/bias")}


def _dense(theirs: str, ours: str) -> dict[str, Link]:
    return {f"{theirs}.weight": Link(f"{ours}/kernel", "dense"), f"{theirs}.bias": Link(f"{ours}/bias")}


OLDER = ((re.compile(r"LayerNorm\.weight$"), "LayerNorm.gamma"), (re.compile(r"LayerNorm\.bias$"), "LayerNorm.beta"))


def spelled(links: Links, tensors: Tensors) -> Links:
    """The links with the names of norms that the oldest files have, where this one has them."""

    def name_of(name: str) -> str:
        older = name
        for pattern, text in OLDER:
            older = pattern.sub(text, older)
        return older if name not in tensors and older in tensors else name

    return {name_of(name): link for name, link in links.items()}


# ----------------------------------------------------------------------------------------------------------------------
# Reading.


def find(tensors: Tensors, context: FileContext) -> ForeignPair:
    """A decoder, an encoder, or one of each, from files or folders of their own."""
    config = TransformerConfig() if context.net is None else context.net
    if not isinstance(config, TransformerConfig):
        raise ForeignLayoutError(
            f"these are transformers, and net is a {type(config).__name__}; use a TransformerConfig"
        )
    networks = {start: _network(under(tensors, start)) for start in _starts(tensors)}
    roots = ["g_ema" if kind == "decoder" else "d" for kind, _ in networks.values()]
    if len(set(roots)) < len(roots):
        raise ForeignLayoutError(
            f"two {next(iter(networks.values()))[0]}s; a pair is a GPT-2 for G, and a BERT or RoBERTa for D"
        )
    ordered = sorted(
        zip(networks, roots, strict=True), key=lambda entry: entry[1] == "d"
    )  # G's first: D's depend on it
    facts = {start: _facts(context.values, start, context.net is None) for start, _ in ordered}
    alone = len(ordered) == 1
    parts, left_out, computed = {}, {}, {}
    for start, root in ordered:
        own, prefix = under(tensors, start), networks[start][1]
        read = _read_decoder if root == "g_ema" else _read_encoder
        if context.net is None:
            config = read(config, facts[start], own, prefix, alone)
        elif root == "d":
            config = _with_head(config, own, prefix)
        links = generator_links(config, prefix) if root == "g_ema" else _encoder_links(config, own, prefix)
        gone = dict(_unused(own, links, prefix, config, root))
        if root == "d":
            computed |= _missing_head(config, links, own)
        links = spelled(links, own)
        parts[root] = Part(start, {name: array for name, array in own.items() if name not in gone}, links)
        left_out |= {start + name: why for name, why in gone.items()}
    if problems := [*config.problems()]:
        raise ForeignLayoutError(problems[0])
    return ForeignPair(config, parts, {}, left_out, computed)


def find_without_context(tensors: Tensors) -> ForeignPair:
    """The same where only tensors are known, which do not suffice."""
    return find(tensors, FileContext({}, {}))


def _starts(tensors: Tensors) -> list[str]:
    """What the names of each network's tensors begin with: "g." and "d." where there are two files."""
    starts = {name[:2] for name in tensors} if tensors else set()
    return sorted(starts, reverse=True) if starts and starts <= {"g.", "d."} else [""]


MARKS = {"decoder": "wte.weight", "encoder": "embeddings.word_embeddings.weight"}


def _network(tensors: Tensors) -> tuple[str, str]:
    """(decoder or encoder, the prefix of its names)."""
    places = [
        (kind, name.removesuffix(mark)) for kind, mark in MARKS.items() for name in tensors if name.endswith(mark)
    ]
    if len(places) != 1:
        which = f"{len(places)} of them" if places else "none"
        raise ForeignLayoutError(
            f"these are no GPT-2, BERT or RoBERTa: {which} of {', '.join(map(repr, MARKS.values()))}"
        )
    return places[0]


def describes(values: Mapping[str, Any], starts: Iterable[str]) -> bool:
    """Whether a config.json of models that are known lies beside the weights that begin so."""
    texts = [str(values[start + CONFIG]) for start in starts if start + CONFIG in values]
    return any(re.search(rf'"model_type"\s*:\s*"({"|".join((*DECODERS, *ENCODERS))})"', text) for text in texts)


def _facts(values: Mapping[str, Any], start: str, needed: bool) -> dict[str, Any]:
    """What config.json says."""
    text = values.get(start + CONFIG)
    if text is None:
        if not needed:
            return {}
        raise ForeignLayoutError(
            f"there is no {CONFIG} with a model_type beside these weights, and they do not tell the number of heads: name a "
            "folder with both, or a configuration (--net)"
        )
    facts = parse_document(text, CONFIG, ForeignLayoutError)
    known = (*DECODERS, *ENCODERS)
    if facts.get("model_type") not in known:
        raise ForeignLayoutError(
            f"{CONFIG}: model_type is {shown(facts.get('model_type'))}; use one of {', '.join(known)}"
        )
    family = "gpt2" if facts["model_type"] in DECODERS else "bert"
    for name, allowed in ONLY[family].items():
        if (value := facts.get(name, allowed[0])) not in allowed:
            raise ForeignLayoutError(f"{CONFIG}: {name} is {shown(value)}, and these networks have {allowed[0]!r} only")
    return facts


class _Fields:
    """The fields of a config.json, with another program's defaults."""

    def __init__(self, facts: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.facts, self.defaults = facts, defaults

    def value(self, name: str) -> Any:
        return self.facts.get(name, self.defaults.get(name))

    def number(self, name: str, optional: bool = False) -> Any:
        """A whole number."""
        value = self.value(name)
        if (value is None and optional) or (type(value) is int and value >= 0):
            return value
        raise ForeignLayoutError(f"{CONFIG}: {name} is {shown(value)}; it must be a whole number from 0 up")

    def share(self, name: str) -> float:
        """A number."""
        value = self.value(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise ForeignLayoutError(f"{CONFIG}: {name} is {shown(value)}; it must be a number")

    def activation(self, name: str) -> Any:
        """One that we have."""
        value = self.value(name)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise ForeignLayoutError(
                f"{CONFIG}: {name} is {shown(value)}, an activation that these networks lack; they have {', '.join(ACTIVATIONS)}"
            )
        return ACTIVATIONS[value]

    def id(self, name: str, vocab: int, default: int | None) -> Any:
        """The id of a special token; the first where there are several."""
        value = self.value(name)
        value = value[0] if isinstance(value, list) and value else value
        value = default if value is None else value
        if value is not None and (type(value) is not int or not 0 <= value < vocab):
            raise ForeignLayoutError(f"{CONFIG}: {name} is {shown(value)}, which is no id of {vocab:,} tokens")
        return value


def _read_decoder(
    config: TransformerConfig, facts: Mapping[str, Any], tensors: Tensors, prefix: str, alone: bool
) -> TransformerConfig:
    if facts["model_type"] not in DECODERS:
        raise ForeignLayoutError(
            f"{CONFIG}: model_type is {facts['model_type']!r}, but the tensors are those of a GPT-2"
        )
    fields = _Fields(facts, GPT2)
    vocab, positions = fields.number("vocab_size"), fields.number("n_positions")
    last = min(50256, vocab - 1) if "bos_token_id" not in facts else None
    eos = fields.id("eos_token_id", vocab, last)
    bos = fields.id("bos_token_id", vocab, 0 if eos is None else eos)
    return dataclasses.replace(
        config,
        vocab=vocab,
        bos=bos,
        eos=eos,
        pad=fields.id("pad_token_id", vocab, bos if eos is None else eos),
        length=min(LENGTH, positions),
        width=fields.number("n_embd"),
        layers=fields.number("n_layer"),
        heads=fields.number("n_head"),
        mlp=fields.number("n_inner", optional=True),
        positions=positions,
        activation=fields.activation("activation_function"),
        tied=bool(fields.value("tie_word_embeddings")),
        dropout=fields.share("resid_pdrop"),
        epsilon=fields.share("layer_norm_epsilon"),
    )


def _read_encoder(
    config: TransformerConfig, facts: Mapping[str, Any], tensors: Tensors, prefix: str, alone: bool
) -> TransformerConfig:
    if facts["model_type"] not in ENCODERS:
        raise ForeignLayoutError(
            f"{CONFIG}: model_type is {facts['model_type']!r}, but the tensors are those of an encoder"
        )
    kind: Any = ENCODERS[facts["model_type"]]
    fields = _Fields(facts, ROBERTA if kind == "roberta" else BERT)
    vocab, positions = fields.number("vocab_size"), fields.number("max_position_embeddings")
    pad = fields.id("pad_token_id", vocab, 0)
    room = positions - (pad + 1 if kind == "roberta" else 0)
    if alone:  # G has D's vocabulary
        bos = fields.id("bos_token_id", vocab, pad)
        config = dataclasses.replace(
            config, vocab=vocab, bos=bos, eos=fields.id("eos_token_id", vocab, None), pad=pad, length=LENGTH
        )
    config = dataclasses.replace(
        config,
        length=min(config.length, room),
        d_kind=kind,
        d_vocab=None if vocab == config.vocab else vocab,
        d_pad=pad,
        d_width=fields.number("hidden_size"),
        d_layers=fields.number("num_hidden_layers"),
        d_heads=fields.number("num_attention_heads"),
        d_mlp=fields.number("intermediate_size"),
        d_positions=positions,
        d_types=fields.number("type_vocab_size"),
        d_activation=fields.activation("hidden_act"),
        d_dropout=fields.share("hidden_dropout_prob"),
        d_epsilon=fields.share("layer_norm_eps"),
    )
    return _with_head(config, tensors, prefix)


def _with_head(config: TransformerConfig, tensors: Tensors, prefix: str) -> TransformerConfig:
    """The configuration with D's head as the tensors have it; as it is where they have none."""
    plain, inner = tensors.get("classifier.weight"), tensors.get("classifier.out_proj.weight")
    head = plain if inner is None else inner
    if head is None:
        return config
    pooled = inner is not None or f"{prefix}pooler.dense.weight" in tensors
    return dataclasses.replace(config, d_logits=len(head), d_per_token=not pooled)


def _encoder_links(config: TransformerConfig, tensors: Tensors, prefix: str) -> Links:
    """Their names of D's tensors; RoBERTa's pooler in place of the inner layer of a classifier that is absent."""
    links = dict(discriminator_links(config, prefix))
    pooler = f"{prefix}pooler.dense"
    if config.d_kind == "roberta" and "classifier.dense.weight" not in tensors and f"{pooler}.weight" in tensors:
        for part in ("weight", "bias"):
            if link := links.pop(f"classifier.dense.{part}", None):
                links[f"{pooler}.{part}"] = link
    return links


def _unused(
    tensors: Tensors, links: Links, prefix: str, config: TransformerConfig, root: str
) -> Iterator[tuple[str, str]]:
    """Yields (name, why) of the tensors that are left out."""
    for name, array in tensors.items():
        if name in links:
            continue
        if root == "g_ema" and name == "lm_head.weight":  # G is tied, as it would be in `links` otherwise
            if not np.array_equal(array, tensors[f"{prefix}wte.weight"]):
                raise ForeignLayoutError(
                    f"{name!r} differs from '{prefix}wte.weight', but {CONFIG} has tie_word_embeddings, with which it is not "
                    "used; set that to false if the head is one of its own"
                )
            yield name, TIED
        elif root == "d" and name in (f"{prefix}pooler.dense.weight", f"{prefix}pooler.dense.bias"):
            yield name, POOLER
        elif why := next((why for start, why in HEADS_LEFT_OUT.items() if name.startswith(start)), None):
            if root == "g_ema" and why == MASKED_LM:
                continue  # a bias of G's head is nothing that G has
            yield name, why


# -- a head that is not in the file ------------------------------------------------------------


def _missing_head(config: TransformerConfig, links: Links, tensors: Tensors) -> dict[str, ComputedLeaf]:
    """How the leaves of D's head are made that the file lacks: drawn as for a new network, biases zero."""
    ours = ("params/pool/", "params/head/")
    names = {link.path: name for name, link in links.items() if link.path.startswith(ours)}
    return {
        f"d/{path}": ComputedLeaf("new, as at the start: a head is not in the file", _fresh(path))
        for path, name in names.items()
        if name not in tensors
    }


def _fresh(path: str) -> Callable[[Any, Any], np.ndarray]:
    def make(config: Any, variables: Any) -> np.ndarray:
        _, layer, part = path.split("/")
        zeros = np.asarray(variables["params"][layer][part])
        if part == "bias":
            return np.zeros_like(zeros)
        return (0.02 * np.random.default_rng(0).standard_normal(zeros.shape)).astype(zeros.dtype)

    return make


# ----------------------------------------------------------------------------------------------------------------------
# Writing.


def names(config: TransformerConfig) -> dict[str, tuple[str, Links]]:
    """The names of a pair's tensors, each network's in a folder of its own."""
    for side in ("", "d_"):
        size, width, heads = (getattr(config, f"{side}{name}") for name in ("head_size", "width", "heads"))
        if size is not None and size * heads != width:
            raise ForeignLayoutError(
                f"net.{side}head_size {size} is not width / heads, as in {NAME}; export it as gan_jax"
            )
    return {"g_ema": ("", generator_links(config)), "d": ("", discriminator_links(config))}


def beside(config: TransformerConfig, root: str) -> dict[str, dict[str, Any]]:
    """The config.json of a network."""
    return {CONFIG: _decoder_facts(config) if root == "g_ema" else _encoder_facts(config)}


def _decoder_facts(c: TransformerConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": c.vocab,
        "n_positions": c.positions,
        "n_ctx": c.positions,
        "n_embd": c.width,
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_inner": c.mlp,
        "activation_function": c.activation,
        "embd_pdrop": c.dropout,
        "resid_pdrop": c.dropout,
        "attn_pdrop": 0.0,
        "layer_norm_epsilon": c.epsilon,
        "tie_word_embeddings": c.tied,
        "bos_token_id": c.bos,
        "eos_token_id": c.eos,
        "pad_token_id": c.pad,
        "torch_dtype": "float32",
    }


def _encoder_facts(c: TransformerConfig) -> dict[str, Any]:
    base, task = "Roberta" if c.d_kind == "roberta" else "Bert", "Token" if c.d_per_token else "Sequence"
    labels = [f"LABEL_{i}" for i in range(c.d_logits)]
    return {
        "architectures": [f"{base}For{task}Classification"],
        "model_type": c.d_kind,
        "vocab_size": c.d_vocab or c.vocab,
        "hidden_size": c.d_width,
        "num_hidden_layers": c.d_layers,
        "num_attention_heads": c.d_heads,
        "intermediate_size": c.d_sizes[1],
        "hidden_act": c.d_activation,
        "hidden_dropout_prob": c.d_dropout,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": c.d_positions,
        "type_vocab_size": c.d_types,
        "layer_norm_eps": c.d_epsilon,
        "pad_token_id": c.d_pad,
        "position_embedding_type": "absolute",
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
        "torch_dtype": "float32",
    }


LAYOUT = ForeignLayout(TransformerConfig, find_without_context, names, find_in_context=find, beside=beside)

__all__ = ["CONFIG", "LAYOUT", "NAME", "discriminator_links", "find", "generator_links", "names"]
