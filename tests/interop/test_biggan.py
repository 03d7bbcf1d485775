"""BigGAN as the published implementation computes it: outputs, and every option of the networks in its layout."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import BigGANConfig
from gan_jax.interop.layouts.biggan import LAYOUT, STATISTICS, constants, discriminator_links, find, generator_links
from gan_jax.interop.layouts.biggan_config import guess_config
from gan_jax.interop.links import ForeignLayoutError, Link, export_tensors
from gan_jax.nets import build
from gan_jax.trees import flatten
from tests.golden import close, golden, imported, nhwc, there_and_back, under

IGNORED = {".sv0": "worked out anew"}
SMALL = BigGANConfig(
    *(16, 3, 3, 12), width=2, g_multipliers=(5, 4, 2), d_multipliers=(2, 3, 4), shared_dim=5, attention=(8,)
)  # resolution, channels, classes, z
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(scope="module")
def case():
    arrays = golden("biggan_64.npz")
    meta = json.loads(str(arrays["meta"]))
    config = guess_config(under(arrays, "G/"), under(arrays, "D/"))
    assert config == BigGANConfig(
        resolution=meta["resolution"],
        num_classes=meta["n_classes"],
        z_dim=meta["dim_z"],
        width=meta["ch"],
        shared_dim=meta["shared_dim"],
        hierarchical=meta["hier"],
        attention=(int(meta["attention"]),),
    )
    return arrays, config, build(config)


def test_outputs(case):
    arrays, config, pair = case
    labels = jnp.asarray(arrays["in/y"], jnp.int32)
    g = imported(under(arrays, "G/"), generator_links(config), IGNORED, pair.g.specs())
    made = jax.jit(pair.g.apply, compiler_options=QUICK)(g, jnp.asarray(arrays["in/z"]), labels)[0]
    close(made, nhwc(arrays["out/img"]), 1e-4)
    d = imported(under(arrays, "D/"), discriminator_links(config), IGNORED, pair.d.specs())
    judged = jax.jit(pair.d.apply, compiler_options=QUICK)(d, nhwc(arrays["in/x"]), labels)[0]
    close(judged, arrays["out/logits"][:, 0], 1e-4)


def test_golden_names_there_and_back(case):
    arrays, config, pair = case
    for prefix, links, net in (("G/", generator_links, pair.g), ("D/", discriminator_links, pair.d)):
        state = {name: array for name, array in under(arrays, prefix).items() if not name.endswith(".sv0")}
        there_and_back(state, links(config), IGNORED, net.specs())
    kept = {name.replace("/", ".") for name in arrays if name.endswith(".sv0")}
    assert {name.replace("G_ema", "G") for name in constants(config)} == kept
