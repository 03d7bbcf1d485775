"""`--method lora ewc`: what is asked for, how it is written, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from gan_jax.cli.arguments import join_methods, parse_run, run_folder
from gan_jax.cli.train import Train
from gan_jax.config import ChainConfig, Config, ConfigError, EWCConfig, LoRAConfig, from_dict, to_dict
from gan_jax.transfer.dataset import counted


def parsed(*words) -> Config:
    return parse_run(Train, list(words), verb="train", base=Config()).config


def test_methods_and_their_options():
    config = parsed(
        "--method", "lora", "ewc", "--transfer.lora.rank", "3", "--transfer.source", "s", "--train.kimg", "1"
    )
    assert config.transfer == ChainConfig(source="s", methods=(LoRAConfig(rank=3), EWCConfig()))
    assert config.transfer.parts[0] == LoRAConfig(rank=3, source="s")
    assert from_dict(Config, to_dict(config)) == config
    assert [part["kind"] for part in to_dict(config)["transfer"]["methods"]] == ["lora", "ewc"]
    assert to_dict(config)["transfer"]["kind"] == "chain"
    assert parsed("--method", "lora").transfer == LoRAConfig()
    assert run_folder(None, None, config).name.startswith("lora+ewc-")


def test_words():
    assert join_methods(["f", "--method", "lora", "ewc", "--x"]) == ["f", "--method", "lora+ewc", "--x"]
    assert join_methods(["--method", "lora", "--x", "y"]) == ["--method", "lora", "--x", "y"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "lora", "ecw"), "--method ecw is no method.*did you mean 'ewc'"),
        (("--method", "lora", "ewc", "--transfer.lora.rnk", "3"), "rnk"),
        (("--method", "lora", "ewc", "--transfer.lora.source", "s"), "source"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(Exception, match=message):
        parsed(*words)


def test_what_cannot_run_says_of_which_method():
    config = dataclasses.replace(Config(), transfer=ChainConfig(methods=()))
    with pytest.raises(ConfigError, match="transfer.methods is empty"):
        config.validate()
    nested = dataclasses.replace(Config(), transfer=ChainConfig(methods=(ChainConfig(),)))
    with pytest.raises(ConfigError, match="holds chain, which cannot be one of several"):
        nested.validate()


def test_the_number_of_images_reaches_the_methods():
    from gan_jax.config import BSAConfig

    chain = ChainConfig(methods=(BSAConfig(), EWCConfig()))
    assert chain.images is None and not chain.adversarial
    assert counted(chain, 7).methods[0].images == 7
