"""Training of networks that take their architecture as an input."""

from jaxntk.training.evaluate import make_evaluation
from jaxntk.training.linearized import linearized_training
from jaxntk.training.population import Training, TrainState, population_training, steps_of
from jaxntk.training.recipe import RECIPES, Recipe, named_recipe

__all__ = [
    "RECIPES",
    "Recipe",
    "TrainState",
    "Training",
    "linearized_training",
    "make_evaluation",
    "named_recipe",
    "population_training",
    "steps_of",
]
