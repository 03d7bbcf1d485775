"""The laws of DESIGN about imports: they point left only, heavy packages load where they are used, no pickle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import REPO

PACKAGE = REPO / "gan_jax"

# The way data flows. A package may import itself and the packages to its left.
PACKAGES = ["trees", "config", "extras", "data", "nets", "presets", "losses", "augment", "metrics", "surgery", "interop",
            "train", "tasks", "fusion", "transfer", "report", "cli"]  # fmt: skip

ALIASES = {
    "documents": "trees",
    "files": "extras",
    "random_streams": "trees",
    "reserved": "trees",
    "roots": "trees",
    "seeds": "trees",
}  # files that count as part of a package

HEAVY = ["tensorflow_datasets", "tensorflow", "array_record", "grain", "orbax", "matplotlib", "tensorboardX", "PIL",
         "safetensors", "h5py", "tyro", "scipy.stats", "torch", "pandas", "onnx", "onnxruntime"]  # fmt: skip

FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return ALIASES.get(first.removesuffix(".py"), first.removesuffix(".py"))


def imports(path: Path, *, at_import: bool = False) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file; at_import leaves out those inside functions and TYPE_CHECKING."""

    def walk(node: ast.AST) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: write the whole name, not a relative import"
                # `from gan_jax import data` names a module, `from gan_jax.trees import flatten` a thing in one
                yield from ((child.lineno, f"{child.module}.{alias.name}") for alias in child.names)
            elif at_import and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            elif at_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            else:
                yield from walk(child)

    yield from walk(ast.parse(path.read_text(), str(path)))


def is_verb(path: Path) -> bool:
    """The files of verbs are made of tyro's annotations; cli/main.py imports one only when it was asked for."""
    return package_of(path) == "cli" and path.stem not in ("__init__", "main", "errors", "arguments")


def is_or_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_every_package_has_its_place():
    packages = {package_of(path) for path in FILES}
    assert packages <= {*PACKAGES, "__init__", "__main__"}, "a new package: name its place in PACKAGES"
    assert len(FILES) > 20


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_left(package):
    wrong = []
    for path in FILES:
        if package_of(path) != package:
            continue
        for line, module in imports(path):
            parts = module.split(".")
            if parts[0] != "gan_jax" or len(parts) < 2 or parts[1].startswith("__"):
                continue
            target = ALIASES.get(parts[1], parts[1])
            if target not in PACKAGES or PACKAGES.index(target) > PACKAGES.index(package):
                wrong.append(f"{path.relative_to(REPO)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_import_test_sees_a_wrong_import(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from gan_jax.cli import main\nimport gan_jax.train as t\n")
    assert list(imports(path)) == [(2, "gan_jax.cli.main"), (3, "gan_jax.train")]
    assert list(imports(path, at_import=True)) == [(3, "gan_jax.train")]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")


def import_graph(files: Mapping[str, Path], *, at_import: bool) -> dict[str, set[str]]:
    """Module -> the modules that it imports; `from a import b` is of the module `a.b` where there is one."""
    graph = {}
    for module, path in files.items():
        names = [name for _, name in imports(path, at_import=at_import)]
        found = {name if name in files else name.rpartition(".")[0] for name in names}
        graph[module] = (found & {*files}) - {module}
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules that all import one another, directly or through others."""

    def reached(start: str) -> set[str]:
        seen, left = set(), [start]
        while left:
            new = graph[left.pop()] - seen
            seen |= new
            left += new
        return seen

    reach = {module: reached(module) for module in graph}
    rings = {frozenset(other for other in reach[module] if module in reach[other]) for module in graph}
    return [set(ring) for ring in sorted(rings, key=sorted) if ring]


def test_no_modules_import_each_other():
    found = circles(import_graph({module_name(path): path for path in FILES}, at_import=True))
    assert not found, f"modules that import each other: {found}; move what both need below them, or join them"


def test_circles_through_functions_and_types_stay_in_a_folder():
    """Modules of one concept may know each other inside functions, and as types; others may not."""
    files = {module_name(path): path for path in FILES}
    found = circles(import_graph(files, at_import=False))
    wide = [ring for ring in found if len({files[module].parent for module in ring}) > 1]
    assert not wide, f"modules of several folders that import each other: {wide}"


def test_the_test_of_circles_sees_them(tmp_path):
    texts = {
        "gan_jax.a": "from gan_jax.b import x",
        "gan_jax.b": "import gan_jax.c",
        "gan_jax.c": "def f():\n    from gan_jax import a",
        "gan_jax.d": "from gan_jax import a",
    }
    files = {name: tmp_path / f"{name}.py" for name in texts}
    for name, path in files.items():
        path.write_text(texts[name])
    assert circles(import_graph(files, at_import=True)) == []
    assert circles(import_graph(files, at_import=False)) == [{"gan_jax.a", "gan_jax.b", "gan_jax.c"}]


def test_no_name_of_data_hides_a_module():
    """`import gan_jax.data.x as x` must give the module x, whatever the package exports."""
    from gan_jax import data

    assert not {path.stem for path in (PACKAGE / "data").glob("*.py")} & set(data.__all__)


def test_only_nets_import_linen():
    wrong = [f"{path.relative_to(REPO)}:{line}" for path in FILES if package_of(path) != "nets"
             for line, module in imports(path) if is_or_in(module, "flax.linen")]  # fmt: skip
    assert not wrong, f"only gan_jax/nets may import flax.linen: {wrong}"


def test_no_pickle():
    names = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
    wrong = [f"{path.relative_to(REPO)}:{line} imports {module}" for path in FILES for line, module in imports(path)
             if any(is_or_in(module, name) for name in names)]  # fmt: skip
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.append(f"{path.relative_to(REPO)}:{node.value.lineno} allows pickle")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_load_where_used(path):
    heavy_here = [name for name in HEAVY if not (name == "tyro" and is_verb(path))]
    wrong = [f"{path.name}:{line} imports {module}" for line, module in imports(path, at_import=True)
             if any(is_or_in(module, heavy) for heavy in heavy_here)]  # fmt: skip
    assert not wrong, "move into the function that uses it: " + ", ".join(wrong)


def run_bare(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter that knows nothing of this one."""
    return subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=120)


LOADED = f"print(sorted(m for m in {HEAVY!r} if m in sys.modules))"


def test_import_in_a_bare_process_loads_nothing_heavy():
    done = run_bare(f"import gan_jax, sys; {LOADED}")
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_every_module_loads_without_the_heavy_packages():
    """All modules are imported while the heavy packages cannot be: whoever needs one asks inside a function."""
    code = f"""
import importlib, pkgutil, sys
for name in {[name for name in HEAVY if name != "tyro"]!r}:
    sys.modules[name] = None  # import now raises ImportError
import gan_jax
for module in pkgutil.walk_packages(gan_jax.__path__, "gan_jax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    done = run_bare(code)
    assert done.returncode == 0, done.stderr


def test_advice_names_extras_that_exist():
    """Every `require(..., extra="x")` names an extra of pyproject.toml."""
    extras = set(tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {name: path for path in FILES for name in re.findall(r'extra="(\w+)"', path.read_text())}
    assert named and set(named) <= extras, {name: str(path) for name, path in named.items() if name not in extras}
