"""Small pieces of a run's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gan_jax.report.html import escape, paragraphs
from gan_jax.report.run.reading import one_line


def note(*sentences: str) -> str:
    """Sentences as one small paragraph; "" without any."""
    text = " ".join(filter(None, sentences))
    return f'<p class="note">{escape(text)}</p>' if text else ""


def guarded(make: Callable[[], str], what: str) -> str:
    """A section as HTML; where it fails, a sentence that says so."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  one part must not cost the page
        return paragraphs(f"{what} could not be shown: {one_line(error)}.")


def at(row: Mapping[str, Any]) -> str:
    """`After 2,048 images`."""
    return f"After {row['images']:,.0f} images"
