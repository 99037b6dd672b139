"""Search: pure functions that propose architectures and are told what they are worth."""

from jaxntk.search.algorithm import (
    History,
    Search,
    best_so_far,
    finite_or_worst,
    run_search,
    run_searches,
)
from jaxntk.search.evolution import genetic_algorithm, random_search, regularised_evolution
from jaxntk.search.pareto import front_numbers, pareto_front
from jaxntk.search.pruning import Pruning, pruning
from jaxntk.search.space import SearchSpace, code_of, limited

__all__ = [
    "History",
    "Pruning",
    "Search",
    "SearchSpace",
    "best_so_far",
    "code_of",
    "finite_or_worst",
    "front_numbers",
    "genetic_algorithm",
    "limited",
    "pareto_front",
    "pruning",
    "random_search",
    "regularised_evolution",
    "run_search",
    "run_searches",
]
