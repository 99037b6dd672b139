"""Both ways to contract the gradients of a layer, and whether ``auto`` takes the better one.

    python -m benchmarks.routes

For a layer of ``rows`` by ``columns`` whose n examples have t tokens each, the kernel of its weight
from activations (n, t, rows) and cotangents (n, t, columns) in float32: ``factorised``,
``materialised`` (:mod:`jaxntk.kernels.traced.contraction`) and ``auto``, in turns. The claim: over
t = 16 .. 4,096 and n = 16 .. 512, ``auto`` takes at most 1.5 times as long as the faster one. A
route that needs more than ``most`` multiplications, or more memory than ``most_numbers``, is not
run, and said to be so; then there is nothing to compare with.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.measure import compile_call, run_seconds, set_up, write_record
from jaxntk.errors import InputError
from jaxntk.kernels.traced.contraction import choose, costs, gram_of, numbers_held
from jaxntk.kernels.traced.operations import Factors, Gradients
from jaxntk.results import theme
from jaxntk.runs.publish import write_figure

PROGRAM = "python -m benchmarks.routes"
ROUTES = ("factorised", "materialised", "auto")
TOLERANCE = 1e-4
"""Relative to the largest entry."""
DIFFERS, BAD_INPUT = 1, 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the routes."""

    tokens: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    """Of each example."""
    examples: tuple[int, ...] = (16, 64, 256, 512)
    """Of a symmetric kernel."""
    layers: tuple[tuple[int, int], ...] = ((64, 64), (192, 768), (768, 3072))
    """Rows and columns of the weight."""
    most: float = 1e11
    """Multiplications of a route that is still run."""
    most_numbers: float = 5e8
    """Numbers of operands or gradients that a route may hold."""
    repeats: int = 5
    """Of each route; one for those that take seconds."""
    cores: int = 2
    """Cores that this process may use."""
    device: str = "cpu"
    """Where to run."""
    out: Path = Path("benchmarks/results/routes.json")
    """JSON file to write; the picture goes beside it."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    console = Console()
    try:
        set_up(options.cores, "cpu" if options.device == "cpu" else None)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    rows = []
    for layer in options.layers:
        for n in options.examples:
            for t in options.tokens:
                rows.append(time_routes(options, layer, n, t))
                console.print(line(rows[-1]), soft_wrap=True)
    compared = [row for row in rows if len(row["seconds"]) == len(ROUTES)]
    if not compared:
        print("error: no case in which both routes are run; raise most", file=sys.stderr)
        return BAD_INPUT
    summary = {
        "cases": len(rows),
        "compared": len(compared),
        "auto_over_faster_worst": max(over_faster(row) for row in compared),
        "auto_over_faster_median": float(np.median([over_faster(row) for row in compared])),
        "largest_gain": max(gain(row) for row in compared),
    }
    write_record(options.out, PROGRAM, options, rows=rows, summary=summary)
    write_figure(options.out.with_suffix(".png"), figure(rows, options))
    Console(width=100).print(result_table(rows))
    console.print(summary)
    return 0 if all(row["relative_error"] <= TOLERANCE for row in rows) else DIFFERS


def gradients_of(left: jax.Array, right: jax.Array) -> Gradients:
    """Returns the gradients of a dense layer's weight.

    Args:
        left: activations (n, t, rows).
        right: cotangents (n, t, columns).

    Returns:
        What the contraction takes.
    """
    factors = Factors(left[:, None], right[:, None], lambda whole: whole[:, 0])
    return Gradients(lambda: factors, left.shape[1], (left.shape[2], right.shape[2], 1))


def time_routes(options: Options, layer: tuple[int, int], n: int, t: int) -> dict[str, Any]:
    """Times the routes on one case.

    Args:
        options: the options.
        layer: rows and columns of the weight.
        n: examples.
        t: tokens.

    Returns:
        Seconds of each route that was run, the route that ``auto`` takes, the largest difference.
    """
    rng = np.random.default_rng(n * t)
    left, right = (jnp.asarray(rng.normal(size=(n, t, width)), jnp.float32) for width in layer)
    gradients = gradients_of(left, right)
    cost = costs(gradients, n, (n, n))
    chosen = choose(gradients, n, (n, n), "auto")
    operands = n * t * sum(layer)
    held = {"factorised": operands, "materialised": max(operands, numbers_held(gradients, n))}
    possible = [
        route
        for route in ROUTES[:2]
        if cost[route] <= options.most and held[route] <= options.most_numbers
    ]
    measured = {}
    for route in [*possible, *(["auto"] if chosen in possible else [])]:
        measured[route] = compile_call(partial(_kernel, route=route), left, right)
    kernels = [each.call() for each in measured.values()]
    error = max((np.abs(k - kernels[0]).max() / np.abs(k).max() for k in kernels), default=0.0)
    times = run_seconds({name: each.call for name, each in measured.items()}, options.repeats)
    return {
        "rows": layer[0],
        "columns": layer[1],
        "n": n,
        "tokens": t,
        "auto_takes": chosen,
        "seconds": {name: float(np.min(each)) for name, each in times.items()},
        "memory_bytes": {name: each.memory_bytes for name, each in measured.items()},
        "multiplications": cost,
        "relative_error": float(error),
    }


def _kernel(left: jax.Array, right: jax.Array, route: str) -> jax.Array:
    n = len(left)
    return gram_of(gradients_of(left, right), n, (n, n), route, jnp.dtype("float32"))


def over_faster(row: dict[str, Any]) -> float:
    """Returns how many times as long as the faster route ``auto`` takes."""
    seconds = row["seconds"]
    return seconds["auto"] / min(seconds["factorised"], seconds["materialised"])


def gain(row: dict[str, Any]) -> float:
    """Returns how many times as long as ``auto`` the slower route takes."""
    seconds = row["seconds"]
    return max(seconds["factorised"], seconds["materialised"]) / seconds["auto"]


def line(row: dict[str, Any]) -> str:
    """Returns one case in words."""
    seconds = ", ".join(f"{name} {1e3 * each:.2f} ms" for name, each in row["seconds"].items())
    case = f"{row['rows']}x{row['columns']}, n = {row['n']}, t = {row['tokens']}"
    return f"{case}: auto takes {row['auto_takes']}; {seconds or 'none was run'}"


def result_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the cases as a table, times in milliseconds.

    Args:
        rows: of :func:`time_routes`.

    Returns:
        The table; a dash stands for a route that was not run.
    """
    table = Table("weight", "n", "tokens", *ROUTES, "auto takes", title="milliseconds")
    for row in rows:
        times = [row["seconds"].get(route) for route in ROUTES]
        shown = ["-" if each is None else f"{1e3 * each:.2f}" for each in times]
        weight = f"{row['rows']}x{row['columns']}"
        table.add_row(weight, str(row["n"]), str(row["tokens"]), *shown, row["auto_takes"])
    return table


def figure(rows: list[dict[str, Any]], options: Options) -> Figure:
    """Draws the time of each route over the number of tokens, a panel for each layer and n.

    Args:
        rows: of :func:`time_routes`.
        options: the options.

    Returns:
        The figure.
    """
    shape = (len(options.layers), len(options.examples))
    size = (2.2 * shape[1] + 1, 2.1 * shape[0] + 0.7)
    drawn = Figure(figsize=size, layout="constrained")
    drawn.set_facecolor(theme.SURFACE)
    axes = drawn.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    styles = {
        "factorised": {"color": theme.BASELINE, "marker": "o", "markersize": 4},
        "materialised": {"color": theme.MUTED, "marker": "s", "markersize": 4},
        "auto": {"color": theme.METRIC, "linestyle": "--", "linewidth": 2.5, "alpha": 0.7},
    }
    for i, (r, c) in enumerate(options.layers):
        for j, n in enumerate(options.examples):
            ax = axes[i, j]
            some = [row for row in rows if (row["rows"], row["columns"], row["n"]) == (r, c, n)]
            for route, style in styles.items():
                points = [
                    (row["tokens"], row["seconds"][route])
                    for row in some
                    if route in row["seconds"]
                ]
                if points:
                    ax.plot(*zip(*points, strict=True), label=route, **style)
            ax.set(xscale="log", yscale="log")
            label = "tokens" if i == shape[0] - 1 else ""
            theme.style_axes(ax, xlabel=label, ylabel="seconds" if j == 0 else "", grid="both")
            ax.set_title(f"{r}x{c}, n = {n}", loc="left", color=theme.INK, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return drawn


if __name__ == "__main__":
    sys.exit(main())
