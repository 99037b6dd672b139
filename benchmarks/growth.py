"""How time and memory of each method grow: with examples, outputs, parameters and architectures.

    python -m benchmarks.growth

An MLP (784 inputs, three hidden layers) and the kernel as the trace over outputs. From the point
n = 64, C = 10, width 256 one quantity is varied at a time. A method that took longer than
``give_up`` seconds at one point is left out at the larger ones. For the number of architectures
see ``benchmarks.one_compilation`` and ``benchmarks.gram_against_other_methods``: the compilation of
``gram`` is shared by all cells, that of the others is not.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.gram_against_other_methods import METHODS
from benchmarks.gram_against_other_methods_figure import MARKS
from benchmarks.measure import compile_call, run_seconds, set_up, write_record
from benchmarks.networks import Mlp
from jaxntk.errors import InputError
from jaxntk.kernels.arguments import Method
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.results import theme
from jaxntk.runs.publish import write_figure

PROGRAM = "python -m benchmarks.growth"
BASE = {"n": 64, "outputs": 10, "width": 256}
VARIED = {
    "n": (16, 64, 256, 1024),
    "outputs": (1, 4, 16, 64),
    "width": (64, 256, 1024),
}
LABELS = {"n": "examples n", "outputs": "outputs C", "width": "width of the layers"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the growth."""

    give_up: float = 4.0
    """Seconds of one run after which a method is left out at larger points."""
    largest: int = 1024
    """Largest value of any quantity, to look quickly at small ones."""
    cores: int = 2
    """Cores that this process may use."""
    device: str = "cpu"
    """Where to run."""
    out: Path = Path("benchmarks/results/growth.json")
    """JSON file to write; the picture goes beside it."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    try:
        set_up(options.cores, "cpu" if options.device == "cpu" else None)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console()
    rows = list(_measure(options, console))
    write_record(options.out, PROGRAM, options, base=BASE, rows=rows)
    write_figure(options.out.with_suffix(".png"), figure(rows))
    return 0


def _measure(options: Options, console: Console) -> Iterator[dict[str, Any]]:
    for quantity, values in VARIED.items():
        left = list(METHODS)
        for value in (each for each in values if each <= options.largest):
            point = BASE | {quantity: value}
            calls, made = {}, {}
            for method in left:
                made[method] = compile_call(*_kernel(method, **point))
                calls[method] = made[method].call
            times = run_seconds(calls, repeats=5)
            for method, each in times.items():
                seconds = float(np.median(each))
                console.print(f"{quantity} = {value}, {method}: {seconds:.4f} s", highlight=False)
                if seconds > options.give_up:
                    left.remove(method)
                yield {
                    "quantity": quantity,
                    **point,
                    "method": method,
                    "seconds": seconds,
                    "compile_seconds": made[method].compile_seconds,
                    "memory_bytes": made[method].memory_bytes,
                }


def _kernel(method: Method, *, n: int, outputs: int, width: int) -> tuple[Any, Any, Any]:
    model = Mlp(width, 3, outputs)
    x = jax.random.normal(jax.random.key(0), (n, 784))
    params = jax.jit(model.init)(jax.random.key(1), x[:1])["params"]

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        out: Any = model.apply({"params": params}, x)
        return out

    return partial(empirical_ntk, apply_fn, outputs="trace", method=method), params, x


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draws time above and memory below, a column for each quantity.

    Args:
        rows: what was measured.

    Returns:
        The figure.
    """
    drawn = Figure(figsize=(9, 5.2), layout="constrained")
    drawn.set_facecolor(theme.SURFACE)
    axes = drawn.subplots(2, len(VARIED), sharey="row")
    styles = dict(zip(METHODS, cycle(MARKS), strict=False))
    for column, quantity in enumerate(VARIED):
        mine = [row for row in rows if row["quantity"] == quantity]
        for line, (key, factor, unit) in enumerate((
            ("seconds", 1.0, "seconds"),
            ("memory_bytes", 2.0**-20, "memory, MiB"),
        )):
            ax = axes[line][column]
            for method, mark in styles.items():
                points = [row for row in mine if row["method"] == method and row[key]]
                colour = theme.METRIC if method == "gram" else theme.BASELINE
                ax.plot(
                    [row[quantity] for row in points],
                    [row[key] * factor for row in points],
                    mark,
                    color=colour,
                    label=method,
                    markersize=4,
                    linewidth=1.4 if method == "gram" else 1.0,
                )
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            xlabel, ylabel = LABELS[quantity] if line else "", "" if column else unit
            theme.style_axes(ax, xlabel=xlabel, ylabel=ylabel, spines=("left",))
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    drawn.suptitle(
        "One kernel of an MLP, the trace over outputs",
        x=0.01,
        ha="left",
        color=theme.INK,
        fontsize=10,
    )
    return drawn


if __name__ == "__main__":
    sys.exit(main())
