"""Makes the benchmark table Digits-201: every NAS-Bench-201 cell, trained on distorted digits.

What      the 4,930 distinct functions of the 15,625 cells, at 8 channels and 1 cell a stage, each
          trained for 8 epochs on 1,000 images of 8x8 pixels, from three seeds; 300 of them from
          six, so that the ceiling (Kendall tau of two means of three) is known.
          docs/digits201.md is its data card.
Paper     the space: Dong and Yang, ICLR 2020, arXiv 2001.00326; the table is this project's own.
Needs     nothing: the digits come with scikit-learn.
Time      1 to 3 s a training and CPU core; a run that was stopped goes on.
Command   python experiments/digits201.py --out runs/digits201
          python experiments/digits201.py --out runs/digits201 --shard 1/2     (2/2 beside it)
          python experiments/digits201.py --out runs/digits201 --table digits201.npz
          python experiments/digits201.py --card
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.studies.digits201 import all_tasks, train, write_table
from jaxntk.studies.digits201_card import card
from jaxntk.studies.script import exit_code
from jaxntk.studies.shards import Shard


@dataclass(frozen=True)
class Options:
    """Train every cell, or go on with a run that was stopped."""

    out: Path = Path("runs/digits201")
    """Folder of the run."""
    shard: str | None = None
    """Do one part of the work only, as I/N."""
    limit: int | None = None
    """Trainings to stop after."""
    table: Path | None = None
    """Pack the finished run of --out into this file, and train nothing."""
    card: bool = False
    """Print the figures of the data card off the table that comes with the package."""


def run(options: Options, console: Console) -> None:
    """Does what the options ask.

    Args:
        options: the options.
        console: where progress and results are shown.

    Raises:
        InputError: a bad shard or limit, or a folder or file that cannot be used.
    """
    if options.card:
        for name, value in card(load_digits201()).items():
            console.print(f"{name}: {value}", highlight=False, soft_wrap=True)
    elif options.table is not None:
        write_table(options.out, options.table)
        console.print(f"{options.table}: {options.table.stat().st_size:,} bytes")
    else:
        shard = None if options.shard is None else Shard.parse(options.shard)
        done = train(options.out, console, shard, options.limit)
        console.print(f"{done} of {len(all_tasks())} trainings done")


if __name__ == "__main__":
    chosen = tyro.cli(Options, description=__doc__)
    sys.exit(exit_code(lambda: run(chosen, Console())))
