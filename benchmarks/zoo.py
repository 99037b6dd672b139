"""``auto`` against every other method on the ten largest models of the tests' zoo.

    python -m benchmarks.zoo
    python -m benchmarks.zoo --times 1 --out benchmarks/results/zoo_tiny.json

Models as people write them (``tests/zoo``), with ``times`` as many channels on larger inputs as in
the tests, where starting an operation takes longer than the operation. n = 32 examples, float32,
the kernel of the summed outputs and of the trace, compilation apart, all methods in turns in one
process. The aim: ``auto`` is at most 1.1 times as slow as the best other method on any of them, and
at least 1.5 times as fast on half; the tiny models do not reach it. Kernels have to agree. Examples
are those of the zoo, over and over, times numbers near one.
"""

import sys
import time
import types
from collections.abc import Callable
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

from benchmarks.measure import Measured, compile_call, run_seconds, set_up, write_record
from jaxntk.errors import InputError
from jaxntk.kernels.arguments import Method, examples_of
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.memory import host_memory
from jaxntk.results import theme
from jaxntk.results.text import size
from jaxntk.runs.publish import write_figure

PROGRAM = "python -m benchmarks.zoo"
METHODS: tuple[Method, ...] = (
    "auto",
    "per_example_gradients",
    "jacobian_contraction",
    "ntk_vector_products",
    "structured_derivatives",
)
TOLERANCE = 1e-2
"""Relative to the largest entry; in float32 rounding changes the sign of some inputs of a ReLU."""
GIVE_UP = 10.0
"""Times the fastest method that a method may take to be run more than once."""
NO_SLOWER, FASTER = 1.1, 1.5
DIFFERS, BAD_INPUT = 1, 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the methods."""

    n: int = 32
    """Examples."""
    times: int = 8
    """How many times as wide the models are as in the tests."""
    models: tuple[str, ...] = ()
    """Of the zoo; the ten largest where none is named."""
    outputs: tuple[str, ...] = ("sum", "trace")
    """Kernels that are timed."""
    methods: tuple[Method, ...] = METHODS
    """Those that are timed."""
    repeats: int = 30
    """Of each."""
    cores: int = 2
    """Cores that this process may use."""
    out: Path = Path("benchmarks/results/zoo.json")
    """JSON file to write; the picture goes beside it."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    console = Console(width=120)
    zoo, large = load_zoo()
    try:
        set_up(options.cores)
        names = options.models or large
        unknown = [name for name in names if name not in zoo]
        if unknown:
            raise InputError("models", unknown[0], f"choose among {', '.join(sorted(zoo))}")
        if not {"auto", "per_example_gradients"} <= set(options.methods):
            cure = "name auto and per_example_gradients, with which the others are compared"
            raise InputError("methods", " ".join(options.methods), cure)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    rows = []
    for name in names:
        model = zoo[name](options.times) if name in large else zoo[name]()
        for outputs in options.outputs:
            rows.append({"model": name, **time_model(model, outputs, options)})
            console.print(f"{name}, {outputs}: {summary_of(rows[-1])}")
            # After each, as a run takes half an hour.
            summary = summary_over(rows)
            write_record(options.out, PROGRAM, options, rows=rows, summary=summary)
    write_figure(options.out.with_suffix(".png"), figure(rows))
    console.print(result_table(rows))
    console.print(summary_over(rows))
    return 0 if all(row["relative_error"] <= TOLERANCE for row in rows) else DIFFERS


def summary_over(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how ``auto`` did over all cases: its worst, its median, and how often it won."""
    ratios = [best_other(row) / row["seconds"]["auto"] for row in rows]
    return {
        "cases": len(rows),
        "auto_slower_worst": 1 / min(ratios),
        "auto_faster_median": float(np.median(ratios)),
        "share_no_slower": float(np.mean([1 / ratio <= NO_SLOWER for ratio in ratios])),
        "share_faster": float(np.mean([ratio >= FASTER for ratio in ratios])),
    }


def load_zoo() -> tuple[dict[str, Callable[[], Any]], tuple[str, ...]]:
    """Returns the models of the tests' zoo by name, and the names of the largest."""
    # neural-tangents installs a package of the name tests, which would be found first.
    ours: Any = types.ModuleType("tests")
    ours.__path__ = [str(Path(__file__).resolve().parents[1] / "tests")]
    found = sys.modules.get("tests")
    sys.modules["tests"] = ours
    try:
        from tests.zoo.table import LARGE, ZOO
    finally:
        if found is None:
            del sys.modules["tests"]
        else:
            sys.modules["tests"] = found
    return ZOO, LARGE


def more_examples(x: Any, n: int) -> Any:
    """Returns a batch of n examples: those given, over and over, times numbers near one."""
    rng = np.random.default_rng(0)

    def more(leaf: jax.Array) -> jax.Array:
        many = jnp.take(leaf, jnp.arange(n) % len(leaf), axis=0)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return many
        factors = rng.uniform(0.9, 1.1, (n, *[1] * (leaf.ndim - 1)))
        return many * jnp.asarray(factors, leaf.dtype)

    return jax.tree.map(more, x)


def narrow(tree: Any) -> Any:
    """Returns a tree with its floating-point leaves in float32."""
    floating = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.float32(leaf) if floating(leaf) else leaf, tree)


def time_model(model: Any, outputs: str, options: Options) -> dict[str, Any]:
    """Times the methods on one model.

    Args:
        model: of the zoo.
        outputs: of the kernel.
        options: the options.

    Returns:
        Seconds, bytes and compilation of each method, and the largest difference of the kernels.
    """
    params, state, x = map(narrow, (model.params, model.state, more_examples(model.x, options.n)))
    assert examples_of(x) == options.n
    measured, refused = {}, {}
    for method in options.methods:
        kernel = partial(empirical_ntk, model.apply_fn, outputs=outputs, method=method, state=state)
        try:
            measured[method] = fitting(compile_call(kernel, params, x))
        except InputError as error:
            refused[method] = str(error)
    kernels, first = {}, {}
    for name, each in measured.items():
        start = time.perf_counter()
        kernels[name] = each.call()
        first[name] = time.perf_counter() - start
    wanted = kernels["per_example_gradients"]
    near = {name for name, each in first.items() if each <= GIVE_UP * min(first.values())}
    calls = {name: each.call for name, each in measured.items() if name in {"auto", *near}}
    times = {name: [each] for name, each in first.items()}
    times |= run_seconds(calls, options.repeats)
    return {
        "outputs": outputs,
        "parameters": model.size,
        "refused": refused,
        "seconds": {name: float(np.median(each)) for name, each in times.items()},
        "memory_bytes": {name: each.memory_bytes for name, each in measured.items()},
        "compile_seconds": {name: each.compile_seconds for name, each in measured.items()},
        "relative_error": float(
            max(np.abs(k - wanted).max() for k in kernels.values()) / np.abs(wanted).max()
        ),
    }


def fitting(measured: Measured) -> Measured:
    """Returns a compiled call, if the machine has the memory that it needs.

    Args:
        measured: the call, not yet made.

    Returns:
        The same.

    Raises:
        InputError: it needs more than is free.
    """
    free = host_memory()
    if measured.memory_bytes and free and measured.memory_bytes > free:
        got = f"{size(measured.memory_bytes)} where {size(free)} are free"
        raise InputError("memory", got, "give fewer examples")
    return measured


def best_other(row: dict[str, Any]) -> float:
    """Returns the seconds of the fastest method beside ``auto``."""
    return min(seconds for name, seconds in row["seconds"].items() if name != "auto")


def summary_of(row: dict[str, Any]) -> str:
    """Returns one case in words."""
    ratio = best_other(row) / row["seconds"]["auto"]
    seconds = ", ".join(f"{name} {1e3 * each:.2f} ms" for name, each in row["seconds"].items())
    return f"auto {ratio:.2f} times as fast as the best other; {seconds}"


def result_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the cases as a table.

    Args:
        rows: of :func:`time_model`, with their models.

    Returns:
        The table: milliseconds and megabytes of ``auto`` and of the best other method.
    """
    table = Table("model", "kernel", "auto", "best other", "", "ratio", "MB", "MB of the other")
    for row in rows:
        others = {name: each for name, each in row["seconds"].items() if name != "auto"}
        best = min(others, key=others.__getitem__)
        auto, memory = row["seconds"]["auto"], row["memory_bytes"]
        table.add_row(
            row["model"],
            row["outputs"],
            f"{1e3 * auto:.2f} ms",
            f"{1e3 * others[best]:.2f} ms",
            best,
            f"{others[best] / auto:.2f}",
            *(f"{memory[name] / 1e6:.1f}" if memory[name] else "-" for name in ("auto", best)),
        )
    return table


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draws how many times as fast ``auto`` is as the best other method.

    Args:
        rows: of :func:`time_model`, with their models.

    Returns:
        The figure.
    """
    drawn = Figure(figsize=(7.2, 0.24 * len(rows) + 1.2), layout="constrained")
    drawn.set_facecolor(theme.SURFACE)
    ax = drawn.subplots()
    names = [f"{row['model']}, {row['outputs']}" for row in rows][::-1]
    values = [best_other(row) / row["seconds"]["auto"] for row in rows][::-1]
    ax.barh(names, values, height=0.6, color=theme.METRIC, linewidth=0)
    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8}
    for place, value in enumerate(values):  # in a column right of the axes, where no line is
        ax.text(1.02, place, f"{value:.2f}", **beside, color=theme.MUTED)
    ax.axvline(1, color=theme.INK, linewidth=0.8)
    ax.axvline(FASTER, color=theme.INK, linewidth=0.8, linestyle="--")
    ax.margins(x=0.08)
    label = "times as fast as the best other method; dashed: 1.5"
    theme.style_axes(ax, xlabel=label, grid="x", spines=("left",))
    title = "auto on the largest models of the zoo"
    ax.set_title(title, loc="left", color=theme.INK, fontsize=10)
    return drawn


if __name__ == "__main__":
    sys.exit(main())
