"""Where each cell and its kernel stood after the last epoch, as a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from jaxntk.results.text import MISSING


def dynamics_table(cells: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Table:
    """Lays out a line a cell.

    Args:
        cells: of :func:`jaxntk.studies.kernel_dynamics.summarize`.
        titles: what each cell is called.

    Returns:
        The table.
    """
    table = Table(title="After the last epoch", title_justify="left")
    for name in ("architecture", "network", "linearized", "advantage", "cosine with K_0"):
        table.add_column(name)
    for name in ("LGA", "LGA at K_0"):
        table.add_column(name)
    for cell in cells:
        table.add_row(
            titles[cell["arch"]],
            f"{cell['network_test_accuracy']:.1f} %",
            f"{cell['linearized_test_accuracy']:.1f} %",
            _number(cell["nonlinear_advantage"], "+.1f"),
            _number(cell["cosine_with_start"], ".2f"),
            _number(cell["lga"], ".3f"),
            _number(cell["lga_at_start"], ".3f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)
