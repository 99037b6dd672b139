"""The ground truth that rankings are held against: a benchmark's table, or training here."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxntk.data.images import ImageDataset
from jaxntk.data.truths import find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.networks.model import Model
from jaxntk.runs.rows import append_row
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import written
from jaxntk.studies.config import TRAIN, TRUTH_SEED, ExperimentConfig
from jaxntk.studies.job import Job
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import population_training, steps_of
from jaxntk.training.recipe import Recipe

AccuracyFn = Callable[[Int[np.ndarray, " genes"]], float]
Track = Callable[[Sequence[Any], str], Any]


def truth_source(config: ExperimentConfig) -> str:
    """Names where the ground truth of a run comes from.

    Args:
        config: the configuration.

    Returns:
        ``train:EPOCHS`` or the table's dataset, split and epochs.
    """
    return f"train:{config.train_epochs}" if config.truth == TRAIN else config.truth


def table_accuracy(config: ExperimentConfig) -> AccuracyFn:
    """Returns the look-up of an accuracy in a table.

    Args:
        config: names the table and its column.

    Returns:
        ``arch -> accuracy`` in percent.

    Raises:
        InputError: the table is missing or damaged, or lacks the column.
    """
    table = find_table(config.data_dir, config.table)
    look_up = table_look_up(config.truth, SPACES[config.space], table)
    return lambda arch: float(look_up(arch[None, :])[0])


def trained_accuracy(config: ExperimentConfig, model: Model, dataset: ImageDataset) -> AccuracyFn:
    """Returns the function that trains a network and tests it; it is compiled at its first call.

    Args:
        config: the recipe.
        model: the network to train.
        dataset: standardised images.

    Returns:
        ``arch -> test accuracy`` in percent, a mean over ``train_repeats`` trainings.

    Raises:
        InputError: a training batch is larger than the training set, or a seed that is too large.
    """
    if config.train_seed + config.train_repeats > TRUTH_SEED:
        raise InputError("train_seed", config.train_seed, f"give a seed far below {TRUTH_SEED}")
    if config.train_batch_size > len(dataset.x_train):
        cure = f"the training set has {len(dataset.x_train)} images"
        raise InputError("train_batch_size", config.train_batch_size, cure)
    recipe = Recipe(
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        batch_size=config.train_batch_size,
        augmentation="none",
    )
    x, y, x_test, y_test = (
        jnp.asarray(array)
        for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test)
    )
    steps = config.train_epochs * steps_of(len(x), recipe)
    training = population_training(model, recipe, steps, x.shape[1:], x.dtype)
    test = make_evaluation(model)
    first = TRUTH_SEED + config.train_seed
    seeds = range(first, first + config.train_repeats)

    def accuracy(arch: Int[np.ndarray, " genes"]) -> float:
        archs = jnp.tile(jnp.asarray(arch, jnp.int32), (config.train_repeats, 1))
        states = training.init(seeds)
        for _ in range(config.train_epochs):
            states, _ = training.epoch(states, archs, x, y)
        return 100 * float(test(states, archs, x, {"test": (x_test, y_test)})["test"].mean())

    return accuracy


def append_truth(
    path: Path,
    job: Job,
    done: set[str],
    accuracy: AccuracyFn,
    source: str,
    track: Track,
) -> None:
    """Finds the accuracy of every architecture that has none yet and appends its row.

    Args:
        path: ``truth.jsonl`` of the run.
        job: has the architectures.
        done: written forms of those that have a row.
        accuracy: ``arch -> accuracy`` in percent.
        source: what the rows say of where it comes from.
        track: wraps a sequence in a progress bar, with a description.
    """
    todo = [arch for arch in job.archs if written(job.space, arch) not in done]
    if not todo:
        return
    for arch in track(todo, "ground truth"):
        start = time.perf_counter()
        value = accuracy(arch)
        row = {
            **job.space.describe(arch),
            "accuracy": value,
            "source": source,
            "seconds": time.perf_counter() - start,
        }
        append_row(path, row)
