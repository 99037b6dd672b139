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
    for name in ("search", "seconds", "evaluations", "accuracy", "lowest", "highest"):
        table.add_column(name, justify="left" if name == "search" else "right")
    last = None
    for entry in entries:
        if last is not None and entry["search"] != last:
            table.add_section()
        last = entry["search"]
        seconds = f"{entry['budget_seconds']:.1f}" + (" (all)" if entry["whole"] else "")
        evaluations = f"{entry['evaluations']:.1f}"
        table.add_row(entry["search"], seconds, evaluations, _accuracy(entry), *_range(entry))
    return table


def _accuracy(entry: Mapping[str, Any]) -> str:
    if entry["mean"] is None:
        return "nothing yet"
    spread = entry["standard_deviation"]
    tail = "" if spread is None else f" \N{PLUS-MINUS SIGN} {spread:.2f}"
    few = f" ({entry['chose']} of {entry['searches']})"
    return f"{entry['mean']:.2f}{tail}" + (few if entry["chose"] < entry["searches"] else "")


def _range(entry: Mapping[str, Any]) -> tuple[str, ...]:
    ends = (entry["lowest"], entry["highest"])
    return tuple("" if end is None else f"{end:.2f}" for end in ends)
