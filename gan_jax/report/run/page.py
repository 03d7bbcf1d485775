"""The page of one run: what its folder holds, newly drawn images, and the training images nearest to them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_jax.config import ConfigError
from gan_jax.report.files import write_atomically
from gan_jax.report.html import escape, fact_list, paragraphs, render_page, tiles
from gan_jax.report.run import facts, findings, particulars, sections, words
from gan_jax.report.run.folder import RunFolder, read_run
from gan_jax.report.run.parts import guarded, note
from gan_jax.report.run.pictures import Drawn, moments, newest
from gan_jax.report.run.reading import attempt
from gan_jax.report.run.training_images import Neighbours, Space, neighbours
from gan_jax.transfer.record import GRID_IMAGES

PAGE = "report.html"
OURS = b"Written by gan_jax."  # in the foot of every page


def write_run_page(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    n: int = 256,
    space: Space = "auto",
    flops: bool = False,
    quick: bool = False,
) -> Path:
    """Writes the page of a run folder; returns its path.

    Args:
      folder: of the run, finished or not.
      out: the file; None = `report.html` in the folder.
      n: generated images whose nearest training images are searched, at least as many as a sample grid has.
      space: in which their distances are measured.
      flops: also count the operations of a step, which traces it.
      quick: draw nothing and read no data: only what the folder holds.

    Raises:
      ConfigError: no run, or a file at `out` that is no page of ours.
    """
    run = read_run(folder)
    path = page_path(Path(folder) / PAGE if out is None else Path(out))
    drawn, lost = None, list[str]()
    if not quick:
        drawn = newest(run, max(n, GRID_IMAGES), lost)
    pictures = moments(run, drawn, lost)
    newest_drawn = drawn or (pictures[-1] if pictures else None)
    nearest = None if quick else neighbours(run, newest_drawn, space)
    operations = attempt(lambda: _flops(run), "the operations of a step", lost) if flops else None
    return write_atomically(
        path, render_run(run, pictures, newest_drawn, nearest, lost, operations).encode("utf-8", "replace")
    )


def render_run(
    run: RunFolder,
    pictures: list[Drawn],
    newest_drawn: Drawn | None,
    nearest: Neighbours | None,
    lost: list[str],
    flops: float | None = None,
) -> str:
    """The page as text.

    Args:
      run: what the folder holds.
      pictures: generated images over time.
      newest_drawn: generated images whose neighbours were searched.
      nearest: their neighbours; None = not searched.
      lost: sentences about what could not be drawn.
      flops: operations of a step; None = not counted.
    """

    def section(render: Callable[..., str], what: str, *args: Any) -> str:
        return guarded(lambda: render(run, *args), what)

    def costs(run: RunFolder) -> str:
        hint = "" if flops is not None else note("Operations of a step are counted by gan-jax report --flops.")
        return fact_list(facts.costs(run, flops)) + hint

    memory = guarded(lambda: findings.memory_section(nearest, newest_drawn), "Nearest training images")
    parts = [
        ("run", "What was run", section(sections.run_section, "What was run")),
        ("pictures", "Pictures over time", section(sections.pictures_section, "Pictures", pictures, lost)),
        ("results", "Evaluations", section(sections.results_section, "Evaluations")),
        ("curves", "Curves", section(sections.curves_section, "Curves")),
        ("diagnoses", "Does anything look wrong?", section(findings.diagnoses_section, "Diagnoses")),
        ("memory", "Does it copy its training images?", memory),
        ("start", "Where it started", section(findings.start_section, "The start")),
        ("fusion", "What the preparation found", section(findings.fusion_section, "The preparation")),
        ("cost", "What it cost", section(costs, "Costs")),
        ("notes", "What the run said", section(particulars.notes_section, "Notes")),
        ("data", "Data", section(particulars.data_section, "Data")),
        ("configuration", "Configuration", section(particulars.configuration_section, "The configuration")),
        ("next", "How to go on", section(particulars.commands_section, "Commands")),
    ]
    top = paragraphs(words.lead(run), "lead") + "\n" + tiles(words.highlights(run))
    command = escape(f"gan-jax report {shlex.quote(str(run.path))}")
    return render_page(words.title(run), top, parts, f"<p>Made again by <code>{command}</code>.</p>")


def page_path(path: Path) -> Path:
    """The path, if a page may be written there.

    Raises:
      ConfigError: another ending, or a file there that is no page of ours.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {path} is no page; give it the ending .html")
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it: --out {path / PAGE}")
    for parent in path.absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise ConfigError(f"--out {path} lies below {parent}, which is a file; use another folder")
    if path.exists() and OURS not in path.read_bytes():
        raise ConfigError(f"--out {path} is a file that gan-jax did not write; use another name, or move it away")
    return path


def _flops(run: RunFolder) -> float:
    from gan_jax.nets import build
    from gan_jax.transfer.methods import make_method
    from gan_jax.transfer.trainers import step_flops

    if run.config is None:
        raise ValueError("the configuration cannot be read")
    return step_flops(run.config, make_method(run.config.transfer, build(run.config.net)))
