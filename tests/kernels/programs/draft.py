"""What all programs of this folder are, and what the random ones are drawn with."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

EXAMPLES = 4
MOST_PARAMETERS = 160


class Program(NamedTuple):
    """A function, where it is looked at, and of what it is made."""

    apply_fn: Callable[[Any, jax.Array], jax.Array]
    params: Any
    x: jax.Array
    description: str
    tolerance: float = 1e-9
    """How closely two ways of adding up can agree, relative to the largest entry."""


def is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


class Table(dict[str, tuple[tuple[int, ...], Callable[..., Any]]]):
    """What makes parts of a program, by name, with the ranks of data that it suits."""

    def add(self, name: str, *ranks: int) -> Callable:
        assert name not in self, name

        def keep(make: Callable) -> Callable:
            self[name] = (ranks, make)
            return make

        return keep


class Draft:
    """What is drawn so far.

    Numbers are generic, so that no ``floor``, ``sort`` or ``maximum`` is at a tie, where a rounding
    error would decide.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        left: int = 0,
        layers: "Table | None" = None,
        stages: "Table | None" = None,
    ):
        self.rng = rng
        self.layers, self.stages = layers or Table(), stages or Table()
        self.leaves: list[Any] = []
        self.notes: list[str] = []
        self.again = 0.25
        """How likely a weight is one that was used before."""
        self.left = left
        """Layers to come before only simple ones do, so that a program compiles in a second."""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.rng.integers(len(choices))]

    def pick_noted(self, choices: dict[str, Any]) -> Any:
        name = self.pick(list(choices))
        self.note(name)
        return choices[name]

    def upto(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, most + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def constant(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape)

    def parameter(self, *shape: int) -> int:
        self.leaves.append(self.rng.normal(size=shape) * 0.6 + self.rng.uniform(-0.2, 0.2, shape))
        return len(self.leaves) - 1

    def known(self) -> list[int]:
        return [at for at, leaf in enumerate(self.leaves) if is_float(leaf)]

    def room(self, *shape: int) -> bool:
        taken = sum(self.leaves[at].size for at in self.known())
        return taken + math.prod(shape) <= MOST_PARAMETERS

    def permutation(self, items: str) -> str:
        return "".join(self.rng.permutation(list(items)))


def offset(h: jax.Array, by: np.ndarray) -> jax.Array:
    """Makes numbers generic that may be equal: padding, repeated tokens."""
    return h + by.reshape(h.shape[1:])


def product(h: jax.Array, matrix: np.ndarray) -> jax.Array:
    """What a maximum can be taken of. Any sum would be computed once more for the derivative, with
    another rounding: then no entry equals the maximum, and the derivative is 0 / 0."""
    return h @ matrix


def over(w: jax.Array, h: jax.Array) -> jax.Array:
    """Gives a weight the axes of the data."""
    return w.reshape(*[1] * (h.ndim - w.ndim), *w.shape)
