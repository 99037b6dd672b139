"""How much one compilation for all cells saves, over a kernel compiled once a cell.

    python -m benchmarks.one_compilation

The claim that it measures: NAS-Bench-201, CIFAR-10-sized images, 16 channels, 5 cells a stage, 64
images, frozen batch normalisation; the mean time a cell on 2 CPU cores, compile time included, is
at most 1/5 of that of the same network's kernel by per-example gradients and ``J J^T`` under jit
(:mod:`benchmarks.naive_kernel`). Each cell is timed with both, one right after the other, and their
kernels have to agree. Peak memory is taken first, in a process of its own for each side.

Images are noise: their content does not change the work. For Linux, which confines it to the cores.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console

from benchmarks.one_compilation_figure import result_table, times_figure
from benchmarks.one_compilation_sides import (
    Settings,
    Side,
    compile_fast,
    draw_cells,
    peak_memory,
    time_cell,
)
from jaxntk.errors import InputError
from jaxntk.runs.progress import track
from jaxntk.runs.publish import write_figure
from jaxntk.runs.rows import environment, write_json_atomic
from jaxntk.spaces import nasbench201

PROGRAM = "python -m benchmarks.one_compilation"
TOLERANCES = {"float32": 5e-2, "float64": 1e-9}
"""Relative to the largest entry; in float32 rounding changes the sign of some inputs of a ReLU."""
SETTINGS = [field.name for field in fields(Settings)]
RESAMPLES = 2000
MIN_CELLS_FOR_INTERVAL = 5
DIFFERS = 1
BAD_INPUT = 2


class KernelsDifferError(Exception):
    """The two kernels of a cell are not the same: their times say nothing."""


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Time the kernel that is compiled once against one that is compiled for each cell."""

    out: Path = Path("benchmarks/results/one_compilation.json")
    """File to write; the picture goes beside it."""
    side: Side | None = None
    """Only print the peak memory of one side as a line of JSON, for the cell given."""
    cell: str = "333333"
    """The cell for --side, as six digits."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, 1 where the kernels disagree, 2 after bad input.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    try:
        set_up(options)
        if options.side is None:
            run(options, Console())
        else:
            arch = nasbench201.read(options.cell)
            print(json.dumps(peak_memory(options, options.side, arch)))
    except KernelsDifferError as error:
        print(f"error: {error}", file=sys.stderr)
        return DIFFERS
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def set_up(options: Options) -> None:
    """Confines the process to the cores asked for and sets JAX up, before its first computation.

    Args:
        options: the options.

    Raises:
        InputError: there are fewer cores.
    """
    usable = sorted(os.sched_getaffinity(0))
    if not 1 <= options.cores <= len(usable):
        raise InputError("cores", options.cores, f"give a number from 1 to {len(usable)}")
    os.sched_setaffinity(0, usable[: options.cores])
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    # A compilation read from disk would not be one.
    jax.config.update("jax_enable_compilation_cache", False)


def run(options: Options, console: Console) -> None:
    """Measures memory and times, writes them and prints a table.

    Args:
        options: the options.
        console: where to print.

    Raises:
        KernelsDifferError: the kernels of a cell are not the same.
    """
    load = os.getloadavg()[0]
    console.print("peak memory, a process for each side ...", highlight=False)
    # First: on Linux a child starts with the peak of its parent, which is still small.
    memory = {side: measure_memory(options, side) for side in ("fast", "naive")}
    console.print("compiling once for all cells ...", highlight=False)
    record = {
        "command": command(options),
        "settings": {name: getattr(options, name) for name in SETTINGS},
        "machine": {**environment(), **machine(), "load_before": load},
        **measure_times(options, console),
        "memory": memory,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(options.out, record)
    write_figure(options.out.with_suffix(".png"), times_figure(record))
    console.print(result_table(record))


def command(options: Options) -> str:
    """Spells out the command that measures the same, wherever it writes to.

    Args:
        options: the options.

    Returns:
        The command line, for a shell at the root of the repository.
    """
    flags = [(f"--{name.replace('_', '-')}", getattr(options, name)) for name in SETTINGS]
    return shlex.join([*shlex.split(PROGRAM), *(str(part) for flag in flags for part in flag)])


def machine() -> dict[str, Any]:
    """Returns the model of the CPU and how many of its cores this process uses."""
    model = platform.processor() or None
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return {"cpu_model": model, "cores_used": len(os.sched_getaffinity(0))}


def measure_times(options: Options, console: Console) -> dict[str, Any]:
    """Times both kernels cell by cell, taking turns in going first.

    Args:
        options: the options.
        console: where progress is shown.

    Returns:
        ``fast_compile_seconds``, ``cells`` (a row a cell) and ``summary``.

    Raises:
        KernelsDifferError: the kernels of a cell are not the same.
    """
    fast, compile_seconds = compile_fast(options)
    # Both sides take the same parameters; drawing them is nobody's time.
    jax.block_until_ready(fast.variables(0))
    rows = []
    cells = list(enumerate(draw_cells(options)))
    for index, arch in track(cells, "timing", console):
        row = time_cell(fast, arch, naive_first=index % 2 == 1)
        if not row["relative_error"] <= TOLERANCES[options.dtype]:
            raise KernelsDifferError(
                f"cell {row['ops']}: the kernels differ by {row['relative_error']:.2g} of their "
                f"largest entry; {TOLERANCES[options.dtype]:g} is allowed in {options.dtype}"
            )
        rows.append(row)
    summary = summarize(compile_seconds, rows)
    return {"fast_compile_seconds": compile_seconds, "cells": rows, "summary": summary}


def summarize(compile_seconds: float, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Takes means over the cells, and their ratios.

    The interval of the ratio is the middle 95 % over resamples of the cells; the one compilation is
    shared by as many cells as were run.

    Args:
        compile_seconds: of the kernel of all cells.
        rows: a row a cell.

    Returns:
        Mean seconds a cell of both sides, with and without compilation, and fast over naive.
    """
    fast, naive_run, naive_compile = (
        np.array([row[name] for row in rows])
        for name in ("fast_seconds", "naive_seconds", "naive_compile_seconds")
    )
    share = compile_seconds / len(rows)
    naive = naive_run + naive_compile
    interval = None
    if len(rows) >= MIN_CELLS_FOR_INTERVAL:
        draws = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
        ratios = (share + fast[draws].mean(axis=1)) / naive[draws].mean(axis=1)
        interval = np.quantile(ratios, [0.025, 0.975]).tolist()
    return {
        "fast_seconds_a_cell": share + fast.mean(),
        "naive_seconds_a_cell": naive.mean(),
        "ratio": (share + fast.mean()) / naive.mean(),
        "ratio_ci95": interval,
        "fast_seconds_a_cell_without_compile": fast.mean(),
        "naive_seconds_a_cell_without_compile": naive_run.mean(),
        "ratio_without_compile": fast.mean() / naive_run.mean(),
        "largest_relative_error": max(row["relative_error"] for row in rows),
    }


def measure_memory(options: Options, side: Side) -> dict[str, Any]:
    """Measures the peak memory of one side in a process of its own, on the largest cell drawn.

    Args:
        options: the options.
        side: which kernel.

    Returns:
        See :func:`~benchmarks.one_compilation_sides.peak_memory`.

    Raises:
        InputError: the process failed.
    """
    largest = max(draw_cells(options), key=nasbench201.num_params)
    cell = nasbench201.format_ops(largest)
    arguments = shlex.split(command(options))[1:]
    done = subprocess.run(
        [sys.executable, *arguments, "--side", side, "--cell", cell],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        fault = f"exit code {done.returncode} of the process that measures memory"
        raise InputError(f"side {side}", fault, "see above for its error")
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
