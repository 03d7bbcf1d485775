"""A small perceptual network as if it was published, `tiny`: its weights where `gan-jax weights get` would put them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import partial
from typing import Any

from safetensors.numpy import save

from gan_jax.metrics.networks import MANIFEST, NETWORKS, PERCEPTUAL, WEIGHTS, network_folder
from gan_jax.nets.features.perceptual import perceptual_specs
from gan_jax.nets.features.steps import Conv
from gan_jax.trees import flatten
from tests.nets.features.random import random_params

STAGES = ((Conv("conv0", 4, (3, 3), 2),), (Conv("conv1", 4, (3, 3)),))


def install(monkeypatch: Any, cache: Any, weights: bool = True) -> None:
    """Makes the network known and `cache` the folder of weights; its own are put there too, if asked."""
    specs = partial(perceptual_specs, STAGES)
    monkeypatch.setitem(PERCEPTUAL, "tiny", STAGES)
    monkeypatch.setitem(NETWORKS, "tiny", dataclasses.replace(NETWORKS["vgg16"], title="Tiny", specs=specs))
    monkeypatch.setenv("GAN_JAX_CACHE", str(cache))
    if not weights:
        return
    folder = network_folder("tiny")
    folder.mkdir(parents=True)
    raw = save({path: leaf.__array__() for path, leaf in flatten(random_params(specs(), 0)).items()})
    source = {"file": "random", "sha256": "ab" * 32, "url": ""}
    (folder / WEIGHTS).write_bytes(raw)
    (folder / MANIFEST).write_text(
        json.dumps({"name": "tiny", "sha256": hashlib.sha256(raw).hexdigest(), "licence": "none", "source": source})
    )
