"""Recipes against updates written by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.training.recipe import RECIPES, Recipe, make_optimizer, named_recipe

RATE, MOMENTUM, DECAY, STEPS = 0.1, 0.8, 0.3, 5
GRADS = (0.5, -1.0, 0.25, 2.0, -0.5)


def run(recipe):
    optimizer = make_optimizer(recipe, STEPS)
    weight = jnp.float64(2.0)
    state = optimizer.init(weight)
    for grad in GRADS:
        update, state = optimizer.update(jnp.float64(grad), state, weight)
        weight = weight + update
    return float(weight)


def by_hand(rate_at, nesterov):
    weight, velocity = 2.0, 0.0
    for step, grad in enumerate(GRADS):
        slope = grad + DECAY * weight
        velocity = MOMENTUM * velocity + slope
        moved = slope + MOMENTUM * velocity if nesterov else velocity
        weight -= rate_at(step) * moved
    return weight


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    ("schedule", "rate_at"),
    [
        ("constant", lambda step: RATE),
        ("cosine", lambda step: RATE * (1 + np.cos(np.pi * step / STEPS)) / 2),
    ],
)
def test_sgd_is_the_textbook_update(schedule, rate_at, nesterov):
    recipe = Recipe(
        schedule=schedule,
        learning_rate=RATE,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        nesterov=nesterov,
    )
    assert run(recipe) == pytest.approx(by_hand(rate_at, nesterov), rel=1e-6)


def test_adamw_is_the_textbook_update():
    recipe = Recipe(optimizer="adamw", learning_rate=RATE, weight_decay=DECAY)
    weight, first, second = 2.0, 0.0, 0.0
    for step, grad in enumerate(GRADS, start=1):
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        scaled = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        weight -= RATE * (scaled + DECAY * weight)
    assert run(recipe) == pytest.approx(weight, rel=1e-6)


def test_the_default_is_that_of_the_lga_paper():
    assert RECIPES["lga"] == Recipe(
        optimizer="sgd",
        schedule="constant",
        learning_rate=0.025,
        momentum=0.9,
        weight_decay=3e-4,
        batch_size=1024,
        augmentation="crop_flip",
        pad=4,
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer": "sdg"}, "optimizer"),
        ({"schedule": "step"}, "schedule"),
        ({"augmentation": "flip"}, "augmentation"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"momentum": -0.1}, "momentum"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"pad": -1}, "pad"),
    ],
)
def test_what_is_out_of_range_is_refused(changes, named):
    with pytest.raises(InputError, match=named):
        named_recipe("lga", **changes)


def test_unknown_recipes_and_no_steps_are_refused():
    with pytest.raises(InputError, match="recipe"):
        named_recipe("lag")
    with pytest.raises(InputError, match="steps"):
        make_optimizer(Recipe(), 0)
