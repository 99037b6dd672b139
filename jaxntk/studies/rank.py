"""Scores cells, finds their accuracies, and holds every ranking against the truth.

The job behind ``jaxntk run``. Every row is on disk before the next is begun, so a run that was
killed goes on where it was; all random choices come from seeds in the configuration, so it ends
with the same numbers.
"""

import hashlib
import io
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from jaxntk.metrics import Status
from jaxntk.results.report import write_report
from jaxntk.results.rows import read_json, write_bytes_atomic, write_json_atomic
from jaxntk.results.terminal import summary_table
from jaxntk.spaces import nasbench201
from jaxntk.studies import run_folder
from jaxntk.studies.config import TRAIN, ExperimentConfig, validate
from jaxntk.studies.job import Job, prepare
from jaxntk.studies.progress import track
from jaxntk.studies.score import GetKernel, compile_for_run, score_missing
from jaxntk.studies.scoring import CompiledKernel
from jaxntk.studies.summarize import correlations, describe_truth
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
    validate(config)
    job = prepare(config)
    accuracy = _accuracy_fn(config, job)
    # Looks every cell up before anything is written: a table without one leaves nothing behind.
    digest = data_digest(config, job, accuracy)
    run_folder.open_run(out, experiment, command, config, digest)
    kernel = cache(partial(compile_for_run, job, out, console))
    score_missing(job, out / run_folder.SCORES, kernel, console)
    truths = run_folder.rows_by_key(out / run_folder.TRUTH, ("ops",))
    done = {ops for (ops,) in truths}
    source = truth_source(config)
    append_truth(
        out / run_folder.TRUTH, job.archs, done, accuracy, source, partial(track, console=console)
    )
    summary = summarize(config, job, out, experiment, kernel)
    summary["seconds"]["total"] = time.perf_counter() - start
    write_json_atomic(out / run_folder.SUMMARY, summary)
    report = write_report(out)
    console.print(summary_table(summary))
    console.print(f"report: {report}", soft_wrap=True, highlight=False)
    return summary


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
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _accuracy_fn(config: ExperimentConfig, job: Job) -> AccuracyFn:
    if config.truth == TRAIN:
        return trained_accuracy(config, job.network, job.dataset)
    return table_accuracy(config)


def summarize(
    config: ExperimentConfig, job: Job, out: Path, experiment: str, kernel: GetKernel
) -> dict[str, Any]:
    """Builds the summary of a run whose rows are complete, and keeps its two telling kernels.

    Args:
        config: the configuration.
        job: the job it determined.
        out: folder of the run.
        experiment: its name.
        kernel: gives the compiled kernel; called only if the two kernels are not kept yet.

    Returns:
        The content of ``summary.json``, without the total time.
    """
    scores = run_folder.rows_by_key(out / run_folder.SCORES, ("ops", "init_seed"))
    truths = run_folder.rows_by_key(out / run_folder.TRUTH, ("ops",))
    names = [nasbench201.format_ops(arch) for arch in job.archs]
    seeds = range(config.init_seed, config.init_seed + config.num_inits)
    rows = [[scores[name, seed] for seed in seeds] for name in names]
    truth = np.array([truths[(name,)]["accuracy"] for name in names])
    if not (out / run_folder.KERNELS).exists():
        write_bytes_atomic(out / run_folder.KERNELS, telling_kernels(job, kernel(), rows, truth))
    compilation = read_json(out / run_folder.COMPILATION)
    return {
        "experiment": experiment,
        "truth": describe_truth(truth_source(config), truth),
        "num_archs": len(names),
        "num_inits": config.num_inits,
        "data": {
            "name": job.dataset.name,
            "num_images": config.num_images,
            "how": config.batch,
            "seed": config.batch_seed,
            "split": config.split,
            "standardization": asdict(job.standardization),
        },
        **correlations(rows, truth, config.metrics),
        "compilations": compilation["compilations"],
        "seconds": {
            "compile": compilation["seconds"],
            "score": sum(row["seconds"] for cell in rows for row in cell),
            "truth": sum(truths[(name,)]["seconds"] for name in names),
        },
        "memory": {
            "estimate_bytes": compilation["memory_bytes"],
            "peak_rss_bytes": peak_rss_bytes(),
        },
    }


def telling_kernels(
    job: Job,
    kernel: CompiledKernel,
    rows: Sequence[Sequence[Mapping[str, Any]]],
    truth: Float[np.ndarray, " num"],
) -> bytes:
    """Computes the kernels of the most and the least accurate cell, for the report.

    Cells whose kernel is zero are passed over: there is nothing to see.

    Args:
        job: the job.
        kernel: the compiled kernel.
        rows: for each cell its rows of ``scores.jsonl``.
        truth: accuracy of each cell, in percent.

    Returns:
        The content of ``kernels.npz``.
    """
    zero = [
        any(score["status"] == Status.ZERO_KERNEL for score in cell[0]["metrics"].values())
        for cell in rows
    ]
    visible = np.flatnonzero(~np.array(zero)) if not all(zero) else np.arange(len(truth))
    arrays: dict[str, Any] = {"labels": job.batch.y, "metric": "accuracy"}
    for word, pick in (("best", np.argmax), ("worst", np.argmin)):
        index = int(visible[pick(truth[visible])])
        arrays[f"{word}_gram"] = kernel(job.archs[index], job.config.init_seed)
        arrays[f"{word}_arch"] = nasbench201.decode(job.archs[index])
        arrays[f"{word}_accuracy"] = truth[index]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def peak_rss_bytes() -> int:
    """Returns the largest memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
