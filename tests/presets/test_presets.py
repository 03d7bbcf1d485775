"""Every preset can run, has networks of a known size, and says what its paper says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax.numpy as jnp
import pytest

from gan_jax.cli.main import main
from gan_jax.config import Config, ConfigError, from_dict, to_dict
from gan_jax.nets import build
from gan_jax.presets import PRESETS, preset
from gan_jax.presets.few_shot import few_shot
from gan_jax.presets.stylegan2 import auto
from gan_jax.tasks import networks_of
from gan_jax.train.optim import learning_rate
from gan_jax.trees import count

GOLDEN = Path(__file__).parent / "golden" / "parameters.json"


def sizes() -> dict[str, list[int]]:
    """Of every preset."""
    return {name: sizes_of(name) for name in PRESETS}


def sizes_of(name: str) -> list[int]:
    """Parameters of G and of D; shapes only."""
    pair = build(preset(name).net)
    return [count(net.specs()["params"]) for net in (pair.g, pair.d)]


@pytest.mark.parametrize("name", PRESETS)
def test_it_can_run_and_goes_through_json(name):
    config = preset(name)
    assert config.validate() is config
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


def test_every_preset_has_sizes():
    """After a change that is meant: `python -m tests.presets.test_presets` rewrites the list."""
    assert json.loads(GOLDEN.read_text()).keys() == set(PRESETS)


SMALL = ("stylegan2-ada-cifar", "r3gan-cifar10", "biggan-cifar10", "sngan-cifar", "stylegan2-few-shot-256")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in SMALL else pytest.mark.slow) for n in PRESETS])
def test_sizes(name):
    assert sizes_of(name) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize(
    ("name", "g", "d"),
    [
        ("stylegan2-ada-cifar", 19_947_539, 20_720_641),
        pytest.param("stylegan2-ada-64-auto", 22_243_608, 23_407_361, marks=pytest.mark.slow),
        pytest.param("stylegan2-ada-256-auto", 23_191_522, 24_001_089, marks=pytest.mark.slow),
        pytest.param("stylegan2-ada-paper256", 24_767_458, 24_001_089, marks=pytest.mark.slow),
        pytest.param("stylegan2-ada-1024-auto", 28_794_124, 29_012_513, marks=pytest.mark.slow),
        ("r3gan-ffhq64", 22_429_824, 22_381_440),
        pytest.param("r3gan-imagenet64", 103_570_432, 107_205_120, marks=pytest.mark.slow),
        pytest.param("biggan-256", 82_235_844, 99_225_890, marks=pytest.mark.slow),
    ],
)
def test_sizes_are_those_that_the_references_print(name, g, d):
    assert sizes_of(name) == [g, d]


def test_stylegan2_ada():
    config = auto(256, gpus=8)
    assert (config.train.batch, config.net.mbstd_group, config.ema.half_life_kimg) == (64, 4, 20.0)
    assert config.loss.r1_gamma == pytest.approx(0.2048) and config.optim.lr == 0.0025
    assert config.net.channel_base == 16384 and config.net.mapping_layers == 2
    assert auto(1024, gpus=8).optim.lr == 0.002 and auto(1024, gpus=8).train.batch == 32
    assert preset("stylegan2-ada-256-auto").train.batch == 16
    cifar = preset("stylegan2-ada-cifar")
    assert (cifar.loss.path_length, cifar.net.style_mixing, cifar.net.discriminator) == (0.0, 0.0, "orig")
    assert cifar.train.kimg == 100_000 and cifar.ema.half_life_kimg == 500 and cifar.net.mbstd_group == 32
    assert preset("stylegan2-ada-paper1024").augment.ada == "bgc" and preset("stylegan2-1024").augment.ada is None


def test_averages_of_biggan_lose_a_ten_thousandth_in_an_update_of_g():
    for name, shown in (("biggan-128", 2048 * 2), ("biggan-cifar10", 50 * 4)):
        assert math.isclose(0.5 ** (shown / (preset(name).ema.half_life_kimg * 1000)), 0.9999, rel_tol=1e-9)
    assert preset("biggan-128").train.kimg * 1000 == 150_000 * 4096


def test_few_shots_have_the_average_of_the_recipe_in_batches_of_any_size():
    for batch in (4, 16):
        config = few_shot(batch=batch)
        assert config.ema.half_life_kimg * 1000 / batch == 10_000 / 32  # updates in which it forgets half
        assert config.train.kimg * 1000 == 5002 * batch


def test_r3gan_ends_where_its_schedules_do():
    config = preset("r3gan-cifar10")
    assert config.anneal.kimg == config.train.kimg == 20_000 and config.anneal.ada_p == 0.55
    assert config.anneal.gamma == pytest.approx(0.005) and config.loss.r1_gamma == config.loss.r2_gamma == 0.05


def test_translators_are_as_long_and_as_large_as_published():
    shown = {name: round(preset(name).train.kimg * 1000) for name in ("pix2pix", "cyclegan", "cut", "fastcut")}
    assert shown == {"pix2pix": 400 * 200, "cyclegan": 1334 * 200, "cut": 1334 * 400, "fastcut": 1334 * 200}
    assert preset("fastcut").optim.decay_from == 0.75 and preset("fastcut").optim.decay_steps == 50
    # counts of the published code: U-Net-256 and a PatchGAN of 6 channels, ResNet-9 and one of 3 channels, U-Net-128, SPADE
    assert sizes_of("pix2pix") == [54_413_955, 2_768_705]
    assert sizes_of("cyclegan") == sizes_of("cut") == [11_378_179, 2_764_737]
    assert sizes_of("pix2pix-128")[0] == 41_828_995 and sizes_of("cyclegan-128")[0] == 7_837_699
    f = networks_of(preset("cut")).nets["f"]
    assert count(f.specs()["params"]) == 560_384


@pytest.mark.parametrize("length", [1.0, 0.1])
@pytest.mark.parametrize(
    ("name", "epochs", "factors"),
    [
        ("pix2pix", 200, {1: 1, 100: 1, 101: 100 / 101, 150: 51 / 101, 200: 1 / 101}),
        ("cyclegan", 200, {1: 1, 100: 1, 101: 100 / 101, 150: 51 / 101, 200: 1 / 101}),
        ("cut", 400, {1: 1, 200: 1, 201: 200 / 201, 300: 101 / 201, 400: 1 / 201}),
        ("fastcut", 200, {1: 1, 150: 1, 151: 50 / 51, 175: 26 / 51, 200: 1 / 51}),
        ("spade", 50, {1: 1, 50: 1}),
    ],
)
def test_step_sizes_of_translators_by_epoch(name, epochs, factors, length):
    """At the first and the last image of an epoch; a run of another length has the same stairs, as long as its epochs."""
    config = preset(name)
    images = config.train.kimg * 1000 * length
    for epoch, factor in factors.items():
        start, end = (math.ceil(round(n * images / epochs, 6)) for n in (epoch - 1, epoch))
        for place in (start, end - 1 - (end - start) // 500):  # a stair may begin a thousandth of it early
            shown = jnp.asarray(place)  # images before a step of one
            for lr in (config.optim.lr, config.optim.d_lr or config.optim.lr):
                rate = learning_rate(config.optim, lr, images, shown)
                assert float(rate) == pytest.approx(lr * factor, rel=1e-5), (epoch, place)
    lrs = {"spade": (1e-4, 4e-4)}.get(name, (2e-4, None))
    assert (config.optim.lr, config.optim.d_lr) == lrs


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"no preset 'r3gan-cifar' \(did you mean 'r3gan-cifar10'.*biggan-128"):
        preset("r3gan-cifar")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--preset", "stylegan2-ada-cifr"], "did you mean 'stylegan2-ada-cifar'"),
        (["{file}", "--preset", "sngan-cifar"], "are two configurations; name one"),
        (["--preset", "sngan-cifar", "--optim.lr", "0"], "optim.lr is 0; it must be positive"),
    ],
)
def test_the_command_line(argv, message, tmp_path, capsys):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(to_dict(Config())))
    assert main(["train", *(word.format(file=file) for word in argv)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_help_names_the_presets(capsys):
    assert main(["train", "--preset", "r3gan-ffhq64", "--help"]) == 0
    text = "".join(capsys.readouterr().out.replace("│", "").split())
    assert "stylegan2-ada-paper256" in text and "folder:data/ffhq-64" in text


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(sizes(), indent=1) + "\n")
