"""Figures of a run: scores against accuracy, correlations with intervals, Gram matrices, cells.

Every function returns a `matplotlib.figure.Figure` of its own and touches no global state, so they
work in notebooks, in threads and in the report alike.
"""

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullLocator

from jaxntk.errors import InputError
from jaxntk.results import theme
from jaxntk.results.correlation import Correlation
from jaxntk.results.text import interval, number, score_name
from jaxntk.spaces.nasbench201 import EDGES, OPS, encode, live_edges

# More dots than this are drawn as one picture instead of a shape each.
_RASTERIZE_FROM = 500
# Positive scores that span more than this factor are drawn on a logarithmic axis.
_LOG_SPAN = 50.0
# Scores from here on are written with a prefix, 1,200,000 as 1.2M.
_PREFIXES_FROM = 10_000
# Accuracies whose error rates span more than this factor are drawn over the logarithm of the error;
# half a percent is added to it, which keeps an accuracy of 100 % finite.
_ERROR_SPAN = 5.0
_FULL = 100.5
_ACCURACY_TICKS = (10, 50, 70, 80, 90, 95, 98, 99, 100)
# A few large entries of a Gram matrix would hide all others.
_CLIPPED_PERCENTILES = (1.0, 99.0)
_MAX_CLASS_TICKS = 12

# The complete graph on four nodes drawn without a crossing: 0 -> 3 passes below the others.
_NODES = ((0.0, 0.0), (2.5, 1.75), (2.5, 0.0), (5.0, 0.0))
_NODE_NAMES = ("in", "1", "2", "out")
_LABELS = {
    (1, 0): (1.25, 0.875),
    (2, 0): (1.25, 0.0),
    (2, 1): (2.5, 0.9),
    (3, 0): (2.5, -1.05),
    (3, 1): (3.75, 0.875),
    (3, 2): (3.75, 0.0),
}
_OPERATION_NAMES = {
    "none": "none",
    "skip_connect": "skip",
    "nor_conv_1x1": "conv 1\N{MULTIPLICATION SIGN}1",
    "nor_conv_3x3": "conv 3\N{MULTIPLICATION SIGN}3",
    "avg_pool_3x3": "pool 3\N{MULTIPLICATION SIGN}3",
}


def scatter_figure(
    score: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    name: str,
    direction: Literal["higher", "lower"],
    correlation: Correlation,
    *,
    colour: str = theme.METRIC,
) -> Figure:
    """Draws the accuracy of each cell over its score.

    The score axis is logarithmic where all valid scores are positive and span a factor of 50, the
    accuracy axis in the error rate where that spans a factor of 5. Cells with an invalid score
    stand as crosses in a strip of their own, at the worse end.

    Args:
        score: the score as computed; NaN where it is invalid.
        truth: the accuracy in percent.
        name: name of the score, the title.
        direction: which scores are better.
        correlation: printed under the title.
        colour: of the dots.

    Returns:
        The figure.

    Raises:
        InputError: `direction` is neither ``"higher"`` nor ``"lower"``.
    """
    if direction not in ("higher", "lower"):
        raise InputError("direction", direction, "give 'higher' or 'lower'")
    valid = np.isfinite(score)
    figure = Figure(figsize=(3.5, 3.1), layout="constrained")
    ax, strip = _scatter_axes(figure, direction, with_strip=not valid.all())
    many = score.size > _RASTERIZE_FROM
    dots = {"s": 5, "alpha": 0.3} if many else {"s": 14, "alpha": 0.55}
    ax.scatter(score[valid], truth[valid], color=colour, linewidths=0, rasterized=many, **dots)
    if strip is not None:
        # Spread sideways by order, so that crosses of like accuracy stay apart.
        sideways = np.linspace(0.0, 1.0, int(np.sum(~valid)) + 2)[1:-1]
        strip.scatter(sideways, truth[~valid], s=16, marker="x", color=theme.INVALID, lw=0.9)
    _scale_scores(ax, score[valid])
    _scale_accuracy(ax, truth)
    better = "higher is better \N{RIGHTWARDS ARROW}"
    if direction == "lower":
        better = "\N{LEFTWARDS ARROW} lower is better"
    ax.set_xlabel(better, color=theme.MUTED, fontsize=9)
    ax.set_title(name, loc="left", color=theme.INK, fontsize=10, pad=17, parse_math=False)
    _under_title(ax, correlation)
    return figure


def correlation_figure(summary: Mapping[str, Any]) -> Figure:
    """Draws Kendall's tau of every metric and baseline as a bar with its 95 % interval.

    Args:
        summary: the content of ``summary.json``; entries without a tau get a note, not a bar.

    Returns:
        The figure: metrics by falling tau, then the baselines by falling tau in another colour.
    """
    metrics = _by_kendall(summary["metrics"])
    baselines = _by_kendall(summary["baselines"])
    rows = [*metrics, *baselines]
    figure = Figure(figsize=(7.2, 0.8 + 0.3 * len(rows)), layout="constrained")
    bars, texts = figure.subplots(1, 2, sharey=True, width_ratios=[4.2, 1])
    colours = [theme.METRIC] * len(metrics) + [theme.BASELINE] * len(baselines)
    # The gap of half a bar sets the baselines apart.
    places = [-place - 0.5 * (place >= len(metrics)) for place in range(len(rows))]
    for place, (_, row), colour in zip(places, rows, colours, strict=True):
        _bar(bars, place, row, colour)
        tau, bounds = number(row["kendall"], row["n"]), interval(row["kendall_ci95"], row["n"])
        texts.text(0.24, place, tau, ha="right", va="center", color=theme.INK, fontsize=9)
        texts.text(0.32, place, bounds, ha="left", va="center", color=theme.MUTED, fontsize=9)
    theme.style_axes(bars)
    bars.grid(axis="y", visible=False)
    bars.spines["left"].set_visible(False)
    bars.axvline(0, color=theme.MUTED, linewidth=0.8)
    names = [score_name(name) for name, _ in rows]
    bars.set_yticks(places, names, parse_math=False)
    bars.tick_params(axis="y", labelcolor=theme.INK)
    bars.set_ylim(min(places, default=0) - 0.6, 0.6)
    bars.set_xlabel("Kendall tau with accuracy", color=theme.MUTED, fontsize=9)
    texts.set_axis_off()
    return figure


def gram_figure(
    gram_NxN: Float[np.ndarray, "n n"], labels_N: Int[np.ndarray, " n"], title: str
) -> Figure:
    """Draws a Gram matrix with its images sorted by class.

    Lines separate the classes: the kernel serves the labels where the blocks on the diagonal are
    lighter than the rest. Colours end at the 1st and 99th percentile of the entries; entries that
    are not finite are grey.

    Args:
        gram_NxN: the matrix.
        labels_N: class of each image.
        title: of the figure.

    Returns:
        The figure.
    """
    order = np.argsort(labels_N, kind="stable")
    gram = np.where(np.isfinite(gram_NxN), gram_NxN, np.nan)[np.ix_(order, order)]
    num = len(labels_N)
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    ax = figure.subplots()
    low, high = _colour_limits(gram)
    image = ax.imshow(
        gram,
        cmap=mpl.colormaps["cividis"].with_extremes(bad=theme.FAINT),
        vmin=low,
        vmax=high,
        interpolation="none",
        extent=(0, num, num, 0),
    )
    _mark_classes(ax, labels_N)
    ticks = None if low < high else [low]
    bar = figure.colorbar(image, ax=ax, extend="both", aspect=26, pad=0.03, ticks=ticks)
    bar.ax.tick_params(length=0, colors=theme.MUTED, labelsize=8)
    bar.ax.ticklabel_format(scilimits=(-2, 3))
    bar.ax.yaxis.get_offset_text().set(color=theme.MUTED, fontsize=8)
    for spine in (*ax.spines.values(), *bar.ax.spines.values()):
        spine.set_visible(False)
    ax.set_title(title, color=theme.INK, fontsize=10, parse_math=False)
    return figure


def cell_figure(arch_str: str, title: str) -> Figure:
    """Draws a NAS-Bench-201 cell as a graph: four nodes and the operation on each of six edges.

    Args:
        arch_str: the cell as the benchmark writes it; ``none`` edges are faint and dashed, and
            faint is every operation that the output does not depend on.
        title: of the figure.

    Returns:
        The figure.

    Raises:
        InputError: `arch_str` is no NAS-Bench-201 cell.

    Source:
        Dong and Yang, NAS-Bench-201, ICLR 2020, figure 1.
    """
    arch = encode(arch_str)
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    ax = figure.subplots()
    for edge, op, live in zip(EDGES, arch, live_edges(arch), strict=True):
        _edge(ax, edge, OPS[op], live=bool(live))
    for (x, y), name in zip(_NODES, _NODE_NAMES, strict=True):
        ax.scatter(x, y, s=520, color=theme.SURFACE, edgecolors=theme.INK, linewidths=1.2, zorder=3)
        ax.text(x, y, name, ha="center", va="center", color=theme.INK, fontsize=9, zorder=4)
    ax.set(xlim=(-0.5, 5.5), ylim=(-1.4, 2.2), aspect="equal")
    ax.set_axis_off()
    ax.set_title(title, color=theme.INK, fontsize=10, parse_math=False)
    return figure


def _scatter_axes(figure: Figure, direction: str, *, with_strip: bool) -> tuple[Axes, Axes | None]:
    if not with_strip:
        ax, strip = figure.subplots(), None
    else:
        ratios = [0.09, 1.0] if direction == "higher" else [1.0, 0.09]
        axes = figure.subplots(1, 2, sharey=True, width_ratios=ratios)
        strip, ax = axes if direction == "higher" else axes[::-1]
        theme.style_axes(strip)
        strip.grid(axis="x", visible=False)
        strip.set(xlim=(0, 1), xticks=[0.5])
        strip.set_xticklabels(["invalid"], color=theme.INVALID, fontsize=7.5)
    theme.style_axes(ax)
    figure.axes[0].set_ylabel("accuracy (%)", color=theme.MUTED, fontsize=9)
    return ax, strip


def _under_title(ax: Axes, correlation: Correlation) -> None:
    line = f"tau {number(correlation.kendall, correlation.n)}"
    if correlation.kendall is None:
        line = "tau undefined"
    if correlation.kendall_ci95 is not None:
        line += f" ({interval(correlation.kendall_ci95, correlation.n)})"
    place = {"xy": (0, 1), "xytext": (0, 5), "xycoords": "axes fraction"}
    ax.annotate(line, **place, textcoords="offset points", color=theme.MUTED, fontsize=9)


def _scale_scores(ax: Axes, score: np.ndarray) -> None:
    if not score.size:
        ax.set_xticks([])
        return
    if score.min() > 0 and score.max() > _LOG_SPAN * score.min():
        ax.set_xscale("log")
        return
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=bool(np.all(score == np.round(score)))))
    if np.abs(score).max() >= _PREFIXES_FROM:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def _scale_accuracy(ax: Axes, truth: np.ndarray) -> None:
    """Spreads the accurate cells, most of them, by the logarithm of the error rate."""
    errors = _FULL - truth
    if not truth.size or errors.min() <= 0 or errors.max() < _ERROR_SPAN * errors.min():
        return
    ax.set_yscale("function", functions=(_error_place, lambda place: _FULL - np.exp(-place)))
    margin = (errors.max() / errors.min()) ** 0.06
    low, high = _FULL - errors.max() * margin, _FULL - errors.min() / margin
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(FixedLocator([t for t in _ACCURACY_TICKS if low <= t <= high]))
    ax.yaxis.set_minor_locator(NullLocator())


def _error_place(accuracy: np.ndarray) -> np.ndarray:
    # Matplotlib also asks for places outside of the axis.
    return -np.log(np.maximum(_FULL - accuracy, 0.01))


def _by_kendall(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Sorts by falling tau, those without one last."""

    def key(item: tuple[str, Mapping[str, Any]]) -> tuple[bool, float]:
        kendall = item[1]["kendall"]
        return kendall is None, -(kendall or 0.0)

    return sorted(rows.items(), key=key)


def _bar(ax: Axes, place: float, row: Mapping[str, Any], colour: str) -> None:
    if row["kendall"] is None:
        offset = {"xytext": (5, 0), "textcoords": "offset points"}
        ax.annotate("undefined", (0, place), **offset, va="center", color=theme.INVALID, fontsize=9)
        return
    ax.barh(place, row["kendall"], height=0.62, color=colour, alpha=0.85, linewidth=0)
    if row["kendall_ci95"] is not None:
        ax.plot(row["kendall_ci95"], (place, place), color=theme.INK, linewidth=1.3)


def _colour_limits(gram: np.ndarray) -> tuple[float, float]:
    finite = gram[np.isfinite(gram)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, _CLIPPED_PERCENTILES)
    if low == high:
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def _mark_classes(ax: Axes, labels: np.ndarray) -> None:
    classes, sizes = np.unique(labels, return_counts=True)
    ends = np.cumsum(sizes)
    for end in ends[:-1]:
        ax.axhline(end, color="#ffffff", linewidth=0.6, alpha=0.55)
        ax.axvline(end, color="#ffffff", linewidth=0.6, alpha=0.55)
    step = -(-len(classes) // _MAX_CLASS_TICKS)
    middles, names = (ends - sizes / 2)[::step], [str(label) for label in classes[::step]]
    ax.set_xticks(middles, names)
    ax.set_yticks(middles, names)
    ax.tick_params(length=0, colors=theme.MUTED, labelsize=8)
    ax.set_xlabel("class of image", color=theme.MUTED, fontsize=9)
    ax.set_ylabel("class of image", color=theme.MUTED, fontsize=9)


def _edge(ax: Axes, edge: tuple[int, int], operation: str, *, live: bool) -> None:
    end, start = edge
    alpha = 1.0 if live else 0.6 if operation == "none" else 0.35
    colour = theme.OPERATION_COLOURS[operation]
    absent = operation == "none"
    arrow = FancyArrowPatch(
        _NODES[start],
        _NODES[end],
        connectionstyle="arc3,rad=0.42" if (start, end) == (0, 3) else "arc3",
        arrowstyle="-|>",
        mutation_scale=11,
        shrinkA=12,
        shrinkB=13,
        color=colour,
        linewidth=0.9 if absent else 1.8,
        linestyle=(0, (3, 3)) if absent else "-",
        alpha=alpha,
    )
    ax.add_patch(arrow)
    x, y = _LABELS[end, start]
    box = {"boxstyle": "round,pad=0.25", "facecolor": theme.SURFACE, "edgecolor": "none"}
    style = {"color": colour, "fontsize": 9, "ha": "center", "va": "center", "bbox": box}
    style["alpha"] = 1.0 if operation == "none" else max(alpha, 0.5)
    ax.text(x, y, _OPERATION_NAMES[operation], **style)
