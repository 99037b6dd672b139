"""Can kernels guide a search for vision transformers? Searches by ViNTK, NTK and what costs less.

What      five searches at once ask for transformers; a score of each is read off its NTK, off a
          ViNTK (a reconstruction: see jaxntk/kernels/fourier.py), or off a table, and what counts
          is the test accuracy of the choice. Beside it stand what costs nothing: a random
          transformer, and the largest of as many random ones.
Paper     Zhou and Zhu, ICASSP 2024, arXiv 2405.04536 (search of transformers by ViNTK).
Needs     digits-vit: nothing. Other spaces: images, such as --data npz:FILE or tfds:NAME.
Time      1 to 2 minutes on one CPU core, tables and counts 20 seconds
Command   a genetic algorithm by the default ViNTK, and by the NTK:
          python experiments/search_vits.py genetic-vintk --out runs/search_vits_vintk
          python experiments/search_vits.py genetic-ntk --out runs/search_vits_ntk
          with a limit, and the best by validation accuracy of ten:
          python experiments/search_vits.py genetic-vintk --out runs/search_vits_limited
            --max-params 10000 --select digits_vit/valid --finalists 10
          AutoFormer's space, which no table knows:
          python experiments/search_vits.py genetic-vintk --out runs/search_tiny
            --space autoformer-tiny --data npz:cifar100_5k1k.npz --image-size 112
            --num-images 32 --dtype float32 --searches 1 --max-params 6000000 --truth None
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.studies.search.config import SearchConfig
from jaxntk.studies.search.run import run_search


@dataclass(frozen=True)
class Options:
    """Search for vision transformers."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[SearchConfig, tyro.conf.arg(name="")]
    """What is searched, and by what."""


VINTK = "condition_number@patch_content:sigma=1/sum"


def _preset(
    name: str, goal: str = VINTK, algorithm: Literal["genetic", "random"] = "genetic"
) -> Options:
    config = SearchConfig(
        space="digits-vit",
        data="digits",
        truth="digits_vit/test",
        goals=(goal,),
        algorithm=algorithm,
        # The truth is the accuracy on the test images.
        split="train",
        batch="balanced",
        # The more images, the worse the condition number; many kernels have none in float32.
        num_images=16,
        dtype="float64",
        parameters="all",
    )
    return Options(Path(f"runs/search_vits_{name}"), config)


PRESETS = {
    "genetic-vintk": (
        "genetic algorithm, condition number of the default ViNTK",
        _preset("vintk"),
    ),
    "genetic-ntk": (
        "genetic algorithm, condition number of the NTK",
        _preset("ntk", "condition_number@ntk"),
    ),
    "random-vintk": (
        "random search, condition number of the default ViNTK",
        _preset("random_vintk", algorithm="random"),
    ),
    "genetic-trace": (
        "genetic algorithm, trace of the NTK",
        _preset("trace", "trace@ntk"),
    ),
    "genetic-params": (
        "genetic algorithm, number of parameters",
        _preset("params", "params"),
    ),
    "genetic-table": (
        "genetic algorithm, validation accuracy from the table",
        _preset("table", "table:digits_vit/valid"),
    ),
}


if __name__ == "__main__":
    sys.exit(run_preset(PRESETS, __doc__, run_search))
