"""Initialisations of convolutions and classifiers, by name.

``pytorch`` is what ``torch.nn.Conv2d`` and ``torch.nn.Linear`` do by default and what NAS-Bench-201
was trained from: kernels and biases uniform in +-1 / sqrt(fan_in), that is a variance of
1 / (3 fan_in). ``he_normal`` (He et al. 2015, arXiv 1502.01852) draws kernels from a normal of
variance 2 / fan_in, ``lecun_normal`` (LeCun et al. 1998) of variance 1 / fan_in; both with zero
biases and not truncated.

Values are those of Flax's initialisers to the last bit, drawn by programs that compile fast
(:func:`~jaxntk.networks.drawing.draw_row`).
"""

import math
from functools import cache
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

from jaxntk.errors import check_choice
from jaxntk.networks.drawing import draw_row


class Initialization(NamedTuple):
    """How kernels are drawn, and how biases are, given the fan-in of their kernel."""

    kernel: nn.initializers.Initializer
    bias_limit_per_sqrt_fan_in: float

    def bias(self, fan_in: int) -> nn.initializers.Initializer:
        """Returns the initialiser of a bias that belongs to a kernel of that fan-in."""
        limit = self.bias_limit_per_sqrt_fan_in / fan_in**0.5

        def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
            return draw_row(_uniform, key, shape, dtype, -limit, limit, 1.0)

        return init


def normal(spread: float) -> nn.initializers.Initializer:
    """Returns the initialiser that draws from a normal distribution.

    Args:
        spread: its standard deviation.

    Returns:
        The initialiser.
    """
    row = nn.initializers.normal(spread)

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return draw_row(row, key, shape, dtype)

    return init


def _uniform_kernel(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    # Rounded at each step as variance_scaling(1 / 3, "fan_in", "uniform") does.
    variance = np.asarray(1 / 3 / math.prod(shape[:-1]), dtype)
    scale = np.asarray(np.sqrt(3 * variance))
    return draw_row(_uniform, key, shape, dtype, -1.0, 1.0, scale)


def _normal_kernel(gain: float) -> nn.initializers.Initializer:
    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return draw_row(_normal_of_variance(gain / math.prod(shape[:-1])), key, shape, dtype)

    return init


def _uniform(
    key: Array,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    low: ArrayLike,
    high: ArrayLike,
    scale: ArrayLike,
) -> Array:
    return jax.random.uniform(key, shape, dtype, low, high) * jnp.asarray(scale, dtype)


@cache
def _normal_of_variance(variance: float) -> nn.initializers.Initializer:
    # A constant of the program: XLA rounds a product with a number it does not know differently.
    scaled = nn.initializers.variance_scaling(variance, "fan_in", "normal")

    def row(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return scaled(key, (1, *shape), dtype)[0]

    return row


INITIALIZATIONS: dict[str, Initialization] = {
    "pytorch": Initialization(_uniform_kernel, 1.0),
    "he_normal": Initialization(_normal_kernel(2.0), 0.0),
    "lecun_normal": Initialization(_normal_kernel(1.0), 0.0),
}


def initialization(name: str) -> Initialization:
    """Looks an initialisation up by name.

    Args:
        name: ``pytorch``, ``he_normal`` or ``lecun_normal``.

    Returns:
        The initialisation.

    Raises:
        InputError: there is none of that name.
    """
    check_choice("initializer", name, INITIALIZATIONS)
    return INITIALIZATIONS[name]
