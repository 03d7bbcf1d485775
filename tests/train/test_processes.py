"""What can be said of runs of several processes without starting them; tests/transfer/test_processes.py starts them."""

from __future__ import annotations

import jax
import pytest

from gan_jax.config import ConfigError
from gan_jax.train.compile import choose_devices, compile_pmap
from gan_jax.train.processes import join

TOGETHER = {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


@pytest.fixture
def joined(monkeypatch):
    """What JAX was told, instead of waiting for processes that are not there."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: calls.append(args))
    for name in TOGETHER:
        monkeypatch.delenv(name, raising=False)
    return calls


def test_the_environment_says_who_the_others_are(joined, monkeypatch):
    for name, value in TOGETHER.items():
        monkeypatch.setenv(name, value)
    join()
    assert joined == [("localhost:1", 2, 1)]


@pytest.mark.parametrize("given", [{}, {"JAX_COORDINATOR_ADDRESS": "localhost:1"}])
def test_without_it_jax_looks_by_itself(joined, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    join()
    assert joined == [()]


@pytest.mark.parametrize("missing", list(TOGETHER))
def test_half_an_environment_is_refused(joined, monkeypatch, missing):
    for name, value in TOGETHER.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"not {missing}; set all three"):
        join()
    assert joined == []


def test_nobody_there_is_said(joined, monkeypatch):
    def fail():
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(ConfigError, match="coordinator_address.*set JAX_COORDINATOR_ADDRESS"):
        join()


@pytest.mark.parametrize(
    ("count", "batch", "says"), [(None, 12, "use a multiple of 8"), (4, 16, "2 processes have 8 together")]
)
def test_no_process_is_left_without_work(monkeypatch, count, batch, says):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match=says):
        choose_devices(count, batch)
    assert choose_devices(None, 16) == choose_devices(8, 16) == jax.devices()


def test_pmap_is_for_one_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="use jit for several"):
        compile_pmap(lambda **_: None, 1, jax.devices(), True)
