"""Translation of files: which files, under which names, in batches of one size; a file that cannot be read ends nothing."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gan_jax.data.convert import to_channels
from gan_jax.data.decode import (
    EXTENSIONS,
    HEAD_BYTES,
    MAX_FILE_BYTES,
    TOO_LARGE,
    decode,
    decode_indices,
    encode_png,
    picture_not_read,
    sniff,
    what_else,
)
from gan_jax.data.images import DataError
from gan_jax.files import OutputError, printable, write_atomically

MOST_NAMED = 3  # files in an error
WAITING = 64  # images that wait for others of their size, at most


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to translate.

    Attributes:
      source: the image, or label map.
      name: of the result below the output folder, `a/b.png`: that of the source below the folder that was named.
      out: where the result is written.
      target: the image that the result should be; None = not known.
      instances: map of instances of a label map; None = not needed.
    """

    source: Path
    name: str
    out: Path
    target: Path | None = None
    instances: Path | None = None


@dataclasses.dataclass(frozen=True)
class Done:
    """One translated file.

    Attributes:
      job: of the file.
      index: of the job.
      input: what the network read, uint8 `[H, W, in_channels]` or labels `[H, W]`.
      output: uint8 `[H, W, C]`.
    """

    job: Job
    index: int
    input: np.ndarray
    output: np.ndarray


def list_jobs(inputs: Sequence[Path], out: Path, *, overwrite: bool = False) -> list[Job]:
    """Lists the files to translate. Of folders, all pictures below are taken; results keep their names below the folder.

    Args:
      inputs: files and folders.
      out: folder of the results; pictures in it are not taken.
      overwrite: whether results may be replaced.

    Raises:
      DataError: an input that does not exist, a folder without pictures, or two inputs for one result; films.
      OutputError: a result that exists, or would replace its own source.
    """
    sources: list[tuple[Path, str]] = []
    for path in inputs:
        if path.is_dir():
            names = pictures_below(path, out)
            if not names:
                raise DataError(
                    f"{path} holds no pictures{_held(path)}; name a folder of pictures, or the files themselves"
                )
            sources += [(path / name, name) for name in names]
        elif path.is_file():
            if _is_film(path):
                raise DataError(
                    f"{path} is a film; write its frames into a folder first (ffmpeg -i FILM frames/%05d.png), and name the "
                    "folder"
                )
            sources.append((path, path.name))
        else:
            raise DataError(f"there is no file or folder {printable(path, keep='')}")
    jobs, owners = [], {}
    for source, name in sources:
        result = str(PurePosixPath(name).with_suffix(".png"))
        if result in owners:
            raise DataError(
                f"{owners[result]} and {source} would both become {out / result}; translate them into two folders, or rename one"
            )
        owners[result] = source
        jobs.append(Job(source, result, out / result))
    if not jobs:
        raise DataError("there is nothing to translate; name files or folders")
    there = [job for job in jobs if os.path.lexists(job.out)]
    same = [job for job in there if job.out.exists() and job.out.samefile(job.source)]
    if same:
        raise OutputError(f"--out {out}: {same[0].out} is an input itself; name another folder")
    if there and not overwrite:
        names = ", ".join(printable(job.name, keep="") for job in there[:MOST_NAMED])
        more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
        raise OutputError(
            f"--out {out}: {names}{more} {'is' if len(there) == 1 else 'are'} there already; name another folder, or allow "
            "them to be replaced with --overwrite"
        )
    if (blocked := next((path for path in _parents(jobs) if path.exists() and not path.is_dir()), None)) is not None:
        raise OutputError(f"--out {out}: {blocked} is a file, and a folder is needed there; name another place")
    return jobs


def pictures_below(folder: Path, out: Path | None = None) -> list[str]:
    """Names of the files below a folder that are called as pictures are, sorted, without hidden ones and those in `out`."""
    names = []
    omitted = None if out is None else out.resolve()
    for root, folders, files in os.walk(folder):
        above = Path(root)
        folders[:] = [name for name in folders if not name.startswith(".") and (above / name).resolve() != omitted]
        names += [
            (above / name).relative_to(folder).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
        ]
    return sorted(names)


def with_partners(jobs: Sequence[Job], folder: Path, field: str, option: str, *, needed: bool) -> list[Job]:
    """The jobs with the files of a folder that have their names, whatever the endings: targets, or maps of instances.

    Args:
      jobs: the files to translate.
      folder: that was named by `option`; of a single job, the file itself.
      field: of `Job` that is set.
      option: for errors.
      needed: whether each job must have one; else only some.

    Raises:
      DataError: no file, or not enough of them, have the jobs' names.
    """
    if folder.is_file() and len(jobs) == 1:
        return [dataclasses.replace(jobs[0], **{field: folder})]
    if not folder.is_dir():
        raise DataError(f"{option} {folder} is no folder; name one with a file for each input, of the same name")
    by_stem: dict[str, list[str]] = {}
    for name in pictures_below(folder):
        by_stem.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)
    stems = [str(PurePosixPath(job.name).with_suffix("")) for job in jobs]
    if doubled := [stem for stem in stems if len(by_stem.get(stem, ())) > 1]:
        raise DataError(
            f"{option} {folder} holds {' and '.join(by_stem[doubled[0]][:2])} for one input; keep one of them"
        )
    missing = [stem for stem in stems if stem not in by_stem]
    if missing and (needed or len(missing) == len(jobs)):
        some = ", ".join(missing[:MOST_NAMED]) + (", .." if len(missing) > MOST_NAMED else "")
        raise DataError(
            f"{option} {folder} has no file for {len(missing)} of {len(jobs)} inputs: {some}; it holds "
            f"{', '.join(sorted(by_stem)[:MOST_NAMED]) or 'no pictures'}"
        )
    return [
        dataclasses.replace(job, **{field: folder / by_stem[stem][0]}) if stem in by_stem else job
        for job, stem in zip(jobs, stems)
    ]


def read_picture(path: Path, channels: int) -> np.ndarray:
    """A picture file as uint8 `[H, W, channels]`; alpha is laid on white, colour becomes grey where one channel is read."""
    return to_channels(decode(_bytes(path), str(path))[None], channels)[0]


def read_labels(path: Path) -> np.ndarray:
    """A label map as int32 `[H, W]`: the numbers that a grey picture, or one with a palette, stores."""
    return decode_indices(_bytes(path), str(path))[0]


def translate_files(
    jobs: Sequence[Job],
    translate: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
    read: Callable[[Path], np.ndarray],
    *,
    batch: int,
    failed: Callable[[Job, str], None],
) -> Iterator[Done]:
    """Translates files and writes the results, in batches of one size; yields each as it is written.

    Args:
      jobs: the files; the folders of the results are made.
      translate: `(images [N, ..], instances [N, H, W] or None) -> uint8 [N, H, W, C]`.
      read: `path -> image or label map`.
      batch: images in one call.
      failed: is called with a file that cannot be read, and the reason.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray, np.ndarray | None]]] = {}

    def flush(shape: tuple[int, ...]) -> Iterator[Done]:
        rows = waiting.pop(shape)
        instances = None if rows[0][2] is None else np.stack([row[2] for row in rows if row[2] is not None])
        outputs = translate(np.stack([row[1] for row in rows]), instances)
        for (index, image, _), output in zip(rows, outputs, strict=True):
            write_atomically(jobs[index].out, encode_png(output))
            yield Done(jobs[index], index, image, output)

    for index, job in enumerate(jobs):
        try:
            image = read(job.source)
            instances = None if job.instances is None else read_labels(job.instances)
            if instances is not None and instances.shape != image.shape[:2]:
                raise DataError(
                    f"{job.source} has {image.shape[0]} x {image.shape[1]} px, {job.instances} {instances.shape[0]} x "
                    f"{instances.shape[1]}"
                )
        except (DataError, OSError) as error:
            failed(job, _reason(error, job.source))
            continue
        waiting.setdefault(image.shape, []).append((index, image, instances))
        if len(waiting[image.shape]) == batch:
            yield from flush(image.shape)
        elif sum(map(len, waiting.values())) >= max(WAITING, batch):
            yield from flush(max(waiting, key=lambda shape: len(waiting[shape])))
    for shape in list(waiting):
        yield from flush(shape)


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{path} {TOO_LARGE}")
    return path.read_bytes()


def _is_film(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    return sniff(head) is None and not picture_not_read(head) and (what_else(head) == "a film" or head[:4] in FILMS)


FILMS = (b"\x1aE\xdf\xa3", b"RIFF")  # Matroska and WebM, AVI


def _reason(error: Exception, source: Path) -> str:
    """The message of an error without the file's name at its beginning."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.removeprefix(f"{source} ")


def _held(folder: Path) -> str:
    """`, but 3 .txt and 1 .csv`: what a folder holds in place of pictures."""
    endings = Counter(path.suffix.lower() or "without an ending" for path in folder.rglob("*") if path.is_file())
    return f", but {' and '.join(f'{n} {ending}' for ending, n in endings.most_common(3))}" if endings else ""


def _parents(jobs: Sequence[Job]) -> list[Path]:
    """The folders of the results and all above them, each once."""
    return list(dict.fromkeys(parent for job in jobs for parent in job.out.parents))


def summary(numbers: Mapping[str, float], protocols: Mapping[str, Any]) -> list[str]:
    """Lines `SSIM (pixels-v1)  0.8123`, below the ids of the protocols."""
    ids = dict.fromkeys(protocols[name].id for name in numbers)
    titles = {name: protocols[name].title(name) for name in numbers}
    width = max(map(len, titles.values()), default=0)
    rows = [f"{titles[name]:<{width}}  {value:.4f}" for name, value in numbers.items()]
    return [*(f"protocol {name}" for name in ids), *rows]
