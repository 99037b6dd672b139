"""The configuration of a ranking experiment: one flat, frozen, typed record.

Every field is a flag of ``jaxntk run`` (``num_archs`` is ``--num-archs``).
"""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import NTK, named_kernel
from jaxntk.metrics import METRICS
from jaxntk.networks.initializers import initialization
from jaxntk.networks.registry import FAMILIES, check_space
from jaxntk.runs.config import Config, check_at_least, check_types
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.spaces.space import Space, most, read_arch, written

TRAIN = "train"
TRUTH_SEED = 10**9
"""Trainings for a ground truth have this seed and those that follow, so that none of them begins
from weights that a cell is scored with."""


SIZES = ("channels", "cells_per_stage", "initializer", "patch_size", "num_shape_classes")
"""Fields that say how large networks are, or how they are made; each space has some of them."""


@dataclass(frozen=True, kw_only=True)
class KernelConfig(Config):
    """Architectures, images, and the kernel that is taken of the networks on the images."""

    data: str
    """Images: digits, digits201, npz:FILE or tfds:NAME."""
    space: str = NASBENCH201
    """Search space: nasbench201, digits-vit, autoformer-tiny, -small, -base, -vitbench101, pit."""
    num_archs: int = 100
    """Architectures to sample from the space, without repetition."""
    archs: tuple[str, ...] = ()
    """Architectures to score instead of a sample, in any written form of the space."""
    arch_seed: int = 0
    """Seed of the sample of architectures."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    num_images: int = 64
    """Images the kernel is computed on."""
    batch: Literal["balanced", "first"] = "balanced"
    """Class-balanced images drawn with batch_seed, or the first ones as stored."""
    batch_seed: int = 0
    """Seed of the draw of images."""
    batch_classes: int | None = None
    """Classes that the images are from, drawn with batch_seed; by default all."""
    split: Literal["train", "valid", "test"] = "train"
    """Where the images come from."""
    image_size: int | None = None
    """Pixels that images of the kernel are resized to, height and width; by default their own."""
    channels: int | None = None
    """Of cells: channels of the stem and the first stage; by default 16."""
    cells_per_stage: int | None = None
    """Of cells: how many each of the three stages has; by default 5."""
    initializer: str | None = None
    """Of cells: pytorch (the default), he_normal or lecun_normal."""
    patch_size: int | None = None
    """Of transformers: pixels of a patch; by default 2 in the space digits-vit, 16 in others."""
    num_shape_classes: int | None = None
    """Of pit: programs that its shapes share; by default 8."""
    feature_seed: int = 0
    """Seed of the frequencies of a ViNTK's Fourier features."""
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

    @property
    def sizes(self) -> dict[str, Any]:
        """Sizes of the networks by name, with the defaults of the space filled in."""
        given = {name: getattr(self, name) for name in SIZES}
        return FAMILIES[self.space].complete(given)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(KernelConfig):
    """Score architectures at initialisation."""

    batch_norm: Literal["batch", "frozen", "running", "none"] = "none"
    """Batch normalisation while the kernel is taken: batch, frozen or running of networks that have
    it, where there is no default; batch and running are exact and dear."""
    kernel: str = NTK
    """Kernel that is scored: ntk, or a ViNTK such as patch_content:sigma=1/sum."""
    num_inits: int = 1
    """Initialisations an architecture is scored with; its score is their mean."""
    init_seed: int = 0
    """Seed of the first initialisation."""

    @property
    def init_seeds(self) -> range:
        """Seeds of the initialisations that each cell is scored with, in this order."""
        return range(self.init_seed, self.init_seed + self.num_inits)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(ScoreConfig):
    """Score architectures at initialisation and hold every ranking against a ground truth."""

    truth: str
    """Ground truth: train, digits201/test or digits_vit/test, a column of NAS-Bench-201 such as
    cifar10/test/200, or a CSV file with columns arch and accuracy (FILE.csv:COLUMN for another
    column)."""
    table: str | None = None
    """The benchmark table nasbench201.csv.gz; by default looked for in data_dir."""
    train_epochs: int = 2
    """With truth=train: epochs each network is trained for."""
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
    """With truth=train: seed of weights and order of images, the same for all architectures."""


def validate_scoring(config: KernelConfig) -> None:
    """Checks what can be checked of a scoring before data are read.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_types(type(config), {field.name: getattr(config, field.name) for field in fields(config)})
    check_space(config.space)
    check_sizes(config.sizes)
    check_at_least("num_inits", getattr(config, "num_inits", 1), 1)
    check_at_least("num_images", config.num_images, 2)
    for name in ("arch_seed", "batch_seed", "init_seed", "feature_seed"):
        check_seed(name, getattr(config, name, 0))
    for name, least in {"tile": 1, "batch_classes": 2, "image_size": 1}.items():
        if getattr(config, name) is not None:
            check_at_least(name, getattr(config, name), least)
    _check_archs(config, SPACES[config.space])
    check_kernel("kernel", getattr(config, "kernel", NTK))
    if not config.metrics:
        raise InputError("metrics", "none", f"choose from {', '.join(METRICS)}")
    for name in config.metrics:
        check_choice("metrics", name, METRICS)


def check_sizes(sizes: dict[str, Any]) -> None:
    """Checks how large networks are to be.

    Args:
        sizes: by name, defaults filled in.

    Raises:
        InputError: the first that is wrong.
    """
    for name, value in sizes.items():
        if isinstance(value, int):
            check_at_least(name, value, 1)
    if "initializer" in sizes:
        initialization(sizes["initializer"])


def _check_archs(config: KernelConfig, space: Space) -> None:
    """Checks the architectures that are named, or how many are drawn."""
    if not config.archs:
        check_at_least("num_archs", config.num_archs, 1)
        if config.num_archs > most(space):
            cure = f"the space has {most(space):,} architectures"
            raise InputError("num_archs", config.num_archs, cure)
    read = partial(read_arch, space, argument="archs")
    names = [written(space, read(arch)) for arch in config.archs]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError("archs", f"{config.archs[index]} twice", "give each once")


def check_kernel(argument: str, kernel: str) -> None:
    """Checks which kernel is meant.

    Args:
        argument: that names it.
        kernel: ``ntk``, or a ViNTK.

    Raises:
        InputError: neither, or a combination that may have no value.
    """
    try:
        how = named_kernel(kernel)
    except InputError as error:
        got = f"{kernel} ({error.argument}: {error.got})"
        raise InputError(argument, got, error.cure) from error
    if how is not None and how.combine == "product" and any(w % 1 for w in how.weights):
        raise InputError(argument, kernel, "give whole powers: kernels may have negative entries")


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
            raise InputError("archs", "1 architecture", "a ranking needs at least 2")
    else:
        check_at_least("num_archs", config.num_archs, 2)
    if config.truth != TRAIN:
        check_truth("truth", config.truth, SPACES[config.space])
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
