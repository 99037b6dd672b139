"""What a pruned supernet left: when operations were pruned, as a picture, and a table of cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from jaxntk.results import theme
from jaxntk.results.search_table import levels_line
from jaxntk.spaces.nasbench201 import EDGES, OPS


def prune_figure(rounds: Sequence[Sequence[float]], searches: int) -> Figure:
    """Draws in which round an operation was pruned, on each edge.

    Args:
        rounds: edges and operations: the round, mean over searches, with 5 for what was kept.
        searches: how many there were.

    Returns:
        The figure.
    """
    values = np.asarray(rounds)
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.imshow(values, cmap="Blues", vmin=1, vmax=len(OPS), aspect="auto")
    for (edge, op), value in np.ndenumerate(values):
        colour = theme.SURFACE if value > len(OPS) / 2 + 1 else theme.INK
        ax.text(op, edge, f"{value:.1f}", ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(OPS)), list(OPS))
    ax.set_yticks(range(len(EDGES)), [f"{to} \N{LEFTWARDS ARROW} {source}" for to, source in EDGES])
    over = f", mean over {searches} prunings" if searches > 1 else ""
    title = f"round in which operations were pruned{over} (5: kept)"
    theme.style_axes(ax, title=title, ylabel="edge", grid="", spines=())
    return figure


def prune_table(summary: Mapping[str, Any]) -> Table:
    """Lays out the cells that were left.

    Args:
        summary: of :func:`jaxntk.studies.search.prune.summarize`.

    Returns:
        The table.
    """
    title = f"the cell that each pruning by {' + '.join(summary['goals'])} left"
    table = Table(title=title, title_justify="left")
    table.add_column("cell", overflow="fold")
    for name in ("accuracy", "regret", "seconds"):
        table.add_column(name, justify="right")
    for each in summary["searches"]:
        numbers = (each["accuracy"], each["regret"], each["seconds"])
        shown = ("none" if number is None else f"{number:.2f}" for number in numbers)
        table.add_row(each["ops"], *shown)
    lines = [levels_line(summary)]
    # Summaries of an older version do not count them.
    if summary.get("kernels_from_cache"):
        shared = f"{summary['kernels_from_cache']} of {summary['kernels']} kernels"
        lines.append(f"{shared} computed by other runs")
    if summary["scores_failed"]:
        lines.append(f"{summary['scores_failed']} of {summary['scores_told']} scores failed")
    if summary["searches_without_score"]:
        lines.append(f"{summary['searches_without_score']} had a round without a valid score")
    table.caption = "\n".join(lines)
    return table
