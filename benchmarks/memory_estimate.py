"""How near the estimate of memory comes to what a kernel really takes.

    python -m benchmarks.memory_estimate

The claim that it measures: the estimate, made from shapes alone before anything is compiled, is
within 30 % of the peak that the process reaches while it computes a kernel: NAS-Bench-201 (16
channels, 5 cells a stage, frozen batch normalisation), a small vision transformer and an MLP, by
Gram matrices and by per-example gradients, growing with the number of images; and 1,024 images on
NAS-Bench-201 stay under 8 GiB, compilation included.

Every measurement has a process of its own, as memory that one leaves behind would change the next.
In it freed memory goes back to the system at once (``MALLOC_MMAP_THRESHOLD_``), and a small case
runs twice, since the first call also loads code. For Linux, whose ``/proc`` tells the peak.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.measure import command_line, set_up, write_record
from benchmarks.memory_estimate_cases import Case, Settings, measure
from benchmarks.memory_estimate_figure import growth_figure
from jaxntk.errors import InputError
from jaxntk.results.text import seconds, size
from jaxntk.runs.publish import write_figure

PROGRAM = "python -m benchmarks.memory_estimate"
WITHIN = 0.3
LIMIT = 8 * 2**30
BAD_INPUT = 2


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Hold the estimate of memory against the measured peak."""

    out: Path = Path("benchmarks/results/memory_estimate.json")
    """File to write; the picture goes beside it."""
    only: Case | None = None
    """Only print one measurement of this function as a line of JSON, on the first of --images."""
    tile: int | None = None
    """Images in a tile, for --only."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, or 2 after bad input.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    try:
        set_up(options.cores)
        if options.only is None:
            run(options, Console())
        else:
            print(json.dumps(measure(options.only, options, options.images[0], options.tile)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def run(options: Options, console: Console) -> None:
    """Measures everything, writes it and prints a table.

    Args:
        options: the options.
        console: where to print.
    """
    load = os.getloadavg()[0]
    rows = []
    for case, images, tile in measurements(options):
        row = measure_apart(options, case, images, tile)
        rows.append(row)
        sizes = f"{size(row['estimate_bytes'])} for {size(row['measured_bytes'])} measured"
        console.print(f"{case}, {images} images, tile {tile}: {sizes}", highlight=False)
    record = write_record(
        options.out, PROGRAM, options, load_before=load, rows=rows, **summarize(rows)
    )
    write_figure(options.out.with_suffix(".png"), growth_figure(record))
    console.print(result_table(record))


def measurements(settings: Settings) -> Iterator[tuple[Case, int, int | None]]:
    """Lists what is measured.

    Args:
        settings: the settings.

    Yields:
        Function, number of images, and tile or None.
    """
    for case in settings.cases:
        for images in settings.images:
            yield case, images, None
    if settings.large_images:
        yield "nasbench201_gram", settings.large_images, None
        yield "nasbench201_gram", settings.large_images, settings.large_tile


def measure_apart(options: Options, case: Case, images: int, tile: int | None) -> dict[str, Any]:
    """Measures one function in a process of its own.

    Args:
        options: the options.
        case: which function.
        images: how many.
        tile: images in a tile, or None.

    Returns:
        See :func:`~benchmarks.memory_estimate_cases.measure`.

    Raises:
        InputError: the process failed.
    """
    arguments = [
        *shlex.split(command_line(PROGRAM, options))[1:],
        "--only",
        case,
        "--images",
        str(images),
    ]
    done = subprocess.run(
        [sys.executable, *arguments, "--tile", str(tile)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        fault = f"exit code {done.returncode} of the process that measures {case}"
        raise InputError("only", fault, "see above for its error")
    return json.loads(done.stdout)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Says whether the claim holds.

    Args:
        rows: the measurements.

    Returns:
        The range of estimate over measured peak, the rows that are further off than claimed, and
        the largest peak of a process as a whole.
    """
    ratios = [row["estimate_over_measured"] for row in rows]
    off = [row for row in rows if abs(row["estimate_over_measured"] - 1) > WITHIN]
    largest = max(row["process_bytes"] for row in rows)
    return {
        "summary": {
            "ratio_range": [min(ratios), max(ratios)],
            "further_off_than_30_percent": [f"{row['case']} {row['images']}" for row in off],
            "largest_process_bytes": largest,
            "under_8_gib": largest < LIMIT,
        }
    }


def result_table(record: Mapping[str, Any]) -> Table:
    """Lays estimate and measurement next to each other.

    Args:
        record: what the benchmark writes.

    Returns:
        The table.
    """
    table = Table(title="memory beside the process itself")
    for column in ("", "images", "tile", "estimate", "measured", "ratio", "process", "time"):
        table.add_column(column, justify="right" if column else "left")
    for row in record["rows"]:
        table.add_row(
            row["case"].replace("_", " "),
            str(row["images"]),
            str(row["tile"] or ""),
            size(row["estimate_bytes"]),
            size(row["measured_bytes"]),
            f"{row['estimate_over_measured']:.2f}",
            size(row["process_bytes"]),
            seconds(row["run_seconds"]),
        )
    low, high = record["summary"]["ratio_range"]
    table.caption = f"estimate over measured peak: {low:.2f} to {high:.2f}"
    return table


if __name__ == "__main__":
    sys.exit(main())
