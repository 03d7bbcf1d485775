"""A trained network in three lines: `gan_jax.load(PATH).sample(key, 64)`."""

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
from gan_jax.interop.finite import check_finite
from gan_jax.interop.fitting import fitting_net
from gan_jax.interop.weights import load_manifest
from gan_jax.nets import Pair, build
from gan_jax.nets.fronts import with_front
from gan_jax.seeds import root_key
from gan_jax.tasks.sample import make_sampler
from gan_jax.train.state import Variables
from gan_jax.trees import count

ORDER = "g_ema g d"
WEIGHTS = "weights"  # where a run folder keeps the weights to share


@dataclasses.dataclass(frozen=True)
class Model:
    """A pair with its weights.

    Attributes:
      config: of the networks.
      variables: `{"g_ema": .., "g": .., "d": ..}`, those that the file holds; `g_ema` is what is sampled.
      manifest: what the file says of itself: licence, provenance, plan.
      name: where it was read from.
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
        """The networks; G behind its front, where the weights have one."""
        return with_front(build(self.config), self.manifest.get("front"))

    @property
    def generator(self) -> Variables:
        """The variables that images are made of.

        Raises:
          WeightsError: there is no generator here, only a discriminator.
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
          n: how many.
          labels: `[n]` classes of a conditional generator; None = all in turn.
          truncation: see `tasks.sample.make_sampler`; None = none.

        Raises:
          WeightsError: there is no generator here, only a discriminator.
          ValueError: fewer than one image, or labels that do not fit.
        """
        g_vars = self.generator
        if isinstance(n, bool) or n < 1:
            raise ValueError(f"n is {n}; use at least 1 image")
        return make_sampler(self.pair, truncation)(g_vars, as_key(key), n, labels)


def names_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the names of classes, for the manifest of weights with the same classes."""
    return {key: manifest[key] for key in ("class_names",) if key in manifest}


def as_key(key: Any) -> jax.Array:
    """A PRNG key of a key or of a seed, a whole number."""
    return root_key(int(key)) if isinstance(key, (int, np.integer)) else key


def load(path: str | Path) -> Model:
    """Reads a model from a weights folder, a run folder that has weights, or `embedded:NAME`.

    Raises:
      WeightsError: a file that is missing, damaged or not ours, or that holds values which are not finite.
      ConfigError: a run that has not written weights yet.
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
    """Writes what `load` reads: safetensors and a manifest with the networks' configuration.

    Args:
      folder: made if absent.
      config: of the networks.
      variables: `{"g_ema": .., "d": ..}`.
      about: more for the manifest, JSON values: licence, provenance, plan.
    """
    host = jax.tree_util.tree_map(np.asarray, variables)
    return save_weights(folder, host, {"net": net_to_dict(config), **about})


def run_config(folder: str | Path) -> Config:
    """The configuration of a run folder.

    Raises:
      ConfigError: its file is missing or damaged; names the file and the field.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ConfigError(f"{folder} is no run: it has no config.json")
    return read_record(Config, path)[0]


def _short(number: int) -> str:
    """`1.2 M` of 1,234,567."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
