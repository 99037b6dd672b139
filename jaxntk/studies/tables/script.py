"""The command line of a script that makes a benchmark table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jaxntk.runs.shards import Shard
from jaxntk.studies.tables.make import Benchmark, train


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Train everything, or go on with a run that was stopped."""

    out: Path
    """Folder of the run."""
    shard: str | None = None
    """Do one part of the work only, as I/N."""
    limit: int | None = None
    """Trainings to stop after."""
    table: Path | None = None
    """Pack the finished run of --out into this file, and train nothing."""
    card: bool = False
    """Print the figures of the data card off the table that comes with the package."""


def make_table(
    benchmark: Benchmark,
    write: Callable[[Path, Path], None],
    card: Callable[[], Mapping[str, str]],
    options: TableOptions,
    console: Console,
) -> None:
    """Does what the options ask.

    Args:
        benchmark: what is trained.
        write: packs the run in a folder into a file.
        card: the figures of the data card.
        options: the options.
        console: where progress and results are shown.

    Raises:
        InputError: a bad shard or limit, or a folder or file that cannot be used.
    """
    if options.card:
        for name, value in card().items():
            console.print(f"{name}: {value}", highlight=False, soft_wrap=True)
    elif options.table is not None:
        write(options.out, options.table)
        console.print(f"{options.table}: {options.table.stat().st_size:,} bytes")
    else:
        shard = None if options.shard is None else Shard.parse(options.shard)
        done = train(benchmark, options.out, console, shard, options.limit)
        console.print(f"{done} of {len(benchmark.tasks())} trainings done")
