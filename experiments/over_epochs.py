"""Does LGA rank architectures better after a little training, and is it worth its price?

What      random NAS-Bench-201 cells are trained for 0, 1, 2, 3 and 5 epochs; after each, all kernel
          metrics are read (in frozen, batch or running mode of batch normalisation, as asked) and
          held against the accuracy after full training. Beside them #params, and what the same
          training gives without a kernel: its loss, the sum of its losses (TSE) and the
          validation accuracy.
Paper     Mok et al., CVPR 2022, arXiv 2203.14577; TSE: Ru et al., NeurIPS 2021, arXiv 2006.04492.
Needs     digits201: nothing. cifar10: nasbench201.csv.gz (jaxntk import-nasbench201) and
          cifar10_5k1k.npz in the folder that --data-dir or JAXNTK_DATA names; another file, or
          --data tfds:cifar10, serves as well.
Seen      digits201 (256 images, statistics frozen): LGA's tau is not seen to grow with t (0.18,
          0.07, 0.15, 0.21, 0.11 at t = 0, 1, 2, 3, 5), that of the centred alignment is up to t = 3
          (0.22 to 0.36); the validation accuracy has 0.47 at t = 5. docs/findings.md says what adds
          to what.
          cifar10 (64 images): LGA 0.40 and centred alignment 0.51 at t = 0, -0.05 and 0.28 at t =
          3; 0.68 for the parameters of live edges, up to 0.53 for the loss. That kernels get worse
          with training is withdrawn: 64 images are too few, pilots with 256 show no collapse, and
          frozen statistics are no mode of the official code. The study is to be done.
Time      digits201: 25 minutes on 2 CPU cores beside other jobs, three modes of 150 cells 36 on
          one core; cifar10: 51 on one core. A run that was stopped goes on.
Command   python experiments/over_epochs.py digits201 --out runs/over_epochs_digits201
          python experiments/over_epochs.py digits201 --out runs/over_epochs_modes
            --batch-norms frozen batch running --num-images 64 --num-archs 150
          python experiments/over_epochs.py cifar10 --out runs/over_epochs_cifar10
          on a GPU, the paper's size:
          python experiments/over_epochs.py cifar10 --out runs/full --data tfds:cifar10
            --image-size None --train-images None --channels 16
            --cells-per-stage 5 --batch-size 1024 --num-images 256
            --num-archs 1000 --pad 4
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.runs.study import run_study
from jaxntk.studies.over_epochs import OVER_EPOCHS
from jaxntk.studies.over_epochs_config import REDUCED_CIFAR10, OverEpochsConfig


@dataclass(frozen=True)
class Options:
    """Train cells for a few epochs and score them on the way."""

    out: Path
    """Folder of the run; the same folder again resumes it."""
    config: Annotated[OverEpochsConfig, tyro.conf.arg(name="")]
    """What is computed."""


DIGITS = OverEpochsConfig(
    data="digits201",
    truth="digits201/test",
    num_archs=500,
    num_images=256,
    # The truth is the accuracy on the test images.
    split="valid",
    channels=8,
    cells_per_stage=1,
    batch_size=64,
    augmentation="crop",
    pad=1,
)
CIFAR = OverEpochsConfig(**REDUCED_CIFAR10, num_archs=100)
PRESETS = {
    "digits201": (
        "Digits-201: 8x8 pixels, everything in the package",
        Options(Path("runs/over_epochs_digits201"), DIGITS),
    ),
    "cifar10": (
        "CIFAR-10 at 16 pixels, fewer images and cells a stage: for a CPU",
        Options(Path("runs/over_epochs_cifar10"), CIFAR),
    ),
}


if __name__ == "__main__":
    sys.exit(run_preset(PRESETS, __doc__, partial(run_study, OVER_EPOCHS)))
