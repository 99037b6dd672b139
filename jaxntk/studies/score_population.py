"""Scores a population at once and writes the rows that scoring one by one would.

The kernels of the next chunk are computed while the metrics of the last one are evaluated, in
threads, and its rows are written. A run folder that was filled this way is finished, summarised and
resumed like any other (:func:`jaxntk.studies.rank.run`).
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.kernels.program import exact_zero
from jaxntk.population.kernels import Chunk, PopulationKernels, population_kernels
from jaxntk.population.strategies import Strategy
from jaxntk.runs import run_folder
from jaxntk.runs.progress import track
from jaxntk.runs.rows import append_row
from jaxntk.spaces.space import listed, written
from jaxntk.studies.job import Job
from jaxntk.studies.score import KEYS, kernel_row

# Chunks whose rows may wait to be written while the next kernels are computed.
_WAITING = 2


@dataclass(frozen=True, kw_only=True)
class PopulationCost:
    """What scoring a population took.

    Args:
        cells: rows that were written.
        kernels: kernels that were computed; fewer where cells have the same one.
        flops: multiply-accumulates of one forward pass of all these networks, for one image.
        strategy: how the kernels were computed; None if there was nothing to do.
        rates: cells a second of the strategies that were tried.
        prepare_seconds: until the first chunk was begun: planning, drawing weights, compiling,
            and measuring strategies.
        seconds: from there to the last row on disk.
    """

    cells: int = 0
    kernels: int = 0
    flops: float = 0.0
    strategy: Strategy | None = None
    rates: dict[str, float] = field(default_factory=dict)
    prepare_seconds: float = 0.0
    seconds: float = 0.0


def score_population(
    job: Job,
    path: Path,
    console: Console,
    *,
    strategy: str = "auto",
    chunk: int | None = None,
) -> PopulationCost:
    """Scores every architecture that has no row yet.

    Args:
        job: the job; one initialisation.
        path: ``scores.jsonl`` of the run.
        console: where progress is shown.
        strategy: see :func:`~jaxntk.population.kernels.population_kernels`.
        chunk: cells computed together.

    Returns:
        What it took.

    Raises:
        InputError: several initialisations or processes, or a wrong strategy or chunk.
    """
    config = job.config
    if job.how is not None:
        raise InputError("kernel", config.kernel, "choose ntk: populations are scored by that")
    if config.num_inits != 1:
        cure = "give 1: the cells of a population share their initialisation"
        raise InputError("num_inits", config.num_inits, cure)
    if jax.process_count() > 1:
        cure = "start one that has all devices of its machine, or shards (jaxntk run --shard I/N)"
        raise InputError("processes", jax.process_count(), cure)
    start = time.perf_counter()
    done = run_folder.rows_by_key(path, KEYS)
    key = config.init_seed
    todo = np.array([
        arch for arch in job.archs if (written(job.space, arch), key) not in done
    ]).reshape(-1, len(job.space.sizes))
    if not len(todo):
        return PopulationCost()
    cells, index = distinct(job, todo)
    kernels = population_kernels(
        job.model,
        job.settings,
        job.batch.x,
        cells,
        strategy=strategy,
        chunk=chunk,
        init_seed=config.init_seed,
    )
    prepared = time.perf_counter()
    console.print(_told(kernels, len(todo)), highlight=False)
    with ThreadPoolExecutor() as pool:
        rows = _rows(job, kernels, todo, index, pool)
        for _, row in zip(track(range(len(todo)), "scoring", console), rows, strict=True):
            append_row(path, row)
    return PopulationCost(
        cells=len(todo),
        kernels=len(cells),
        flops=population_flops(job, cells),
        strategy=kernels.strategy,
        rates=kernels.rates,
        prepare_seconds=prepared - start,
        seconds=time.perf_counter() - prepared,
    )


def distinct(
    job: Job, archs: Int[np.ndarray, "num genes"]
) -> tuple[Int[np.ndarray, "distinct genes"], Int[np.ndarray, " num"]]:
    """Finds the architectures among which kernels need to be computed.

    Args:
        job: says which parameters enter: over all of them, no two kernels are known to be equal.
        archs: the architectures.

    Returns:
        The distinct ones, and for each architecture which of them it is.
    """
    if job.config.parameters == "lga" and job.model.distinct is not None:
        return job.model.distinct(archs)
    return archs, np.arange(len(archs))


def population_flops(job: Job, cells: Int[np.ndarray, "num genes"]) -> float:
    """Returns the multiply-accumulates of one forward pass of some networks, for one image.

    Args:
        job: says how large the networks are.
        cells: the architectures.

    Returns:
        Their sum.
    """
    return float(job.costs(cells).flops.sum())


def projected_seconds(job: Job, cost: PopulationCost) -> float:
    """Projects what scoring the whole space would take, from what scoring some cells took.

    What comes after the preparation is taken to grow with the multiply-accumulates of the networks.
    It is a projection, for the same number of images on the same machine.

    Args:
        job: the job that was measured; its kernels are over all weights (``lga``).
        cost: what was measured.

    Returns:
        Seconds.

    Raises:
        InputError: nothing was measured, or the space cannot be listed.
    """
    if not cost.kernels:
        raise InputError("cost", "no kernel", "measure with an empty run folder")
    every = listed(job.space)
    if every is None:
        raise InputError("space", job.space.name, "measure one that can be listed")
    whole = population_flops(job, distinct(job, every)[0])
    return cost.prepare_seconds + cost.seconds * whole / cost.flops


def _told(kernels: PopulationKernels, cells: int) -> str:
    """Says in a line or two what is about to be computed, and how."""
    rates = ", ".join(f"{name} {rate:.3g} cells/s" for name, rate in kernels.rates.items())
    measured = f" (measured: {rates})" if rates else ""
    return (
        f"{kernels.num} kernels of {cells} cells, {kernels.chunk} at a time on "
        f"{kernels.devices} device(s); compiled in {kernels.compile_seconds:.1f} s\n"
        f"memory of a chunk, estimated from shapes: {kernels.estimate}\n"
        f"strategy: {kernels.strategy}{measured}"
    )


def _rows(
    job: Job,
    kernels: PopulationKernels,
    todo: Int[np.ndarray, "num genes"],
    index: Int[np.ndarray, " num"],
    pool: ThreadPoolExecutor,
) -> Iterator[dict[str, Any]]:
    """Yields the row of every cell, a chunk or two behind the kernels."""
    owners: dict[int, list[int]] = {}
    for cell, distinct in enumerate(index):
        owners.setdefault(int(distinct), []).append(cell)
    waiting: deque[list[Future[dict[str, Any]]]] = deque()
    before = time.perf_counter()
    for chunk in kernels:
        now = time.perf_counter()
        each = (now - before) / sum(len(owners[int(at)]) for at in chunk.index)
        before = now
        shared = {"strategy": kernels.strategy, "seconds": each}
        waiting.append(_submit(job, chunk, todo, owners, shared, pool))
        if len(waiting) > _WAITING:
            yield from (future.result() for future in waiting.popleft())
    for futures in waiting:
        yield from (future.result() for future in futures)


def _submit(
    job: Job,
    chunk: Chunk,
    todo: Int[np.ndarray, "num genes"],
    owners: dict[int, list[int]],
    shared: Mapping[str, Any],
    pool: ThreadPoolExecutor,
) -> list[Future[dict[str, Any]]]:
    """Has the metrics of a chunk evaluated, for every cell that has one of its kernels."""
    return [
        pool.submit(_row, job, gram_NxN, todo[cell], shared)
        for at, gram_NxN in zip(chunk.index, chunk.gram_KxNxN, strict=True)
        for cell in owners[int(at)]
    ]


def _row(
    job: Job,
    gram_NxN: Float[np.ndarray, "n n"],
    arch: Int[np.ndarray, " genes"],
    shared: Mapping[str, Any],
) -> dict[str, Any]:
    """Builds the row of a cell; its time is that of the metrics and a share of the chunk's."""
    exact = exact_zero(job.model, job.config.parameters, arch, gram_NxN)
    row = kernel_row(job, exact, arch, job.config.init_seed, job.settings.tile)
    return row | {**shared, "seconds": row["seconds"] + shared["seconds"]}
