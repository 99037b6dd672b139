"""The configuration of a ranking experiment: one flat, frozen, typed record.

Every field is a flag of ``jaxntk run`` (``num_archs`` is ``--num-archs``).
"""

from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.metrics import METRICS
from jaxntk.networks.initializers import initialization
from jaxntk.runs.config import Config, check_at_least, check_types
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.spaces.space import read_arch

TRAIN = "train"
TRUTH_SEED = 10**9
"""Trainings for a ground truth have this seed and those that follow, so that none of them begins
from weights that a cell is scored with."""


@dataclass(frozen=True, kw_only=True)
class KernelConfig(Config):
    """Cells, images, and the kernel that is taken of the cells on the images."""

    data: str
    """Images: digits, digits201, npz:FILE or tfds:NAME."""
    num_archs: int = 100
    """Cells to sample from the space, uniformly and without repetition."""
    archs: tuple[str, ...] = ()
    """Cells to score instead of a sample: official strings or six digits."""
    arch_seed: int = 0
    """Seed of the sample of cells."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    num_images: int = 64
    """Images the kernel is computed on."""
    batch: Literal["balanced", "first"] = "balanced"
    """Class-balanced images drawn with batch_seed, or the first ones as stored."""
    batch_seed: int = 0
    """Seed of the draw of images."""
    split: Literal["train", "valid", "test"] = "train"
    """Where the images come from."""
    channels: int = 16
    """Channels of the stem and the first stage."""
    cells_per_stage: int = 5
    """Cells in each of the three stages."""
    initializer: str = "pytorch"
    """pytorch, he_normal or lecun_normal."""
    outputs: Literal["sum", "trace", "class_balanced"] = "sum"
    """Kernel of the sum of logits, trace over outputs, or the trace without the mean of logits."""
    parameters: Literal["lga", "all"] = "lga"
    """Parameters that enter the kernel: the official LGA choice, or all."""
    dtype: Literal["float32", "mixed", "float64"] = "float32"
    """Precision; mixed is float64 activations, float32 kernel. Metrics are evaluated in float64."""
    matmul_precision: Literal["highest", "high", "default"] = "highest"
    """Of matrix products and convolutions; lower ones matter on GPU and TPU."""
    tile: int | None = None
    """Images whose kernel is computed at a time; by default as many as fit into memory."""
    metrics: tuple[str, ...] = tuple(METRICS)
    """Metrics to read off each kernel."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(KernelConfig):
    """Score NAS-Bench-201 cells at initialisation."""

    batch_norm: Literal["batch", "frozen", "running"]
    """Batch normalisation while the kernel is taken; batch and running are exact and dear."""
    num_inits: int = 1
    """Initialisations a cell is scored with; its score is their mean."""
    init_seed: int = 0
    """Seed of the first initialisation."""

    @property
    def init_seeds(self) -> range:
        """Seeds of the initialisations that each cell is scored with, in this order."""
        return range(self.init_seed, self.init_seed + self.num_inits)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(ScoreConfig):
    """Score NAS-Bench-201 cells at initialisation and hold every ranking against a ground truth."""

    truth: str
    """Ground truth: train, digits201/test, a column of NAS-Bench-201 such as cifar10/test/200, or a
    CSV file with columns arch and accuracy (FILE.csv:COLUMN for another column)."""
    table: str | None = None
    """The benchmark table nasbench201.csv.gz; by default looked for in data_dir."""
    train_epochs: int = 2
    """With truth=train: epochs each cell is trained for."""
    train_batch_size: int = 64
    """With truth=train: images a step."""
    learning_rate: float = 0.025
    """With truth=train: constant learning rate."""
    momentum: float = 0.9
    """With truth=train: momentum."""
    weight_decay: float = 3e-4
    """With truth=train: weight decay."""
    train_repeats: int = 1
    """With truth=train: trainings whose test accuracies are averaged."""
    train_seed: int = 0
    """With truth=train: seed of initialisation and order of images, the same for every cell."""


def validate_scoring(config: KernelConfig) -> None:
    """Checks what can be checked of a scoring before data are read.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_types(type(config), {field.name: getattr(config, field.name) for field in fields(config)})
    for name in ("channels", "cells_per_stage", "num_inits"):
        check_at_least(name, getattr(config, name, 1), 1)
    check_at_least("num_images", config.num_images, 2)
    for name in ("arch_seed", "batch_seed", "init_seed"):
        check_seed(name, getattr(config, name, 0))
    if config.tile is not None:
        check_at_least("tile", config.tile, 1)
    if not config.archs:
        check_at_least("num_archs", config.num_archs, 1)
        if config.num_archs > nasbench201.SPACE_SIZE:
            cure = f"the space has {nasbench201.SPACE_SIZE} cells"
            raise InputError("num_archs", config.num_archs, cure)
    read = partial(read_arch, SPACES[NASBENCH201], argument="archs")
    cells = [nasbench201.format_ops(read(arch)) for arch in config.archs]
    for index, cell in enumerate(cells):
        if cell in cells[:index]:
            raise InputError("archs", f"{cell} twice", "give every cell once")
    if not config.metrics:
        raise InputError("metrics", "none", f"choose from {', '.join(METRICS)}")
    for name in config.metrics:
        check_choice("metrics", name, METRICS)
    initialization(config.initializer)


def validate(config: ExperimentConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    validate_scoring(config)
    if config.archs:
        if len(config.archs) < 2:
            raise InputError("archs", "1 cell", "a ranking needs at least 2")
    else:
        check_at_least("num_archs", config.num_archs, 2)
    if config.truth != TRAIN:
        check_truth("truth", config.truth, SPACES[NASBENCH201])
    for name in ("train_epochs", "train_repeats"):
        check_at_least(name, getattr(config, name), 1)
    check_at_least("train_batch_size", config.train_batch_size, 2)
    check_at_least("train_seed", config.train_seed, 0)
    for name in ("learning_rate", "momentum", "weight_decay"):
        check_at_least(name, getattr(config, name), 0)


def check_seed(name: str, seed: int) -> None:
    """Refuses seeds that are negative, or reserved for a ground truth.

    Args:
        name: of the argument.
        seed: the seed.

    Raises:
        InputError: it is one of these.
    """
    if not 0 <= seed < TRUTH_SEED // 2:
        raise InputError(name, seed, f"give a seed from 0 to {TRUTH_SEED // 2 - 1}")
