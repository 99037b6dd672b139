"""Makes the benchmark table Digits-ViT: every architecture of a small space of transformers.

What      504 vision transformers of AutoFormer's kind (embedding 8 to 32, 1 to 3 blocks), each
          trained for 30 epochs on 1,000 digits of 8x8 pixels in patches of 2x2, 60 of them from
          three seeds. docs/digits_vit.md is its data card.
Paper     the kind of space: Chen et al., ICCV 2021, arXiv 2107.00651; the table is this project's
          own.
Needs     nothing: the digits come with scikit-learn.
Time      about 5 s a training and CPU core; a run that was stopped goes on.
Command   python experiments/digits_vit.py --out runs/digits_vit
          python experiments/digits_vit.py --out runs/digits_vit --shard 1/2     (2/2 beside it)
          python experiments/digits_vit.py --out runs/digits_vit --table digits_vit.npz
          python experiments/digits_vit.py --card
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jaxntk.data.digits_vit import load_digits_vit
from jaxntk.runs.script import exit_code, read_options
from jaxntk.studies.tables.digits_vit import BENCHMARK, write_table
from jaxntk.studies.tables.digits_vit_card import card
from jaxntk.studies.tables.script import TableOptions, make_table


@dataclass(frozen=True, kw_only=True)
class Options(TableOptions):
    """Train every architecture, or go on with a run that was stopped."""

    out: Path = Path("runs/digits_vit")
    """Folder of the run."""


def figures() -> dict[str, str]:
    """Reads the card's figures off the table that comes with the package."""
    return card(load_digits_vit())


if __name__ == "__main__":
    chosen = read_options(Options, __doc__)
    sys.exit(exit_code(lambda: make_table(BENCHMARK, write_table, figures, chosen, Console())))
