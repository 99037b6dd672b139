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

from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.runs.script import exit_code, read_options
from jaxntk.studies.tables.digits201 import BENCHMARK, write_table
from jaxntk.studies.tables.digits201_card import card
from jaxntk.studies.tables.script import TableOptions, make_table


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Train every cell, or go on with a run that was stopped."""

    out: Path = Path("runs/digits201")
    """Folder of the run."""


def figures() -> dict[str, str]:
    """Reads the card's figures off the table that comes with the package."""
    return card(load_digits201())


if __name__ == "__main__":
    chosen = read_options(Options, __doc__)
    sys.exit(exit_code(lambda: make_table(BENCHMARK, write_table, figures, chosen, Console())))
