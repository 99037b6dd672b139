"""Whether everything that the software does has the same results as at an earlier commit.

    python -m benchmarks.same_results --base HEAD~1
    python -m benchmarks.same_results --base HEAD~1 --only rank_batch shards --out runs/same
    python -m benchmarks.same_results --out runs/before
    python -m benchmarks.same_results --compare runs/before runs/after

Tiny runs of every command and experiment (:mod:`benchmarks.same_results_runs`), each commit's by
its own copy of this script. What is left of their results without times, memory, machine and
versions (:mod:`benchmarks.same_results_kept`) has to be equal to the byte. The programs that JAX
compiled are compared as well, by digests of their StableHLO: they may differ where results do not,
and are reported apart. The first value told is that of the earlier commit.

The exit code is 1 where results differ, or where a command ended otherwise than it has to.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from benchmarks.same_results_kept import (
    OUTCOME,
    first_difference,
    keep_files,
    keep_programs,
    program_difference,
    write_lines,
)
from benchmarks.same_results_runs import RUNS, Step, command, write_data
from benchmarks.two_commits import REPOSITORY, exported
from jaxntk.errors import InputError, check_choice
from jaxntk.flags import in_one_line

PROGRAM = "python -m benchmarks.same_results"
SCRIPTS = ("same_results.py", "same_results_kept.py", "same_results_runs.py")
DIFFERS, BAD_INPUT = 1, 2
COMPILED = "JAX_COMPILATION_CACHE_DIR"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run everything in tiny, and hold the results of two commits against each other."""

    base: str | None = None
    """Commit that the working tree is held against."""
    out: Path | None = None
    """Folder for results, new or empty: those of the working tree, with --base those of both."""
    compare: tuple[Path, Path] | None = None
    """Two folders of results that were written earlier."""
    only: tuple[str, ...] = ()
    """Names of runs; by default all of them."""
    jobs: int = 2
    """Runs at a time."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, 1 where results differ or a command ended badly, 2 after bad input.
    """
    try:
        read = partial(tyro.cli, Options, args=arguments, prog=PROGRAM)
        options: Options = in_one_line(read, f"see {PROGRAM} --help")
        _check(options)
        if options.compare is not None:
            return compare(*options.compare, options.only)
        if options.base is not None:
            return _against(options.base, options)
        assert options.out is not None
        return write_results(options.out, options.only or tuple(RUNS), options.jobs)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def _check(options: Options) -> None:
    out = options.out
    if options.compare is not None and (options.base or out):
        raise InputError("compare", "--base or --out as well", "give --compare alone")
    if options.compare is None and options.base is None and out is None:
        raise InputError("out", "nothing", "give --out, --base or --compare")
    if out is not None and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError("out", out, "give a new or an empty folder")
    for folder in options.compare or ():
        if not folder.is_dir():
            raise InputError("compare", f"{folder}, which is no folder", "give what --out wrote")
    if options.jobs < 1:
        raise InputError("jobs", options.jobs, "give at least 1")
    for name in () if options.compare else options.only:
        check_choice("only", name, RUNS)


def _against(commit: str, options: Options) -> int:
    """Runs a commit and the working tree, and compares; what both compile is compiled once."""
    more = ["--jobs", str(options.jobs), *(("--only", *options.only) if options.only else ())]
    with ExitStack() as stack:
        base = stack.enter_context(exported(commit))
        _lend_scripts(base / "benchmarks")
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out = (options.out or scratch / "results").resolve()
        env = {COMPILED: str(scratch / "compiled")} | os.environ
        code = 0
        for side, root in (("base", base), ("here", REPOSITORY)):
            print(f"== {side}", flush=True)
            words = [sys.executable, "-m", "benchmarks.same_results", "--out", str(out / side)]
            own = env | {"PYTHONPATH": str(root)}
            code = subprocess.run([*words, *more], cwd=root, env=own, check=False).returncode
            if code not in (0, DIFFERS):
                cure = "give one on which this script runs; its own words stand above"
                raise InputError("base", f"{commit}, where {side} ended with {code}", cure)
        print("== base against here", flush=True)
        return max(compare(out / "base", out / "here", ()), code)


def _lend_scripts(folder: Path) -> None:
    """Copies this script to a commit that is older than it."""
    if not all((folder / name).is_file() for name in SCRIPTS):
        for name in SCRIPTS:
            shutil.copy(REPOSITORY / "benchmarks" / name, folder / name)


def write_results(out: Path, names: Sequence[str], jobs: int) -> int:
    """Does runs and writes what is compared of them.

    Args:
        out: folder to write to; each run has one of its own there.
        names: of the runs.
        jobs: runs at a time.

    Returns:
        The exit code: 1 where a command ended with another code than it has to.
    """
    failed = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        work = Path(scratch).resolve()
        write_data(work / "data")
        for name, ended in zip(names, pool.map(partial(_perform, work, out), names), strict=True):
            failed += [name] if ended.bad else []
            print("\n    ".join([f"{name}: {ended.seconds:.0f} s", *ended.bad]), flush=True)
    if failed:
        print(f"ended otherwise than they have to: {', '.join(failed)}", file=sys.stderr)
    return DIFFERS if failed else 0


@dataclass(frozen=True)
class _Ended:
    """How a run ended.

    Args:
        seconds: that it took.
        bad: lines about commands that ended otherwise than they have to.
    """

    seconds: float
    bad: list[str]


def _perform(work: Path, out: Path, name: str) -> _Ended:
    """Does a run and writes what is compared of it."""
    start = time.perf_counter()
    folder, dumps, kept = work / name, work / "programs" / name, out / name
    folder.mkdir()
    outcome: list[str] = []
    bad: list[str] = []

    def plain(text: str) -> str:
        return text.replace(str(work), "WORK").replace(str(REPOSITORY), "CHECKOUT")

    for number, step in enumerate(RUNS[name], start=1):
        words, env = command(shlex.split(step.words)), _environment(work, dumps / str(number))
        ended = subprocess.run(
            words, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        error = plain(ended.stderr).splitlines()
        outcome += [f"{step.words}: exit code {ended.returncode}", *(error if step.code else ())]
        if ended.returncode != step.code:
            bad += [f"{step.words}: exit code {ended.returncode}", *error[-3:]]
        if step.shows != "nothing":
            write_lines(kept / f"stdout_{number}.txt", _shown(step, plain(ended.stdout)))
    write_lines(kept / OUTCOME, outcome)
    keep_files(folder, kept, plain)
    keep_programs(dumps, kept)
    shutil.rmtree(dumps, ignore_errors=True)
    return _Ended(time.perf_counter() - start, bad)


def _shown(step: Step, text: str) -> list[str]:
    lines = text.splitlines()
    if step.shows == "everything":
        return lines
    return [line for line in lines if re.match(r"\s*[┏┃┡│└]", line)]


def _environment(work: Path, dumps: Path) -> dict[str, str]:
    """Makes the environment of a process, in which a user's settings of JAX do not count."""
    users = ("JAX", "XLA", "FORCE_COLOR")
    env = {name: value for name, value in os.environ.items() if not name.startswith(users)}
    return env | {
        "PYTHONPATH": str(REPOSITORY),
        "COLUMNS": "100",
        "JAX_PLATFORMS": "cpu",
        # Half the time, and as good to hold results against each other.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        COMPILED: os.environ.get(COMPILED, str(work / "compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_DUMP_IR_TO": str(dumps),
        "JAX_INCLUDE_DEBUG_INFO_IN_DUMPS": "false",
        # One thread, so that sums are added up in one order whatever else the machine does.
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def compare(one: Path, other: Path, only: Sequence[str]) -> int:
    """Compares two folders of results and prints a line for each run.

    Args:
        one: the first folder.
        other: the second one.
        only: names of runs; none for all that are in either.

    Returns:
        The exit code: 1 where results differ.

    Raises:
        InputError: a run that neither folder has.
    """
    there = sorted({path.name for folder in (one, other) for path in folder.iterdir()})
    for name in only:
        check_choice("only", name, there)
    differ = 0
    for name in only or there:
        results = first_difference(one / name, other / name)
        programs = program_difference(one / name, other / name)
        differ += results is not None
        print(f"{name}: {'equal' if results is None else f'DIFFERS: {results}'}")
        if programs is not None:
            print(f"    programs: {programs}")
    print(f"{differ} of {len(only or there)} runs differ", flush=True)
    return DIFFERS if differ else 0


if __name__ == "__main__":
    sys.exit(main())
