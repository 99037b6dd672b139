"""Makes Digits-201: trains every distinct cell of NAS-Bench-201 on distorted digits.

4,930 functions stand for the 15,625 cells (:func:`~jaxntk.spaces.nasbench201.function_form`); each
is trained from three seeds, as one training says little, and `REPEATED` of them, drawn at random,
from six, so that means of three can be held against each other. A training is one row of a
JSON-lines file; a run that was stopped goes on with what has no row, and several processes can
share the work as shards.
"""

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from rich.console import Console

from jaxntk.data.batches import standardize
from jaxntk.data.digits201 import NETWORK, table_arrays
from jaxntk.data.images import load_images
from jaxntk.errors import InputError
from jaxntk.networks.nasbench201 import BatchNormMode, NasBench201
from jaxntk.results.rows import append_row, archive, number_or_none, read_rows, write_bytes_atomic
from jaxntk.spaces import nasbench201
from jaxntk.studies.config import TRUTH_SEED
from jaxntk.studies.progress import track
from jaxntk.studies.run_folder import make_folder
from jaxntk.studies.shards import Shard
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import Training, population_training, steps_of
from jaxntk.training.recipe import Recipe

CHANNELS, CELLS_PER_STAGE = NETWORK["channels"], NETWORK["cells_per_stage"]
EPOCHS = 8
RECIPE = Recipe(
    schedule="cosine",
    learning_rate=0.1,
    nesterov=True,
    weight_decay=5e-4,
    batch_size=64,
    augmentation="crop",
    pad=1,
)
SEEDS = tuple(range(TRUTH_SEED, TRUTH_SEED + 3))
"""Of every function. No cell is scored with the weights that a training of the table began with."""
MORE_SEEDS = tuple(range(TRUTH_SEED + 3, TRUTH_SEED + 6))
REPEATED = 300
"""Functions trained from MORE_SEEDS too."""
CHUNK = 16
"""Trainings between two writes."""
SPLITS = ("valid", "test")
"""What a network is tested on after every epoch."""
SEEN = 500
"""Training images that a tested network takes its batch statistics from."""


class Task(NamedTuple):
    """One training.

    Args:
        ops: the cell, as six digits.
        seed: of weights, order of images and augmentation.
    """

    ops: str
    seed: int


@cache
def distinct_functions() -> tuple[Int[np.ndarray, "functions 6"], Int[np.ndarray, " cells"]]:
    """Lists the functions that the cells of the space compute.

    Returns:
        The first cell of each function, in the order of the space, and for each cell of the space
        the number of its function.
    """
    cells = nasbench201.enumerate_space()
    numbers: dict[str, int] = {}
    index = np.array([
        numbers.setdefault(nasbench201.function_form(cell), len(numbers)) for cell in cells
    ])
    first = np.unique(index, return_index=True)[1]
    return cells[first], index


def all_tasks() -> list[Task]:
    """Lists every training of the benchmark, those of the first seed first."""
    functions, _ = distinct_functions()
    names = [nasbench201.format_ops(arch) for arch in functions]
    order = np.random.default_rng(0).permutation(len(names))
    more = [Task(names[at], seed) for seed in MORE_SEEDS for at in order[:REPEATED]]
    return [Task(names[at], seed) for seed in SEEDS for at in order] + more


def train(out: Path, console: Console, shard: Shard | None = None, limit: int | None = None) -> int:
    """Trains what has no row yet; each row is written at once.

    Args:
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
    done = {Task(row["ops"], row["seed"]) for row in trainings(out)}
    tasks = all_tasks()
    mine = tasks if shard is None else tasks[shard.index - 1 :: shard.count]
    todo = [task for task in mine if task not in done][:limit]
    path = out / f"{'all' if shard is None else shard.folder}.jsonl"
    if todo:
        for _, row in zip(track(range(len(todo)), "training", console), _rows(todo), strict=True):
            append_row(path, row)
    return len(done) + len(todo)


def write_table(out: Path, file: Path) -> None:
    """Packs the trainings of a finished run into the file that comes with the package.

    Args:
        out: folder of the run.
        file: an .npz file, replaced at once.

    Raises:
        InputError: trainings that are missing or damaged, or a file that cannot be written.
    """
    rows = trainings(out)
    tasks, found = set(all_tasks()), [Task(row["ops"], row["seed"]) for row in rows]
    for what, count in (
        ("trainings are missing", len(tasks - set(found))),
        ("trainings are none of the benchmark's", len(set(found) - tasks)),
        ("trainings are there twice", len(found) - len(set(found))),
    ):
        if count:
            cure = "run it to its end, in a folder of its own"
            raise InputError("out", f"{out}, where {count} {what}", cure)
    _, index = distinct_functions()
    write_bytes_atomic(file, archive(table_arrays(rows, index)))


def trainings(out: Path) -> list[dict[str, Any]]:
    """Reads the rows of all shards.

    Args:
        out: folder of the run.

    Returns:
        A row a training, with ``ops``, ``seed``, ``finite``, ``seconds`` and, a number an epoch,
        ``loss``, ``train`` (fraction right, as the images came) and ``valid`` and ``test`` (how
        many images were classified right).

    Raises:
        InputError: a damaged file.
    """
    return [row for path in sorted(out.glob("*.jsonl")) for row in read_rows(path)]


class _Programs(NamedTuple):
    """The images on the device, and what is compiled for them."""

    images: tuple[jax.Array, jax.Array]
    splits: dict[str, tuple[jax.Array, jax.Array]]
    training: Training
    test: Callable[..., dict[str, jax.Array]]


@cache
def _programs(channels: int, epochs: int) -> _Programs:
    dataset, _ = standardize(load_images("digits201"))
    x, y = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    arrays = {"valid": (dataset.x_valid, dataset.y_valid), "test": (dataset.x_test, dataset.y_test)}
    network = NasBench201(dataset.num_classes, channels, CELLS_PER_STAGE, BatchNormMode.BATCH)
    steps = epochs * steps_of(len(x), RECIPE)
    training = population_training(network, RECIPE, steps, x.shape[1:], x.dtype)
    splits = jax.tree.map(jnp.asarray, arrays)
    return _Programs((x, y), splits, training, make_evaluation(network))


def _rows(todo: list[Task]) -> Iterator[dict[str, Any]]:
    """Trains chunk by chunk and yields the rows."""
    (x, y), splits, training, test = _programs(CHANNELS, EPOCHS)
    for start in range(0, len(todo), CHUNK):
        tasks = todo[start : start + CHUNK]
        # The last chunk is filled up, as another size would compile anew.
        filled = tasks + tasks[-1:] * (CHUNK - len(tasks))
        archs = jnp.asarray([nasbench201.parse_ops(task.ops) for task in filled], jnp.int32)
        begun = time.perf_counter()
        states, epochs = training.init([task.seed for task in filled]), []
        for _ in range(EPOCHS):
            states, epoch = training.epoch(states, archs, x, y)
            tested = test(states, archs, x[:SEEN], splits)
            right = {name: np.asarray(tested[name]) * len(splits[name][1]) for name in SPLITS}
            epochs.append({"loss": epoch.loss, "train": epoch.accuracy, **right})
        seconds = (time.perf_counter() - begun) / CHUNK
        for at, task in enumerate(tasks):
            finite = bool(epoch.finite[at])
            yield (
                {"ops": task.ops, "seed": task.seed, "finite": finite, "seconds": seconds}
                | {
                    "loss": [_rounded(row["loss"][at]) for row in epochs],
                    "train": [round(float(row["train"][at]), 4) for row in epochs],
                }
                | {name: [round(float(row[name][at])) for row in epochs] for name in SPLITS}
            )


def _rounded(loss: Any) -> float | None:
    finite = number_or_none(loss)
    return finite if finite is None else round(finite, 5)
