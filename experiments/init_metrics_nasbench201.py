"""Which kernel metrics at initialisation rank NAS-Bench-201 cells on CIFAR-10?

What      300 random cells of the benchmark's own size (16 channels, 5 cells a stage), each scored
          at one initialisation on 128 class-balanced CIFAR-10 training images; every ranking is
          held against the benchmark's test accuracy after 200 epochs on the whole training set.
Paper     Mok et al., CVPR 2022, arXiv 2203.14577: at initialisation, NTK metrics mislead, and LGA
          needs a few epochs of training. Chen et al., ICLR 2021, arXiv 2102.11535 (TE-NAS) report
          a Kendall tau of -0.42 for the condition number.
Seen      raw tau: condition number -0.42 (the 247 cells that have one), Frobenius norm 0.40, mean
          0.29, LGA 0.27, #params 0.61; s.d. of tau over samples of cells about 0.03; more in
          docs/findings.md
Needs     nasbench201.csv.gz (jaxntk import-nasbench201) and cifar10_5k1k.npz (arrays x_train,
          y_train, x_test, y_test) in the folder that --data-dir or JAXNTK_DATA names; other images
          through --data npz:FILE or --data tfds:cifar10.
Time      about 5 minutes on 2 CPU cores, 1.5 GB.
Command   jaxntk run experiments/init_metrics_nasbench201.py --out runs/init_metrics_nasbench201
"""

from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="npz:cifar10_5k1k.npz",
    truth="cifar10/test/200",
    batch_norm="frozen",
    num_archs=300,
    num_images=128,
)
