"""A whole run of a method on a tiny pair, killed and gone on with: to the bit what it is when nothing stops it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.config import MLPConfig
from gan_jax.nets import build
from gan_jax.tasks.model import load, save
from gan_jax.transfer.run import RunResult, run
from tests.train.checkpoint_states import assert_same
from tests.train.toy import images, run_config

NET = MLPConfig(resolution=16, channels=1, z_dim=4, g_widths=(8, 8), d_widths=(8, 8, 8))


class Stops:
    """Callbacks that break the run off."""

    class Broken(RuntimeError):
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None

    def row(self, row: dict[str, Any]) -> None:
        if row["images"] >= 96:
            raise self.Broken


def assert_resumes(transfer: Any, folder: Path, net: Any = NET) -> RunResult:
    """Runs 112 images whole, and 96 with the source gone afterwards; what is left are plain networks.

    Args:
      transfer: configuration of the method; its source is made here.
      folder: an empty one.
      net: of the pair.

    Returns:
      What the whole run left, in `folder / "whole"`.
    """
    np.savez(folder / "data.npz", images=images()[0])
    pair = build(net)
    variables = {"g_ema": pair.g.init(jax.random.key(0)), "d": pair.d.init(jax.random.key(1))}
    save(folder / "source", net, variables, {})
    config = dataclasses.replace(
        run_config(f"npz:{folder / 'data.npz'}", kimg=0.112),
        net=net, transfer=dataclasses.replace(transfer, source=str(folder / "source")),
    )  # fmt: skip
    whole = run(config, folder / "whole")
    with pytest.raises(Stops.Broken):
        run(config, folder / "cut", Stops())
    (folder / "source").rename(folder / "gone")  # a resumed run reads nothing of it
    assert_same(run(config, folder / "cut").state, whole.state)
    left = load(folder / "whole").variables
    for name in ("g_ema", "d"):
        want, got = (jax.tree_util.tree_structure(tree[name]["params"]) for tree in (variables, left))
        assert got == want, name
    return whole
