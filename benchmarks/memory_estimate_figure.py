"""How the benchmark of the memory estimate is drawn."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from jaxntk.results import theme
from jaxntk.results.text import size

COLOURS = {
    "nasbench201_gram": theme.METRIC,
    "vit_gram": "#007f5f",
    "vit_jacobian": "#a8449a",
    "mlp_gram": "#4a535c",
    "mlp_jacobian": theme.BASELINE,
}


def growth_figure(record: Mapping[str, Any]) -> Figure:
    """Draws memory over the number of images: estimates as lines, measured peaks as points.

    Args:
        record: what the benchmark writes.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    figure.set_facecolor(theme.SURFACE)
    ax = figure.subplots()
    for case, colour in COLOURS.items():
        rows = [row for row in record["rows"] if row["case"] == case]
        whole = sorted((row for row in rows if row["tile"] is None), key=lambda row: row["images"])
        images = [row["images"] for row in whole]
        label = case.replace("_", ", ")
        ax.plot(images, [row["estimate_bytes"] for row in whole], color=colour, linewidth=1.2)
        measured = [row["measured_bytes"] for row in whole]
        ax.plot(images, measured, "o", color=colour, markersize=5, label=label if whole else None)
        for row in rows:
            if row["tile"] is not None:
                dot = {"color": colour, "markersize": 7, "markerfacecolor": "none"}
                label = f"{case.replace('_', ', ')}, tiles of {row['tile']}"
                ax.plot(row["images"], row["measured_bytes"], "s", label=label, **dot)
                ax.plot(row["images"], row["estimate_bytes"], "_", markersize=12, color=colour)
    _scales(ax, sorted({row["images"] for row in record["rows"]}))
    low, high = record["summary"]["ratio_range"]
    title = (
        f"Measured peak (points) and estimate (lines): estimate over peak {low:.2f} to {high:.2f}"
    )
    ax.set_title(title, loc="left", color=theme.INK, fontsize=10)
    figure.legend(
        loc="outside lower left", ncols=3, frameon=False, fontsize=8, labelcolor=theme.INK
    )
    return figure


def _scales(ax: Any, images: list[int]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log", base=2)
    memory = "memory beside the process itself"
    theme.style_axes(ax, xlabel="images", ylabel=memory, spines=("left",))
    ax.xaxis.set_major_locator(FixedLocator(images))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{count:,}" for count in images]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
