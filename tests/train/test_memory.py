from __future__ import annotations

import errno

import pytest

from gan_jax.config import ConfigError
from gan_jax.train.checkpoint import storage
from gan_jax.train.checkpoint.manager import Checkpointer, DamagedError
from gan_jax.train.compile import MemoryLimitError, check_platform, is_memory_limit, memory_limits
from tests.train.checkpoint_states import make_state, make_template


class XlaRuntimeError(RuntimeError):
    """Named as XLA's."""


OUT = XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.\nLong story")


def test_memory_that_ran_out_is_told_from_everything_else():
    caused = ValueError("no such chunk")
    caused.__cause__ = MemoryError()
    assert all(map(is_memory_limit, (MemoryError(), OSError(errno.ENOMEM, "x"), OUT, caused)))
    others = (ValueError("memory"), OSError(errno.ENOSPC, "x"), XlaRuntimeError("INTERNAL: x"), None)
    assert not any(map(is_memory_limit, others))


def test_it_is_one_sentence():
    with pytest.raises(MemoryLimitError) as caught, memory_limits("this run", "lower train.batch"):
        raise OUT
    assert str(caught.value) == (
        "too little memory for this run (RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.): lower train.batch"
    )
    with pytest.raises(KeyError), memory_limits("this run", "lower train.batch"):
        raise KeyError("x")


@pytest.mark.parametrize("error", [MemoryError(), OUT])
def test_a_checkpoint_that_does_not_fit_is_not_called_damaged(tmp_path, monkeypatch, error):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(100, make_state(1))

    def fails(path, paths):
        raise ValueError("unreadable") from error

    monkeypatch.setattr(storage, "_read_leaves", fails)
    with pytest.raises(MemoryLimitError, match="too little memory for checkpoint .*100 ") as caught:
        storage.read(tmp_path, make_template(), fallback=True)
    assert not isinstance(caught.value, DamagedError) and "not in question" in str(caught.value)


def test_a_platform_without_devices_is_one_sentence(monkeypatch):
    import jax

    def fails():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", fails)
    with pytest.raises(ConfigError, match="JAX finds no device of JAX_PLATFORMS=.*use JAX_PLATFORMS=cpu"):
        check_platform()
