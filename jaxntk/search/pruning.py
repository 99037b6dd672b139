"""Pruning a supernet by importance: on every edge the least important operation goes, by rounds.

A supernet has all operations on every edge; a mask says which are left. Each round asks for the
score of every supernet with one operation less, and takes from each edge the operation without
which the score is highest, until one operation is left on each.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from jaxntk.errors import InputError
from jaxntk.search.algorithm import finite_or_worst

Mask = Bool[Array, "edges ops"]


class Pruning(NamedTuple):
    """A search among supernets, as three pure functions.

    Args:
        rounds: until one operation is left on each edge.
        init: ``() -> mask``, with every operation.
        ask: ``mask -> (masks (edges * ops, edges, ops), wanted (edges * ops,))``: for each
            operation the supernet without it, and whether its score is wanted: not where it is gone
            already or the last on its edge.
        tell: ``(mask, scores (edges * ops,)) -> mask``; scores that are not wanted do not count.
        result: ``mask -> genes``: the operation that is left on each edge; the first, where several
            are.
    """

    rounds: int
    init: Callable[[], Mask]
    ask: Callable[[Mask], tuple[Bool[Array, "candidates edges ops"], Bool[Array, " candidates"]]]
    tell: Callable[[Mask, Float[Array, " candidates"]], Mask]
    result: Callable[[Mask], Int32[Array, " edges"]]


def pruning(edges: int, ops: int) -> Pruning:
    """Makes the search.

    Args:
        edges: of the supernet.
        ops: operations on each.

    Returns:
        The search. A supernet whose score is not finite is worse than any other, so that an
        operation without which the score fails stays as long as another one can go.

    Raises:
        InputError: no edge, or nothing to choose on it.

    Source:
        Chen, Gong, Wang, "Neural architecture search on ImageNet in four GPU hours" (TE-NAS), ICLR
        2021, arXiv 2102.11535, algorithm 1; there the score is a sum of ranks by two metrics.

    Example:
        >>> search = pruning(1, 3)
        >>> mask = search.init()
        >>> for _ in range(search.rounds):
        ...     masks, wanted = search.ask(mask)
        ...     mask = search.tell(mask, masks[:, 0, 1].astype(float))  # the more with operation 1
        >>> search.result(mask).tolist()
        [1]
    """
    if edges < 1 or ops < 2:
        raise InputError("ops", f"{edges} edges of {ops}", "give at least 1 edge of 2 operations")

    def init() -> Array:
        return jnp.ones((edges, ops), bool)

    def ask(mask: Array) -> tuple[Array, Array]:
        each = jnp.eye(edges * ops, dtype=bool).reshape(-1, edges, ops)
        several = mask.sum(axis=1, keepdims=True) > 1
        return mask[None] & ~each, (mask & several).reshape(-1)

    def tell(mask: Array, scores: Array) -> Array:
        _, wanted = ask(mask)
        without = finite_or_worst(scores).reshape(edges, ops)
        # Failures are above what is not wanted at all.
        lowest = jnp.finfo(without.dtype).min
        order = jnp.where(wanted.reshape(edges, ops), jnp.maximum(without, lowest), -jnp.inf)
        gone = jnp.arange(ops)[None] == jnp.argmax(order, axis=1)[:, None]
        several = mask.sum(axis=1, keepdims=True) > 1
        return mask & ~(gone & several)

    def result(mask: Array) -> Array:
        return jnp.argmax(mask, axis=1).astype(jnp.int32)

    return Pruning(ops - 1, init, ask, tell, result)
