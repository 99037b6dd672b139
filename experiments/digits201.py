"""Makes the benchmark table Digits-201: every NAS-Bench-201 cell, trained on distorted digits.

What      the 4,930 distinct functions of the 15,625 cells, at 8 channels and 1 cell a stage, each
          trained for 8 epochs on 1,000 images of 8x8 pixels; 500 of them from three seeds, so that
          the ceiling (Kendall tau between seeds) can be known.
Paper     the space: Dong and Yang, ICLR 2020, arXiv 2001.00326; the table is this project's own.
Needs     nothing: the digits come with scikit-learn.
Time      1 to 2 s a training and CPU core; a run that was stopped goes on.
Command   python experiments/digits201.py --out runs/digits201
          python experiments/digits201.py --out runs/digits201 --shard 1/2     (2/2 beside it)
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.studies.digits201 import all_tasks, train
from jaxntk.studies.shards import Shard


@dataclass(frozen=True)
class Options:
    """Train every cell, or go on with a run that was stopped."""

    out: Path
    """Folder of the run."""
    shard: str | None = None
    """Do one part of the work only, as I/N."""
    limit: int | None = None
    """Trainings to stop after."""


def main() -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    options = tyro.cli(Options, description=__doc__)
    console = Console()
    try:
        shard = None if options.shard is None else Shard.parse(options.shard)
        done = train(options.out, console, shard, options.limit)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    console.print(f"{done} of {len(all_tasks())} trainings done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
