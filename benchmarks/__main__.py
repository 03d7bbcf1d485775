"""`python -m benchmarks [NAME ...] [--out FOLDER] [--markdown] [--peer FOLDER]`.

Prints one table for each benchmark, and writes one JSON file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import Any

import benchmarks


def main() -> None:
    """Runs the named benchmarks, or all."""
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(known)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the JSON files")
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown, for a README")
    parser.add_argument("--peer", metavar="FOLDER", help="clone of a peer, beside which `translation` is timed")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(known)}")
    for name in args.names or known:
        module = importlib.import_module(f"benchmarks.{name}")
        if args.peer is not None and hasattr(module, "PEER"):
            module.PEER = args.peer
        rows = module.run()
        show(module.TITLE, rows, args.markdown)
        args.out.mkdir(parents=True, exist_ok=True)
        record = {"benchmark": name, "title": module.TITLE, "machine": machine(), "rows": rows}
        path = args.out / f"{name}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"wrote {path}\n")


def machine() -> dict[str, Any]:
    """The facts that timings depend on: device, cores, versions."""
    import jax

    device = jax.devices()[0]
    versions = {"jax": jax.__version__, "jaxlib": jax.lib.__version__}
    return {"device": device.device_kind, "platform": device.platform, "cores": os.cpu_count(), "versions": versions}


def show(title: str, rows: list[dict[str, Any]], markdown: bool = False) -> None:
    """Prints rows as one table."""
    from gan_jax.report.table import Column, Table, markdown_table, print_table

    table = Table(tuple(Column(key) for key in rows[0]), rows)
    print(f"{title}\n\n{markdown_table(table)}") if markdown else print_table(table, title)


if __name__ == "__main__":
    main()
