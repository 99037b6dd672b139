"""Runs an experiment whose cells are scored as one population, and says how long that took."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.population.strategies import Strategy
from jaxntk.runs import run_folder
from jaxntk.runs.rows import write_json_atomic
from jaxntk.spaces.space import listed
from jaxntk.studies.config import TRAIN, ExperimentConfig, validate
from jaxntk.studies.job import Job, prepare
from jaxntk.studies.rank import data_digest, run
from jaxntk.studies.score_population import PopulationCost, projected_seconds, score_population
from jaxntk.studies.truth import table_accuracy

POPULATION = "population.json"
"""File of a run folder that says how its population was scored and what it took."""


@dataclass(frozen=True)
class Options:
    """Score a population of cells at once."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    cells: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Cells to sample; by default those of the experiment."""
    n: int | None = None
    """Images the kernel is computed on; by default those of the experiment."""
    strategy: Strategy | Literal["auto"] = "auto"
    """How kernels are computed; auto measures."""
    chunk: int | None = None
    """Cells computed together; fewer need less memory."""
    data_dir: str | None = None
    """Folder of images and table; by default what JAXNTK_DATA names."""


def run_population(
    config: ExperimentConfig, options: Options, *, experiment: str, command: str, console: Console
) -> dict[str, Any]:
    """Scores the cells of an experiment as one population and finishes the run as any other.

    The time that is printed runs from the planning to the last row on disk; loading the data, the
    table of results and the report are not in it.

    Args:
        config: the experiment; its truth is a column of the benchmark table.
        options: how it is run.
        experiment: its name, for titles.
        command: the line that starts it again.
        console: where progress and the table of results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data, table or folder.
    """
    config = replace(
        config,
        num_archs=config.num_archs if options.cells is None else options.cells,
        num_images=config.num_images if options.n is None else options.n,
        data_dir=config.data_dir if options.data_dir is None else options.data_dir,
    )
    validate(config)
    if config.truth == TRAIN:
        cure = "name a column of the benchmark table, such as cifar10/test/200"
        raise InputError("truth", TRAIN, cure)
    job = prepare(config)
    digest = data_digest(config, job, table_accuracy(config))
    record = run_folder.Record(
        experiment=experiment, command=command, config=config, data_sha256=digest
    )
    run_folder.refuse_shards(options.out)
    run_folder.open_run(options.out, record, validate)
    cost = score_population(
        job,
        options.out / run_folder.SCORES,
        console,
        strategy=options.strategy,
        chunk=options.chunk,
    )
    told = []
    if cost.kernels:
        told = _told(cost, job)
        write_json_atomic(options.out / POPULATION, asdict(cost))
    start = time.perf_counter()
    summary = run(config, options.out, experiment=experiment, command=command, console=console)
    for line in told:
        console.print(line, highlight=False)
    console.print(f"table and report: {time.perf_counter() - start:.1f} s more", highlight=False)
    return summary


def _told(cost: PopulationCost, job: Job) -> list[str]:
    """Says what scoring took and, where not all cells were scored, what all would take."""
    images = job.config.num_images
    whole = cost.prepare_seconds + cost.seconds
    lines = [
        f"scored {cost.cells} cells ({cost.kernels} kernels), {images} images, in "
        f"{whole:.1f} s, {cost.prepare_seconds:.1f} s of them planning and compiling "
        f"(strategy {cost.strategy})"
    ]
    every = listed(job.space)
    if every is not None and len(job.archs) < len(every):
        projected = projected_seconds(job, cost)
        lines.append(
            f"PROJECTION, not measured: all {len(every)} cells at {images} images on this machine "
            f"would take {projected:.0f} s"
        )
    return lines
