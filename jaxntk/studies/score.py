"""Scores architectures, one row for each and each initialisation, on disk before the next."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from jaxntk.errors import InputError
from jaxntk.kernels.fourier import vintk_kernel
from jaxntk.kernels.model_kernels import Compiled, ModelKernels
from jaxntk.kernels.settings import PARAMETERS
from jaxntk.metrics import METRICS, evaluate
from jaxntk.runs import run_folder
from jaxntk.runs.finished import mean_over_rows
from jaxntk.runs.progress import track
from jaxntk.runs.rows import append_row, read_json, write_json_atomic
from jaxntk.spaces.space import label, written
from jaxntk.studies.config import ScoreConfig
from jaxntk.studies.job import Job, prepare

GetKernels = Callable[[], ModelKernels]
KEYS = ("arch", "init_seed")
"""Fields that identify a row of scores."""
WIDEST = 1000


def kernels_for_run(job: Job, out: Path, console: Console) -> ModelKernels:
    """Compiles the kernel of a run and notes what this process paid for it in the run's folder.

    A run that goes on takes the tiles that it began with, as tiles change the rounding.

    Args:
        job: the job.
        out: folder of the run.
        console: where time and memory are shown.

    Returns:
        The kernels; those of a first architecture are compiled.

    Raises:
        InputError: the kernel needs more memory than the machine has.
    """
    path = out / run_folder.COMPILATION
    before = read_json(path) if path.exists() else {}
    tiles = dict(before.get("tiles", {}))
    kernels = job.kernels(partial(console.print, highlight=False), tiles)

    def note(compiled: Compiled) -> None:
        tiles[compiled.name] = compiled.tile
        held = [each.memory_bytes or 0 for each in kernels.compiled]
        record = {
            "compilations": kernels.compilations,
            "seconds": sum(each.seconds for each in kernels.compiled),
            "memory_bytes": max(held) or None,
            "tiles": tiles,
        }
        write_json_atomic(path, record)

    kernels = replace(kernels, note=note)
    try:
        kernels.compile(job.archs[0], None if job.how is None else job.how.map)
    except InputError as error:
        if not before:
            raise
        cure = "free memory, or give a new folder"
        raise InputError("out", f"{out}, where {error}", cure) from error
    return kernels


def score_missing(job: Job, path: Path, kernels: GetKernels, console: Console) -> None:
    """Scores every architecture and initialisation without a row; each row is written at once.

    Args:
        job: the job.
        path: ``scores.jsonl`` of the run.
        kernels: gives the kernels; called only if there is something to score.
        console: where progress is shown.
    """
    done = run_folder.rows_by_key(path, KEYS)
    todo = [
        (arch, seed)
        for seed in job.config.init_seeds
        for arch in job.archs
        if (written(job.space, arch), seed) not in done
    ]
    if not todo:
        return
    kernels()
    for arch, seed in track(todo, "scoring", console):
        append_row(path, score_row(job, kernels(), arch, seed))


def score_row(
    job: Job, kernels: ModelKernels, arch: Int[np.ndarray, " genes"], init_seed: int
) -> dict[str, Any]:
    """Computes the kernel of an architecture, its metrics and its trivial scores.

    Args:
        job: the job.
        kernels: its kernels.
        arch: the architecture.
        init_seed: seed of the initialisation.

    Returns:
        A row of ``scores.jsonl``.
    """
    tile = kernels.tile(arch, None if job.how is None else job.how.map)
    start = time.perf_counter()
    gram_NxN = vintk_kernel(partial(kernels, arch, init_seed=init_seed), job.how)
    seconds = time.perf_counter() - start
    row = kernel_row(job, gram_NxN, arch, init_seed, tile)
    return row | {"seconds": row["seconds"] + seconds}


def kernel_row(
    job: Job,
    gram_NxN: Float[np.ndarray, "n n"],
    arch: Int[np.ndarray, " genes"],
    init_seed: int,
    tile: int | None,
) -> dict[str, Any]:
    """Reads metrics and trivial scores of an architecture off its kernel.

    Args:
        job: the job.
        gram_NxN: its kernel, zeros where they are exact (``exact_zero``).
        arch: the architecture.
        init_seed: seed of the initialisation.
        tile: images that the kernel was computed on at a time; None for all.

    Returns:
        A row of ``scores.jsonl``; its seconds are those of the metrics.
    """
    config = job.config
    start = time.perf_counter()
    scores = evaluate(gram_NxN, job.batch.y, config.metrics, kernel_dtype=PARAMETERS[config.dtype])
    seconds = time.perf_counter() - start
    return {
        **job.space.describe(arch),
        "init_seed": init_seed,
        "metrics": {name: score.to_json() for name, score in scores.items()},
        "batch_norm": config.batch_norm,
        "outputs": config.outputs,
        "parameters": config.parameters,
        "dtype": config.dtype,
        "matmul_precision": config.matmul_precision,
        "num_images": config.num_images,
        "tile": min(tile or config.num_images, config.num_images),
        **job.baselines(arch[None])[0],
        "seconds": seconds,
    }


def print_scores(config: ScoreConfig, console: Console) -> None:
    """Scores architectures and prints them: a row each, a column a metric.

    Args:
        config: the architectures, the data and the kernel.
        console: where to print.

    Raises:
        InputError: anything wrong with the configuration or the data.
    """
    job = prepare(config)
    kernels = job.kernels(partial(console.print, highlight=False))
    kernels.compile(job.archs[0], None if job.how is None else job.how.map)
    lines: list[tuple[str, ...]] = []
    every = [(seed, arch) for seed in config.init_seeds for arch in job.archs]
    scored: dict[str, list[dict[str, Any]]] = {}
    for seed, arch in track(every, "scoring", console):
        scored.setdefault(label(job.space, arch), []).append(score_row(job, kernels, arch, seed))
    for name, rows in scored.items():
        means = [mean_over_rows(rows, metric) for metric in config.metrics]
        values = [f"{mean.value:.4g}" if mean.valid else str(mean.status) for mean in means]
        lines.append((name, *values, f"{rows[0]['params']:,}"))
    arrows = ["\u2191" if METRICS[name].higher_is_better else "\u2193" for name in config.metrics]
    shown = [f"{name} {arrow}" for name, arrow in zip(config.metrics, arrows, strict=True)]
    how = config.kernel if config.batch_norm == "none" else config.batch_norm
    title = f"{job.dataset.name}, {config.num_images} images, {how}"
    for table in score_tables(title, ("architecture", *shown, "params"), lines, console):
        # A number that is cut off is none: a column wider than the terminal is folded there.
        console.width = max(console.width, _width(table, console))
        console.print(table)


def score_tables(
    title: str, names: Sequence[str], lines: Sequence[Sequence[str]], console: Console
) -> list[Table]:
    """Lays out scores in as many tables as the width of the terminal asks for.

    No number is cut off or folded: what does not fit goes into a next table, which names the
    architectures again. A column that is too wide on its own stays as wide as it is.

    Args:
        title: shown above the first table.
        names: headings of the columns; the first column is that of the architectures.
        lines: for each architecture its entries, one a column.
        console: where the tables will be printed.

    Returns:
        The tables, each with the column of the architectures.
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
