"""Models, pairs with their weights: `gan_jax.load(PATH).sample(key, 64)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from gan_jax.config import Config, ConfigError, NetConfig, kind_of, net_to_dict, read_record
from gan_jax.files import typed
from gan_jax.interop import WeightsError, load_weights, save_weights
from gan_jax.interop.fitting import check_finite, fitting_net
from gan_jax.interop.weights import load_manifest
from gan_jax.nets import Pair, build
from gan_jax.nets.fronts import with_front
from gan_jax.seeds import root_key
from gan_jax.tasks.sample import make_sampler
from gan_jax.train.state import Variables
from gan_jax.trees import count

ORDER = "g_ema g d"
WEIGHTS = "weights"  # folder of the weights to share in a run folder


@dataclasses.dataclass(frozen=True)
class Model:
    """A pair with its weights.

    Attributes:
      config: of the networks.
      variables: `{"g_ema": .., "g": .., "d": ..}`, those in the file; `g_ema` is sampled.
      manifest: of the file: licence, provenance, plan.
      name: path or name of the file.
    """

    config: NetConfig
    variables: dict[str, Variables]
    manifest: dict[str, Any]
    name: str = ""

    def __repr__(self) -> str:
        """`Model('stylegan2 32 px, 3 channels, 1.2 M values, g_ema+d')`."""
        net = self.config
        kind = kind_of(net)
        classes = net.num_classes
        facts = [f"{kind} {net.resolution} px", f"{net.channels} channel{'s' * (net.channels != 1)}"]
        facts += [f"{classes} classes"] if classes else []
        facts += [f"{_short(count(self.variables))} values", "+".join(sorted(self.variables, key=ORDER.find))]
        return f"Model({', '.join(facts)!r})"

    @property
    def pair(self) -> Pair:
        """The networks; G with its front, where the weights have one."""
        return with_front(build(self.config), self.manifest.get("front"))

    @property
    def generator(self) -> Variables:
        """The variables of the generator that is sampled.

        Raises:
          WeightsError: the model has only a discriminator.
        """
        if "g_ema" not in self.variables:
            raise WeightsError(
                f"{self.name or 'this model'} holds no generator (g_ema), only {', '.join(self.variables)}: it makes no images"
            )
        return self.variables["g_ema"]

    def sample(self, key: jax.Array | int, n: int, labels: Any = None, truncation: float | None = None) -> np.ndarray:
        """Draws images: uint8 `[n, H, W, C]`. Image i depends on the key and i only.

        Args:
          key: typed PRNG key, or a seed.
          n: number of images.
          labels: `[n]` classes of a conditional generator; None = all in turn.
          truncation: see `tasks.sample.make_sampler`; None = none.

        Raises:
          WeightsError: the model has only a discriminator.
          ValueError: `n` is below 1, or labels do not fit.
        """
        g_vars = self.generator
        if isinstance(n, bool) or n < 1:
            raise ValueError(f"n is {n}; use at least 1 image")
        return make_sampler(self.pair, truncation)(g_vars, as_key(key), n, labels)


def names_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a manifest for the names of classes, for another manifest with the same classes."""
    return {key: manifest[key] for key in ("class_names",) if key in manifest}


def as_key(key: Any) -> jax.Array:
    """Converts a seed, a whole number, to a PRNG key; a key stays."""
    return root_key(int(key)) if isinstance(key, (int, np.integer)) else key


def load(path: str | Path) -> Model:
    """Reads a model from a weights folder, a run folder that has weights, or `embedded:NAME`.

    Raises:
      WeightsError: a file is missing, damaged or foreign, or has values that are not finite.
      ConfigError: the run has not written weights yet.
    """
    name = str(path)
    if not name.startswith("embedded:") and (Path(path) / "config.json").is_file():
        path = Path(path) / WEIGHTS
        if not path.is_dir():
            raise ConfigError(
                f"{path} does not exist: the run has not finished; go on with gan-jax train {typed(path.parent)}"
            )
    config = fitting_net(load_manifest(path), str(path))
    variables, manifest = load_weights(path)
    check_finite(variables, name, WeightsError)
    return Model(config, cast(dict[str, Variables], variables), manifest, name)


def save(folder: str | Path, config: NetConfig, variables: dict[str, Any], about: dict[str, Any]) -> Path:
    """Writes weights for `load`: safetensors, and a manifest with the networks' configuration.

    Args:
      folder: created if absent.
      config: of the networks.
      variables: `{"g_ema": .., "d": ..}`.
      about: further entries of the manifest, JSON values: licence, provenance, plan.
    """
    host = jax.tree_util.tree_map(np.asarray, variables)
    return save_weights(folder, host, {"net": net_to_dict(config), **about})


def run_config(folder: str | Path) -> Config:
    """Reads the configuration of a run folder.

    Raises:
      ConfigError: its file is missing or damaged; names the file and the field.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ConfigError(f"{folder} is no run: it has no config.json")
    return read_record(Config, path)[0]


def _short(number: int) -> str:
    """Abbreviates a number: `1.2 M` for 1,234,567."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
