"""Models, networks with their weights: `gan_jax.load(PATH).sample(key, 64)`, `gan_jax.load(PATH).translate(images)`."""

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
from gan_jax.tasks.translate import Statistics, translator_of
from gan_jax.train.state import Variables
from gan_jax.trees import count

ORDER = " g_ema g_ab_ema g_ba_ema g_ab g_ba g d_a d_b d f "
DIRECTIONS = ("ab", "ba")  # of two generators: from domain A (`input`) to B (`image`), and back
WEIGHTS = "weights"  # folder of the weights to share in a run folder


@dataclasses.dataclass(frozen=True)
class Model:
    """A pair with its weights.

    Attributes:
      config: of the networks.
      variables: `{"g_ema": .., "g": .., "d": ..}`, those in the file; `g_ema` is sampled, or translates. Two generators are
        `g_ab_ema` and `g_ba_ema`.
      manifest: of the file: licence, provenance, plan.
      name: path or name of the file.
    """

    config: NetConfig
    variables: dict[str, Variables]
    manifest: dict[str, Any]
    name: str = ""

    def __repr__(self) -> str:
        """`Model('stylegan2 32 px, 3 channels, 1.2 M values, g_ema+d')`; `1 to 3 channels`, `300 tokens, 64 long`."""
        net = self.config
        kind = kind_of(net)
        classes = net.num_classes
        channels = f"{net.channels} channel{'s' * (net.channels != 1)}"
        if net.translates:
            labels = getattr(net, "num_labels", None)
            channels = f"{f'{labels} labels' if labels else cast(Any, net).in_channels} to {channels}"
        facts = [f"{kind} {net.resolution} px", channels]
        if net.writes:
            texts = cast(Any, net)
            facts = [f"{kind} {texts.vocab:,} tokens", f"{texts.length} long"]
        facts += [f"{classes} classes"] if classes else []
        facts += [
            f"{_short(count(self.variables))} values",
            "+".join(sorted(self.variables, key=lambda name: ORDER.find(f" {name} "))),
        ]
        return f"Model({', '.join(facts)!r})"

    @property
    def pair(self) -> Pair:
        """The networks; G with its front, where the weights have one."""
        return with_front(build(self.config), self.manifest.get("front"))

    @property
    def generator(self) -> Variables:
        """The variables of the generator that is sampled.

        Raises:
          WeightsError: the model has only a discriminator, or translates in two directions.
        """
        if self.directions:
            raise WeightsError(
                f"{self.name or 'this model'} has two generators, {' and '.join(self.directions)}; choose with direction"
            )
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
          WeightsError: the model has only a discriminator, makes images from images, or texts.
          ValueError: `n` is below 1, or labels do not fit.
        """
        if self.config.writes:
            raise WeightsError(
                f"{self.name or 'this model'} makes texts, and has no latents to draw; write them with "
                "tasks.write.make_writer(model.pair.g, model.config)"
            )
        if self.config.translates:
            raise WeightsError(
                f"{self.name or 'this model'} makes images from images, and has no latents to draw; give it images: "
                "translate(images), on the command line gan-jax translate"
            )
        g_vars = self.generator
        if isinstance(n, bool) or n < 1:
            raise ValueError(f"n is {n}; use at least 1 image")
        return make_sampler(self.pair, truncation)(g_vars, as_key(key), n, labels)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of a model with two generators, of `ab` and `ba`; none of a model with one generator."""
        return tuple(way for way in DIRECTIONS if {f"g_{way}", f"g_{way}_ema"} & set(self.variables))

    def translator(self, direction: str | None = None) -> tuple[NetConfig, Variables]:
        """The configuration and the variables of the generator that translates in a direction.

        Args:
          direction: "ab" from domain A to B, or "ba" back, of a model with two generators; None = ab, or its only one.

        Raises:
          WeightsError: the model makes images from latents, has no generator, or not that direction.
        """
        name = self.name or "this model"
        if self.config.writes:
            raise WeightsError(f"{name} makes texts, and translates no images")
        if not self.config.translates:
            raise WeightsError(
                f"{name} makes images from latents and translates none; draw images: sample(key, n), on the command line "
                "gan-jax sample"
            )
        ways = self.directions
        if not ways:
            if direction not in (None, "ab"):
                raise WeightsError(f"{name} has one generator, and no direction {direction!r}; leave direction out")
            return self.config, self.generator
        way = ways[0] if direction is None else direction
        if way not in ways:
            raise WeightsError(f"{name} has no generator of direction {way!r}; use {' or '.join(ways)}")
        net: Any = self.config
        back = {"in_channels": net.channels, "channels": net.in_channels}
        averaged = f"g_{way}_ema"
        config = dataclasses.replace(net, **back) if way == "ba" else net
        return config, self.variables[averaged if averaged in self.variables else f"g_{way}"]

    def translate(
        self,
        images: Any,
        *,
        direction: str | None = None,
        instances: Any = None,
        statistics: Statistics | None = None,
        tile: int | None = None,
        batch: int = 8,
        seed: int | None = None,
    ) -> np.ndarray:
        """Translates images: uint8 `[N, H, W, in_channels]` -> uint8 `[N, H, W, channels]`, of any size.

        Args:
          images: of a layout model, label maps `[N, H, W]` of integers.
          direction: of a model with two generators: "ab" or "ba"; None = ab.
          instances: `[N, H, W]` of a layout model that reads the edges of instances.
          statistics: of batch norm: "batch", those of each image, or "running"; None = as published.
          tile: largest height and width, px, that goes through the network at once; see `tasks.translate`.
          batch: most images, or tiles, in one call.
          seed: turns the dropout of training on, as when pix2pix translates; None = off.

        Raises:
          WeightsError: the model makes images from latents, or has no generator of that direction.
          ValueError: images of another type or number of channels.
        """
        config, g_vars = self.translator(direction)
        return translator_of(config, statistics, tile, batch)(g_vars, images, instances, seed)


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
