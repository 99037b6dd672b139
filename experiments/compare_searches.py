"""Which search chooses better: at equal numbers of evaluations, and at equal seconds?

What      finished runs of search_cells.py or search_vits.py, held against each other. Reading a
          table is free for us and stands for training: what the trainings of Digits-201 and
          Digits-ViT took stands in these tables, for others --training-seconds says it.
Needs     folders of finished runs; nothing is computed.
Time      seconds.
Command   python experiments/compare_searches.py --out runs/compare
            --runs runs/search_evolution_centred runs/search_evolution_table
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.studies.search.compare import run_compare
from jaxntk.studies.search.compare_config import CompareConfig


@dataclass(frozen=True)
class Options:
    """Compare searches."""

    out: Path
    """Folder of table and figure."""
    config: Annotated[CompareConfig, tyro.conf.arg(name="")]
    """What is compared."""


if __name__ == "__main__":
    sys.exit(run_preset(Options, __doc__, run_compare))
