"""The scores of vision transformers as tables: CSV files, and one for the terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

ROWS = 15
"""Scores in the terminal's table, baselines and the NTK's own beside them."""


def table_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    """Writes entries as a table, numbers with four decimals.

    Args:
        entries: of one kind, of :mod:`jaxntk.studies.vintk_summary`; the two ends of an interval
            ``NAME_ci95`` are columns ``NAME_low`` and ``NAME_high``.

    Returns:
        The content of a CSV file with a header; empty for no entries.
    """
    if not entries:
        return ""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    rows = [_flat(entry) for entry in entries]
    writer.writerow(rows[0])
    writer.writerows(
        [f"{value:.4f}" if isinstance(value, float) else value for value in row.values()]
        for row in rows
    )
    return buffer.getvalue()


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


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if name.endswith("_ci95"):
            low, high = value or (None, None)
            stem = name.removesuffix("_ci95")
            flat |= {f"{stem}_low": low, f"{stem}_high": high}
        else:
            flat[name] = value
    return flat


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _bounds(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:+.2f} to {bounds[1]:+.2f}"
