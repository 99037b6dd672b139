"""What a search would choose, against how much it has seen and against what that took."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from jaxntk.results import theme

LEVELS = {
    "best_there_is": ("best there is", "--"),
    "largest_of_random": ("largest of as many random ones", ":"),
    "random": ("a random one", "-."),
}
"""Names of horizontal lines, and how they are drawn."""
BAND = {"alpha": 0.15, "linewidth": 0}
"""How the middle half is drawn."""
MOMENTS = 200
"""At which searches of different speed are compared."""
SPAN = 10_000
"""What happens in the first part of so many of the time is not drawn."""


class Curves(NamedTuple):
    """Searches of one kind.

    Args:
        values: accuracy, or score, of each search's choice after each evaluation; NaN for none.
        seconds: that the search had taken by then; None where nothing took any.
    """

    values: Float[np.ndarray, "searches evaluations"]
    seconds: Float[np.ndarray, "searches evaluations"] | None = None


def search_figure(curves: Mapping[str, Curves], levels: Mapping[str, float], report: str) -> Figure:
    """Draws the mean over searches, and a band that holds the middle half of them.

    Where seconds are known a second panel holds them: at each moment what every search that has
    begun would choose then. What took none is not in it.

    Args:
        curves: by name of the kind of search.
        levels: horizontal lines, named as in `LEVELS`.
        report: what is drawn, for the axis.

    Returns:
        The figure.
    """
    timed = {name: each for name, each in curves.items() if _took_time(each)}
    figure = Figure(figsize=(11 if timed else 6.5, 4.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, 2 if timed else 1, sharey=True))
    for index, (name, each) in enumerate(curves.items()):
        x = np.arange(1, each.values.shape[1] + 1)
        _band(panels[0], x, each.values, f"C{index}", name)
        if name in timed and each.seconds is not None:
            moments, values = at_moments(each.values, each.seconds)
            _band(panels[1], moments, values, f"C{index}", name)
    for ax in panels:
        for name, level in levels.items():
            label, style = LEVELS[name]
            ax.axhline(level, color=theme.MUTED, linewidth=1, linestyle=style, label=label)
    _plain_log(panels[0], whole=True)
    _zoom(panels[0], curves, levels)
    theme.style_axes(panels[0], xlabel="evaluations", ylabel=report)
    if timed:
        _plain_log(panels[1], whole=False)
        theme.style_axes(panels[1], xlabel="seconds", ylabel="")
    handles, _ = panels[0].get_legend_handles_labels()
    if panels[0].collections:
        handles.append(
            Patch(color=theme.MUTED, label="middle half of the searches (line: their mean)", **BAND)
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def at_moments(
    values: Float[np.ndarray, "searches evaluations"],
    seconds: Float[np.ndarray, "searches evaluations"],
) -> tuple[Float[np.ndarray, " moments"], Float[np.ndarray, "searches moments"]]:
    """Reads curves over evaluations as curves over time.

    Args:
        values: of each search after each evaluation.
        seconds: that it had taken by then, rising.

    Returns:
        Moments from when all searches have a value until the last of them ends, evenly on a
        logarithmic scale and no earlier than a `SPAN`-th of the end, and the value of each search
        at each; a search that has ended keeps its last one.

    Example:
        >>> moments, found = at_moments(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]))
        >>> float(moments[0]), float(moments[-1]), found[0, [0, -1]].tolist()
        (1.0, 3.0, [1.0, 2.0])
    """
    last = seconds[:, -1].max()
    moments = np.geomspace(max(seconds[:, 0].max(), last / SPAN), last, MOMENTS)
    found = [
        value[np.searchsorted(time, moments, side="right") - 1]
        for value, time in zip(values, seconds, strict=True)
    ]
    return moments, np.stack(found)


def _took_time(each: Curves) -> bool:
    """Says whether there is anything to draw against seconds."""
    known = np.isfinite(each.values).any()
    return each.seconds is not None and bool(each.seconds.any() and known)


def _plain_log(ax: Axes, *, whole: bool) -> None:
    """Makes an axis logarithmic, with numbers as people write them."""
    ax.set_xscale("log")
    first, last = ax.get_xlim()
    # Over many decades the numbers between their ends would not fit; in one there are too few.
    decades = LogLocator(subs=(1, 2, 5) if last < 1000 * first else (1,))
    few = MaxNLocator(6, steps=(1, 2, 5, 10), integer=whole)
    ax.xaxis.set_major_locator(decades if last > 10 * first else few)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _band(
    ax: Axes,
    x: Float[np.ndarray, " points"] | np.ndarray,
    values: Float[np.ndarray, "searches points"],
    colour: str,
    name: str,
) -> None:
    """Draws steps: a choice stands until there is a better one."""
    # A search that knows nothing yet is not in the mean.
    known = np.isfinite(values).any(axis=0)
    x, values = x[known], values[:, known]
    mean = np.nanmean(values, axis=0)
    ax.plot(x, mean, color=colour, linewidth=1.6, label=name, drawstyle="steps-post")
    # Where they end; what chooses once is a point.
    ax.plot(x[-1:], mean[-1:], color=colour, marker="o", markersize=4)
    if len(values) > 1 and values.shape[1]:
        low, high = np.nanpercentile(values, (25, 75), axis=0)
        ax.fill_between(x, low, high, color=colour, step="post", **BAND)


def _zoom(ax: Axes, curves: Mapping[str, Curves], levels: Mapping[str, float]) -> None:
    """Leaves out what a search would choose in its first steps, which is as bad as it gets."""
    shown = list(levels.values())
    for each in curves.values():
        # Of short searches every step is shown.
        late = each.values[:, min(9, each.values.shape[1] // 10) :]
        shown += np.nanmean(late[:, np.isfinite(late).any(axis=0)], axis=0).tolist()
    if shown and max(shown) > min(shown):
        margin = 0.1 * (max(shown) - min(shown))
        ax.set_ylim(min(shown) - margin, max(shown) + margin)
