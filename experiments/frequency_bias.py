"""How visible is each spatial frequency of an image to the kernel of a vision transformer?

What      kernels at initialisation of a linear model of the pixels, a NAS-Bench-201 cell and a
          vision transformer of AutoFormer's space (its NTK, and ViNTKs, which are reconstructions:
          see jaxntk/kernels/fourier.py), of plane waves of known frequency and of natural images
          split into rings of frequency. The number for it is the kernel's power at the upper half
          of the frequencies over that at the lower half: 1 for the linear model, 0 where high ones
          are invisible. This is not the spectral bias of the literature, in which frequency
          belongs to the function that is learned, not to the image; that study is to be done.
Paper     Zhou and Zhu, ICASSP 2024, arXiv 2405.04536.
Needs     cifar100: cifar100_5k1k.npz in the folder that --data-dir or JAXNTK_DATA names; another
          file, or --data tfds:cifar100, serves as well. digits: nothing.
Seen      docs/findings.md. What was concluded for or against the paper is withdrawn.
Time      35 minutes on one CPU core, either; a run that was stopped goes on.
Command   python experiments/frequency_bias.py cifar100 --out runs/frequency_bias
          python experiments/frequency_bias.py digits --out runs/frequency_bias_digits
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.runs.study import run_study
from jaxntk.studies.frequency_bias import FREQUENCY
from jaxntk.studies.frequency_config import FrequencyConfig


@dataclass(frozen=True)
class Options:
    """Look at kernels by spatial frequency."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[FrequencyConfig, tyro.conf.arg(name="")]
    """What is computed."""


PRESETS = {
    "cifar100": (
        "32 pixels, CIFAR-100, AutoFormer's smallest network",
        Options(Path("runs/frequency_bias"), FrequencyConfig()),
    ),
    "digits": (
        "16 pixels, scikit-learn's digits: everything in the package",
        Options(
            Path("runs/frequency_bias_digits"),
            FrequencyConfig(
                data="digits", side=16, frequencies=(1, 2, 3, 4, 5, 6, 7), channels=8, patch_size=2
            ),
        ),
    ),
}


if __name__ == "__main__":
    sys.exit(run_preset(PRESETS, __doc__, partial(run_study, FREQUENCY)))
