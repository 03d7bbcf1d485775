"""Which images a run trains on and is measured against: kept in `data.json`, compared when it goes on."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_jax.config import Config, ConfigError
from gan_jax.data import Images
from gan_jax.files import typed
from gan_jax.transfer.dataset import Dataset
from gan_jax.transfer.folder import DATA, read_json

MOST = 20_000  # training images whose own digests are kept


def describe_data(dataset: Dataset, config: Config) -> dict[str, Any]:
    """What `data.json` holds, as JSON values.

    `train` and `reference` are fingerprints, `count` the number of training images, `digests` 8 hex digits of each of
    them in one string (None where there are too many, or where they are decoded as training goes on), `spec` the source.
    """
    train = dataset.train
    digests = None
    if isinstance(train, Images) and len(train) <= MOST:
        labels: Any = [None] * len(train) if train.labels is None else train.labels.tolist()
        digests = " ".join(_digest(image, label) for image, label in zip(train.images, labels, strict=True))
    names = getattr(train, "class_names", None)
    return {
        "train": train.fingerprint,
        "reference": dataset.reference.fingerprint,
        "count": len(train),
        "class_names": None if names is None else list(names),
        "name": train.name,
        "spec": config.data.source,
        "digests": digests,
    }


def read_data(folder: Path) -> dict[str, Any] | None:
    """What a run says of its data; None where it says nothing, as runs before there was such a file.

    Raises:
      ConfigError: the file is damaged.
    """
    path = folder / DATA
    if not path.exists():
        return None
    remedy = "; remove it if the data are certainly the same"
    said = read_json(path, remedy)
    if not isinstance(said, dict) or not all(isinstance(said.get(key), str) for key in ("train", "reference")):
        raise ConfigError(f"{path} is damaged: it has no fingerprints{remedy}")
    return said


def check_data(folder: Path, said: Mapping[str, Any], now: Mapping[str, Any], measured: bool) -> None:
    """Whether a run's data are what they were when it was started.

    Args:
      folder: of the run.
      said: as `read_data` gave it.
      now: as `describe_data` gives it.
      measured: whether the run is measured against the reference.

    Raises:
      ConfigError: they are not; with what changed.
    """
    changes = list(data_changes(said, now, measured))
    if changes:
        raise ConfigError(
            f"the data of run {folder} ({now['spec']}) changed since it was started: {'; '.join(changes)}. Bring them back, "
            f"or start a new run from its newest checkpoint: gan-jax train {typed(folder)} --fork NEW"
        )


def data_changes(said: Mapping[str, Any], now: Mapping[str, Any], measured: bool = True) -> list[str]:
    """What differs between two descriptions of data, in words; nothing where the images are the same."""
    out = []
    if said["train"] != now["train"]:
        old, new = said.get("digests"), now.get("digests")
        if said.get("count") != now["count"]:
            out.append(f"{said.get('count')} training images then, {now['count']} now")
        if isinstance(old, str) and isinstance(new, str):
            gone = collections.Counter(old.split()) - collections.Counter(new.split())
            come = collections.Counter(new.split()) - collections.Counter(old.split())
            if gone or come:
                out.append(
                    f"{gone.total()} of them {'is' if gone.total() == 1 else 'are'} gone and "
                    f"{come.total()} {'is' if come.total() == 1 else 'are'} new (by their pixels and labels)"
                )
            else:
                out.append("the same training images in another order (were files renamed?)")
        elif not out:
            out.append("as many training images, of other pixels or labels")
        if (names := said.get("class_names")) != now["class_names"]:
            out.append(f"classes {_listed(names)} then, {_listed(now['class_names'])} now")
    if measured and said["reference"] != now["reference"]:
        out.append("the images that it is measured against are others")
    return out


def _digest(image: Any, label: int | None) -> str:
    return hashlib.blake2b(image.tobytes() + f" {label}".encode(), digest_size=4).hexdigest()


def _listed(names: Any) -> str:
    if not isinstance(names, list):
        return "without names"
    return ", ".join(map(str, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
