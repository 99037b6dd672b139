"""Do kernel metrics at initialisation rank NAS-Bench-201 cells on real handwritten digits?"""

from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="digits",
    truth="train",
    batch_norm="frozen",
    num_archs=40,
    num_images=64,
    channels=8,
    cells_per_stage=1,
    train_epochs=2,
)
