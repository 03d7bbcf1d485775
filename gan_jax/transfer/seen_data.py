"""Fingerprints of a run's images: written to `data.json`, and compared when the run goes on."""

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

MOST = 20_000  # largest number of training images with a digest of each


def describe_data(dataset: Dataset, config: Config) -> dict[str, Any]:
    """Describes the images of a run for `data.json`, as JSON values.

    `train` and `reference` are fingerprints, `count` is the number of training images, `digests` has 8 hex digits of each
    in one string (None where there are too many, or where they are decoded during training), `spec` is the source.
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
    """Reads `data.json` of a run; None where it is absent, as in older runs.

    Raises:
      ConfigError: the file is damaged.
    """
    path = folder / DATA
    if not path.exists():
        return None
    remedy = "; remove it if the data are certainly the same"
    values = read_json(path, remedy)
    if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in ("train", "reference")):
        raise ConfigError(f"{path} is damaged: it has no fingerprints{remedy}")
    return values


def check_data(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any], measured: bool) -> None:
    """Checks that a run's data have not changed since it was started.

    Args:
      folder: of the run.
      recorded: result of `read_data`.
      now: result of `describe_data`.
      measured: whether the run has evaluations against the reference.

    Raises:
      ConfigError: the data changed; lists the changes.
    """
    changes = list(data_changes(recorded, now, measured))
    if changes:
        raise ConfigError(
            f"the data of run {folder} ({now['spec']}) changed since it was started: {'; '.join(changes)}. Bring them back, "
            f"or start a new run from its newest checkpoint: gan-jax train {typed(folder)} --fork NEW"
        )


def data_changes(recorded: Mapping[str, Any], now: Mapping[str, Any], measured: bool = True) -> list[str]:
    """Lists the differences of two descriptions of data, in words; empty where the images are the same."""
    out = []
    if recorded["train"] != now["train"]:
        old, new = recorded.get("digests"), now.get("digests")
        if recorded.get("count") != now["count"]:
            out.append(f"{recorded.get('count')} training images then, {now['count']} now")
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
        if (names := recorded.get("class_names")) != now["class_names"]:
            out.append(f"classes {_listed(names)} then, {_listed(now['class_names'])} now")
    if measured and recorded["reference"] != now["reference"]:
        out.append("the images that it is measured against are others")
    return out


def _digest(image: Any, label: int | None) -> str:
    return hashlib.blake2b(image.tobytes() + f" {label}".encode(), digest_size=4).hexdigest()


def _listed(names: Any) -> str:
    if not isinstance(names, list):
        return "without names"
    return ", ".join(map(str, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
