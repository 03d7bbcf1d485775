"""Folders and files of Hugging Face: what is read of them, what is left out and said, what is refused, and the way back."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gan_jax
from gan_jax.config import TransformerConfig
from gan_jax.interop.exporters import ExportError, export_file
from gan_jax.interop.foreign import ForeignError
from gan_jax.interop.importers import ForeignLayoutError, import_file
from gan_jax.interop.layouts.huggingface import discriminator_links, generator_links, names
from gan_jax.interop.links import export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.conftest import extra_data
from tests.golden import golden, under

DECODER = {
    "model_type": "gpt2", "vocab_size": 11, "n_positions": 12, "n_embd": 6, "n_layer": 2, "n_head": 2, "n_inner": 10,
    "activation_function": "relu", "resid_pdrop": 0.2, "layer_norm_epsilon": 1e-3, "bos_token_id": 9, "eos_token_id": 10,
    "tie_word_embeddings": False,
}  # fmt: skip
ENCODER = {
    "model_type": "bert", "vocab_size": 13, "hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 3,
    "intermediate_size": 8, "hidden_act": "gelu", "hidden_dropout_prob": 0.3, "max_position_embeddings": 9,
    "type_vocab_size": 2, "layer_norm_eps": 1e-6, "pad_token_id": 0,
}  # fmt: skip
SIZES = {
    "vocab": 11, "bos": 9, "eos": 10, "pad": 10, "width": 6, "layers": 2, "heads": 2, "mlp": 10, "positions": 12,
    "activation": "relu", "dropout": 0.2, "epsilon": 1e-3, "tied": False,
}  # fmt: skip
D_SIZES = {
    "d_width": 6, "d_layers": 1, "d_heads": 3, "d_mlp": 8, "d_positions": 9, "d_dropout": 0.3, "d_epsilon": 1e-6,
}  # fmt: skip
G = TransformerConfig(length=12, **SIZES)
D = TransformerConfig(vocab=13, bos=0, eos=None, pad=0, length=9, d_logits=2, **D_SIZES)
BOTH = TransformerConfig(length=9, d_vocab=13, d_logits=2, **SIZES, **D_SIZES)


def tensors_of(config, network):
    net, links = (build(config).g, generator_links) if network == "g" else (build(config).d, discriminator_links)
    rng = np.random.default_rng(0)
    leaves = {path: rng.standard_normal(spec.shape).astype("f4") for path, spec in flatten(net.specs()).items()}
    return export_tensors(leaves, links(config))


def folder_of(path, facts, tensors, name="model.safetensors"):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(facts))
    save_file({key: np.ascontiguousarray(array) for key, array in tensors.items()}, path / name, {"format": "pt"})
    return path


def same_leaves(imported, root, config, expected):
    links = generator_links(config) if root == "g_ema" else discriminator_links(config)
    found = export_tensors(flatten(imported.variables[root]), links)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


# -- the published forms -----------------------------------------------------------------------


@pytest.mark.parametrize("file", ["", "model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_golden_folders(name, file):
    """Every tensor is that of the golden arrays; in the .bin the head is a second name of the embeddings."""
    found = import_file(extra_data("..", "golden", f"text_tiny_{name}") / file)
    expected = {
        key: array for key, array in under(golden(f"text_{name}_tiny.npz"), "net/").items() if key != "lm_head.weight"
    }
    same_leaves(found, "g_ema" if name == "gpt2" else "d", found.config, expected)
    left_out = {"lm_head.weight"} if (name, file) == ("gpt2", "pytorch_model.bin") else set()
    assert (set(found.account.ignored), found.computed, found.layout) == (left_out, {}, "huggingface")
    config = found.config
    if name == "gpt2":
        assert (config.vocab, config.width, config.layers, config.heads, config.positions) == (300, 32, 2, 4, 64)
        assert (config.bos, config.eos, config.pad, config.tied, config.activation) == (299, 299, 299, True, "gelu_new")
    else:
        assert (config.d_width, config.d_layers, config.d_heads, config.d_mlp, config.d_logits) == (32, 2, 4, 64, 3)
        assert (config.d_kind, config.d_epsilon, config.d_activation, config.d_pad) == ("bert", 1e-12, "gelu", 0)


def test_fields_of_the_configurations(tmp_path):
    """Both folders give a pair; each alone gives one network, and G then has D's vocabulary."""
    g, d = tensors_of(G, "g"), tensors_of(D, "d")
    one, two = folder_of(tmp_path / "g", DECODER, g), folder_of(tmp_path / "d", ENCODER, d)
    found = import_file(one, d=two)
    assert found.config == BOTH
    same_leaves(found, "g_ema", BOTH, g)
    same_leaves(found, "d", BOTH, d)
    assert import_file(one).config == G and import_file(two).config == D
    assert {*import_file(two).variables} == {"d"}
    with pytest.raises(ForeignLayoutError, match="two decoders; a pair is a GPT-2 for G"):
        import_file(one, d=one)


def test_prefixes_buffers_and_older_names(tmp_path):
    g = {name.removeprefix("transformer."): array for name, array in tensors_of(G, "g").items()}
    for i in range(2):
        g |= {
            f"h.{i}.attn.bias": np.ones((1, 1, 12, 12), np.uint8),
            f"h.{i}.attn.masked_bias": np.float32(-1e4)[None][0],
        }
    g = {name: np.asarray(array) for name, array in g.items()}
    found = import_file(folder_of(tmp_path / "g", DECODER, g))
    same_leaves(found, "g_ema", G, tensors_of(G, "g"))
    assert set(found.account.ignored) == {name for name in g if name.endswith((".attn.bias", "masked_bias"))}
    assert set(found.account.ignored.values()) == {"a buffer that its program makes anew, no weight"}
    d = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in tensors_of(D, "d").items()
    }
    d["bert.embeddings.position_ids"] = np.arange(9)[None]
    found = import_file(folder_of(tmp_path / "d", ENCODER, d))
    same_leaves(found, "d", D, tensors_of(D, "d"))
    assert set(found.account.ignored) == {"bert.embeddings.position_ids"}


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_heads_that_are_absent_or_others(tmp_path, kind):
    """A masked language model: its head is left out, a new one made; the pooler is what there is of it."""
    facts = ENCODER | {"model_type": kind, "pad_token_id": 1, "max_position_embeddings": 11}
    facts |= {"bos_token_id": 0, "eos_token_id": 2} if kind == "roberta" else {}
    config = dataclasses.replace(D, d_kind=kind, pad=1, d_pad=1, bos=1, d_positions=11, length=11, d_logits=1)
    config = dataclasses.replace(config, bos=0, eos=2, length=9) if kind == "roberta" else config
    whole = tensors_of(config, "d")
    body = {name.removeprefix(f"{kind}."): array for name, array in whole.items() if name.startswith(f"{kind}.")}
    body = {name: array for name, array in body.items() if "pooler" not in name}
    lm = {"bert": "cls.predictions.bias", "roberta": "lm_head.bias"}[kind]
    found = import_file(folder_of(tmp_path / "lm", facts, body | {lm: np.zeros(13, "f4")}))
    assert found.config == config
    assert found.account.ignored == {lm: "a head that predicts masked tokens, which no discriminator has"}
    assert {*found.computed} == {
        f"d/params/{layer}/{part}" for layer in ("pool", "head") for part in ("kernel", "bias")
    }
    kernel = found.variables["d"]["params"]["pool"]["kernel"]
    assert 0.01 < kernel.std() < 0.03 and not found.variables["d"]["params"]["head"]["bias"].any()
    pooler = {"pooler.dense.weight": np.full((6, 6), 2, "f4"), "pooler.dense.bias": np.full(6, 3, "f4")}
    found = import_file(folder_of(tmp_path / "pooled", facts, body | pooler))
    assert {*found.computed} == {"d/params/head/kernel", "d/params/head/bias"}
    assert (found.variables["d"]["params"]["pool"]["kernel"] == 2).all()
    tokens = {"classifier.weight": np.full((4, 6), 5, "f4"), "classifier.bias": np.zeros(4, "f4")}
    found = import_file(folder_of(tmp_path / "tokens", facts, body | tokens))
    assert (found.config.d_per_token, found.config.d_logits, found.computed) == (True, 4, {})


def test_several_files(tmp_path):
    g = tensors_of(G, "g")
    folder = folder_of(tmp_path / "g", DECODER, {})
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(g)}
    for file in {*places.values()}:
        save_file({name: g[name] for name in g if places[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    found = import_file(folder)
    same_leaves(found, "g_ema", G, g)
    assert found.files[""].format == "safetensors, 2 files" and found.config == G
    with pytest.raises(ForeignError, match="an index of weights in several files; name the folder that they lie in"):
        import_file(index)
    for wrong, words in (
        ({**places, "x": "../secret"}, "which is no name of a file beside it"),
        ({**places, "x": "model-00003-of-00003.safetensors"}, "lacks model-00003-of-00003.safetensors, where"),
        ({**places, "x": places["lm_head.weight"]}, "lacks 'x', which model.safetensors.index.json has there"),
        ({name: file for name, file in places.items() if name != "lm_head.weight"}, "holds 'lm_head.weight', which"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(ForeignError, match=words):
            import_file(folder)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"activation_function": "silu"},
            "activation_function is 'silu', an activation that these networks lack; they have",
        ),
        ({"scale_attn_weights": False}, "scale_attn_weights is False, and these networks have True only"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"model_type": "t5"}, "model_type is 't5'; use one of gpt2, bert, roberta"),
        ({"model_type": "bert"}, "model_type is 'bert', but the tensors are those of a GPT-2"),
        ({"n_head": 4}, "net.width 6 is no multiple of net.heads 4"),
        ({"n_head": "2"}, "n_head is '2'; it must be a whole number from 0 up"),
        ({"n_embd": 8}, r"check its configuration"),
        ({"n_layer": 1}, "has a tensor 'transformer.h.1"),
        ({"n_layer": 3}, "lacks 'transformer.h.2"),
        ({"bos_token_id": 11}, "bos_token_id is 11, which is no id of 11 tokens"),
        ({"tie_word_embeddings": True}, "'lm_head.weight' differs from 'transformer.wte.weight'"),
    ],
)
def test_configurations_that_are_refused(tmp_path, change, words):
    with pytest.raises(ForeignLayoutError, match=words):
        import_file(folder_of(tmp_path / "g", DECODER | change, tensors_of(G, "g")))


def test_files_that_are_refused(tmp_path):
    folder = folder_of(tmp_path / "d", ENCODER | {"position_embedding_type": "relative_key"}, tensors_of(D, "d"))
    with pytest.raises(ForeignLayoutError, match="position_embedding_type is 'relative_key'"):
        import_file(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ForeignLayoutError, match="there is no config.json with a model_type"):
        import_file(folder)
    (folder / "config.json").unlink()
    for place in (folder, folder / "model.safetensors"):
        same_leaves(import_file(place, net=D), "d", D, tensors_of(D, "d"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ForeignError, match="a folder without model.safetensors or pytorch_model.bin"):
        import_file(folder)
    with pytest.raises(ForeignLayoutError, match=r"net.head_size 4 is not width / heads"):
        names(dataclasses.replace(G, head_size=4))


# -- the way back ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_golden_folders_are_written_as_they_were(tmp_path, name):
    place = extra_data("..", "golden", f"text_tiny_{name}")
    found = import_file(place)
    [folder] = export_file(tmp_path / "out", found.config, found.variables, "huggingface")
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, place))
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key], strict=True, err_msg=key)
    facts, published = (json.loads((path / "config.json").read_text()) for path in (folder, place))
    facts_compared = (
        "embd_pdrop hidden_size n_embd n_inner n_head num_attention_heads layer_norm_eps model_type layer_norm_epsilon "
        "architectures vocab_size id2label hidden_act activation_function"
    )
    same = {*facts_compared.split()} & {*published}
    assert len(same) > 6 and {key: facts[key] for key in same} == {key: published[key] for key in same}
    again = import_file(folder)
    assert again.config == found.config


def test_by_the_command_line(tmp_path, capsys):
    from gan_jax.cli.main import main

    one, two = (extra_data("..", "golden", f"text_tiny_{name}") for name in ("gpt2", "bert"))
    for place, name in ((one, "g"), (two, "d")):
        shutil.copytree(place, tmp_path / name)
    lines = ["import", str(tmp_path / "g"), "--d", str(tmp_path / "d"), "--out", str(tmp_path / "w")]
    assert main(lines) == 0
    said = capsys.readouterr().out
    assert "layout huggingface" in said and "69 tensors used, 0 ignored" in said
    assert f"gan-jax inspect {tmp_path / 'w'}" in said
    model = gan_jax.load(tmp_path / "w")
    assert repr(model) == "Model('transformer 300 tokens, 64 long, 67.1 k values, g_ema+d')"
    export = ["export", str(tmp_path / "w"), "--to", "huggingface", "--out", str(tmp_path / "og")]
    assert main(export) == 2
    assert "a folder of layout huggingface holds one network, and there are g_ema and d" in capsys.readouterr().err
    assert main([*export, "--d", str(tmp_path / "od")]) == 0
    for name in ("g", "d"):
        ours, theirs = (load_file(tmp_path / folder / "model.safetensors") for folder in (f"o{name}", name))
        assert all((ours[key] == theirs[key]).all() for key in ours) and ours.keys() == theirs.keys()
    with pytest.raises(ExportError, match="layout huggingface is a folder; leave the ending .pt out"):
        export_file(tmp_path / "x.pt", model.config, {"g_ema": model.variables["g_ema"]}, "huggingface")
