"""Look of the figures: colours, axes, and inline SVG that follows the colours of its page."""

import io
import re
from collections.abc import Collection
from typing import Literal
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette (2008), told apart with any colour vision, slightly darkened for text.
INK = "#1b2026"
MUTED = "#5c6670"
FAINT = "#d8dce0"
SURFACE = "#fdfdfe"
METRIC = "#0669a3"
BASELINE = "#b87a04"
INVALID = "#c04f02"
OPERATION_COLOURS = {
    "none": "#9aa3ac",
    "skip_connect": "#4a535c",
    "nor_conv_1x1": "#007f5f",
    "nor_conv_3x3": "#0b5c93",
    "avg_pool_3x3": "#a8449a",
}
# Name of the page's variable: the colour in figures and in the light scheme, then in the dark one.
PALETTE = {
    "--ink": (INK, "#e6e8ea"),
    "--muted": (MUTED, "#9ba5ae"),
    "--faint": (FAINT, "#353c43"),
    "--surface": (SURFACE, "#1a1e22"),
    "--metric": (METRIC, "#4fb0ea"),
    "--baseline": (BASELINE, "#e3a938"),
    "--invalid": (INVALID, "#f08a4b"),
    "--op-none": (OPERATION_COLOURS["none"], "#77828c"),
    "--op-skip": (OPERATION_COLOURS["skip_connect"], "#b9c1c8"),
    "--op-conv1": (OPERATION_COLOURS["nor_conv_1x1"], "#35c79c"),
    "--op-conv3": (OPERATION_COLOURS["nor_conv_3x3"], "#5db4f0"),
    "--op-pool": (OPERATION_COLOURS["avg_pool_3x3"], "#db84cf"),
}

_FONT = re.compile(r"font-family:[^;]*;?\s*")
_REFERENCE = re.compile(r"#([\w-]+)")
_RASTER_DPI = 144


def style_axes(
    ax: Axes,
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    grid: Literal["x", "y", "both", ""] = "both",
    spines: Collection[str] = ("left", "bottom"),
) -> None:
    """Gives axes the look of the project's figures: faint lines, muted ticks and labels.

    Args:
        ax: the axes.
        title: above, at the left.
        xlabel: what is across.
        ylabel: what is up.
        grid: across which axis lines are drawn; empty for none.
        spines: sides that have a line.
    """
    if title:
        ax.set_title(title, loc="left", color=INK, fontsize=10)
    if xlabel:
        ax.set_xlabel(xlabel, color=MUTED, fontsize=9)
    if ylabel:
        ax.set_ylabel(ylabel, color=MUTED, fontsize=9)
    if grid:
        ax.grid(axis=grid, color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
    # The figure's own background shows.
    ax.set_facecolor("none")
    ax.tick_params(which="both", length=0, colors=MUTED, labelsize=8)
    for side, spine in ax.spines.items():
        spine.set_visible(side in spines)
        spine.set(color=FAINT, linewidth=0.8)


def inline_svg(figure: Figure, *, key: str, label: str) -> str:
    """Draws a figure as an ``<svg>`` element to put into an HTML page.

    Text stays text, in the font of the page; the colours above become the page's variables, so
    that the figure follows its light or dark scheme; nothing refers to another document.

    Args:
        figure: the figure; its own background is left transparent.
        key: prefix of the ids in the element, unique on the page.
        label: what a screen reader says.

    Returns:
        The element, as wide as what holds it.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=_RASTER_DPI)
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            used.update(_REFERENCE.findall(value))
    for element in root.iter():
        _adapt(element, key, used)
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-label": label,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _strip(element: ElementTree.Element) -> None:
    """Removes namespaces, metadata and style sheets: HTML knows SVG, the page has the style."""
    element.tag = _local(element.tag)
    element.attrib = {_local(name): value for name, value in element.attrib.items()}
    for child in list(element):
        _strip(child)
        if child.tag in {"metadata", "style"}:
            element.remove(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _adapt(element: ElementTree.Element, key: str, used: set[str]) -> None:
    identity = element.attrib.pop("id", None)
    if identity in used:
        element.set("id", f"{key}-{identity}")
    for name, value in element.attrib.items():
        if name == "href" and value.startswith("#"):
            element.set(name, f"#{key}-{value[1:]}")
        elif name != "href":
            element.set(name, _restyle(value, key))


def _restyle(value: str, key: str) -> str:
    value = value.replace("url(#", f"url(#{key}-")
    for variable, (colour, _) in PALETTE.items():
        value = value.replace(colour, f"var({variable})")
    return _FONT.sub("", value)
