"""How does the kernel of a bad, a middling and a good cell move while the cell is trained?

What      three NAS-Bench-201 cells, at the 5 %, 50 % and 99 % quantile of accuracy among cells that
          connect input and output, are trained for 8 epochs with Digits-201's own recipe; after
          each, the kernel is held against that of the start (Pearson, cosine, relative change,
          distance, velocity) and against the labels (LGA, energy, top eigenvectors), as a whole and
          layer by layer. Beside each network its linearisation is trained the same way.
Paper     Mok et al., CVPR 2022, arXiv 2203.14577; Fort et al., NeurIPS 2020, arXiv 2010.15110.
Needs     digits201: nothing. cifar10: the files that over_epochs.py needs.
Time      digits201: 3 minutes on 2 CPU cores; cifar10: not measured yet.
Command   python experiments/kernel_dynamics.py digits201 --out runs/kernel_dynamics
          python experiments/kernel_dynamics.py cifar10 --out runs/kernel_dynamics_cifar10
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from jaxntk.runs.script import run_preset
from jaxntk.runs.study import run_study
from jaxntk.studies.kernel_dynamics import KERNEL_DYNAMICS
from jaxntk.studies.kernel_dynamics_config import KernelDynamicsConfig
from jaxntk.studies.over_epochs_config import REDUCED_CIFAR10


@dataclass(frozen=True)
class Options:
    """Watch the kernels of a few cells over training."""

    out: Path
    """Folder of the run; the same folder again goes on."""
    config: Annotated[KernelDynamicsConfig, tyro.conf.arg(name="")]
    """What is computed."""


DIGITS = KernelDynamicsConfig(
    data="digits201",
    truth="digits201/test",
    split="valid",
    channels=8,
    cells_per_stage=1,
    recipe="nasbench201",
    batch_size=64,
    augmentation="crop",
    pad=1,
)
CIFAR = KernelDynamicsConfig(**REDUCED_CIFAR10)
PRESETS = {
    "digits201": (
        "Digits-201: 8x8 pixels, everything in the package",
        Options(Path("runs/kernel_dynamics_digits201"), DIGITS),
    ),
    "cifar10": (
        "CIFAR-10 at 16 pixels, fewer images and cells a stage: for a CPU",
        Options(Path("runs/kernel_dynamics_cifar10"), CIFAR),
    ),
}


if __name__ == "__main__":
    run = partial(run_study, KERNEL_DYNAMICS)
    sys.exit(run_preset(PRESETS, __doc__, run, "the same command starts again"))
