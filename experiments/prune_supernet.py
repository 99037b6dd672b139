"""Does a kernel at initialisation say which operations a supernet can do without?

What      a supernet with all five operations of NAS-Bench-201 on every edge loses one operation an
          edge and round: the one without which the kernel of what remains is best. After four
          rounds and 84 kernels a cell is left, whose accuracy is looked up. Beside it stand a
          random cell, and the largest of 84 random cells.
Paper     Chen, Gong, Wang, ICLR 2021, arXiv 2102.11535 (TE-NAS, which adds the ranks by condition
          number and by the number of linear regions; the second is not a reading of the kernel).
Needs     digits201: nothing.
Time      5 minutes a preset on one CPU core beside other jobs; a run that was stopped goes on.
Command   python experiments/prune_supernet.py condition --out runs/prune_condition
          python experiments/prune_supernet.py centred --out runs/prune_centred
          ranks of two added up, three initialisations averaged:
          python experiments/prune_supernet.py condition --out runs/prune_two
            --goals condition_number lga_centred --num-inits 3
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.runs.study import run_study
from jaxntk.studies.search.prune import PRUNE
from jaxntk.studies.search.prune_config import PruneConfig


@dataclass(frozen=True)
class Options:
    """Prune a supernet."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[PruneConfig, tyro.conf.arg(name="")]
    """What is pruned, and by what."""


def _digits(name: str, goal: str) -> Options:
    config = PruneConfig(
        data="digits201",
        # The truth is the accuracy on the test images.
        split="valid",
        num_images=64,
        channels=8,
        cells_per_stage=1,
        goals=(goal,),
    )
    return Options(Path(f"runs/prune_{name}"), config)


PRESETS = {
    "condition": ("by the condition number", _digits("condition", "condition_number")),
    "centred": ("by the centred alignment with the labels", _digits("centred", "lga_centred")),
}


if __name__ == "__main__":
    sys.exit(run_preset(PRESETS, __doc__, partial(run_study, PRUNE)))
