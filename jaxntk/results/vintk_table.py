"""The best scores of vision transformers, as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

ROWS = 15
"""Scores in the terminal's table, baselines and the NTK's own beside them."""


def terminal_table(rule: Mapping[str, Any]) -> Table:
    """Lays out the best scores by the rule, and all of the NTK and of no kernel.

    Args:
        rule: of :func:`~jaxntk.studies.vintk_summary.rule_entries`.

    Returns:
        The table.
    """
    title = f"Mean Kendall tau over {', '.join(rule['truths'])}"
    table = Table(title=title, title_justify="left")
    for name in ("kernel", "score", "mean tau", "95 %", "beside the NTK's condition number"):
        table.add_column(name)
    for place, entry in enumerate(rule["entries"]):
        if place < ROWS or entry["kernel"] in (None, "ntk"):
            table.add_row(
                entry["kernel"] or "",
                entry["score"],
                _signed(entry["mean_kendall"]),
                _bounds(entry["mean_kendall_ci95"]),
                f"{_signed(entry['gain'])} {_bounds(entry['gain_ci95'])}".strip(),
            )
    return table


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _bounds(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:+.2f} to {bounds[1]:+.2f}"
