"""The command line: `gan-jax VERB ...`, one file per verb, each with `main(argv) -> exit code`."""

from __future__ import annotations


def module_of(verb: str) -> str:
    """The module of a verb: `gan_jax.cli.rank_sources`; of one that is a word of Python's, `import_weights`."""
    return f"gan_jax.cli.{'import_weights' if verb == 'import' else verb.replace('-', '_')}"
