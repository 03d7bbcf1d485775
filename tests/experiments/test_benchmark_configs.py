"""The configurations of the benchmarks name methods that can run: those of one source, and fusions that have donors."""

from __future__ import annotations

import dataclasses

import pytest

from gan_jax.cli.arguments import load_experiment
from gan_jax.config import FUSIONS, METHOD_NAMES
from gan_jax.transfer.benchmark import BenchmarkConfig
from tests.conftest import REPO


def methods_of(*path):
    config = load_experiment(REPO.joinpath("experiments", *path), BenchmarkConfig).validate()
    return config, {name: type(one) for name, one in config.methods.items()}


def test_every_method_of_one_source_is_compared():
    _, found = methods_of("transfer_benchmark", "config.py")
    assert set(found) == set(METHOD_NAMES) - FUSIONS - {"nada", "preserve", "chain"} and len(found) == 19


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_a_fusion_wants_donors_and_has_none_by_default(name):
    assert METHOD_NAMES[name]().donors == ()


@pytest.mark.parametrize("file", ["config", "long", "four", "kmnist", "across", "foreign"])
def test_every_fusion_is_compared_and_has_donors(file):
    config, found = methods_of("fusion", f"{file}.py")
    assert {METHOD_NAMES[name] for name in FUSIONS} <= set(found.values()) or file != "config"
    assert config.baseline == "finetune" and "gradient" in found
    for name, one in config.methods.items():
        fields = {field.name for field in dataclasses.fields(one)}
        assert "donors" not in fields or one.donors, name
