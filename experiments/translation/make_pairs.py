"""Pairs of emoji that two artists drew: Noto and Twemoji, 64 px RGBA, in folders that `gan-jax` reads.

    python experiments/translation/make_pairs.py OUT

writes

    OUT/train/noto/1f600.png      OUT/test/noto/..        Noto Emoji
    OUT/train/twemoji/1f600.png   OUT/test/twemoji/..     Twemoji: the same code points
    OUT/train/edges/..            OUT/test/edges/..       lines of Twemoji, black on white
    OUT/train/noto_edges/..       OUT/test/noto_edges/..  lines of Noto
    OUT/train/labels/..           OUT/test/labels/..      Twemoji in 13 named colours: label maps with classes.txt
    OUT/split.tsv                                         of each pair its part, group, category and name
    OUT/LICENCES.md

for `--data.source pairs:OUT/train/noto,OUT/train/twemoji`, or `layouts:OUT/train/labels,OUT/train/twemoji`.

The pictures come out of two npm packages, which `npm pack` brings (136 MB) or which lie in the folder of --packages. One
in ten of each category is held out. Emoji that show one thing are a group and stay together: the skin tones of one, its men,
women and persons, the directions that it faces, and flags that are drawn alike; all families and couples are one group.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import io
import json
import math
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gan_jax.data.convert import to_channels
from gan_jax.data.decode import decode, encode_png

VERSION = "16.0.0"
SHA256 = {  # of the packages
    "google": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "twitter": "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
}
FOLDERS = {"google": "noto", "twitter": "twemoji"}
HELD_OUT = 0.1

LICENCES = f"""# Licences

- `noto/`, and `noto_edges/`, which is computed from it: Noto Emoji, Google, Apache License 2.0
  (https://github.com/googlefonts/noto-emoji). Out of the npm package emoji-datasource-google {VERSION}, 64 px; lines are
  changed pictures.
- `twemoji/`, and `edges/` and `labels/`, which are computed from it: Twemoji, Twitter, Inc and other contributors, Creative
  Commons Attribution 4.0 (https://github.com/jdecked/twemoji). Out of the npm package emoji-datasource-twitter {VERSION}, 64
  px; lines and label maps are changed pictures.
- `split.tsv`: names and categories of emoji-data, Cal Henderson, MIT (https://github.com/iamcal/emoji-data).
"""


# -- the packages ---------------------------------------------------------------------------------


def package(vendor: str, folder: Path) -> Path:
    """The package of a vendor's pictures in a folder; fetched by npm where it is absent."""
    path = folder / f"emoji-datasource-{vendor}-{VERSION}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"emoji-datasource-{vendor}@{VERSION}"], cwd=folder, check=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256[vendor]:
        raise SystemExit(f"{path} has the sha256 {digest}, expected {SHA256[vendor]}: it is another file")
    return path


def members(path: Path, pattern: str) -> dict[str, bytes]:
    """The files of a package whose path matches a pattern, by the pattern's group."""
    out = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            if (match := re.fullmatch(pattern, entry.name)) and entry.isfile():
                out[match[1]] = archive.extractfile(entry).read()  # type: ignore[union-attr]
    return out


# -- the split ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Emoji:
    """One emoji."""

    code: str  # code points in hexadecimal, as files are called: 1f9d1-200d-1f680
    category: str
    group: str  # emoji of one group are in one part
    name: str
    tone: bool = False  # a variant in a skin tone


TONES = {f"1f3f{digit}" for digit in "bcdef"}
PERSON = {"1f468", "1f469", "1f9d1"}  # man, woman, person
DROPPED = TONES | {"fe0f", "200d", "2640", "2642", "27a1"}  # signs of form, of gender and of direction


def group_of(code: str, subcategory: str) -> str:
    """The group of an emoji without a tone: its code points without those of tone, gender and direction."""
    if subcategory == "family":
        return "family"
    points = [point for point in code.split("-") if point not in DROPPED]
    return "-".join("1f9d1" if point in PERSON else point for point in points) or code


def read_emoji(data: bytes, tones: bool) -> list[Emoji]:
    """The emoji of `emoji.json` in their order; with their skin tones if asked."""
    out = []
    for entry in sorted(json.loads(data), key=lambda entry: entry["sort_order"]):
        code, category = entry["unified"].lower(), entry["category"]
        group, name = group_of(code, entry["subcategory"]), entry["short_name"]
        out.append(Emoji(code, category, group, name))
        variants = entry.get("skin_variations", {}).values() if tones else ()
        out += [Emoji(variant["unified"].lower(), category, group, name, tone=True) for variant in variants]
    return out


def held_out_groups(emoji: Iterable[Emoji], seed: int = 0) -> set[str]:
    """Groups that hold a tenth of each category, chosen by a hash; tones do not count, so that they change nothing."""
    sizes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for entry in emoji:
        if not entry.tone:
            sizes[entry.category][entry.group] += 1
    chosen: set[str] = set()
    for counts in sizes.values():
        room = math.ceil(HELD_OUT * counts.total())
        order = sorted(counts, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).hexdigest())
        for group in order:
            if counts[group] <= room:  # a group that is too large stays in training
                chosen.add(group)
                room -= counts[group]
    return chosen


def join_equal(emoji: Sequence[Emoji], pictures: Iterable[dict[str, bytes]]) -> list[Emoji]:
    """The emoji with those of equal pictures in one group: the flags of two countries can be the same."""
    groups = {entry.group: entry.group for entry in emoji}
    for files in pictures:
        group_by_picture: dict[bytes, str] = {}
        for entry in emoji:
            group = groups[entry.group]
            other = group_by_picture.setdefault(_pixels(files[entry.code]), group)
            if other != group:
                groups = {key: other if value == group else value for key, value in groups.items()}
                group_by_picture = {key: other if value == group else value for key, value in group_by_picture.items()}
    return [dataclasses.replace(entry, group=groups[entry.group]) for entry in emoji]


def _pixels(data: bytes) -> bytes:
    image = to_channels(decode(data, "a picture")[None], 4)[0]
    return np.where(image[..., 3:] > 0, image, 0).tobytes()  # colours that cannot be seen do not count


# -- lines and label maps -------------------------------------------------------------------------

COLOURS = {  # the classes of label maps: colours that Twemoji is drawn in, and the background
    "background": (255, 255, 255),
    "black": (41, 47, 51),
    "grey": (136, 153, 166),
    "light grey": (204, 214, 221),
    "white": (245, 248, 250),
    "red": (221, 46, 68),
    "orange": (244, 144, 12),
    "yellow": (255, 204, 77),
    "green": (119, 178, 85),
    "light blue": (136, 201, 249),
    "blue": (59, 136, 195),
    "purple": (146, 102, 204),
    "brown": (138, 75, 56),
}


def label_map(pixels: np.ndarray) -> np.ndarray:
    """`[H, W, 4]` uint8 as labels `[H, W]` uint8: the nearest of `COLOURS`, or background where it is transparent."""
    palette = np.array(list(COLOURS.values())[1:], np.float64)
    distance = ((pixels[..., None, :3] - palette) ** 2 * (0.3, 0.59, 0.11)).sum(-1)
    return np.where(pixels[..., 3] < 128, 0, 1 + distance.argmin(-1)).astype(np.uint8)


def edges(pixels: np.ndarray) -> np.ndarray:
    """`[H, W, 4]` uint8 as black lines on white `[H, W, 1]`: where a label ends."""
    labels = np.pad(label_map(pixels), 1)  # with background: emoji that touch the frame have an outline too
    middle = labels[1:-1, 1:-1]
    line = (middle != labels[2:, 1:-1]) | (middle != labels[1:-1, 2:])
    line[0] |= middle[0] != 0
    line[:, 0] |= middle[:, 0] != 0
    return np.where(line, 0, 255).astype(np.uint8)[..., None]


def palette_png(labels: np.ndarray) -> bytes:
    """Labels `[H, W]` as a PNG of a palette of `COLOURS`."""
    from PIL import Image

    picture = Image.fromarray(labels)
    picture.putpalette([value for colour in COLOURS.values() for value in colour])
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


# -- writing --------------------------------------------------------------------------------------


def write_pairs(
    out: Path, emoji: Sequence[Emoji], pictures: dict[str, dict[str, bytes]], seed: int
) -> collections.Counter:
    """Writes all folders; returns the number of pairs in each part."""
    held_out = held_out_groups(emoji, seed)
    rows = ["code\tpart\tgroup\tcategory\tname\ttone"]
    counts: collections.Counter = collections.Counter()
    for entry in emoji:
        part = "test" if entry.group in held_out else "train"
        counts[part] += 1
        rows.append("\t".join((entry.code, part, entry.group, entry.category, entry.name, str(int(entry.tone)))))
        source, target = (
            to_channels(decode(pictures[vendor][entry.code], entry.code)[None], 4)[0] for vendor in FOLDERS
        )
        files = {FOLDERS[vendor]: files[entry.code] for vendor, files in pictures.items()}
        files |= {"edges": encode_png(edges(target)), "labels": palette_png(label_map(target))}
        files["noto_edges"] = encode_png(edges(source))
        for folder, data in files.items():
            path = out / part / folder / f"{entry.code}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for part in counts:
        (out / part / "labels" / "classes.txt").write_text("".join(f"{name}\n" for name in COLOURS), encoding="utf-8")
    (out / "split.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (out / "LICENCES.md").write_text(LICENCES, encoding="utf-8")
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--packages", type=Path, default=Path("runs/packages"), help="folder of the npm packages")
    parser.add_argument("--tones", action="store_true", help="skin tones too: 3,786 pairs instead of 1,911")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    args = parser.parse_args(argv)
    if args.out.exists() and any(args.out.iterdir()):
        raise SystemExit(f"{args.out} is there already and holds files; choose another folder")
    paths = {vendor: package(vendor, args.packages) for vendor in SHA256}
    emoji = read_emoji(members(paths["google"], r"package/(emoji\.json)")["emoji.json"], args.tones)
    pictures = {vendor: members(path, rf"package/img/{vendor}/64/(.+)\.png") for vendor, path in paths.items()}
    absent = [entry.code for entry in emoji for files in pictures.values() if entry.code not in files]
    if absent:
        raise SystemExit(f"{len(absent)} emoji have no picture: {', '.join(absent[:5])}")
    counts = write_pairs(args.out, join_equal(emoji, pictures.values()), pictures, args.seed)
    print(f"wrote {args.out}: {counts['train']:,} pairs to train on, {counts['test']:,} held out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
