"""One page on how kernels move: a column a cell, a row a question."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxntk.metrics import Score
from jaxntk.results import theme

Rows = Sequence[Mapping[str, Any]]
NETWORK = "network"


def kernel_dynamics_figure(cells: Mapping[str, Rows], titles: Mapping[str, str]) -> Figure:
    """Draws accuracies, movement of the kernel, alignment, eigenvectors and layers.

    Args:
        cells: for each cell its rows of :mod:`jaxntk.studies.kernel_dynamics`, by rising epoch.
        titles: for each cell what stands above its column.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(3.3 * len(cells) + 0.8, 11.5), layout="constrained")
    heights = (1, 1, 1, 1, 1.5)
    panels = figure.subplots(5, len(cells), squeeze=False, sharey="row", height_ratios=heights)
    for column, (name, rows) in enumerate(cells.items()):
        _accuracies(panels[0, column], rows)
        _movement(panels[1, column], rows)
        _alignment(panels[2, column], rows)
        _eigenvectors(panels[3, column], rows)
        image = _layers(panels[4, column], rows)
        panels[0, column].set_title(titles[name], loc="left", color=theme.INK, fontsize=9)
        for ax in panels[:, column]:
            _dress(ax)
        for ax in panels[(0, 1, 2, 4), column]:
            ax.set_xlabel("epochs of training", color=theme.MUTED, fontsize=8)
        panels[3, column].set_xlabel("eigenvector, largest first", color=theme.MUTED, fontsize=8)
    names = ("test accuracy, %", "compared with K_0", "with the labels", "share of the labels")
    for ax, name in zip(panels[:, 0], names, strict=False):
        ax.set_ylabel(name, color=theme.MUTED, fontsize=8)
    # The shares that a legend adds up are of its own column.
    for ax in (*panels[:3, 0], *panels[3]):
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7, frameon=False, labelcolor=theme.INK)
    bar = figure.colorbar(image, ax=list(panels[4]), shrink=0.8, aspect=30)
    bar.set_label("distance of a layer's kernel from its K_0", color=theme.MUTED, fontsize=8)
    bar.ax.tick_params(labelsize=7, colors=theme.MUTED, length=0)
    return figure


def _epochs(rows: Rows) -> list[int]:
    return [row["epochs"] for row in rows]


def _scores(rows: Rows, name: str, layer: str = NETWORK) -> np.ndarray:
    """Reads a score of each row; NaN where it is invalid or there is none."""
    found = (row["kernels"][layer][name] for row in rows)
    return np.array([np.nan if score is None else Score.from_json(score).value for score in found])


def _accuracies(ax: Axes, rows: Rows) -> None:
    for name, colour in (("network", theme.METRIC), ("linearized", theme.BASELINE)):
        values = [row[name]["test_accuracy"] for row in rows]
        ax.plot(_epochs(rows), values, "o-", color=colour, ms=3, label=name)
    last = rows[-1]["nonlinear_advantage"]
    text = "not finite" if last is None else f"non-linear advantage {last:+.1f}"
    ax.text(0.97, 0.05, text, transform=ax.transAxes, ha="right", fontsize=7, color=theme.INK)


def _movement(ax: Axes, rows: Rows) -> None:
    for index, name in enumerate(("pearson", "cosine", "distance")):
        ax.plot(_epochs(rows), _scores(rows, name), "o-", color=f"C{index}", ms=3, label=name)
    speed = _scores(rows, "velocity")
    ax.plot(_epochs(rows), speed, "s--", color="C3", ms=3, label="velocity, an epoch")


def _alignment(ax: Axes, rows: Rows) -> None:
    for index, name in enumerate(("lga", "label_energy")):
        ax.plot(_epochs(rows), _scores(rows, name), "o-", color=f"C{index}", ms=3, label=name)


def _eigenvectors(ax: Axes, rows: Rows) -> None:
    shown = [row for row in (rows[0], rows[-1]) if row["eigenvectors_on_labels"] is not None]
    for row, colour in zip(shown, (theme.MUTED, theme.METRIC), strict=False):
        shares = row["eigenvectors_on_labels"]
        places = np.arange(1, len(shares) + 1)
        label = f"t = {row['epochs']}, sum {sum(shares):.2f}"
        ax.plot(places, shares, "o-", color=colour, ms=3, label=label)


def _layers(ax: Axes, rows: Rows) -> Any:
    layers = [name for name in rows[0]["kernels"] if name != NETWORK]
    values = np.array([_scores(rows, "distance", layer) for layer in layers])
    image = ax.imshow(values, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="none")
    ax.set_yticks(range(len(layers)), [layer.replace("_", " ") for layer in layers])
    ax.set_xticks(range(len(rows)), [str(epoch) for epoch in _epochs(rows)])
    return image


def _dress(ax: Axes) -> None:
    if not ax.images:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.axhline(0, color=theme.FAINT, linewidth=0.6)
    ax.tick_params(length=0, colors=theme.MUTED, labelsize=7)
    for spine in ax.spines.values():
        spine.set(color=theme.FAINT)
