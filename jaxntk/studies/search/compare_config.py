"""Which searches are held against each other, and what a training costs."""

from dataclasses import dataclass

import numpy as np

from jaxntk.errors import InputError
from jaxntk.runs.config import Config


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Config):
    """Hold searches against each other, at equal evaluations and at equal seconds."""

    runs: tuple[str, ...]
    """Folders of finished searches and prunings, all judged by the same accuracy."""
    training_seconds: float | None = None
    """What a look at a table stands for, in seconds; by default, of the tables that come with the
    package, what the trainings took of which it is the mean."""
    budgets: tuple[float, ...] = ()
    """Seconds a search at which choices are compared; by default what runs took, where that is not
    nearly the same."""


def validate_compare(config: CompareConfig) -> None:
    """Checks everything that can be checked before runs are read.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    if not config.runs or len(set(config.runs)) < len(config.runs):
        raise InputError("runs", list(config.runs), "give at least one folder, and none twice")
    given = {"budgets": config.budgets}
    if config.training_seconds is not None:
        given["training_seconds"] = (config.training_seconds,)
    for name, values in given.items():
        if not all(np.isfinite(value) and value > 0 for value in values):
            raise InputError(name, list(values), "give seconds above 0")
