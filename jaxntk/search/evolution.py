"""Random search, regularised evolution and a genetic algorithm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from jaxntk.errors import InputError
from jaxntk.search.algorithm import Search, finite_or_worst
from jaxntk.search.space import SearchSpace, crossed, draw, mutated


class Population(NamedTuple):
    """Where a search stands.

    Args:
        key: what is drawn next.
        archs: the population; what it was not told yet is zeros.
        scores: minus infinity for failures and for what was not told yet.
        told: architectures told so far.
    """

    key: PRNGKeyArray
    archs: Int32[Array, "size genes"]
    scores: Float[Array, " size"]
    told: Int32[Array, ""]


def random_search(space: SearchSpace, *, batch: int = 1) -> Search:
    """Draws architectures uniformly; the baseline of every other search.

    Args:
        space: what can be chosen.
        batch: architectures asked for at a time.

    Returns:
        The search.

    Raises:
        InputError: no architecture.
    """
    _at_least_one(batch=batch)

    def init(key: PRNGKeyArray) -> PRNGKeyArray:
        return key

    def ask(key: PRNGKeyArray) -> tuple[Array, PRNGKeyArray]:
        key, sub = jax.random.split(key)
        return _draw_all(sub, space, batch), key

    def tell(key: PRNGKeyArray, archs: Array, scores: Array) -> PRNGKeyArray:
        return key

    return Search(batch, init, ask, tell)


def regularised_evolution(
    space: SearchSpace, *, population: int = 50, sample: int = 10, dtype: str = "float32"
) -> Search:
    """Mutates the best of a random sample of the population; the oldest dies.

    The first architectures, as many as the population holds, are random.

    Args:
        space: what can be chosen.
        population: architectures that live.
        sample: drawn with replacement, of which the best is the parent.
        dtype: of scores.

    Returns:
        The search; it asks for one architecture at a time.

    Raises:
        InputError: a size below 1.

    Source:
        Real, Aggarwal, Huang, Le, "Regularized evolution for image classifier architecture search",
        AAAI 2019, arXiv 1802.01548, algorithm 1.
    """
    _at_least_one(population=population, sample=sample)

    def init(key: PRNGKeyArray) -> Population:
        return _empty(key, space, population, dtype)

    def ask(state: Population) -> tuple[Array, Population]:
        key, first, chosen, changed = jax.random.split(state.key, 4)
        parent = state.archs[_winner(chosen, state.scores, sample)]
        child = mutated(changed, space, parent)
        arch = jnp.where(state.told < population, draw(first, space), child)
        return arch[None], state._replace(key=key)

    def tell(state: Population, archs: Array, scores: Array) -> Population:
        at = state.told % population
        return Population(
            state.key,
            state.archs.at[at].set(archs[0]),
            state.scores.at[at].set(finite_or_worst(scores[0]).astype(dtype)),
            state.told + 1,
        )

    return Search(1, init, ask, tell)


def genetic_algorithm(
    space: SearchSpace,
    *,
    population: int = 50,
    tournament: int = 3,
    elite: int = 5,
    crossover_rate: float = 0.5,
    mutation_rate: float = 0.8,
    dtype: str = "float32",
) -> Search:
    """Breeds a whole generation at once by tournaments, crossover and mutation.

    The first generation is random. The best of a generation, `elite` of them, stay in the next in
    the place of its worst children.

    Args:
        space: what can be chosen.
        population: architectures of a generation, asked for at a time.
        tournament: architectures drawn with replacement, of which the best is a parent.
        elite: architectures that live on.
        crossover_rate: part of the children with two parents.
        mutation_rate: part of the children of which one gene is changed.
        dtype: of scores.

    Returns:
        The search.

    Raises:
        InputError: a size below 1, as many elite as there are architectures, or a rate outside
            0..1.

    Source:
        Goldberg and Deb, "A comparative analysis of selection schemes used in genetic algorithms",
        FOGA 1991, for tournaments; De Jong, 1975, for the elite.
    """
    _at_least_one(population=population, tournament=tournament)
    if not 0 <= elite < population:
        raise InputError("elite", elite, f"give 0 to {population - 1}")
    for name, rate in (("crossover_rate", crossover_rate), ("mutation_rate", mutation_rate)):
        if not 0 <= rate <= 1:
            raise InputError(name, rate, "give a number between 0 and 1")

    def init(key: PRNGKeyArray) -> Population:
        return _empty(key, space, population, dtype)

    def child(key: PRNGKeyArray, state: Population) -> Array:
        one, two, mix, cross, change, mutate = jax.random.split(key, 6)
        a, b = (state.archs[_winner(each, state.scores, tournament)] for each in (one, two))
        mixed = jnp.where(
            jax.random.bernoulli(mix, jnp.float32(crossover_rate)), crossed(cross, space, a, b), a
        )
        changed = jax.random.bernoulli(change, jnp.float32(mutation_rate))
        return jnp.where(changed, mutated(mutate, space, mixed), mixed)

    def ask(state: Population) -> tuple[Array, Population]:
        key, first, breed = jax.random.split(state.key, 3)
        keys = jax.random.split(breed, population)
        children = jax.vmap(child, in_axes=(0, None))(keys, state)
        begin = _draw_all(first, space, population)
        return jnp.where(state.told == 0, begin, children), state._replace(key=key)

    def tell(state: Population, archs: Array, scores: Array) -> Population:
        fresh = finite_or_worst(scores).astype(dtype)
        return _next_generation(state, archs, fresh, elite)

    return Search(population, init, ask, tell)


def _next_generation(
    state: Population,
    archs: Int32[Array, "size genes"],
    scores: Float[Array, " size"],
    elite: int,
) -> Population:
    """Puts the elite of the last generation in the place of the worst children."""
    # Stable: of equals the earlier one stays in front.
    old = jnp.argsort(-state.scores, stable=True)[:elite]
    new = jnp.argsort(-scores, stable=True)[: len(archs) - elite]
    # Before anything was told there is no elite: all children stay.
    keep = jnp.concatenate([state.archs[old], archs[new]])
    kept = jnp.concatenate([state.scores[old], scores[new]])
    begun = state.told == 0
    return Population(
        state.key,
        jnp.where(begun, archs, keep),
        jnp.where(begun, scores, kept),
        state.told + len(archs),
    )


def _winner(key: PRNGKeyArray, scores: Float[Array, " size"], sample: int) -> Int32[Array, ""]:
    """Number of the best of some drawn with replacement; of equals the first drawn."""
    drawn = jax.random.randint(key, (sample,), 0, len(scores), dtype=jnp.int32)
    return drawn[jnp.argmax(scores[drawn])]


def _draw_all(key: PRNGKeyArray, space: SearchSpace, num: int) -> Int32[Array, "num genes"]:
    return jax.vmap(lambda each: draw(each, space))(jax.random.split(key, num))


def _empty(key: PRNGKeyArray, space: SearchSpace, size: int, dtype: str) -> Population:
    return Population(
        key,
        jnp.zeros((size, len(space.sizes)), jnp.int32),
        jnp.full(size, -jnp.inf, dtype),
        jnp.zeros((), jnp.int32),
    )


def _at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(name, size, "give at least 1")
