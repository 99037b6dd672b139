"""Makes a benchmark table: trains what has no row yet, resumable and in shards.

A training is one row of a JSON-lines file, written at once. A run that was stopped goes on with
what has no row, and several processes can share the work as shards.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.results.rows import append_row, read_rows
from jaxntk.studies.progress import track
from jaxntk.studies.run_folder import make_folder
from jaxntk.studies.shards import Shard


class Task(NamedTuple):
    """One training.

    Args:
        name: of the architecture, as rows have it.
        seed: of weights, order of images and augmentation.
    """

    name: str
    seed: int


@dataclass(frozen=True)
class Benchmark:
    """What is trained, and how.

    Args:
        field: of a row, that holds the name of the architecture.
        tasks: lists every training.
        rows: trains some tasks and yields their rows, in this order.
    """

    field: str
    tasks: Callable[[], Sequence[Task]]
    rows: Callable[[Sequence[Task]], Iterator[dict[str, Any]]]


def train(
    benchmark: Benchmark,
    out: Path,
    console: Console,
    shard: Shard | None = None,
    limit: int | None = None,
) -> int:
    """Trains what has no row yet; each row is written at once.

    Args:
        benchmark: the benchmark.
        out: folder of the run.
        console: where progress is shown.
        shard: which part of the work this process does; None for all.
        limit: trainings to stop after; None for no limit.

    Returns:
        How many trainings have a row now.

    Raises:
        InputError: the folder cannot be written to or holds a damaged file, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InputError("limit", limit, "give at least 1")
    make_folder(out)
    done = set(_found(benchmark, trainings(out)))
    tasks = benchmark.tasks()
    mine = tasks if shard is None else tasks[shard.index - 1 :: shard.count]
    todo = [task for task in mine if task not in done][:limit]
    path = out / f"{'all' if shard is None else shard.folder}.jsonl"
    if todo:
        bar = track(range(len(todo)), "training", console)
        for _, row in zip(bar, benchmark.rows(todo), strict=True):
            append_row(path, row)
    return len(done) + len(todo)


def trainings(out: Path) -> list[dict[str, Any]]:
    """Reads the rows of all shards.

    Args:
        out: folder of the run.

    Returns:
        A row a training.

    Raises:
        InputError: a damaged file.
    """
    return [row for path in sorted(out.glob("*.jsonl")) for row in read_rows(path)]


def complete(benchmark: Benchmark, out: Path) -> list[dict[str, Any]]:
    """Reads the rows of a run that is finished.

    Args:
        benchmark: the benchmark.
        out: folder of the run.

    Returns:
        A row a training.

    Raises:
        InputError: trainings that are missing, foreign, there twice or damaged.
    """
    rows = trainings(out)
    tasks, found = set(benchmark.tasks()), list(_found(benchmark, rows))
    for what, count in (
        ("trainings are missing", len(tasks - set(found))),
        ("trainings are none of the benchmark's", len(set(found) - tasks)),
        ("trainings are there twice", len(found) - len(set(found))),
    ):
        if count:
            cure = "run it to its end, in a folder of its own"
            raise InputError("out", f"{out}, where {count} {what}", cure)
    return rows


def _found(benchmark: Benchmark, rows: Iterable[dict[str, Any]]) -> Iterator[Task]:
    return (Task(row[benchmark.field], row["seed"]) for row in rows)
