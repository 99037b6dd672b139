"""Rank correlation of a score with the truth, with a bootstrap interval."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from jaxntk.errors import InputError

# Up to here all pairs of cells fit a matrix (16 MiB) and one product serves all resamples; beyond
# it sorting each resample is as fast (3 s for 2,000 resamples of 15,625 cells) and needs no memory.
PAIRWISE_LIMIT = 2048
MIN_RESAMPLES = 100
# Fewer cells than this have no interval worth printing.
MIN_CELLS_FOR_INTERVAL = 5
# A 95 % interval cannot be read off if more than 5 % of the resamples have no tau.
MAX_UNDEFINED = 0.05


@dataclass(frozen=True)
class Correlation:
    """How well the order of a score agrees with the order of the truth.

    Attributes:
        kendall: Kendall's tau-b, positive where the score, read in its good direction, agrees
            with the truth; None where it is undefined (fewer than 2 cells, or a constant input).
        kendall_ci95: 95 % percentile bootstrap interval over cells, or over groups of them; or
            None.
        spearman: Spearman's rho with the same sign, or None.
        n: number of cells.
        invalid: how many of them had an invalid score (they share the last rank).
        kendall_valid: tau over the cells with a valid score alone; None where it is undefined.
    """

    kendall: float | None
    kendall_ci95: tuple[float, float] | None
    spearman: float | None
    n: int
    invalid: int
    kendall_valid: float | None = None

    def to_dict(self, *, higher_is_better: bool) -> dict[str, Any]:
        """Returns the entry of ``summary.json``.

        Args:
            higher_is_better: the direction of the score. ``raw_kendall`` is the tau of the score as
                printed, over the cells that have one: ``kendall_valid``, with the opposite sign
                where lower is better. It is what papers report for, say, the condition number.

        Returns:
            A JSON object with the fields of this class, ``higher_is_better`` and ``raw_kendall``.

        Example:
            >>> Correlation(0.45, (0.37, 0.49), 0.6, 300, 4, 0.43).to_dict(higher_is_better=False)
            ... # doctest: +NORMALIZE_WHITESPACE
            {'higher_is_better': False, 'kendall': 0.45, 'kendall_ci95': [0.37, 0.49],
             'spearman': 0.6, 'raw_kendall': -0.43, 'n': 300, 'invalid': 4}
        """
        raw = self.kendall_valid
        if raw is not None and not higher_is_better:
            raw = -raw
        return {
            "higher_is_better": higher_is_better,
            "kendall": self.kendall,
            "kendall_ci95": None if self.kendall_ci95 is None else list(self.kendall_ci95),
            "spearman": self.spearman,
            "raw_kendall": raw,
            "n": self.n,
            "invalid": self.invalid,
        }


def correlate(
    values: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    *,
    invalid: int,
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Correlation:
    """Correlates the ranks of a score with the ranks of the truth.

    Kendall's tau-b is ``(P - Q) / sqrt((P + Q + X) (P + Q + Y))`` with P concordant and Q
    discordant pairs, X pairs tied in `values` only and Y pairs tied in `truth` only. The interval
    holds the middle 95 % of tau over resamples of the cells with replacement. Calls with the same
    seed and number of cells draw the same resamples, so intervals of several scores go together.

    Cells that compute one function are no independent evidence: `groups` says which do, and whole
    groups are drawn then.

    Args:
        values: the score in its good direction (larger is better); invalid scores are equal and
            below all others.
        truth: the accuracy, any unit, larger is better.
        invalid: how many of `values` stand for an invalid score.
        groups: number of each cell's group, from 0; None where each cell is one of its own.
        seed: seed of the resampling.
        resamples: how many resamples to draw, at least `MIN_RESAMPLES`.

    Returns:
        The correlation; None in place of every number that is undefined, never NaN.

    Raises:
        InputError: inputs of different length or not finite, `invalid` outside 0..n, or too few
            resamples.

    Example:
        >>> correlate(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]), invalid=0).kendall
        0.3333333333333333

    Source:
        Kendall, The treatment of ties in ranking problems, Biometrika 1945; Efron and Tibshirani,
        An introduction to the bootstrap, 1993, chapter 13; Davison and Hinkley, Bootstrap methods
        and their application, 1997, section 3.8, for groups.
    """
    _check(values, truth, invalid, resamples)
    n = values.size
    valid = values > values.min() if invalid else np.ones(n, dtype=bool)
    kendall_valid = _tau_or_none(_ranks(values[valid]), _ranks(truth[valid]))
    values, truth = _ranks(values), _ranks(truth)
    if not values.any() or not truth.any():
        return Correlation(None, None, None, n, invalid, kendall_valid)
    taus = bootstrap_kendall(values, truth, groups=groups, seed=seed, resamples=resamples)
    return Correlation(
        kendall=_tau_b(values, truth),
        kendall_ci95=percentile_interval(taus, num_groups(n, groups)),
        spearman=_statistic(stats.spearmanr(values, truth)),
        n=n,
        invalid=invalid,
        kendall_valid=kendall_valid,
    )


def bootstrap_kendall(
    values: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    *,
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int,
    resamples: int,
) -> Float[np.ndarray, " drawn"]:
    """Draws Kendall's tau-b of resamples of the cells with replacement.

    With w the number of times each cell was drawn, m their sum, S the signs of pairs (+1
    concordant, -1 discordant, 0 tied) and w_t the draws among cells of one tied value, tau-b of the
    resample is ``w'Sw / sqrt((m^2 - sum_t w_t^2) (m^2 - sum_u w_u^2))``, t over ties in the score
    and u over those in the truth: a cell drawn twice is a tie with itself. All resamples are one
    matrix product, exact in float32 since its sums stay below 2^24 where no group is most of the
    cells. Beyond `PAIRWISE_LIMIT` cells SciPy sorts each resample instead; the numbers are the
    same.

    Args:
        values: the score, larger is better.
        truth: the accuracy.
        groups: number of each cell's group, from 0; None where each cell is one of its own.
        seed: seed of the resampling.
        resamples: how many to draw.

    Returns:
        Tau of each resample, float64; NaN where a resample is constant.
    """
    drawn = resample_counts(values.size, groups, seed=seed, resamples=resamples)
    if values.size > PAIRWISE_LIMIT:
        cells = np.arange(values.size)
        draws = (np.repeat(cells, counts) for counts in drawn)
        return np.array([_tau_b(values[draw], truth[draw]) for draw in draws])
    counts = np.array(list(drawn), dtype=np.float32)
    signs = _pair_signs(values) * _pair_signs(truth)
    agreement = counts @ signs.astype(np.float32)
    numerator = np.einsum("bn,bn->b", agreement, counts, dtype=np.float64)
    untied = _untied_pairs(counts, values) * _untied_pairs(counts, truth)
    taus = np.full(resamples, np.nan)
    np.divide(numerator, np.sqrt(untied), out=taus, where=untied > 0)
    return taus


def resample_counts(
    n: int, groups: Int[np.ndarray, " n"] | None, *, seed: int, resamples: int
) -> Iterator[Int[np.ndarray, " n"]]:
    """Draws cells, or whole groups of them, with replacement: as many as there are.

    Args:
        n: the number of cells.
        groups: number of each cell's group, from 0; None where each cell is one of its own.
        seed: seed of the resampling.
        resamples: how many to draw.

    Yields:
        How many times each cell was drawn.
    """
    rng = np.random.default_rng(seed)
    num = num_groups(n, groups)
    for _ in range(resamples):
        counts = np.bincount(rng.integers(0, num, num), minlength=num)
        yield counts if groups is None else counts[groups]


def num_groups(n: int, groups: Int[np.ndarray, " n"] | None) -> int:
    """Returns how many things are drawn: groups, or cells where there are none."""
    return n if groups is None else int(groups.max()) + 1


def _check(values: np.ndarray, truth: np.ndarray, invalid: int, resamples: int) -> None:
    if values.shape != truth.shape:
        raise InputError("truth", f"{truth.size} numbers", f"give {values.size}, one a value")
    for name, array in (("values", values), ("truth", truth)):
        if not np.isfinite(array).all():
            count = int(np.sum(~np.isfinite(array)))
            cure = "give finite numbers (ranking_values puts invalid scores at the bottom)"
            raise InputError(name, f"{count} non-finite of {array.size} entries", cure)
    if not 0 <= invalid <= values.size:
        raise InputError("invalid", invalid, f"give a count from 0 to {values.size}")
    if resamples < MIN_RESAMPLES:
        raise InputError("resamples", resamples, f"give at least {MIN_RESAMPLES}")


def _ranks(array: np.ndarray) -> Float[np.ndarray, " n"]:
    """Replaces numbers by dense ranks from 0: same order, and all 0 if they are all equal."""
    return np.unique(array, return_inverse=True)[1].astype(np.float64)


def _tau_or_none(values: np.ndarray, truth: np.ndarray) -> float | None:
    return _tau_b(values, truth) if values.any() and truth.any() else None


def _tau_b(values: np.ndarray, truth: np.ndarray) -> float:
    return _statistic(stats.kendalltau(values, truth))


def _statistic(result: Any) -> float:
    # SciPy makes the classes of its results at run time: no type checker knows their attributes.
    return float(result.statistic)


def _pair_signs(array: np.ndarray) -> Int[np.ndarray, "n n"]:
    greater = array[:, None] > array[None, :]
    return greater.astype(np.int8) - greater.T.astype(np.int8)


def _untied_pairs(counts: np.ndarray, array: np.ndarray) -> Float[np.ndarray, " b"]:
    """Counts ordered pairs of draws that differ in `array`, for each resample."""
    drawn = counts.sum(axis=1, dtype=np.float64)
    order = np.argsort(array, kind="stable")
    starts = np.flatnonzero(np.diff(array[order], prepend=-np.inf))
    groups = np.add.reduceat(counts[:, order], starts, axis=1)
    return drawn**2 - np.einsum("bg,bg->b", groups, groups, dtype=np.float64)


def percentile_interval(taus: Float[np.ndarray, " b"], n: int) -> tuple[float, float] | None:
    """Takes the middle 95 % of resamples.

    Args:
        taus: a number for each resample; NaN where it has none.
        n: how many cells, or groups of them, were drawn from.

    Returns:
        The two bounds; None with few of these, or too many resamples without a number.
    """
    defined = taus[np.isfinite(taus)]
    if n < MIN_CELLS_FOR_INTERVAL or defined.size < (1 - MAX_UNDEFINED) * taus.size:
        return None
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)
