"""A run of two processes: one checkpoint of arrays that neither holds whole, and a data cursor of each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import REPO

WORKER = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
folder, port, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(f"localhost:{port}", 2, rank)
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from gan_jax.train.checkpoint.manager import Checkpointer

mesh = Mesh(np.asarray(jax.devices()), ("batch",))
everywhere, spread = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
values = np.arange(32, dtype=np.float32).reshape(8, 4)

def make(n):
    put = lambda x, s: jax.make_array_from_callback(x.shape, s, lambda i: x[i])
    key = jax.random.wrap_key_data(put(np.asarray([n, 7], np.uint32), everywhere))
    return {"whole": put(values + n, everywhere), "spread": put(values * n, spread), "key": key}

template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), make(0))
with Checkpointer(folder) as checkpointer:
    for n in (1, 2, 3):
        checkpointer.save(n * 100, make(n), cursor={"rank": rank, "pad": "x" * rank * 5})
    restored = checkpointer.restore(template, images=200)
    assert restored.cursor == {"rank": rank, "pad": "x" * rank * 5}
    for name, want in make(2).items():
        got = restored.state[name]
        assert got.sharding == want.sharding and got.dtype == want.dtype
        got, want = (jax.random.key_data(x) if name == "key" else x for x in (got, want))
        for a, b in zip(got.addressable_shards, want.addressable_shards):
            np.testing.assert_array_equal(a.data, b.data)
    checkpointer.save(300, make(30))
    checkpointer.wait()
    assert checkpointer.latest() == 300
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    folder = tmp_path / "checkpoints"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, folder, port, str(rank)],
            cwd=REPO,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [worker.communicate(timeout=120)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(said)
    assert sorted(p.name[:5] for p in folder.iterdir()) == ["200", "300", "aside"]
