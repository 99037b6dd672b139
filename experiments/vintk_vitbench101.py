"""Does a kernel that sees Fourier features rank vision transformers better than the plain NTK?

What      every network of a table of ViT-Bench-101 is scored by all metrics of the NTK and of
          ViNTKs (reconstructions: see jaxntk/kernels/fourier.py), and every score, with #params,
          FLOPs, depth and width beside them, is held against every accuracy in the table;
          AutoFormer and PiT apart.
Paper     Zhou and Zhu, ICASSP 2024, arXiv 2405.04536; Wei et al., 2023, arXiv 2312.09059.
Needs     --table, ViT-Bench-101's CSV file, and CIFAR-100 images: cifar100_5k1k.npz in the folder
          that --data-dir or JAXNTK_DATA names, another npz file or tfds:cifar100.
Seen      the 150 networks of the development table: mean tau 0.62 for FLOPs, 0.60 for #params,
          0.59 for the best ViNTK (the condition number of patch_content:sigma=1/sum), 0.56 for the
          condition number of the NTK; the ViNTK is not surely better (at least -0.01).
Time      NTK and one ViNTK 22 minutes on 2 CPU cores beside other jobs, all 15 about 95; a run that
          was stopped goes on.
Command   python experiments/vintk_vitbench101.py --table vitbench101_dev.csv --out runs/vintk
          one ViNTK only:
          python experiments/vintk_vitbench101.py --table vitbench101_dev.csv --out runs/one
            --vintks pixel_values:sigma=1/sum
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.runs.study import run_study
from jaxntk.studies.vintk import VINTK
from jaxntk.studies.vintk_config import VintkConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Rank vision transformers by the NTK and by ViNTKs."""

    out: Path = Path("runs/vintk_vitbench101")
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[VintkConfig, tyro.conf.arg(name="")]
    """What is computed."""


if __name__ == "__main__":
    sys.exit(run_preset(Options, __doc__, partial(run_study, VINTK)))
