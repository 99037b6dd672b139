"""A score is a value and a status, and a score that failed never outranks one that did not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxntk.errors import InputError, check_choice
from jaxntk.validity import Status


@dataclass(frozen=True)
class Score:
    """The value of a metric together with its validity.

    Args:
        value: a finite number where ``status`` is :attr:`Status.OK`, otherwise NaN.
        status: whether the value is valid, and if not, why.

    Raises:
        InputError: a valid score without a finite value, or an invalid one with a value.

    Example:
        >>> Score.of(0.5)
        Score(value=0.5, status=<Status.OK: 'ok'>)
        >>> Score.invalid(Status.ZERO_KERNEL).to_json()
        {'value': None, 'status': 'zero_kernel'}
    """

    value: float
    status: Status

    def __post_init__(self) -> None:
        """Checks that value and status agree."""
        if self.status is Status.OK and not math.isfinite(self.value):
            raise InputError("value", self.value, "a score with status ok needs a finite value")
        if self.status is not Status.OK:
            if not math.isnan(self.value):
                raise InputError("value", self.value, f"a score with status {self.status} has none")
            # One NaN object for all: scores with the same status then compare equal.
            object.__setattr__(self, "value", math.nan)

    def __eq__(self, other: object) -> bool:
        """Compares value and status; two scores invalid for the same reason are equal."""
        if not isinstance(other, Score):
            return NotImplemented
        return (self.value, self.status) == (other.value, other.status)

    def __hash__(self) -> int:
        """Agrees with equality."""
        return hash((self.value, self.status))

    @classmethod
    def of(cls, value: float) -> "Score":
        """Returns a valid score, or :attr:`Status.NONFINITE` where ``value`` is not finite."""
        value = float(value)
        return cls(value, Status.OK) if math.isfinite(value) else cls.invalid(Status.NONFINITE)

    @classmethod
    def invalid(cls, status: Status) -> "Score":
        """Returns a score without a value."""
        return cls(math.nan, status)

    @property
    def valid(self) -> bool:
        """Whether the value may be used."""
        return self.status is Status.OK

    def to_json(self) -> dict[str, float | str | None]:
        """Returns ``{"value": number or None, "status": text}``, which any JSON reader accepts."""
        return {"value": self.value if self.valid else None, "status": str(self.status)}

    @classmethod
    def from_json(cls, row: Mapping[str, object]) -> "Score":
        """Reads what :meth:`to_json` wrote.

        Args:
            row: a mapping with ``value`` and ``status``.

        Returns:
            The score.

        Raises:
            InputError: a key is missing, the status unknown, or value and status disagree.
        """
        if set(row) != {"value", "status"}:
            raise InputError("score", sorted(row), "give exactly the keys value and status")
        status, value = str(row["status"]), row["value"]
        check_choice("status", status, Status)
        if value is None:
            return cls(math.nan, Status(status))
        if not isinstance(value, int | float):
            raise InputError("value", repr(value), "give a number or null")
        return cls(float(value), Status(status))


def ranking_values(scores: Sequence[Score], higher_is_better: bool) -> Float[np.ndarray, " num"]:
    """Turns scores into ranks in which larger is better, whatever the metric's direction.

    Ranks and not values, because a value below every valid one need not exist in floating point.

    Args:
        scores: the scores of one metric, one per architecture.
        higher_is_better: the metric's direction.

    Returns:
        Ranks: 1 for the worst valid score and up, ties share their mean rank; 0 for every invalid
        score.

    Example:
        >>> failed = Score.invalid(Status.RANK_DEFICIENT)
        >>> print(ranking_values([Score.of(7.0), failed, Score.of(3.0)], higher_is_better=False))
        [1. 0. 2.]
    """
    valid = np.array([score.valid for score in scores], dtype=bool)
    values = np.array([score.value for score in scores], dtype=np.float64)
    ranks = np.zeros(len(scores))
    ranks[valid] = scipy.stats.rankdata(values[valid] if higher_is_better else -values[valid])
    return ranks
