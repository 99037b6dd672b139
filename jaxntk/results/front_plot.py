"""Score against FLOPs, and the Pareto front."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from jaxntk.results import theme


def front_figure(entries: Sequence[Mapping[str, Any]], score: str, of: str) -> Figure:
    """Draws everything that searches have scored, and a line through the front.

    Args:
        entries: of :func:`jaxntk.studies.search.front.seen_entries`.
        score: what searches went by.
        of: what accuracy is meant, for the colours, where entries have one.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    ax = figure.subplots()
    front = [entry for entry in entries if entry["front"]]
    # Scores that are better low were told with a minus.
    low = bool(entries) and all(entry["score"] < 0 for entry in entries)
    sign = -1 if low else 1
    x, y = [entry["flops"] / 1e6 for entry in entries], [sign * e["score"] for e in entries]
    known = bool(entries) and "accuracy" in entries[0]
    colours: dict[str, Any] = {"color": theme.METRIC}
    if known:
        colours = {"c": [entry["accuracy"] for entry in entries], "cmap": "viridis"}
    points = ax.scatter(x, y, s=14, linewidths=0, zorder=2, **colours)
    steps = [entry["flops"] / 1e6 for entry in front]
    heights = [sign * entry["score"] for entry in front]
    label = f"Pareto front: {len(front)} of {len(entries)}"
    ax.step(
        steps,
        heights,
        where="post",
        color=theme.INVALID,
        linewidth=1,
        # Rings: their colour inside is an accuracy.
        marker="o",
        markersize=5.5,
        markerfacecolor="none",
        markeredgewidth=0.8,
        label=label,
    )
    if known:
        bar = figure.colorbar(points, ax=ax)
        bar.set_label(f"{of}, %", color=theme.MUTED, fontsize=9)
        bar.ax.tick_params(length=0, colors=theme.MUTED, labelsize=8)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    if low:
        ax.set_yscale("log")
        ax.invert_yaxis()
    xlabel, ylabel = "MFLOPs of an image", f"score, {'lower' if low else 'higher'} is better"
    theme.style_axes(ax, title=score, xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=8, frameon=False, loc="lower right", labelcolor=theme.MUTED)
    return figure
