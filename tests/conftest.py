"""What every test runs under: eight CPU devices, no silent rank or dtype promotion, warnings as errors (pyproject)."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import pytest

# Tests are for CPUs unless told otherwise: JAX_PLATFORMS=cuda pytest -m gpu
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Compiling is what these tests wait for, and XLA does it in half the time where little is optimised. As users compile,
# but for the folders of whole steps: GAN_JAX_TEST_OPTIMISED=1. A program in one part costs a sixth less than in many.
CHEAP = os.environ["JAX_PLATFORMS"] == "cpu" and os.environ.get("GAN_JAX_TEST_OPTIMISED") != "1"
if CHEAP and metadata.version("jaxlib").startswith("0.10."):  # an XLA that does not know a flag ends the process
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")

import jax  # noqa: E402

# Before the first device is asked for. A config value, not XLA_FLAGS: child processes must not inherit it.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_disable_most_optimizations", CHEAP)  # here, so that fixtures of modules are cheap too
# Every program goes into the folder of `pytest_configure`.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
# XLA's own caches put the folder into the options of every program, and so into its key.
jax.config.update("jax_persistent_cache_enable_xla_caches", "none")

# Programs do not say which line each operation comes from, which makes them a tenth cheaper to lower and to compile.
jax.config.update("jax_traceback_in_locations_limit", 0)

# Tracing makes many small objects, and every collection asks XLA too: rarer ones save a seventh of what tracing costs.
gc.set_threshold(200_000, 20, 50)

from gan_jax.data import idx  # noqa: E402

REPO = Path(__file__).resolve().parent.parent


def extra_data(*parts: str) -> Path:
    """A file or folder of the extra data, `extra_data("mnist", "t10k.gz")`; skips the test where it is absent.

    The data is what this repository does not ship: $GAN_JAX_DATA names its folder, else `shared/data` beside the clone.
    """
    root = Path(os.environ.get("GAN_JAX_DATA") or REPO.parent / "shared" / "data")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(
            f"needs {'/'.join(parts) or 'the extra data'}, which is not in {root}; name its folder in GAN_JAX_DATA"
        )
    return path


PROGRAMS = REPO / ".pytest_cache" / "programs"  # compiled by earlier runs of the tests; `make clean` removes them
MOST_BYTES = 4 * 2**30  # of these; then they are made again


def pytest_configure(config: pytest.Config) -> None:
    """Compiles each program once in a process of tests, and not where an earlier run of the tests has compiled it.

    A process has a folder of its own, since JAX writes into it such that another could read half a program. It begins with
    links to the programs of earlier runs, and its own are linked to these when it ends.
    """
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="programs-", dir=PROGRAMS.parent))
    earlier = set()
    with contextlib.suppress(OSError):  # another process removes them, or the file system has no links
        for file in PROGRAMS.iterdir():
            os.link(file, folder / file.name)
            earlier.add(file.name)
    config.add_cleanup(lambda: _keep_programs(folder, earlier))
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _keep_programs(folder: Path, earlier: set[str]) -> None:
    """Adds a process's programs to those of earlier runs, and removes its folder."""
    with contextlib.suppress(OSError):
        files = [file for file in folder.iterdir() if file.name not in earlier and file.name.endswith("-cache")]
        if sum(file.stat().st_size for file in (*PROGRAMS.iterdir(), *files)) > MOST_BYTES:
            shutil.rmtree(PROGRAMS, ignore_errors=True)
            PROGRAMS.mkdir(parents=True, exist_ok=True)
        for file in filter(_is_whole, files):
            with contextlib.suppress(FileExistsError):
                os.link(file, PROGRAMS / file.name)
    shutil.rmtree(folder, ignore_errors=True)


def _is_whole(file: Path) -> bool:
    """Whether a program was written to its end: a test may have killed the process that wrote it."""
    from jax._src.compilation_cache import decompress_executable

    try:
        return bool(decompress_executable(file.read_bytes()))
    except Exception:  # noqa: BLE001  of whichever compression there is
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if "gpu" in item.keywords]
    if marked and jax.default_backend() == "cpu":  # asked only when needed: it starts the backend
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: JAX_PLATFORMS=cuda pytest -m gpu"))


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: a collection of garbage need not look through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _images_of_the_package():
    """The sets inside the package are unpacked once in a process of tests."""
    read, unpacked = idx._read, functools.cache(idx._read)
    package = Path(idx.__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idx, "_read", lambda file, dims: (unpacked if is_below(file, package) else read)(file, dims))
        yield


def is_below(file: object, folder: Path) -> bool:
    return isinstance(file, Path) and file.is_relative_to(folder)


@pytest.fixture(autouse=True)
def _no_stray_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not change what a test sees."""
    for name in ("GAN_JAX_DEBUG", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _cheap_compiles(request: pytest.FixtureRequest):
    """Whole steps and networks are compiled in some folders; they are cheap there in any case."""
    folders = ("augment", "fusion", "tasks", "train", "transfer")
    folder = request.path.relative_to(REPO / "tests").parts[0]  # at whatever depth
    cheap = CHEAP or folder in folders or request.path.stem in ("test_conformance", "test_nets")
    jax.config.update("jax_disable_most_optimizations", cheap)
    yield
    jax.config.update("jax_disable_most_optimizations", CHEAP)


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Programs of a module are let go of once a process holds much: none of them is asked for again."""
    yield
    if resident_bytes() > 2 * 10**9:
        jax.clear_caches()
        gc.collect()


def resident_bytes() -> int:
    """Memory that this process holds; 0 where /proc does not say it."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else 0
