"""A method, a family of networks and a verb are added by one row each: to a copy of the package, which then uses them.

Beside its row, a method has a file and a configuration, a family a file of networks, one of layouts and a configuration,
a verb a file. Nothing else is touched: names on the command line, help, completion and JSON follow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

PACKAGE = REPO / "gan_jax"
REAL = ("", "config", "config/methods", "transfer", "transfer/methods", "nets", "surgery", "surgery/families", "cli")

ROWS = {  # file: (the line before which the row goes, the row)
    "config/methods/__init__.py": ('    "finetune": FinetuneConfig,\n', '    "pinned": PinnedConfig,\n'),
    "config/nets.py": ('    "mlp": MLPConfig,\n', '    "tiny": TinyConfig,\n'),
    "cli/main.py": ('        "demo": ', '        "greet": "say hello",\n'),
}
CONFIGS = {  # file: (the line before which the configuration goes, the configuration)
    "config/methods/whole.py": (
        "@dataclasses.dataclass(frozen=True)\nclass FreezeDConfig",
        '''@dataclasses.dataclass(frozen=True)
class PinnedConfig(FinetuneConfig):
    """Keep one layer of G as it is."""

    layer: str = "to_rgb"  # the layer that stays


''',
    ),
    "config/nets.py": (
        "NETS: dict",
        '''@dataclasses.dataclass(frozen=True)
class TinyConfig(NetFamily):
    """Fully connected pair of a fixed depth."""

    num_classes: ClassVar[int] = 0
    g_slope: ClassVar[float] = 0.0
    d_slope: ClassVar[float] = 0.2
    bounded: ClassVar[bool] = True

    resolution: int = 8  # height and width, px
    channels: int = 1  # 1 grey, 3 RGB
    z_dim: int = 4  # latent size
    hidden: int = 6  # width of the one hidden layer of G and of D
    dtype: Literal["float32", "bfloat16"] = "float32"  # compute dtype

    @property
    def g_widths(self) -> tuple[int, ...]:
        return (self.hidden,)

    d_widths = g_widths

    def problems(self) -> Iterator[str]:
        if self.hidden < 1:
            yield f"net.hidden is {self.hidden}; use at least 1"


''',
    ),
}
FILES = {
    "transfer/methods/pinned.py": """
from gan_jax.transfer.method import Method, networks_of


def make(config, pair):
    return Method(starts=tuple(networks_of(config.networks)), frozen=(f"g/params/{config.layer}/**",))
""",
    "nets/tiny.py": """
from gan_jax.nets.build import Pair, example_inputs, make_net
from gan_jax.nets.mlp import Discriminator, Generator


def make(config, axis_name):
    g, d = example_inputs(config)
    nets = make_net(Generator(config), g), make_net(Discriminator(config), d)
    return Pair(*nets, config, ("fc0",), ("fc0",), ("head",))
""",
    "surgery/families/tiny.py": "from gan_jax.surgery.families.mlp import discriminator, generator, layouts  # noqa: F401\n",
    "cli/greet.py": '''
from __future__ import annotations

import dataclasses
from typing import ClassVar

from gan_jax.cli.arguments import parse


@dataclasses.dataclass(frozen=True)
class Greet:
    """Say hello."""

    name: str = "you"  # to whom

    examples: ClassVar[tuple[str, ...]] = ("gan-jax greet --name Ada",)


def main(argv):
    print("hello", parse(Greet, argv, verb="greet").name)
    return 0
''',
}
USE = """
import json
from pathlib import Path

import jax

from gan_jax.cli.main import main
from gan_jax.config import Config, PinnedConfig, TinyConfig, from_dict, to_dict
from gan_jax.nets import build
from gan_jax.tasks.model import save

config = Config(net=TinyConfig(hidden=5), transfer=PinnedConfig(layer="fc0"))
values = to_dict(config)
assert (values["net"]["kind"], values["transfer"]["kind"]) == ("tiny", "pinned"), values
assert from_dict(Config, json.loads(json.dumps(values))) == config
pair = build(TinyConfig())
save(Path("w"), TinyConfig(), {"g_ema": pair.g.init(jax.random.key(0)), "d": pair.d.init(jax.random.key(1))}, {})
assert json.loads(Path("w/manifest.json").read_text())["net"]["kind"] == "tiny"
for line in (
    "--help",
    "greet --help",
    "greet --name Ada",
    "--completion bash",
    "transfer --help-all --net tiny --method pinned",
    "plan --net tiny --net.hidden 9 --method pinned --transfer.source w --plan full",
    "sample w --n 4 --out w.png",
):
    print("==", line, flush=True)
    code = main(line.split())
    assert code == 0, (line, code)
for line in ("plan --net tiny --net.hidden 0 --transfer.source w", "train --transfer.layer x"):
    print("==", line, flush=True)
    assert main(line.split()) == 2
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with the rows: folders that stay as they are, and their compiled files, are links."""
    place = tmp_path_factory.mktemp("rows")
    for folder in REAL:
        (place / "gan_jax" / folder).mkdir()
        for path in (PACKAGE / folder).iterdir():
            name = path.relative_to(PACKAGE)
            if str(name) not in REAL and path.name != "__pycache__":
                (place / "gan_jax" / name).symlink_to(path)
    return place


def insert(place: Path, name: str, before: str, text: str) -> None:
    path = place / "gan_jax" / name
    old = path.read_text()
    assert old.count(before) == 1, (name, before)
    path.unlink()  # a link to the file of the repository, the first time
    path.write_text(old.replace(before, text + before))


def test_a_row_each(copy):
    for name, (before, text) in CONFIGS.items():
        insert(copy, name, before, text)
    for name, (before, row) in ROWS.items():
        assert row.count("\n") == 1
        insert(copy, name, before, row)
    for name, text in FILES.items():
        path = copy / "gan_jax" / name
        assert not path.exists()
        path.write_text(text)
    changed = {str(p.relative_to(copy / "gan_jax")) for p in (copy / "gan_jax").rglob("*.py") if not p.is_symlink()}
    changed = {name for name in changed if not (copy / "gan_jax" / Path(name).parent).is_symlink()}
    assert changed == {*ROWS, *CONFIGS, *FILES}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=copy, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    parts = dict(part.partition("\n")[::2] for part in done.stdout.split("== ")[1:])
    assert re.search(r"\n  greet +say hello\n", parts["--help"])
    assert "--name STR" in parts["greet --help"] and "gan-jax greet --name Ada" in parts["greet --help"]
    assert parts["greet --name Ada"] == "hello Ada\n"
    completion = parts["--completion bash"]
    assert " greet " in completion and " pinned" in completion and " tiny" in completion
    page = parts["transfer --help-all --net tiny --method pinned"]
    assert "--net.hidden INT" in page and "--transfer.layer STR" in page
    plan = parts["plan --net tiny --net.hidden 9 --method pinned --transfer.source w --plan full"]
    assert "g/params/to_rgb/kernel" in plan and "frozen" in plan
    assert "net.hidden is 0; use at least 1" in done.stderr
    assert "there is no option --transfer.layer here: it belongs to --method pinned" in done.stderr
