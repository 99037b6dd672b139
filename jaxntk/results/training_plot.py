"""The loss and the accuracies of one training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxntk.results import theme

LINES = {
    "train_accuracy": ("training images, as they came", theme.MUTED),
    "valid_accuracy": ("validation", theme.BASELINE),
    "test_accuracy": ("test", theme.METRIC),
}


def training_figure(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draws the loss and, beside it, accuracies over epochs.

    Args:
        rows: of :mod:`jaxntk.studies.retrain`, by rising epoch.
        title: what was trained.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) == 1 else None
    losses = np.array([row["loss"] for row in rows], np.float64)
    loss.plot(epochs, losses, color=theme.METRIC, linewidth=1.4, marker=marker)
    for name, (label, colour) in LINES.items():
        values = np.array([row[name] for row in rows], np.float64)
        if not np.isnan(values).all():
            accuracy.plot(epochs, values, color=colour, linewidth=1.4, marker=marker, label=label)
    theme.style_axes(loss, title=title, xlabel="epochs", ylabel="training loss, nats")
    theme.style_axes(accuracy, xlabel="epochs", ylabel="accuracy, %")
    for ax in (loss, accuracy):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    accuracy.legend(loc="best", fontsize=8, frameon=False)
    return figure
