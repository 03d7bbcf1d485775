"""What a run does where its user did not say: a pure function, so nothing is trained here."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from gan_jax import data
from gan_jax.config import (
    Config,
    ConfigError,
    DCGANConfig,
    FinetuneConfig,
    FreezeDConfig,
    MLPConfig,
    ResNetConfig,
    ScratchConfig,
    StyleGAN2Config,
)
from gan_jax.transfer.choices import Machine, Pretrained, can_freeze, choose, choose_colour, step_gflop


def Survey(sizes=None, resolution=80, **facts):  # noqa: N802  as the class that it makes, with the facts of most tests
    known = {"name": "folder:mine", "count": 59, "modes": Counter(), "kinds": Counter(), "channels": 3, "alpha": False}
    sizes = Counter({(90, 80): 40, (100, 100): 19}) if sizes is None else sizes
    return data.Survey(**(known | {"sizes": sizes, "resolution": resolution} | facts))


GREY = Pretrained("embedded:fashion16", ResNetConfig(resolution=16, channel_max=24))
FACES = Pretrained("digiface64", DCGANConfig(channel_base=2048))
HERE = Machine(features=("mobilenetv2",))


def of(source, survey=None, machine=None, given=(), **parts):
    """The choices for a source's own networks, with options of the user."""
    transfer = ScratchConfig() if source is None else FinetuneConfig(source=source.name)
    base = Config(net=ResNetConfig() if source is None else source.net, transfer=transfer)
    for part, values in parts.items():
        base = dataclasses.replace(base, **{part: dataclasses.replace(getattr(base, part), **values)})
    return choose(base, frozenset(given), survey or Survey(), source, machine)


def line(choices, what):
    (found,) = (text for text in choices.lines if text.startswith(f"{what}: "))
    return found


def test_a_colour_source_of_a_sensible_size_is_taken_as_it_is():
    found = of(FACES)
    assert found.config.net == FACES.net and found.config.transfer == FreezeDConfig(source="digiface64")
    assert found.config.validate() is found.config
    assert "DCGAN, 64 px, colour, generator and discriminator" in line(found, "source")
    assert "64 px, as the source's" in line(found, "size") and "40 of 59 are not square and cut" in line(found, "size")
    assert line(found, "shots") == "shots: all 59 images"
    assert {text.partition(":")[0] for text in found.lines} == {
        "data", "source", "network", "channels", "size", "shots", "augmentation", "training", "method", "features",
    }  # fmt: skip


def test_colours_of_the_images_make_a_grey_source_grow_and_so_does_their_size():
    found = of(GREY)
    assert (found.config.net.channels, found.config.net.resolution) == (3, 32)
    assert found.config.net.channel_max == 24 and type(found.config.transfer) is FinetuneConfig
    assert "the source is grey and grows" in line(found, "channels")
    tiny = of(GREY, Survey(channels=1, resolution=20, sizes=Counter({(20, 20): 59})))
    assert (tiny.config.net.channels, tiny.config.net.resolution) == (1, 16)
    assert type(tiny.config.transfer) is FreezeDConfig  # nothing grew


@pytest.mark.parametrize(
    ("own", "seen", "alpha", "wanted"),
    [(1, 1, False, 1), (1, 3, False, 3), (3, 1, False, 3), (3, 3, True, 3), (4, 3, False, 3), (4, 3, True, 4)],
)
def test_channels_follow_source_and_images(own, seen, alpha, wanted):
    source = Pretrained("x", StyleGAN2Config(resolution=64, channels=own))
    found = of(source, Survey(channels=seen, alpha=alpha))
    assert found.config.net.channels == wanted
    assert ("transparency is laid" in line(found, "channels")) == (alpha and wanted < 4)


def test_what_the_user_gave_wins_and_what_it_loses_is_said():
    given = ("net.channels", "net.resolution", "method", "evaluate.features", "train.kimg")
    found = of(
        FACES,
        None,
        HERE,
        given,
        net={"channels": 1, "resolution": 32},
        train={"kimg": 3.0},
        evaluate={"features": None},
    )
    assert (found.config.net.channels, found.config.net.resolution) == (1, 32)
    assert found.config.train.kimg == 3.0 and found.config.evaluate.features is None
    assert type(found.config.transfer) is FinetuneConfig and found.config.evaluate.every_kimg == 0.75
    assert "their colours are lost" in line(found, "channels") and "32 px, as asked" in line(found, "size")
    assert "nothing is evaluated" in line(found, "features")
    loss = of(FACES, None, None, ("loss.r1_gamma",), loss={"r1_gamma": 5.0}).config.loss
    assert loss.r1_gamma == 5.0 and loss.name == "hinge"  # a game of the user's is not mixed with ours


def test_a_generator_alone_offers_its_transfer_with_a_d_that_warms_up():
    found = of(dataclasses.replace(FACES, has=frozenset({"g_ema"})))
    assert found.config.transfer == FinetuneConfig(source="digiface64", networks="g", d_warmup_kimg=1.0)
    assert found.config.validate() and "generator only" in line(found, "source")
    assert "a fresh D trains alone for the first 1 kimg" in line(found, "networks")
    alone = of(dataclasses.replace(FACES, has=frozenset({"d"})))
    assert alone.config.transfer.networks == "d" and alone.config.validate()


def test_classes_follow_source_and_labels():
    labels = ((0, "cat", 30), (1, "dog", 29))
    told = lambda choices: line(choices, "classes")
    unused = of(FACES, Survey(classes=labels))
    assert told(unused).endswith("not used; --net.num-classes 2 takes a source whose networks can have classes")
    chosen = of(FACES, Survey(classes=labels), given=("transfer.source",))
    assert told(chosen).endswith("the labels of 2 classes are not used")  # a DCGAN has none
    offered = of(GREY, Survey(classes=labels))
    assert "--net.num-classes 2 uses them" in told(offered) and offered.config.net.num_classes == 0
    conditional = Pretrained("c", ResNetConfig(num_classes=5))
    mapped = of(conditional, Survey(classes=labels))
    assert mapped.config.net.num_classes == 2 and mapped.config.transfer.classes == (-1, -1)
    assert of(conditional).config.net.num_classes == 0
    with pytest.raises(ConfigError, match="num_classes is 3, but folder:mine has no labels"):
        of(GREY, None, None, ("net.num_classes",), net={"num_classes": 3})


def test_classes_on_those_of_the_source_say_which():
    conditional = Pretrained("c", ResNetConfig(num_classes=3))
    labels = ((0, "ape", 30), (1, "cat", 20), (3, "dog", 9))  # label 2 has no image
    found = of(conditional, Survey(classes=labels))
    assert found.config.net.num_classes == 3 and found.config.transfer.classes is None
    assert "3 of the images (0 ape, 1 cat, 2 dog), each begins as the source's of this number" in line(found, "classes")
    asked = of(conditional, Survey(classes=labels), None, ("transfer.classes",), transfer={"classes": (2, 0, 1)})
    assert line(asked, "classes").endswith("on those of the source as asked")


def test_grey_images_in_a_colour_source_say_what_becomes_of_them():
    found = of(FACES, Survey(channels=1))
    assert found.config.net.channels == 3
    assert "the images are in grey, alike in all channels" in line(found, "channels")
    assert "--net.channels 1 makes the source grey" in line(found, "channels")


@pytest.mark.parametrize(("group", "batch"), [(7, 28), (3, 30), (5, 30), (4, 32), (0, 32), (40, 40)])
def test_batches_are_whole_groups_of_the_source(group, batch):
    source = Pretrained("s", StyleGAN2Config(resolution=64, mbstd_group=group, channel_base=512, channel_max=16))
    found = of(source)
    assert found.config.train.batch == batch and found.config.validate()
    assert ("batch" in {text.partition(":")[0] for text in found.lines}) == (batch != 32)


@pytest.mark.parametrize(("batch", "group"), [(8, 8), (6, 6), (20, 5), (13, 13)])
def test_groups_give_way_to_a_batch_that_was_typed(batch, group):
    source = Pretrained("s", StyleGAN2Config(resolution=64, mbstd_group=7, channel_base=512, channel_max=16))
    found = of(source, None, None, ("train.batch",), train={"batch": batch})
    assert found.config.net.mbstd_group == group and found.config.train.batch == batch and found.config.validate()
    assert f"D compares groups of {group} images; the source's 7 do not divide batches of {batch}" in line(
        found, "groups"
    )


def test_features_are_the_best_that_are_here():
    assert of(FACES, None, HERE).config.evaluate.features == "mobilenetv2"
    assert of(FACES, None, HERE).config.evaluate.n_fake == 500  # no Frechet distance of 59 images and 1,280 features
    many = of(FACES, Survey(count=5000), HERE).config
    assert many.evaluate.n_fake == 2000 and not many.augment.policy and many.train.kimg == 30
    found = of(FACES)
    assert found.config.evaluate.features == "fashion-v1"
    assert "gan-jax weights get mobilenetv2" in line(found, "features")
    assert of(GREY, Survey(channels=1), HERE).config.evaluate.features == "fashion-v1"


def test_a_count_by_headers_says_that_fewer_may_train():
    assert "59 images of folder:mine" in line(of(FACES), "data") and "header" not in line(of(FACES), "data")
    found = of(FACES, Survey(whole=False))
    assert "59 images of folder:mine by their headers" in line(found, "data")
    assert line(found, "shots") == "shots: all 59 images that can be read"


def test_the_time_says_what_it_leaves_out():
    assert "CPU cores, without compilation and evaluations;" in line(of(FACES), "training")
    quiet = of(FACES, None, None, ("evaluate.features",), evaluate={"features": None})
    assert "CPU cores, without compilation;" in line(quiet, "training")
    assert "about" not in line(of(FACES, None, Machine(accelerator=True)), "training")


def test_shots_that_there_are_not_are_refused():
    assert of(FACES, None, None, ("data.shots",), data={"shots": 59}).lines
    with pytest.raises(ConfigError, match="data.shots is 60, but folder:mine has 59 images"):
        of(FACES, None, None, ("data.shots",), data={"shots": 60})


def test_fresh_weights_take_the_size_of_the_images():
    found = of(None)
    assert (
        found.config.transfer == ScratchConfig()
        and found.config.net.resolution == 64
        and found.config.net.channels == 3
    )
    assert of(None, Survey(resolution=20)).config.net.resolution == 32
    assert "fresh weights" in line(found, "source") and found.config.validate()


def test_other_families_are_not_grown():
    found = of(Pretrained("m", MLPConfig(resolution=28)), Survey(channels=1))
    assert found.config.net.resolution == 28 and type(found.config.transfer) is FinetuneConfig


def test_files_left_out_and_accelerators():
    found = of(FACES, Survey(left_out=(("a.jpg", "is empty"),)), Machine(accelerator=True))
    assert "1 left out, since they cannot be read: a.jpg (is empty)" in line(found, "data")
    assert found.config.train.kimg == 100 and "CPU" not in line(found, "training")
    assert "on 2 CPU cores" in line(of(FACES), "training")


def test_a_short_training_is_made_of_short_dispatches():
    default = of(FACES).config.train.steps_per_dispatch
    assert of(FACES, given=["train.kimg"], train={"kimg": 0.1}).config.train.steps_per_dispatch == 3 < default
    assert of(FACES, given=["train.kimg"], train={"kimg": 0.01}).config.train.steps_per_dispatch == 1
    kept = of(FACES, given=["train.kimg", "train.steps_per_dispatch"], train={"kimg": 0.1})
    assert kept.config.train.steps_per_dispatch == default, "what was given is refused, never changed"


def test_the_count_of_operations_is_of_the_right_size():
    """XLA counts 2.76 and 0.33 GFLOP for an image of a step."""
    assert 1.4 < step_gflop(FACES.net) < 5.5
    assert 0.16 < step_gflop(ResNetConfig(resolution=32, channels=3, channel_max=24)) < 0.66


def test_data_channels_decide_the_network():
    found = of(FACES, None, None, ("data.channels",), data={"channels": 1})
    assert found.config.net.channels == 1 and "their colours are lost" in line(found, "channels")


def test_colours_are_not_lost_unasked_in_a_configuration_of_ones_own():
    config = Config(net=ResNetConfig(resolution=16))
    found = choose_colour(config, set(), Survey())
    assert found.config == dataclasses.replace(config, net=ResNetConfig(resolution=16, channels=3)) and found.lines
    for given, survey in (({"net.channels"}, Survey()), ({"data.channels"}, Survey()), (set(), Survey(channels=1))):
        same = choose_colour(config, given, survey)
        assert same.config == config and not same.lines


def test_a_discriminator_of_one_block_is_not_frozen():
    small = StyleGAN2Config(resolution=8, channels=1, channel_base=64, channel_max=8)
    assert not can_freeze(small) and can_freeze(dataclasses.replace(small, resolution=16))
