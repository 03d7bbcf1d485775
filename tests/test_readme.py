"""What the README and the guide show is what happens."""

import ast
import json
import re
import types
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}


PAGES = {"README": README, **GUIDE}
EXAMPLES = [(name, text) for name, page in PAGES.items() for text in re.findall(r"```python\n(.*?)```", page, re.S)]
NAMES = [f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)]


def imported(text):
    """Modules of gan_jax that a text of Python imports from."""
    nodes = list(ast.walk(ast.parse(text)))
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {module for module in modules if module.split(".")[0] == "gan_jax"}


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=NAMES)
def test_examples_import_from_gan_jax_alone(name, text):
    assert imported(text) == {"gan_jax"}


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_import_from_gan_jax_alone(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert set().union(*(imported("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code")) == {
        "gan_jax"
    }


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=NAMES)
def test_examples_run(name, text, monkeypatch, capsys):
    """All but the training, for which a stub stands; the plan of the transplant is what the page shows."""
    from gan_jax.transfer import run

    result = types.SimpleNamespace(protocol=types.SimpleNamespace(id="fashion-v1"), evaluation={})
    monkeypatch.setattr(run, "run", lambda config, folder, **options: config.validate() and result)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        exec(compile(text, name, "exec"), {"__name__": "__main__"})  # noqa: S102  our own text
    if "print(grown.plan)" not in text:
        return
    lines = capsys.readouterr().out.splitlines()
    assert sum("preserved: largest difference" in line for line in lines) == 2
    (table,) = re.findall(r"```text\n(target .*?)```", GUIDE["transplanting"], re.S)
    for line in table.strip().splitlines():
        assert line == "..." or line.split() in [shown.split() for shown in lines]


def test_the_method_of_ones_own_does_what_is_said_of_it(monkeypatch):
    from gan_jax.config import FinetuneConfig
    from gan_jax.nets.build import build
    from tests.train.toy import build_toy
    from tests.transfer.methods import conformance as ask

    (example,) = re.findall(r"```python\n(import jax.numpy.*?)```", GUIDE["transfer-methods"], re.S)
    assert example.count("\n") <= 34  # of which the imports and the last two lines are not the method
    there: dict = {"__name__": "example"}
    exec(compile(example, "transfer-methods.md", "exec"), there)  # noqa: S102  our own text
    monkeypatch.setattr("gan_jax.nets.resnet.make", build_toy)
    config = ask.make_config(FinetuneConfig())
    method = there["stay_near"](config.transfer, build(config.net))
    begun = ask.begin(config, method)
    ask.assert_identity(begun)
    ask.assert_only(begun, lambda path: "/from_rgb/" not in path)
    assert begun.after(2)[1]["distance"] > 0


def test_three_lines_give_images():
    import gan_jax

    images = gan_jax.load("embedded:fashion16").sample(jax.random.key(0), 4)
    assert images.shape == (4, 16, 16, 1) and images.dtype.name == "uint8" and images.std() > 20


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_readme_is_short():
    assert len(README.splitlines()) < 150


COMMANDS = re.findall(r"`(gan-jax \w+ [^`]*)`", GUIDE["transplanting"])


@pytest.mark.parametrize("command", [c for c in COMMANDS if "embedded:fashion16" in c and " transplant " in c])
def test_transplants_of_the_table_can_be_planned(command, tmp_path, capsys, monkeypatch):
    """Every one parses and has a plan; tests/transfer carries such plans out."""
    from gan_jax.cli.main import main
    from gan_jax.transfer import weights

    def stop(source, plan, pair, target, **options):
        raise weights.WeightsError(f"planned {len(plan.entries)} leaves")

    monkeypatch.setattr(weights, "fill", stop)
    assert main(command.split()[1:]) == 2
    assert " leaves" in capsys.readouterr().err
