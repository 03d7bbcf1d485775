"""A source of weights that is read leaf by leaf: what it holds is known from its manifest, before anything is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from gan_jax.config import NetConfig
from gan_jax.interop.finite import check_finite
from gan_jax.interop.fitting import fitting_net, named_net
from gan_jax.interop.weights import FORMAT, WeightsError, manifest_specs, weights_reader
from gan_jax.surgery.provenance import manifest_digest
from gan_jax.trees import unflatten


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights, or a checkpoint. Calling it reads one leaf from disk and checks it: `source(path) -> array`.

    Attributes:
      name: as it was asked for.
      what: `weights: FOLDER`, for the eye.
      manifest: `net`, `history` and more; under `leaves` the dtype, shape and digest of each.
      digest: of the manifest.
      read: reads a leaf.
      read_many: reads several at once, where that costs less; None = one after the other.
    """

    name: str
    what: str
    manifest: dict[str, Any]
    digest: str
    read: Callable[[str], Any]
    read_many: Callable[[list[str]], dict[str, Any]] | None = None

    def __call__(self, path: str) -> Any:
        """The leaf at a path, to be looked at."""
        return self.read(path)

    def take(self, path: str) -> Any:
        """The leaf at a path, to be computed with: the reader for `surgery.transplant`.

        Raises:
          WeightsError: it holds nan or inf, or is damaged.
        """
        leaf = self.read(path)
        check_finite({path: leaf}, self.name, WeightsError)
        return leaf

    @property
    def net(self) -> NetConfig:
        """The networks.

        Raises:
          WeightsError: the manifest names none, or impossible ones.
        """
        return named_net(self.manifest, self.name)

    def check(self, *, whole: bool = True) -> None:
        """Checks that the leaves of weights are those of the networks that their manifest names.

        Args:
          whole: whether absent leaves, and such as the networks lack, are errors; a plan has rules for them.

        Raises:
          WeightsError: names the first that is not.
        """
        if self.manifest.get("format") == FORMAT:
            fitting_net(self.manifest, self.name, whole=whole)

    @property
    def specs(self) -> dict[str, Any]:
        """The trees, as ShapeDtypeStructs."""
        return manifest_specs(self.manifest)

    @property
    def digests(self) -> dict[str, str | None]:
        """Digests of every leaf; None where no process held it whole."""
        return {path: leaf["digest"] for path, leaf in self.manifest["leaves"].items()}

    def load(self, paths: Collection[str]) -> dict[str, Any]:
        """The trees of some leaves."""
        if self.read_many is not None:
            return unflatten(self.read_many(list(paths)))
        return unflatten({path: self.read(path) for path in paths})


def open_weights(path: str, name: str | None = None) -> Source:
    """A weights folder, the safetensors file in it, or `embedded:NAME`; it is checked, but no leaf is read yet.

    Args:
      path: where it is.
      name: what the user called it; None = the path.

    Raises:
      WeightsError: as `load_weights`; reading a damaged leaf raises it too.
    """
    manifest, read = weights_reader(path)
    return Source(name or path, f"weights: {path}", manifest, manifest_digest(manifest), read)
