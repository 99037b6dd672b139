"""Makes Digits-201: trains every distinct cell of NAS-Bench-201 on distorted digits.

4,930 functions stand for the 15,625 cells (:func:`~jaxntk.spaces.nasbench201.function_form`); each
is trained from three seeds, as one training says little, and `REPEATED` of them, drawn at random,
from six, so that means of three can be held against each other. How a run goes on:
:mod:`jaxntk.studies.tables.make`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxntk.data.batches import standardize
from jaxntk.data.digits201 import NETWORK, table_arrays
from jaxntk.data.images import load_images
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.runs.rows import archive, write_bytes_atomic
from jaxntk.spaces import nasbench201
from jaxntk.studies.config import TRUTH_SEED
from jaxntk.studies.tables.make import Benchmark, Programs, Task, complete, trained_rows
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import population_training, steps_of
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


def write_table(out: Path, file: Path) -> None:
    """Packs the trainings of a finished run into the file that comes with the package.

    Args:
        out: folder of the run.
        file: an .npz file, replaced at once.

    Raises:
        InputError: trainings that are missing or damaged, or a file that cannot be written.
    """
    _, index = distinct_functions()
    write_bytes_atomic(file, archive(table_arrays(complete(BENCHMARK, out), index)))


@cache
def _programs(channels: int, epochs: int) -> Programs:
    dataset, _ = standardize(load_images("digits201"))
    x, y = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    arrays = {"valid": (dataset.x_valid, dataset.y_valid), "test": (dataset.x_test, dataset.y_test)}
    splits = jax.tree.map(jnp.asarray, arrays)
    model = cell_model(NasBench201(dataset.num_classes, channels, CELLS_PER_STAGE))
    steps = epochs * steps_of(len(x), RECIPE)
    test = make_evaluation(model)
    return Programs(
        (x, y),
        splits,
        population_training(model, RECIPE, steps, x.shape[1:], x.dtype),
        lambda states, archs: test(states, archs, x[:SEEN], splits),
        lambda names: jnp.asarray([nasbench201.parse_ops(name) for name in names], jnp.int32),
    )


def _rows(todo: Sequence[Task]) -> Iterator[dict[str, Any]]:
    programs = _programs(CHANNELS, EPOCHS)
    return trained_rows(todo, programs, field="ops", epochs=EPOCHS, chunk=CHUNK)


def _about() -> dict[str, Any]:
    return {"epochs": EPOCHS, "channels": CHANNELS, "recipe": asdict(RECIPE)}


BENCHMARK = Benchmark("ops", _about, all_tasks, _rows)
"""Digits-201; rows are those of :func:`~jaxntk.studies.tables.make.trained_rows`."""
