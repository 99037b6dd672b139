"""The mean tau of every metric of every kernel, a row a kernel."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from jaxntk.results import theme
from jaxntk.results.text import score_name

MARKERS = "osD^vPX*"


def vintk_figure(rule: Mapping[str, Any]) -> Figure:
    """Draws a row for each kernel, best first, with a mark for each metric.

    The bar is the 95 % interval of the kernel's best metric; the dashed line is the number of
    parameters.

    Args:
        rule: of :func:`jaxntk.studies.vintk_summary.rule_entries`.

    Returns:
        The figure.
    """
    entries = [entry for entry in rule["entries"] if entry["mean_kendall"] is not None]
    kernels = list(dict.fromkeys(entry["kernel"] or "no kernel" for entry in entries))
    metrics = sorted({entry["score"] for entry in entries if entry["kernel"] is not None})
    baselines = [entry["score"] for entry in entries if entry["kernel"] is None]
    figure = Figure(figsize=(8, 1.6 + 0.3 * len(kernels)), layout="constrained")
    ax = figure.subplots()
    for index, name in enumerate([*metrics, *baselines]):
        of_score = [entry for entry in entries if entry["score"] == name]
        places = [kernels.index(entry["kernel"] or "no kernel") for entry in of_score]
        ax.plot(
            [entry["mean_kendall"] for entry in of_score],
            places,
            linestyle="none",
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            color=f"C{index % 10}",
            markerfacecolor=f"C{index % 10}" if name in metrics else theme.SURFACE,
            label=score_name(name),
        )
    for place, kernel in enumerate(kernels):
        best = next(entry for entry in entries if (entry["kernel"] or "no kernel") == kernel)
        if best["mean_kendall_ci95"] is not None:
            bounds = best["mean_kendall_ci95"]
            ax.plot(bounds, [place, place], color=theme.MUTED, linewidth=1, zorder=1)
    params = next((e["mean_kendall"] for e in entries if e["score"] == "params"), None)
    if params is not None:
        ax.axvline(params, color=theme.BASELINE, linewidth=1, linestyle="--", zorder=0)
    ax.axvline(0, color=theme.FAINT, linewidth=1, zorder=0)
    ax.set_yticks(range(len(kernels)), kernels)
    ax.invert_yaxis()
    theme.style_axes(ax, xlabel="mean Kendall tau by the rule", grid="", spines=("bottom",))
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
