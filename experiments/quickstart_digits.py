"""Do kernel metrics at initialisation rank NAS-Bench-201 cells on real handwritten digits?

What      200 random cells, a small network (8 channels, 1 cell a stage), scored at one
          initialisation on 64 distorted digits; each ranking is held against the test accuracy
          after training, which Digits-201 knows for every cell (docs/digits201.md).
Paper     the question is that of Mok et al., CVPR 2022, arXiv 2203.14577; the data are not.
Needs     nothing: images and accuracies come with the packages.
Seen      centred alignment ranks best (tau 0.35, 95 % interval 0.22 to 0.47), then LGA (0.28, 0.15
          to 0.39); #params 0.25 (0.14 to 0.35). Mean, trace and Frobenius norm rank the wrong way
          round (-0.21 to -0.27). A score without noise would have a tau of about 0.73.
Time      1 minute on 2 CPU cores, compilation included.
Command   jaxntk run experiments/quickstart_digits.py --out runs/quickstart_digits
"""

from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="digits201",
    truth="digits201/test",
    batch_norm="frozen",
    num_archs=200,
    num_images=64,
    channels=8,
    cells_per_stage=1,
)
