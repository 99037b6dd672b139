"""Makes Digits-ViT: trains every small vision transformer of a space on handwritten digits.

Each is trained once, and `REPEATED` of them, drawn at random, from three seeds. How a run goes on:
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

from jaxntk.data.batches import standardize
from jaxntk.data.digits_vit import NETWORK, NUM_VALID, SPACE, architectures, table_arrays
from jaxntk.data.images import load_images
from jaxntk.data.reduced import with_validation
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.vit import transformer_model
from jaxntk.runs.rows import archive, write_bytes_atomic
from jaxntk.spaces import autoformer
from jaxntk.studies.config import TRUTH_SEED
from jaxntk.studies.tables.make import Benchmark, Programs, Task, complete, trained_rows
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import population_training, steps_of
from jaxntk.training.recipe import Recipe

EPOCHS = 30
RECIPE = Recipe(
    optimizer="adamw",
    schedule="cosine",
    learning_rate=5e-3,
    weight_decay=0.05,
    batch_size=32,
    augmentation="none",
)
SEED = TRUTH_SEED
"""Of every architecture; none is scored with the weights that a training here began with."""
MORE_SEEDS = (TRUTH_SEED + 1, TRUTH_SEED + 2)
REPEATED = 60
"""Architectures trained from MORE_SEEDS too."""
CHUNK = 16
"""Trainings between two writes."""


def all_tasks() -> list[Task]:
    """Lists every training of the benchmark, those of the first seed first."""
    names = [autoformer.to_string(arch, SPACE) for arch in architectures()]
    order = np.random.default_rng(0).permutation(len(names))
    more = [Task(names[at], seed) for seed in MORE_SEEDS for at in order[:REPEATED]]
    return [Task(names[at], SEED) for at in order] + more


def write_table(out: Path, file: Path) -> None:
    """Packs the trainings of a finished run into the file that comes with the package.

    Args:
        out: folder of the run.
        file: an .npz file, replaced at once.

    Raises:
        InputError: trainings that are missing or damaged, or a file that cannot be written.
    """
    write_bytes_atomic(file, archive(table_arrays(complete(BENCHMARK, out))))


@cache
def _programs(epochs: int) -> Programs:
    dataset, _ = standardize(with_validation(load_images("digits"), NUM_VALID))
    x, y = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    arrays = {"valid": (dataset.x_valid, dataset.y_valid), "test": (dataset.x_test, dataset.y_test)}
    splits = jax.tree.map(jnp.asarray, arrays)
    model = transformer_model(AutoFormer(SPACE, dataset.num_classes, NETWORK["patch_size"]))
    steps = epochs * steps_of(len(x), RECIPE)
    test = make_evaluation(model)
    return Programs(
        (x, y),
        splits,
        population_training(model, RECIPE, steps, x.shape[1:], x.dtype),
        lambda states, archs: test(states, archs, x[:0], splits),
        lambda names: jnp.asarray(
            [autoformer.from_string(name, SPACE) for name in names], jnp.int32
        ),
    )


def _rows(todo: Sequence[Task]) -> Iterator[dict[str, Any]]:
    return trained_rows(todo, _programs(EPOCHS), field="arch", epochs=EPOCHS, chunk=CHUNK)


def _about() -> dict[str, Any]:
    return {"epochs": EPOCHS, "recipe": asdict(RECIPE)}


BENCHMARK = Benchmark("arch", _about, all_tasks, _rows)
"""Digits-ViT; rows are those of :func:`~jaxntk.studies.tables.make.trained_rows`."""
