"""Sources of weights: a weights folder, an embedded pair, a run, a checkpoint, a feature network, or a model in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan_jax.config import ConfigError, net_from_dict, net_to_dict
from gan_jax.files import typed
from gan_jax.interop.diff import Diff, compare
from gan_jax.interop.source import Source, open_weights
from gan_jax.interop.weights import FORMAT, leaf_entry
from gan_jax.metrics.networks import read_network
from gan_jax.surgery.families.features import FeatureNetwork, encoder
from gan_jax.surgery.provenance import import_step, manifest_digest, provenance_lines
from gan_jax.tasks.model import WEIGHTS, Model, run_config
from gan_jax.train.checkpoint import storage
from gan_jax.trees import did_you_mean, digest, flatten

FEATURES = "features:"  # before the name of a feature network
ENCODER = "e"  # root of its leaves


@dataclasses.dataclass(frozen=True)
class FeatureSource(Source):
    """A feature network, which fills encoders of networks from images to images."""

    @property
    def net(self) -> Any:
        """The feature network, in the place of a pair's configuration."""
        return feature_network(self.name)


def open_source(path: str | Path | Model, checkpoint: int | None = None) -> Source:
    """Opens weights to be read leaf by leaf.

    Args:
      path: a weights folder, `embedded:NAME`, a run folder (its weights; where it has none yet, its newest
        checkpoint), a checkpoint's folder, `RUN/checkpoints/48000`, a model in memory, or `features:NAME`, a feature
        network of the cache (`vgg16`, `mobilenetv2`) for the encoder of a translator.
      checkpoint: images of a run's checkpoint.

    Raises:
      WeightsError, CheckpointError, ConfigError: something is missing, damaged or foreign.
      MetricError: the weights of a feature network are not in the cache, or damaged.
    """
    if isinstance(path, Model):
        if checkpoint is not None:
            raise ConfigError(f"--checkpoint {checkpoint} needs a run folder, and {path} is in memory")
        return model_source(path)
    if not isinstance(path, (str, Path)):
        raise ConfigError(
            f"a source is a path, embedded:NAME or a model of gan_jax.load; this is of the type {type(path).__name__}"
        )
    name, folder = str(path), Path(path)
    if name.startswith(FEATURES):
        if checkpoint is not None:
            raise ConfigError(f"--checkpoint {checkpoint} needs a run folder, and {name} is a feature network")
        return open_features(name)
    if name.startswith("embedded:") or not (folder / "config.json").is_file():
        if checkpoint is not None:
            raise ConfigError(f"--checkpoint {checkpoint} needs a run folder, and {name} has no config.json")
        in_run = folder.name.isdecimal() and (folder.parent.parent / "config.json").is_file()
        if in_run and not folder.is_dir():
            have = ", ".join(map(str, storage.complete(folder.parent))) or "none"
            raise ConfigError(f"there is no checkpoint {folder}; there are {have}")
        return open_checkpoint(folder, name) if in_run else open_weights(name)
    if checkpoint is None and (folder / WEIGHTS).is_dir():
        return open_weights(str(folder / WEIGHTS), name)
    have = storage.complete(folder / "checkpoints")
    if not have:
        raise ConfigError(
            f"run {folder} has no weights and no complete checkpoint yet; go on with gan-jax train {typed(folder)}"
        )
    if checkpoint is not None and checkpoint not in have:
        raise ConfigError(
            f"run {folder} has no checkpoint of {checkpoint} images; there are {', '.join(map(str, have))}"
        )
    images = have[-1] if checkpoint is None else checkpoint
    return open_checkpoint(folder / "checkpoints" / str(images), f"{name} at {images} images")


def open_checkpoint(folder: Path, name: str) -> Source:
    """Opens a checkpoint of a run: the whole state, of which a transplant reads `g_ema` and `d`."""
    manifest = storage.read_manifest(folder)
    net = net_to_dict(run_config(folder.parent.parent).net)
    leaves = manifest["leaves"]

    def read_many(paths: list[str]) -> dict[str, Any]:
        if unknown := next((path for path in paths if path not in leaves), None):
            raise ConfigError(f"no leaf {unknown!r} in checkpoint {folder}{did_you_mean(unknown, leaves)}")
        return {path: typed(path, array) for path, array in storage.read_leaves(folder, manifest, paths).items()}

    def typed(path: str, array: Any) -> Any:
        impl = leaves[path].get("impl")
        return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=impl) if impl else array

    return Source(
        name,
        f"checkpoint: {folder}",
        manifest | {"net": net},
        manifest_digest(manifest),
        lambda path: read_many([path])[path],
        read_many,
    )


def feature_network(name: str) -> FeatureNetwork:
    """The feature network of a source `features:NAME`.

    Raises:
      ConfigError: there is none that has an encoder.
    """
    try:
        return encoder(name.removeprefix(FEATURES))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def open_features(name: str) -> FeatureSource:
    """Opens the weights of a feature network in the cache, `features:NAME`.

    Raises:
      ConfigError: a network without an encoder.
      MetricError: its weights are not there (and how to get them), or damaged.
    """
    from safetensors.numpy import load

    network = feature_network(name)
    about, raw = read_network(network.name)
    tensors = load(raw)
    leaves = {f"{ENCODER}/params/{path}": leaf for path, leaf in tensors.items()}
    file = about.get("source") or {}
    origin = (str(file.get("file", name)), str(file.get("sha256", about["sha256"])))
    records = {f"{ENCODER}/params/{path}": (path, "copy") for path in tensors}
    manifest = {
        "net": {"kind": "features", "name": network.name},
        "licence": about.get("licence"),
        "leaves": {path: leaf_entry(leaf) for path, leaf in leaves.items()},
    }
    identity = manifest_digest({**manifest, "origin": origin})
    manifest["history"] = [import_step({"": origin}, network.name, records, leaves)]

    def read(path: str) -> Any:
        if path not in leaves:
            raise ConfigError(f"no leaf {path!r} in {name}{did_you_mean(path, leaves)}")
        return leaves[path]

    return FeatureSource(name, f"feature network: {network.title}", manifest, identity, read)


def model_source(model: Model) -> Source:
    """Makes a source of a model in memory, whose digests are computed from its present values."""
    leaves = flatten(model.variables)
    entries = {
        path: {"dtype": leaf.dtype.name, "shape": list(leaf.shape), "digest": digest(leaf)}
        for path, leaf in leaves.items()
    }
    manifest = {**model.manifest, "format": FORMAT, "leaves": entries}
    if "net" not in manifest or net_from_dict(manifest["net"]) != model.config:
        manifest["net"] = net_to_dict(model.config)  # else as the file spells it: weights keep their digest
    name = model.name or "a model in memory"

    def read(path: str) -> Any:
        if path not in leaves:
            raise ConfigError(f"no leaf {path!r} in {name}{did_you_mean(path, leaves)}")
        return np.asarray(leaves[path])

    return Source(name, f"model: {name}", manifest, manifest_digest(manifest), read)


def diff(a: str | Path | Model, b: str | Path | Model, match: str = "**") -> Diff:
    """Compares two sources, as `open_source` opens them, leaf by leaf; `match` is a pattern over leaf paths."""
    return compare(open_source(a), open_source(b), match)


def provenance(path: str | Path | Model, match: str = "**", checkpoint: int | None = None) -> str:
    """Describes the provenance of every leaf that `match` covers, step by step, as text."""
    return "\n".join(provenance_lines(open_source(path, checkpoint).manifest, match))
