"""How the kernels of a bad, a middling and a good cell move while the cells are trained.

Beside each network its linearisation at the start is trained with the same seed, images and
recipe: what the network reads better is its non-linear advantage. The linearisation is of all
parameters and outputs, statistics of the batch included; the kernels that are shown are those that
the configuration names (by default of the sum of logits, statistics frozen, without biases and
classifier), so that they move beside the linearisation rather than describe it.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from jaxntk.errors import InputError
from jaxntk.metrics import METRICS, Score, dynamics
from jaxntk.results.kernel_dynamics_plot import kernel_dynamics_figure
from jaxntk.results.rows import append_row, number_or_none, write_bytes_atomic
from jaxntk.results.text import MISSING
from jaxntk.spaces import nasbench201
from jaxntk.studies import run_folder
from jaxntk.studies.job import Job
from jaxntk.studies.over_training import prepare
from jaxntk.studies.over_training_config import OverTrainingConfig, validate_training
from jaxntk.studies.over_training_rows import SEEN, OverTraining
from jaxntk.studies.progress import track
from jaxntk.studies.scoring import ACTIVATIONS, PARAMETERS, exact_zero, layer_kernel_fn
from jaxntk.studies.truth import find_table, table_look_up
from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.linearized import linearized_training, make_linearized_evaluation
from jaxntk.training.population import Training, population_training

NAME, FIGURE = "kernel_dynamics", "kernel_dynamics.png"
KEYS = ("ops", "epochs")
TOP = 10
"""Eigenvectors whose alignment with the labels is written down."""
TOTAL = "network"
"""The kernel of all layers together."""

Kernels = dict[str, Float[np.ndarray, "n n"]]
Accuracies = Callable[..., dict[str, jax.Array]]


@dataclass(frozen=True, kw_only=True)
class KernelDynamicsConfig(OverTrainingConfig):
    """Watch the kernels of a few NAS-Bench-201 cells over training."""

    num_images: int = 128
    """Images the kernel is computed on."""
    epochs: tuple[int, ...] = tuple(range(9))
    """Epochs after which kernels are taken; the first is what the others are held against."""
    quantiles: tuple[float, ...] = (0.05, 0.5, 0.99)
    """Without archs: cells are taken at these quantiles of the truth, among all that connect."""


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


def validate_dynamics(config: KernelDynamicsConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    validate_training(config)
    if len(config.batch_norms) != 1:
        raise InputError("batch_norms", list(config.batch_norms), "give one")
    if config.num_seeds != 1:
        raise InputError("num_seeds", config.num_seeds, "give 1")
    if list(config.epochs) != sorted(config.epochs):
        raise InputError("epochs", list(config.epochs), "give them in rising order")
    given = config.quantiles
    if not given or len(set(given)) < len(given) or not all(0 <= each <= 1 for each in given):
        raise InputError("quantiles", list(given), "give numbers from 0 to 1, and none twice")


def with_cells(
    config: KernelDynamicsConfig,
    look_up: Callable[[Int[np.ndarray, "num 6"]], Float[np.ndarray, " num"]],
) -> KernelDynamicsConfig:
    """Names the cells at the quantiles of the truth, where none are named.

    Args:
        config: the configuration.
        look_up: ``archs -> accuracies``.

    Returns:
        The configuration, with cells.

    Raises:
        InputError: the table lacks a cell.
    """
    if config.archs:
        return config
    cells = nasbench201.enumerate_space()
    connected = cells[[nasbench201.is_connected(cell) for cell in cells]]
    order = np.argsort(look_up(connected), kind="stable")
    places = [round(quantile * (len(order) - 1)) for quantile in config.quantiles]
    names = [nasbench201.format_ops(connected[order[place]]) for place in places]
    # Quantiles that lie close together may name one cell.
    return replace(config, archs=tuple(dict.fromkeys(names)))


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
    cells = [nasbench201.format_ops(arch) for arch in study.job.archs]
    wanted = {(ops, epoch) for ops in cells for epoch in study.config.epochs}
    if wanted <= done:
        return
    bar = track(range(study.last_epoch + 1), "epochs", console)
    for _, rows in zip(bar, epoch_rows(study), strict=True):
        for row in rows:
            if tuple(row[key] for key in KEYS) not in done:
                append_row(out / run_folder.SCORES, row)


def epoch_rows(study: OverTraining) -> Iterator[list[dict[str, Any]]]:
    """Trains all cells and their linearisations, and compares kernels.

    Args:
        study: the study, in one mode of batch normalisation.

    Yields:
        The rows of epoch 0, 1, ..., a row a cell; none for an epoch that is not asked for.
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
                what = {"ops": nasbench201.format_ops(arch), "epochs": epoch, "seed": config.seed}
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
) -> Callable[[Mapping[str, Any], Int[np.ndarray, "6"]], Kernels]:
    """Returns the function that computes the kernels of a network and of its layers.

    Layers are the stem, each cell, each reduction and the last normalisation (and the classifier
    where its parameters enter); a cell or reduction is one layer.

    Args:
        job: names network, images and parameters.

    Returns:
        ``(variables, arch) -> {layer: kernel}``, on the host, ``network`` being their sum.
    """
    kernels_fn = jax.jit(layer_kernel_fn(job.network, job.settings, job.batch.x.shape[1:]))
    x = jnp.asarray(job.batch.x)

    def kernels_of(variables: Mapping[str, Any], arch: Int[np.ndarray, "6"]) -> Kernels:
        found: Kernels = {}
        for path, stacked in kernels_fn(variables, x, jnp.asarray(arch, jnp.int32)).items():
            block = path[0].removesuffix("_norm")
            each = np.asarray(stacked, np.float64).reshape(-1, *stacked.shape[-2:])
            for number, kernel in enumerate(each, start=1):
                layer = f"{block} cell {number}" if stacked.ndim > 2 else block
                found[layer] = found.get(layer, 0) + exact_zero(job.config.parameters, arch, kernel)
        ordered = {name: found[name] for name in sorted(found, key=_depth)}
        return {TOTAL: np.sum(list(found.values()), axis=0)} | ordered

    return kernels_of


def _depth(layer: str) -> tuple[int, int, int]:
    """Says where a layer lies: stem, stage 1, reduction 1, stage 2, ..., norm, classifier."""
    name, _, cell = layer.partition(" cell ")
    block, _, number = name.rpartition("_")
    if not block:
        return ({"stem": 0, "norm": 98}.get(name, 99), 0, 0)
    return int(number), ("stage", "reduction").index(block), int(cell or 0)


def _networks(study: OverTraining) -> dict[str, Networks]:
    config, network = study.config, study.job.network
    steps = config.epochs_of_schedule * study.steps_an_epoch
    shape, dtype = study.x_train.shape[1:], jnp.dtype(PARAMETERS[config.dtype])
    made = (network, config.training, steps, shape, dtype)
    plain = population_training(*made, strategy=config.strategy)
    linear = linearized_training(*made, strategy=config.strategy)
    return {
        "network": Networks(plain, make_evaluation(network, config.strategy)),
        "linearized": Networks(linear, make_linearized_evaluation(network, config.strategy)),
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


def run_dynamics(
    config: KernelDynamicsConfig, out: Path, *, command: str, console: Console
) -> Path:
    """Runs the study from its configuration to its figure, or goes on with it.

    Args:
        config: the configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress is shown.

    Returns:
        The figure.

    Raises:
        InputError: anything wrong with configuration, data, table or folder.
    """
    validate_dynamics(config)
    look_up = table_look_up(config.truth, find_table(config.data_dir, config.table))
    named = with_cells(config, look_up)
    study = prepare(named)
    truth = look_up(study.job.archs)
    record = run_folder.Record(
        experiment=NAME,
        command=command,
        config=named,
        data_sha256=run_folder.digest_of(study.digest, truth),
    )
    run_folder.open_run(out, record, validate_dynamics)
    compute_dynamics(study, out, console)
    rows = run_folder.rows_by_key(out / run_folder.SCORES, KEYS)
    cells = {
        ops: [rows[ops, epoch] for epoch in named.epochs]
        for ops in map(nasbench201.format_ops, study.job.archs)
    }
    titles = {
        ops: f"{ops}: {accuracy:.1f} % ({config.truth})"
        for ops, accuracy in zip(cells, truth, strict=True)
    }
    picture = io.BytesIO()
    kernel_dynamics_figure(cells, titles).savefig(picture, dpi=150)
    write_bytes_atomic(out / FIGURE, picture.getvalue())
    console.print(_table(cells, titles))
    console.print(f"rows and figure: {out}", soft_wrap=True, highlight=False)
    return out / FIGURE


def _table(cells: Mapping[str, list[dict[str, Any]]], titles: Mapping[str, str]) -> Table:
    table = Table(title="After the last epoch", title_justify="left")
    heads = ("cell", "network", "linearized", "advantage", "cosine with K_0", "LGA", "LGA at K_0")
    for name in heads:
        table.add_column(name)
    for ops, rows in cells.items():
        last, kernel = rows[-1], rows[-1]["kernels"][TOTAL]
        advantage = last["nonlinear_advantage"]
        lga = (Score.from_json(row["kernels"][TOTAL]["lga"]).value for row in (last, rows[0]))
        table.add_row(
            titles[ops],
            *(f"{last[name]['test_accuracy']:.1f} %" for name in ("network", "linearized")),
            MISSING if advantage is None else f"{advantage:+.1f}",
            f"{Score.from_json(kernel['cosine']).value:.2f}",
            *(f"{value:.3f}" for value in lga),
        )
    return table
