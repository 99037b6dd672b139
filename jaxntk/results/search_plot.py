"""The accuracy of what a search would choose, against how much it has seen."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxntk.results import theme


def search_figure(
    curves: Mapping[str, Float[np.ndarray, "searches evaluations"]], best: float, report: str
) -> Figure:
    """Draws the mean over searches, and a band that holds the middle half of them.

    Args:
        curves: by name of the search, the accuracy of its choice after each evaluation.
        best: accuracy of the best architecture there is.
        report: what accuracy is meant, for the axis.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    ax = figure.subplots()
    lowest = best
    for index, (name, values) in enumerate(curves.items()):
        x = np.arange(1, values.shape[1] + 1)
        mean = values.mean(axis=0)
        ax.plot(x, mean, color=f"C{index}", linewidth=1.6, label=name)
        low, high = np.percentile(values, (25, 75), axis=0)
        ax.fill_between(x, low, high, color=f"C{index}", alpha=0.15, linewidth=0)
        lowest = min(lowest, float(mean[min(9, len(mean) - 1)]))
    ax.axhline(best, color=theme.MUTED, linewidth=1, linestyle="--")
    ax.annotate(
        "best there is",
        (1, best),
        xytext=(2, 3),
        textcoords="offset points",
        color=theme.MUTED,
        fontsize=8,
    )
    ax.set_xscale("log")
    ax.set_ylim(lowest - 0.1 * (best - lowest), best + 0.12 * (best - lowest))
    theme.style_axes(ax, xlabel="evaluations", ylabel=f"{report}, %")
    ax.legend(loc="lower right", fontsize=8, frameon=False)
    return figure
