"""How the result of the benchmark is shown: a table and a picture."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from jaxntk.results import theme
from jaxntk.results.text import seconds, size

SIDES = {"fast": "compiled once for all cells", "naive": "vmap(grad), compiled for each cell"}
COLOURS = {"fast": theme.METRIC, "naive": theme.BASELINE}


def result_table(record: Mapping[str, Any]) -> Table:
    """Lays the means of both sides next to each other.

    Args:
        record: what the benchmark writes.

    Returns:
        The table.
    """
    summary, memory = record["summary"], record["memory"]
    table = Table(title=f"mean of {len(record['cells'])} cells")
    for column in ("", "fast", "naive", "fast / naive"):
        table.add_column(column, justify="right" if column else "left")
    ratio = f"{summary['ratio']:.3f}"
    if summary["ratio_ci95"] is not None:
        low, high = summary["ratio_ci95"]
        ratio += f" ({low:.3f} to {high:.3f})"
    for label, suffix, text in (
        ("time a cell, compile time included", "", ratio),
        ("without", "_without_compile", f"{summary['ratio_without_compile']:.3f}"),
    ):
        times = (seconds(summary[f"{side}_seconds_a_cell{suffix}"]) for side in SIDES)
        table.add_row(label, *times, text)
    cell = memory["fast"]["cell"]
    for label, name in (
        (f"peak memory of the process, cell {cell}", "peak_rss_bytes"),
        ("memory of the executable", "executable_bytes"),
    ):
        fast, naive = (memory[side][name] for side in SIDES)
        table.add_row(label, size(fast), size(naive), f"{fast / naive:.3f}")
    table.caption = (
        f"kernels agree within {summary['largest_relative_error']:.1e} of their largest entry"
    )
    return table


def times_figure(record: Mapping[str, Any]) -> Figure:
    """Draws a pair of bars for every cell; the one compilation is shared evenly.

    Args:
        record: what the benchmark writes.

    Returns:
        The figure.
    """
    rows = sorted(record["cells"], key=lambda row: row["naive_seconds"])
    share = record["fast_compile_seconds"] / len(rows)
    figure = Figure(figsize=(7.2, 1.6 + 0.2 * len(rows)), layout="constrained")
    figure.set_facecolor(theme.SURFACE)
    ax = figure.subplots()
    for side, offset in (("fast", 0.2), ("naive", -0.2)):
        computing = [row[f"{side}_seconds"] for row in rows]
        compiling = [row.get(f"{side}_compile_seconds", share) for row in rows]
        places = [place + offset for place in range(len(rows))]
        bars = {"height": 0.36, "color": COLOURS[side], "linewidth": 0}
        ax.barh(places, compiling, alpha=0.4, label=f"{SIDES[side]}: compiling", **bars)
        ax.barh(places, computing, left=compiling, label=f"{SIDES[side]}: computing", **bars)
    ax.set_yticks(range(len(rows)), [row["ops"] for row in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    theme.style_axes(ax, xlabel="seconds", ylabel="cell", grid="x", spines=("left",))
    ratio = f"{record['summary']['ratio']:.2f}"
    title = f"Time a cell: {ratio} of the baseline, compile time included"
    ax.set_title(title, loc="left", color=theme.INK, fontsize=10)
    figure.legend(
        loc="outside lower left", ncols=2, frameon=False, fontsize=8, labelcolor=theme.INK
    )
    return figure
