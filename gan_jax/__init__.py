"""gan_jax: transfer learning of GANs in JAX.

Three lines for a picture:

    import gan_jax
    model = gan_jax.load("embedded:fashion16")
    images = model.sample(0, 64)  # a seed, or a JAX key; uint8 [64, H, W, C]

All names that examples need are here: `from gan_jax import Config, ResNetConfig, run`.

A full run: `run(Config(..), FOLDER)`, then `load(FOLDER)`, `evaluate`. Ready configurations: `few_shot`, `preset`.
Data: `load_data`, `load_pairs`, `survey`. Choice of a source: `rank_sources`. A new method: `Method`, `Extension`,
`Regulariser`, `chain`.
Weights into another architecture, the origin of each leaf, and differences: `transplant`, `provenance`, `diff`; leaf by
leaf: `pair_rules`, `make_plan`. Files of other programs: `import_file`, `export_file`.

Every configuration class of `gan_jax.config` is here too. Modules are imported at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gan_jax.documents import VERSION

if TYPE_CHECKING:
    from gan_jax.config import *  # noqa: F403  every configuration, by its own name
    from gan_jax.config import Config, TransplantConfig
    from gan_jax.data import load as load_data
    from gan_jax.data import load_pairs, survey
    from gan_jax.fusion.merges import merge
    from gan_jax.interop import load_weights, save_weights
    from gan_jax.interop.exporters import export_file
    from gan_jax.interop.importers import import_file
    from gan_jax.nets import build
    from gan_jax.presets import preset
    from gan_jax.report.grids import labelled_grid, make_grid
    from gan_jax.surgery import make_plan, measure_pair, pair_rules
    from gan_jax.tasks.model import Model
    from gan_jax.tasks.sample import make_restatistics, make_sampler
    from gan_jax.train.extension import Extension
    from gan_jax.train.regularisers import Regulariser
    from gan_jax.train.trainer import Trainer
    from gan_jax.transfer.chain import chain
    from gan_jax.transfer.diagnostics import rank_sources
    from gan_jax.transfer.method import Method
    from gan_jax.transfer.models import load
    from gan_jax.transfer.recipes import few_shot
    from gan_jax.transfer.record import Callbacks
    from gan_jax.transfer.run import evaluate_model as evaluate
    from gan_jax.transfer.run import plan_transfer, run
    from gan_jax.transfer.source import diff, open_source, provenance
    from gan_jax.transfer.weights import transplant, transplant_weights

__version__ = VERSION
__all__ = [
    "Callbacks",
    "Config",
    "Extension",
    "Method",
    "Model",
    "Regulariser",
    "Trainer",
    "TransplantConfig",
    "build",
    "chain",
    "diff",
    "evaluate",
    "export_file",
    "few_shot",
    "import_file",
    "labelled_grid",
    "load",
    "load_data",
    "load_pairs",
    "load_weights",
    "make_grid",
    "make_plan",
    "make_restatistics",
    "make_sampler",
    "measure_pair",
    "merge",
    "open_source",
    "pair_rules",
    "plan_transfer",
    "preset",
    "provenance",
    "rank_sources",
    "run",
    "save_weights",
    "survey",
    "transplant",
    "transplant_weights",
]

_HOMES = {  # name -> module[:name there]; configuration classes are found by `_config_classes`
    "Callbacks": "transfer.record",
    "Config": "config",
    "Extension": "train.extension",
    "Method": "transfer.method",
    "Model": "tasks.model",
    "Regulariser": "train.regularisers",
    "Trainer": "train.trainer",
    "TransplantConfig": "config",
    "build": "nets",
    "chain": "transfer.chain",
    "diff": "transfer.source",
    "evaluate": "transfer.run:evaluate_model",
    "export_file": "interop.exporters",
    "few_shot": "transfer.recipes",
    "import_file": "interop.importers",
    "labelled_grid": "report.grids",
    "load": "transfer.models",
    "load_data": "data:load",
    "load_pairs": "data",
    "load_weights": "interop",
    "make_grid": "report.grids",
    "make_plan": "surgery",
    "make_restatistics": "tasks.sample",
    "make_sampler": "tasks.sample",
    "measure_pair": "surgery",
    "merge": "fusion.merges",
    "open_source": "transfer.source",
    "pair_rules": "surgery",
    "plan_transfer": "transfer.run",
    "preset": "presets",
    "provenance": "transfer.source",
    "rank_sources": "transfer.diagnostics",
    "run": "transfer.run",
    "save_weights": "interop",
    "survey": "data",
    "transplant": "transfer.weights",
    "transplant_weights": "transfer.weights",
}
_PACKAGES = {
    "augment", "config", "data", "fusion", "interop", "losses", "metrics", "nets", "presets", "report", "surgery", "tasks",
    "train", "transfer", "trees",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        module, _, target = _HOMES[name].partition(":")
        return getattr(importlib.import_module(f"gan_jax.{module}"), target or name)
    if name in _PACKAGES:
        return importlib.import_module(f"gan_jax.{name}")
    if name in (homes := _config_classes()):
        return getattr(importlib.import_module(homes[name]), name)
    import difflib

    near = difflib.get_close_matches(name, [*_HOMES, *_PACKAGES, *homes], n=1)
    raise AttributeError(
        f"module 'gan_jax' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    )


def __dir__() -> list[str]:
    return sorted(
        {*__all__, *_PACKAGES, *_config_classes(), "__version__", "__doc__", "__name__", "__file__", "__path__"}
    )


def _config_classes() -> dict[str, str]:
    """Configuration classes and their modules, read from the source text, since importing them would load JAX."""
    import re
    from pathlib import Path

    root = Path(__file__).parent
    modules = {
        ".".join(file.relative_to(root.parent).with_suffix("").parts): file for file in root.glob("config/**/*.py")
    }
    names = {
        module: re.findall(r"^class ([A-Z]\w+)", file.read_text("utf-8"), re.M) for module, file in modules.items()
    }
    return {name: module.removesuffix(".__init__") for module, members in names.items() for name in members}
