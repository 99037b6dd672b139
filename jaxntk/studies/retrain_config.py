"""The configuration of a training of one architecture to its end."""

from dataclasses import dataclass, fields
from typing import Any

from jaxntk.data import digits_vit
from jaxntk.data.digits_vit import NETWORK
from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.runs.config import Config
from jaxntk.spaces.registry import DIGITS_VIT, NASBENCH201, PIT, SPACES
from jaxntk.studies.config import check_seed
from jaxntk.training.recipe import RECIPES, Recipe, named_recipe


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(Config):
    """Train one architecture to the end, such as the one that a search has found."""

    space: str = NASBENCH201
    """What the architecture is from: nasbench201, autoformer-tiny, -small, -base, -vitbench101,
    digits-vit or pit."""
    arch: str
    """A cell as six digits or as the benchmark writes it, a transformer as its space writes it."""
    data: str
    """Images: npz:FILE, tfds:NAME, digits or digits201."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    epochs: int = 200
    """Passes over the training images."""
    recipe: str | None = None
    """nasbench201, lga or adamw; by default nasbench201 for cells, adamw for transformers."""
    batch_size: int | None = None
    """Images a step; by default the recipe's, as are the next four."""
    learning_rate: float | None = None
    """At the start."""
    weight_decay: float | None = None
    """Of every parameter."""
    augmentation: str | None = None
    """none, crop or crop_flip."""
    pad: int | None = None
    """Largest shift of a crop, pixels."""
    channels: int = 16
    """Of a cell's network, in its first stage."""
    cells_per_stage: int = 5
    """Of a cell's network."""
    patch_size: int | None = None
    """Of a transformer, pixels, by default 2 in the space digits-vit and 4 in others; those of pit
    overlap by half."""
    train_images: int | None = None
    """Training images that are used, the first ones; by default all."""
    validation_images: int = 0
    """Of data without a validation set: training images kept for it, the last ones."""
    image_size: int | None = None
    """Pixels that images are averaged down to; by default they stay as they are."""
    seed: int = 0
    """Of weights, order of images and augmentation."""
    dtype: str = "float32"
    """float32 or float64."""
    truth: str | None = None
    """Accuracy in a benchmark table to hold the result against: of cells digits201/test or such as
    cifar10/test/200, in the space digits-vit digits_vit/test, of any space a CSV file with columns
    arch and accuracy."""
    table: str | None = None
    """NAS-Bench-201's table; by default looked for in data_dir."""

    @property
    def patch(self) -> int:
        """Patches of a transformer, with the default filled in."""
        return self.patch_size or (NETWORK["patch_size"] if self.space == DIGITS_VIT else 4)

    @property
    def training(self) -> Recipe:
        """How the network is trained."""
        names = ("batch_size", "learning_rate", "weight_decay", "augmentation", "pad")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in given.items() if value is not None}
        recipe = self.recipe or ("nasbench201" if self.space == NASBENCH201 else "adamw")
        return named_recipe(recipe, **changes)


def validate_retrain(config: RetrainConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_choice("space", config.space, SPACES)
    SPACES[config.space].read(config.arch)
    check_choice("dtype", config.dtype, ("float32", "float64"))
    if config.recipe is not None:
        check_choice("recipe", config.recipe, tuple(RECIPES))
    _ = config.training
    check_seed("seed", config.seed)
    at_least = {"epochs": 1, "channels": 1, "cells_per_stage": 1, "validation_images": 0}
    optional = {"train_images": 2, "image_size": 4, "patch_size": 2 if config.space == PIT else 1}
    for name, least in (at_least | optional).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise InputError(name, value, f"give at least {least}")
    _refuse_fields_of_others(config)
    if config.truth is not None:
        _check_truth(config, config.truth)


def _check_truth(config: RetrainConfig, truth: str) -> None:
    """Refuses a table that does not hold the network.

    Raises:
        InputError: it is a table of other networks, or not one at all.
    """
    check_truth("truth", truth, SPACES[config.space])
    if truth in digits_vit.TRUTHS:
        same = config.data == "digits" and config.image_size in (None, NETWORK["image_size"])
        if not same or config.patch != NETWORK["patch_size"]:
            cure = "leave it out: the table is of --data digits at their own size, in patches of 2"
            raise InputError("truth", f"{truth} for other images or patches", cure)


def _refuse_fields_of_others(config: RetrainConfig) -> None:
    """Refuses sizes that networks of the space do not have, where they were given."""
    # PiT's patches overlap, and its counts are of its own only.
    own = {*SPACES[config.space].network, *(["patch_size"] if config.space == PIT else [])}
    known = {name for space in SPACES.values() for name in space.network}
    for field in fields(config):
        if field.name in known - own and getattr(config, field.name) != field.default:
            cure = f"leave it out: networks of {config.space} have none"
            raise InputError(field.name, getattr(config, field.name), cure)
