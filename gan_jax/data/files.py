"""Images in a folder or a zip file, read the same way. Nothing is unpacked to disk, and only regular files are opened."""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from gan_jax.data.convert import Shape, fit_pixels, has_colour, losses, of, share
from gan_jax.data.decode import (
    EXTENSIONS,
    HEAD_BYTES,
    MAX_FILE_BYTES,
    TAIL_BYTES,
    TOO_LARGE,
    BadImage,
    Facts,
    check_unpacked,
    decode_file,
    picture_not_read,
    read_header,
    reason_not_read,
    sniff,
)
from gan_jax.data.idx import has_idx
from gan_jax.data.images import DataError, Images, choose_classes
from gan_jax.data.labels import LABEL_FILES, Labels, find_labels

# ----------------------------------------------------------------------------------------------------------------------
# Sentences about things that reading images lost or left out.

_MOST_NAMED = 10


def sentences(facts: Sequence[Facts], shape: Shape, colour: int = 0) -> tuple[str, ...]:
    """A sentence for each thing that decoding files and bringing them to a shape loses or adds.

    Args:
      facts: of each file.
      shape: that the images get.
      colour: number of images with colour, where they become grey.
    """
    out = [*depth_sentences(facts)]
    total = len(facts)
    sizes = Counter((f.width, f.height) for f in facts)
    out += losses(sizes, shape, colour=colour, alpha=sum(f.alpha for f in facts)) if facts else []
    if n := sum(f.mode == "CMYK" for f in facts):
        out.append(f"CMYK becomes RGB without a colour profile in {share(n, total)}")
    if n := sum(f.frames for f in facts):
        out.append(f"{of(n, total, 'hold', 'holds')} several frames, of which the first one counts")
    if n := sum(f.damaged_exif for f in facts):
        out.append(
            f"{of(n, total, 'have', 'has')} a damaged EXIF block: pixels are whole, a camera's turn may not be known"
        )
    return tuple(out)


def depth_sentences(facts: Sequence[Facts]) -> list[str]:
    """Sentences about files of more than 8 bits a channel."""
    deep = [f for f in facts if f.depth > 8]
    if not deep:
        return []
    bits = " or ".join(map(str, sorted({f.depth for f in deep})))
    text = f"{of(len(deep), len(facts), 'have', 'has')} {bits} bits a channel, rounded to 8"
    bright = max((f.brightest for f in deep if f.brightest is not None), default=65535)
    if bright < 65536 // 4:
        bits_left = max(1, int(np.ceil(np.log2(bright * 255 / 65535 + 1))))
        text += (
            f"; their brightest value is {bright / 655.35:.2g} % of the range (as of a 12-bit camera in a 16-bit file), so "
            f"about {bits_left} bits are left of them: stretch their values first"
        )
    return [text]


def array_sentences(pixels: np.ndarray, shape: Shape) -> tuple[str, ...]:
    """A sentence for each thing that bringing images `[N, H, W, C]` in memory to a shape loses or adds."""
    n, h, w, c = pixels.shape
    colour = sum(map(has_colour, pixels)) if shape.channels == 1 else 0
    alpha = int((pixels[..., 3].reshape(n, -1) < 255).any(1).sum()) if c == 4 and shape.channels in (1, 3) else 0
    return tuple(losses(Counter({(w, h): n}), shape, colour=colour, alpha=alpha))


def left_out_text(left_out: Sequence[tuple[str, str]], most: int | None = _MOST_NAMED) -> str:
    """Files left out with their reasons, and the number of those not named: `a.jpg is empty; b.png ..; and 3 more`."""
    named = left_out if most is None else left_out[:most]
    more = f"; and {len(left_out) - len(named)} more" if len(named) < len(left_out) else ""
    return "; ".join(f"{printable(name)} {reason}" for name, reason in named) + more


def printable(name: str) -> str:
    """A file's name without control characters."""
    return name if name.isprintable() else ascii(name)[1:-1]


# ----------------------------------------------------------------------------------------------------------------------
# Listing and reading.

Bad = Literal["skip", "fail"]

MAX_ENTRIES = 1 << 22  # in a zip
_DIRECTORY_BYTES = 64 * MAX_ENTRIES  # of a zip's list of entries
_LISTED_TYPES = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclasses.dataclass(frozen=True)
class Files:
    """The files in a folder or zip, by their paths below its root."""

    root: str  # for errors
    names: tuple[str, ...]  # a/b.png, sorted
    read: Callable[[str], bytes]  # all bytes of one file, at most `MAX_FILE_BYTES`
    look: Callable[[str], tuple[bytes, bytes]]  # first and last bytes of one file
    stream: Callable[[str], Any]  # one file, open and seekable

    def where(self, name: str) -> str:
        """The name of a file in an error message."""
        return f"{self.root}/{printable(name)}"


class Listing(NamedTuple):
    """The files of a folder or zip, sorted by their content."""

    images: tuple[str, ...]  # of a kind that is read, sorted
    left_out: tuple[tuple[str, str], ...]  # pictures that are not read: (name, reason)
    other_files: tuple[str, ...]  # not meant as images
    labels: Labels  # of `images`


@contextmanager
def open_folder(path: Path) -> Iterator[Files]:
    """The files below a folder; hidden ones and run folders are left out, links to folders are followed once."""
    names: list[str] = []
    visited: set[str] = set()
    for folder, subfolders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        listed = [name for name in subfolders if not (name.startswith(".") or _is_run(Path(folder) / name))]
        subfolders[:] = [] if real in visited else listed
        if real not in visited:
            names += [(Path(folder) / name).relative_to(path).as_posix() for name in files]
        visited.add(real)
    visible, prefix = _visible(names), ""
    tops = {name.split("/")[0] for name in visible if _matters(name)}
    if len(tops) == 1 and any(f"{(top := next(iter(tops)))}/{label}" in visible for label in LABEL_FILES):
        prefix = f"{top}/"  # as in a zip: one folder around everything, its labels in it
        visible = tuple(name.removeprefix(prefix) for name in visible if name.startswith(prefix))

    def read(name: str) -> bytes:
        with _open_regular(path / (prefix + name), name) as stream:
            return _bounded(stream, name)

    def look(name: str) -> tuple[bytes, bytes]:
        with _open_regular(path / (prefix + name), name) as stream:
            head = stream.read(HEAD_BYTES)
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
            return head, stream.read(TAIL_BYTES)

    def stream(name: str) -> Any:
        return _open_regular(path / (prefix + name), name)

    yield Files(str(path), visible, read, look, stream)


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run folder: its sample grids are no data to train on."""
    return (folder / "config.json").is_file() and any((folder / name).exists() for name in (".lock", "metrics.jsonl"))


@contextmanager
def open_zip(path: Path) -> Iterator[Files]:
    """The files in a zip; a single folder around all of them is left out of the names."""
    archive = open_archive(path)
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
        files = {name: entries[name] for name in _visible(entries)}
        check_unpacked(path, sum(e.file_size for e in files.values() if e.file_size <= MAX_FILE_BYTES))
        matter = [name for name in files if _matters(name)]
        tops = {name.split("/")[0] for name in matter}
        if len(tops) == 1 and all("/" in name for name in matter):
            prefix = f"{next(iter(tops))}/"
            files = {name.removeprefix(prefix): files[name] for name in files if name.startswith(prefix)}

        def read(name: str) -> bytes:
            if (size := files[name].file_size) > MAX_FILE_BYTES:
                raise BadImage(name, f"declares {size} bytes; {MAX_FILE_BYTES} are the most")
            try:
                return archive.read(files[name])  # stops at the declared size and checks the CRC
            except Exception as error:  # zlib, lzma, CRC, encryption, unknown method: no common base
                raise BadImage(name, f"cannot be unpacked: {error}") from error

        def look(name: str) -> tuple[bytes, bytes]:
            if files[name].file_size > MAX_FILE_BYTES:
                return read(name), b""
            try:
                with archive.open(files[name]) as stream:
                    head = stream.read(HEAD_BYTES)
            except Exception as error:
                raise BadImage(name, f"cannot be unpacked: {error}") from error
            if sniff(head) is None and len(head) >= 18 and picture_not_read(head) is None and head[1] in (0, 1):
                return head, read(name)[-TAIL_BYTES:]  # may be TGA, whose mark stands at its end
            return head, b""

        yield Files(str(path), tuple(sorted(files)), read, look, lambda name: io.BytesIO(read(name)))


def open_archive(path: Path, what: str = "a zip file") -> zipfile.ZipFile:
    """Opens a zip file; the length of its list of entries is checked before it is read."""
    try:
        with path.open("rb") as stream:
            size = _directory_bytes(stream)
        if size > _DIRECTORY_BYTES:
            raise DataError(f"{path} lists more files than a zip file may hold here ({MAX_ENTRIES:,})")
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as {what}: {error}") from error
    if len(archive.infolist()) > MAX_ENTRIES:
        archive.close()
        raise DataError(f"{path} lists more files than a zip file may hold here ({MAX_ENTRIES:,})")
    return archive


def list_images(files: Files) -> Listing:
    """Sorts the files of a folder or zip by their first bytes, and finds the labels of the images.

    Raises:
      DataError: there are no images, or labels that do not fit them.
    """
    images, left_out, other_files = sort_files(files)

    def read(name: str) -> bytes:
        try:
            return files.read(name)
        except (BadImage, OSError) as error:
            raise DataError(f"{files.where(name)} {getattr(error, 'reason', f'cannot be read: {error}')}") from error

    names = tuple(name for name in files.names if name.split("/")[-1] in LABEL_FILES)
    labels = find_labels(files.root, images, names, read, [name for name, _ in left_out]) if images else Labels()
    return Listing(tuple(images), tuple(left_out), tuple(other_files), labels)


def sort_files(files: Files) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """The files of a folder or zip by their first bytes: images, pictures that are not read with reasons, other files.

    Raises:
      DataError: there are no images; the message says what is there.
    """
    images, left_out, other_files = [], [], []
    names = [name for name in files.names if name.split("/")[-1] not in LABEL_FILES]
    with _pool() as pool:
        kinds = list(pool.map(lambda name: _kind(files, name), names))
    for name, (kind, reason) in zip(names, kinds, strict=True):
        if kind is not None:
            images.append(name)
        elif reason is not None:
            left_out.append((name, reason))
        else:
            other_files.append(name)
    if not images and not left_out and has_idx(files.names):
        raise DataError(f"{files.root} holds idx files; read it as idx:{files.root} (or idx:{files.root}:test)")
    if not images and not left_out:
        kinds_text = ", ".join(f"{n} {ending}" for ending, n in suffixes(files.names).most_common(5))
        contents = f"its {len(files.names)} file(s) are {kinds_text}" if files.names else "it holds no file"
        raise DataError(
            f"{files.root} holds no images (png, jpeg, webp, gif, bmp, tiff, ppm, tga, avif, jpeg 2000); {contents}"
        )
    return images, left_out, other_files


def read_files(
    files: Files, name: str, shape: Shape, *, classes: Iterable[int | str] | None = None, bad: Bad = "skip"
) -> Images:
    """Decodes the images of a folder or zip; each is brought to `shape` at once, so that large originals need no memory.

    Args:
      files: of the folder or zip.
      name: of the set.
      shape: what the images are brought to.
      classes: names or labels of the classes to read; None for all.
      bad: "skip" leaves out files that cannot be read, "fail" refuses them with all their names.
    """
    listing = list_images(files)
    images, labels = chosen_images(listing, classes, name)
    out: np.ndarray | None = None
    positions: list[int] = []
    facts: list[Facts] = []
    colour = 0
    left_out = list(listing.left_out)
    for i, (file, result) in enumerate(_decoded(files, images, shape)):
        if isinstance(result, BadImage):
            left_out.append((file, result.reason))
            continue
        pixels, file_facts, has_colour_lost = result
        if out is None:
            out = np.empty((len(images), *pixels.shape), np.uint8)
        if pixels.shape != out.shape[1:]:
            raise DataError(
                mixed_text(files.where(file), pixels.shape, files.where(images[positions[0]]), out.shape[1:])
            )
        out[len(positions)] = pixels
        positions.append(i)
        facts.append(file_facts)
        colour += has_colour_lost
    left_out.sort()
    refuse(left_out, bad, files.root)
    if out is None:
        raise DataError(no_images(left_out, files.root))
    notes = (*listing.labels.notes, *sentences(facts, shape, colour))
    if left_out:
        total = len(left_out) + len(positions)
        notes = (f"{len(left_out)} of {total} files left out: {left_out_text(left_out)}", *notes)
    labels = None if labels is None else labels[positions]
    pixels = out if len(positions) == len(out) else out[: len(positions)].copy()
    return Images(pixels, labels, name, listing.labels.class_names, notes, tuple(left_out))


def chosen_images(
    listing: Listing, classes: Iterable[int | str] | None, name: str
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The images of the chosen classes and their labels."""
    labels = listing.labels.labels
    if classes is None or not listing.images:
        return listing.images, labels
    numbers = choose_classes(classes, labels, listing.labels.class_names, name)
    chosen = np.flatnonzero(np.isin(labels, numbers))  # type: ignore[arg-type]
    return tuple(listing.images[i] for i in chosen), labels[chosen]  # type: ignore[index]


def read_headers(files: Files, images: Sequence[str], *, whole: bool = False) -> Iterator[tuple[str, Facts | BadImage]]:
    """The header facts of each image, in order.

    Args:
      files: of the folder or zip.
      images: names of the files.
      whole: decode every file, so that damage behind the header is found.
    """

    def look(name: str) -> Facts | BadImage:
        try:
            if whole:
                return decode_file(files.read(name), name)[1]
            with files.stream(name) as stream:
                return read_header(stream, name)
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage(name, f"cannot be read: {error.strerror or error}")

    yield from mapped(look, images)


def refuse(left_out: Sequence[tuple[str, str]], bad: Bad, root: str) -> None:
    """Raises a DataError that names all files that cannot be read, if `bad` is "fail"."""
    if bad not in get_args(Bad):
        raise DataError(f"data.bad is {bad!r}; use skip or fail")
    if not left_out or bad == "skip":
        return
    if len(left_out) == 1:
        raise DataError(f"{root}/{left_out_text(left_out)}")
    raise DataError(f"{root}: {len(left_out)} files cannot be read: {left_out_text(left_out, most=None)}")


def no_images(left_out: Sequence[tuple[str, str]], root: str) -> str:
    """The error message where no file can be read."""
    if len(left_out) == 1:
        return f"{root}/{left_out_text(left_out)}; it is the only image there"
    return f"{root} holds no readable image; of its {len(left_out)} files {left_out_text(left_out)}"


def _decoded(files: Files, images: Sequence[str], shape: Shape) -> Iterator[tuple[str, Any]]:
    """Each file's name with its pixels, facts and whether it loses colour; with a `BadImage` where it cannot be read."""

    def work(name: str) -> tuple[np.ndarray, Facts, bool] | BadImage:
        try:
            pixels, facts = decode_file(files.read(name), name)
        except BadImage as error:
            return error
        except OSError as error:
            return BadImage(name, f"cannot be read: {error.strerror or error}")
        return fit_pixels(pixels[None], shape)[0], facts, shape.channels == 1 and has_colour(pixels)

    yield from mapped(work, images)


def mapped(work: Callable[[Any], Any], names: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each name with the result of a function, in order; in threads, since decoders release Python's lock."""
    with _pool() as pool:
        step = 64
        for start in range(0, len(names), step):
            part = names[start : start + step]
            yield from zip(part, pool.map(work, part), strict=True)


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="gan_jax-images")


def _kind(files: Files, name: str) -> tuple[str | None, str | None]:
    """(kind, None) of an image, (None, reason) of a picture that is not read, (None, None) of any other file."""
    meant = name.lower().endswith(tuple(EXTENSIONS))
    try:
        head, tail = files.look(name)
    except BadImage as error:
        return None, error.reason if meant or error.reason.endswith("not a regular file") else None
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}" if meant else None
    kind = sniff(head, tail)
    if kind is None and (meant or picture_not_read(head)):
        return None, reason_not_read(head)
    return kind, None


def _open_regular(path: Path, name: str) -> Any:
    """Opens a regular file; raises BadImage for any other kind, without waiting for it or reading it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise BadImage(name, "is a link to nothing, not a regular file") from error
    except OSError as error:
        kind = _what(path)
        if kind is None:
            raise BadImage(name, f"cannot be read: {error.strerror}") from error
        raise BadImage(name, f"is {kind}, not a regular file") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise BadImage(name, f"is {_what(path) or 'a folder'}, not a regular file")
    return os.fdopen(descriptor, "rb")


def _what(path: Path) -> str | None:
    """The kind of a path that is no regular file and no folder; None for one that is."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "a link to nothing"
    link = "a link to " if path.is_symlink() else ""
    return next((link + name for check, name in _LISTED_TYPES if check(mode)), None)


def _bounded(stream: Any, name: str) -> bytes:
    """All bytes of a file of at most `MAX_FILE_BYTES`."""
    large = os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES
    data = b"" if large else stream.read(MAX_FILE_BYTES + 1)  # a file may grow, or not know its size
    if large or len(data) > MAX_FILE_BYTES:
        raise BadImage(name, TOO_LARGE)
    return data


def _directory_bytes(stream: Any) -> int:
    """The declared length of a zip's list of entries, bytes; 0 where there is none."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 65536 - 22))
    tail = stream.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        return 0
    length = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    if length == 0xFFFFFFFF and (place := tail.rfind(b"PK\6\6", 0, at)) >= 0 and len(tail) >= place + 48:
        length = struct.unpack("<Q", tail[place + 40 : place + 48])[0]
    return length


def mixed_text(where: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]) -> str:
    """The error message where two images of a set have other shapes `[H, W, C]`."""
    words = ["{} x {} px with {} channel(s)".format(*s) for s in (shape, expected)]
    option = "a resolution" if shape[:2] != expected[:2] else "channels (1, 3 or 4)"
    return f"{where} is {words[0]}, but {first} is {words[1]}; give {option} to bring all images to"


def _matters(name: str) -> bool:
    """Whether a name is one of an image or of a label file; only these decide whether one folder holds everything."""
    return name.lower().endswith(tuple(EXTENSIONS)) or name.split("/")[-1] in LABEL_FILES


def _visible(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted names without hidden ones (`.x`, `.git/x`)."""
    return tuple(sorted(name for name in names if not any(part.startswith(".") for part in name.split("/"))))


def suffixes(names: Iterable[str]) -> Counter[str]:
    """The number of files of each ending."""
    return Counter(PurePosixPath(name).suffix.lower() or "no ending" for name in names)
