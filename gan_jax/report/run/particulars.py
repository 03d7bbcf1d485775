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
    """The log messages of the run."""
    if not run.notes:
        return paragraphs("The run kept no notes.")
    lines = [
        f"{at(row)}: {row['text']}" if is_number(row.get("images")) and row["images"] else row["text"]
        for row in run.notes
    ]
    counted = {line: lines.count(line) for line in lines}
    notes = [f"{line} ({count} times)" if count > 1 else line for line, count in counted.items()]
    rest = folded(f"All {len(notes)} notes", "\n".join(notes)) if len(notes) > 40 else ""
    return bullets(notes[:20] + notes[-20:] if rest else notes) + rest


def data_section(run: RunFolder) -> str:
    """The facts in data.json."""
    data = facts.data_facts(run)
    return fact_list(data) if data else paragraphs("The run did not record what it read (data.json).")


def configuration_section(run: RunFolder) -> str:
    """The changed options; the full configuration and package versions, folded."""
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
    """The commands that go on from the run."""

    def as_words(command: str) -> str:  # a phone breaks the line only between words
        return " ".join(f'<span class="word">{escape(word)}</span>' for word in command.split(" "))

    lines = [
        f"<dt>{escape(what)}</dt><dd><code>{as_words(command)}</code></dd>" for what, command in words.commands(run)
    ]
    return f'<dl class="facts">{"".join(lines)}</dl>'
