"""Images in a folder or a zip file, read the same way; nothing is unpacked to disk."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from gan_jax.data.decode import EXTENSIONS, decode
from gan_jax.data.fit import Shape, fit_pixels
from gan_jax.data.idx import has_idx
from gan_jax.data.images import DataError, Images
from gan_jax.data.labels import LABEL_FILES, find_labels

MAX_FILE_BYTES = 1 << 28  # of one file in a zip, unpacked; larger ones are refused before they are unpacked


@dataclasses.dataclass(frozen=True)
class Files:
    """The files that matter in a folder or zip: images and label files, by their path below the root."""

    root: str  # for errors
    names: tuple[str, ...]  # a/b.png, sorted
    read: Callable[[str], bytes]

    def where(self, name: str) -> str:
        """How an error names one file."""
        return f"{self.root}/{name}"


@contextmanager
def open_folder(path: Path) -> Iterator[Files]:
    """The files below a folder; hidden ones are left out, links to folders are followed once."""
    names: list[str] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else [name for name in subfolders if not name.startswith(".")]
        if real not in seen:
            names += [(Path(folder) / name).relative_to(path).as_posix() for name in files]
        seen.add(real)
    if not any(map(_is_image, names)) and has_idx(names):
        raise DataError(f"{path} holds idx files; read it as idx:{path} (or idx:{path}:test)")
    yield Files(str(path), _relevant(names), lambda name: (path / name).read_bytes())


@contextmanager
def open_zip(path: Path) -> Iterator[Files]:
    """The files in a zip; one folder around everything is left out of the names."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a zip file: {error}") from error
    with archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            name = entry.filename.replace("\\", "/")
            parts = PurePosixPath(name).parts
            if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
                raise DataError(f"{path} holds {entry.filename!r}, a name that leaves the archive; refused")
            if entry.is_dir() or name.startswith("__MACOSX/"):
                continue
            if name in entries:
                raise DataError(f"{path} holds {name!r} twice")
            entries[name] = entry
        kept = {name: entries[name] for name in _relevant(entries)}
        for name, entry in kept.items():
            if entry.file_size > MAX_FILE_BYTES:
                raise DataError(f"{path}/{name} declares {entry.file_size} bytes; {MAX_FILE_BYTES} are the most")
        tops = {name.split("/")[0] for name in kept}
        if len(tops) == 1 and all("/" in name for name in kept):
            kept = {name.split("/", 1)[1]: entry for name, entry in kept.items()}

        def read(name: str) -> bytes:
            try:
                return archive.read(kept[name])  # stops at the declared size and checks the CRC
            except Exception as error:  # zlib, lzma, CRC, encryption, unknown method: no common base
                raise DataError(f"{path}/{name} cannot be unpacked: {error}") from error

        yield Files(str(path), tuple(sorted(kept)), read)


def read_files(files: Files, name: str, shape: Shape) -> Images:
    """Decodes all images of a folder or zip, each brought to `shape` at once so that large originals need no room."""
    images = [file for file in files.names if _is_image(file)]
    if not images:
        raise DataError(f"{files.root} holds no images ({', '.join(EXTENSIONS)})")
    labels, class_names = find_labels(files.root, files.names, images, files.read)
    out: np.ndarray | None = None
    for i, file in enumerate(images):
        where = files.where(file)
        try:
            data = files.read(file)
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error}") from error
        pixels = fit_pixels(decode(data, where)[None], shape, where)[0]
        if out is None:
            out = np.empty((len(images), *pixels.shape), np.uint8)
        if pixels.shape != out.shape[1:]:
            raise DataError(_mixed(where, pixels.shape, files.where(images[0]), out.shape[1:]))
        out[i] = pixels
    assert out is not None
    return Images(out, labels, name, class_names)


def _mixed(where: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]) -> str:
    words = ["{} x {} px with {} channel(s)".format(*s) for s in (shape, expected)]
    option = "a resolution" if shape[:2] != expected[:2] else "channels (1, 3 or 4)"
    return f"{where} is {words[0]}, but {first} is {words[1]}; give {option} to bring all images to"


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _relevant(names: object) -> tuple[str, ...]:
    """Image and label files, sorted; hidden ones (`.x`, `.git/x`) are not."""
    visible = [n for n in names if not any(part.startswith(".") for part in n.split("/"))]  # type: ignore[attr-defined]
    return tuple(sorted(n for n in visible if _is_image(n) or n.split("/")[-1] in LABEL_FILES))
