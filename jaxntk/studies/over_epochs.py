"""Does a kernel rank architectures better after a little training? A study from start to figure."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from rich.console import Console

from jaxntk.data.batches import standardize
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.data.reduced import first_images, shrunk, with_validation
from jaxntk.data.truths import TableLookUp, find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.kernels.settings import ACTIVATIONS
from jaxntk.results.over_epochs_plot import over_epochs_figure
from jaxntk.results.over_epochs_table import flat_entries, terminal_table
from jaxntk.runs import run_folder
from jaxntk.runs.publish import Publication
from jaxntk.runs.study import Rows, Study
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import groups, written
from jaxntk.studies.job import Job, checked, kernel_batch, look, population
from jaxntk.studies.over_epochs_config import OverEpochsConfig, validate_over_epochs
from jaxntk.studies.over_epochs_rows import KEYS, OverTraining, compute_missing
from jaxntk.studies.over_epochs_summary import over_epochs_entries, verdict
from jaxntk.studies.summarize import describe_truth

FIGURE, TABLE = "over_epochs.png", "over_epochs.csv"
NAME = "over_epochs"


def prepare(config: OverEpochsConfig) -> OverTraining:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with the configuration, the table or the data, or a batch larger
            than the training set.
    """
    validate_over_epochs(config)
    images = load_images(config.data, data_dir=config.data_dir)
    look_up = table_look_up(
        config.truth, SPACES[config.space], find_table(config.data_dir, config.table)
    )
    return make_study(config, images, population(config), look_up)


def make_study(
    config: OverEpochsConfig,
    images: ImageDataset,
    archs: Int[np.ndarray, "num genes"],
    look_up: TableLookUp | None,
) -> OverTraining:
    """Prepares the study of a configuration that was checked; writes nothing.

    Args:
        config: the configuration.
        images: that it names.
        archs: the architectures that are known beforehand.
        look_up: their ground truth; None where they have none.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with the data, or a batch larger than the training set.
    """
    loaded = with_validation(images, config.validation_images)
    if config.train_images is not None:
        loaded = first_images(loaded, config.train_images)
    side = config.image_size or loaded.x_train.shape[1]
    enlarged = side > loaded.x_train.shape[1]
    if enlarged and max(config.epochs):
        cure = f"give at most {loaded.x_train.shape[1]}: training images are not enlarged"
        raise InputError("image_size", side, cure)
    if config.image_size is not None and not enlarged:
        loaded = shrunk(loaded, side)
    dataset, numbers = standardize(loaded)
    batch = kernel_batch(config, dataset)
    dtype = ACTIVATIONS[config.dtype]
    jobs = {
        mode: checked(Job(config.scoring(mode), archs, dataset, numbers, batch))
        for mode in config.modes
    }
    valid = None
    if dataset.x_valid is not None and not enlarged:
        valid = (jnp.asarray(dataset.x_valid, dtype), jnp.asarray(dataset.y_valid))
    splits = (
        getattr(dataset, f"{axis}_{split}")
        for axis in ("x", "y")
        for split in ("train", "valid", "test")
    )
    seen = run_folder.digest_of(*(array for array in splits if array is not None), batch.indices)
    truth = np.zeros(0) if look_up is None else look_up(archs)
    study = OverTraining(
        config,
        jobs,
        jnp.asarray(dataset.x_train, dtype),
        jnp.asarray(dataset.y_train),
        valid,
        truth,
        run_folder.digest_of(seen, truth),
        seen,
    )
    for how in config.variants(0).values():
        look(study.job, how)
    _ = study.steps_an_epoch
    return study


def _seconds(config: OverEpochsConfig, rows: Rows) -> dict[str, Any]:
    """Says what a network costs: its training up to the last epoch, and a kernel in each mode."""
    last = [row for (_, _, epoch, *_), row in rows.items() if epoch == max(config.epochs)]
    kernels = {
        mode: float(np.mean([row["seconds"] for (*_, m, _), row in rows.items() if m == mode]))
        for mode in config.modes
    }
    return {"training": float(np.mean([row["train_seconds"] for row in last])), "kernel": kernels}


def summarize(study: OverTraining, rows: Rows, console: Console) -> dict[str, Any]:
    """Ranks the architectures by every score after every number of epochs.

    Args:
        study: the study.
        rows: the rows by architecture, seed, epoch and mode.
        console: where progress is shown.

    Returns:
        The summary.
    """
    config, archs, space = study.config, study.job.archs, study.job.space
    console.print("correlating every score with the truth ...", highlight=False)
    names = [written(space, arch) for arch in archs]
    copies = groups(space, archs)
    entries = over_epochs_entries(config, space.baselines, names, rows, study.truth, copies)
    return {
        "truth": describe_truth(config.truth, study.truth),
        "num_archs": len(names),
        "num_seeds": config.num_seeds,
        "num_functions": len(set(copies.tolist())),
        "diverged": len({(row["arch"], row["seed"]) for row in rows.values() if not row["finite"]}),
        "kernel_images_in_truth": config.truth == f"{config.data}/{config.split}",
        "seconds_a_cell": _seconds(config, rows),
        "train_images": len(study.y_train),
        "steps_an_epoch": study.steps_an_epoch,
        "data": study.job.data,
        "entries": entries,
        "verdict": verdict(entries),
    }


def report(rows: Rows, summary: Mapping[str, Any]) -> Publication:
    """Makes table and figure of a summary.

    Args:
        rows: not needed.
        summary: of :func:`summarize`.

    Returns:
        The table, the figure, what they say and what a cell cost.
    """
    entries, cost = summary["entries"], summary["seconds_a_cell"]
    kernels = ", ".join(f"{mode} {seconds:.2f}" for mode, seconds in cost["kernel"].items())
    shown = [
        terminal_table(entries, summary["num_archs"]),
        *summary["verdict"],
        f"seconds a cell: training {cost['training']:.2f}; a kernel and its metrics: {kernels}",
    ]
    if summary["kernel_images_in_truth"]:
        shown.append("the kernel saw images, and labels, that the ground truth was measured on")
    return Publication(
        tables={TABLE: flat_entries(entries)},
        figures={FIGURE: over_epochs_figure(entries, summary["truth"]["source"])},
        shown=shown,
    )


OVER_EPOCHS = Study(NAME, KEYS, validate_over_epochs, prepare, compute_missing, summarize, report)
