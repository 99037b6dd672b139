"""Scores architectures, finds their accuracies, and holds every ranking against the truth.

The job behind ``jaxntk run``. Every row is on disk before the next is begun, so a run that was
killed goes on where it was; all random choices come from seeds in the configuration, so it ends
with the same numbers.
"""

import dataclasses
import resource
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxntk.kernels.fourier import vintk_kernel
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.results.report import write_report
from jaxntk.results.terminal import summary_table
from jaxntk.runs import run_folder
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.rows import archive, read_json, write_bytes_atomic, write_json_atomic
from jaxntk.runs.run_folder import Record
from jaxntk.runs.shards import Shard
from jaxntk.spaces.space import written
from jaxntk.studies.config import TRAIN, ExperimentConfig, validate
from jaxntk.studies.job import Job, prepare
from jaxntk.studies.score import KEYS, kernels_for_run, score_missing
from jaxntk.studies.summarize import Cost, Rows, summarize, telling_cells
from jaxntk.studies.truth import (
    AccuracyFn,
    append_truth,
    table_accuracy,
    trained_accuracy,
    truth_source,
)


def run(
    config: ExperimentConfig, out: Path, *, experiment: str, command: str, console: Console
) -> dict[str, Any]:
    """Runs an experiment from its configuration to its report, or goes on with it.

    Args:
        config: the configuration.
        out: folder of the run.
        experiment: its name, for titles.
        command: the line that starts it again.
        console: where progress and the table of results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data, table or folder.
    """
    start = time.perf_counter()
    run_folder.refuse_shards(out)
    job, accuracy, digest = _begin(config)
    record = Record(experiment=experiment, command=command, config=config, data_sha256=digest)
    run_folder.open_run(out, record, validate)
    rows = _complete(config, job, accuracy, out, console)
    summary = summarize(config, experiment, rows, job.data, _cost(out, start))
    # The intervals in the summary take time too.
    summary["seconds"]["total"] = time.perf_counter() - start
    publish(out, summary, console)
    return summary


def run_shard(
    config: ExperimentConfig,
    out: Path,
    shard: Shard,
    *,
    experiment: str,
    command: str,
    console: Console,
) -> Path:
    """Runs one part of an experiment in a folder of its own, or goes on with it.

    The rows are those that :func:`run` would write for these cells.

    Args:
        config: the configuration of the whole.
        out: folder of the run, below which the shard has its own.
        shard: which part.
        experiment: its name, for titles.
        command: the line that starts this shard again.
        console: where progress is shown.

    Returns:
        The folder of the shard.

    Raises:
        InputError: anything wrong with configuration, shard, data, table or folder.
    """
    start = time.perf_counter()
    run_folder.refuse_whole(out, shard, ExperimentConfig, validate)
    # The digest is of the data of all cells, so that it is the same in every shard.
    whole, accuracy, digest = _begin(config)
    job = dataclasses.replace(whole, archs=shard.part(whole.archs))
    record = Record(
        experiment=experiment, command=command, config=config, data_sha256=digest, shard=shard
    )
    folder = out / shard.folder
    run_folder.open_run(folder, record, validate)
    _complete(config, job, accuracy, folder, console)
    finished = {"data": job.data, "cost": dataclasses.asdict(_cost(folder, start))}
    write_json_atomic(folder / run_folder.FINISHED, finished)
    console.print(f"shard {shard} is complete: {folder}", soft_wrap=True, highlight=False)
    line = f"when all {shard.count} are: jaxntk merge {out}"
    console.print(line, soft_wrap=True, highlight=False)
    return folder


def publish(out: Path, summary: dict[str, Any], console: Console) -> None:
    """Writes the summary and the report of a run and shows the table of results.

    Args:
        out: folder of the run; all other files are there.
        summary: the content of ``summary.json``.
        console: where the table is shown.

    Raises:
        InputError: the folder cannot be written to.
    """
    write_json_atomic(out / run_folder.SUMMARY, summary)
    report = write_report(out)
    console.print(summary_table(summary))
    console.print(f"report: {report}", soft_wrap=True, highlight=False)


def data_digest(config: ExperimentConfig, job: Job, accuracy: AccuracyFn) -> str:
    """Returns a SHA-256 of all data that the rows of a run depend on.

    Args:
        config: the configuration.
        job: the job it determined.
        accuracy: ``arch -> accuracy``; asked only if it is a look-up in the table.

    Returns:
        The digest of the batch, and of the training and test sets or of the cells' accuracies.
    """
    arrays = [job.batch.x, job.batch.y]
    if config.truth == TRAIN:
        data = job.dataset
        arrays += [data.x_train, data.y_train, data.x_test, data.y_test]
    else:
        arrays.append(np.array([accuracy(arch) for arch in job.archs]))
    return run_folder.digest_of(*arrays)


def telling_kernels(job: Job, kernels: ModelKernels, rows: Rows) -> bytes:
    """Computes the kernels of the most and the least accurate architecture, for the report.

    Args:
        job: the job.
        kernels: its kernels.
        rows: the rows of its architectures.

    Returns:
        The content of ``kernels.npz``.
    """
    arrays: dict[str, Any] = {"labels": job.batch.y, "metric": "accuracy"}
    for word, index in telling_cells(rows).items():
        of = partial(kernels, job.archs[index], init_seed=job.config.init_seed)
        arrays[f"{word}_gram"] = of() if job.how is None else vintk_kernel(of, job.how)
        arrays[f"{word}_arch"] = written(job.space, job.archs[index])
        arrays[f"{word}_accuracy"] = rows.accuracy[index]
    return archive(arrays)


def peak_rss_bytes() -> int:
    """Returns the largest memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _begin(config: ExperimentConfig) -> tuple[Job, AccuracyFn, str]:
    """Loads what a configuration names and digests it; writes nothing."""
    validate(config)
    job = prepare(config)
    if config.truth == TRAIN:
        accuracy = trained_accuracy(config, job.model, job.dataset)
    else:
        accuracy = table_accuracy(config)
    # Looks every cell up before anything is written: a table without one leaves nothing behind.
    return job, accuracy, data_digest(config, job, accuracy)


def _complete(
    config: ExperimentConfig, job: Job, accuracy: AccuracyFn, folder: Path, console: Console
) -> Rows:
    """Computes the rows and the two kernels that a folder lacks; returns all rows."""
    kernels = cache(partial(kernels_for_run, job, folder, console))
    score_missing(job, folder / run_folder.SCORES, kernels, console)
    done = {arch for (arch,) in run_folder.rows_by_key(folder / run_folder.TRUTH, ("arch",))}
    source = truth_source(config)
    shown = partial(track, console=console)
    append_truth(folder / run_folder.TRUTH, job, done, accuracy, source, shown)
    scores = run_folder.rows_by_key(folder / run_folder.SCORES, KEYS)
    truths = run_folder.rows_by_key(folder / run_folder.TRUTH, ("arch",))
    rows = Rows.of(config, job.archs, scores, truths)
    if not (folder / run_folder.KERNELS).exists():
        write_bytes_atomic(folder / run_folder.KERNELS, telling_kernels(job, kernels(), rows))
    if not kernels.cache_info().misses and len(done) == len(truths):
        say_complete(folder, console)
    return rows


def _cost(folder: Path, start: float) -> Cost:
    """Returns what a run has cost that this process has ended."""
    compilation = read_json(folder / run_folder.COMPILATION)
    return Cost(
        compilations=compilation["compilations"],
        compile_seconds=compilation["seconds"],
        total_seconds=time.perf_counter() - start,
        estimate_bytes=compilation["memory_bytes"],
        peak_rss_bytes=peak_rss_bytes(),
    )
