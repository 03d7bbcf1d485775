"""The last sections of a run's page: notes, data, configuration, commands."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gan_jax.report.html import bullets, escape, fact_list, folded, paragraphs
from gan_jax.report.run import facts, words
from gan_jax.report.run.folder import RunFolder
from gan_jax.report.run.parts import at
from gan_jax.report.run.reading import is_number
from gan_jax.report.table import Column, Table, html_table


def notes_section(run: RunFolder) -> str:
    """What the run said on its way."""
    if not run.notes:
        return paragraphs("The run kept no notes.")
    lines = [
        f"{at(row)}: {row['text']}" if is_number(row.get("images")) and row["images"] else row["text"]
        for row in run.notes
    ]
    shown = [f"{line} ({lines.count(line)} times)" if lines.count(line) > 1 else line for line in dict.fromkeys(lines)]
    rest = folded(f"All {len(shown)} notes", "\n".join(shown)) if len(shown) > 40 else ""
    return bullets(shown[:20] + shown[-20:] if rest else shown) + rest


def data_section(run: RunFolder) -> str:
    """What is known of the images."""
    found = facts.data_facts(run)
    if not found:
        return paragraphs("The run did not record what it read (data.json).")
    return fact_list(found)


def configuration_section(run: RunFolder) -> str:
    """What differs from the defaults, the whole of it and versions, folded."""
    changed = facts.changed_options(run)
    if changed is None:
        out = paragraphs("This version cannot read the configuration; it is shown as it was written.")
    elif not changed:
        out = paragraphs("Every option has its default.")
    else:
        columns = (Column("option", code=True), Column("value", code=True), Column("default", code=True))
        rows = [{"option": option, "value": value, "default": default} for option, value, default in changed]
        caption = "Options that differ from the defaults of these networks and this method."
        out = html_table(Table(columns, rows, caption))
    out += folded("The whole configuration", json.dumps(facts.configuration(run), indent=2, ensure_ascii=False))
    versions = run.record.get("versions")
    if isinstance(versions, Mapping):
        out += folded("Package versions", "\n".join(f"{name}=={version}" for name, version in versions.items()))
    return out


def commands_section(run: RunFolder) -> str:
    """What to type next."""
    words_of = lambda command: " ".join(f'<span class="word">{escape(word)}</span>' for word in command.split(" "))
    lines = [
        f"<dt>{escape(what)}</dt><dd><code>{words_of(command)}</code></dd>" for what, command in words.commands(run)
    ]
    return f'<dl class="facts">{"".join(lines)}</dl>'
