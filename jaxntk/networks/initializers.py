"""Initialisations of convolutions and classifiers, by name.

``pytorch`` is what ``torch.nn.Conv2d`` and ``torch.nn.Linear`` do by default and what NAS-Bench-201
was trained from: kernels and biases uniform in +-1 / sqrt(fan_in), that is a variance of
1 / (3 fan_in). ``he_normal`` (He et al. 2015, arXiv 1502.01852) draws kernels from a normal of
variance 2 / fan_in, ``lecun_normal`` (LeCun et al. 1998) of variance 1 / fan_in; both with zero
biases and not truncated.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from jaxntk.errors import check_choice


class Initialization(NamedTuple):
    """How kernels are drawn, and how biases are, given the fan-in of their kernel."""

    kernel: nn.initializers.Initializer
    bias_limit_per_sqrt_fan_in: float

    def bias(self, fan_in: int) -> nn.initializers.Initializer:
        """Returns the initialiser of a bias that belongs to a kernel of that fan-in."""
        limit = self.bias_limit_per_sqrt_fan_in / fan_in**0.5

        def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
            return jax.random.uniform(key, shape, dtype, -limit, limit)

        return init


_variance_scaling = nn.initializers.variance_scaling

INITIALIZATIONS: dict[str, Initialization] = {
    "pytorch": Initialization(_variance_scaling(1 / 3, "fan_in", "uniform"), 1.0),
    "he_normal": Initialization(_variance_scaling(2.0, "fan_in", "normal"), 0.0),
    "lecun_normal": Initialization(_variance_scaling(1.0, "fan_in", "normal"), 0.0),
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
