"""Trains one architecture to its end: what a search has found, or any other. Start to figure.

A row is one epoch. The state after the last epoch and, where there are validation images, that
after the best one are kept in Orbax's format, so that a run which is killed at any moment goes on
to the same weights.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from rich.console import Console

from jaxntk.data.batches import standardize
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.data.reduced import first_images, shrunk, with_validation
from jaxntk.data.truths import find_table, other_sizes, table_look_up
from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.memory import estimate_memory
from jaxntk.networks.model import Model
from jaxntk.networks.precision import check_x64
from jaxntk.networks.registry import FAMILIES
from jaxntk.results.training_plot import training_figure
from jaxntk.runs import run_folder
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.publish import Publication
from jaxntk.runs.rows import append_row, number_or_none
from jaxntk.runs.study import Rows, Study
from jaxntk.spaces.registry import SPACES
from jaxntk.studies.job import check_images
from jaxntk.studies.retrain_config import RetrainConfig, validate_retrain
from jaxntk.training.checkpoints import latest_epoch, restore, save
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import Training, TrainState, population_training, steps_of

NAME = "retrain"
FIGURE, TABLE = "training.png", "training.csv"
KEYS = ("epoch",)
LAST, BEST = "last", "best"
"""Folders of the states that are kept."""
SEEN = 1024
"""Training images that a tested cell takes its batch statistics from, at most."""


@dataclass(frozen=True, eq=False)
class Retraining:
    """Everything a configuration determines before the first step.

    Args:
        config: the configuration.
        model: the network of the architecture's own size.
        arch: its encoding for that network.
        dataset: the images, standardised.
        table_accuracy: what a benchmark says the architecture reads, in percent; None without one.
        digest: SHA-256 of images and labels.
    """

    config: RetrainConfig
    model: Model
    arch: Int[np.ndarray, " genes"]
    dataset: ImageDataset
    table_accuracy: float | None
    digest: str


class Programs(NamedTuple):
    """What is compiled, and the images on the device.

    Args:
        training: of a population of one.
        test: ``states -> {split: (1,)}``.
        images: to train on, and their labels.
        archs: the encoding, as a population of one.
    """

    training: Training
    test: Callable[[TrainState], dict[str, Array]]
    images: tuple[Array, Array]
    archs: Int[Array, "1 genes"]


def prepare(config: RetrainConfig) -> Retraining:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with the configuration, the data or a table.
    """
    validate_retrain(config)
    check_x64(config.dtype)
    space = SPACES[config.space]
    loaded = load_images(config.data, data_dir=config.data_dir)
    loaded = with_validation(loaded, config.validation_images)
    if config.train_images is not None:
        loaded = first_images(loaded, config.train_images)
    if config.image_size is not None:
        loaded = shrunk(loaded, config.image_size)
    dataset, _ = standardize(loaded)
    family, asked = FAMILIES[config.space], space.read(config.arch)
    model, arch = family.alone(asked, dataset.num_classes, config.sizes)
    accuracy = None
    if config.truth is not None:
        accuracy = _table_accuracy(config, config.truth)
    _ = steps_of(len(dataset.y_train), config.training)
    check_images(config.data, model, dataset.x_train.shape[1:])
    _params(config, dataset)
    arrays = [getattr(dataset, f"{axis}_{split}") for split in _splits(dataset) for axis in "xy"]
    digest = run_folder.digest_of(dataset.x_train, dataset.y_train, *arrays)
    return Retraining(config, model, arch, dataset, accuracy, digest)


def _table_accuracy(config: RetrainConfig, truth: str) -> float:
    """Looks an architecture up by the encoding of its space, which need not be its network's."""
    space, table = SPACES[config.space], find_table(config.data_dir, config.table)
    return float(table_look_up(truth, space, table)(space.read(config.arch)[None])[0])


def compute(study: Retraining, out: Path, console: Console) -> None:
    """Trains what is left; after each epoch its row is written, then its state.

    Args:
        study: the study.
        out: folder of the run.
        console: where progress is shown.

    Raises:
        InputError: the folder cannot be written to, or holds states of another training.
    """
    rows, begun = run_folder.rows_by_key(out / run_folder.SCORES, KEYS), latest_epoch(out / LAST)
    if not _whole(study, rows, begun, latest_epoch(out / BEST)):
        # A row or a state that is not there needs the whole training again.
        begun = 0
        for name in (LAST, BEST):
            shutil.rmtree(out / name, ignore_errors=True)
    if begun == study.config.epochs:
        say_complete(out, console)
        return
    programs, about = make_programs(study), _about(study)
    console.print("compiling the training, once for all epochs ...", highlight=False)
    states = programs.training.init([study.config.seed])
    kept = restore(out / LAST, states, about)
    if kept is not None:
        states = jax.tree.map(jnp.asarray, kept.state)
    estimate = estimate_memory(programs.training.epoch, states, programs.archs, *programs.images)
    console.print(f"memory of the training: {estimate}", highlight=False)
    best = max((_rank(row) for (epoch,), row in rows.items() if epoch <= begun), default=None)
    whole = epoch_rows(study, programs, states, begun)
    bar = track(range(begun, study.config.epochs), "epochs", console)
    for _, (states, row) in zip(bar, whole, strict=True):
        if (row["epoch"],) not in rows:
            append_row(out / run_folder.SCORES, row)
        if row["valid_accuracy"] is not None and (best is None or _rank(row) > best):
            best = _rank(row)
            save(out / BEST, row["epoch"], states, about)
        save(out / LAST, row["epoch"], states, about)


def _whole(study: Retraining, rows: Rows, begun: int, best: int) -> bool:
    """Tells whether rows and states of the epochs so far are there; a best state may be ahead."""
    done = [rows[epoch,] for epoch in range(1, begun + 1) if (epoch,) in rows]
    if len(done) < begun:
        return False
    if study.dataset.x_valid is None or not begun:
        return True
    return best > begun or best == max(done, key=_rank)["epoch"]


def make_programs(study: Retraining) -> Programs:
    """Prepares training and tests; both compile at their first call.

    Args:
        study: the study.

    Returns:
        The programs.
    """
    config, model, data = study.config, study.model, study.dataset
    dtype = jnp.dtype(config.dtype)
    x, y = jnp.asarray(data.x_train, dtype), jnp.asarray(data.y_train)
    steps = config.epochs * steps_of(len(x), config.training)
    splits = {
        name: (
            jnp.asarray(getattr(data, f"x_{name}"), dtype),
            jnp.asarray(getattr(data, f"y_{name}")),
        )
        for name in _splits(data)
    }
    archs = jnp.asarray(study.arch, jnp.int32)[None]
    made = (config.training, steps, x.shape[1:], dtype)
    training, tested = population_training(model, *made), make_evaluation(model)
    return Programs(training, lambda states: tested(states, archs, x[:SEEN], splits), (x, y), archs)


def epoch_rows(
    study: Retraining, programs: Programs, states: TrainState, begun: int
) -> Iterator[tuple[TrainState, dict[str, Any]]]:
    """Trains from a state to the last epoch.

    Args:
        study: the study.
        programs: the compiled functions.
        states: a population of one; it is used up.
        begun: epochs that it has behind it.

    Yields:
        The state after each epoch, and its row.
    """
    for epoch in range(begun + 1, study.config.epochs + 1):
        start = time.perf_counter()
        states, found = programs.training.epoch(states, programs.archs, *programs.images)
        tested = {name: 100 * float(each[0]) for name, each in programs.test(states).items()}
        yield (
            states,
            {
                "epoch": epoch,
                "loss": number_or_none(found.loss[0]),
                "finite": bool(found.finite[0]),
                "train_accuracy": 100 * float(found.accuracy[0]),
                "valid_accuracy": tested.get("valid"),
                "test_accuracy": tested["test"],
                "seconds": time.perf_counter() - start,
            },
        )


def summarize(study: Retraining, rows: Rows, console: Console) -> dict[str, Any]:
    """Says what the network reads after the last epoch and after the best one.

    Args:
        study: the study.
        rows: a row an epoch.
        console: not needed.

    Returns:
        The summary.
    """
    config, data = study.config, study.dataset
    ordered = [rows[epoch,] for epoch in range(1, config.epochs + 1)]
    best, last = max(ordered, key=_rank), ordered[-1]
    return {
        "arch": config.arch,
        "space": config.space,
        "params": _params(config, data),
        "finite": last["finite"],
        "last": last,
        "best": best,
        "best_by": "the last finite epoch: no validation set"
        if data.x_valid is None
        else "validation accuracy",
        "table": {
            "truth": config.truth,
            "accuracy": study.table_accuracy,
            "other_network": None
            if config.truth is None
            else other_sizes(config.truth, SPACES[config.space], config.sizes),
        },
        "epochs": ordered,
    }


def _params(config: RetrainConfig, data: ImageDataset) -> int:
    """Counts the parameters that the architecture uses; refuses images that do not fit."""
    space = SPACES[config.space]
    side, channels = data.x_train.shape[2:]
    counted = {name: config.sizes[name] for name in space.network}
    costs = space.costs(
        space.read(config.arch)[None],
        **counted,
        image_size=side,
        in_channels=channels,
        num_classes=data.num_classes,
    )
    return int(costs.params[0])


def report(rows: Rows, summary: Mapping[str, Any]) -> Publication:
    """Makes table and figure of a training.

    Args:
        rows: not needed.
        summary: of :func:`summarize`.

    Returns:
        A line an epoch, the curves, and what was reached.
    """
    last, best, table = summary["last"], summary["best"], summary["table"]
    shown = [f"test accuracy after the last epoch, {last['epoch']}: {last['test_accuracy']:.2f} %"]
    if last["valid_accuracy"] is not None:
        shown.append(
            f"after the best by validation accuracy, {best['epoch']}: {best['test_accuracy']:.2f} %"
        )
    if table["accuracy"] is not None:
        note = "" if table["other_network"] is None else f"; of {table['other_network']}"
        shown.append(f"the table says {table['accuracy']:.2f} % ({table['truth']}{note})")
    if not summary["finite"]:
        shown.append("the training diverged: weights are not finite")
    return Publication(
        tables={TABLE: summary["epochs"]},
        figures={FIGURE: training_figure(summary["epochs"], summary["arch"])},
        shown=shown,
    )


class Trained(NamedTuple):
    """A trained network: ``model.logits(variables, x, arch)`` gives logits, image by image.

    Args:
        model: the network; a cell's normalises by the statistics it was tested with.
        variables: its Flax collections; ``batch_stats`` is empty where it keeps no statistics.
        arch: the encoding it takes.
    """

    model: Model
    variables: dict[str, Any]
    arch: Int[Array, " genes"]


def load_trained(
    out: Path | str, config: RetrainConfig | None = None, which: str = LAST
) -> Trained:
    """Reads the network that a run has trained.

    Args:
        out: folder of the run.
        config: that it was run with; by default what the folder says, which names files as they
            were found then.
        which: ``last``, or ``best`` by validation accuracy.

    Returns:
        The network.

    Raises:
        InputError: no such state, or one of another training.
    """
    check_choice("which", which, (LAST, BEST))
    out = Path(out)
    if config is None:
        config = run_folder.read_record(out, RetrainConfig, validate_retrain).config
    study = prepare(config)
    programs = make_programs(study)
    kept = restore(out / which, programs.training.init([config.seed]), _about(study))
    if kept is None:
        cure = "train it first; without validation images there is no best, only the last"
        raise InputError("out", f"{out} without a state {which!r}", cure)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), kept.state.variables)
    arch, images = programs.archs[0], programs.images[0][:SEEN]
    return Trained(study.model, study.model.tested(variables, images, arch), arch)


def _splits(data: ImageDataset) -> tuple[str, ...]:
    return ("test",) if data.x_valid is None else ("valid", "test")


def _about(study: Retraining) -> dict[str, Any]:
    """What a state depends on."""
    config = study.config.to_json()
    what = {name: value for name, value in config.items() if name not in LOCATIONS}
    return what | {"data_sha256": study.digest}


def _rank(row: Mapping[str, Any]) -> tuple[bool, float, int]:
    """By validation accuracy, the earlier of equals; without one the last epoch that is finite."""
    if row["valid_accuracy"] is None:
        return row["finite"], float(row["epoch"]), 0
    return row["finite"], row["valid_accuracy"], -row["epoch"]


RETRAIN = Study(NAME, KEYS, validate_retrain, prepare, compute, summarize, report)
