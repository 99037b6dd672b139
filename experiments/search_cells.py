"""Can kernels guide a search? Searches for NAS-Bench-201 cells by any score, side by side.

What      five searches at once ask for cells; a score of each is read off its kernel at
          initialisation or after a little training, off the training itself, or off a table, and
          what counts is the test accuracy of the choice. Beside it stand what costs nothing: a
          random cell, and the largest of as many random cells.
Paper     Mok et al., CVPR 2022, arXiv 2203.14577 (search guided by LGA); Real et al., AAAI 2019,
          arXiv 1802.01548 (regularised evolution).
Needs     digits201: nothing. cifar10 presets: cifar10_5k1k.npz and the benchmark's table in the
          folder that --data-dir or JAXNTK_DATA names.
Time      table 10 s, centred alignment 2 minutes, LGA after three epochs 5 to 10 minutes, CIFAR-10
          10 to 20 minutes, LGA there an hour, all on one CPU core beside other jobs; a run that was
          stopped goes on.
Command   random search and evolution by the centred alignment at initialisation:
          python experiments/search_cells.py random-centred --out runs/search_random_centred
          python experiments/search_cells.py evolution-centred --out runs/search_evolution_centred
          by LGA after three epochs:
          python experiments/search_cells.py evolution-lga3 --out runs/search_evolution_lga3
          warm-up by the centred alignment, then the best by validation accuracy of ten:
          python experiments/search_cells.py evolution-centred --out runs/search_warm
            --select digits201/valid --finalists 10
          by what training gives, sharing the trainings of the run above:
          python experiments/search_cells.py evolution-lga3 --out runs/search_evolution_valid3
            --goals valid_accuracy@3 --score-cache runs/scores
          two goals, the mean of their percentiles among random cells:
          python experiments/search_cells.py evolution-centred --out runs/search_two
            --goals lga_centred@0 params
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.studies.over_epochs_config import REDUCED_CIFAR10
from jaxntk.studies.search.config import SearchConfig
from jaxntk.studies.search.run import run_search


@dataclass(frozen=True)
class Options:
    """Search for cells."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[SearchConfig, tyro.conf.arg(name="")]
    """What is searched, and by what."""


def _digits(name: str, **changes: Any) -> Options:
    config = SearchConfig(
        data="digits201",
        truth="digits201/test",
        num_images=64,
        # The truth is the accuracy on the test images.
        split="valid",
        channels=8,
        cells_per_stage=1,
        batch_size=64,
        augmentation="crop",
        pad=1,
        chunk=5,
        **changes,
    )
    return Options(Path(f"runs/search_{name}"), config)


def _cifar10(name: str, goal: str) -> Options:
    config = SearchConfig(
        data="npz:cifar10_5k1k.npz",
        truth="cifar10/test/200",
        num_images=64,
        batch="balanced",
        split="train",
        goals=(goal,),
    )
    return Options(Path(f"runs/search_{name}"), config)


# Kernels of training images, as the truth is of the test images.
REDUCED = SearchConfig(
    **REDUCED_CIFAR10, batch="balanced", split="train", goals=("lga@3",), chunk=5
)
PRESETS = {
    "random-centred": (
        "random search, centred alignment at initialisation",
        _digits("random_centred", algorithm="random"),
    ),
    "evolution-centred": (
        "regularised evolution, centred alignment at initialisation",
        _digits("evolution_centred"),
    ),
    "random-lga3": (
        "random search, LGA after three epochs",
        _digits("random_lga3", algorithm="random", goals=("lga@3",)),
    ),
    "evolution-lga3": (
        "regularised evolution, LGA after three epochs",
        _digits("evolution_lga3", goals=("lga@3",)),
    ),
    "evolution-table": (
        "regularised evolution, validation accuracy from the table",
        _digits("evolution_table", goals=("table:digits201/valid",)),
    ),
    "cifar10-centred": (
        "CIFAR-10, the benchmark's own networks, evolution by the centred alignment",
        _cifar10("cifar10_centred", "lga_centred@0"),
    ),
    "cifar10-condition": (
        "CIFAR-10, the benchmark's own networks, evolution by the condition number",
        _cifar10("cifar10_condition", "condition_number@0"),
    ),
    "cifar10-lga3": (
        "CIFAR-10 at 16 pixels, fewer images and cells: evolution by LGA after three epochs",
        Options(Path("runs/search_cifar10_lga3"), REDUCED),
    ),
    "cifar10-params": (
        "CIFAR-10, evolution by the number of parameters",
        _cifar10("cifar10_params", "params"),
    ),
    "cifar10-table": (
        "CIFAR-10, evolution by the benchmark's validation accuracy",
        _cifar10("cifar10_table", "table:cifar10-valid/valid/200"),
    ),
}


if __name__ == "__main__":
    sys.exit(run_preset(PRESETS, __doc__, run_search))
