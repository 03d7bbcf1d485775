"""The promise about memory: one copy of the target, and what one leaf is made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gan_jax.surgery import PlanError, make_plan, transplant
from tests.conftest import REPO

LEAVES, ROWS, NARROW = 26, 1024, 768  # 26 leaves of 4 MiB: half are copied, half widened from 3 MiB

PEAK = f"""
import json, sys
import jax, numpy as np
from gan_jax.interop.source import open_weights
from gan_jax.surgery import make_plan, transplant

LEAVES, ROWS, NARROW = {LEAVES}, {ROWS}, {NARROW}
status = lambda: dict(line.split(":", 1) for line in open("/proc/self/status"))
memory = lambda name: int(status()[name].split()[0]) * 1024
source = open_weights(sys.argv[1])
target = {{"g": {{f"k{{i:02}}": jax.ShapeDtypeStruct((ROWS, ROWS), np.float32) for i in range(LEAVES)}}}}
plan = make_plan(target, source.specs, shape="adapt")
before = memory("VmRSS")
fresh = {{f"g/k{{i:02}}": np.full((ROWS, ROWS), 7, np.float32) for i in range(1, LEAVES, 2)}}
tree, report = transplant(plan, source, target, init=fresh.pop, digests=source.digests)
print(json.dumps({{"peak": memory("VmHWM") - before, "kinds": sorted({{row.op for row in report.rows}}), "left": len(fresh),
                   "sum": float(tree["g"]["k03"][:, -1].sum())}}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process where Linux keeps it")
def test_a_large_tree_takes_one_copy_of_the_target_and_one_leaf(tmp_path):
    """109 MB of results from a lazily read file; fresh values are let go of as they are used."""
    from gan_jax.interop import save_weights

    one, narrow = np.ones((ROWS, ROWS), np.float32), np.ones((ROWS, NARROW), np.float32)
    save_weights(tmp_path / "w", {"g": {f"k{i:02}": narrow if i % 2 else one for i in range(LEAVES)}}, {})
    command = [sys.executable, "-c", PEAK, str(tmp_path / "w")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kinds"] == ["copy", "widen"] and found["left"] == 0 and found["sum"] == 7 * ROWS
    target, leaf = LEAVES * one.nbytes, one.nbytes
    assert target <= found["peak"] <= target + 4 * leaf, f"{found['peak'] / leaf:.1f} leaves, the target has {LEAVES}"


def test_fresh_values_are_asked_for_once_and_only_where_they_are_read():
    import jax

    small, large = {"a": np.ones(3, np.float32), "b": np.ones(2, np.float32)}, {"a": (3,), "b": (4,), "c": (2,)}
    spec = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in large.items()}
    plan = make_plan(spec, small, shape="adapt", missing="init")
    fresh = {name: np.full(shape, 7, np.float32) for name, shape in large.items()}
    asked = []
    out, _ = transplant(plan, small, spec, init=lambda path: asked.append(path) or fresh[path])
    assert asked == ["b", "c"]
    jax.tree.map(np.testing.assert_array_equal, out, {"a": [1, 1, 1], "b": [1, 1, 7, 7], "c": [7, 7]})
    assert all(isinstance(x, np.ndarray) for x in out.values()), "a spec without a sharding stays on the host"
    mixed, _ = transplant(plan, small, {**fresh, "a": spec["a"]})
    jax.tree.map(np.testing.assert_array_equal, mixed, out)
    with pytest.raises(PlanError, match="widen reads the fresh value of target leaf 'b', which is only a shape here"):
        transplant(plan, small, spec)
    with pytest.raises(PlanError, match=r"the fresh value for 'b' is float32\[3\], but the plan says float32\[4\]"):
        transplant(plan, small, spec, init=lambda path: fresh["a"])


def test_known_digests_are_taken_for_what_was_read():
    tree = {"a": np.ones(3, np.float32)}
    _, report = transplant(make_plan(tree, tree), tree, tree, digests={"a": "ab" * 32})
    assert report.rows[0].sources == {"a": "ab" * 32} and report.rows[0].digest == "ab" * 32
