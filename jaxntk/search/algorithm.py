"""One interface for every search: three pure functions, and a loop over them.

``init(key) -> state``, ``ask(state) -> (archs, state)``, ``tell(state, archs, scores) -> state``:
ask, score what was asked for, tell. A state is a tree of arrays, so that searches run under
``jit``, in ``lax.scan``, and many at once under ``vmap`` over keys; a Python loop around slow
objectives gives the same history. Larger scores are better. A score that is not finite is a
failure: it is worse than any other and is never the best.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32, Key, PRNGKeyArray

from jaxntk.errors import InputError

State = Any
Objective = Callable[[Int32[Array, "batch genes"]], Float[Array, " batch"]]


class Search(NamedTuple):
    """A search.

    Args:
        batch: architectures asked for at a time.
        init: ``key -> state``.
        ask: ``state -> (archs (batch, genes), state)``.
        tell: ``(state, archs, scores (batch,)) -> state``.
    """

    batch: int
    init: Callable[[PRNGKeyArray], State]
    ask: Callable[[State], tuple[Int32[Array, "batch genes"], State]]
    tell: Callable[[State, Int32[Array, "batch genes"], Float[Array, " batch"]], State]


class History(NamedTuple):
    """Everything a search asked for, in this order.

    Args:
        archs: the architectures.
        scores: what they were told to be worth.
    """

    archs: Int32[Array, "*searches evaluations genes"]
    scores: Float[Array, "*searches evaluations"]


def finite_or_worst(scores: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Makes failures worse than anything.

    Args:
        scores: larger is better.

    Returns:
        The scores, minus infinity where they are not finite.

    Example:
        >>> finite_or_worst(jnp.array([1.0, jnp.nan, jnp.inf])).tolist()
        [1.0, -inf, -inf]
    """
    return jnp.where(jnp.isfinite(scores), scores, -jnp.inf)


def best_so_far(scores: Float[Array, "*shape evaluations"]) -> Float[Array, "*shape evaluations"]:
    """Returns the best score after each evaluation.

    Args:
        scores: larger is better.

    Returns:
        The running maximum, minus infinity until one is finite.

    Example:
        >>> best_so_far(jnp.array([jnp.nan, 1.0, 0.5, 2.0])).tolist()
        [-inf, 1.0, 1.0, 2.0]
    """
    return lax.cummax(finite_or_worst(scores), axis=scores.ndim - 1)


def run_search(
    search: Search, objective: Objective, key: PRNGKeyArray, evaluations: int
) -> History:
    """Runs a search whose objective is pure JAX; to be compiled, or mapped over keys.

    Args:
        search: the search.
        objective: ``archs -> scores``, such as a look-up in a table.
        key: a JAX random key.
        evaluations: architectures that are asked for; the last batch may be cut.

    Returns:
        The history.

    Raises:
        InputError: fewer than one evaluation.
    """
    if evaluations < 1:
        raise InputError("evaluations", evaluations, "give at least 1")

    def step(state: State, _: None) -> tuple[State, History]:
        archs, state = search.ask(state)
        scores = objective(archs)
        return search.tell(state, archs, scores), History(archs, scores)

    rounds = -(-evaluations // search.batch)
    _, history = lax.scan(step, search.init(key), None, length=rounds)
    archs = history.archs.reshape(rounds * search.batch, -1)
    return History(archs[:evaluations], history.scores.reshape(-1)[:evaluations])


def run_searches(
    search: Search, objective: Objective, keys: Key[Array, " searches"], evaluations: int
) -> History:
    """Runs many independent searches at once.

    Args:
        search: the search.
        objective: ``archs -> scores``, pure JAX.
        keys: a JAX random key for each.
        evaluations: of each.

    Returns:
        The histories, an entry a key.

    Raises:
        InputError: fewer than one evaluation.
    """
    return jax.jit(jax.vmap(lambda key: run_search(search, objective, key, evaluations)))(keys)
