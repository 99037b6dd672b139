"""What kernels see of each spatial frequency, on one page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxntk.results import theme
from jaxntk.results.frequency_table import by_model

Rows = Sequence[Mapping[str, Any]]


def frequency_figure(rows: Rows, times: Sequence[float]) -> Figure:
    """Draws power, visibility, learning and rings of natural images; a colour a kernel.

    Lines are means over seeds, bands reach from the smallest to the largest value.

    Args:
        rows: of :mod:`jaxntk.studies.frequency_bias`.
        times: of gradient flow, that learning was looked at.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    power, visibility, learned, rings = figure.subplots(2, 2).ravel()
    for index, (model, of_model) in enumerate(by_model(rows).items()):
        colour = theme.INK if index == 0 else f"C{index - 1}"
        style = {"color": colour, "label": model, "linestyle": "--" if index == 0 else "-"}
        frequencies = of_model[0]["frequencies"]
        half = len(frequencies) // 2
        powers = np.array([row["power"] for row in of_model], np.float64)
        _band(power, frequencies, powers / powers[:, :half].mean(axis=1, keepdims=True), style)
        _band(visibility, frequencies, [row["visibility"] for row in of_model], style)
        _band(learned, frequencies, [_half_times(row, times) for row in of_model], style)
        shares = np.array([row["band_power"] for row in of_model], np.float64)
        _band(rings, range(1, shares.shape[1] + 1), shares / shares[:, :1], style)
    waves = "cycles an image"
    for ax, title, xlabel in (
        (power, "power, over the mean of the lower half", waves),
        (visibility, "part of the kernel that moves with the wave", waves),
        (learned, f"time until half is learned (no point: later than {times[-1]:g})", waves),
        (rings, "power per energy of rings of images, over the lowest", "ring"),
    ):
        theme.style_axes(ax, title=title, xlabel=xlabel)
        ax.set_yscale("log")
    rings.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = power.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _half_times(row: Mapping[str, Any], times: Sequence[float]) -> list[float]:
    """When half of the target of each frequency is learned; NaN where it never is."""
    found = []
    for parts in row["learned"]:
        there = np.flatnonzero(np.array(parts) >= 0.5)
        found.append(times[int(there[0])] if there.size else np.nan)
    return found


def _band(ax: Axes, x: Sequence[int], values: Any, style: Mapping[str, Any]) -> None:
    stacked = np.array(values, np.float64)
    ax.plot(x, stacked.mean(axis=0), marker="o", markersize=3, linewidth=1.4, **style)
    if len(stacked) > 1:
        low, high = stacked.min(axis=0), stacked.max(axis=0)
        ax.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
