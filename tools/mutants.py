"""Mutation tests: does a test fail where a small fault is put into the package?

    python tools/mutants.py                          every mutant of mutants.toml
    python tools/mutants.py --only 'losses|ema'      those whose name, file or fault has a match of a regular expression
    python tools/mutants.py --check                  runs nothing; says whether every mutant can still be applied

A mutant is one line of text replaced in one file, and the tests that should fail then. The package and its tests are
copied to a temporary folder, once for each worker. There one mutant at a time is applied, its tests are run, and the
file is restored; the working tree is never touched. The same tests must pass without the mutant, which is asked once
for each selection of tests.

What was moved is found by its text: it must occur exactly once in the file that the table names, or, where it is not
there any more, exactly once in the package. Anything else is an error that names the mutant.

Exit code: 0 where every mutant is caught, or survived the last time too; 1 where one survives that was caught before;
2 where a mutant cannot be applied, or its tests fail without it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import py_compile
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_suffix(".toml")
RESULTS = Path(__file__).with_name("mutants_results.json")
PACKAGE, TESTS = "gan_jax", "tests"
COPIED = (PACKAGE, TESTS, "benchmarks", "pyproject.toml", "README.md")  # what tests read of the repository
VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pytest")
TELLING = 24  # characters from which on a text is looked for elsewhere: a shorter one could be there by chance
LIMIT_S = 600.0  # wall clock of one run of tests, of which the slowest takes half a minute on an idle machine
CAUGHT, SURVIVED, ERROR = "caught", "survived", "error"
NOTHING_RAN = 4  # an exit code of pytest
OUTPUT, SPENT, SCRATCH = "output.txt", "cpu_s.txt", "scratch"  # of a run of tests, in its copy

# Every run has a process of its own, forked from one that has imported what takes long and is never changed here.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = ["jax", "jax.numpy", "flax.linen", "optax", "pytest"]


class MutantError(ValueError):
    """A mutant that cannot be applied, or cannot be tested; the message names it."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
      name: unique.
      fault: what is wrong, for a reader.
      file: below the root of the repository.
      old: text that occurs once there, within a line.
      new: what it is replaced by.
      tests: files or node ids of pytest that should fail.
    """

    name: str
    fault: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Session:
    """How a session of pytest ended: its exit code (None = stopped at the time limit), the first failure, tests that passed."""

    code: int | None
    failure: str
    passed: int
    cpu_s: float
    tail: str  # last lines of its output


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a mutant.

    Attributes:
      mutant: itself.
      outcome: `caught`, `survived` or `error`.
      detail: the test that caught it, or why there is an error.
      cpu_s: user and system time.
    """

    mutant: Mutant
    outcome: str
    detail: str
    cpu_s: float


# -- the table -----------------------------------------------------------------------------------------------------


def read_table(path: Path) -> list[Mutant]:
    """The mutants of a TOML file.

    Raises:
      MutantError: an entry without a field, with an unknown one, or that is no replacement within a line.
    """
    fields = [field.name for field in dataclasses.fields(Mutant)]
    mutants = []
    for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["mutant"], 1):
        if wrong := set(entry) ^ set(fields):
            name = entry.get("name", f"number {number}")
            raise MutantError(f"mutant {name}: its fields are {', '.join(fields)}; look at {', '.join(sorted(wrong))}")
        mutants.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
    names = [mutant.name for mutant in mutants]
    for mutant in mutants:
        if names.count(mutant.name) > 1:
            raise MutantError(f"mutant {mutant.name}: there are two of this name")
        if "\n" in mutant.old + mutant.new or not mutant.old or mutant.old == mutant.new or not mutant.tests:
            raise MutantError(f"mutant {mutant.name}: give text within one line, another in its place, and tests")
    return mutants


def locate(mutant: Mutant, root: Path) -> Path:
    """The file to change.

    Raises:
      MutantError: the text does not occur exactly once.
    """
    named = root / mutant.file
    count = named.read_text(encoding="utf-8").count(mutant.old) if named.is_file() else 0
    if count == 1:
        return named
    if count > 1:
        raise MutantError(f"mutant {mutant.name}: its old text occurs {count} times in {mutant.file}; make it longer")
    files = sorted((root / PACKAGE).rglob("*.py")) if len(mutant.old) >= TELLING else []
    places = [path for path in files for _ in range(path.read_text(encoding="utf-8").count(mutant.old))]
    if len(places) != 1:
        where = (
            f"and {len(places)} times in {PACKAGE}" if places else f"nor, or not for certain, elsewhere in {PACKAGE}"
        )
        raise MutantError(
            f"mutant {mutant.name}: its old text is not in {mutant.file}, {where}; what it was has another name or form "
            f"now, so change its entry in {TABLE.name}: {mutant.old}"
        )
    return places[0]


def find_test(node: str, root: Path) -> str:
    """A node id of pytest whose file is there: as given, or the only file of that name below the tests.

    Raises:
      MutantError: no such file, or several.
    """
    name, colons, rest = node.partition("::")
    if (root / name).exists():
        return node
    places = sorted((root / TESTS).rglob(Path(name).name))
    if len(places) != 1:
        raise MutantError(f"tests {node}: {len(places)} files are called {Path(name).name}; name the right one")
    return places[0].relative_to(root).as_posix() + colons + rest


def check(mutant: Mutant, root: Path) -> Path:
    """The file to change, of a mutant that can be applied and compiles, and whose tests are there.

    Raises:
      MutantError: it cannot.
    """
    path = locate(mutant, root)
    try:
        compile(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), str(path), "exec")
    except SyntaxError as error:
        raise MutantError(f"mutant {mutant.name}: with it, {mutant.file} is no Python ({error})") from error
    for node in mutant.tests:
        find_test(node, root)
    return path


# -- a worker's copy -----------------------------------------------------------------------------------------------


def copy_tree(folder: Path) -> None:
    """Copies the package and its tests, with bytecode that is checked against the source's hash.

    Bytecode is usually checked by time and size, which a fault of equal length within a second would not change.
    """
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif source.is_file():
            shutil.copyfile(source, target)
    for path in (folder / PACKAGE).rglob("*.py"):
        py_compile.compile(
            str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH, quiet=1
        )


@contextlib.contextmanager
def applied(mutant: Mutant, folder: Path) -> Iterator[None]:
    """Puts a mutant into a copy, and takes it out again."""
    path = check(mutant, folder)
    original = path.read_bytes()
    path.write_bytes(original.replace(mutant.old.encode(), mutant.new.encode()))
    try:
        yield
    finally:
        path.write_bytes(original)


def run_tests(folder: Path, tests: Sequence[str], limit_s: float, stop: threading.Event) -> Session:
    """Runs tests in a copy, up to the first failure; ends them at the limit, and where `stop` is set."""
    nodes = [find_test(node, folder) for node in tests]
    for name in (OUTPUT, SPENT):
        (folder / name).unlink(missing_ok=True)
    process = PROCESSES.Process(target=_run_pytest, args=(str(folder), nodes))
    process.start()
    end = time.monotonic() + limit_s
    while process.is_alive() and time.monotonic() < end and not stop.is_set():
        process.join(0.2)
    late = process.is_alive()
    if late:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()  # where it had no group of its own yet
        process.join()
    output, spent = folder / OUTPUT, folder / SPENT
    text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    cpu_s = float(spent.read_text()) if spent.is_file() else 0.0
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    failure = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    passed = re.search(r"\b(\d+) passed", text)
    tail = "\n".join(text.strip().splitlines()[-15:])
    code = None if late else process.exitcode
    if code == 1 and not failure:  # the process ended, but not by a test
        code = NOTHING_RAN
    return Session(code, failure[1] if failure else "", int(passed[1]) if passed else 0, cpu_s, tail)


def _run_pytest(folder: str, nodes: Sequence[str]) -> None:
    """A session of pytest in a process of its own, and how long it took; its exit code is pytest's."""
    os.setsid()
    os.chdir(folder)
    os.mkdir(SCRATCH)
    os.environ |= {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": os.path.abspath(SCRATCH)}
    tempfile.tempdir = None
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    import pytest

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not Path(str(spec.origin)).is_relative_to(folder):
        print(f"Python imports {PACKAGE} from {spec and spec.origin} and not from {folder}", flush=True)
        sys.exit(NOTHING_RAN)
    code = int(pytest.main(["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", *nodes]))
    sys.stdout.flush()
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    Path(folder, SPENT).write_text(str(sum(usage.ru_utime + usage.ru_stime for usage in usages)))
    sys.exit(code)


# -- all of them ---------------------------------------------------------------------------------------------------


def judge(mutant: Mutant, run: Session) -> Result:
    """What the tests' end says of a mutant.

    An exit code of pytest of 1 is a test that failed. With others no test ran to its end: a module could not be
    imported, or nothing was collected, and a fault that stops the import is none that a test catches.
    """
    if run.code is None:
        return Result(mutant, CAUGHT, "time limit", run.cpu_s)
    if run.code == 0:
        return Result(mutant, SURVIVED, f"{run.passed} tests passed", run.cpu_s)
    if run.code == 1:
        return Result(mutant, CAUGHT, run.failure, run.cpu_s)
    if run.code < 0:
        return Result(mutant, CAUGHT, f"the process ended by signal {-run.code}", run.cpu_s)
    return Result(mutant, ERROR, f"no test ran: {run.tail}", run.cpu_s)


class Workers:
    """Copies of the tree, and who may use them."""

    def __init__(self, count: int, limit_s: float):
        self._count, self._limit_s = count, limit_s
        self._free: queue.Queue[Path] = queue.Queue()
        self.stop = threading.Event()

    def __enter__(self) -> Workers:
        """Makes the copies."""
        self._temporary = tempfile.TemporaryDirectory(prefix="mutants_")
        for i in range(self._count):
            folder = Path(self._temporary.name).resolve() / str(i)
            folder.mkdir()
            copy_tree(folder)
            self._free.put(folder)
        return self

    def __exit__(self, *exception: object) -> None:
        self._temporary.cleanup()

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        """A copy that nobody else uses."""
        folder = self._free.get()
        try:
            yield folder
        finally:
            self._free.put(folder)

    def baseline(self, test: str) -> Session:
        """A test without any mutant."""
        with self._folder() as folder:
            return run_tests(folder, [test], self._limit_s, self.stop)

    def mutate(self, mutant: Mutant) -> Result:
        """The tests of a mutant, with it."""
        with self._folder() as folder:
            try:
                with applied(mutant, folder):
                    return judge(mutant, run_tests(folder, mutant.tests, self._limit_s, self.stop))
            except MutantError as error:
                return Result(mutant, ERROR, str(error), 0.0)


def run_all(
    mutants: Sequence[Mutant], jobs: int, limit_s: float, record: Callable[[list[Result], dict[str, float]], None]
) -> tuple[list[Result], dict[str, float]]:
    """Runs every mutant: the results in the order of the table, and the user and system time of each test without any.

    `record` is given the same after every mutant, of those that were run.
    """
    with Workers(jobs, limit_s) as workers, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
            print(f"{len(tests)} files of tests without any mutant", flush=True)
            runs = dict(zip(tests, map(_printed_baseline, tests, pool.map(workers.baseline, tests)), strict=True))
            cpu_s = {test: run.cpu_s for test, run in runs.items()}
            sound = {test for test, run in runs.items() if run.code == 0 and run.passed}
            print(f"{len(mutants)} mutants", flush=True)
            results = {
                mutant.name: Result(mutant, ERROR, "its tests do not pass without it", 0.0)
                for mutant in mutants
                if not sound.issuperset(mutant.tests)
            }
            for result in pool.map(workers.mutate, [one for one in mutants if one.name not in results]):
                results[result.mutant.name] = result
                print(line(result), flush=True)
                record(list(results.values()), cpu_s)
        except BaseException:
            workers.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [results[mutant.name] for mutant in mutants], cpu_s


def _printed_baseline(test: str, run: Session) -> Session:
    if run.code == 0 and run.passed:
        print(f"  {run.cpu_s:6.1f} s  {run.passed:4} passed  {test}", flush=True)
    else:
        print(f"  without any mutant, {test} does not pass (exit code {run.code}):\n{run.tail}", flush=True)
    return run


def line(result: Result) -> str:
    """A row of the printed table."""
    mutant = result.mutant
    return f"{result.outcome:9} {result.cpu_s:6.1f} s  {mutant.name:32} {mutant.fault}\n{'':19}{result.detail}"


def package_of(mutant: Mutant) -> str:
    """The part of the package that a mutant is in: `losses`, or `cli`; `top` for modules beside these."""
    parts = Path(mutant.file).parts
    return parts[1] if len(parts) > 2 else "top"


def summarise(
    table: Sequence[Mutant], results: Sequence[Result], tests: Mapping[str, float], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """The results as JSON values, in the order of the table.

    Args:
      table: all mutants.
      results: of those that were run.
      tests: user and system time of each of their tests without any mutant.
      stored: results of before, which stay for the others.
    """
    rows = {row["name"]: row for row in stored.get("results", ())}
    for result in results:
        rows[result.mutant.name] = {
            "name": result.mutant.name,
            "outcome": result.outcome,
            "detail": result.detail.partition("\n")[0],
            "cpu_s": round(result.cpu_s, 1),
        }
    known = [mutant for mutant in table if mutant.name in rows]
    packages: dict[str, list[int]] = {}
    for mutant in known:
        counts = packages.setdefault(package_of(mutant), [0, 0])
        counts[0] += rows[mutant.name]["outcome"] == CAUGHT
        counts[1] += 1
    rows = {mutant.name: rows[mutant.name] for mutant in known}
    of_table = dict.fromkeys(test for mutant in known for test in mutant.tests)
    spent = stored.get("tests", {}) | {test: round(cpu_s, 1) for test, cpu_s in tests.items()}
    spent = {test: spent[test] for test in of_table if test in spent}
    caught = sum(row["outcome"] == CAUGHT for row in rows.values())
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%cI"], capture_output=True, text=True, check=False
    )
    return {
        "commit_date": commit.stdout.strip(),
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), **{n: metadata.version(n) for n in VERSIONS}},
        "mutants": len(rows),
        "caught": caught,
        "share": round(caught / len(rows), 4),
        "cpu_s": {
            "tests": round(sum(spent.values()), 1),
            "mutants": round(sum(row["cpu_s"] for row in rows.values()), 1),
        },
        "packages": {name: f"{counts[0]} of {counts[1]}" for name, counts in sorted(packages.items())},
        "survived": [name for name, row in rows.items() if row["outcome"] == SURVIVED],
        "results": list(rows.values()),
        "tests": spent,
    }


def read_results(path: Path) -> dict[str, Any]:
    """Stored results; empty where there are none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def newly_survived(results: Sequence[Result], stored: Mapping[str, Any]) -> list[str]:
    """Mutants that survive, and did not in the stored results (or were not there)."""
    known = stored.get("survived", ())
    return [r.mutant.name for r in results if r.outcome == SURVIVED and r.mutant.name not in known]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Mutation tests: does a test fail where a fault is put in?")
    parser.add_argument("--only", metavar="PATTERN", help="regular expression over name, file and fault of a mutant")
    parser.add_argument("--jobs", type=int, default=1, help="workers, each with a copy of the tree and one process")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="OUT",
        help="file to write the results to; with --only, those of the others stay in it",
    )
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="of one run of tests")
    parser.add_argument("--check", action="store_true", help="say whether all can be applied, and run nothing")
    args = parser.parse_args(argv)
    try:
        mutants = table = read_table(TABLE)
        if args.only:
            pattern = re.compile(args.only)
            mutants = [one for one in table if pattern.search(f"{one.name} {one.file} {one.fault}")]
        if not mutants:
            raise MutantError(f"no mutant has a match of {args.only!r}")
    except MutantError as error:
        print(error, file=sys.stderr)
        return 2
    problems = []
    for mutant in mutants:
        try:
            place = check(mutant, ROOT).relative_to(ROOT).as_posix()
            if place != mutant.file:
                print(f"{mutant.name}: {mutant.file} has moved to {place}")
        except MutantError as error:
            problems.append(str(error))
    print("\n".join(problems) or f"{len(mutants)} mutants can be applied", flush=True)
    if args.check or problems:
        return 2 if problems else 0
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    PROCESSES.set_forkserver_preload(PRELOADED)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stored = read_results(RESULTS)
    others = read_results(args.json) if args.json and args.only else {}

    def record(results: list[Result], tests: dict[str, float]) -> None:
        """Writes what is known, so that a run that is ended leaves it."""
        if args.json:
            summary = summarise(table, results, tests, others)
            args.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")

    results, tests = run_all(mutants, args.jobs, args.limit, record)
    record(results, tests)
    summary = summarise(table, results, tests, {})
    print(f"\n{'package':14} caught")
    for name, counts in summary["packages"].items():
        print(f"{name:14} {counts}")
    for outcome in (SURVIVED, ERROR):
        for result in results:
            if result.outcome == outcome:
                print(line(result))
    cpu_s = sum(summary["cpu_s"].values())
    print(
        f"caught {summary['caught']} of {summary['mutants']} ({summary['share']:.1%}) in {cpu_s / 60:.1f} CPU-minutes"
    )
    if any(result.outcome == ERROR for result in results):
        return 2
    if fresh := newly_survived(results, stored):
        print(f"survived, and did not in {RESULTS.name}: {', '.join(fresh)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
