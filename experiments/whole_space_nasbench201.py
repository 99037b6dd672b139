"""Which kernel metrics at initialisation rank all NAS-Bench-201 cells on CIFAR-10?

What      LGA, Frobenius norm, mean and condition number of every one of the 15,625 cells (16
          channels, 5 cells a stage) at one initialisation on 256 class-balanced CIFAR-10 training
          images, held against the test accuracy after 200 epochs; #params beside them. Cells that
          differ in dead edges only have one kernel: 9,445 are computed.
Paper     Mok et al., CVPR 2022, arXiv 2203.14577; the benchmark: Dong and Yang, ICLR 2020, arXiv
          2001.00326.
Needs     nasbench201.csv.gz (jaxntk import-nasbench201) and cifar10_5k1k.npz in the folder that
          --data-dir or JAXNTK_DATA names.
Time      for one GPU; on a CPU score a sample of the space, and read the projection for the whole.
Command   python experiments/whole_space_nasbench201.py --out runs/whole_space
          python experiments/whole_space_nasbench201.py --out runs/sample --cells 1000 --n 64
"""

import shlex
import sys

from rich.console import Console

from jaxntk.runs.script import exit_code, read_options
from jaxntk.spaces.nasbench201 import SPACE_SIZE
from jaxntk.studies.config import ExperimentConfig
from jaxntk.studies.whole_space import Options, run_population

config = ExperimentConfig(
    data="npz:cifar10_5k1k.npz",
    truth="cifar10/test/200",
    batch_norm="frozen",
    num_archs=SPACE_SIZE,
    num_images=256,
    metrics=("lga", "frobenius", "mean", "condition_number"),
)

if __name__ == "__main__":
    options = read_options(Options, None)
    sys.exit(
        exit_code(
            lambda: run_population(
                config,
                options,
                experiment="whole_space_nasbench201",
                command=shlex.join(["python", *sys.argv]),
                console=Console(),
            )
        )
    )
