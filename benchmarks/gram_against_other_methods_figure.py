"""How the comparison of the methods is laid out as a table and drawn."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rich.table import Table

from benchmarks.gram_against_other_methods_cells import ORDINARY
from jaxntk.results import theme
from jaxntk.results.text import seconds, size

MARKS = ("o-", "s--", "^-.", "D:", "v--")


def result_table(summary: dict[str, dict[str, Any]], title: str) -> Table:
    """Lays the methods under each other.

    Args:
        summary: see :func:`summarize`.
        title: of the table.

    Returns:
        The table.
    """
    table = Table(title=title)
    table.add_column("method", no_wrap=True)
    for column in ("cases", "with compile", "x gram", "without", "x gram ", "memory"):
        table.add_column(column, justify="right")
    for method, entry in summary.items():
        table.add_row(
            _label(method, entry["network"]).replace(", ", ",\n"),
            str(entry["cases"]),
            seconds(entry["seconds"]),
            f"{entry['times_gram']:.2f}",
            seconds(entry["seconds_without_compile"]),
            f"{entry['times_gram_without_compile']:.2f}",
            size(entry["memory_bytes"]),
        )
    return table


def figure(rows: list[dict[str, Any]], summary: dict[str, dict[str, Any]], title: str) -> Figure:
    """Draws the time of a kernel for every method and, for several cells, how their times add up.

    Args:
        rows: one a case and method.
        summary: means over cases, for every method.
        title: of the picture.

    Returns:
        The figure.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    several = len(cases) > 1
    drawn = Figure(figsize=(7.2, 1.6 + 0.4 * len(summary) + 3.2 * several), layout="constrained")
    drawn.set_facecolor(theme.SURFACE)
    ratios = [0.4 * len(summary), 2.4][: 1 + several]
    axes = drawn.subplots(1 + several, squeeze=False, height_ratios=ratios)[:, 0]
    _times(axes[0], summary)
    axes[0].set_title(title, loc="left", color=theme.INK, fontsize=10)
    if several:
        _sums(axes[1], rows, cases)
    return drawn


def _times(ax: Any, summary: dict[str, dict[str, Any]]) -> None:
    """Marks both times of every method; a bar would have no zero to begin at."""
    names = list(summary)[::-1]
    for place, name in enumerate(names):
        computing, whole = (summary[name][key] for key in ("seconds_without_compile", "seconds"))
        colour = _colour(name, summary[name]["network"])
        ax.plot([computing, whole], [place, place], color=colour, linewidth=1, alpha=0.5)
        ax.plot(computing, place, "o", color=colour, markersize=7)
        ax.plot(whole, place, "o", color=colour, markersize=7, markerfacecolor=theme.SURFACE)
        # Labels of times that are close stand on either side.
        close = whole < 1.4 * computing
        for value, side in ((computing, "right"), (whole, "left")):
            ax.annotate(
                seconds(value),
                (value, place),
                xytext=(0, 6),
                textcoords="offset points",
                ha=side if close else "center",
                fontsize=7,
                color=theme.MUTED,
            )
    ax.set_yticks(range(len(names)), [_label(name, summary[name]["network"]) for name in names])
    ax.set_ylim(-0.5, len(names) - 0.3)
    ax.set_xscale("log")
    ax.margins(x=0.08)
    time = "seconds a kernel: full computing, open with compilation"
    theme.style_axes(ax, xlabel=time, grid="x", spines=("left",))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _colour(method: str, network: str) -> str:
    if method == "gram":
        return theme.METRIC
    return theme.MUTED if network == ORDINARY else theme.BASELINE


def _label(method: str, network: str) -> str:
    """Names a method; one on another network function than that of ``gram`` says so."""
    return f"{method}, {ORDINARY}" if network == ORDINARY else method


def _sums(ax: Any, rows: list[dict[str, Any]], cases: list[str]) -> None:
    """Draws seconds, compilations included, over the number of architectures."""
    networks = {row["method"]: row["network"] for row in rows}
    for (method, network), mark in zip(networks.items(), cycle(MARKS), strict=False):
        mine = [row for row in rows if row["method"] == method]
        each = [row["compile_seconds"] + np.median(row["run_seconds"]) for row in mine]
        ax.plot(
            range(1, len(mine) + 1),
            np.cumsum(each),
            mark,
            color=_colour(method, network),
            label=_label(method, network),
            markersize=4,
            linewidth=1,
        )
    ax.set_xticks(range(1, len(cases) + 1))
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    theme.style_axes(
        ax, xlabel="architectures", ylabel="seconds, with compilation", spines=("left",)
    )
    ax.figure.legend(
        frameon=False, fontsize=8, labelcolor=theme.INK, loc="outside lower center", ncols=2
    )
