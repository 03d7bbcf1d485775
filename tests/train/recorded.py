"""Whole states after three steps, recorded: every family of networks and a choice of methods under every compiler.

`python -m tests.train.recorded FILE` writes what this code computes; with `--compare FILE` it says what differs from a
file. Bits depend on the processor, on XLA and on its flags, so a record says where it was made, and is made by a process with
flags of its own; elsewhere values are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import (
    AttentionFusionConfig,
    AugmentConfig,
    BSAConfig,
    CDCConfig,
    CocktailConfig,
    Config,
    EWCConfig,
    FeatureFusionConfig,
    FinetuneConfig,
    FreezeDConfig,
    FSGANConfig,
    GradientFusionConfig,
    LoRAConfig,
    LossConfig,
    MergeConfig,
    MineGANConfig,
    MLPConfig,
)
from gan_jax.nets import build
from gan_jax.tasks.model import save
from gan_jax.transfer.run import run
from gan_jax.trees import flatten
from tests import conftest
from tests.conftest import REPO
from tests.nets.families import FAMILIES
from tests.train.toy import run_config

RECORD = Path(__file__).parent / "golden" / "states.json"
NET = MLPConfig(resolution=16, channels=3, z_dim=5, g_widths=(8, 8), d_widths=(8, 8, 8))
R1 = LossConfig(name="non_saturating", r1_gamma=1.0, penalty_interval=2)
FLAGS = "--xla_cpu_use_fusion_emitters=false"  # of the record, where XLA knows them; those of the tests move last bits
COMPILERS = {"jit 1": ("jit", 1), "jit 2": ("jit", 2), "pmap 2": ("pmap", 2), "population": ("population", 1)}
NETWORKS = {
    "resnet": LossConfig(),
    "resnet-conditional": LossConfig(lecam=0.1, bcr_real=1.0, bcr_fake=1.0),
    "dcgan": LossConfig(name="least_squares"),
    "sngan": LossConfig(zcr_d=5.0, zcr_g=0.5),
    "biggan-conditional": LossConfig(orthogonal_g=1e-3, orthogonal_d=1e-3),
    "r3gan": LossConfig(name="relativistic", r1_gamma=1.0, r2_gamma=1.0),
    "stylegan2": dataclasses.replace(R1, path_length=2.0),
    "mlp-conditional": R1,
}
METHODS: dict[str, Any] = {
    "finetune": FinetuneConfig(),
    "freeze_d": FreezeDConfig(blocks=1),
    "lora": LoRAConfig(d_adapted=True),
    "fsgan": FSGANConfig(),
    "bsa": BSAConfig(),
    "ewc": EWCConfig(samples=16, balance=0.1),
    "minegan": MineGANConfig(mine_kimg=0.024),
    "cdc": CDCConfig(anchor_every=2),
    "gradient_fusion": GradientFusionConfig(fuse_kimg=0.024),
    "attention_fusion": AttentionFusionConfig(fuse_kimg=0.024, query="latent", attention_width=4),
    "feature_fusion": FeatureFusionConfig(fuse_kimg=0.024, distil_kimg=0.024, attention_width=4, drop=0.0),
    "merge": MergeConfig(merge="uniform"),
    "cocktail": CocktailConfig(root_kimg=0.024),
}
DONORS = {"gradient_fusion", "attention_fusion", "feature_fusion", "merge", "cocktail"}


def place() -> dict[str, str]:
    """What the bits of a state depend on, beside this code: versions, and the processor."""
    found = Path("/proc/cpuinfo")
    flags = next((x for x in found.read_text().splitlines() if x.startswith("flags")), "") if found.exists() else ""
    processor = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12]
    return {
        "jax": metadata.version("jax"), "jaxlib": metadata.version("jaxlib"), "flax": metadata.version("flax"),
        "optax": metadata.version("optax"), "machine": platform.machine(), "processor": processor,
    }  # fmt: skip


@functools.cache
def material(net: Any) -> Path:
    """A folder with images (`data.npz`) and two fresh pairs (`first`, `second`) of a network."""
    folder, draw, classes = (
        Path(tempfile.mkdtemp(prefix="states_")),
        np.random.default_rng(0),
        net.num_classes,
    )
    images = draw.integers(0, 256, (24, net.resolution, net.resolution, net.channels), np.uint8)
    np.savez(folder / "data.npz", images=images, **({"labels": np.arange(24) % classes} if classes else {}))
    pair = build(net)
    for i, name in enumerate(("first", "second")):
        save(folder / name, net, {"g_ema": pair.g.init(jax.random.key(i)), "d": pair.d.init(jax.random.key(5 + i))}, {})
    return folder


def case_config(case: str) -> Config:
    """The configuration of `NETWORK` or `METHOD`, followed by how it is compiled: `lora, jit 2`."""
    name, _, how = case.partition(", ")
    compiler, devices = COMPILERS[how]
    family = FAMILIES[name] if name in FAMILIES else None
    net = NET if family is None else dataclasses.replace(family.config, resolution=family.resolutions[0])
    net = FAMILIES["resnet"].config if name == "cdc" else net  # whose D has the maps that patches are judged at
    folder = material(net)
    config = run_config(
        f"npz:{folder / 'data.npz'}", kimg=0.024, steps_per_dispatch=3, devices=devices,
        compile="pmap" if compiler == "pmap" else "jit",
    )  # fmt: skip
    config = dataclasses.replace(config, net=net, checkpoint=dataclasses.replace(config.checkpoint, every_kimg=None))
    if family is not None:
        augment = AugmentConfig(policy=("color", "translation")) if name == "resnet" else AugmentConfig()
        augment = AugmentConfig(ada="bgc", ada_p=0.3) if name == "stylegan2" else augment
        return dataclasses.replace(config, loss=NETWORKS[name], augment=augment)
    transfer = dataclasses.replace(METHODS[name], source=str(folder / "first"))
    if name in DONORS:
        transfer = dataclasses.replace(transfer, donors=(str(folder / "second"),))
    longer = 0.072 if name in ("minegan", *DONORS) else 0.024  # stages count
    return dataclasses.replace(config, transfer=transfer, train=dataclasses.replace(config.train, kimg=longer))


def end_state(case: str) -> dict[str, np.ndarray]:
    """The leaves of the state at the end of a case, by path."""
    config = case_config(case)
    if case.endswith("population"):
        return _population_member(config)
    with tempfile.TemporaryDirectory() as folder:
        return leaves(run(config, Path(folder) / "run", quiet=True).state)


def _population_member(config: Config) -> dict[str, np.ndarray]:
    from gan_jax.transfer.benchmark.population import make_setup, train_population
    from gan_jax.transfer.dataset import load_dataset

    setup, dataset = make_setup(config, 24), load_dataset(config)
    members = [setup.replica(config, dataset) for _ in range(2)]
    return leaves(train_population(setup, members, lambda *_: None, lambda: False).states[1])


def leaves(state: Any) -> dict[str, np.ndarray]:
    """Leaves by path, keys as their data."""
    key = lambda leaf: jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return {path: np.asarray(key(leaf)) for path, leaf in flatten(state).items()}


def record(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """The hash of a state over paths, shapes, dtypes and bytes; and of each of its trees the norm, for other places."""
    digest, norms = hashlib.sha256(), {}
    for path, leaf in sorted(state.items()):
        digest.update(f"{path} {leaf.dtype} {leaf.shape} ".encode() + np.ascontiguousarray(leaf).tobytes())
        if np.issubdtype(leaf.dtype, np.floating) or leaf.dtype.name == "bfloat16":
            root = path.split("/")[0]
            norms[root] = norms.get(root, 0.0) + float(np.square(leaf.astype(np.float64)).sum())
    exact = {path: leaf.ravel().tolist() for path, leaf in state.items() if leaf.dtype.kind in "iu" and leaf.size < 5}
    return {"hash": digest.hexdigest(), "norms": {root: float(np.sqrt(v)) for root, v in norms.items()}, "exact": exact}


def cases() -> Iterator[str]:
    """All of them."""
    for name in (*NETWORKS, *METHODS):
        yield from (f"{name}, {how}" for how in COMPILERS)


def in_a_process(module: str, *args: str) -> None:
    """Runs `python -m module args` with the flags of the record: a process reads them once."""
    flags = FLAGS if metadata.version("jaxlib").startswith("0.10.") else ""
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def main() -> None:
    """Records, or compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--only", default="", help="cases that contain this")
    parser.add_argument("--values", type=Path, help="folder for all leaves of each case, as npz")
    args = parser.parse_args()
    known = json.loads(args.compare.read_text())["states"] if args.compare else {}
    states: dict[str, Any] = json.loads(args.file.read_text())["states"] if args.file and args.file.exists() else {}
    for case in cases():
        if args.only not in case or case in states:
            continue
        state = end_state(case)
        states[case] = record(state)
        word = "" if not known else "same" if known.get(case, {}).get("hash") == states[case]["hash"] else "DIFFERENT"
        print(case, states[case]["hash"][:16], word, flush=True)
        if args.values:
            args.values.mkdir(parents=True, exist_ok=True)
            np.savez(args.values / f"{case.replace(', ', '_').replace(' ', '')}.npz", **state)
        if args.file:
            args.file.write_text(json.dumps({"place": place(), "states": states}, indent=1))


if __name__ == "__main__":
    assert conftest.CHEAP, "recorded as the tests compile"
    main()
