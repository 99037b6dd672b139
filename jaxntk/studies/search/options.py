"""What every guided search is told: by what it goes, how, for how long and within which limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from jaxntk.errors import InputError, check_choice
from jaxntk.runs.config import Config
from jaxntk.search import (
    Search,
    SearchSpace,
    genetic_algorithm,
    random_search,
    regularised_evolution,
)
from jaxntk.studies.config import check_seed

ALGORITHMS = ("random", "evolution", "genetic")


@dataclass(frozen=True, kw_only=True)
class SearchOptions(Config):
    """Fields that the configurations of guided searches share."""

    goals: tuple[str, ...]
    """Scores that a search goes by."""
    weights: tuple[float, ...] = ()
    """Of the ranks of several goals; by default all 1."""
    reference: int = 100
    """Random architectures among which the ranks of several goals are taken; every search pays for
    them."""
    algorithm: Literal["random", "evolution", "genetic"] = "evolution"
    """Random search, regularised evolution, or a genetic algorithm."""
    evaluations: int = 100
    """Architectures that each search asks for, those asked for again too."""
    searches: int = 5
    """Independent searches, side by side."""
    population: int = 10
    """Of evolution, or of a generation of the genetic algorithm."""
    sample: int = 3
    """Architectures that tournaments draw."""
    search_seed: int = 0
    """Of the searches."""
    select: str | None = None
    """A truth by which the last choice is made; by default the score."""
    finalists: int = 1
    """Best architectures by the score among which that choice is made."""
    max_params: int | None = None
    """Limit on the parameters of the network."""
    max_flops: int | None = None
    """Limit on its FLOPs, those of one image."""
    score_cache: str | None = None
    """Folder in which runs share their scores: nothing is scored that any of them has scored under
    the same settings."""
    processes: str | None = None
    """Several processes that share the scoring, each started with the same command: auto on TPU
    slices and under SLURM, else HOST:PORT/I/N, where the first of N processes listens."""

    @property
    def cache(self) -> Path | None:
        """The folder of shared scores."""
        return None if self.score_cache is None else Path(self.score_cache)


AnySearch = TypeVar("AnySearch", bound=SearchOptions)
"""A kind of configuration of searches."""


def check_search(options: SearchOptions, goals: Sequence[Any]) -> None:
    """Checks what can be checked of any guided search.

    Args:
        options: the fields.
        goals: the goals as they were read.

    Raises:
        InputError: the first field that is wrong.
    """
    if not goals or len(set(goals)) < len(goals):
        raise InputError("goals", list(options.goals), "give at least one, and none twice")
    check_weights(options.weights, options.goals)
    check_choice("algorithm", options.algorithm, ALGORITHMS)
    at_least = {"evaluations": 1, "searches": 1, "sample": 1, "finalists": 1, "reference": 2}
    at_least |= {"population": 2, "max_params": 1, "max_flops": 1}
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(name, value, f"give at least {least}")
    if options.algorithm != "random" and options.sample > options.population:
        cure = f"give at most the population, {options.population}"
        raise InputError("sample", options.sample, cure)
    if options.finalists > options.evaluations:
        cure = f"give at most the evaluations, {options.evaluations}"
        raise InputError("finalists", options.finalists, cure)
    check_seed("search_seed", options.search_seed)
    if options.select is not None and options.finalists < 2:
        cure = "give at least 2 to choose from, or no select"
        raise InputError("finalists", options.finalists, cure)
    if options.select is None and options.finalists != 1:
        raise InputError("select", None, "name a truth by which finalists are chosen")


def check_weights(weights: Sequence[float], goals: Sequence[str]) -> None:
    """Checks the weights of several goals.

    Args:
        weights: none, or one a goal.
        goals: the goals.

    Raises:
        InputError: too few or too many, or one that is not above 0.
    """
    given = np.array(weights)
    if given.size and (given.size != len(goals) or not (np.isfinite(given) & (given > 0)).all()):
        cure = f"give {len(goals)} finite numbers above 0, or none"
        raise InputError("weights", list(weights), cure)


def make_search(options: SearchOptions, space: SearchSpace) -> Search:
    """Makes the search that is asked for.

    Args:
        options: the fields.
        space: what can be chosen.

    Returns:
        The search.

    Raises:
        InputError: a size that it cannot have.
    """
    if options.algorithm == "random":
        return random_search(space)
    if options.algorithm == "evolution":
        return regularised_evolution(space, population=options.population, sample=options.sample)
    elite = max(1, options.population // 10)
    return genetic_algorithm(
        space, population=options.population, tournament=options.sample, elite=elite
    )
