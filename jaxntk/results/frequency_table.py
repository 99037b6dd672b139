"""What kernels see of each spatial frequency, as one row a kernel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

Rows = Sequence[Mapping[str, Any]]


def by_model(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Gathers rows of the same kernel.

    Args:
        rows: of a run.

    Returns:
        The rows of each kernel, in the order in which kernels come first.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["model"], []).append(row)
    return found


def summary_rows(rows: Rows) -> list[dict[str, Any]]:
    """Takes means and ranges over seeds.

    Args:
        rows: of a run.

    Returns:
        For each kernel ``high_over_low``, the power that the upper half of the frequencies gets
        over that of the lower half, with its smallest and largest value over seeds; the same of the
        highest over the lowest ring of natural images, ``bands_high_over_low``, and of the part of
        the kernel of the highest frequency that moves with the wave; and the centred alignment of
        the kernels of whole images and of their highest and lowest ring.
    """
    found = []
    for model, of_model in by_model(rows).items():
        ratios = [row["high_over_low"] for row in of_model]
        bands = [row["band_power"][-1] / row["band_power"][0] for row in of_model]
        found.append({
            "model": model,
            "seeds": len(of_model),
            **_spread("high_over_low", ratios),
            **_spread("bands_high_over_low", bands),
            **_spread("visibility_of_highest", [row["visibility"][-1] for row in of_model]),
            **_spread(
                "alignment_with_highest_band", [row["band_alignment"][-1] for row in of_model]
            ),
            **_spread("alignment_with_lowest_band", [row["band_alignment"][0] for row in of_model]),
        })
    return found


def frequency_table(entries: Rows) -> Table:
    """Lays out what kernels see of high frequencies.

    Args:
        entries: of :func:`summary_rows`.

    Returns:
        The table.
    """
    table = Table(title="Power at high over power at low frequencies", title_justify="left")
    for name in ("kernel", "plane waves", "over seeds", "rings of images", "CKA high", "CKA low"):
        table.add_column(name)
    for entry in entries:
        table.add_row(
            entry["model"],
            _number(entry["high_over_low"]),
            f"{_number(entry['high_over_low_min'])} to {_number(entry['high_over_low_max'])}",
            _number(entry["bands_high_over_low"]),
            _number(entry["alignment_with_highest_band"]),
            _number(entry["alignment_with_lowest_band"]),
        )
    return table


def _spread(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and range; None where a value is."""
    if any(value is None for value in values):
        return {name: None, f"{name}_min": None, f"{name}_max": None}
    numbers = np.array(values, np.float64)
    return {
        name: float(numbers.mean()),
        f"{name}_min": float(numbers.min()),
        f"{name}_max": float(numbers.max()),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
