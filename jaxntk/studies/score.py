"""Scores cells, one row a cell and initialisation, each on disk before the next is begun."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from jaxntk.errors import InputError
from jaxntk.kernels.memory_plan import check_memory, plan_memory
from jaxntk.kernels.program import CompiledKernel, compile_program
from jaxntk.metrics import METRICS, evaluate
from jaxntk.results.text import size
from jaxntk.runs import run_folder
from jaxntk.runs.finished import mean_over_rows
from jaxntk.runs.progress import track
from jaxntk.runs.rows import append_row, read_json, write_json_atomic
from jaxntk.spaces import nasbench201
from jaxntk.studies.config import ScoreConfig
from jaxntk.studies.job import Job, prepare

GetKernel = Callable[[], CompiledKernel]
WIDEST = 1000


def compile_for_run(job: Job, out: Path, console: Console) -> CompiledKernel:
    """Compiles the kernel of a run and notes what this process paid for it in the run's folder.

    A run that goes on takes the tile that it began with, as tiles change the rounding.

    Args:
        job: the job.
        out: folder of the run.
        console: where time and memory are shown.

    Returns:
        The kernel.

    Raises:
        InputError: the kernel needs more memory than the machine has.
    """
    path = out / run_folder.COMPILATION
    begun = read_json(path).get("tile") if path.exists() else None
    if begun is None:
        kernel = compile_checked(job, console)
    else:
        kept = replace(job, config=replace(job.config, tile=begun))
        try:
            kernel = compile_checked(kept, console)
        except InputError as error:
            cure = "free memory, or give a new folder"
            raise InputError("out", f"{out}, where {error}", cure) from error
    record = {
        "compilations": kernel.compilations,
        "seconds": kernel.compile_seconds,
        "memory_bytes": kernel.memory_bytes,
        "tile": kernel.settings.tile or job.config.num_images,
    }
    write_json_atomic(path, record)
    return kernel


def compile_checked(job: Job, console: Console) -> CompiledKernel:
    """Plans the memory of a job's kernel, compiles it, and says what both gave.

    Args:
        job: the job.
        console: where time and memory are shown.

    Returns:
        The kernel.

    Raises:
        InputError: the kernel needs more memory than the machine has.
    """
    program, estimate = plan_memory(job.network, job.settings, job.batch.x.shape)
    console.print(f"memory, estimated from shapes: {estimate}", highlight=False)
    tile = program.settings.tile
    if tile is not None and tile != job.config.tile:
        line = f"tile: {tile} of {job.config.num_images} images at a time, as all do not fit"
        console.print(line, highlight=False)
    console.print("compiling the kernel, once for all cells ...", highlight=False)
    kernel = compile_program(program, job.batch.x)
    check_memory(kernel.memory_bytes, estimate.available, tile)
    needs = "" if kernel.memory_bytes is None else f"; it will hold {size(kernel.memory_bytes)}"
    console.print(f"compiled in {kernel.compile_seconds:.1f} s{needs}", highlight=False)
    return kernel


def score_missing(job: Job, path: Path, kernel: GetKernel, console: Console) -> None:
    """Scores every cell and initialisation that has no row yet; each row is written at once.

    Args:
        job: the job.
        path: ``scores.jsonl`` of the run.
        kernel: gives the compiled kernel; called only if there is something to score.
        console: where progress is shown.
    """
    done = run_folder.rows_by_key(path, ("ops", "init_seed"))
    config = job.config
    todo = [
        (arch, seed)
        for seed in config.init_seeds
        for arch in job.archs
        if (nasbench201.format_ops(arch), seed) not in done
    ]
    if not todo:
        return
    kernel()
    for arch, seed in track(todo, "scoring", console):
        append_row(path, score_row(job, kernel(), arch, seed))


def score_row(
    job: Job, kernel: CompiledKernel, arch: Int[np.ndarray, "6"], init_seed: int
) -> dict[str, Any]:
    """Computes the kernel of a cell, its metrics and its trivial scores.

    Args:
        job: the job.
        kernel: the compiled kernel.
        arch: the cell.
        init_seed: seed of the initialisation.

    Returns:
        A row of ``scores.jsonl``.
    """
    start = time.perf_counter()
    gram_NxN = kernel(arch, init_seed)
    seconds = time.perf_counter() - start
    row = kernel_row(job, gram_NxN, arch, init_seed, kernel.settings.tile)
    return row | {"seconds": row["seconds"] + seconds}


def kernel_row(
    job: Job,
    gram_NxN: Float[np.ndarray, "n n"],
    arch: Int[np.ndarray, "6"],
    init_seed: int,
    tile: int | None,
) -> dict[str, Any]:
    """Reads metrics and trivial scores of a cell off its kernel.

    Args:
        job: the job.
        gram_NxN: the kernel of the cell, zeros where they are exact (``exact_zero``).
        arch: the cell.
        init_seed: seed of the initialisation.
        tile: images that the kernel was computed on at a time; None for all.

    Returns:
        A row of ``scores.jsonl``; its seconds are those of the metrics.
    """
    config = job.config
    start = time.perf_counter()
    scores = evaluate(gram_NxN, job.batch.y, config.metrics)
    seconds = time.perf_counter() - start
    image_size = job.batch.x.shape[1]
    return {
        "arch": nasbench201.decode(arch),
        "ops": nasbench201.format_ops(arch),
        "init_seed": init_seed,
        "metrics": {name: score.to_json() for name, score in scores.items()},
        "batch_norm": config.batch_norm,
        "outputs": config.outputs,
        "parameters": config.parameters,
        "dtype": config.dtype,
        "matmul_precision": config.matmul_precision,
        "num_images": config.num_images,
        "tile": min(tile or config.num_images, config.num_images),
        "params": nasbench201.num_params(arch, **job.sizes),
        "flops": nasbench201.num_flops(arch, **job.sizes, image_size=image_size),
        "convolutions": nasbench201.num_convolutions(arch),
        "seconds": seconds,
    }


def print_scores(config: ScoreConfig, console: Console) -> None:
    """Scores cells and prints them: a row a cell, a column a metric.

    Args:
        config: the cells, the data and the kernel.
        console: where to print.

    Raises:
        InputError: anything wrong with the configuration or the data.
    """
    job = prepare(config)
    kernel = compile_checked(job, console)
    lines: list[tuple[str, ...]] = []
    every = [(seed, arch) for seed in config.init_seeds for arch in job.archs]
    scored: dict[str, list[dict[str, Any]]] = {}
    for seed, arch in track(every, "scoring", console):
        row = score_row(job, kernel, arch, seed)
        scored.setdefault(row["ops"], []).append(row)
    for rows in scored.values():
        means = [mean_over_rows(rows, name) for name in config.metrics]
        values = [f"{mean.value:.4g}" if mean.valid else str(mean.status) for mean in means]
        lines.append((rows[0]["ops"], *values, f"{rows[0]['params']:,}"))
    arrows = ["\u2191" if METRICS[name].higher_is_better else "\u2193" for name in config.metrics]
    shown = [f"{name} {arrow}" for name, arrow in zip(config.metrics, arrows, strict=True)]
    title = f"{job.dataset.name}, {config.num_images} images, {config.batch_norm}"
    for table in score_tables(title, ("cell", *shown, "params"), lines, console):
        # A number that is cut off is none: a column wider than the terminal is folded there.
        console.width = max(console.width, _width(table, console))
        console.print(table)


def score_tables(
    title: str, names: Sequence[str], lines: Sequence[Sequence[str]], console: Console
) -> list[Table]:
    """Lays out scores in as many tables as the width of the terminal asks for.

    No number is cut off or folded: what does not fit goes into a next table, which names the cells
    again. A column that is too wide on its own stays as wide as it is.

    Args:
        title: shown above the first table.
        names: headings of the columns; the first column is that of the cells.
        lines: for each cell its entries, one a column.
        console: where the tables will be printed.

    Returns:
        The tables, each with the column of the cells.
    """
    tables: list[Table] = []
    columns: list[int] = []
    for column in range(1, len(names)):
        wider = _table(names, lines, [*columns, column])
        if columns and _width(wider, console) > console.width:
            tables.append(_table(names, lines, columns))
            columns = []
        columns.append(column)
    tables.append(_table(names, lines, columns))
    tables[0].title = title
    return tables


def _table(names: Sequence[str], lines: Sequence[Sequence[str]], columns: Sequence[int]) -> Table:
    table = Table()
    table.add_column(names[0], no_wrap=True)
    for column in columns:
        table.add_column(names[column], justify="right", no_wrap=True)
    for line in lines:
        table.add_row(line[0], *(line[column] for column in columns))
    return table


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=WIDEST)).maximum
