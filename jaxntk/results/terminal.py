"""The summary of a run as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from jaxntk.results.text import count, direction, interval, number, score_name


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lays out how each metric and each trivial baseline ranks the architectures.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        A rich table: metrics, a rule, then baselines; the best of the metrics is bold.
    """
    truth = summary["truth"]
    table = Table(
        title=f"{summary['experiment']}: rank correlation with accuracy ({truth['source']})",
        caption=f"{summary['num_archs']} architectures, "
        f"{count(summary['num_inits'], 'initialisation')}; "
        "tau is positive where a score, read in its better direction, agrees with the accuracy",
        # Fits 80 columns with two-digit intervals and three-digit counts.
        pad_edge=False,
    )
    table.add_column("metric", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for name in ("Kendall tau", "95 % interval", "Spearman", "invalid"):
        table.add_column(name, justify="right", no_wrap=True)
    metrics = summary["metrics"]
    defined = {name: row["kendall"] for name, row in metrics.items() if row["kendall"] is not None}
    best = max(defined, key=defined.__getitem__, default=None)
    for name, row in metrics.items():
        table.add_row(*_cells(name, row), style="bold" if name == best else None)
    table.add_section()
    for name, row in summary["baselines"].items():
        table.add_row(*_cells(score_name(name), row), style="dim")
    return table


def _cells(name: str, row: Mapping[str, Any]) -> list[Text]:
    cells = (
        name,
        direction(row),
        number(row["kendall"], row["n"]),
        interval(row["kendall_ci95"], row["n"]),
        number(row["spearman"], row["n"]),
        str(row["invalid"]),
    )
    # Text, not str: a name in brackets must not be read as markup.
    return [Text(cell) for cell in cells]
