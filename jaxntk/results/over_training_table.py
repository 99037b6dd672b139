"""The scores of a study over training as tables: a CSV file, and one for the terminal."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from jaxntk.results.text import interval, number, score_name


def table_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    """Writes the entries of a summary as a table, numbers with four decimals.

    Args:
        entries: of :func:`~jaxntk.studies.over_training_summary.over_training_entries`.

    Returns:
        The content of a CSV file with a header.
    """
    beyond = list(dict.fromkeys(name for entry in entries for name in entry["beyond"]))
    header = ["score", "epochs", "batch_norm", *_with_bounds("kendall"), "spearman"]
    header += [*_with_bounds("partial"), *_with_bounds("with_live_params")]
    for name in beyond:
        header += [*_with_bounds(f"gain_over_{name}"), f"gain_over_{name}_low_of_all"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*header, "cells", "invalid"])
    for entry in entries:
        line = [entry["score"], entry["epochs"], entry["batch_norm"], entry["kendall"]]
        line += [*(entry["kendall_ci95"] or (None, None)), entry["spearman"]]
        for name in ("partial", "with_live_params"):
            line += [entry[name], *(entry[f"{name}_ci95"] or (None, None))]
        for name in beyond:
            found = entry["beyond"].get(name, {})
            bounds = found.get("gain_ci95") or (None, None)
            line += [found.get("gain"), *bounds, found.get("gain_low_of_all")]
        writer.writerow([_cell(value) for value in [*line, entry["n"], entry["invalid"]]])
    return buffer.getvalue()


def _with_bounds(name: str) -> list[str]:
    """Names a number and the interval after it."""
    return [name, f"{name}_low", f"{name}_high"]


def _cell(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value


def terminal_table(entries: Sequence[Mapping[str, Any]], cells: int) -> Table:
    """Lays out taus: a row a score and mode, a column an epoch; of the last one the interval too.

    Args:
        entries: of :func:`~jaxntk.studies.over_training_summary.over_training_entries`.
        cells: how many cells were ranked.

    Returns:
        The table.
    """
    epochs = sorted({entry["epochs"] for entry in entries if entry["epochs"] is not None})
    table = Table(title="Kendall tau after t epochs", title_justify="left")
    for name in ("score", "batch norm", *(f"t = {epoch}" for epoch in epochs), "95 % of the last"):
        table.add_column(name)
    lines: dict[tuple, dict[Any, Mapping[str, Any]]] = {}
    for entry in entries:
        lines.setdefault((entry["score"], entry["batch_norm"]), {})[entry["epochs"]] = entry
    for (name, mode), found in lines.items():
        # A baseline is the same whenever it is looked at.
        at = {epoch: found.get(epoch, found.get(None)) for epoch in epochs}
        taus = [number(entry["kendall"], cells) if entry else "" for entry in at.values()]
        last = at[epochs[-1]]
        bounds = interval(last["kendall_ci95"], cells) if last else ""
        table.add_row(score_name(name), mode or "", *taus, bounds)
    return table
