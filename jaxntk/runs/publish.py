"""What a study leaves behind: tables, figures and a summary, and what the terminal shows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console, RenderableType

from jaxntk.runs.rows import write_bytes_atomic, write_json_atomic

SUMMARY = "summary.json"


class Publication(NamedTuple):
    """What is made of a summary.

    Args:
        tables: entries of one kind, by the name of their CSV file.
        figures: by the name of their PNG file.
        shown: what the terminal shows, in this order.
    """

    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    figures: Mapping[str, Figure]
    shown: Sequence[RenderableType]


def publish(
    out: Path, summary: Mapping[str, Any], publication: Publication, console: Console
) -> None:
    """Writes all files, the summary last, and shows the rest.

    Args:
        out: the folder, which exists.
        summary: a JSON object.
        publication: what was made of it.
        console: where it is shown.

    Raises:
        InputError: the folder cannot be written to.
    """
    for name, entries in publication.tables.items():
        write_bytes_atomic(out / name, table_csv(entries).encode())
    for name, figure in publication.figures.items():
        write_figure(out / name, figure)
    write_json_atomic(out / SUMMARY, summary)
    for each in publication.shown:
        console.print(each, highlight=False)
    console.print(f"results: {out}", soft_wrap=True, highlight=False)


def write_figure(path: Path, figure: Figure) -> None:
    """Writes a figure as a PNG file, whole or not at all.

    Args:
        path: of the file.
        figure: the figure.

    Raises:
        InputError: the folder cannot be written to.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_bytes_atomic(path, picture.getvalue())


def table_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    """Writes entries of one kind as a table, numbers with four decimals.

    Args:
        entries: all with the same fields; the two ends of an interval ``NAME_ci95`` are columns
            ``NAME_low`` and ``NAME_high``.

    Returns:
        The content of a CSV file with a header; empty for no entries.

    Example:
        >>> print(table_csv([{"tau": 0.5, "tau_ci95": (0.25, 0.75)}]), end="")
        tau,tau_low,tau_high
        0.5000,0.2500,0.7500
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
