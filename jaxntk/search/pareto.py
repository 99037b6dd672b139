"""Several goals at once: which architectures no other one beats in all of them."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from jaxntk.search.algorithm import finite_or_worst


def dominates(values_NxM: Float[Array, "n m"]) -> Bool[Array, "n n"]:
    """Tells which points are at least as good in every goal, and better in one.

    Args:
        values_NxM: larger is better; a point with a value that is not finite is worse than any
            other in all goals.

    Returns:
        Entry (i, j): whether i dominates j.
    """
    failed = ~jnp.isfinite(values_NxM).all(axis=1, keepdims=True)
    values = jnp.where(failed, -jnp.inf, finite_or_worst(values_NxM))
    mine, other = values[:, None, :], values[None, :, :]
    return (mine >= other).all(axis=-1) & (mine > other).any(axis=-1)


def front_numbers(values_NxM: Float[Array, "n m"]) -> Int32[Array, " n"]:
    """Sorts points into fronts: 0 what nothing dominates, 1 what only those do, and so on.

    Args:
        values_NxM: larger is better.

    Returns:
        The front of each point.

    Source:
        Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm:
        NSGA-II", IEEE Trans. Evolutionary Computation 2002, section III-A.

    Example:
        >>> front_numbers(jnp.array([[1.0, 3.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
        [0, 0, 1]
    """
    beaten = dominates(values_NxM)

    def peel(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        fronts, number = carry
        left = fronts < 0
        free = left & ~(beaten & left[:, None]).any(axis=0)
        return jnp.where(free, number, fronts), number + 1

    start = (jnp.full(len(values_NxM), -1, jnp.int32), jnp.int32(0))
    return lax.while_loop(lambda carry: (carry[0] < 0).any(), peel, start)[0]


def pareto_front(values_NxM: Float[Array, "n m"]) -> Bool[Array, " n"]:
    """Tells which points nothing dominates and that have a finite value in every goal.

    Args:
        values_NxM: larger is better.

    Returns:
        A flag for each.

    Example:
        >>> pareto_front(jnp.array([[1.0, 3.0], [2.0, 2.0], [1.0, jnp.nan]])).tolist()
        [True, True, False]
    """
    finite = jnp.isfinite(values_NxM).all(axis=1)
    return finite & ~dominates(values_NxM).any(axis=0)
