"""The configuration of a training of one architecture to its end."""

from dataclasses import dataclass
from typing import Any

from jaxntk.data.truths import check_networks, check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.networks.registry import FAMILIES, check_space
from jaxntk.runs.config import Config
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.config import SIZES, check_seed, check_sizes
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
    channels: int | None = None
    """Of cells: channels of the stem and the first stage; by default 16."""
    cells_per_stage: int | None = None
    """Of cells: how many each of the three stages has; by default 5."""
    initializer: str | None = None
    """Of cells: pytorch (the default), he_normal or lecun_normal."""
    patch_size: int | None = None
    """Of transformers: pixels of a patch; by default 2 in the space digits-vit, 16 in others; those
    of pit overlap by half."""
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
    def sizes(self) -> dict[str, Any]:
        """Sizes of the network by name, with the defaults of the space filled in."""
        given = {name: getattr(self, name, None) for name in SIZES}
        return FAMILIES[self.space].complete(given)

    @property
    def training(self) -> Recipe:
        """How the network is trained."""
        names = ("batch_size", "learning_rate", "weight_decay", "augmentation", "pad")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in given.items() if value is not None}
        return named_recipe(self.recipe or FAMILIES[self.space].recipe, **changes)


def validate_retrain(config: RetrainConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_space(config.space)
    SPACES[config.space].read(config.arch)
    check_choice("dtype", config.dtype, ("float32", "float64"))
    if config.recipe is not None:
        check_choice("recipe", config.recipe, tuple(RECIPES))
    _ = config.training
    check_seed("seed", config.seed)
    check_sizes(config.sizes)
    at_least = {"epochs": 1, "validation_images": 0}
    optional = {"train_images": 2, "image_size": 4}
    for name, least in (at_least | optional).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise InputError(name, value, f"give at least {least}")
    if config.truth is not None:
        space = SPACES[config.space]
        check_truth("truth", config.truth, space)
        networks = (config.sizes, config.data, config.image_size)
        check_networks("truth", config.truth, space, *networks)
