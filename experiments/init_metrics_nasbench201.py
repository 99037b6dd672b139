"""Which kernel metrics at initialisation rank NAS-Bench-201 cells on CIFAR-10?"""

from jaxntk.studies.config import ExperimentConfig

config = ExperimentConfig(
    data="npz:cifar10_5k1k.npz",
    truth="cifar10/test/200",
    batch_norm="frozen",
    num_archs=300,
    num_images=128,
)
