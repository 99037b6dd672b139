"""How the kernels of a bad, a middling and a good cell move while the cells are trained.

Beside each network its linearisation at the start is trained with the same seed, images and
recipe: what the network reads better is its non-linear advantage. The linearisation is of all
parameters and outputs, statistics of the batch included; the kernels that are shown are those that
the configuration names (by default of the sum of logits, statistics frozen, without biases and
classifier), so that they move beside the linearisation rather than describe it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from jaxntk.data.images import load_images
from jaxntk.data.truths import find_table, table_look_up
from jaxntk.kernels.layer_kernels import LayerKernels
from jaxntk.kernels.program import exact_zero, layer_kernel_fn
from jaxntk.kernels.settings import ACTIVATIONS, PARAMETERS
from jaxntk.metrics import METRICS, Score, dynamics
from jaxntk.networks.model import Model
from jaxntk.results.kernel_dynamics_plot import kernel_dynamics_figure
from jaxntk.results.kernel_dynamics_table import dynamics_table
from jaxntk.runs import run_folder
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.publish import Publication
from jaxntk.runs.rows import append_row, number_or_none
from jaxntk.runs.study import Rows, Study
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import written
from jaxntk.studies.job import Job, population
from jaxntk.studies.kernel_dynamics_config import (
    KernelDynamicsConfig,
    validate_dynamics,
    with_archs,
)
from jaxntk.studies.over_epochs import make_study
from jaxntk.studies.over_epochs_rows import SEEN, OverTraining
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.linearized import linearized_training, make_linearized_evaluation
from jaxntk.training.population import Training, population_training

NAME = "kernel_dynamics"
FIGURE, TABLE = "kernel_dynamics.png", "kernel_dynamics.csv"
KEYS = ("arch", "epochs")
TOP = 10
"""Eigenvectors whose alignment with the labels is written down."""
TOTAL = "network"
"""The kernel of all layers together."""

Kernels = dict[str, Float[np.ndarray, "n n"]]
Accuracies = Callable[..., dict[str, jax.Array]]


class Seen(NamedTuple):
    """Kernels of a cell that the next ones are held against.

    Args:
        start: the first ones.
        last: the last ones.
        epoch: when those were taken.
    """

    start: Kernels
    last: Kernels
    epoch: int


class Networks(NamedTuple):
    """How networks, or their linearisations, are trained and tested.

    Args:
        training: the pair of functions.
        test: accuracies of a population.
    """

    training: Training
    test: Accuracies


def compute_dynamics(study: OverTraining, out: Path, console: Console) -> None:
    """Trains the cells, and writes the rows that are missing.

    A run that was stopped trains anew, to the same numbers: there are few cells.

    Args:
        study: the study, in one mode of batch normalisation.
        out: folder of the run.
        console: where progress is shown.

    Raises:
        InputError: the folder cannot be written to.
    """
    done = set(run_folder.rows_by_key(out / run_folder.SCORES, KEYS))
    names = [written(study.job.space, arch) for arch in study.job.archs]
    wanted = {(name, epoch) for name in names for epoch in study.config.epochs}
    if wanted <= done:
        say_complete(out, console)
        return
    bar = track(range(study.last_epoch + 1), "epochs", console)
    for _, rows in zip(bar, epoch_rows(study), strict=True):
        for row in rows:
            if tuple(row[key] for key in KEYS) not in done:
                append_row(out / run_folder.SCORES, row)


def epoch_rows(study: OverTraining) -> Iterator[list[dict[str, Any]]]:
    """Trains all networks and their linearisations, and compares kernels.

    Args:
        study: the study, in one mode of batch normalisation.

    Yields:
        The rows of epoch 0, 1, ..., a row each; none for an epoch that is not asked for.
    """
    config, archs = study.config, jnp.asarray(study.job.archs, jnp.int32)
    both = _networks(study)
    kernels_of = layer_kernels(study.job)
    splits = {"test": _test_split(study)} | ({"valid": study.valid} if study.valid else {})
    seeds = [config.seed] * len(archs)
    states = {name: each.training.init(seeds) for name, each in both.items()}
    trained: dict[str, Any] = dict.fromkeys(both)
    seen: dict[int, Seen] = {}
    for epoch in range(study.last_epoch + 1):
        rows = []
        if epoch in config.epochs:
            found = {
                name: each.test(states[name], archs, study.x_train[:SEEN], splits)
                for name, each in both.items()
            }
            for at, arch in enumerate(study.job.archs):
                variables = jax.tree.map(lambda leaf, at=at: leaf[at], states["network"].variables)
                kernels = kernels_of(variables, arch)
                of_cell = seen.setdefault(at, Seen(kernels, kernels, epoch))
                what = study.job.space.describe(arch) | {"epochs": epoch, "seed": config.seed}
                learned = _learned(trained, found, at)
                rows.append(what | learned | _compared(study, kernels, of_cell, epoch))
                seen[at] = Seen(of_cell.start, kernels, epoch)
        yield rows
        if epoch < study.last_epoch:
            for name, each in both.items():
                states[name], trained[name] = each.training.epoch(
                    states[name], archs, study.x_train, study.y_train
                )


def layer_kernels(
    job: Job,
) -> Callable[[Mapping[str, Any], Int[np.ndarray, " genes"]], Kernels]:
    """Returns the function that computes the kernels of a network and of its layers.

    Layers are the modules that the network consists of, in the order in which they act, each with
    its normalisation; of modules that are repeated (cells, blocks) each repetition is one.

    Args:
        job: names network, images and parameters.

    Returns:
        ``(variables, arch) -> {layer: kernel}``, on the host, ``network`` being their sum.
    """
    image, parameters = job.batch.x.shape[1:], job.config.parameters
    x, order = jnp.asarray(job.batch.x), list(map(_block, acting_order(job.model, image)))

    @cache
    def program(model: Model) -> Callable[..., LayerKernels]:
        return jax.jit(layer_kernel_fn(model, job.settings, image))

    def kernels_of(variables: Mapping[str, Any], arch: Int[np.ndarray, " genes"]) -> Kernels:
        found: dict[tuple[str, int], Float[np.ndarray, "n n"]] = {}
        own = job.model.program(job.model, arch)
        kernels = program(own)(own.take(variables, image), x, jnp.asarray(arch))
        for path, stacked in kernels.items():
            each = np.asarray(stacked, np.float64).reshape(-1, *stacked.shape[-2:])
            for number, kernel in enumerate(each, start=1):
                layer = (_block(path[0]), number if stacked.ndim > 2 else 0)
                exact = exact_zero(job.model, parameters, arch, kernel)
                found[layer] = found.get(layer, 0) + exact
        ordered = sorted(found, key=lambda layer: (order.index(layer[0]), layer[1]))
        whole = np.sum(list(found.values()), axis=0)
        return {TOTAL: whole} | {f"{b} {n}" if n else b: found[b, n] for b, n in ordered}

    return kernels_of


def _block(module: str) -> str:
    """A normalisation belongs to what it follows."""
    return module.removesuffix("_norm")


def acting_order(model: Model, image: tuple[int, ...]) -> list[str]:
    """Lists the modules of a network with parameters, in the order in which they first act.

    Args:
        model: the network.
        image: height, width, channels of one image.

    Returns:
        The names under which their parameters lie.
    """
    shapes = jax.eval_shape(lambda: model.draw(0, image, jnp.dtype("float32")))
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)

    def logits(params: Any, statistics: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        return model.logits({"params": params, "batch_stats": statistics}, x, arch)

    given = (shapes["params"], shapes["batch_stats"], x, model.choice)
    program = jax.make_jaxpr(logits)(*given).jaxpr
    paths = [path for path, _ in jax.tree.leaves_with_path(shapes["params"])]
    owner = {id(at): path[0].key for at, path in zip(program.invars, paths, strict=False)}
    used = (owner[id(at)] for step in program.eqns for at in step.invars if id(at) in owner)
    return list(dict.fromkeys(used))


def _networks(study: OverTraining) -> dict[str, Networks]:
    config, model = study.config, study.job.model
    steps = config.epochs_of_schedule * study.steps_an_epoch
    shape, dtype = study.x_train.shape[1:], jnp.dtype(PARAMETERS[config.dtype])
    made = (model, config.training, steps, shape, dtype)
    plain = population_training(*made, strategy=config.strategy)
    linear = linearized_training(*made, strategy=config.strategy)
    return {
        "network": Networks(plain, make_evaluation(model, config.strategy)),
        "linearized": Networks(linear, make_linearized_evaluation(model, config.strategy)),
    }


def _test_split(study: OverTraining) -> tuple[jax.Array, jax.Array]:
    data, dtype = study.job.dataset, study.x_train.dtype
    return jnp.asarray(data.x_test, dtype), jnp.asarray(data.y_test)


def _learned(
    trained: Mapping[str, Any], found: Mapping[str, Mapping[str, jax.Array]], at: int
) -> dict[str, Any]:
    """Says what a cell and its linearisation have learned, in percent and nats."""
    row: dict[str, Any] = {}
    for name, accuracies in found.items():
        last = trained[name]
        row[name] = {f"{split}_accuracy": 100 * float(acc[at]) for split, acc in accuracies.items()}
        row[name]["loss"] = None if last is None else number_or_none(last.loss[at])
        row[name]["finite"] = last is None or bool(last.finite[at])
    both = [row[name] for name in ("network", "linearized")]
    advantage = None
    if all(each["finite"] for each in both):
        advantage = both[0]["test_accuracy"] - both[1]["test_accuracy"]
    return row | {"nonlinear_advantage": advantage}


def _compared(study: OverTraining, kernels: Kernels, seen: Seen, epoch: int) -> dict[str, Any]:
    """Compares kernels with those before; all metrics and eigenvectors of the whole one only."""
    labels, whole = study.job.batch.y, kernels[TOTAL]
    dtype = ACTIVATIONS[study.config.dtype]
    metrics = {
        name: METRICS[name](whole, labels, kernel_dtype=dtype).to_json()
        for name in study.config.metrics
    }
    on_labels = None
    # Of a zero kernel every basis is one of eigenvectors.
    if np.isfinite(whole).all() and whole.any():
        on_labels = dynamics.eigenvectors_on_labels(whole, labels, min(TOP, len(whole))).tolist()
    elapsed = epoch - seen.epoch
    moved = {
        name: _moved(labels, kernel, seen.start[name], seen.last[name], elapsed, dtype)
        for name, kernel in kernels.items()
    }
    return {
        "batch_norm": study.config.batch_norms[0],
        "kernels": moved,
        "metrics": metrics,
        "eigenvectors_on_labels": on_labels,
    }


def _moved(
    labels: Int[np.ndarray, " n"],
    kernel: Float[np.ndarray, "n n"],
    start: Float[np.ndarray, "n n"],
    last: Float[np.ndarray, "n n"],
    elapsed: int,
    dtype: Any,
) -> dict[str, Any]:
    """Compares one kernel, computed in a dtype, with those before and with the labels."""
    scores: dict[str, Score] = {
        "pearson": dynamics.pearson(start, kernel),
        "cosine": dynamics.cosine(start, kernel),
        "relative_change": dynamics.relative_change(start, kernel),
        "distance": dynamics.distance(start, kernel),
        "label_energy": dynamics.label_energy(kernel, labels),
        "lga": METRICS["lga"](kernel, labels, kernel_dtype=dtype),
    }
    row: dict[str, Any] = {name: score.to_json() for name, score in scores.items()}
    speed = dynamics.velocity(last, kernel, elapsed).to_json() if elapsed else None
    return row | {"velocity": speed}


def prepare(config: KernelDynamicsConfig) -> OverTraining:
    """Checks a configuration, chooses its cells and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The study.

    Raises:
        InputError: anything wrong with configuration, data or table.
    """
    validate_dynamics(config)
    images = load_images(config.data, data_dir=config.data_dir)
    look_up = table_look_up(
        config.truth, SPACES[config.space], find_table(config.data_dir, config.table)
    )
    named = with_archs(config, look_up)
    return make_study(named, images, population(named), look_up)


def summarize(study: OverTraining, rows: Rows, console: Console) -> dict[str, Any]:
    """Says where each network stood at the last epoch.

    Args:
        study: the study.
        rows: the rows by architecture and epoch.
        console: not needed.

    Returns:
        The summary.
    """
    config = study.config
    first, last = config.epochs[0], config.epochs[-1]
    names = [written(study.job.space, arch) for arch in study.job.archs]
    return {
        "truth": {"source": config.truth},
        "epochs": list(config.epochs),
        "data": study.job.data,
        "cells": [
            _entry(label, rows[name, first], rows[name, last], accuracy)
            for label, name, accuracy in zip(study.job.names, names, study.truth, strict=True)
        ],
    }


def _entry(
    label: str, first: Mapping[str, Any], last: Mapping[str, Any], accuracy: float
) -> dict[str, Any]:
    """What has become of a network and its kernel."""
    kernel = last["kernels"][TOTAL]
    return {
        "name": label,
        "arch": last["arch"],
        "accuracy": float(accuracy),
        "network_test_accuracy": last["network"]["test_accuracy"],
        "linearized_test_accuracy": last["linearized"]["test_accuracy"],
        "nonlinear_advantage": last["nonlinear_advantage"],
        "cosine_with_start": kernel["cosine"]["value"],
        "lga_at_start": first["kernels"][TOTAL]["lga"]["value"],
        "lga": kernel["lga"]["value"],
    }


def report(rows: Rows, summary: Mapping[str, Any]) -> Publication:
    """Makes table and figure of a run.

    Args:
        rows: the rows by architecture and epoch.
        summary: of :func:`summarize`.

    Returns:
        A line a cell, and the page of curves.
    """
    cells, truth = summary["cells"], summary["truth"]["source"]
    titles = {cell["arch"]: f"{cell['name']}: {cell['accuracy']:.1f} % ({truth})" for cell in cells}
    curves = {arch: [rows[arch, epoch] for epoch in summary["epochs"]] for arch in titles}
    return Publication(
        tables={TABLE: cells},
        figures={FIGURE: kernel_dynamics_figure(curves, titles)},
        shown=[dynamics_table(cells, titles)],
    )


KERNEL_DYNAMICS = Study(NAME, KEYS, validate_dynamics, prepare, compute_dynamics, summarize, report)
