"""Makes a benchmark table: trains what has no row yet, resumable and in shards.

A training is one row of a JSON-lines file, written at once. A run that was stopped goes on with
what has no row, and several processes can share the work as shards.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.rows import (
    append_row,
    number_or_none,
    read_json,
    read_rows,
    write_json_atomic,
)
from jaxntk.runs.run_folder import make_folder
from jaxntk.runs.shards import Shard
from jaxntk.training.population import Training

ABOUT = "benchmark.json"
"""What the trainings in a folder depend on."""


class Task(NamedTuple):
    """One training.

    Args:
        name: of the architecture, as rows have it.
        seed: of weights, order of images and augmentation.
    """

    name: str
    seed: int


class Programs(NamedTuple):
    """The images on the device, and what is compiled for them.

    Args:
        images: to train on, with their labels.
        splits: images and labels to test on, by name.
        training: of a chunk of architectures.
        test: ``(states, archs) -> {split: fractions right}``.
        encode: ``names -> archs (num, genes)``.
    """

    images: tuple[jax.Array, jax.Array]
    splits: dict[str, tuple[jax.Array, jax.Array]]
    training: Training
    test: Callable[[Any, jax.Array], dict[str, jax.Array]]
    encode: Callable[[Sequence[str]], jax.Array]


@dataclass(frozen=True)
class Benchmark:
    """What is trained, and how.

    Args:
        field: of a row, that holds the name of the architecture.
        about: what the numbers depend on, as JSON values; a folder of another one is refused.
        tasks: lists every training.
        rows: trains some tasks and yields their rows, in this order.
    """

    field: str
    about: Callable[[], dict[str, Any]]
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
        InputError: the folder cannot be written to, holds a damaged file or trainings of another
            recipe, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InputError("limit", limit, "give at least 1")
    make_folder(out)
    _refuse_other(benchmark, out)
    done = set(_found(benchmark, trainings(out)))
    tasks = benchmark.tasks()
    mine = tasks if shard is None else tasks[shard.index - 1 :: shard.count]
    todo = [task for task in mine if task not in done][:limit]
    path = out / f"{'all' if shard is None else shard.folder}.jsonl"
    if todo:
        bar = track(range(len(todo)), "training", console)
        for _, row in zip(bar, benchmark.rows(todo), strict=True):
            append_row(path, row)
    else:
        say_complete(out, console)
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


def trained_rows(
    todo: Sequence[Task], programs: Programs, *, field: str, epochs: int, chunk: int
) -> Iterator[dict[str, Any]]:
    """Trains chunk by chunk.

    Args:
        todo: what is trained.
        programs: the compiled functions.
        field: of a row, that holds the name of the architecture.
        epochs: of each training.
        chunk: trainings between two writes.

    Yields:
        A row a training, with its name, ``seed``, ``finite``, ``seconds`` and, a number an epoch,
        ``loss``, ``train`` (fraction right, as the images came) and for each split how many images
        were classified right.
    """
    x, y = programs.images
    for start in range(0, len(todo), chunk):
        tasks = list(todo[start : start + chunk])
        # The last chunk is filled up, as another size would compile anew.
        filled = tasks + tasks[-1:] * (chunk - len(tasks))
        archs = programs.encode([task.name for task in filled])
        begun = time.perf_counter()
        states, found = programs.training.init([task.seed for task in filled]), []
        finite = np.ones(len(filled), bool)
        for _ in range(epochs):
            states, epoch = programs.training.epoch(states, archs, x, y)
            tested = programs.test(states, archs)
            right = {
                name: np.asarray(tested[name]) * len(labels)
                for name, (_, labels) in programs.splits.items()
            }
            found.append({"loss": epoch.loss, "train": epoch.accuracy, **right})
            finite = np.asarray(epoch.finite)
        seconds = (time.perf_counter() - begun) / chunk
        for at, task in enumerate(tasks):
            yield {
                field: task.name,
                "seed": task.seed,
                "finite": bool(finite[at]),
                "seconds": seconds,
                "loss": [_rounded(row["loss"][at]) for row in found],
                "train": [round(float(row["train"][at]), 4) for row in found],
            } | {name: [round(float(row[name][at])) for row in found] for name in programs.splits}


def _refuse_other(benchmark: Benchmark, out: Path) -> None:
    """Writes down what a run depends on, or compares it with what is there."""
    path, about = out / ABOUT, benchmark.about()
    if not path.exists():
        write_json_atomic(path, about)
        return
    there = read_json(path)
    for name in (*about, *there):
        if there.get(name) != about.get(name):
            got = f"{out}, a run with {name}={there.get(name)!r}, not {about.get(name)!r}"
            raise InputError("out", got, "give another folder")


def _rounded(loss: Any) -> float | None:
    finite = number_or_none(loss)
    return finite if finite is None else round(finite, 5)


def _found(benchmark: Benchmark, rows: Iterable[dict[str, Any]]) -> Iterator[Task]:
    for row in rows:
        if not {benchmark.field, "seed"} <= set(row):
            got = f"a row without {benchmark.field} and seed"
            raise InputError(
                "out", got, "give a folder that holds trainings of this benchmark only"
            )
        yield Task(row[benchmark.field], row["seed"])
