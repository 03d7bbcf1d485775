"""A trained network in three lines: `gan_jax.load(PATH).sample(key, 64)`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from gan_jax.config import Config, NetConfig, from_dict, net_to_dict
from gan_jax.interop import WeightsError, load_weights, save_weights
from gan_jax.interop.finite import check_finite
from gan_jax.interop.fitting import fitting_net
from gan_jax.interop.weights import load_manifest
from gan_jax.nets import Pair, build
from gan_jax.nets.fronts import with_front
from gan_jax.tasks.sample import make_sampler
from gan_jax.tasks.task import Variables

WEIGHTS = "weights"  # where a run folder keeps the weights to share


@dataclasses.dataclass(frozen=True)
class Model:
    """A pair with its weights.

    Attributes:
      config: of the networks.
      variables: `{"g_ema": .., "g": .., "d": ..}`, those that the file holds; `g_ema` is what is sampled.
      manifest: what the file says of itself: licence, provenance, plan.
    """

    config: NetConfig
    variables: dict[str, Variables]
    manifest: dict[str, Any]

    @property
    def pair(self) -> Pair:
        """The networks; G behind its front, where the weights have one."""
        return with_front(build(self.config), self.manifest.get("front"))

    def sample(self, key: jax.Array, n: int, labels: Any = None, truncation: float | None = None) -> np.ndarray:
        """Draws images: uint8 `[n, H, W, C]`. Image i depends on the key and i only.

        Args:
          key: typed PRNG key.
          n: how many.
          labels: `[n]` classes of a conditional generator; None = all in turn.
          truncation: see `tasks.sample.make_sampler`; None = none.
        """
        return make_sampler(self.pair, truncation)(self.variables["g_ema"], key, n, labels)


def load(path: str | Path) -> Model:
    """Reads a model from a weights folder, a run folder or `embedded:NAME`.

    Raises:
      WeightsError: a file that is missing, damaged or not ours; values that are not finite.
      FileNotFoundError: a run that has not written weights yet.
    """
    if not str(path).startswith("embedded:") and (Path(path) / "config.json").is_file():
        path = Path(path) / WEIGHTS
        if not path.is_dir():
            raise FileNotFoundError(
                f"{path} does not exist: the run has not finished; go on with gan-jax train {path.parent}"
            )
    config = fitting_net(load_manifest(path), str(path))
    variables, manifest = load_weights(path)
    check_finite(variables, str(path), WeightsError)
    return Model(config, cast(dict[str, Variables], variables), manifest)


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
    """The configuration of a run folder."""
    text = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return from_dict(Config, text["config"])
