"""A vision transformer as a picture: its blocks, as wide and with as many heads as they are."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxntk.results import theme


def transformer_figure(
    widths: Sequence[int], heads: Sequence[int], hidden: Sequence[int], title: str
) -> Figure:
    """Draws the blocks from first to last: tokens and, around them, the hidden units of the MLP.

    Args:
        widths: embedding dimension of each block.
        heads: of its attention; tokens are cut into as many pieces.
        hidden: units of its MLP.
        title: of the figure.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(max(4.2, 0.55 * len(widths) + 2), 3.2), layout="constrained")
    ax = figure.subplots()
    for at, (width, num, units) in enumerate(zip(widths, heads, hidden, strict=True)):
        mlp = Rectangle((at - 0.4, -units / 2), 0.8, units, color=theme.FAINT, linewidth=0)
        ax.add_patch(mlp)
        for head in range(num):
            low = -width / 2 + head * width / num
            part = Rectangle((at - 0.25, low), 0.5, width / num, facecolor=theme.METRIC)
            part.set(edgecolor=theme.SURFACE, linewidth=0.8)
            ax.add_patch(part)
        ax.text(at, units / 2, f"{units}", ha="center", va="bottom", fontsize=7, color=theme.MUTED)
        ax.text(at, -units / 2, f"{width}", ha="center", va="top", fontsize=7, color=theme.METRIC)
    most = max(max(hidden), max(widths))
    ax.set(xlim=(-0.8, len(widths) - 0.2), ylim=(-0.65 * most, 0.65 * most))
    ax.set_xticks(range(len(widths)), [str(at + 1) for at in range(len(widths))])
    ax.set_yticks([])
    theme.style_axes(
        ax,
        title=title,
        xlabel="block (blue: embedding, cut into heads; grey: MLP)",
        grid="",
        spines=(),
    )
    return figure
