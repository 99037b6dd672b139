"""The configuration of a study that reads kernels while networks are trained."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import NTK, ViNTK, named_kernel
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.registry import FAMILIES
from jaxntk.spaces.registry import SPACES
from jaxntk.studies.config import (
    KernelConfig,
    ScoreConfig,
    check_kernel,
    check_seed,
    validate_scoring,
)
from jaxntk.training.population import Strategy
from jaxntk.training.recipe import RECIPES, Recipe, named_recipe

BATCH_NORMS = ("batch", "frozen", "running")
REDUCED_CIFAR10: dict[str, Any] = {
    "data": "npz:cifar10_5k1k.npz",
    "truth": "cifar10/test/200",
    "num_images": 64,
    "channels": 16,
    "cells_per_stage": 1,
    "image_size": 16,
    "train_images": 2048,
    "validation_images": 1000,
    "batch_size": 64,
    "pad": 2,
}
"""CIFAR-10 at a size that two cores train a hundred cells of in an hour."""


@dataclass(frozen=True, kw_only=True)
class OverEpochsConfig(KernelConfig):
    """Train networks for a few epochs and score them on the way."""

    truth: str
    """Ground truth: digits201/test, digits_vit/test, a column of NAS-Bench-201 such as
    cifar10/test/200, or a CSV file with columns arch and accuracy (FILE.csv:COLUMN for another
    column)."""
    num_images: int = 256
    """Images the kernel is computed on; the paper takes the first 256 test images."""
    batch: Literal["balanced", "first"] = "first"
    """Class-balanced images drawn with batch_seed, or the first ones as stored."""
    split: Literal["train", "valid", "test"] = "test"
    """Where the images of the kernel come from; they are not augmented."""
    table: str | None = None
    """NAS-Bench-201's table nasbench201.csv.gz; by default looked for in data_dir."""
    batch_norms: tuple[str, ...] = ("frozen",)
    """Batch normalisation while kernels are taken, any of batch, frozen and running; means nothing
    to networks without."""
    kernels: tuple[str, ...] = (NTK,)
    """Kernels that are taken: ntk and, before any training, ViNTKs such as
    pixel_values:sigma=1/sum (trained weights are of images, not of their Fourier features)."""
    epochs: tuple[int, ...] = (0, 1, 2, 3, 5)
    """Epochs after which kernels are taken."""
    schedule_epochs: int | None = None
    """Epochs after which the learning rate of a cosine is 0; by default the last of epochs."""
    recipe: str = "lga"
    """How networks are trained: lga, nasbench201 or adamw."""
    batch_size: int | None = None
    """Images a step; by default that of the recipe."""
    learning_rate: float | None = None
    """By default that of the recipe."""
    augmentation: str | None = None
    """none, crop or crop_flip; by default that of the recipe."""
    pad: int | None = None
    """Pixels that crops shift an image by, at most; by default that of the recipe."""
    train_images: int | None = None
    """Training images that are used, the first ones; by default all."""
    validation_images: int = 0
    """Of data without a validation set: training images kept for it, the last ones."""
    image_size: int | None = None
    """Pixels that images are averaged down to; by default they stay as they are."""
    seed: int = 0
    """Of the first training: weights, order of images, augmentation."""
    num_seeds: int = 1
    """Trainings of each network."""
    chunk: int = 16
    """Networks trained together, and between two checkpoints of one folder."""
    strategy: str = "map"
    """map or vmap: how they are trained together."""

    @property
    def modes(self) -> tuple[str, ...]:
        """Batch normalisation while kernels are taken; ``none`` for networks without."""
        own = FAMILIES[self.space].modes
        return ("none",) if own == (BatchNormMode.NONE,) else self.batch_norms

    def variants(self, epoch: int) -> dict[str, ViNTK | None]:
        """Lists the kernels that are taken after some epochs.

        Args:
            epoch: their number.

        Returns:
            ViNTKs by name, with all their settings; None for the NTK.
        """
        found = [named_kernel(text) for text in self.kernels]
        names = {NTK if how is None else str(how): how for how in found}
        return {name: how for name, how in names.items() if how is None or not epoch}

    @property
    def seeds(self) -> range:
        """Seeds of the trainings of each network, in this order."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def epochs_of_schedule(self) -> int:
        """Epochs after which the learning rate of a cosine is 0, at least 1."""
        return max(1, self.schedule_epochs or max(self.epochs))

    @property
    def training(self) -> Recipe:
        """How networks are trained."""
        names = ("batch_size", "learning_rate", "augmentation", "pad")
        given = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in given.items() if value is not None}
        return named_recipe(self.recipe, **changes)

    def scoring(self, batch_norm: str) -> ScoreConfig:
        """Returns the configuration that scores the same networks at initialisation, in one mode.

        Args:
            batch_norm: one of ``modes``.

        Returns:
            The configuration.
        """
        shared = {field.name: getattr(self, field.name) for field in fields(KernelConfig)}
        return ScoreConfig(**shared, batch_norm=batch_norm, init_seed=self.seed)  # pyright: ignore[reportArgumentType]


def validate_over_epochs(config: OverEpochsConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    validate_training(config)
    if len(config.archs) == 1 or (not config.archs and config.num_archs < 2):
        raise InputError("archs", "1 architecture", "a ranking needs at least 2")


def validate_training(config: OverEpochsConfig) -> None:
    """Checks what any study of networks that are trained needs, however few they are.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    validate_scoring(config)
    if config.dtype == "mixed":
        raise InputError("dtype", config.dtype, "train in float32 or float64")
    if config.truth is not None:
        check_truth("truth", config.truth, SPACES[config.space])
    check_choice("recipe", config.recipe, tuple(RECIPES))
    check_choice("strategy", config.strategy, get_args(Strategy))
    if config.modes == ("none",) and config.batch_norms != ("frozen",):
        cure = f"leave it out: networks of {config.space} have no batch normalisation"
        raise InputError("batch_norms", list(config.batch_norms), cure)
    for each in config.batch_norms:
        check_choice("batch_norms", each, BATCH_NORMS)
    for each in config.kernels:
        check_kernel("kernels", each)
    if any(each != NTK for each in config.kernels) and 0 not in config.epochs:
        cure = "choose ntk, or add epoch 0: trained weights are of images, not of their features"
        raise InputError("kernels", list(config.kernels), cure)
    if NTK not in config.kernels and max(config.epochs):
        raise InputError("kernels", list(config.kernels), "add ntk, which trained networks have")
    for name in ("batch_norms", "epochs", "kernels"):
        given = getattr(config, name)
        if not given or len(set(given)) < len(given):
            raise InputError(name, list(given), "give at least one, and none twice")
    if min(config.epochs) < 0:
        raise InputError("epochs", list(config.epochs), "count from 0, before any training")
    check_seed("seed", config.seed)
    at_least = {"chunk": 1, "num_seeds": 1, "validation_images": 0}
    optional = {"train_images": 2, "image_size": 4, "schedule_epochs": max(config.epochs)}
    for name, least in (at_least | optional).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise InputError(name, value, f"give at least {least}")
    _ = config.training
