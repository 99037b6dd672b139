"""Searches held against each other, as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Entry = Mapping[str, Any]
NONE = "\N{EN DASH}"
"""Stands for the mean of nothing."""


def compare_tables(entries: Sequence[Entry], of: str) -> list[Table]:
    """Lays out what each kind of search chooses, after equal evaluations and within each budget.

    Args:
        entries: of :func:`jaxntk.studies.search.compare.compare_entries`.
        of: what accuracy is meant.

    Returns:
        A table for the evaluations and, if there are budgets, one for these.
    """
    runs: dict[str, list[Entry]] = {}
    for entry in entries:
        runs.setdefault(entry["search"], []).append(entry)
    _, *budgets = next(iter(runs.values()))
    equal = _table(f"{of} of the choice: mean \N{PLUS-MINUS SIGN} standard deviation over searches")
    for name in ("evaluations", "seconds", "accuracy"):
        equal.add_column(name, justify="right", no_wrap=True)
    within = _table(f"{of} of the choice within so many seconds: mean, {NONE} for none yet")
    for entry in budgets:
        within.add_column(f"{entry['budget_seconds']:.3g} s", justify="right", no_wrap=True)
    for name, (whole, *rest) in runs.items():
        counts = (f"{whole['evaluations']:.0f}", f"{whole['budget_seconds']:.3g}")
        equal.add_row(name, *counts, _mean(whole) + _spread(whole) + _few(whole))
        within.add_row(name, *(_mean(entry) + _few(entry) for entry in rest))
    if any(0 < entry["chose"] < entry["searches"] for entry in entries):
        within.caption = "(k of n): the mean of the k searches that had chosen anything by then"
    return [equal, within] if budgets else [equal]


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("search", overflow="fold")
    return table


def _mean(entry: Entry) -> str:
    return NONE if entry["mean"] is None else f"{entry['mean']:.2f}"


def _spread(entry: Entry) -> str:
    spread = entry["standard_deviation"]
    return "" if spread is None else f" \N{PLUS-MINUS SIGN} {spread:.2f}"


def _few(entry: Entry) -> str:
    """Says of how many searches a mean is, where some had chosen nothing."""
    few = 0 < entry["chose"] < entry["searches"]
    return f" ({entry['chose']} of {entry['searches']})" if few else ""
