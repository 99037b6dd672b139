"""What searches choose, as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def search_table(entries: Sequence[Mapping[str, Any]], report: str) -> Table:
    """Lays out what each kind of search chooses after how many evaluations.

    Args:
        entries: of :func:`jaxntk.studies.search_table.run_search_table`.
        report: what accuracy is meant.

    Returns:
        The table.
    """
    title = f"{report} of the choice, mean and standard deviation over searches"
    table = Table(title=title, title_justify="left")
    for name in ("search", "evaluations", "accuracy", "95 % of searches", "regret"):
        table.add_column(name)
    for entry in entries:
        table.add_row(
            entry["search"],
            str(entry["evaluations"]),
            f"{entry['mean']:.2f} \N{PLUS-MINUS SIGN} {entry['standard_deviation']:.2f}",
            f"{entry['percentile_2.5']:.2f} to {entry['percentile_97.5']:.2f}",
            f"{entry['regret']:.2f}",
        )
    return table
