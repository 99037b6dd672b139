"""Trains networks for a few epochs and reads kernels on the way: the rows of LGA_t and its company.

A row is one architecture, one seed, one epoch t, one mode of batch normalisation and one kernel:
every metric of the kernel after t epochs, and beside it what the same training gives without a
kernel: the loss of the last epoch, the sum of the losses of all epochs so far, accuracies; and the
seconds of each. Networks are trained in chunks; after every epoch the chunk's state goes to a
checkpoint, so that a run which is killed at any moment goes on to the same rows.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from rich.console import Console

from jaxntk.kernels.fourier import NTK, FourierMap
from jaxntk.kernels.model_kernels import Compiled, ModelKernels
from jaxntk.kernels.settings import PARAMETERS
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.rows import append_row, number_or_none, read_json, write_json_atomic
from jaxntk.runs.run_folder import SCORES, rows_by_key
from jaxntk.spaces.space import written
from jaxntk.studies.job import Job
from jaxntk.studies.kernel_scores import kernels_of
from jaxntk.studies.over_epochs_config import OverEpochsConfig
from jaxntk.studies.score import kernel_row
from jaxntk.training.checkpoints import restore, save
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.population import Training, TrainState, population_training, steps_of

CHECKPOINTS = "checkpoints"
SEEN = 1024
"""Training images that a tested network takes its batch statistics from, at most."""
KEYS = ("arch", "seed", "epochs", "batch_norm", "kernel")
"""Fields that identify a row."""


class History(NamedTuple):
    """What the epochs of a chunk gave so far, a row an epoch; later rows are zero.

    Args:
        loss: mean training loss.
        accuracy: fraction of training images classified right, as they came.
        finite: whether all weights were finite after it.
        seconds: that it took, the chunk's time shared out among its cells.
    """

    loss: Float[np.ndarray, "epochs cells"]
    accuracy: Float[np.ndarray, "epochs cells"]
    finite: Bool[np.ndarray, "epochs cells"]
    seconds: Float[np.ndarray, "epochs cells"]


@dataclass(frozen=True, eq=False)
class OverTraining:
    """Everything a configuration determines before the first step.

    Args:
        config: the configuration.
        jobs: for each mode of batch normalisation, what is scored; architectures that are found
            later (by a search) are not among them.
        x_train: standardised training images, on the device.
        y_train: their labels.
        valid: images and labels to validate on; None where there are none.
        truth: accuracies of the architectures after full training, in percent.
        digest: SHA-256 of all images, labels and accuracies.
        images_digest: of images and labels alone.
        filled_to: architectures that every chunk is filled up to with copies; None for the size of
            the first chunk.
    """

    config: OverEpochsConfig
    jobs: dict[str, Job]
    x_train: jax.Array
    y_train: jax.Array
    valid: tuple[jax.Array, jax.Array] | None
    truth: Float[np.ndarray, " num"]
    digest: str
    images_digest: str
    filled_to: int | None = None

    @property
    def job(self) -> Job:
        """What all modes share."""
        return next(iter(self.jobs.values()))

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps; 0 where nothing is trained."""
        if not self.last_epoch:
            return 0
        return steps_of(len(self.y_train), self.config.training)

    @property
    def last_epoch(self) -> int:
        """The epoch after which the last kernels are taken."""
        return max(self.config.epochs)

    @property
    def tests(self) -> bool:
        """Whether networks are trained or tested, so that their weights have to be there."""
        return self.last_epoch > 0 or self.valid is not None


class Chunk(NamedTuple):
    """Cells that are trained together.

    Args:
        seed: of their trainings.
        start: number of the first cell.
    """

    seed: int
    start: int


class Programs(NamedTuple):
    """What is compiled once for all cells.

    Args:
        training: of a chunk.
        test: accuracies of a chunk.
        kernels: for each mode of batch normalisation.
    """

    training: Training
    test: Callable[..., dict[str, jax.Array]]
    kernels: dict[str, ModelKernels]


def compute_missing(study: OverTraining, out: Path, console: Console) -> None:
    """Computes every row that is not there yet; each is on disk before the next is begun.

    Args:
        study: the study.
        out: folder of the run.
        console: where progress is shown.

    Raises:
        InputError: the folder cannot be written to, or holds checkpoints of another training, or
            a kernel does not fit into memory.
    """
    config = study.config
    starts = range(0, len(study.job.archs), config.chunk)
    chunks = [Chunk(seed, start) for seed in config.seeds for start in starts]
    done = set(rows_by_key(out / SCORES, KEYS))
    todo = [chunk for chunk in chunks if not _keys(study, chunk, config.epochs) <= done]
    if todo:
        programs = compile_programs(study, out, console)
        if NTK in config.variants(study.last_epoch):
            # A kernel that does not fit is told before anything is trained.
            for kernels in programs.kernels.values():
                kernels.compile(study.job.archs[0])
        whole = (rows for chunk in todo for rows in chunk_rows(study, chunk, programs, out, done))
        bar = track(range(len(todo) * (study.last_epoch + 1)), "epochs", console)
        for _, rows in zip(bar, whole, strict=True):
            for row in rows:
                if tuple(row[key] for key in KEYS) not in done:
                    append_row(out / SCORES, row)
    else:
        say_complete(out, console)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def chunk_rows(
    study: OverTraining, chunk: Chunk, programs: Programs, out: Path, done: set[tuple]
) -> Iterator[list[dict[str, Any]]]:
    """Trains a chunk of cells, from its checkpoint if there is one, and scores it.

    Args:
        study: the study.
        chunk: which cells.
        programs: the compiled functions.
        out: folder of the run.
        done: rows that are there, by the fields in `KEYS`.

    Yields:
        The rows of epoch 0, 1, ...; none for an epoch that is not asked for, or that lies before
        the checkpoint.

    Raises:
        InputError: the checkpoint is of another training, or the folder cannot be written to.
    """
    config = study.config
    cells = study.job.archs[chunk.start : chunk.start + config.chunk]
    filled = _filled(study, cells)
    archs = jnp.asarray(filled, jnp.int32)
    folder = out / CHECKPOINTS / f"seed-{chunk.seed}-cell-{chunk.start}"
    what = {name: value for name, value in config.to_json().items() if name not in LOCATIONS}
    names = [written(study.job.space, arch) for arch in cells]
    about = what | {"data_sha256": study.digest, "cells": names} | chunk._asdict()
    # Kernels of untrained networks share one draw, however many networks there are.
    states: Any = programs.training.init([chunk.seed] * len(filled)) if study.tests else None
    history, begun = _empty(study.last_epoch, len(filled)), 0
    kept = restore(folder, (states, history), about) if study.last_epoch else None
    # A row before the checkpoint that is not there, as it was damaged, needs the whole training.
    if kept is not None and _keys(study, chunk, range(kept.epoch)) <= done:
        begun, (on_host, history) = kept.epoch, kept.state
        states, history = jax.tree.map(jnp.asarray, on_host), History(*history)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    for _ in range(begun):
        yield []
    for epoch in range(begun, study.last_epoch + 1):
        scored = epoch in config.epochs
        yield list(_rows(study, chunk, programs, states, history, epoch)) if scored else []
        if epoch < study.last_epoch:
            start = time.perf_counter()
            states, found = programs.training.epoch(states, archs, study.x_train, study.y_train)
            for name, value in found._asdict().items():
                getattr(history, name)[epoch] = np.asarray(value)
            history.seconds[epoch] = (time.perf_counter() - start) / len(filled)
            save(folder, epoch + 1, (states, history), about)
    # Whoever asks for more has written the rows; checkpoints of a whole space would fill a disk.
    shutil.rmtree(folder, ignore_errors=True)


def compile_programs(study: OverTraining, out: Path, console: Console) -> Programs:
    """Makes the programs of a study; each is compiled when it is first used.

    Args:
        study: the study.
        out: folder of the run, which keeps the tile that it began with.
        console: told of memory and compilation.

    Returns:
        The programs.

    Raises:
        InputError: a recipe that cannot be followed.
    """
    config, model = study.config, study.job.model
    training = population_training(
        model,
        config.training,
        max(1, config.epochs_of_schedule * study.steps_an_epoch),
        study.job.batch.x.shape[1:],
        jnp.dtype(PARAMETERS[config.dtype]),
        strategy=config.strategy,
    )
    kernels = {mode: _kernels(job, out, console) for mode, job in study.jobs.items()}
    return Programs(training, make_evaluation(model, config.strategy), kernels)


def validation_accuracy(
    study: OverTraining, programs: Programs, states: TrainState, archs: Int[Array, "chunk genes"]
) -> Float[np.ndarray, " chunk"]:
    """Tests a chunk of cells on the validation images.

    Args:
        study: the study; it has validation images.
        programs: the compiled functions.
        states: of the cells.
        archs: the cells.

    Returns:
        The fraction classified right.
    """
    assert study.valid is not None
    found = programs.test(states, archs, study.x_train[:SEEN], {"valid": study.valid})
    return np.asarray(found["valid"])


def _kernels(job: Job, out: Path, console: Console) -> ModelKernels:
    """Returns the kernels of a mode, in the tiles that the run began with: they change rounding."""
    path = out / f"tile-{job.config.batch_norm}.json"
    tiles = dict(read_json(path)) if path.exists() else {}
    console.print(f"kernel, batch normalisation {job.config.batch_norm}", highlight=False)

    def note(compiled: Compiled) -> None:
        tiles[compiled.name] = compiled.tile
        write_json_atomic(path, tiles)

    return replace(job.kernels(partial(console.print, highlight=False), tiles), note=note)


def _filled(
    study: OverTraining, cells: Int[np.ndarray, "num genes"]
) -> Int[np.ndarray, "chunk genes"]:
    """Fills up the last chunk with copies, as another size would compile anew."""
    size = study.filled_to or min(study.config.chunk, len(study.job.archs))
    return np.concatenate([cells, np.repeat(cells[-1:], size - len(cells), axis=0)])


def _keys(study: OverTraining, chunk: Chunk, epochs: Iterable[int]) -> set[tuple]:
    """Lists the rows of a chunk after some epochs by what identifies them."""
    config = study.config
    return {
        (written(study.job.space, arch), chunk.seed, epoch, mode, kernel)
        for arch in study.job.archs[chunk.start : chunk.start + config.chunk]
        for epoch in set(epochs) & set(config.epochs)
        for mode in config.modes
        for kernel in config.variants(epoch)
    }


def _empty(epochs: int, cells: int) -> History:
    shape = (max(1, epochs), cells)
    return History(np.zeros(shape), np.zeros(shape), np.zeros(shape, bool), np.zeros(shape))


def _rows(
    study: OverTraining,
    chunk: Chunk,
    programs: Programs,
    states: TrainState | None,
    history: History,
    epoch: int,
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a chunk after some epochs."""
    config = study.config
    cells = study.job.archs[chunk.start : chunk.start + config.chunk]
    valid, test_seconds = None, 0.0
    if study.valid is not None and states is not None:
        start = time.perf_counter()
        archs = jnp.asarray(_filled(study, cells), jnp.int32)
        valid = validation_accuracy(study, programs, states, archs)
        test_seconds = (time.perf_counter() - start) / len(archs)
    for at, arch in enumerate(cells):
        variables = None
        if epoch and states is not None:
            variables = jax.tree.map(lambda leaf, at=at: leaf[at], states.variables)
        trained = _trained(study, history, epoch, at)
        trained["valid_accuracy"] = None if valid is None else 100 * float(valid[at])
        trained["test_seconds"] = test_seconds
        for mode, kernels in programs.kernels.items():
            network = Network(arch, variables, chunk.seed)
            yield from _kernel_rows(study, mode, kernels, network, epoch, trained)


class Network(NamedTuple):
    """One network at some point of its training; variables are None before it."""

    arch: Int[np.ndarray, " genes"]
    variables: Any
    seed: int


def _kernel_rows(
    study: OverTraining,
    mode: str,
    kernels: ModelKernels,
    network: Network,
    epoch: int,
    trained: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Yields the row of every kernel of one network, in one mode of batch normalisation."""
    arch, seed, job = network.arch, network.seed, study.jobs[mode]

    def prepare(part: FourierMap | None) -> None:
        if network.variables is None:
            kernels.prepare(arch, part, init_seed=seed)
        else:
            kernels.compile(arch, part)

    def compute(part: FourierMap | None) -> Float[np.ndarray, "n n"]:
        if network.variables is None:
            return kernels(arch, part, init_seed=seed)
        return kernels.at(network.variables, arch, part)

    for taken in kernels_of(compute, prepare, study.config.variants(epoch)):
        gram = taken.gram_NxN if trained["finite"] else np.full_like(taken.gram_NxN, np.nan)
        row = kernel_row(job, gram, arch, seed, kernels.tile(arch, taken.seen[-1]))
        yield (
            row
            | trained
            | {
                "seed": seed,
                "kernel": taken.kernel,
                "parts": dict(taken.parts),
                "metric_seconds": row["seconds"],
                "seconds": row["seconds"] + sum(taken.parts.values()),
            }
        )


def _trained(study: OverTraining, history: History, epoch: int, cell: int) -> dict[str, Any]:
    """Says how a cell was trained so far, and what that gave."""
    losses, steps = history.loss[:epoch, cell], epoch * study.steps_an_epoch
    return {
        "epochs": epoch,
        "steps": steps,
        "images_seen": steps * study.config.training.batch_size,
        "finite": bool(history.finite[epoch - 1, cell]) if epoch else True,
        "loss": number_or_none(losses[-1]) if epoch else None,
        "loss_sum": number_or_none(losses.sum()) if epoch else None,
        "train_seconds": float(history.seconds[:epoch, cell].sum()),
        "train_accuracy": 100 * float(history.accuracy[epoch - 1, cell]) if epoch else None,
    }
