"""What the data cards of benchmark tables say alike: spread, agreement, ceiling, taus."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float, Integer

from jaxntk.data.trainings import Trainings
from jaxntk.results.correlation import correlate
from jaxntk.results.text import interval, number

QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def trainings_lines(trainings: Trainings) -> dict[str, str]:
    """Counts the trainings and their time.

    Args:
        trainings: of the table.

    Returns:
        What is said, and by what it is called.
    """
    seconds, hours = trainings.seconds.mean(), trainings.seconds.sum() / 3600
    return {
        "trainings": f"{len(trainings.seed)}, {int((~trainings.finite).sum())} of them not finite",
        "seconds": f"{seconds:.2f} a training and core, {hours:.1f} h in all",
    }


def agreement_lines(
    trainings: Trainings, subjects: Integer[np.ndarray, " num"], seeds: tuple[int, ...]
) -> dict[str, str]:
    """Says how well single trainings of the same architectures agree.

    Args:
        trainings: of the table.
        subjects: numbers of what was trained from these seeds.
        seeds: of trainings of each, at least two.

    Returns:
        Taus between them and the standard deviation of one, by what they are called.
    """
    single = [trainings.accuracy(subjects, "test", seed=seed) for seed in seeds]
    lines = {
        f"agreement of two trainings: tau of {one + 1} and {other + 1}": tau_of(
            single[one], single[other]
        )
        for one, other in combinations(range(len(seeds)), 2)
    }
    deviation = np.sqrt(np.mean(np.var(single, axis=0, ddof=1)))
    return lines | {"standard deviation between trainings": f"{deviation:.2f} %"}


def reachable(agreement: float) -> float:
    """Says what tau a score without noise may reach with a noisy truth.

    With r the correlation of normal scores of two readings of the truth, ``sin(pi tau / 2)``, one
    reading and the truth itself correlate with ``sqrt(r)``.

    Args:
        agreement: tau of two readings.

    Returns:
        The tau.

    Source:
        Spearman, The proof and measurement of association between two things, 1904.

    Example:
        >>> round(reachable(0.63), 2)
        0.73
        >>> reachable(1.0)
        1.0
    """
    return float(2 / np.pi * np.arcsin(np.sqrt(np.sin(np.pi * max(agreement, 0.0) / 2))))


def taus_of(
    head: str, truth: Float[np.ndarray, " num"], scores: Mapping[str, Any]
) -> dict[str, str]:
    """Holds several scores against a truth.

    Args:
        head: what is said before the name of each score.
        truth: accuracies.
        scores: larger is better, by name.

    Returns:
        Taus with intervals, by what they are called.
    """
    return {
        f"tau {head} {name}": tau_of(np.asarray(score, np.float64), truth)
        for name, score in scores.items()
    }


def tau_of(score: Float[np.ndarray, " num"], truth: Float[np.ndarray, " num"]) -> str:
    """Writes Kendall's tau with its interval.

    Args:
        score: larger is better.
        truth: accuracies.

    Returns:
        The line.
    """
    # Few resamples are enough for thousands of cells.
    found = correlate(score, truth, invalid=0, resamples=200)
    return f"{number(found.kendall, found.n)} ({interval(found.kendall_ci95, found.n)})"


def plain_tau(one: Float[np.ndarray, " num"], other: Float[np.ndarray, " num"]) -> float:
    """Returns Kendall's tau alone."""
    return float(scipy.stats.kendalltau(one, other)[0])  # pyright: ignore[reportArgumentType]
