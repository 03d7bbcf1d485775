"""A method of one's own, with everything that a method may have: the shape is enough for it."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import load
from gan_jax.config import ConfigError, FinetuneConfig, MLPConfig
from gan_jax.nets.build import build
from gan_jax.tasks.model import save
from gan_jax.train.extension import Extension
from gan_jax.train.regularisers import Regulariser
from gan_jax.transfer.adapters import kml
from gan_jax.transfer.method import Graft, Method
from gan_jax.transfer.preparation import PreparedState, every_leaf
from gan_jax.transfer.run import run
from tests.train.checkpoint_states import assert_same
from tests.train.toy import build_toy, images, run_config
from tests.transfer.methods import conformance as ask


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)


def stay(ctx):
    """Squared distance of what G makes from what its start made of the same latents."""
    old = ctx.task.generate(ctx.constants["g"], ctx.batch, ctx.latent_keys, False)[0]
    return 0.1 * jnp.square(ctx.fake - old).mean(), {"worst": jnp.abs(ctx.fake - old).max() * 0 + 1}


def prepare(context, nets, constants):
    """A stage that trains D and G's gates, of which D is kept: it is where the run begins."""
    trains = {"g": lambda path: path.startswith("adapter/"), "d": every_leaf}
    d = context.train(nets, 0.016, trains=trains).nets["d"]
    return PreparedState({**nets, "d": d}, {**constants, "probe": d["params"]}, images=16)


def drawn(ctx):
    """Latents of the method's own, of each example's key."""
    return ctx.replace(batch={**ctx.batch, "z": jax.vmap(lambda key: jax.random.normal(key, (4,)))(ctx.latent_keys)})


def slower(ctx, network, before, after):
    """Nine tenths of an update."""
    return jax.tree.map(lambda old, new: old + 0.9 * (new - old), before[0], after[0]), after[1]


def own(config, pair, kernel="stem/kernel", low="from_rgb", inner="b4"):
    """G's kernels under gates, scaled latents before it, a copy of the start kept, a term against leaving it.

    It has every hook but `sharding`, whose donors test_shard_donors cuts.
    """
    return Method(
        starts=("g", "d"),
        frozen=("g/params/**", f"d/params/{low}/**"),
        trained=("g/params/to_rgb/bias",),
        grafts={
            "g": Graft(
                kml((kernel,)),
                branches={"scale": lambda key, params: {"z": jnp.ones((1, 4))}},
                front=lambda branches, z: z * branches["scale"]["z"],
            )
        },
        constants=lambda nets: {"g": nets["g"], "probe": nets["d"]["params"]},
        prepare=prepare,
        extension=Extension(
            regularisers=(Regulariser("stay", "g", stay),),
            transform=drawn,
            capture=(inner,),
            logits_fn=lambda ctx, output: output.logits + 0.1 * output.intermediates[inner].mean(-1),
            post_update=slower,
            metrics=lambda state: {"counted": state.extras["steps"].astype(jnp.float32)},
            weight=lambda ctx, network: jnp.where(ctx.update_count % 2 == 0, 1.0, 0.5),
            init_extras=lambda nets: {"worst": jnp.zeros(()), "steps": jnp.zeros((), jnp.int32)},
            post_step=lambda before, state, ctx: _count(state),
        ),
    )


def _count(state):
    return state.replace(extras={**state.extras, "steps": state.extras["steps"] + 1})


def own_mlp(config, pair):
    return own(config, pair, "fc0/kernel", "fc0", "fc1")


CONFIG = ask.make_config(FinetuneConfig())


@functools.cache
def begun():
    """The method at its start, compiled once for all that is asked of it."""
    return ask.begin(CONFIG, own(None, build(CONFIG.net)))


def moves(path):
    grafted = path.startswith(("g/params/adapter/", "g/params/graft/"))
    return grafted or path == "g/params/to_rgb/bias" or path.startswith(("d/params/b4", "d/params/head"))


def test_only_what_it_trains_moves_and_two_devices_agree():
    ask.assert_only(begun(), moves)
    ask.assert_same_on_devices(begun(), 2, compiler="pmap")


@pytest.mark.slow
def test_all_compilers_agree():
    ask.assert_same_everywhere(CONFIG, own(None, build(CONFIG.net)))


def test_terms_weights_and_running_values_are_read():
    after, metrics = begun().after(3)
    assert after["extras/steps"] == 3 and after["extras/worst"] == 1 and metrics["stay"] > 0
    assert metrics["counted"] == 3
    kernel = "kept/g/params/stem/kernel"
    np.testing.assert_array_equal(after[kernel], begun().before[kernel])


def test_without_an_adversarial_loss_d_is_not_touched():
    size = Regulariser("size", "g", lambda ctx: (jnp.square(ctx.fake).mean(), {}))
    begun = ask.begin(CONFIG, Method(extension=Extension(adversarial=False, regularisers=(size,))))
    before, (after, metrics) = begun.before, begun.after(2)
    assert after["images"] == 16 and "loss_d" not in metrics and metrics["size"] > 0 and metrics["finite"].all()
    for path, value in before.items():
        if path.startswith(("d/", "opt_d")):
            np.testing.assert_array_equal(after[path], value, err_msg=path)
    assert (after["g/params/stem/kernel"] != before["g/params/stem/kernel"]).any()


def test_latents_that_a_method_puts_into_the_batch_are_used():
    def transform(ctx):
        return ctx.replace(batch={**ctx.batch, "z": jnp.zeros((len(ctx.index), 4))})

    begun = ask.begin(CONFIG, Method(extension=Extension(transform=transform)))
    before, (after, _) = begun.before, begun.after(1)
    np.testing.assert_array_equal(after["g/params/stem/kernel"], before["g/params/stem/kernel"])  # reads zeros
    assert (after["g/params/stem/bias"] != before["g/params/stem/bias"]).any()


def test_latents_that_are_taken_from_gs_parameters_are_trained():
    def transform(ctx):
        own = ctx.g["params"]["graft"]["latents"]["z"]
        return ctx.replace(batch={**ctx.batch, "z": own[ctx.index % 3]})

    branches = {"latents": lambda key, params: {"z": jax.random.normal(key, (3, 4))}}
    method = Method(
        frozen=("g/params/**",), grafts={"g": Graft(branches=branches)}, extension=Extension(transform=transform)
    )
    moves = lambda path: path.startswith("d/") or path == "g/params/graft/latents/z"
    ask.assert_only(ask.begin(CONFIG, method), moves, times=1)


@pytest.mark.slow  # runs go on to the bit: `test_resume`; a run by an own method: `test_readme`
def test_a_run_by_a_method_of_ones_own_resumes_to_the_bit_and_leaves_plain_weights(tmp_path):
    x, _ = images()
    np.savez(tmp_path / "data.npz", images=x)
    net = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 8), d_widths=(8, 8))
    config = dataclasses.replace(run_config(f"npz:{tmp_path / 'data.npz'}", kimg=0.112), net=net)
    pair = build(config.net)
    variables = {"g_ema": pair.g.init(jax.random.key(0)), "d": pair.d.init(jax.random.key(1))}
    save(tmp_path / "source", config.net, variables, {})
    config = dataclasses.replace(config, transfer=FinetuneConfig(source=str(tmp_path / "source")))
    whole = run(config, tmp_path / "whole", method=own_mlp)
    assert int(whole.state.images) == 112  # 16 of them in the preparation

    stopper = _Stops()
    with pytest.raises(_Stops.Broken):
        run(config, tmp_path / "cut", stopper, method=own_mlp)
    (tmp_path / "source").rename(tmp_path / "gone")  # a resumed run reads nothing of it
    assert_same(run(config, tmp_path / "cut", method=own_mlp).state, whole.state)
    with pytest.raises(ConfigError, match="method: .*own_mlp -> table"):
        run(config, tmp_path / "cut")
    model = load(tmp_path / "whole")
    assert set(model.variables["g_ema"]["params"]) == set(variables["g_ema"]["params"])
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["method"].endswith("test_own_method.own_mlp")


class _Stops:
    class Broken(RuntimeError):
        pass

    def __getattr__(self, name):
        return lambda *args: None

    def row(self, row):
        if row["images"] >= 96:
            raise self.Broken
