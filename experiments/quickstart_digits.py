"""Do kernel metrics at initialisation rank NAS-Bench-201 cells on real handwritten digits?

What      60 random cells, a small network (8 channels, 1 cell a stage), scored at one
          initialisation on 64 of scikit-learn's digits; then every cell is trained three times for
          3 epochs, and each ranking is held against the mean test accuracy.
Paper     the question is that of Mok et al., CVPR 2022, arXiv 2203.14577; the data are not.
Recipe    learning rate and epochs were chosen so that accuracies spread and agree between seeds
          (Kendall tau about 0.5 between single trainings), before any metric was looked at.
Seen      the mean of the kernel ranks best (tau 0.43, 95 % interval 0.29 to 0.56); #params 0.14
          (-0.03 to 0.31), LGA -0.09 (-0.25 to 0.07). The networks are small and differ little
          (81 to 97 %): from another training seed taus differ by up to 0.06.
Time      2 to 4 minutes on 2 CPU cores, compilation included.
Command   jaxntk run experiments/quickstart_digits.py --out runs/quickstart_digits
"""

from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="digits",
    truth="train",
    batch_norm="frozen",
    num_archs=60,
    num_images=64,
    channels=8,
    cells_per_stage=1,
    train_epochs=3,
    learning_rate=0.005,
    train_repeats=3,
)
