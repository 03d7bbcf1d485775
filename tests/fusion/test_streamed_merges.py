"""Merges read and written leaf by leaf: what the merge of whole networks is, to the bit, in the memory of some leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import ResNetConfig
from gan_jax.fusion.merges import MERGES, merge
from gan_jax.fusion.merges.averages import merge_collections
from gan_jax.fusion.merges.leaves import MergeError
from gan_jax.fusion.merges.streamed import STREAMED, merge_streamed
from gan_jax.interop import WeightsError, load_weights
from gan_jax.interop.source import open_weights
from gan_jax.interop.weights import WEIGHTS
from gan_jax.nets.build import build
from gan_jax.tasks.model import load, save
from gan_jax.trees import flatten, unflatten
from tests.conftest import REPO
from tests.lanes import default_rows

NET = ResNetConfig(resolution=8, channels=1, z_dim=4, channel_base=64, channel_max=8)
NAMES = ("base", "a", "b", "c")
OPTIONS = {
    "average": {"weights": (1.0, 2.0, 4.0)}, "karcher": {"weights": (1.0, 2.0, 4.0)}, "slerp": {"t": 0.3},
    "ties": {"density": 0.5}, "dare_ties": {"density": 0.5, "lam": 0.7}, "dare_linear": {"density": 0.5},
    "task_arithmetic": {"lam": 0.4, "weights": (1.0, 0.5, -0.5)},
}  # fmt: skip


def drawn(net, seed):
    """Values of few sizes, so that votes are tied often; the networks' own shapes."""
    draw = np.random.default_rng(seed)
    flat = flatten(net.specs())
    return unflatten({p: draw.integers(-3, 4, x.shape).astype(x.dtype) / 2 for p, x in flat.items()}, like=net.specs())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made, pair = tmp_path_factory.mktemp("weights"), build(NET)
    for seed, name in enumerate(NAMES):
        save(made / name, NET, {"g_ema": drawn(pair.g, seed), "d": drawn(pair.d, 9 + seed)}, {"licence": "MIT"})
    return made


def sources(folder, *names):
    return [open_weights(str(folder / name)) for name in names]


def asked(kind):
    names = NAMES[1:3] if kind == "slerp" else NAMES[1:]
    return names, OPTIONS.get(kind, {}) | ({"key": jax.random.key(3)} if "key" in MERGES[kind].needs else {})


@pytest.mark.parametrize("kind", default_rows(STREAMED, ["ties"]))
def test_it_is_the_merge_of_whole_networks_to_the_bit(folder, tmp_path, kind):
    names, given = asked(kind)
    over = "base" in MERGES[kind].needs
    base = open_weights(str(folder / "base")) if over else None
    out = merge_streamed(tmp_path / "out", sources(folder, *names), kind, base=base, **given)
    got, manifest = load_weights(out)
    whole = [load_weights(folder / name)[0] for name in names]
    start = load_weights(folder / "base")[0]
    for root in ("g_ema", "d"):
        first = start[root] if over else whole[0][root]
        trees = [one[root]["params"] for one in whole]
        expected = {"params": merge(kind, trees, base=first["params"], **given)}
        shares = {"slerp": [0.7, 0.3]}.get(kind, None if over else given.get("weights"))
        expected |= merge_collections([one[root] for one in whole], first if over else None, shares)
        assert jax.tree.structure(got[root]) == jax.tree.structure(expected)
        for path, leaf in flatten(expected).items():
            np.testing.assert_array_equal(flatten(got[root])[path], leaf, err_msg=f"{root}/{path}")
    assert manifest["net"] == open_weights(str(folder / "a")).manifest["net"] and manifest["licence"] == "MIT"
    (step,) = manifest["history"]
    assert step["kind"] == "fuse" and set(step["shares"]) == {"g", "d"} and kind in step["words"]
    listed = [str(folder / name) for name in (names if over else names[1:])]
    assert [one["name"] for one in step["donors"]] == listed
    assert load(out).sample(jax.random.key(0), 2).shape == (2, 8, 8, 1)


def test_votes_are_of_the_whole_tree(folder):
    """Where a leaf is merged by itself, its ties are settled by its own signs: the test above needs this to matter."""
    names, given = asked("ties")
    whole = [load_weights(folder / name)[0]["d"]["params"] for name in names]
    base = load_weights(folder / "base")[0]["d"]["params"]
    together = flatten(merge("ties", whole, base=base, **given))
    alone = {
        path: flatten(
            merge("ties", [{"x": flatten(one)[path]} for one in whole], base={"x": flatten(base)[path]}, **given)
        )["x"]
        for path in together
    }
    assert any((np.asarray(alone[path]) != np.asarray(leaf)).any() for path, leaf in together.items())


@pytest.mark.parametrize("kind", ["fisher", "gradient_matching", "regmean", "greedy_soup", "layer_swap"])
def test_what_needs_more_than_a_leaf_is_refused(folder, tmp_path, kind):
    with pytest.raises(MergeError, match=rf"merge '{kind}' needs whole networks.*there are uniform, .*dare_ties"):
        merge_streamed(tmp_path / "out", sources(folder, "a", "b"), kind)


def test_donors_that_do_not_fit_leave_nothing_behind(folder, tmp_path):
    pair, out = build(NET), tmp_path / "out"
    tree = {"g_ema": drawn(pair.g, 5), "d": drawn(pair.d, 6)}

    def refused(error, match, *names, kind="uniform", **given):
        with pytest.raises(error, match=match):
            merge_streamed(out, [*sources(folder, "a"), *sources(tmp_path, *names)], kind, **given)
        assert not out.exists()

    wrong = dict(flatten(tree))
    path = next(p for p in wrong if p.startswith("d/params/") and p.endswith("/kernel"))
    wrong[path] = np.zeros((*wrong[path].shape[:-1], 5), np.float32)
    save(tmp_path / "shape", NET, unflatten(wrong), {})
    refused(MergeError, f"leaf '{path}' is .* in .*shape, .* in .*a", "shape")
    del wrong[path]
    save(tmp_path / "lacks", NET, unflatten(wrong), {})
    refused(MergeError, f"lacks lacks the leaf '{path}'", "lacks")
    save(tmp_path / "other", ResNetConfig(**{**vars(NET), "spectral_norm": not NET.spectral_norm})
         if hasattr(NET, "spectral_norm") else NET, tree, {"front": {"kind": "miner"}})  # fmt: skip
    refused(MergeError, "carries a front", "other")
    refused(MergeError, "slerp' is of 2 donors, but there are 3", "lacks", "lacks", kind="slerp")
    save(tmp_path / "whole", NET, tree, {})
    refused(MergeError, "needs 'base'", "whole", kind="ties")
    refused(MergeError, "takes no 'density'", "whole", density=0.5)
    refused(MergeError, "3 weights for 2 donors", "whole", kind="average", weights=(1.0, 1.0, 1.0))
    data = tmp_path / "whole" / WEIGHTS
    data.write_bytes(data.read_bytes()[:-4] + b"\x01\x02\x03\x04")
    refused(WeightsError, "is damaged", "whole")


def test_a_failure_leaves_older_weights_as_they_were(folder, tmp_path):
    out = merge_streamed(tmp_path / "out", sources(folder, "a", "b"), "uniform")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    broken = sources(folder, "a")[0]
    calls = []

    def read(path):
        calls.append(path)
        if len(calls) == 7:
            raise WeightsError("the disk is gone")
        return broken(path)

    with pytest.raises(WeightsError, match="the disk is gone"):
        merge_streamed(out, [*sources(folder, "b"), type(broken)("x", "x", broken.manifest, "x", read)], "uniform")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


FEW, MANY, ROWS, DONORS = 4, 24, 512, 5  # leaves of 1 MiB

PEAK = f"""
import json, sys
from gan_jax.fusion.merges import streamed
from gan_jax.interop.source import open_weights

status = lambda: dict(line.split(":", 1) for line in open("/proc/self/status"))
peaks = []
streamed.differences, streamed.Source.net = lambda a, b: [], None  # of leaves that are no network's
for leaves in ({FEW}, {MANY}):
    base, *others = [open_weights(f"{{sys.argv[1]}}/{{leaves}}_{{i}}") for i in range({DONORS})]
    streamed.merge_streamed(sys.argv[2], others, sys.argv[3], base=base)
    peaks.append(int(status()["VmHWM"].split()[0]) * 1024)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process where Linux keeps it")
@pytest.mark.parametrize("kind", default_rows(["ties", "karcher"], []))
def test_the_peak_does_not_grow_with_the_number_of_leaves(tmp_path, kind):
    """Networks of 4 and then of 24 MiB, five of each: what the larger ones need beyond the smaller is next to nothing."""
    from gan_jax.interop import save_weights

    for leaves in (FEW, MANY):
        for i in range(DONORS):
            one = np.full((ROWS, ROWS), float(i), np.float32)
            tree = {"d": {"params": {f"k{n:02}": one for n in range(leaves)}}}
            save_weights(tmp_path / f"{leaves}_{i}", tree, {"net": {}})
    command = [sys.executable, "-c", PEAK, str(tmp_path), str(tmp_path / "out"), kind]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)
    leaf = 4 * ROWS * ROWS
    assert many - few <= 12 * leaf, f"{(many - few) / leaf:.1f} leaves more; networks have {MANY - FEW} more each"
    assert load_weights(tmp_path / "out")[0]["d"]["params"]["k23"].shape == (ROWS, ROWS)


def test_at_most_a_leaf_of_each_is_alive(folder, tmp_path):
    """Counted: an array that is read lives no longer than its leaf is worked on."""
    import weakref

    alive, most = weakref.WeakSet(), []

    class Kept(np.ndarray):
        __hash__ = object.__hash__

    def watched(source):
        def read(path):
            array = np.asarray(source(path)).view(Kept)
            alive.add(array)
            most.append(len(alive))
            return array

        return type(source)(source.name, source.what, source.manifest, source.digest, read)

    merge_streamed(tmp_path / "out", [watched(one) for one in sources(folder, "a", "b", "c")], "karcher")
    assert len(most) > 3 * 20 and max(most) <= 2 * 3 + 1


def test_files_are_those_of_weights_that_are_saved_whole(folder, tmp_path):
    """The writer by itself: any dtype, an empty leaf, a number."""
    from gan_jax.interop import save_weights
    from gan_jax.interop.source import stream_weights

    draw = np.random.default_rng(0)
    flat = {
        "a/x": draw.normal(size=(3, 5)).astype(np.float32), "a/h": np.asarray(jnp.asarray([1.5, 2.0], jnp.bfloat16)),
        "b/flag": np.asarray([True, False, True]), "b/n": np.int32(7).reshape(()), "b/wide": draw.normal(size=3).T,
        "b/turned": draw.normal(size=(4, 2)).astype(np.float16).T, "b/u": np.arange(5, dtype=np.uint8),
    }  # fmt: skip
    about = {"licence": "MIT"}
    one = save_weights(tmp_path / "one", unflatten(flat), about)
    two = stream_weights(tmp_path / "two", flat, flat.__getitem__, about)
    (a, said_a), (b, said_b) = load_weights(one), load_weights(two)
    assert said_a["leaves"] == said_b["leaves"] and said_a["versions"] == said_b["versions"]
    for path, leaf in flatten(a).items():
        np.testing.assert_array_equal(flatten(b)[path], leaf)
    assert (one / WEIGHTS).stat().st_size // 64 == (two / WEIGHTS).stat().st_size // 64
    with pytest.raises(WeightsError, match=r"leaf 'x' is float32\[2\], and was to be float32\[3\]"):
        stream_weights(tmp_path / "c", {"x": np.zeros(3, np.float32)}, lambda path: np.zeros(2, np.float32), {})
    with pytest.raises(WeightsError, match="complex64.*do not hold"):
        stream_weights(tmp_path / "c", {"x": np.zeros(3, np.complex64)}, lambda path: None, {})
    with pytest.raises(WeightsError, match="no arrays"):
        stream_weights(tmp_path / "c", {}, lambda path: None, {})
    assert not (tmp_path / "c").exists()
