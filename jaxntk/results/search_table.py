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


def chosen_table(summary: Mapping[str, Any], report: str) -> Table:
    """Lays out what each search of a run chose.

    Args:
        summary: of :func:`jaxntk.studies.cell_search.run_cell_search`.
        report: what accuracy is meant.

    Returns:
        The table.
    """
    table = Table(title=f"{report} of the choice of each search", title_justify="left")
    for name in ("cell", "accuracy", "regret", "functions", "seconds"):
        table.add_column(name)
    for each in summary["searches"]:
        table.add_row(
            each["arch"],
            f"{each['accuracy']:.2f}",
            f"{each['regret']:.2f}",
            str(each["functions"]),
            f"{each['seconds']:.0f}",
        )
    spread = summary["standard_deviation"]
    tail = "" if spread is None else f" \N{PLUS-MINUS SIGN} {spread:.2f}"
    free = summary["baselines"]
    table.caption = (
        f"mean {summary['mean']:.2f}{tail}; best there is {summary['best_in_table']:.2f}; "
        f"a random cell {free['random_cell']:.2f}, the largest of as many random cells "
        f"{free['largest_of_random_cells']:.2f}"
    )
    return table
