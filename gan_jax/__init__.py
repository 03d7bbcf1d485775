"""gan_jax: transfer learning of GANs in JAX.

Three lines to a picture:

    import gan_jax
    model = gan_jax.load("embedded:fashion16")
    images = model.sample(0, 64)  # a seed, or a JAX key; uint8 [64, H, W, C]

A whole run: `run(Config(..), FOLDER)`, then `load(FOLDER)`, `evaluate`. Data: `load_data`. Which source: `rank_sources`.
Weights into another architecture, what became of each leaf, and what differs: `transplant_weights`, `provenance`, `diff`;
leaf by leaf: `make_plan`. Files of other programs: `import_file`, `export_file`.

Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_jax.config import Config
    from gan_jax.data import load as load_data
    from gan_jax.interop.exporters import export_file
    from gan_jax.interop.importers import import_file
    from gan_jax.surgery import make_plan
    from gan_jax.tasks.model import Model
    from gan_jax.transfer.diagnostics import rank_sources
    from gan_jax.transfer.models import load
    from gan_jax.transfer.run import evaluate_model as evaluate
    from gan_jax.transfer.run import plan_transfer, run
    from gan_jax.transfer.source import diff, provenance
    from gan_jax.transfer.weights import transplant_weights

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Model",
    "diff",
    "evaluate",
    "export_file",
    "import_file",
    "load",
    "load_data",
    "make_plan",
    "plan_transfer",
    "provenance",
    "rank_sources",
    "run",
    "transplant_weights",
]

_HOMES = {  # name -> module, and its name there where that is another
    "Config": "config",
    "Model": "tasks.model",
    "diff": "transfer.source",
    "evaluate": "transfer.run:evaluate_model",
    "export_file": "interop.exporters",
    "import_file": "interop.importers",
    "load": "transfer.models",
    "load_data": "data:load",
    "make_plan": "surgery",
    "plan_transfer": "transfer.run",
    "provenance": "transfer.source",
    "rank_sources": "transfer.diagnostics",
    "run": "transfer.run",
    "transplant_weights": "transfer.weights",
}
_ROOMS = {
    "augment", "config", "data", "fusion", "interop", "losses", "metrics", "nets", "presets", "report", "surgery", "tasks",
    "train", "transfer", "trees",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        module, _, there = _HOMES[name].partition(":")
        return getattr(importlib.import_module(f"gan_jax.{module}"), there or name)
    if name in _ROOMS:
        return importlib.import_module(f"gan_jax.{name}")
    import difflib

    near = difflib.get_close_matches(name, [*_HOMES, *_ROOMS], n=1)
    raise AttributeError(
        f"module 'gan_jax' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__", "__doc__", "__name__", "__file__", "__path__"})
