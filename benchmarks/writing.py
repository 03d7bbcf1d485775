"""Texts drawn from a GPT-2 with a cache, beside `generate` of Hugging Face's transformers where `--peer` names its packages.

The peer's folder is one with `transformers` and `torch`, such as the `site-packages` of a virtual environment. It gets the
weights that ours have, as `gan-jax export --to huggingface` writes them. Both draw from all tokens at temperature 1, from one
token of the start, and never end before the length.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax

from benchmarks._timing import in_turns
from gan_jax.config import TransformerConfig
from gan_jax.interop.exporters import export_file
from gan_jax.nets import build
from gan_jax.tasks.decoding import Decoding
from gan_jax.tasks.write import beginnings, make_writer

TITLE = "Texts from a GPT-2, batch 64, tokens a second (medians of rounds in turns)"
BATCH, ROUNDS = 64, 5
PEER: str | None = None  # folder of the peer's packages, set by --peer
SIZES = {
    "tiny": TransformerConfig(300, bos=299, eos=None, pad=299, width=32, layers=2, heads=4, positions=256),
    "medium": TransformerConfig(5000, bos=0, eos=None, pad=0, width=256, layers=4, heads=4, positions=256),
    "small": TransformerConfig(eos=None),  # GPT-2 small: 124 million parameters
}
CASES = [
    (name, int(length)) for name, _, length in (case.partition("-") for case in os.environ.get(
        "GAN_JAX_WRITING_CASES", "tiny-20,tiny-128,medium-20,medium-128,small-20,small-128").split(","))
]  # fmt: skip


def run() -> list[dict[str, Any]]:
    """One row for each size and length: tokens a second here and there, and the ratio within rounds."""
    rows = []
    for name, length in CASES:
        config = SIZES[name]
        variables = build(config).g.init(jax.random.key(0))
        functions = {"gan_jax": _ours(config, variables, length)}
        if PEER is not None:
            functions["transformers"] = _peer(PEER, config, variables, length)
        seconds = in_turns(functions, ROUNDS if name != "small" else 3)
        rate = {
            key: BATCH * length / statistics.median(clock for clock, _ in values) for key, values in seconds.items()
        }
        cpu = {key: statistics.median(processor for _, processor in values) for key, values in seconds.items()}
        row: dict[str, Any] = {"size": name, "length": length, "tokens_s": rate["gan_jax"]}
        if PEER is not None:
            ratios = [b[0] / a[0] for a, b in zip(seconds["gan_jax"], seconds["transformers"], strict=True)]
            row |= {"transformers_tokens_s": rate["transformers"], "ratio": statistics.median(ratios)}
            row |= {"ratio_least": min(ratios), "ratio_most": max(ratios)}
            row |= {
                "processor_ratio": cpu["transformers"] / cpu["gan_jax"]
            }  # what other work on the machine changes less
        print(row, flush=True)
        rows.append(row)
    return rows


def _ours(config: TransformerConfig, variables: Any, length: int) -> Callable[[], Any]:
    write = make_writer(build(config).g, config, Decoding())
    prompts = beginnings(config, BATCH)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jax.numpy.arange(BATCH))
    return lambda: write(variables, prompts, keys, length)["tokens"]


def _peer(folder: str, config: TransformerConfig, variables: Any, length: int) -> Callable[[], Any]:
    if folder not in sys.path:
        sys.path.append(folder)
    import torch  # type: ignore[import-not-found]  # not a dependency
    from transformers import GPT2LMHeadModel, logging  # type: ignore[import-not-found]

    logging.set_verbosity_error()
    if len(os.sched_getaffinity(0)) == 1:
        torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as place:
        export_file(place, dataclasses.replace(config), {"g_ema": variables}, "huggingface")
        model = GPT2LMHeadModel.from_pretrained(place).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = config.pad
    ids = torch.full((BATCH, 1), config.bos)

    def call() -> Any:
        with torch.inference_mode():
            model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=length, use_cache=True
            )

    return call
