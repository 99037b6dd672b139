"""Does a kernel rank architectures better after a little training? A study from start to figure."""

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.images import load_images
from jaxntk.data.reduced import first_images, shrunk, with_validation
from jaxntk.results.over_training_plot import over_training_figure
from jaxntk.results.over_training_table import table_csv, terminal_table
from jaxntk.results.rows import write_bytes_atomic, write_json_atomic
from jaxntk.spaces import nasbench201
from jaxntk.studies import run_folder
from jaxntk.studies.job import Job, check_image_shape, population
from jaxntk.studies.over_training_config import OverTrainingConfig, validate_over_training
from jaxntk.studies.over_training_rows import KEYS, OverTraining, compute_missing
from jaxntk.studies.over_training_summary import over_training_entries, verdict
from jaxntk.studies.scoring import ACTIVATIONS
from jaxntk.studies.summarize import describe_truth
from jaxntk.studies.truth import find_table, table_look_up

FIGURE, TABLE = "over_training.png", "over_training.csv"
NAME = "lga_over_training"


def run_over_training(
    config: OverTrainingConfig, out: Path, *, command: str, console: Console
) -> dict[str, Any]:
    """Trains and scores the cells of a configuration, and ranks them by every score.

    The same folder again goes on with what is missing.

    Args:
        config: the configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress and results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data, table or folder.
    """
    start = time.perf_counter()
    study = prepare(config)
    look_up = table_look_up(config.truth, find_table(config.data_dir, config.table))
    truth = look_up(study.job.archs)
    record = run_folder.Record(
        experiment=NAME,
        command=command,
        config=config,
        data_sha256=run_folder.digest_of(study.digest, truth),
    )
    run_folder.open_run(out, record, validate_over_training)
    compute_missing(study, out, console)
    console.print("correlating every score with the truth ...", highlight=False)
    cells = [nasbench201.format_ops(arch) for arch in study.job.archs]
    rows = run_folder.rows_by_key(out / run_folder.SCORES, KEYS)
    entries = over_training_entries(config, cells, rows, truth, _live_params(study))
    summary = {
        "experiment": NAME,
        "truth": describe_truth(config.truth, truth),
        "num_archs": len(cells),
        "num_seeds": config.num_seeds,
        "num_functions": len(set(map(nasbench201.function_form, study.job.archs))),
        "diverged": len({(row["ops"], row["seed"]) for row in rows.values() if not row["finite"]}),
        "kernel_images_in_truth": config.truth == f"digits201/{config.split}",
        "seconds_a_cell": _seconds(config, rows),
        "train_images": len(study.y_train),
        "steps_an_epoch": study.steps_an_epoch,
        "data": study.job.data,
        "entries": entries,
        "verdict": verdict(entries),
        "seconds": time.perf_counter() - start,
    }
    _publish(out, summary, console)
    return summary


def prepare(config: OverTrainingConfig) -> OverTraining:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with the configuration or the data, or a batch larger than the
            training set.
    """
    validate_over_training(config)
    loaded = with_validation(
        load_images(config.data, data_dir=config.data_dir), config.validation_images
    )
    if config.train_images is not None:
        loaded = first_images(loaded, config.train_images)
    if config.image_size is not None:
        loaded = shrunk(loaded, config.image_size)
    dataset, numbers = standardize(loaded)
    check_image_shape(config.data, dataset.x_train.shape[1:])
    batch = make_batch(
        dataset, config.num_images, split=config.split, how=config.batch, seed=config.batch_seed
    )
    cells, dtype = population(config), ACTIVATIONS[config.dtype]
    jobs = {
        mode: Job(config.scoring(mode), cells, dataset, numbers, batch)
        for mode in config.batch_norms
    }
    valid = None
    if dataset.x_valid is not None:
        valid = (jnp.asarray(dataset.x_valid, dtype), jnp.asarray(dataset.y_valid))
    splits = (
        getattr(dataset, f"{axis}_{split}")
        for axis in ("x", "y")
        for split in ("train", "valid", "test")
    )
    study = OverTraining(
        config,
        jobs,
        jnp.asarray(dataset.x_train, dtype),
        jnp.asarray(dataset.y_train),
        valid,
        run_folder.digest_of(*(array for array in splits if array is not None), batch.indices),
    )
    _ = study.steps_an_epoch
    return study


def _live_params(study: OverTraining) -> Float[np.ndarray, " num"]:
    """Counts the parameters of edges that lie between input and output; none if there are none."""
    archs = study.job.archs
    live = np.stack([nasbench201.live_edges(arch) for arch in archs])
    pruned = np.where(live, archs, nasbench201.OPS.index("none")).astype(archs.dtype)
    counted = nasbench201.population_costs(
        pruned, **study.job.sizes, image_size=study.x_train.shape[1]
    ).params
    return np.where(live.any(axis=1), counted, 0).astype(np.float64)


def _seconds(config: OverTrainingConfig, rows: Mapping[tuple, Mapping[str, Any]]) -> dict[str, Any]:
    """Says what a cell costs: its training up to the last epoch, and one kernel in each mode."""
    last = [row for (*_, epoch, mode), row in rows.items() if epoch == max(config.epochs)]
    kernels = {
        mode: float(np.mean([row["seconds"] for (*_, m), row in rows.items() if m == mode]))
        for mode in config.batch_norms
    }
    return {"training": float(np.mean([row["train_seconds"] for row in last])), "kernel": kernels}


def _publish(out: Path, summary: Mapping[str, Any], console: Console) -> None:
    """Writes summary, table and figure, and shows the table."""
    entries = summary["entries"]
    write_bytes_atomic(out / TABLE, table_csv(entries).encode())
    picture = io.BytesIO()
    over_training_figure(entries, summary["truth"]["source"]).savefig(picture, dpi=150)
    write_bytes_atomic(out / FIGURE, picture.getvalue())
    write_json_atomic(out / run_folder.SUMMARY, summary)
    console.print(terminal_table(entries, summary["num_archs"]))
    for sentence in summary["verdict"]:
        console.print(sentence, highlight=False)
    cost = summary["seconds_a_cell"]
    kernels = ", ".join(f"{mode} {seconds:.2f}" for mode, seconds in cost["kernel"].items())
    line = f"seconds a cell: training {cost['training']:.2f}; a kernel and its metrics: {kernels}"
    console.print(line, highlight=False)
    if summary["kernel_images_in_truth"]:
        line = "the kernel saw images, and labels, that the ground truth was measured on"
        console.print(line, highlight=False)
    console.print(f"table and figure: {out}", soft_wrap=True, highlight=False)
