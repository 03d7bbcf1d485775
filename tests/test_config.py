from __future__ import annotations

import ast
import dataclasses
import json
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_jax import config as c
from gan_jax.config import Config, ConfigError, differences, from_dict, to_dict
from gan_jax.config.serial import FORMER_KINDS, former_spelling

FAR = Config(
    data=c.DataConfig(source="folder:/x", classes=(1, 9), shots=100),
    net=c.DCGANConfig(resolution=32),
    augment=c.AugmentConfig(policy=("color", "cutout")),
    optim=c.OptimConfig(d_lr=1e-4, clip_norm=1.0),
    transfer=c.FreezeDConfig(blocks=2, networks="d"),
    checkpoint=c.CheckpointConfig(every_kimg=None),
)


# -- JSON and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [Config(), FAR])
def test_json_loses_nothing(config):
    text = json.dumps(to_dict(config), allow_nan=False)
    assert from_dict(Config, json.loads(text)) == config


def test_members_of_a_union_carry_their_kind():
    values = to_dict(FAR)
    assert values["net"]["kind"] == "dcgan" and values["transfer"]["kind"] == "freeze_d"
    assert "kind" not in values["optim"]


@pytest.mark.parametrize("task", [cls() for cls in c.TASK_NAMES.values()] + [c.OneSidedTask(layers=(0, 4), flip=True)])
def test_tasks_go_through_json(task):
    config = Config(task=task)
    values = json.loads(json.dumps(to_dict(config)))
    assert from_dict(Config, values) == config
    # images from latents are written as before there were other tasks, and may be named
    assert values["task"] == {} if isinstance(task, c.ImageTask) else values["task"]["kind"] == c.kind_of(task)
    assert from_dict(Config, {"task": {"kind": "image"}}).task == c.ImageTask()
    with pytest.raises(
        ConfigError, match=r"config.task.kind is 'pared'; use one of image, paired.*did you mean 'paired'"
    ):
        from_dict(Config, {"task": {"kind": "pared"}})


def test_kinds_are_read_as_they_were_written_before():
    """Files have had class names under `kind`: of all families and methods that there were then."""
    for name, former in FORMER_KINDS.items():
        part = "net" if name in c.NETS else "transfer"
        cls = c.NETS.get(name) or c.METHOD_NAMES[name]
        for kind in (name, former):
            assert getattr(from_dict(Config, {part: {"kind": kind}}), part) == cls()
        assert c.kind_in({"kind": former}) == name == c.kind_of(cls) and FORMER_KINDS["cocktail"] == "RootingConfig"
    assert c.net_from_dict({"kind": "MLPConfig", "z_dim": 3}) == c.MLPConfig(z_dim=3)
    old = former_spelling(to_dict(FAR))
    assert (old["net"]["kind"], old["transfer"]["kind"]) == ("DCGANConfig", "FreezeDConfig")
    assert from_dict(Config, old) == FAR


def test_every_family_says_what_it_lacks_without_a_field_of_it():
    """`num_classes` of a family without labels is no field: its JSON stays as it is."""
    assert {name for name, cls in c.NETS.items() if cls().num_classes != 0} == set()
    assert "num_classes" not in c.net_to_dict(c.DCGANConfig())


def test_fields_left_out_take_their_defaults():
    assert from_dict(Config, {}) == Config()
    assert from_dict(Config, {"optim": {"lr": 1}}).optim.lr == 1.0
    assert isinstance(from_dict(Config, {"optim": {"lr": 1}}).optim.lr, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optm": {}}, r"config has no field 'optm' \(did you mean 'optim'\?\); its fields are data, net"),
        ({"optim": {"learning_rate": 1}}, r"config\.optim has no field 'learning_rate'"),
        ({"optim": {"lr": "fast"}}, r"config\.optim\.lr must be float, not 'fast'"),
        ({"train": {"batch": 1.5}}, r"config\.train\.batch must be int, not 1\.5"),
        ({"train": {"batch": True}}, r"config\.train\.batch must be int, not True"),
        ({"train": {"batch": None}}, r"config\.train\.batch must be int, not None"),
        ({"data": {"mirror": 1}}, r"config\.data\.mirror must be bool, not 1"),
        ({"data": {"classes": 3}}, r"config\.data\.classes must be a list, not 3"),
        ({"data": {"classes": [1, 1.5]}}, r"config\.data\.classes\[1\] must be int or str, not 1\.5"),
        ({"data": {"fit": "squash"}}, r"config\.data\.fit is 'squash'; use one of 'crop', 'pad', 'stretch'"),
        ({"data": {"channels": 2}}, r"config\.data\.channels is 2; use one of 1, 3, 4"),
        ({"loss": {"name": "hinges"}}, r"config\.loss\.name is 'hinges'; use one of .*did you mean 'hinge'"),
        ({"augment": {"policy": ["colour"]}}, r"config\.augment\.policy\[0\] is 'colour'.*did you mean 'color'"),
        ({"net": {"kind": "ResnetConfig"}}, r"config\.net\.kind is 'ResnetConfig'; use one of .*did you mean 'resnet'"),
        ({"net": {"resolution": 32}}, r"config\.net\.kind is None; use one of resnet, dcgan"),
        ({"net": 3}, r"config\.net must be a mapping of fields, not 3"),
        ([], r"config must be a mapping of fields, not \[\]"),
    ],
)
def test_from_dict_says_what_is_wrong_and_where(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, values)


def test_from_dict_leaves_its_input_alone():
    values = to_dict(FAR)
    before = json.dumps(values)
    from_dict(Config, values)
    assert json.dumps(values) == before


# -- differences -----------------------------------------------------------------------------------------


def test_no_difference():
    assert differences(FAR, dataclasses.replace(FAR)) == []


def test_a_difference_is_one_line_per_field():
    other = dataclasses.replace(
        Config(),
        optim=c.OptimConfig(lr=1e-3, d_lr=1e-4),
        data=c.DataConfig(classes=(1, 2)),
        net=c.ResNetConfig(z_dim=9),
    )
    assert differences(Config(), other) == [
        "data.classes: 'None' -> '[1, 2]'",
        "net.z_dim: 64 -> 9",
        "optim.d_lr: 'None' -> 0.0001",
        "optim.lr: 0.0002 -> 0.001",
    ]


def test_another_member_of_a_union_is_a_difference():
    lines = differences(Config(), Config(transfer=c.FinetuneConfig()))
    assert "transfer.kind: 'scratch' -> 'finetune'" in lines
    assert "transfer.source: absent -> 'embedded:fashion16'" in lines


# -- validate --------------------------------------------------------------------------------------------


def test_families_that_begin_at_4_px_may_be_of_8_px():
    for net in (c.StyleGAN2Config(resolution=8), c.R3GANConfig(resolution=8)):
        assert Config(net=net).validate().net.resolution == 8


def test_groups_divide_the_channels_inside_a_block():
    """4 of 6 x 2; the 6 outside need not."""
    Config(net=c.R3GANConfig(widths=(6,), cardinality=(4,), expansion=2)).validate()


def test_defaults_that_numbers_depend_on():
    """A run without options is the same game in every version."""
    config = Config()
    assert (config.optim.lr, config.optim.b1, config.optim.b2) == (2e-4, 0.0, 0.9)
    assert (config.ema.half_life_kimg, config.ema.rampup) == (10.0, 0.05)
    assert (config.augment.ada_target, config.augment.ada_kimg) == (0.6, 500.0)
    assert (config.train.batch, config.train.d_steps, config.train.steps_per_dispatch) == (32, 1, 8)
    loss = config.loss
    assert (loss.name, loss.lecam_decay, loss.zcr_sigma) == ("hinge", 0.99, 0.03)
    assert (loss.path_length_interval, loss.path_length_decay, loss.path_length_shrink) == (4, 0.01, 2)


def test_the_defaults_are_valid():
    config = Config()
    assert config.validate() is config
    FAR.validate()


def test_a_batch_smaller_than_a_group_is_one_group():
    Config(net=c.StyleGAN2Config(resolution=8), train=c.TrainConfig(batch=3)).validate()


WRONG = {
    "net.resolution is 24": Config(net=c.ResNetConfig(resolution=24)),
    "net.resolution is 8": Config(net=c.ResNetConfig(resolution=8)),
    "net.resolution is 4; use a power of two from 8": Config(net=c.StyleGAN2Config(resolution=4)),
    "net.channels is 2": Config(net=c.ResNetConfig(channels=2)),
    "net.z_dim": Config(net=c.ResNetConfig(z_dim=0)),
    "leaves no channel at 2048 px": Config(net=c.ResNetConfig(resolution=2048)),
    "net.num_classes is 1": Config(net=c.ResNetConfig(num_classes=1)),
    "net.kernel is 4; use an odd size": Config(net=c.ResNetConfig(kernel=4)),
    "net.widths is [8, 0]; give one number of at least 1": Config(net=c.R3GANConfig(widths=(8, 0))),
    "net.blocks is []; give one number of at least 0": Config(net=c.R3GANConfig(blocks=())),
    "net.cardinality 3 at 8 px does not divide the 16 channels inside a block (net.widths 8 x net.expansion 2)": Config(
        net=c.R3GANConfig(widths=(6, 8), cardinality=(3,))
    ),
    "net.expansion is 0; it must be positive": Config(net=c.R3GANConfig(expansion=0)),
    "net.depth is 0": Config(net=c.ResNetConfig(depth=0)),
    "train.batch is 0; it must be positive": Config(train=c.TrainConfig(batch=0)),
    "net.mbstd_group 4 does not divide train.batch 6, and D compares whole groups": Config(
        net=c.StyleGAN2Config(resolution=8), train=c.TrainConfig(batch=6)
    ),
    "does not divide over 3 devices; use a multiple of 3": Config(train=c.TrainConfig(devices=3)),
    "train.devices is 0; it must be positive, or None for all": Config(train=c.TrainConfig(devices=0)),
    "(batch x steps_per_dispatch); use train.steps_per_dispatch 3 or less, or train longer": Config(
        train=c.TrainConfig(kimg=0.1)
    ),
    "penalty_interval": Config(loss=c.LossConfig(penalty_interval=0)),
    "set loss.gp_lambda": Config(loss=c.LossConfig(name="wasserstein")),
    "must not be negative": Config(loss=c.LossConfig(r1_gamma=-1.0)),
    "DCGAN's discriminator has batch norm": Config(net=c.DCGANConfig(), loss=c.LossConfig(gp_lambda=10.0)),
    "optim.lr is 0; it must be positive": Config(optim=c.OptimConfig(lr=0.0)),
    "optim.b1 and optim.b2": Config(optim=c.OptimConfig(b2=1.0)),
    "optim.clip_norm": Config(optim=c.OptimConfig(clip_norm=0.0)),
    "optim.eps": Config(optim=c.OptimConfig(eps=0.0)),
    "optim.warmup_kimg": Config(optim=c.OptimConfig(warmup_kimg=-1.0)),
    "ema.half_life_kimg": Config(ema=c.EMAConfig(half_life_kimg=-1.0)),
    "ema.rampup": Config(ema=c.EMAConfig(rampup=0.0)),
    "data.shots": Config(data=c.DataConfig(shots=0)),
    "data.classes": Config(data=c.DataConfig(classes=())),
    "data.load_size is of pairs": Config(data=c.DataConfig(load_size=286)),
    "data.load_size 24 is smaller than net.resolution 32": Config(
        data=c.DataConfig(load_size=24), net=c.ResNetConfig(resolution=32)
    ),
    "data.load_size is 0; it must be positive": Config(data=c.DataConfig(load_size=0)),
    "data.load_size is 8193; use at most 8192 px": Config(data=c.DataConfig(load_size=8193)),
    "checkpoint.keep_last": Config(checkpoint=c.CheckpointConfig(keep_last=0)),
    "checkpoint.every_kimg": Config(checkpoint=c.CheckpointConfig(every_kimg=0.0)),
    "set evaluate.every_kimg": Config(checkpoint=c.CheckpointConfig(keep_best=True)),
    "evaluate.n_fake": Config(evaluate=c.EvalConfig(n_fake=1)),
    "evaluate.every_kimg": Config(evaluate=c.EvalConfig(every_kimg=0.0)),
    "evaluate.stats_batches": Config(evaluate=c.EvalConfig(stats_batches=-1)),
    "log.every_dispatches": Config(log=c.LogConfig(every_dispatches=0)),
    "log.grid_every_kimg": Config(log=c.LogConfig(grid_every_kimg=-1.0)),
    "to freeze nothing use finetune": Config(transfer=c.FreezeDConfig(blocks=0)),
    "bsa trains without one; use 0": Config(transfer=c.BSAConfig(d_warmup_kimg=1.0)),
    "shows an image in two ways": Config(transfer=c.BSAConfig(), data=c.DataConfig(mirror=True)),
    "but bsa trains without a D; use 1": Config(transfer=c.BSAConfig(), train=c.TrainConfig(d_steps=2)),
    "transfer.normals is 0; it must be positive": Config(transfer=c.BSAConfig(normals=0)),
    "set transfer.d_warmup_kimg": Config(transfer=c.FinetuneConfig(networks="g")),
    "shorter than train.kimg": Config(transfer=c.FinetuneConfig(d_warmup_kimg=100.0)),
    "transfer.d_warmup_kimg is -1; it must not be negative": Config(transfer=c.FinetuneConfig(d_warmup_kimg=-1.0)),
    "optim.lr is nan": Config(optim=c.OptimConfig(lr=float("nan"))),
    "train.kimg is inf": Config(train=c.TrainConfig(kimg=float("inf"))),
}


@pytest.mark.parametrize("message", WRONG)
def test_validate_names_the_field(message):
    with pytest.raises(ConfigError, match="this configuration cannot run:\n  - ") as caught:
        WRONG[message].validate()
    assert message in str(caught.value)


def test_validate_lists_every_problem():
    config = Config(net=c.ResNetConfig(resolution=24, channels=2), train=c.TrainConfig(batch=0))
    with pytest.raises(ConfigError) as caught:
        config.validate()
    assert len(str(caught.value).splitlines()) == 4


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_validate_never_crashes(data):
    """Whatever numbers the fields hold, the answer is a Config or a ConfigError."""
    parts = {}
    for field in dataclasses.fields(Config):
        part = getattr(Config(), field.name)
        hints = typing.get_type_hints(type(part))
        picked = {}
        for inner in dataclasses.fields(part):
            if hints[inner.name] in (int, float) and data.draw(st.booleans()):
                kind = st.integers(-3, 64) if hints[inner.name] is int else st.floats(allow_nan=True)
                picked[inner.name] = data.draw(kind)
        parts[field.name] = dataclasses.replace(part, **picked)
    try:
        Config(**parts).validate()
    except ConfigError as error:
        assert "\n  - " in str(error)


def test_every_field_says_what_it_is():
    """The comment after a field is its help on the command line."""
    lines = Path(c.__file__).read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.ClassDef) and node.name != "Config":
            for field in node.body:
                if isinstance(field, ast.AnnAssign):
                    assert any("  # " in lines[i] for i in (field.lineno - 2, field.lineno - 1)), ast.unparse(field)


@pytest.mark.parametrize(
    "odd", [0, -1, 2**31, 2**63, 10**20, float("nan"), float("inf"), "x", 1.5, True, None, (), (0,), (float("nan"),)]
)
def test_no_value_breaks_the_checks(odd):
    """Whatever stands in a field: sentences, never an exception, and never silence about another kind of value."""
    import typing

    from gan_jax.config.checks import misfit, problems

    parts = [("net", cls()) for cls in typing.get_args(c.NetConfig)]
    parts += [("transfer", cls()) for cls in c.METHOD_NAMES.values()]
    parts += [
        (f.name, getattr(Config(), f.name)) for f in dataclasses.fields(Config) if f.name not in ("net", "transfer")
    ]
    for part, value in parts:
        hints = typing.get_type_hints(type(value))
        for field in dataclasses.fields(value):
            changed = dataclasses.replace(value, **{field.name: odd})
            found = list(problems(dataclasses.replace(Config(), **{part: changed})))
            wrong = misfit(hints[field.name], odd) is not None or odd != odd or odd == float("inf") or odd == 10**20
            if wrong:
                assert any(text.startswith(f"{part}.{field.name} is ") for text in found), (type(value), field.name)


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("train", "seed", -1, "use a whole number from 0 to 2^64 - 1"),
        ("train", "batch", 0, "it must be positive"),
        ("train", "batch", True, "use a whole number"),
        ("train", "kimg", float("nan"), "use a finite number"),
        ("train", "devices", 1.5, "use a whole number or None"),
        ("net", "resolution", 2**30, "use at most 8192 px"),
        ("data", "pipeline", "atuo", "use one of auto, device, grain (did you mean 'auto'?)"),
    ],
)
def test_values_are_refused_in_a_sentence(part, name, value, said):
    changed = dataclasses.replace(getattr(Config(), part), **{name: value})
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(Config(), **{part: changed}).validate()
    assert f"{part}.{name} is " in str(caught.value) and said in str(caught.value)
