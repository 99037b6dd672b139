"""Kendall's tau of every score against the epochs of training before it was read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxntk.results import theme
from jaxntk.results.text import score_name

SHOWN = ("lga", "lga_centred", "mean", "frobenius", "condition_number", "effective_rank")
"""Kernel metrics that have a line of their own."""
DODGE = 0.012
"""Neighbouring lines stand apart by this fraction of the epochs, so that intervals do not hide
one another."""
TITLES = {None: "without a kernel", "none": "kernel"}
"""Of panels; others are of a mode of batch normalisation."""


def over_epochs_figure(entries: Sequence[Mapping[str, Any]], truth: str) -> Figure:
    """Draws a panel for each mode of batch normalisation, and one for scores without a kernel.

    Bars are 95 % intervals; the number of parameters is a line across all panels, its interval a
    band.

    Args:
        entries: of :func:`jaxntk.studies.over_epochs_summary.over_epochs_entries`.
        truth: what accuracy is meant, for the axis.

    Returns:
        The figure.
    """
    trained = [entry for entry in entries if entry["epochs"] is not None]
    modes = list(dict.fromkeys(entry["batch_norm"] for entry in trained))
    epochs = sorted({entry["epochs"] for entry in trained})
    figure = Figure(figsize=(1.2 + 3.2 * len(modes), 4.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(modes), sharey=True))
    (params,) = (entry for entry in entries if entry["score"] == "params")
    names = list(dict.fromkeys(entry["score"] for entry in trained))
    order = [*SHOWN, *(name for name in names if name not in SHOWN)]
    for ax, mode in zip(panels, modes, strict=True):
        lines = _lines(trained, mode)
        for index, (name, points) in enumerate(lines.items()):
            shift = (index - (len(lines) - 1) / 2) * DODGE * max(1, epochs[-1] - epochs[0])
            _line(ax, score_name(name), points, f"C{order.index(name)}", shift)
        if params["kendall"] is not None:
            ax.axhline(params["kendall"], color=theme.BASELINE, linewidth=1.2, label="#params")
        if params["kendall_ci95"] is not None:
            ax.axhspan(*params["kendall_ci95"], color=theme.BASELINE, alpha=0.12, linewidth=0)
        _dress(ax, TITLES.get(mode, f"kernel, {mode}"))
    panels[0].set_ylabel(f"Kendall tau with {truth}", color=theme.MUTED, fontsize=9)
    return figure


def _lines(
    entries: Sequence[Mapping[str, Any]], mode: str | None
) -> dict[str, list[Mapping[str, Any]]]:
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        wanted = mode is None or entry["score"] in SHOWN
        if entry["batch_norm"] == mode and wanted and entry["kendall"] is not None:
            lines.setdefault(entry["score"], []).append(entry)
    return lines


def _line(
    ax: Axes, name: str, points: Sequence[Mapping[str, Any]], colour: str, shift: float
) -> None:
    epochs = np.array([point["epochs"] for point in points]) + shift
    taus = np.array([point["kendall"] for point in points])
    bounds = np.array([point["kendall_ci95"] or (np.nan, np.nan) for point in points])
    reach = np.abs(bounds - taus[:, None]).T
    ax.errorbar(
        epochs, taus, reach, fmt="o-", color=colour, label=name, ms=3, lw=1.2, elinewidth=0.6
    )


def _dress(ax: Axes, title: str) -> None:
    ax.axhline(0, color=theme.MUTED, linewidth=0.8)
    theme.style_axes(ax, title=title, xlabel="epochs of training", grid="", spines=("left",))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}
    ax.legend(fontsize=7.5, frameon=False, labelcolor=theme.INK, **place)
