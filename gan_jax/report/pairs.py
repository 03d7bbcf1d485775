"""A page of translations: each input beside its output and its target, which a slider compares, and the metrics of each pair.

One file without outside references. Its script (the sliders, the order) is named by its hash in the page's policy, so that the
browser runs no other; without scripts all pictures are there, and each slider stands in the middle.
"""

from __future__ import annotations

import base64
import colorsys
import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from gan_jax.data.convert import resize
from gan_jax.data.images import DataError
from gan_jax.files import printable, write_atomically
from gan_jax.metrics import Perceptual, pair_metrics
from gan_jax.metrics.pairs import SMALLER_IS_BETTER, PairMetrics, identity_baseline
from gan_jax.metrics.protocol import TITLES
from gan_jax.report.grids import png_bytes, to_rgb
from gan_jax.report.html import Fact, Highlight, bullets, escape, fact_list, render_page, tiles
from gan_jax.report.table import Column, Table, html_table
from gan_jax.transfer.translating import Done, read_picture, summary
from gan_jax.trees import digest

MOST_SHOWN = 200  # pairs with pictures on a page
LARGEST_PX = 384  # pictures are reduced to this height and width
LOSSLESS_PX = 160  # pictures of this size or less are PNG, larger ones JPEG
FINE_PX = 128  # pictures of this size or more are smoothed where they are enlarged


@dataclasses.dataclass(frozen=True)
class Pair:
    """One translation on a page.

    Attributes:
      name: of the file.
      pictures: (what it is, data URI, width, height, px of the file) of input, output and, if there is one, target.
      metrics: metric -> value; none without a target.
    """

    name: str
    pictures: tuple[tuple[str, str, int, int], ...]
    metrics: dict[str, float]


class PairPage:
    """Collects translated files, measures those with a target, and writes the page.

    Args:
      perceptual: network for LPIPS; None = no LPIPS.
      pictures: whether a page will be written; else only metrics are kept.
    """

    def __init__(self, perceptual: Perceptual | None = None, pictures: bool = True):
        self._perceptual, self._pictures = perceptual, pictures
        self._pairs: dict[int, Pair] = {}
        self._measured: dict[int, tuple[PairMetrics, PairMetrics | None, str]] = {}
        self._notes: list[str] = []
        self._count = 0

    def add(self, done: Done) -> None:
        """Measures a translated file against its target, if there is one, and keeps its pictures."""
        self._count += 1
        target = self._target(done)
        metrics: dict[str, float] = {}
        if target is not None:
            result = pair_metrics(done.output[None], target[None], perceptual=self._perceptual)
            copy = identity_baseline(done.input[None], target[None])
            same = None if copy is None else pair_metrics(copy, target[None], perceptual=self._perceptual)
            self._measured[done.index] = (result, same, digest(target))
            metrics = result.means
        if self._pictures and done.index < MOST_SHOWN:
            shown = [("input", done.input), ("output", done.output), *([] if target is None else [("target", target)])]
            self._pairs[done.index] = Pair(done.job.name, tuple(_picture(*part) for part in shown), metrics)

    def _target(self, done: Done) -> np.ndarray | None:
        if done.job.target is None:
            return None
        try:
            target = read_picture(done.job.target, done.output.shape[-1])
        except (DataError, OSError) as error:
            self._notes.append(f"{done.job.name} is not measured: {error}")
            return None
        if target.shape != done.output.shape:
            self._notes.append(
                f"{done.job.name} is not measured: the result has {_size(done.output)} px, its target {_size(target)} px"
            )
            return None
        return target

    @property
    def metrics(self) -> tuple[PairMetrics | None, PairMetrics | None]:
        """Metrics of all results with a target, and of their inputs as they are, where all inputs can be compared."""
        rows = [self._measured[index] for index in sorted(self._measured)]
        if not rows:
            return None, None
        hashes = [row[2] for row in rows]
        same = [row[1] for row in rows if row[1] is not None]
        whole = PairMetrics.joined(same, hashes) if len(same) == len(rows) else None
        return PairMetrics.joined([row[0] for row in rows], hashes), whole

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is not measured or not shown."""
        result, _ = self.metrics
        hidden = f"metrics are of all {self._count} files, pictures of the first {MOST_SHOWN}"
        return (*self._notes, *(result.notes if result else ()), *([hidden] if self._count > MOST_SHOWN else []))

    def lines(self) -> list[str]:
        """The means as lines of text under their protocols, and the notes; nothing where no file has a target."""
        result, same = self.metrics
        if result is None:
            return [f"note: {note}" for note in self._notes]
        out = summary(result.means, result.protocols)
        if same is not None:
            values = ", ".join(f"{TITLES[name]} {value:.4f}" for name, value in same.means.items())
            out.append(f"inputs as they are: {values}")
        return [*out, *(f"note: {note}" for note in self.notes)]

    def write(self, path: str | os.PathLike[str], title: str) -> Path:
        """Writes the page, atomically; returns its path."""
        return write_atomically(path, self.render(title).encode("utf-8", "replace"))

    def render(self, title: str) -> str:
        """The page as text."""
        result, same = self.metrics
        pairs = [self._pairs[index] for index in sorted(self._pairs)]
        names = [name for name in TITLES if any(name in pair.metrics for pair in pairs)]
        with_target = any(len(pair.pictures) == 3 for pair in pairs)
        lead = f'<p class="lead">{escape(_lead(self._count, with_target))}</p>'
        parts = [("pairs", "Pairs" if with_target else "Translations", _controls(names) + _cards(pairs, names))]
        if result is not None:
            highlights = [Highlight(_number(name, value), TITLES[name]) for name, value in result.means.items()]
            lead += tiles(highlights)
            parts.append(("metrics", "Means", _means(result, same)))
        parts.append(("notes", "Notes", bullets([note[0].upper() + note[1:] + "." for note in self.notes])))
        return render_page(title, lead, parts, script=SCRIPT, style=STYLE)


def _lead(count: int, with_target: bool) -> str:
    files = f"{count:,} file{'s' * (count != 1)}"
    if with_target:
        return f"{files}. Left: the input. Right: the output; the slider uncovers the target."
    return f"{files}. Left of the slider is the input, right of it the output."


def _means(result: PairMetrics, same: PairMetrics | None) -> str:
    columns = [Column("what", "images compared with the targets")]
    columns += [
        Column(name, TITLES[name], better="lower" if name in SMALLER_IS_BETTER else "higher", decimals=4)
        for name in result.values
    ]
    rows = [{"what": "outputs", **result.means}, *([{"what": "inputs as they are", **same.means}] if same else [])]
    table = html_table(Table(tuple(columns), _finite(rows), over_seeds=False))
    ids = dict.fromkeys(protocol.id for protocol in result.protocols.values())
    facts = [Fact("pairs", str(len(next(iter(result.values.values()))))), *(Fact("protocol", id, True) for id in ids)]
    return f"{table}\n{fact_list(facts)}"


def _finite(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with text in place of an infinite PSNR."""
    plain = lambda value: "∞" if isinstance(value, float) and np.isinf(value) else value
    return [{key: plain(value) for key, value in row.items()} for row in rows]


def _controls(names: Sequence[str]) -> str:
    """The choice of the order."""
    if not names:
        return ""
    options = ['<option value="index|1">by name</option>']
    for name in names:
        worst, best = ("-1", "1") if name in SMALLER_IS_BETTER else ("1", "-1")
        options.append(f'<option value="{name}|{worst}">{TITLES[name]}, worst first</option>')
        options.append(f'<option value="{name}|{best}">{TITLES[name]}, best first</option>')
    return f'<p class="order"><label>Order <select id="order">{"".join(options)}</select></label></p>\n'


def _cards(pairs: Sequence[Pair], names: Sequence[str]) -> str:
    cards = []
    for index, pair in enumerate(pairs):
        values = "".join(
            f' data-{name.replace("_", "-")}="{pair.metrics[name]!r}"' for name in names if name in pair.metrics
        )
        numbers = "".join(
            f"<div><dt>{TITLES[name]}</dt><dd>{_number(name, pair.metrics[name]) if name in pair.metrics else '–'}</dd></div>"
            for name in names
        )
        first, *compared = pair.pictures if len(pair.pictures) == 3 else ((), *pair.pictures)
        alone = f'<div class="alone">{_image(cast(Any, first))}<span class="tag">input</span></div>' if first else ""
        left, right = compared
        cards.append(
            f'<figure class="card{"" if first else " single"}" data-index="{index}"{values}>\n<div class="views">{alone}'
            f'<div class="stage">{_image(right)}<div class="over">{_image(left)}</div><div class="cut"></div>'
            f'<span class="tag">{left[0]}</span><span class="tag right">{right[0]}</span>'
            f'<input type="range" min="0" max="100" value="50" step="0.5" aria-label="{left[0]} or {right[0]} of '
            f'{escape(pair.name)}"></div></div>\n'
            f"<figcaption>{escape(pair.name)}</figcaption>{f'<dl>{numbers}</dl>' if numbers else ''}</figure>"
        )
    return f'<div class="cards" id="cards">\n{chr(10).join(cards)}\n</div>'


def _number(name: str, value: float) -> str:
    """A metric as text: `23.41 dB`, `0.8123`."""
    if name == "psnr":
        return "∞" if np.isinf(value) else f"{value:.2f} dB"
    return f"{value:.4f}"


def _image(picture: tuple[str, str, int, int]) -> str:
    what, data, width, height = picture
    fine = " fine" if min(width, height) >= FINE_PX else ""
    return f'<img class="pixels{fine}" width="{width}" height="{height}" alt="{what}" src="{data}">'


def _picture(what: str, image: np.ndarray) -> tuple[str, str, int, int]:
    """An image `[H, W, C]`, or a label map `[H, W]` in colours, as a data URI, reduced where it is large."""
    if image.ndim == 2:
        image = _coloured(image)
    height, width = image.shape[:2]
    image = to_rgb(image[None], what)[0]
    if max(height, width) > LARGEST_PX:
        factor = LARGEST_PX / max(height, width)
        image = resize(image[None], (max(1, round(height * factor)), max(1, round(width * factor))))[0]
    if max(image.shape[:2]) <= LOSSLESS_PX:
        kind, data = "png", png_bytes(image)
    else:
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=90)
        kind, data = "jpeg", stream.getvalue()
    return what, f"data:image/{kind};base64,{base64.b64encode(data).decode()}", image.shape[1], image.shape[0]


def _coloured(labels: np.ndarray) -> np.ndarray:
    """A colour for each label: hues a golden angle apart, so that neighbours differ."""
    numbers, places = np.unique(labels, return_inverse=True)
    colours = [colorsys.hsv_to_rgb(int(n) * 0.618034 % 1, 0.65, 0.55 + 0.4 * (int(n) % 3) / 2) for n in numbers]
    return (np.array(colours)[places.reshape(labels.shape)] * 255).astype(np.uint8)


def _size(image: np.ndarray) -> str:
    return printable(f"{image.shape[0]} x {image.shape[1]}")


STYLE = """
.order { margin: 0 0 1rem; }
.order select { font: inherit; padding: 0.2rem 0.4rem; max-width: 100%; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.6rem 1.2rem; }
.card { min-width: 0; }
.views { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
.single .views { grid-template-columns: 1fr; }
.stage, .alone { position: relative; overflow: hidden; border-radius: 4px; align-self: start; }
.stage { --cut: 50%; }
.stage .over { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--cut)) 0 0); }
.stage .cut { position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 3px #000; pointer-events: none; }
.stage .cut::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; width: 1.5rem; height: 1.5rem;
  margin: -0.75rem 0 0 -0.75rem; border-radius: 50%; background: #fff; color: #14181f; box-shadow: 0 0 3px #000;
  text-align: center; font-size: 0.9rem; line-height: 1.5rem; }
.stage input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  touch-action: pan-y; }
.stage:focus-within { outline: 2px solid var(--series-1); outline-offset: 2px; }
.tag { position: absolute; top: 4px; left: 4px; padding: 0 0.35rem; border-radius: 3px; background: #000a; color: #fff;
  font-size: 0.72rem; line-height: 1.3rem; pointer-events: none; }
.tag.right { left: auto; right: 4px; }
.card figcaption { font-size: 0.88rem; margin-top: 0.35rem; overflow-wrap: anywhere; }
.card dl { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: 0.1rem 0 0; font-size: 0.84rem; }
.card dl div { display: flex; gap: 0.35rem; }
.card dt { color: var(--ink-2); }
.card dd { margin: 0; font-variant-numeric: tabular-nums; }
"""

SCRIPT = """
for (const slider of document.querySelectorAll(".stage input")) {
  const move = () => slider.parentElement.style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", move);
  move();
}
const order = document.getElementById("order");
if (order) {
  const cards = document.getElementById("cards");
  const sort = () => {
    const [name, sign] = order.value.split("|");
    const key = "data-" + name.replace("_", "-");
    const value = (card) => card.hasAttribute(key)
      ? sign * (card.getAttribute(key) === "inf" ? Infinity : parseFloat(card.getAttribute(key))) : Infinity;
    const rank = (card) => [value(card), Number(card.dataset.index)];
    const sorted = [...cards.children].sort((a, b) => {
      const [x, i] = rank(a), [y, j] = rank(b);
      return x === y ? i - j : x < y ? -1 : 1;
    });
    cards.append(...sorted);
  };
  order.addEventListener("change", sort);
  sort();
}
"""
