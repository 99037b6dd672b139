"""Recipes: how networks are trained, as one frozen record, and the optimiser it stands for."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import optax

from jaxntk.errors import InputError, check_choice

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["constant", "cosine"]
Augmentation = Literal["none", "crop", "crop_flip"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How networks are trained; the defaults are those of the LGA paper.

    Args:
        optimizer: ``sgd`` with heavy-ball momentum, or ``adamw``.
        schedule: of the learning rate: ``constant``, or ``cosine`` down to 0 at the last step.
        learning_rate: at the start.
        momentum: of ``sgd``.
        nesterov: whether ``sgd`` looks ahead.
        weight_decay: of ``sgd``, added to the gradient, times the parameter; of ``adamw``, taken
            from the parameter itself. Of every parameter, biases included.
        batch_size: images a step; the last incomplete batch of an epoch is dropped.
        augmentation: ``crop`` shifts images by up to ``pad`` pixels, zeros coming in;
            ``crop_flip`` also mirrors half of them.
        pad: largest shift.

    Source:
        Mok, Na, Kim, Han, Yoon, "Demystifying the neural tangent kernel from a practical
        perspective", CVPR 2022, arXiv 2203.14577, section 4.

    Example:
        >>> Recipe().learning_rate, RECIPES["nasbench201"].schedule
        (0.025, 'cosine')
    """

    optimizer: Optimizer | str = "sgd"
    schedule: Schedule | str = "constant"
    learning_rate: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    batch_size: int = 1024
    augmentation: Augmentation | str = "crop_flip"
    pad: int = 4

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, get_args(Optimizer))
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_choice("augmentation", self.augmentation, get_args(Augmentation))
        for argument in ("learning_rate", "batch_size"):
            if not getattr(self, argument) > 0:
                raise InputError(argument, getattr(self, argument), "give a number above 0")
        for argument in ("momentum", "weight_decay", "pad"):
            if not getattr(self, argument) >= 0:
                raise InputError(argument, getattr(self, argument), "give 0 or more")


RECIPES = {
    "lga": Recipe(),
    "nasbench201": Recipe(
        schedule="cosine", learning_rate=0.1, nesterov=True, weight_decay=5e-4, batch_size=256
    ),
    "adamw": Recipe(
        optimizer="adamw", schedule="cosine", learning_rate=1e-3, weight_decay=0.05, batch_size=256
    ),
}
"""Named recipes: the LGA paper's, the benchmark's own (Dong & Yang, ICLR 2020), and AdamW."""


def named_recipe(name: str, **changes: object) -> Recipe:
    """Returns a recipe by its name, with some fields changed.

    Args:
        name: one of ``RECIPES``.
        changes: fields of :class:`Recipe`.

    Returns:
        The recipe.

    Raises:
        InputError: an unknown name, or a field out of range.

    Example:
        >>> named_recipe("lga", batch_size=64).batch_size
        64
    """
    check_choice("recipe", name, tuple(RECIPES))
    return dataclasses.replace(RECIPES[name], **changes)  # pyright: ignore[reportArgumentType]


def make_optimizer(recipe: Recipe, steps: int) -> optax.GradientTransformation:
    """Returns the optimiser of a recipe.

    Args:
        recipe: the recipe.
        steps: of the whole training, at the last of which the cosine schedule reaches 0.

    Returns:
        The optimiser.

    Raises:
        InputError: ``steps`` is below 1.
    """
    if steps < 1:
        raise InputError("steps", steps, "give at least 1")
    rate: optax.ScalarOrSchedule = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = optax.cosine_decay_schedule(recipe.learning_rate, steps)
    if recipe.optimizer == "adamw":
        return _promoting(optax.adamw(rate, weight_decay=recipe.weight_decay))
    chained = optax.chain(
        optax.add_decayed_weights(recipe.weight_decay),
        optax.sgd(rate, recipe.momentum, recipe.nesterov),
    )
    return _promoting(chained)


def _promoting(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Lets optax multiply its step counter, an integer, with a float where JAX forbids that."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(updates, state, params)

    return optax.GradientTransformation(optimizer.init, update)
