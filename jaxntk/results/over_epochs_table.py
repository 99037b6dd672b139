"""The scores of a study over training as tables: a flat one, and one for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from jaxntk.results.text import interval, number, score_name


def flat_entries(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lays the entries of a summary out as the rows of one table.

    Args:
        entries: of :func:`~jaxntk.studies.over_epochs_summary.over_epochs_entries`.

    Returns:
        Rows for :func:`~jaxntk.runs.publish.table_csv`, all with the same fields.
    """
    beyond = list(dict.fromkeys(name for entry in entries for name in entry["beyond"]))
    taken = ("score", "epochs", "batch_norm", "kendall", "kendall_ci95", "spearman")
    taken += ("partial", "partial_ci95")
    taken += tuple(name for name in (entries[0] if entries else ()) if name.startswith("with_"))
    rows = []
    for entry in entries:
        row = {name: entry[name] for name in taken}
        for name in beyond:
            found = entry["beyond"].get(name, {})
            row[f"gain_over_{name}"] = found.get("gain")
            row[f"gain_over_{name}_ci95"] = found.get("gain_ci95")
            row[f"gain_over_{name}_low_of_all"] = found.get("gain_low_of_all")
        rows.append(row | {"cells": entry["n"], "invalid": entry["invalid"]})
    return rows


def terminal_table(entries: Sequence[Mapping[str, Any]], cells: int) -> Table:
    """Lays out taus: a row a score and mode, a column an epoch; of the last one the interval too.

    Args:
        entries: of :func:`~jaxntk.studies.over_epochs_summary.over_epochs_entries`.
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
