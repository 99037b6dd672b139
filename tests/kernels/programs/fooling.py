"""What programs that are made to fool are built of, and tables of them."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import Program

WIDE = {"param_dtype": "float64", "dtype": "float64"}
NARROW = 1e-5
TINY = 2e-2


class Fooling(dict[str, Callable[[], Program]]):
    """Small programs made to fool whatever follows parameters through a program, by name."""

    def add(self, name: str, tolerance: float = 1e-9) -> Callable:
        """Adds a function that gives a function, its parameters and its inputs."""
        assert name not in self, name

        def keep(make: Callable) -> Callable:
            @functools.wraps(make)
            def made() -> Program:
                f, params, x = make()
                return Program(f, jax.tree.map(_array, params), x, name, tolerance)

            self[name] = made
            return make

        return keep

    def simple(self, name: str, f: Callable, params: Any = None, x: Any = None) -> None:
        """Adds a function of two square matrices, or of other parameters, at vectors."""
        self.add(name)(lambda: (f, (params or square)(), (x or vectors)()))


def _array(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def weights(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [0.7 * normal(100 + at, *shape) for at, shape in enumerate(shapes)]


def named(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return dict(zip(shapes, weights(*shapes.values()), strict=True))


def square() -> dict[str, np.ndarray]:
    return named(a=(3, 3), b=(3, 3))


def vectors(n: int = 4, d: int = 3) -> jax.Array:
    return jnp.asarray(normal(1, n, d))


def tokens(n: int = 4, t: int = 3, d: int = 2) -> jax.Array:
    return jnp.asarray(normal(2, n, t, d))


def images(n: int = 3, size: int = 4, channels: int = 2) -> jax.Array:
    return jnp.asarray(normal(3, n, size, size, channels))


def small_numbers(dtype: Any, *shape: int, top: int = 100) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, top, shape).astype(dtype))


def conv(x: jax.Array, w: jax.Array, strides: tuple[int, ...] = (1, 1), padding: Any = "SAME"):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers)


def mlp(p: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ p["w1"]) @ p["w2"]


def mlp_params() -> dict[str, np.ndarray]:
    return named(w1=(3, 4), w2=(4, 2))


class TwoLayers(nn.Module):
    """A network of Flax."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="last", **WIDE)(jnp.tanh(nn.Dense(3, name="first", **WIDE)(x)))
