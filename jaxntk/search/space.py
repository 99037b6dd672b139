"""What a search can choose from, and how it draws and varies what it may choose.

An architecture is a vector of genes (:mod:`jaxntk.spaces.genes`). A limit is a predicate. A child
is varied `tries` times and the first that is admitted is taken, or its parent where none is; a
random architecture is drawn until one is admitted, so that all of these are equally likely, and
only after `SEARCHED` draws in vain is it one that is known to be admitted. So nothing that is not
admitted is ever asked for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int32, PRNGKeyArray

from jaxntk.errors import InputError
from jaxntk.spaces import genes

Arch: TypeAlias = Int32[Array, " genes"]
Admits = Callable[[Arch], Bool[Array, ""]]

SEARCHED = 100_000
"""Architectures that are drawn in vain before a limit is called impossible, or a draw given up."""


@dataclass(frozen=True)
class SearchSpace:
    """Vectors of genes, and which of them may be chosen.

    Args:
        sizes: options of each gene.
        active: genes of an architecture that a mutation may change; None for all.
        admits: whether an architecture may be chosen, pure JAX; None for all.
        fallback: an architecture that may be, where ``admits`` is given; see :func:`limited`.
        tries: how often a child is varied before it is its parent.
    """

    sizes: tuple[int, ...]
    active: Callable[[Arch], Bool[Array, " genes"]] | None = None
    admits: Admits | None = None
    fallback: tuple[int, ...] | None = None
    tries: int = 32

    def __post_init__(self) -> None:
        """Refuses a space without a choice.

        Raises:
            InputError: a gene without options, no try, limits without a fallback, or a fallback
                that is not within them.
        """
        if not self.sizes or min(self.sizes) < 1:
            raise InputError("sizes", list(self.sizes), "give at least one option a gene")
        if self.tries < 1:
            raise InputError("tries", self.tries, "give at least 1")
        if (self.admits is None) != (self.fallback is None):
            cure = "make a limited space with jaxntk.search.limited"
            raise InputError("fallback", self.fallback, cure)
        if self.admits is not None and self.fallback is not None:
            arch = genes.check_one(self.fallback, self.sizes, "fallback")
            if not self.admits(jnp.asarray(arch)):
                cure = "give an architecture that is within the limits"
                raise InputError("fallback", list(self.fallback), cure)


def limited(space: SearchSpace, admits: Admits, key: PRNGKeyArray) -> SearchSpace:
    """Limits a space to what a predicate admits.

    Args:
        space: the space, without limits.
        admits: pure JAX: whether an architecture may be chosen.
        key: a JAX random key, to look for a first one that may be.

    Returns:
        The limited space.

    Raises:
        InputError: the space has limits already, or of `SEARCHED` architectures none was admitted.
    """
    if space.admits is not None:
        raise InputError("space", "one with limits", "join both limits in one predicate")
    look = jax.jit(jax.vmap(admits))
    sizes = jnp.asarray(space.sizes, jnp.int32)
    chunk = 10_000
    for at in range(SEARCHED // chunk):
        shape = (chunk, len(space.sizes))
        drawn = jax.random.randint(
            jax.random.fold_in(key, at), shape, 0, sizes[None], dtype=jnp.int32
        )
        there = np.flatnonzero(np.asarray(look(drawn)))
        if there.size:
            fallback = tuple(np.asarray(drawn[there[0]]).tolist())
            return replace(space, admits=admits, fallback=fallback)
    cure = "widen the limits: there may be no such architecture"
    raise InputError("limits", f"none of {SEARCHED:,} architectures within them", cure)


def draw(key: PRNGKeyArray, space: SearchSpace) -> Arch:
    """Draws an architecture that may be chosen, all of them with equal probability.

    Args:
        key: a JAX random key.
        space: the space.

    Returns:
        The architecture.
    """
    sizes = jnp.asarray(space.sizes, jnp.int32)

    def one(key: PRNGKeyArray) -> Arch:
        return jax.random.randint(key, sizes.shape, 0, sizes, dtype=jnp.int32)

    if space.admits is None:
        return one(key)

    def look(state: tuple[Array, Array, Arch]) -> tuple[Array, Array, Arch]:
        round_, _, arch = state
        found, drawn = _first_admitted(jax.random.fold_in(key, round_), space, one)
        return round_ + 1, found, jnp.where(found, drawn, arch)

    found, drawn = _first_admitted(key, space, one)
    known = jnp.asarray(space.fallback, jnp.int32)
    start = jnp.asarray(1, jnp.int32), found, jnp.where(found, drawn, known)
    rounds = -(-SEARCHED // space.tries)
    return lax.while_loop(lambda state: ~state[1] & (state[0] < rounds), look, start)[2]


def mutated(key: PRNGKeyArray, space: SearchSpace, parent: Arch) -> Arch:
    """Changes one gene of an architecture, so that the child may be chosen.

    Args:
        key: a JAX random key.
        space: the space.
        parent: an architecture that may be chosen.

    Returns:
        The child; the parent where no try is admitted.
    """
    active = None if space.active is None else space.active(parent)

    def one(key: PRNGKeyArray) -> Arch:
        return genes.mutate(key, parent, space.sizes, active)

    return _admitted(key, space, one, parent)


def crossed(key: PRNGKeyArray, space: SearchSpace, a: Arch, b: Arch) -> Arch:
    """Takes each gene from one of two parents, so that the child may be chosen.

    Args:
        key: a JAX random key.
        space: the space.
        a: an architecture that may be chosen.
        b: another one.

    Returns:
        The child; the first parent where no try is admitted.
    """
    return _admitted(key, space, lambda key: genes.crossover(key, a, b), a)


def code_of(archs: Int32[Array, "*batch genes"], sizes: Sequence[int]) -> Int32[Array, "*batch"]:
    """Numbers architectures from 0, the last gene changing fastest.

    Args:
        archs: encodings.
        sizes: options of each gene; their product fits 32 bits.

    Returns:
        The number of each.

    Raises:
        InputError: more architectures than 32 bits can number.

    Example:
        >>> code_of(jnp.array([[0, 0], [1, 2]], jnp.int32), (2, 3)).tolist()
        [0, 5]
    """
    if math.prod(sizes) > np.iinfo(np.int32).max:
        raise InputError("sizes", list(sizes), "give a space of fewer than 2^31 architectures")
    places = [math.prod(sizes[at + 1 :]) for at in range(len(sizes))]
    weights = jnp.asarray(places, jnp.int32).reshape((1,) * (archs.ndim - 1) + (-1,))
    return (archs * weights).sum(axis=-1, dtype=jnp.int32)


def _admitted(
    key: PRNGKeyArray, space: SearchSpace, one: Callable[[PRNGKeyArray], Arch], otherwise: Arch
) -> Arch:
    if space.admits is None:
        return one(key)
    found, arch = _first_admitted(key, space, one)
    return jnp.where(found, arch, otherwise)


def _first_admitted(
    key: PRNGKeyArray, space: SearchSpace, one: Callable[[PRNGKeyArray], Arch]
) -> tuple[Bool[Array, ""], Arch]:
    """Tries a few times; says whether any is admitted, and returns the first that is."""
    tried = jax.vmap(one)(jax.random.split(key, space.tries))
    fine = jnp.ones(space.tries, bool) if space.admits is None else jax.vmap(space.admits)(tried)
    return fine.any(), tried[jnp.argmax(fine)]
