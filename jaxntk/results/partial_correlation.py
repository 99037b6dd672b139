r"""What a score adds to others: partial correlation, and the gain of a ranking fitted to all.

With z the normal scores of the ranks of score x, truth y and given score g,

.. math:: r_{xy \cdot g} = \frac{r_{xy} - r_{xg} r_{yg}}{\sqrt{(1 - r_{xg}^2)(1 - r_{yg}^2)}}

which is 0 where x and y are independent given g and their ranks are those of normal variables.
(Kendall's partial tau is not 0 there.) What is gained is the difference of tau of two rankings, one
fitted to the given scores, one to these and x; each cell is predicted from the others. Scores that
only repeat what is given change no prediction, whatever the mean of ranks would say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from jaxntk.errors import InputError
from jaxntk.results.correlation import (
    MIN_RESAMPLES,
    bootstrap_kendall,
    num_groups,
    percentile_interval,
    resample_counts,
)

FOLDS = 10
MIN_CELLS_FOR_GAIN = 50
"""Of fewer cells a fitted ranking is mostly chance."""
SIMULTANEOUS = 0.95


@dataclass(frozen=True)
class PartialCorrelation:
    """Partial correlation of the normal scores of a score and the truth, given another score.

    Attributes:
        value: the correlation; None where it is undefined (a constant input, or a score that
            orders the cells as the given one does).
        ci95: 95 % percentile bootstrap interval over cells or their groups, or None.
    """

    value: float | None
    ci95: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the entry of a summary."""
        return {"partial": self.value, "partial_ci95": None if self.ci95 is None else [*self.ci95]}


@dataclass(frozen=True)
class Gain:
    """What one more score changes.

    Attributes:
        tau: tau with it less tau without it; None where one of them is undefined, or of fewer than
            `MIN_CELLS_FOR_GAIN` cells or groups.
        ci95: 95 % percentile bootstrap interval over cells or their groups, or None.
        drawn: the difference in each resample.
    """

    tau: float | None
    ci95: tuple[float, float] | None
    drawn: Float[np.ndarray, " resamples"] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the entry of a summary."""
        return {"gain": self.tau, "gain_ci95": None if self.ci95 is None else [*self.ci95]}


def partial_correlation(
    values: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    given: Float[np.ndarray, " n"],
    *,
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> PartialCorrelation:
    """Correlates a score with the truth, with what another score says taken out.

    Args:
        values: the score, larger is better; invalid ones equal and below all others.
        truth: the accuracy.
        given: the other score, such as the number of parameters.
        groups: number of each cell's group, from 0, of which whole ones are drawn; None where each
            cell is one of its own.
        seed: seed of the resampling; calls with the same seed draw the same resamples.
        resamples: how many resamples to draw.

    Returns:
        The partial correlation and its interval.

    Raises:
        InputError: inputs of different length or not finite, or too few resamples.

    Example:
        >>> truth, size = np.arange(6.0), np.array([0.0, 1, 2, 3, 5, 4])
        >>> round(partial_correlation(truth, truth, size).value, 6)
        1.0
    """
    _check({"values": values, "truth": truth, "given": given}, truth)
    _check_resamples(resamples)
    if any(np.ptp(array) == 0 for array in (values, truth, given)):
        return PartialCorrelation(None, None)
    scores = np.stack([_normal_scores(array) for array in (values, truth, given)], axis=1)
    (value,) = _partial(scores, np.ones((1, truth.size)))
    if not np.isfinite(value):
        return PartialCorrelation(None, None)
    drawn = resample_counts(truth.size, groups, seed=seed, resamples=resamples)
    partials = _partial(scores, np.array(list(drawn), np.float64))
    interval = percentile_interval(partials, num_groups(truth.size, groups))
    return PartialCorrelation(float(value), interval)


def rank_together(*scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Takes the mean of the ranks of several scores.

    Args:
        scores: at least one; larger is better, invalid ones equal and below all others.

    Returns:
        Mean ranks from 1 (worst), ties sharing theirs.

    Example:
        >>> print(rank_together(np.array([1.0, 2, 3]), np.array([10.0, 30, 20])))
        [1.  2.5 2.5]
    """
    return np.mean([scipy.stats.rankdata(score) for score in scores], axis=0)


def fitted_ranking(
    scores: Sequence[Float[np.ndarray, " n"]],
    truth: Float[np.ndarray, " n"],
    *,
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Float[np.ndarray, " n"]:
    """Ranks cells by the sum of ranks, weighted by least squares, that predicts the truth's ranks.

    The weights of a cell are fitted to the other nine tenths of the cells, none of its own group
    among them, and are of norm 1, so that a single score keeps its order.

    Args:
        scores: at least one, larger is better.
        truth: the accuracy.
        groups: number of each cell's group, from 0; None where each cell is one of its own.
        seed: of the split into tenths.

    Returns:
        A score for each cell.

    Example:
        >>> x = np.arange(20.0)
        >>> bool(np.all(np.diff(fitted_ranking([x], x)) > 0))
        True
    """
    ranks = np.stack([scipy.stats.rankdata(score) for score in scores], axis=1)
    ranks, target = (each - each.mean(axis=0) for each in (ranks, scipy.stats.rankdata(truth)))
    group = np.arange(truth.size) if groups is None else groups
    num = num_groups(truth.size, groups)
    fold_of = np.empty(num, np.int64)
    fold_of[np.random.default_rng(seed).permutation(num)] = np.arange(num) % FOLDS
    predicted = np.zeros(truth.size)
    for fold in range(min(FOLDS, num)):
        held = fold_of[group] == fold
        others = ~held
        weights = np.linalg.lstsq(ranks[others], target[others], rcond=None)[0]
        predicted[held] = ranks[held] @ weights / max(float(np.linalg.norm(weights)), 1e-300)
    return predicted


def gain(
    values: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    given: Sequence[Float[np.ndarray, " n"]],
    *,
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Gain:
    """Says what a score adds to others: the difference of tau of two fitted rankings.

    Args:
        values: the score, larger is better; invalid ones equal and below all others.
        truth: the accuracy.
        given: the other scores, at least one.
        groups: number of each cell's group, from 0, of which whole ones are drawn; None where each
            cell is one of its own.
        seed: seed of the resampling; calls with the same seed draw the same resamples.
        resamples: how many resamples to draw.

    Returns:
        The difference, and its interval over resamples of the cells with their predictions.

    Raises:
        InputError: inputs of different length or not finite, or too few resamples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth, size = rng.normal(size=60), rng.normal(size=60)
        >>> gain(truth, truth, [size]).tau > 0.5
        True
    """
    _check({"values": values} | {f"given[{at}]": each for at, each in enumerate(given)}, truth)
    _check_resamples(resamples)
    num = num_groups(truth.size, groups)
    if num < MIN_CELLS_FOR_GAIN:
        return Gain(None, None)
    rankings = [fitted_ranking(each, truth, groups=groups) for each in ([*given, values], given)]
    if np.ptp(truth) == 0 or any(np.ptp(ranks) == 0 for ranks in rankings):
        return Gain(None, None)
    after, before = (float(scipy.stats.kendalltau(ranks, truth)[0]) for ranks in rankings)  # pyright: ignore[reportArgumentType]
    with_it, without = (
        bootstrap_kendall(ranks, truth, groups=groups, seed=seed, resamples=resamples)
        for ranks in rankings
    )
    drawn = with_it - without
    return Gain(after - before, percentile_interval(drawn, num), drawn)


def simultaneous_lower(gains: Sequence[Gain]) -> list[float | None]:
    """Bounds several gains from below, all of them at once.

    With s the standard deviation of a gain over resamples and q the 95 % quantile, over resamples,
    of the largest ``(drawn - gain) / s`` of all gains, each bound is ``gain - q s``: in 95 of 100
    studies all are true, so that a gain whose bound is above 0 is not the luckiest of many.

    Args:
        gains: of :func:`gain`, over the same cells and resamples.

    Returns:
        A bound for each; None where a gain has no interval or never varies.

    Source:
        Westfall and Young, Resampling-based multiple testing, 1993.
    """
    bounds: list[float | None] = [None] * len(gains)
    usable = {
        at: (each.tau, each.drawn)
        for at, each in enumerate(gains)
        if each.tau is not None and each.ci95 is not None and each.drawn is not None
    }
    deviations = {at: float(np.nanstd(drawn)) for at, (_, drawn) in usable.items()}
    usable = {at: pair for at, pair in usable.items() if deviations[at] > 0}
    if not usable:
        return bounds
    away = np.stack([(drawn - tau) / deviations[at] for at, (tau, drawn) in usable.items()])
    furthest = np.where(np.isfinite(away), away, -np.inf).max(axis=0)
    # Of few cells a resample may give no tau at all.
    quantile = float(np.quantile(furthest[np.isfinite(furthest)], SIMULTANEOUS))
    for at, (tau, _) in usable.items():
        bounds[at] = tau - quantile * deviations[at]
    return bounds


def _normal_scores(array: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return scipy.stats.norm.ppf((scipy.stats.rankdata(array) - 0.5) / array.size)


def _partial(scores: Float[np.ndarray, "n 3"], counts: Float[np.ndarray, "b n"]) -> np.ndarray:
    """Returns the partial correlation of columns 0 and 1 given column 2, for each row of counts."""
    total = counts.sum(axis=1)
    means = counts @ scores / total[:, None]

    def covariance(i: int, j: int) -> np.ndarray:
        return counts @ (scores[:, i] * scores[:, j]) / total - means[:, i] * means[:, j]

    with np.errstate(divide="ignore", invalid="ignore"):
        xy, xg, yg = (
            covariance(i, j) / np.sqrt(covariance(i, i) * covariance(j, j))
            for i, j in ((0, 1), (0, 2), (1, 2))
        )
        left = (1 - xg**2) * (1 - yg**2)
        # What rounding leaves of 0 is no number to divide by.
        return np.where(left > 1e-12, (xy - xg * yg) / np.sqrt(np.abs(left)), np.nan)


def _check(arrays: Mapping[str, np.ndarray], truth: np.ndarray) -> None:
    for name, array in arrays.items():
        if array.shape != truth.shape or not np.isfinite(array).all():
            cure = f"give {truth.size} finite numbers"
            raise InputError(name, f"shape {array.shape}, or a number that is not finite", cure)


def _check_resamples(resamples: int) -> None:
    if resamples < MIN_RESAMPLES:
        raise InputError("resamples", resamples, f"give at least {MIN_RESAMPLES}")
