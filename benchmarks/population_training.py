"""What one compilation for all architectures saves when a population is trained.

    python -m benchmarks.population_training

The claims that it measures, on networks of the size of Digits-201 (8 channels, 1 cell a stage, 8x8
pixels): training 64 cells for one epoch takes at most 1/10 of the time of 64 networks, each
compiled by itself, compilation included; and the steps, inside the loops over cells and batches,
take at most 1.5 times as long as those of a plain jitted step that a Python loop calls.

Both sides do the same steps on the same images, in turns, cell by cell. In float64 their weights
agree to 1e-9 (tests/training/test_population.py). In float32 rounding grows while networks are
trained, as an input of a ReLU that changes its sign changes the gradient: each network is trained
once more by itself from weights that are moved by one rounding, and the two sides have to be as
near to each other as these two trainings are, all cells taken together.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.measure import set_up, write_record
from jaxntk.data.batches import standardize as standardize_images
from jaxntk.data.images import load_images
from jaxntk.errors import InputError
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_plain import plain_logits, standardize
from jaxntk.results import theme
from jaxntk.runs.publish import write_figure
from jaxntk.spaces import nasbench201
from jaxntk.training.augment import augment
from jaxntk.training.population import batches, epoch_keys, population_training, steps_of
from jaxntk.training.recipe import Recipe, make_optimizer

PROGRAM = "python -m benchmarks.population_training"
DIFFERS, BAD_INPUT = 1, 2
EPSILON = 2.0**-23
TOLERANCE = 3.0
"""Times what rounding alone does, both as the largest difference over cells."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the training of a population against that of its networks one by one."""

    cells: int = 64
    """Cells."""
    batch_size: int = 64
    """Images a step."""
    channels: int = 8
    """Channels of the stem."""
    seed: int = 0
    """Of the cells."""
    cores: int = 2
    """Cores that this process may use."""
    out: Path = Path("benchmarks/results/population_training.json")
    """JSON file to write; the picture goes beside it."""


def separate_step(recipe: Recipe, steps: int, arch: tuple[int, ...]) -> Callable[..., Any]:
    """Returns a training step of one network, as one would write it for that network alone.

    Args:
        recipe: how it is trained.
        steps: of the whole training.
        arch: its cell.

    Returns:
        ``(params, optimizer state, key, x, y) -> (params, optimizer state)``, jitted.
    """
    optimizer = make_optimizer(recipe, steps)

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def normalize(path: str, x: jax.Array) -> jax.Array:
            return standardize(x, x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2)))

        out = plain_logits(params, x, arch, normalize)
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

    def step(params: Any, state: Any, key: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        grads = jax.grad(loss_fn)(params, augment(key, x, recipe), y)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step)


def measure(options: Options, console: Console) -> dict[str, Any]:
    """Trains every cell for an epoch on both sides.

    Args:
        options: the options.
        console: where progress is shown.

    Returns:
        The compilation of the population, and for each cell its times on both sides and how far
        the weights are apart.
    """
    dataset, _ = standardize_images(load_images("digits201"))
    x, y = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    recipe = Recipe(batch_size=options.batch_size, augmentation="crop", pad=1)
    steps = steps_of(len(x), recipe)
    network = NasBench201(dataset.num_classes, options.channels, 1, BatchNormMode.BATCH)
    archs = nasbench201.sample(jax.random.key(options.seed), options.cells)
    # Drawing the weights is the same program on both sides and not part of the comparison.
    params = init_variables(network, jax.random.key(0), x.shape[1:], x.dtype)["params"]
    training = population_training(cell_model(network), recipe, steps, x.shape[1:], x.dtype)

    def together(arch: np.ndarray) -> tuple[Any, float]:
        states = training.init([0])
        start = time.perf_counter()
        states, _ = jax.block_until_ready(training.epoch(states, jnp.asarray(arch[None]), x, y))
        return states.params, time.perf_counter() - start

    key_order, key_augment = epoch_keys(0, 0)
    order = np.asarray(batches(key_order, len(x), recipe))
    keys = jax.random.split(key_augment, len(order))
    _, first = together(archs[0])
    rows = []
    for at, arch in enumerate(archs):
        console.print(f"{at + 1} of {len(archs)}: {nasbench201.format_ops(arch)}", highlight=False)
        stacked, seconds = together(arch)
        state = make_optimizer(recipe, steps).init(params)
        start = time.perf_counter()
        step = separate_step(recipe, steps, tuple(int(op) for op in arch))
        compiled = step.lower(params, state, keys[0], x[order[0]], y[order[0]]).compile()
        built = time.perf_counter()
        alone = _trained(compiled, params, state, order, keys, x, y)
        ended = time.perf_counter()
        moved = jax.tree.map(lambda leaf: leaf * jnp.float32(1 + EPSILON), params)
        rounded = _trained(compiled, moved, state, order, keys, x, y)
        rows.append({
            "ops": nasbench201.format_ops(arch),
            "population_seconds": seconds,
            "separate_compile_seconds": built - start,
            "separate_seconds": ended - built,
            "relative_error": _apart(jax.tree.map(lambda leaf: leaf[0], stacked), alone),
            "relative_rounding": _apart(rounded, alone),
        })
    run = float(np.mean([row["population_seconds"] for row in rows]))
    return {"population_compile_seconds": first - run, "steps": steps, "rows": rows}


def summarize(measured: dict[str, Any]) -> dict[str, float]:
    """Reads the claims off the times.

    Args:
        measured: what :func:`measure` returns.

    Returns:
        Times of all cells together, and their ratios.
    """
    rows = measured["rows"]
    population = sum(row["population_seconds"] for row in rows)
    separate = sum(row["separate_seconds"] for row in rows)
    compiling = sum(row["separate_compile_seconds"] for row in rows)
    whole = population + measured["population_compile_seconds"]
    return {
        "population_seconds": whole,
        "separate_seconds": separate + compiling,
        "ratio": whole / (separate + compiling),
        "ratio_without_compile": population / separate,
        "largest_relative_error": max(row["relative_error"] for row in rows),
        "largest_relative_rounding": max(row["relative_rounding"] for row in rows),
    }


def figure(measured: dict[str, Any]) -> Figure:
    """Draws the time that has passed after each cell, on both sides.

    Args:
        measured: what :func:`measure` returns.

    Returns:
        The figure.
    """
    rows = measured["rows"]
    together = [row["population_seconds"] for row in rows]
    alone = [row["separate_seconds"] + row["separate_compile_seconds"] for row in rows]
    drawn = Figure(figsize=(6.4, 3.2), layout="constrained")
    ax = drawn.subplots()
    numbers = np.arange(1, len(rows) + 1)
    for times, label, colour in (
        (np.cumsum(alone), "each compiled by itself", theme.MUTED),
        (np.cumsum(together) + measured["population_compile_seconds"], "one compilation", "C0"),
    ):
        ax.plot(numbers, times, color=colour, linewidth=2)
        ax.annotate(
            label, (numbers[-1], times[-1]), (-4, 5), textcoords="offset points", ha="right"
        )
    across, up = "cells trained for one epoch", "seconds, compilation included"
    theme.style_axes(ax, xlabel=across, ylabel=up, spines=("left",))
    ax.set_ylim(bottom=0)
    return drawn


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, 1 where the weights differ, 2 after bad input.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    console = Console()
    try:
        set_up(options.cores)
        measured = measure(options, console)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    summary = summarize(measured)
    for name, value in summary.items():
        console.print(f"{name:26} {value:9.3g}", highlight=False)
    bound = TOLERANCE * summary["largest_relative_rounding"]
    apart = [row["ops"] for row in measured["rows"] if row["relative_error"] > bound]
    if apart:
        names = ", ".join(apart)
        print(f"error: the weights of {names} differ; nothing is written", file=sys.stderr)
        return DIFFERS
    write_record(options.out, PROGRAM, options, summary=summary, **measured)
    write_figure(options.out.with_suffix(".png"), figure(measured))
    return 0


def _trained(
    step: Callable[..., Any],
    params: Any,
    state: Any,
    order: np.ndarray,
    keys: jax.Array,
    x: jax.Array,
    y: jax.Array,
) -> Any:
    """Returns the weights after an epoch of single steps."""
    for index, key in zip(order, keys, strict=True):
        params, state = step(params, state, key, x[index], y[index])
    return jax.block_until_ready(params)


def _apart(weights: Any, others: Any) -> float:
    """Returns the largest difference of two sets of weights, relative to the largest weight."""
    pairs = zip(jax.tree.leaves(weights), jax.tree.leaves(others), strict=True)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(others))
    return max(float(jnp.abs(one - other).max()) for one, other in pairs) / scale


if __name__ == "__main__":
    sys.exit(main())
