"""Growth on every task of images from images: a run begins as the function of a narrower source."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gan_jax.config import FinetuneConfig, to_dict
from gan_jax.nets.build import example_inputs
from gan_jax.roots import average_of, is_reversed, pair_part
from gan_jax.tasks import networks_of
from gan_jax.tasks.model import save
from gan_jax.transfer.methods import make_method
from gan_jax.transfer.start import make_start
from gan_jax.transfer.weights import fresh_variables
from tests.lanes import default_rows
from tests.tasks.translating import TASKS, config_of

WIDER = {"width": 6, "d_width": 6}


@pytest.mark.parametrize("task", default_rows(TASKS, ["one_sided", "unpaired"]))
def test_a_run_begins_as_its_narrower_source(task, tmp_path):
    config = config_of(task)
    nets = networks_of(config)
    variables = fresh_variables(nets, 0)
    roots = {average_of(name) if name in nets.generators else name: tree for name, tree in variables.items()}
    save(tmp_path / "source", config.net, roots, {"task": to_dict(config)["task"]})
    transfer = FinetuneConfig(source=str(tmp_path / "source"))
    wide = dataclasses.replace(config, net=dataclasses.replace(config.net, **WIDER), transfer=transfer)
    grown = networks_of(wide)
    start = make_start(wide, grown, make_method(transfer, grown))
    assert set(start.nets) == set(nets.nets)
    for name, net in nets.nets.items():
        if (part := pair_part(name)) is None:
            continue
        (g_inputs, d_inputs) = example_inputs(config.net.reversed if is_reversed(name) else config.net)
        shape = (g_inputs if part == "g" else d_inputs)[0].shape
        x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, shape), jnp.float32)
        was, now = (
            jax.jit(lambda v, net=net, x=x: net.apply(v, x)[0])(tree)
            for net, tree in ((net, variables[name]), (grown.nets[name], start.nets[name]))
        )
        for old, new in zip(jax.tree_util.tree_leaves(was), jax.tree_util.tree_leaves(now), strict=True):
            assert float(jnp.abs(old).max()) > 1e-6
            assert_allclose(new, old, rtol=1e-3, atol=1e-5, err_msg=name)
    if task == "one_sided":  # f reads maps of other widths
        assert any("f: fresh, since that of" in note for note in start.plan.notes), start.plan.notes
