"""gan_jax: transfer learning of GANs in JAX.

Three lines to a picture:

    import gan_jax, jax
    model = gan_jax.load("embedded:fashion16")
    images = model.sample(jax.random.key(0), 64)  # uint8 [64, H, W, C]

Weights into another architecture, what became of each leaf, and what differs: `transplant_weights`, `provenance`, `diff`.
Files of other programs: `import_file`, `export_file`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_jax.interop.exporters import export_file
    from gan_jax.interop.importers import import_file
    from gan_jax.tasks.model import Model, load
    from gan_jax.transfer.source import diff, provenance
    from gan_jax.transfer.weights import transplant_weights

__version__ = "0.1.0"
__all__ = ["Model", "diff", "export_file", "import_file", "load", "provenance", "transplant_weights"]

_HOMES = {
    "diff": "transfer.source",
    "export_file": "interop.exporters",
    "import_file": "interop.importers",
    "provenance": "transfer.source",
    "transplant_weights": "transfer.weights",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib

        return getattr(importlib.import_module(f"gan_jax.{_HOMES.get(name, 'tasks.model')}"), name)
    raise AttributeError(f"module 'gan_jax' has no attribute {name!r}")
