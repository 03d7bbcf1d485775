"""What the documentation's builder does beside its plugins.

The experiments' READMEs and pictures become pages of the site, where they already lie in the repository. A page of docs/
links to them as a reader of the repository would (`../experiments/x/README.md`); the link is turned to the site's copy.
The page of the command line is made of the help texts themselves.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
SHOWN = (".md", ".png", ".py")  # what READMEs of experiments link to


def on_files(files: Files, config: Any) -> Files:
    """Adds the experiments' pages, and the page of the command line."""
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in SHOWN and path.is_file():
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links out of docs/ into links within the site."""
    depth = page.file.src_uri.count("/")
    return re.sub(r"\]\(((?:\.\./)+)experiments/", lambda _: f"]({'../' * depth}experiments/", markdown)


def command_line() -> str:
    """Makes the page of the command line: every verb with its help, as it is printed."""
    sys.path.insert(0, str(ROOT))
    from gan_jax.cli.main import VERBS, main, overview

    parts = ["# The command line", "```text", overview().rstrip(), "```"]
    os.environ["COLUMNS"] = "96"  # what fits the page
    for verb in VERBS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = main([verb, "--help"])
        if code:
            raise RuntimeError(f"gan-jax {verb} --help ended with {code}")
        parts += [f"## gan-jax {verb}", "```text", printed.getvalue().rstrip(), "```"]
    return "\n".join(parts)
