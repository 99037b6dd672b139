"""Reading a finished run folder."""

import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxntk.errors import InputError
from jaxntk.metrics import Score
from jaxntk.runs.rows import read_json, read_rows

REQUIRED_FILES = (
    "config.json",
    "environment.json",
    "scores.jsonl",
    "truth.jsonl",
    "summary.json",
)
SHARD_FOLDERS = "shard-*-of-*"
"""The folders of shards below that of a run that is not merged yet, as a pattern."""

_KERNEL_ARRAYS = (
    "metric",
    "best_gram",
    "worst_gram",
    "labels",
    "best_arch",
    "worst_arch",
    "best_accuracy",
    "worst_accuracy",
)
_SUMMARY_KEYS = ("experiment", "truth", "num_archs", "num_inits", "data", "metrics", "baselines")


@dataclass(frozen=True)
class Kernels:
    """The Gram matrices of the best and the worst cell.

    Attributes:
        metric: what named them: "accuracy", or a metric.
        best_gram: kernel of the best cell.
        worst_gram: kernel of the worst cell.
        labels: class of each image.
        best_arch: the best cell as the benchmark writes it.
        worst_arch: the worst cell.
        best_accuracy: true accuracy of the best cell in percent.
        worst_accuracy: true accuracy of the worst cell in percent.
    """

    metric: str
    best_gram: Float[np.ndarray, "n n"]
    worst_gram: Float[np.ndarray, "n n"]
    labels: Int[np.ndarray, " n"]
    best_arch: str
    worst_arch: str
    best_accuracy: float
    worst_accuracy: float


@dataclass(frozen=True)
class Run:
    """What a finished run has written.

    Attributes:
        folder: where it lies.
        config: ``config.json``.
        environment: ``environment.json``.
        summary: ``summary.json``.
        scores: rows of ``scores.jsonl``, one a cell and initialisation.
        truth: rows of ``truth.jsonl``, one a cell.
        kernels: ``kernels.npz``, or None where the run kept none.
    """

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    summary: dict[str, Any]
    scores: list[dict[str, Any]]
    truth: list[dict[str, Any]]
    kernels: Kernels | None


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Reads a finished run folder.

    Args:
        folder: the ``--out`` of a run.

    Returns:
        Its content.

    Raises:
        InputError: `folder` is no run folder, the run has not ended, or a file is broken.
    """
    folder = Path(folder)
    _refuse_unfinished(folder)
    config = read_json(folder / "config.json")
    for key, kind in (("config", dict), ("command", str)):
        if not isinstance(config.get(key), kind):
            got = f"{key}={config.get(key)!r}"
            raise InputError(str(folder / "config.json"), got, "give the file as it was written")
    summary = read_json(folder / "summary.json")
    lacking = [key for key in _SUMMARY_KEYS if key not in summary]
    if lacking:
        cure = f"remove the file and run again: {config['command']}"
        raise InputError(str(folder / "summary.json"), f"no {', '.join(lacking)}", cure)
    return Run(
        folder=folder,
        config=config,
        environment=read_json(folder / "environment.json"),
        summary=summary,
        scores=read_rows(folder / "scores.jsonl"),
        truth=read_rows(folder / "truth.jsonl"),
        kernels=_load_kernels(folder / "kernels.npz"),
    )


def mean_over_rows(rows: Sequence[Mapping[str, Any]], metric: str) -> Score:
    """Averages a metric of one cell over its initialisations.

    A cell with an invalid score in any initialisation is invalid as a whole: the mean of the others
    would rank it by the draws in which it did not fail.

    Args:
        rows: the cell's rows of ``scores.jsonl``, one an initialisation.
        metric: name of the metric.

    Returns:
        The mean, or the first invalid score.
    """
    scores = [Score.from_json(row["metrics"][metric]) for row in rows]
    invalid = next((score for score in scores if not score.valid), None)
    return invalid or Score.of(float(np.mean([score.value for score in scores])))


def mean_over_inits(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """Averages a metric over the initialisations of each cell, as :func:`mean_over_rows` does.

    Args:
        rows: rows of ``scores.jsonl``.
        metric: name of the metric.

    Returns:
        The mean score by ``arch``, in order of first appearance; NaN where it is invalid.

    Example:
        >>> from jaxntk.metrics import Status
        >>> row = lambda arch, score: {"arch": arch, "metrics": {"lga": score.to_json()}}
        >>> failed = Score.invalid(Status.NONFINITE)
        >>> rows = [row("a", Score.of(1.0)), row("a", Score.of(2.0)), row("b", failed)]
        >>> mean_over_inits(rows, "lga")
        {'a': 1.5, 'b': nan}
    """
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_cell.setdefault(row["arch"], []).append(row)
    return {arch: mean_over_rows(cell, metric).value for arch, cell in by_cell.items()}


def count_statuses(rows: Sequence[Mapping[str, Any]], metric: str) -> Counter[str]:
    """Counts the statuses of a metric.

    Args:
        rows: rows of ``scores.jsonl``.
        metric: name of the metric.

    Returns:
        How many rows have each status.
    """
    return Counter(row["metrics"][metric]["status"] for row in rows if metric in row["metrics"])


def read_kernels(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of ``kernels.npz`` as they were written.

    Args:
        path: the file.

    Returns:
        The arrays by name: the fields of :class:`Kernels`.

    Raises:
        InputError: the file is broken or lacks an array.
    """
    try:
        # Opened here: NumPy leaves a broken archive open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in _KERNEL_ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        cure = "remove the file and run the same command again"
        raise InputError(str(path), f"broken arrays ({error})", cure) from error


def _refuse_unfinished(folder: Path) -> None:
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if not missing:
        return
    merge = "merge the shards first: jaxntk merge"
    if missing == list(REQUIRED_FILES):
        if any(folder.glob(SHARD_FOLDERS)):
            got = f"{folder}, which holds shards of a run"
            raise InputError("out_dir", got, f"{merge} {folder}")
        what = "holds no run" if folder.is_dir() else "is no folder"
        raise InputError("out_dir", f"{folder}, which {what}", "give the --out folder of a run")
    there = (folder / "config.json").is_file()
    config = read_json(folder / "config.json") if there else {}
    if "shard" in config:
        got = f"{folder}, shard {config['shard']} of a run"
        raise InputError("out_dir", got, f"{merge} {folder.parent}")
    summary = read_json(folder / "summary.json") if (folder / "summary.json").is_file() else {}
    if "experiment" in summary and not set(_SUMMARY_KEYS) <= set(summary):
        kind = summary["experiment"]
        cure = "its tables and pictures lie there; give the --out folder of jaxntk run"
        raise InputError("out_dir", f"{folder}, which holds {kind}", cure)
    command = config.get("command", "the same command again")
    got = f"{folder}, an unfinished run without {', '.join(missing)}"
    raise InputError("out_dir", got, f"run it to the end first: {command}")


def _load_kernels(path: Path) -> Kernels | None:
    if not path.is_file():
        return None
    stored = read_kernels(path)
    try:
        return Kernels(
            metric=str(stored["metric"]),
            best_gram=np.asarray(stored["best_gram"], np.float64),
            worst_gram=np.asarray(stored["worst_gram"], np.float64),
            labels=stored["labels"],
            best_arch=str(stored["best_arch"]),
            worst_arch=str(stored["worst_arch"]),
            best_accuracy=float(stored["best_accuracy"]),
            worst_accuracy=float(stored["worst_accuracy"]),
        )
    except (TypeError, ValueError) as error:
        cure = "remove the file and run the same command again"
        raise InputError(str(path), f"broken arrays ({error})", cure) from error
