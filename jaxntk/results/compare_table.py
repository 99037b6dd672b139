"""Searches held against each other, as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def compare_table(entries: Sequence[Mapping[str, Any]], of: str) -> Table:
    """Lays out what each kind of search chooses, at the end and within each budget.

    Args:
        entries: of :func:`jaxntk.studies.compare_searches.compare_entries`.
        of: what accuracy is meant.

    Returns:
        The table.
    """
    title = f"{of} of the choice, mean and standard deviation over searches"
    table = Table(title=title, title_justify="left")
    table.add_column("search", overflow="fold")
    for name in ("evaluations", "seconds", "accuracy then"):
        table.add_column(name, justify="right")
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        runs.setdefault(entry["search"], []).append(entry)
    for entry in next(iter(runs.values()))[1:]:
        table.add_column(f"within {entry['budget_seconds']:.3g} s", justify="right")
    for name, (whole, *within) in runs.items():
        counts = (f"{whole['evaluations']:.0f}", f"{whole['budget_seconds']:.3g}")
        table.add_row(name, *counts, *(_accuracy(entry) for entry in (whole, *within)))
    return table


def _accuracy(entry: Mapping[str, Any]) -> str:
    if entry["mean"] is None:
        return "none yet"
    spread = entry["standard_deviation"]
    tail = "" if spread is None else f" \N{PLUS-MINUS SIGN} {spread:.2f}"
    few = f" ({entry['chose']} of {entry['searches']})"
    return f"{entry['mean']:.2f}{tail}" + (few if entry["chose"] < entry["searches"] else "")
